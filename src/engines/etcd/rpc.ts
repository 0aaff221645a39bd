/**
 * The part of etcd's v3 API that this engine speaks, and what it needs of whoever carries it.
 *
 * Messages have the fields of etcd's own `rpc.proto` and `kv.proto` under the same names. Numbers of 64 bits arrive as
 * decimal strings.
 */
import * as Data from "effect/Data"
import type * as Effect from "effect/Effect"

/** Bytes of a key or a value. */
export type Bytes = Uint8Array

export interface Header {
  readonly cluster_id: string
  readonly revision: string
  readonly raft_term: string
}

export interface KeyValue {
  readonly key: Bytes
  readonly value: Bytes
  readonly create_revision: string
  readonly mod_revision: string
  readonly lease: string
}

export interface RangeRequest {
  readonly key: Bytes
  readonly range_end?: Bytes
  readonly limit?: number
  readonly max_create_revision?: string
  readonly sort_order?: "Descend"
  readonly sort_target?: "Create"
  readonly keys_only?: boolean
  readonly count_only?: boolean
}

export interface RangeResponse {
  readonly header: Header
  readonly kvs: ReadonlyArray<KeyValue>
}

export interface Compare {
  readonly target: "Create" | "Mod" | "Lease"
  readonly result: "Equal"
  readonly key: Bytes
  readonly create_revision?: string
  readonly mod_revision?: string
  readonly lease?: string
}

export type RequestOp =
  | { readonly request_range: RangeRequest }
  | { readonly request_put: { readonly key: Bytes; readonly value: Bytes; readonly lease?: string } }
  | { readonly request_delete_range: { readonly key: Bytes; readonly range_end?: Bytes } }

export interface TxnRequest {
  readonly compare: ReadonlyArray<Compare>
  readonly success: ReadonlyArray<RequestOp>
  readonly failure: ReadonlyArray<RequestOp>
}

export interface TxnResponse {
  readonly header: Header
  readonly succeeded: boolean
  readonly responses: ReadonlyArray<{
    readonly response_range?: RangeResponse
    readonly response_delete_range?: { readonly deleted: string }
  }>
}

/** The calls with one request and one answer. */
export interface Unary {
  readonly range: [request: RangeRequest, response: RangeResponse]
  readonly txn: [request: TxnRequest, response: TxnResponse]
  readonly leaseGrant: [
    request: { readonly TTL: number },
    response: { readonly header: Header; readonly ID: string; readonly TTL: string }
  ]
  readonly leaseRevoke: [request: { readonly ID: string }, response: { readonly header: Header }]
  readonly authenticate: [
    request: { readonly name: string; readonly password: string },
    response: { readonly token: string }
  ]
  readonly status: [
    request: object,
    response: { readonly header: Header; readonly version: string; readonly errors: ReadonlyArray<string> }
  ]
}

export interface KeepAlive {
  readonly header: Header
  /** `0` where the server knows the lease no more. */
  readonly TTL: string
}

export interface WatchResponse {
  readonly header: Header
  readonly watch_id: string
  readonly created: boolean
  readonly canceled: boolean
  readonly compact_revision: string
  readonly cancel_reason: string
  readonly events: ReadonlyArray<{ readonly type: "Put" | "Delete"; readonly kv: KeyValue }>
}

export type WatchRequest =
  | {
      readonly create_request: {
        readonly watch_id: number
        readonly key: Bytes
        readonly range_end?: Bytes
        readonly start_revision: string
        readonly progress_notify: true
      }
    }
  | { readonly cancel_request: { readonly watch_id: number } }
  | { readonly progress_request: object }

/** The calls with a stream of messages each way. */
export interface Streams {
  readonly watch: [request: WatchRequest, response: WatchResponse]
  readonly leaseKeepAlive: [request: { readonly ID: string }, response: KeepAlive]
}

/** gRPC's status codes, as far as they are told apart here (https://grpc.io/docs/guides/status-codes/). */
export const Status = {
  Cancelled: 1,
  InvalidArgument: 3,
  PermissionDenied: 7,
  ResourceExhausted: 8,
  FailedPrecondition: 9,
  Unimplemented: 12,
  Unavailable: 14,
  Unauthenticated: 16
} as const

/**
 * A call that failed. `detail` is what the server or the connection said. `sent` is false only where the request certainly
 * never left this process.
 */
export class RpcError extends Data.TaggedError("RpcError")<{
  readonly endpoint: string
  readonly code: number
  readonly detail: string
  readonly sent: boolean
}> {}

/** The writing side of an open stream. */
export interface Duplex<in Request> {
  readonly _tag: "Duplex"
  readonly writeUnsafe: (request: Request) => void
  /** Gives the stream up at once; nothing more is heard of it. */
  readonly cancelUnsafe: () => void
}

/** A connection to one server. */
export interface Link {
  readonly endpoint: string
  /** Sends a request; returns the way to give it up. */
  readonly unaryUnsafe: <M extends keyof Unary>(
    method: M,
    request: Unary[M][0],
    answered: (answer: Unary[M][1] | RpcError) => void
  ) => () => void
  /** Opens a stream, or says why there can be none. */
  readonly streamUnsafe: <S extends keyof Streams>(
    method: S,
    on: { readonly message: (message: Streams[S][1]) => void; readonly end: (error: RpcError) => void }
  ) => Duplex<Streams[S][0]> | RpcError
  /** Sends this token of an authentication with every later call. */
  readonly setTokenUnsafe: (token: string) => void
  /** Ends the connection, also one on which nothing is heard any more. */
  readonly closeUnsafe: () => void
}

/** What opens connections. Another gRPC client takes etcd3's place by giving one of these. */
export interface Transport {
  /** How many servers there are to choose from, where that is known. */
  readonly endpoints: number
  /** Opens a connection, to another server than the one to avoid where there is one. */
  readonly dial: (avoid: string | undefined) => Effect.Effect<Link, RpcError>
  /** Makes a client that authenticates by itself ask for a new token. */
  readonly reauthenticate: Effect.Effect<void, RpcError> | undefined
}
