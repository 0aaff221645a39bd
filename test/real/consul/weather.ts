/**
 * What a network between a client and Consul does to single requests: the faults that a proxy of bytes cannot aim. It stands
 * between the engine and its transport; the requests that it lets through reach the real server.
 */
import type { HttpAnswer, HttpRequest, Link, Transport } from "../../../src/engines/consul/http.ts"
import { HttpError } from "../../../src/engines/consul/http.ts"

import type { LostWrite } from "../../faults/weather.ts"

export interface Weather {
  renewalsFrozen: boolean
  releasesHang: boolean
  requestDelayMillis: number
  eventDelayMillis: number
  readonly lostWrites: Array<LostWrite>
  /** Questions and writes that went out; the session's own are left out, and so is the asking again of a blocking query. */
  requests: number
  /** Blocking queries that wait. */
  watches: number
  readonly sessions: Set<string>
  readonly over: (transport: Transport) => Transport
  readonly clear: () => void
}

type Kind = "read" | "watch" | "write" | "release" | "renew" | "other"

const kindOf = ({ body, method, path, query }: HttpRequest): Kind => {
  if (path.startsWith("/session/renew/") || path.startsWith("/agent/check/")) return "renew"
  if (path.startsWith("/session/destroy/") || path.startsWith("/agent/service/deregister/")) return "release"
  if (path === "/session/create" || path === "/agent/service/register") return "write"
  if (path.startsWith("/session/")) return "other"
  if (method === "GET") return query?.["index"] === undefined && query?.["hash"] === undefined ? "read" : "watch"
  const steps = Array.isArray(body) ? (body as ReadonlyArray<{ readonly KV?: { readonly Verb?: string } }>) : []
  return steps.some(({ KV }) => KV?.Verb === "delete") ? "release" : "write"
}

/** The question that a renewal asks of the whole store is part of it. */
const isProbe = ({ method, path }: HttpRequest) =>
  method === "GET" && path.startsWith("/kv/") && path.split("/").length === 4 && path.endsWith("/")

export const make = (): Weather => {
  const lost = (link: Link) => new HttpError({ endpoint: link.endpoint, detail: "the answer was lost", sent: true })

  const over = (link: Link): Link => ({
    ...link,
    requestUnsafe: (request, answered) => {
      const kind = isProbe(request) ? "other" : kindOf(request)
      if ((kind === "read" || kind === "write" || kind === "release") && !request.path.startsWith("/session/")) {
        weather.requests++
      }
      if (kind === "release" && weather.releasesHang) return () => {}
      if (kind === "renew" && weather.renewalsFrozen) return () => {}
      const send = (then: (answer: HttpAnswer | HttpError) => void) =>
        link.requestUnsafe(request, (answer) => {
          if (request.path === "/session/create" && !(answer instanceof HttpError)) {
            weather.sessions.add(String((answer.body as { readonly ID?: string } | null)?.ID))
          }
          then(answer)
        })
      if (kind === "watch") {
        weather.watches++
        let open = true
        const close = () => {
          if (open) weather.watches--
          open = false
        }
        const abort = send((answer) => {
          if (weather.eventDelayMillis === 0) {
            close()
            return answered(answer)
          }
          setTimeout(() => {
            if (!open) return
            close()
            answered(answer)
          }, weather.eventDelayMillis)
        })
        return () => {
          close()
          abort()
        }
      }
      const fate = kind === "write" ? weather.lostWrites.shift() : undefined
      if (fate === "applied") return send(() => answered(lost(link)))
      if (fate !== undefined) {
        if (fate !== "not-applied") setTimeout(() => send(() => {}), fate.appliedAfterMillis)
        const timer = setTimeout(() => answered(lost(link)))
        return () => clearTimeout(timer)
      }
      if (weather.requestDelayMillis === 0 || kind === "other" || kind === "renew") return send(answered)
      // It is on its way: giving it up does not call it back.
      let wanted = true
      setTimeout(() => send((answer) => void (wanted && answered(answer))), weather.requestDelayMillis)
      return () => {
        wanted = false
      }
    }
  })

  const weather: Weather = {
    renewalsFrozen: false,
    releasesHang: false,
    requestDelayMillis: 0,
    eventDelayMillis: 0,
    lostWrites: [],
    requests: 0,
    watches: 0,
    sessions: new Set(),
    over: ({ links: [first, ...others] }) => ({ links: [over(first), ...others.map(over)] }),
    clear: () => {
      weather.renewalsFrozen = false
      weather.releasesHang = false
      weather.requestDelayMillis = 0
      weather.eventDelayMillis = 0
      weather.lostWrites.length = 0
    }
  }
  return weather
}
