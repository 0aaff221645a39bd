/** Watches as streams, each on the connection of the moment. */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { CoordinatorError } from "../../CoordinatorError.ts"
import { WatchBroken } from "../../internal/resync.ts"
import type { Connected, Connections } from "./connections.ts"
import { failureOf } from "./failure.ts"
import type { Quorum } from "./quorum.ts"
import { failing } from "./quorum.ts"
import type { Bytes, WatchResponse } from "./rpc.ts"
import { RpcError } from "./rpc.ts"
import * as Watches from "./watches.ts"

/** What is watched: one key, or the keys up to `end`; from which revision on, in which epoch. */
export interface Watching<A> {
  readonly key: Bytes
  readonly end?: Bytes
  readonly from: bigint
  readonly epoch: number
  readonly onEvents: (events: WatchResponse["events"]) => ReadonlyArray<A>
  readonly onProgress: (revision: bigint) => ReadonlyArray<A>
}

export interface Upstream {
  /** The connection that a watch started now would run on. */
  readonly connection: Effect.Effect<Connected, CoordinatorError>
  /** What is delivered from a revision on, each answer turned into elements. */
  readonly watch: <A>(watching: Watching<A>) => Stream.Stream<A, CoordinatorError | WatchBroken>
  /** Returns with the first events that the test takes, or when the watch ends. */
  readonly attend: (watching: {
    readonly key: Bytes
    readonly from: bigint
    readonly test: (events: WatchResponse["events"]) => boolean
  }) => Effect.Effect<void>
}

export const make = Effect.fnUntraced(function* (
  connections: Connections,
  quorum: Quorum,
  requestMillis: number
): Effect.fn.Return<Upstream, never, Scope.Scope> {
  const connection = Effect.mapError(connections.current, failing("Group.watch", "read"))
  let current: { readonly of: Connected; readonly watches: Watches.Watches } | undefined

  /** Those of a connection that was given up have ended with it, so one is enough. */
  const watchesOf = (of: Connected): Watches.Watches => {
    if (current?.of !== of) current = { of, watches: Watches.make(of) }
    return current.watches
  }

  yield* Effect.sleep(requestMillis).pipe(
    Effect.andThen(Effect.sync(() => current?.watches.tickUnsafe())),
    Effect.forever,
    Effect.forkScoped
  )

  return {
    connection,
    attend: ({ from, key, test }) =>
      Effect.flatMap(connection, (of) =>
        Effect.callback<void>((resume) => {
          let stop = () => {}
          const release = () => {
            unregister()
            stop()
          }
          const end = () => {
            release()
            resume(Effect.void)
          }
          const unregister = quorum.onRewindUnsafe(end)
          stop = watchesOf(of).watchUnsafe({
            key,
            from,
            events: (events) => {
              const newest = events.at(-1)
              if (newest !== undefined) quorum.sawUnsafe(BigInt(newest.kv.mod_revision))
              if (test(events)) end()
            },
            progress: () => {},
            ended: end
          })
          return Effect.sync(release)
        })
      ).pipe(Effect.ignore),
    watch: <A>({ end, epoch, from, key, onEvents, onProgress }: Watching<A>) =>
      Stream.unwrap(
        Effect.gen(function* () {
          const of = yield* connection
          // Revisions before and after a rewind do not continue one another.
          if (epoch !== quorum.epochUnsafe()) return yield* new WatchBroken({ why: "rewound" })
          const queue = yield* Queue.unbounded<A, CoordinatorError | WatchBroken | Cause.Done>()
          const fail = (error: CoordinatorError | WatchBroken) => Queue.failCauseUnsafe(queue, Cause.fail(error))
          yield* Effect.acquireRelease(
            Effect.sync(() => {
              const unregister = quorum.onRewindUnsafe(() => fail(new WatchBroken({ why: "rewound" })))
              const stop = watchesOf(of).watchUnsafe({
                key,
                ...(end === undefined ? {} : { end }),
                from,
                events: (events) => {
                  const newest = events.at(-1)
                  if (newest !== undefined) quorum.sawUnsafe(BigInt(newest.kv.mod_revision))
                  Queue.offerAllUnsafe(queue, onEvents(events))
                },
                progress: (revision) => {
                  if (revision >= from) Queue.offerAllUnsafe(queue, onProgress(revision))
                },
                ended: (error) => fail(error instanceof RpcError ? failureOf("Group.watch", "read", error) : error)
              })
              return () => {
                unregister()
                stop()
              }
            }),
            (release) => Effect.sync(release)
          )
          return Stream.fromQueue(queue)
        })
      )
  }
})
