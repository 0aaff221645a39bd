/** What etcd and gRPC say when a call fails, as the reasons that all engines share. */
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
import type { RpcError } from "./rpc.ts"
import { Status } from "./rpc.ts"

/** A call that may have changed something cannot be said not to have happened when its answer never came. */
export type Effects = "read" | "write"

/** The token of an authentication has run out, or is not known to this member: the request was refused unread. */
export const isTokenInvalid = (error: RpcError): boolean => error.detail.includes("invalid auth token")

/** The name or the password is wrong, or is missing: no server of the cluster will say otherwise. */
export const isLoginRefused = (error: RpcError): boolean =>
  /authentication failed|user name is empty|user name not found/.test(error.detail)

/** The lease is gone: expired, revoked, or of another cluster. */
export const isLeaseGone = (error: RpcError): boolean => error.detail.includes("requested lease not found")

/** The server has no authentication to offer: a login is neither needed nor possible. */
export const isAuthDisabled = (error: RpcError): boolean => error.detail.includes("authentication is not enabled")

/** What a client hears from something that does not speak gRPC, or not over this kind of connection. */
const foreign =
  /before secure TLS connection|protocol error|wrong version number|parse error|http status|packet length too long|unknown service/i

/** grpc-js has no other word for a connection that was made and closed again before it could be used. */
const endsConnections = /Failed to connect$/

const certificate = /certificate|self[- ]signed|unable to verify|altnames|handshake failure|unsupported protocol/i

const credentials =
  /authentication failed|user name is empty|invalid auth token|user name not found|invalid auth management/i

const reasonOf = (error: RpcError, effects: Effects): Reason => {
  const { code, detail } = error
  if (credentials.test(detail) || code === Status.Unauthenticated) return new Unauthenticated({ detail })
  if (detail.includes("permission denied") || code === Status.PermissionDenied) return new Forbidden({ detail })
  if (/too large|larger than max/i.test(detail)) return new TooLarge({ detail })
  if (certificate.test(detail)) {
    return new NotThisServer({
      detail: `${detail}: the two sides do not agree on TLS, see the certificates in \`tls\``
    })
  }
  if (code === Status.Unimplemented || foreign.test(detail)) {
    return new NotThisServer({ detail: `What answers is not etcd, or differs in TLS (http or https): ${detail}` })
  }
  if (code === Status.InvalidArgument) return new InvalidOptions({ detail })
  if (endsConnections.test(detail) && error.endpoint.startsWith("http:")) {
    // What has TLS hangs up on a request without it, as does a proxy whose server is down: only the words can tell them.
    return new Unreachable({
      detail: `${detail}: connections are accepted and ended at once. A server with TLS does so, if it is one write https`
    })
  }
  // A refusal before the proposal: too many requests, or no space left. Nothing was carried out.
  if (effects === "read" || !error.sent || code === Status.ResourceExhausted) return new Unreachable({ detail })
  return new OutcomeUnknown({ detail })
}

/** The failure of an operation. */
export const failureOf = (operation: string, effects: Effects, error: RpcError): CoordinatorError =>
  new CoordinatorError({ engine: "etcd", operation, endpoint: error.endpoint, reason: reasonOf(error, effects) })

/** What a server says that cannot serve: without a leader, or with proposals unanswered, it is cut off from its quorum. */
const unfit = /no leader|request timed out|server stopped|learner/

/**
 * Whether the connection itself is to blame, so that another one, to another server where there is one, may do better.
 */
export const condemns = (error: RpcError): boolean => {
  const { code, detail } = error
  if (detail.startsWith("etcdserver:")) return unfit.test(detail)
  return code === Status.Unavailable || code === Status.Cancelled || foreign.test(detail)
}
