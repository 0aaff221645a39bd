/** What ZooKeeper says when a request fails, as the reasons that all engines share. */
import type { Reason } from "../../CoordinatorError.ts"
import {
  CoordinatorError,
  Forbidden,
  InvalidOptions,
  NotThisServer,
  OutcomeUnknown,
  TooLarge,
  Unauthenticated,
  Unreachable
} from "../../CoordinatorError.ts"
import type { ConnectFailure, RequestError, SessionOver } from "./errors.ts"
import { Code } from "./protocol.ts"

export const engine = "zookeeper"

/** A request that may have changed something cannot be said not to have when its answer never came. */
export type Effects = "read" | "write"

const reasonOf = (error: RequestError | ConnectFailure, effects: Effects): Reason => {
  const detail = error.message
  switch (error._tag) {
    case "NoAuth":
      return new Forbidden({ detail })
    case "AuthFailed":
      return new Unauthenticated({ detail })
    case "TooLarge":
      return new TooLarge({ detail })
    case "InvalidAcl":
      return new InvalidOptions({ detail })
    case "ProtocolError":
      return new NotThisServer({ detail: `What answers is not ZooKeeper, or differs in TLS: ${detail}` })
    case "ConnectionLost":
      return effects === "write" && error.sent ? new OutcomeUnknown({ detail }) : new Unreachable({ detail })
    case "OtherRefusal":
      if (error.code === Code.NoChildrenForEphemerals) {
        return new InvalidOptions({ detail: `${detail}: a node above it is ephemeral. Choose another prefix` })
      }
      return error.code === Code.QuotaExceeded ? new TooLarge({ detail }) : new Unreachable({ detail })
    default:
      return new Unreachable({ detail })
  }
}

export const failing =
  (endpoint: string, operation: string, effects: Effects) =>
  (error: RequestError | ConnectFailure): CoordinatorError =>
    new CoordinatorError({ engine, operation, endpoint, reason: reasonOf(error, effects) })

/** Whether the session is what the request failed with: it, and all that it kept alive, is gone. */
export const isSessionOver = (error: RequestError): error is SessionOver =>
  error._tag === "SessionExpired" || error._tag === "SessionClosed" || error._tag === "AuthFailed"
