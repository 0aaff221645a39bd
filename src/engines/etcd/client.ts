/** etcd as the store that `internal/coordinator.ts` makes a coordinator of. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { CoordinatorError, OutcomeUnknown } from "../../CoordinatorError.ts"
import type { Facts, Renewal, Store } from "../../internal/store.ts"
import { within } from "../../internal/within.ts"
import type { Connections } from "./connections.ts"
import { isLeaseGone } from "./failure.ts"
import * as GroupStore from "./groupStore.ts"
import { prefixRange } from "./keys.ts"
import * as Quorum from "./quorum.ts"
import { failing } from "./quorum.ts"
import type { KeepAlive, RpcError, TxnRequest, TxnResponse } from "./rpc.ts"
import * as Upstream from "./upstream.ts"

/** The server grants no less than one and a half of its election timeout, which is a second by default, in whole seconds. */
const minimumTtlMillis = 2_000

/** etcd's default for `--max-request-bytes` is 1.5 MiB for the whole request: a key and the conditions come on top. */
const maximumValueBytes = 1_500_000

/** What is known of etcd before it is reached. */
export const facts = (endpoint: string): Facts => ({
  engine: "etcd",
  endpoint,
  margin: 0.8,
  minimumTtlMillis,
  maximumValueBytes
})

/** etcd's store, and transactions on it that the same connection carries. */
export interface EtcdStore extends Store {
  readonly transaction: (operation: string, request: TxnRequest) => Effect.Effect<TxnResponse, CoordinatorError>
}

export const make = Effect.fnUntraced(function* (
  connections: Connections,
  settings: GroupStore.Settings
): Effect.fn.Return<EtcdStore, never, Scope.Scope> {
  const { endpoint, prefix, requestMillis } = settings
  const clock = yield* Clock.clockWith(Effect.succeed)
  const quorum = yield* Quorum.make(connections, endpoint)
  const upstream = yield* Upstream.make(connections, quorum, requestMillis)
  let permitted = false

  /** A stream of its own for each: an answer names no request, so on a shared one it could be taken for a later one's. */
  const keepAlive = (session: string) =>
    Effect.flatMap(connections.current, (connection) =>
      Effect.callback<KeepAlive, RpcError>((resume) => {
        const stream = connection.streamUnsafe("leaseKeepAlive", {
          message: (answer) => {
            cancel()
            resume(Effect.succeed(answer))
          },
          end: (error) => resume(Effect.fail(error))
        })
        const cancel = () => {
          if (stream._tag === "Duplex") stream.cancelUnsafe()
        }
        if (stream._tag === "RpcError") return resume(Effect.fail(stream))
        stream.writeUnsafe({ ID: session })
        return Effect.sync(cancel)
      })
    )

  const renew = Effect.fnUntraced(function* (session: string): Effect.fn.Return<Renewal, CoordinatorError> {
    const seen = quorum.highestUnsafe()
    const since = quorum.epochUnsafe()
    const { header, TTL } = yield* Effect.mapError(keepAlive(session), failing("Session.renew", "read"))
    // The number is this member's own and may merely lag; the quorum knows.
    if (quorum.doubtsUnsafe(header, seen)) {
      yield* Effect.ignore(quorum.range("Session.renew", { key: prefixRange(prefix).key, count_only: true }))
    }
    if (since !== quorum.epochUnsafe()) return { _tag: "Rewound" }
    return Number(TTL) > 0 ? { _tag: "Renewed", ttlMillis: Number(TTL) * 1_000 } : { _tag: "Gone" }
  })

  return {
    open: Effect.fnUntraced(function* (ttlMillis) {
      if (!permitted) {
        // A user who may not even read the prefix is told so at the start, and not by the first join.
        yield* quorum.range("Session.open", { ...prefixRange(prefix), limit: 1, count_only: true })
        permitted = true
      }
      const seconds = Math.ceil(ttlMillis / 1_000)
      const { ID, TTL } = yield* Effect.mapError(
        quorum.send("Session.open", "write", "leaseGrant", { TTL: seconds }),
        failing("Session.open", "write")
      )
      return { id: ID, ttlMillis: Number(TTL) * 1_000 }
    }),
    renew,
    revoke: (session) =>
      connections.call("leaseRevoke", { ID: session }).pipe(
        Effect.catchIf(isLeaseGone, () => Effect.void),
        Effect.mapError(failing("Session.revoke", "write")),
        Effect.asVoid
      ),
    rewinds: Stream.fromPubSub(quorum.rewinds),
    group: (name) => GroupStore.make({ quorum, upstream }, settings, name),
    transaction: (operation, request) => {
      const detail = `No answer within ${Math.round(requestMillis)} ms`
      const late = new CoordinatorError({ engine: "etcd", operation, endpoint, reason: new OutcomeUnknown({ detail }) })
      return within(quorum.txn(operation, "write", request), {
        millis: requestMillis,
        orElse: Effect.fail(late)
      }).pipe(Effect.provideService(Clock.Clock, clock))
    }
  }
})
