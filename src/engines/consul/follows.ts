/** Single entries that are followed: a few by a blocking query each, and the others of one group by one for all of them. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as RcMap from "effect/RcMap"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { CoordinatorError, Unreachable } from "../../CoordinatorError.ts"
import * as Notifier from "../../internal/notifier.ts"
import { resync } from "../../internal/resync.ts"
import type { Followed } from "../../internal/store.ts"
import type { Attendances } from "./attendances.ts"
import * as Attending from "./attendances.ts"
import type { Pair } from "./keys.ts"
import { entryOf } from "./keys.ts"
import type { Found, Kv } from "./kv.ts"
import * as Polls from "./polls.ts"
import * as Seats from "./seats.ts"

/** The shared query's answers are whole groups, mostly about somebody else: a crowd that comes at once is worth a few of them. */
const sharedBurst = 5

/** The group as the shared query has it. */
interface Shared {
  readonly pairs: ReadonlyMap<string, Pair>
  readonly revision: bigint
  readonly epoch: number
}

export interface Follows extends Pick<Attendances, "attendUnsafe"> {
  /** What becomes of an entry after the revision at which it is known; of one that is not known, what it is first. */
  readonly follow: (path: string, id: string, known?: bigint) => Stream.Stream<Followed, CoordinatorError>
}

export const make = Effect.fnUntraced(function* (
  kv: Kv,
  { endpoint, requestMillis }: { readonly endpoint: string; readonly requestMillis: number }
): Effect.fn.Return<Follows, never, Scope.Scope> {
  const clock = yield* Clock.clockWith(Effect.succeed)
  const seats = Seats.make()
  const { attendUnsafe } = Attending.make(kv, seats, { endpoint, requestMillis })
  const patience = {
    millis: requestMillis,
    // Made when it is read: an error costs its stack trace.
    get orElse() {
      const reason = new Unreachable({ detail: `No answer within ${Math.round(requestMillis)} ms` })
      return new CoordinatorError({ engine: "consul", operation: "Group.follow", endpoint, reason })
    }
  }

  /** All answers about a key, or about all keys below one, over every break. */
  const answers = (key: string, recurse: boolean, known = 0n): Stream.Stream<Found, CoordinatorError> =>
    Stream.suspend(() => {
      let from = known
      const start = Effect.sync(() => {
        const burst = recurse ? { burst: sharedBurst } : {}
        const poll = kv.poll("Group.follow", key, { recurse, from, endpoint, requestMillis, ...burst })
        // An index must not be waited for after a failure.
        from = 0n
        return Polls.stream(poll)
      })
      return resync<Found>({ label: key, within: patience, start, disconnected: () => [] })
    })

  const followed = (path: string, pair: Pair | undefined, revision: bigint): Followed => ({
    entry: Option.map(Option.fromNullishOr(pair), (found) => entryOf(path, found)),
    revision
  })

  const share = Effect.fnUntraced(function* (path: string) {
    const changed = Notifier.make()
    let shared: Shared | undefined
    let failure: CoordinatorError | undefined
    yield* answers(path, true).pipe(
      Stream.runForEach(({ epoch, pairs, revision }) =>
        Effect.sync(() => {
          shared = { epoch, revision, pairs: new Map(pairs.map((pair) => [pair.Key, pair])) }
          changed.wakeUnsafe()
        })
      ),
      Effect.catch((error) =>
        Effect.sync(() => {
          failure = error
          changed.wakeUnsafe()
        })
      ),
      Effect.provideService(Clock.Clock, clock),
      Effect.forkScoped({ startImmediately: true })
    )

    return (id: string, known: bigint | undefined): Stream.Stream<Followed, CoordinatorError> =>
      Stream.suspend(() => {
        const key = `${path}${id}`
        const since = kv.epochUnsafe()
        let told: { readonly version: number | undefined } | undefined
        /** What was not told yet. Before the revision that is known, an entry may be missing because it was not there yet. */
        const news = (): Shared | undefined => {
          if (shared === undefined) return undefined
          if (told !== undefined) return shared.pairs.get(key)?.ModifyIndex === told.version ? undefined : shared
          return known === undefined || shared.revision > known || shared.epoch !== since ? shared : undefined
        }
        const pull = Effect.flatMap(
          changed.until(() => failure !== undefined || news() !== undefined),
          () => {
            const now = news()
            if (failure !== undefined || now === undefined) return Effect.fail(failure ?? patience.orElse)
            const pair = now.pairs.get(key)
            told = { version: pair?.ModifyIndex }
            return Effect.succeed([followed(path, pair, now.revision)] as const)
          }
        )
        return Stream.fromPull(Effect.succeed(pull))
      })
  })

  const hubs = yield* RcMap.make({ lookup: share })

  /** Takes one of the queries for single keys that a group has, if there is one left. */
  const single = (path: string) =>
    Effect.acquireRelease(
      Effect.sync(() => seats.takeUnsafe(path)),
      (giveBack) => Effect.sync(() => giveBack?.())
    )

  const follow: Follows["follow"] = (path, id, known) =>
    Stream.unwrap(
      Effect.gen(function* () {
        if ((yield* single(path)) === undefined) return (yield* RcMap.get(hubs, path))(id, known)
        return Stream.map(answers(`${path}${id}`, false, known), ({ pairs: [pair], revision }) =>
          followed(path, pair, revision)
        )
      })
    )

  return { attendUnsafe, follow }
})
