/** Watches as streams, each on the connection of the moment. */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { CoordinatorError } from "../../CoordinatorError.ts"
import { WatchBroken } from "../../internal/resync.ts"
import * as Attendance from "./attendance.ts"
import type { Connected, Connections } from "./connections.ts"
import { failureOf } from "./failure.ts"
import type { GroupKeys } from "./keys.ts"
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
  /** Calls back once when an entry of the group may no longer be this holding, or when that can no longer be told. */
  readonly attendUnsafe: (
    group: string,
    keys: GroupKeys,
    ...attending: Parameters<Attendance.Attendance["attendUnsafe"]>
  ) => () => void
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

  /** A watch that a rewind ends as well. After its end, and after it was given up, nothing is called. */
  const observeUnsafe = (of: Connected, { ended, events, ...watched }: Watches.Watch): (() => void) => {
    let isOver = false
    let stop = () => {}
    const release = () => {
      isOver = true
      unregister()
      stop()
    }
    const end = (error: RpcError | WatchBroken) => {
      if (isOver) return
      release()
      ended(error)
    }
    const unregister = quorum.onRewindUnsafe(() => end(new WatchBroken({ why: "rewound" })))
    stop = watchesOf(of).watchUnsafe({
      ...watched,
      events: (told) => {
        const newest = told.at(-1)
        if (newest !== undefined) quorum.sawUnsafe(BigInt(newest.kv.mod_revision))
        events(told)
      },
      ended: end
    })
    return release
  }

  /** The entries that this process holds, by their group. */
  const attendances = new Map<string, Attendance.Attendance>()
  const observePresentUnsafe: Attendance.ObserveUnsafe = ({ ended, ...watched }) => {
    const of = connections.presentUnsafe()
    if (of !== undefined) return observeUnsafe(of, { ...watched, ended, progress: () => {} })
    ended()
    return () => {}
  }

  yield* Effect.sleep(requestMillis).pipe(
    Effect.andThen(Effect.sync(() => current?.watches.tickUnsafe())),
    Effect.forever,
    Effect.forkScoped
  )

  return {
    connection,
    attendUnsafe: (group, keys, ...attending) => {
      let attendance = attendances.get(group)
      if (attendance === undefined) {
        attendance = Attendance.make(keys, observePresentUnsafe, () => attendances.delete(group))
        attendances.set(group, attendance)
      }
      return attendance.attendUnsafe(...attending)
    },
    watch: <A>({ end, epoch, from, key, onEvents, onProgress }: Watching<A>) =>
      Stream.unwrap(
        Effect.gen(function* () {
          const of = yield* connection
          // Revisions before and after a rewind do not continue one another.
          if (epoch !== quorum.epochUnsafe()) return yield* new WatchBroken({ why: "rewound" })
          const queue = yield* Queue.unbounded<A, CoordinatorError | WatchBroken | Cause.Done>()
          yield* Effect.acquireRelease(
            Effect.sync(() =>
              observeUnsafe(of, {
                key,
                ...(end === undefined ? {} : { end }),
                from,
                events: (events) => Queue.offerAllUnsafe(queue, onEvents(events)),
                progress: (revision) => {
                  if (revision >= from) Queue.offerAllUnsafe(queue, onProgress(revision))
                },
                ended: (error) => {
                  const failure = error instanceof RpcError ? failureOf("Group.watch", "read", error) : error
                  Queue.failCauseUnsafe(queue, Cause.fail(failure))
                }
              })
            ),
            (release) => Effect.sync(release)
          )
          return Stream.fromQueue(queue)
        })
      )
  }
})
