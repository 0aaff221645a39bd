/**
 * The transport over the npm package `consul`: its connections, its TLS and its login.
 *
 * Nothing else of it is used, least of all its watches. Its methods for single endpoints drop the index and the status of an answer, so
 * requests go through the one that they all call, which names the length of every body. It hands over the request of Node's that it is
 * about to send: that is what an interruption destroys, connection and all.
 */
import Consul from "consul"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import type { CoordinatorError } from "../../CoordinatorError.ts"
import type { Endpoints } from "./endpoints.ts"
import { refused } from "./endpoints.ts"
import type { HttpAnswer, Link, Transport } from "./http.ts"
import { HttpError } from "./http.ts"

/** Of Node's `IncomingMessage`. */
interface Incoming {
  readonly complete: boolean
  readonly statusCode?: number
  readonly headers: Readonly<Record<string, string | ReadonlyArray<string> | undefined>>
  readonly once: (event: "close", listener: () => void) => void
}

/** Of Node's `ClientRequest`. */
interface Outgoing {
  readonly once: (event: "response", listener: (answer: Incoming) => void) => Outgoing
  readonly emit: (event: "error", error: Error) => void
  readonly destroy: () => void
}

/** Of Node's `Agent`. */
interface Pool {
  readonly freeSockets: Readonly<Record<string, ReadonlyArray<{ readonly destroy: () => void }> | undefined>>
}

/** A request on its way through the package's pipeline. */
interface Passing {
  readonly err?: unknown
  readonly res?: Incoming & { readonly body?: unknown }
  readonly req: { hostname?: string }
  body?: unknown
  transport: { readonly request: (options: unknown) => Outgoing }
}

type Step = (passing: Passing, next: (error?: unknown, value?: unknown, result?: unknown) => void) => void

/** What the package's declarations leave out: the HTTP client that its own class extends, as that one's documentation has it. */
interface HttpClient {
  readonly _opts: {
    readonly agent?: Pool
    readonly baseUrl: { readonly protocol: string; readonly hostname: string; readonly port?: string }
  }
  readonly _defaults?: { readonly token?: string; readonly dc?: string; readonly partition?: string }
  readonly _request: (
    options: {
      readonly method: string
      readonly path: string
      readonly query: Readonly<Record<string, string>>
      readonly headers: Readonly<Record<string, string>>
      readonly body?: unknown
      readonly type?: string
      readonly exts: { readonly onRequest: Step }
    },
    last: Step
  ) => Promise<HttpAnswer>
}

const httpClientOf = (client: Consul): HttpClient => client as unknown as HttpClient

/**
 * Takes the request that is made. The package waits for ever for the rest of an answer whose connection was cut in the middle, because
 * nobody listens to that there. The brackets of an IPv6 address belong to the URL, and are not looked up as a name. A body that is a text
 * is written together with the headers, which spares a part of what a write costs; its length has been named by then.
 */
const taking =
  (text: string | undefined, take: (made: Outgoing) => void): Step =>
  (passing, next) => {
    const { req, transport } = passing
    if (req.hostname?.startsWith("[")) req.hostname = req.hostname.slice(1, -1)
    if (text !== undefined) passing.body = text
    passing.transport = {
      request: (options) => {
        const made = transport.request(options)
        take(made)
        return made.once("response", (answer) =>
          answer.once("close", () => {
            if (!answer.complete) made.emit("error", new Error("The connection was cut in the middle of an answer"))
          })
        )
      }
    }
    next()
  }

/** Failures before a connection stood: what came after that may have reached the server. */
const neverSent = /^(ECONNREFUSED|ENOTFOUND|EAI_AGAIN|EHOSTUNREACH|ENETUNREACH|EHOSTDOWN|ETIMEDOUT)$/

const errorOf = (endpoint: string, error: unknown): HttpError => {
  const { code, message, syscall } = (error ?? {}) as { code?: unknown; message?: unknown; syscall?: unknown }
  const connecting = syscall === "connect" || syscall === "getaddrinfo"
  return new HttpError({
    endpoint,
    detail: String(message ?? error).replace(/^consul: /, ""),
    sent: !(connecting && neverSent.test(String(code)))
  })
}

const indexOf = (answer: Incoming): bigint | undefined => {
  const text = answer.headers["x-consul-index"]
  return typeof text === "string" && /^\d+$/.test(text) ? BigInt(text) : undefined
}

const link = (endpoint: string, client: HttpClient): Link => {
  const { dc, partition, token } = client._defaults ?? {}
  const headers: Readonly<Record<string, string>> = token === undefined ? {} : { "x-consul-token": token }
  const common = { ...(dc === undefined ? {} : { dc }), ...(partition === undefined ? {} : { partition }) }
  return {
    endpoint,
    requestUnsafe: ({ body, method, path, query, waitMillis }, answered) => {
      const text = body === undefined ? undefined : JSON.stringify(body)
      let sent: Outgoing | undefined
      let wanted = true
      const answer = (result: HttpAnswer | HttpError) => {
        if (!wanted) return
        wanted = false
        answered(result)
      }
      const last: Step = ({ err, res }, next) => {
        if (res === undefined || !res.complete) return next(err ?? new Error("There was no answer"))
        const text = Buffer.isBuffer(res.body) ? res.body.toString("utf8") : res.body
        next(false, undefined, { endpoint, status: res.statusCode ?? 0, index: indexOf(res), body: text })
      }
      client
        ._request(
          {
            method,
            path,
            query: { ...common, ...query, ...(waitMillis === undefined ? {} : { wait: `${waitMillis}ms` }) },
            headers,
            ...(text === undefined ? {} : { body: Buffer.from(text), type: "json" }),
            exts: { onRequest: taking(text, (made) => void (sent = made)) }
          },
          last
        )
        .then(answer, (error: unknown) => answer(errorOf(endpoint, error)))
      return () => {
        wanted = false
        sent?.destroy()
      }
    },
    closeIdleUnsafe: () => {
      for (const sockets of Object.values(client._opts.agent?.freeSockets ?? {})) {
        for (const socket of sockets ?? []) socket.destroy()
      }
    }
  }
}

/** The transport over a client that somebody else has made, and closes. */
export const fromClient = (client: Consul): Transport => {
  const http = httpClientOf(client)
  const { hostname, port, protocol } = http._opts.baseUrl
  return { links: [link(`${protocol}//${hostname}${port === undefined ? "" : `:${port}`}`, http)] }
}

/** The transport of clients made for it, one for each address, which end with the scope. */
export const own = ({
  label,
  tls,
  token,
  urls: [first, ...others]
}: Endpoints): Effect.Effect<Transport, CoordinatorError, Scope.Scope> => {
  const connect = (url: string) =>
    Effect.acquireRelease(
      Effect.try({
        try: () => {
          const { hostname, port, protocol } = new URL(url)
          return new Consul({
            host: hostname,
            // A URL drops the port that its scheme implies.
            port: port === "" ? (protocol === "https:" ? 443 : 80) : Number(port),
            secure: protocol === "https:",
            ...(token === undefined ? {} : { defaults: { token: Redacted.value(token) } }),
            ...(tls?.ca === undefined ? {} : { ca: tls.ca }),
            ...(tls?.certificate === undefined ? {} : { cert: tls.certificate }),
            ...(tls?.key === undefined ? {} : { key: Redacted.value(tls.key) })
          })
        },
        catch: (error) => `The client cannot be made: ${error instanceof Error ? error.message : String(error)}`
      }),
      (client) => Effect.sync(() => client.destroy())
    ).pipe(
      Effect.map((client) => link(url, httpClientOf(client))),
      Effect.catch((problem) => refused(label, problem))
    )
  return Effect.map(Effect.all([connect(first), ...others.map(connect)]), ([one, ...more]) => ({
    links: [one, ...more]
  }))
}
