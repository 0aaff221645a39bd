/**
 * What can go wrong between this program and a ZooKeeper ensemble. The engine maps these to `CoordinatorError`.
 *
 * Of a request that failed, two things matter: whether the server refused it (one of {@link ApiError}, nothing was
 * changed), and if no answer came, whether it can have reached a server at all ({@link ConnectionLost.sent}).
 */
import * as Schema from "effect/Schema"
import { Code, codeName } from "./protocol.ts"

const id = (name: string): string => `effect-ensemble/zookeeper/${name}`

/** The bytes are not ZooKeeper's protocol. The connection they came over is useless: where it continues is not known. */
export class ProtocolError extends Schema.TaggedError<ProtocolError>(id("ProtocolError"))("ProtocolError", {
  detail: Schema.String
}) {
  override get message(): string {
    return `The server broke the ZooKeeper protocol: ${this.detail}. Check that the port is ZooKeeper's client port`
  }
}

/** No connection to this server came about in time. */
export class Unreachable extends Schema.TaggedError<Unreachable>(id("Unreachable"))("Unreachable", {
  endpoint: Schema.String,
  detail: Schema.String,
  cause: Schema.optionalKey(Schema.Defect())
}) {
  override get message(): string {
    return `No connection to ${this.endpoint}: ${this.detail}. Check the address and that the server runs`
  }
}

/**
 * The server hung up instead of answering the handshake. A server does so when the client has seen a newer transaction
 * than the server has, when it has lost its quorum, and when the client's address has too many connections
 * (`ZooKeeperServer.processConnectRequest`, `NIOServerCnxn.readLength`); it does not say which.
 */
export class Refused extends Schema.TaggedError<Refused>(id("Refused"))("Refused", { endpoint: Schema.String }) {
  override get message(): string {
    return (
      `${this.endpoint} hung up during the handshake: it is behind what this client has seen, has no quorum, ` +
      `or has maxClientCnxns connections from this address. Look into the server's log`
    )
  }
}

/** The connection ended before the answer came, or there is none at present. */
export class ConnectionLost extends Schema.TaggedError<ConnectionLost>(id("ConnectionLost"))("ConnectionLost", {
  /** False when no byte of the request left this process: it was certainly not carried out. True: the outcome is unknown. */
  sent: Schema.Boolean,
  operation: Schema.String,
  detail: Schema.String
}) {
  override get message(): string {
    const outcome = this.sent
      ? "Whether the server carried it out is not known: read before writing again"
      : "It was not sent"
    return `${this.operation}: ${this.detail}. ${outcome}`
  }
}

/** The servers have ended the session: its ephemeral nodes are gone. A new session is a new client. */
export class SessionExpired extends Schema.TaggedError<SessionExpired>(id("SessionExpired"))("SessionExpired", {}) {
  override get message(): string {
    return "The servers have expired the session. Open a new one"
  }
}

/** This client was closed here. */
export class SessionClosed extends Schema.TaggedError<SessionClosed>(id("SessionClosed"))("SessionClosed", {}) {
  override get message(): string {
    return "The client is closed. Open a new one"
  }
}

/** The server refused the credentials. */
export class AuthFailed extends Schema.TaggedError<AuthFailed>(id("AuthFailed"))("AuthFailed", {
  scheme: Schema.String
}) {
  override get message(): string {
    return `The server refused the ${this.scheme} credentials. Check them, and the schemes that the server is set up for`
  }
}

/** The request is longer than the servers read; they would drop the connection instead of answering. */
export class TooLarge extends Schema.TaggedError<TooLarge>(id("TooLarge"))("TooLarge", {
  operation: Schema.String,
  bytes: Schema.Int,
  limit: Schema.Int
}) {
  override get message(): string {
    return (
      `${this.operation} takes ${this.bytes} bytes and the servers read ${this.limit}. ` +
      `Write less, or raise jute.maxbuffer on the servers and the limit here`
    )
  }
}

const refusal = {
  /** The operation and its path, `multi[1] create` inside a transaction. */
  operation: Schema.String,
  path: Schema.String,
  /** Which operation of a transaction was refused; absent outside one. */
  index: Schema.optionalKey(Schema.Int),
  /** The server's last transaction when it refused: a read that finds nothing is as exact as one that finds something. */
  zxid: Schema.BigInt
}

/** There is a node at this path. */
export class NodeExists extends Schema.TaggedError<NodeExists>(id("NodeExists"))("NodeExists", refusal) {
  override get message(): string {
    return `${this.operation}: ${this.path} exists`
  }
}

/** There is no node at this path, or none above it. */
export class NoNode extends Schema.TaggedError<NoNode>(id("NoNode"))("NoNode", refusal) {
  override get message(): string {
    return `${this.operation}: ${this.path} does not exist, or its parent does not`
  }
}

/** The node has another version than the operation named. */
export class BadVersion extends Schema.TaggedError<BadVersion>(id("BadVersion"))("BadVersion", refusal) {
  override get message(): string {
    return `${this.operation}: ${this.path} has another version`
  }
}

/** The node has children, so it cannot be deleted. */
export class NotEmpty extends Schema.TaggedError<NotEmpty>(id("NotEmpty"))("NotEmpty", refusal) {
  override get message(): string {
    return `${this.operation}: ${this.path} has children. Delete them first`
  }
}

/** The node's access control list does not permit this to the credentials of this client. */
export class NoAuth extends Schema.TaggedError<NoAuth>(id("NoAuth"))("NoAuth", refusal) {
  override get message(): string {
    return `${this.operation}: not permitted at ${this.path}. Give the client credentials that its ACL names`
  }
}

/** An access control list that the server does not take: empty, of an unknown scheme, or "auth" without credentials. */
export class InvalidAcl extends Schema.TaggedError<InvalidAcl>(id("InvalidAcl"))("InvalidAcl", refusal) {
  override get message(): string {
    return `${this.operation}: the ACL for ${this.path} is not valid. Name a scheme that the server knows`
  }
}

/** This server does not know the operation. It hangs up after saying so (`UnimplementedRequestProcessor`). */
export class Unimplemented extends Schema.TaggedError<Unimplemented>(id("Unimplemented"))("Unimplemented", refusal) {
  override get message(): string {
    return `${this.operation}: this server does not know the operation. It is older than ZooKeeper 3.6`
  }
}

/** Any other refusal, by its number in `KeeperException.Code`. */
export class OtherRefusal extends Schema.TaggedError<OtherRefusal>(id("OtherRefusal"))("OtherRefusal", {
  ...refusal,
  code: Schema.Int,
  name: Schema.String
}) {
  override get message(): string {
    return `${this.operation}: the server refused with ${this.name} (${this.code}) at ${this.path}`
  }
}

/** The server's answer is no: nothing was changed. */
export type ApiError = NodeExists | NoNode | BadVersion | NotEmpty | NoAuth | InvalidAcl | Unimplemented | OtherRefusal

/** Why the session is over for good. */
export type SessionOver = SessionExpired | SessionClosed | AuthFailed

/** Everything that a request can fail with. */
export type RequestError = ApiError | ConnectionLost | SessionOver | TooLarge

/** Everything that an attempt to connect can fail with. */
export type ConnectFailure = Unreachable | Refused | ProtocolError | SessionExpired | AuthFailed

const apiErrors: ReadonlySet<string> = new Set<ApiError["_tag"]>([
  "NodeExists",
  "NoNode",
  "BadVersion",
  "NotEmpty",
  "NoAuth",
  "InvalidAcl",
  "Unimplemented",
  "OtherRefusal"
])

/** Whether the failure is the server's no, as opposed to no answer. */
export const isApiError = (error: RequestError): error is ApiError => apiErrors.has(error._tag)

/** What an answer with this code says of the operation. */
export const refused = (
  code: number,
  fields: {
    readonly operation: string
    readonly path: string
    readonly zxid: bigint
    readonly index?: number
  }
): ApiError => {
  switch (code) {
    case Code.NodeExists:
      return new NodeExists(fields)
    case Code.NoNode:
      return new NoNode(fields)
    case Code.BadVersion:
      return new BadVersion(fields)
    case Code.NotEmpty:
      return new NotEmpty(fields)
    case Code.NoAuth:
      return new NoAuth(fields)
    case Code.InvalidAcl:
      return new InvalidAcl(fields)
    case Code.Unimplemented:
      return new Unimplemented(fields)
    default:
      return new OtherRefusal({ ...fields, code, name: codeName(code) })
  }
}
