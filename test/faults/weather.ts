/**
 * What a network between two gRPC ends does to single calls: the faults that a proxy of bytes cannot aim. It stands between
 * the engine and its transport; the requests that it lets through reach the real server.
 */
import { Effect } from "effect"
import type { Duplex, Link, RequestOp, Streams, Transport, Unary, WatchRequest } from "../../src/engines/etcd/rpc.ts"
import { RpcError } from "../../src/engines/etcd/rpc.ts"

export type LostWrite = "applied" | "not-applied" | { readonly appliedAfterMillis: number }

export interface Weather {
  renewalsFrozen: boolean
  releasesHang: boolean
  duplicating: boolean
  requestDelayMillis: number
  eventDelayMillis: number
  readonly lostWrites: Array<LostWrite>
  /** Questions and writes that went out, the session's own left out. */
  requests: number
  /** Watches that are open on the server as far as the messages tell. */
  readonly watches: Set<string>
  readonly leases: Set<string>
  readonly over: (transport: Transport) => Transport
  readonly clear: () => void
}

const kindOf = (method: keyof Unary, request: unknown): "read" | "write" | "release" | "other" => {
  if (method === "leaseRevoke") return "release"
  if (method === "leaseGrant") return "write"
  if (method === "range") return "read"
  if (method !== "txn") return "other"
  const operations = (request as Unary["txn"][0]).success
  const does = (name: string) => operations.some((operation: RequestOp) => name in operation)
  return does("request_delete_range") ? "release" : does("request_put") ? "write" : "read"
}

export const make = (): Weather => {
  let links = 0
  const lost = (link: Link) =>
    // A code that does not speak against the connection, so that what was sent may still be applied over it.
    new RpcError({ endpoint: link.endpoint, code: 4, detail: "the answer was lost", sent: true })

  const over = (link: Link): Link => {
    const name = ++links
    return {
      ...link,
      unaryUnsafe: <M extends keyof Unary>(
        method: M,
        request: Unary[M][0],
        answered: (answer: Unary[M][1] | RpcError) => void
      ) => {
        const kind = kindOf(method, request)
        if (kind !== "other" && method !== "leaseGrant" && method !== "leaseRevoke") weather.requests++
        if (kind === "release" && weather.releasesHang) return () => {}
        const send = (then: (answer: Unary[M][1] | RpcError) => void) =>
          link.unaryUnsafe(method, request, (answer) => {
            if (method === "leaseGrant" && !(answer instanceof RpcError)) {
              weather.leases.add((answer as Unary["leaseGrant"][1]).ID)
            }
            then(answer)
          })
        const fate = kind === "write" ? weather.lostWrites.shift() : undefined
        if (fate === "applied") return send(() => answered(lost(link)))
        if (fate === "not-applied") {
          const timer = setTimeout(() => answered(lost(link)))
          return () => clearTimeout(timer)
        }
        if (fate !== undefined) {
          setTimeout(() => send(() => {}), fate.appliedAfterMillis)
          const timer = setTimeout(() => answered(lost(link)))
          return () => clearTimeout(timer)
        }
        if (weather.requestDelayMillis === 0 || kind === "other") return send(answered)
        // It is on its way: giving it up does not call it back.
        let wanted = true
        setTimeout(() => send((answer) => void (wanted && answered(answer))), weather.requestDelayMillis)
        return () => {
          wanted = false
        }
      },
      streamUnsafe: <S extends keyof Streams>(
        method: S,
        on: { readonly message: (message: Streams[S][1]) => void; readonly end: (error: RpcError) => void }
      ): Duplex<Streams[S][0]> | RpcError => {
        if (method === "leaseKeepAlive") {
          return weather.renewalsFrozen
            ? { _tag: "Duplex", writeUnsafe: () => {}, cancelUnsafe: () => {} }
            : link.streamUnsafe(method, on)
        }
        const mine = `${name}.${++links}`
        const forget = () => {
          for (const watch of weather.watches) if (watch.startsWith(`${mine}/`)) weather.watches.delete(watch)
        }
        let due = 0
        const deliver = (message: Streams[S][1]) => {
          on.message(message)
          if (weather.duplicating) on.message(message)
        }
        const duplex = link.streamUnsafe(method, {
          message: (message) => {
            // Delayed messages keep their order, also behind those that were delayed for longer.
            due = Math.max(due, performance.now() + weather.eventDelayMillis)
            const wait = due - performance.now()
            if (wait <= 0) deliver(message)
            else setTimeout(() => deliver(message), wait)
          },
          end: (error) => {
            forget()
            on.end(error)
          }
        })
        if (duplex._tag === "RpcError") return duplex
        return {
          _tag: "Duplex",
          writeUnsafe: (request) => {
            const sent = request as WatchRequest
            if ("create_request" in sent) weather.watches.add(`${mine}/${sent.create_request.watch_id}`)
            if ("cancel_request" in sent) weather.watches.delete(`${mine}/${sent.cancel_request.watch_id}`)
            duplex.writeUnsafe(request)
          },
          cancelUnsafe: () => {
            forget()
            duplex.cancelUnsafe()
          }
        }
      }
    }
  }

  const weather: Weather = {
    renewalsFrozen: false,
    releasesHang: false,
    duplicating: false,
    requestDelayMillis: 0,
    eventDelayMillis: 0,
    lostWrites: [],
    requests: 0,
    watches: new Set(),
    leases: new Set(),
    over: (transport) => ({ ...transport, dial: (avoid) => Effect.map(transport.dial(avoid), over) }),
    clear: () => {
      weather.renewalsFrozen = false
      weather.releasesHang = false
      weather.duplicating = false
      weather.requestDelayMillis = 0
      weather.eventDelayMillis = 0
      weather.lostWrites.length = 0
    }
  }
  return weather
}
