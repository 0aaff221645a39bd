/** The part of Consul's HTTP API that is spoken, and what a transport must be able to do. */
import * as Data from "effect/Data"

/** A call that may have changed something cannot be said not to have happened when its answer never came. */
export type Effects = "read" | "write"

export interface HttpRequest {
  readonly method: "GET" | "PUT"
  /** Below `/v1`, its segments encoded. */
  readonly path: string
  readonly query?: Readonly<Record<string, string>>
  /** Sent as JSON. Its length is always named: a chunked body is silently ignored, and a session comes out without a TTL. */
  readonly body?: unknown
  readonly effects: Effects
  /** How long the server may keep a blocking query. */
  readonly waitMillis?: number
}

export interface HttpAnswer {
  readonly endpoint: string
  readonly status: number
  /** `X-Consul-Index`: which Consul gives with every answer to a question. */
  readonly index: bigint | undefined
  /** Parsed where it is JSON, a text otherwise. */
  readonly body: unknown
}

/** No answer came. `sent` tells whether the server may have carried the request out. */
export class HttpError extends Data.TaggedError("HttpError")<{
  readonly endpoint: string
  readonly detail: string
  readonly sent: boolean
}> {}

/** The way to one address. */
export interface Link {
  readonly endpoint: string
  /** Sends a request, which is never answered within the call; returns the way to abort it, which closes its connection. */
  readonly requestUnsafe: (request: HttpRequest, answered: (answer: HttpAnswer | HttpError) => void) => () => void
  /** Closes the connections that are kept open for later requests: they may be as dead as the one that went silent. */
  readonly closeIdleUnsafe: () => void
}

export interface Transport {
  readonly links: readonly [Link, ...ReadonlyArray<Link>]
}
