/**
 * The states of a client's session, as one total function. A client has one session; when that is over, so is the client.
 *
 * ```text
 *                    Attached
 *   Connecting ───────────────────▶ Attached
 *       │  ▲ │ ◀───────────────────    │
 *       │  └─┘ Failed      Ended       │
 *       │                              │
 *       └─ expired, refused credentials, Closed ─▶ Over
 * ```
 *
 * Only a server says that a session has expired. A client that cannot reach one stays `Connecting`: how long its owner
 * believes in the session meanwhile is the owner's decision.
 */
import type { ConnectFailure, SessionOver } from "./errors.ts"
import { SessionClosed, SessionExpired } from "./errors.ts"
import type { End } from "./exchange.ts"
import type { ConnectResponse } from "./protocol.ts"

/** What a server knows the session by. */
export interface Identity {
  readonly sessionId: bigint
  readonly password: Uint8Array
  /** What the servers granted, which may be more or less than was asked for. */
  readonly timeoutMillis: number
}

export type State =
  | {
      readonly _tag: "Connecting"
      /** Absent before the first session. */
      readonly identity: Identity | undefined
      /** Connections that came about so far. */
      readonly attachments: number
      /** Why the last attempt or connection failed. */
      readonly problem: string | undefined
      /** The servers that hung up during the handshake when they were last tried: a store that was restored refuses everywhere. */
      readonly refusedBy: ReadonlyArray<string>
    }
  | {
      readonly _tag: "Attached"
      readonly identity: Identity
      readonly attachments: number
      readonly endpoint: string
    }
  | { readonly _tag: "Over"; readonly reason: SessionOver }

export type Event =
  | { readonly _tag: "Attached"; readonly endpoint: string; readonly handshake: ConnectResponse }
  | { readonly _tag: "Failed"; readonly endpoint: string; readonly failure: ConnectFailure }
  | { readonly _tag: "Ended"; readonly end: End }
  | { readonly _tag: "Closed" }

export const initial: State = {
  _tag: "Connecting",
  identity: undefined,
  attachments: 0,
  problem: undefined,
  refusedBy: []
}

const over = (reason: SessionOver): State => ({ _tag: "Over", reason })

/** An end as one line. */
export const describe = (end: End): string => {
  switch (end._tag) {
    case "Dropped":
      return end.detail
    case "Expired":
      return "the session has expired"
    case "Violation":
    case "AuthFailed":
      return end.error.message
  }
}

export const transition = (state: State, event: Event): State => {
  // Over is final: nothing that arrives late brings a session back.
  if (state._tag === "Over") return state
  switch (event._tag) {
    case "Closed":
      return over(new SessionClosed({}))
    case "Attached": {
      if (state._tag === "Attached") return state
      const { password, sessionId, timeoutMillis } = event.handshake
      return {
        _tag: "Attached",
        identity: { sessionId, password, timeoutMillis },
        attachments: state.attachments + 1,
        endpoint: event.endpoint
      }
    }
    case "Failed": {
      if (state._tag === "Attached") return state
      const { endpoint, failure } = event
      if (failure._tag === "SessionExpired" || failure._tag === "AuthFailed") return over(failure)
      const others = state.refusedBy.filter((one) => one !== endpoint)
      const refusedBy = failure._tag === "Refused" ? [...others, endpoint] : others
      return { ...state, problem: failure.message, refusedBy }
    }
    case "Ended": {
      if (state._tag === "Connecting") return state
      const { end } = event
      if (end._tag === "Expired") return over(new SessionExpired({}))
      if (end._tag === "AuthFailed") return over(end.error)
      const { attachments, identity } = state
      return { _tag: "Connecting", identity, attachments, problem: describe(end), refusedBy: [] }
    }
  }
}
