/** A watch that outlives its connections: start anew after every break, and say so while it is broken. */
import type { NonEmptyReadonlyArray } from "effect/Array"
import * as Cause from "effect/Cause"
import * as Channel from "effect/Channel"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import type * as Pull from "effect/Pull"
import * as Random from "effect/Random"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { CoordinatorError } from "../CoordinatorError.ts"
import * as metrics from "./metrics.ts"
import { unexpected } from "./unexpected.ts"
import { within } from "./within.ts"

/** The connection is good, but this watch cannot go on from where it was: read everything anew. */
export class WatchBroken extends Data.TaggedError("WatchBroken")<{
  readonly why: "compacted" | "gap" | "rewound" | "ended"
}> {}

/**
 * The first retry follows soon, because most breaks are a server that restarts; the last bound keeps a dead one from being
 * hammered, and is how long a watch may stay stale after its store is back.
 */
const firstPauseMillis = 50
const longestPauseMillis = 1_000

type Told<A> = Effect.Effect<NonEmptyReadonlyArray<A>, CoordinatorError>

/** From one start to the break that ends it. */
interface Round<A> {
  readonly scope: Scope.Closeable
  pull: Pull.Pull<NonEmptyReadonlyArray<A>, CoordinatorError | WatchBroken>
  delivered: number
}

/**
 * Runs `start` again and again. Each start reads the present state and gives the stream that goes on from exactly there,
 * so nothing is missed between the two. Ends only with an error that waiting does not cure.
 */
export const resync = <A>(options: {
  readonly label: string
  readonly start: Effect.Effect<
    Stream.Stream<A, CoordinatorError | WatchBroken>,
    CoordinatorError | WatchBroken,
    Scope.Scope
  >
  /** A start that is not answered by then is given up: a request sent into a dead connection may never fail by itself. */
  readonly within: { readonly millis: number; readonly orElse: CoordinatorError }
  readonly disconnected: (cause: CoordinatorError) => ReadonlyArray<A>
}): Stream.Stream<A, CoordinatorError> =>
  Stream.fromChannel(
    // One pull over all rounds: what each change passes through on its way to the program is this and no more.
    Channel.fromTransformBracket((_, __, lifetime) =>
      Effect.sync(() => {
        let failures = 0
        let round: Round<A> | undefined
        /** What is done before the next round begins. */
        let before: Effect.Effect<void> = Effect.void

        const pause = Effect.flatMap(Random.nextBetween(0.8, 1.2), (jitter) =>
          Effect.sleep(Math.min(longestPauseMillis, firstPauseMillis * 2 ** Math.min(failures++, 10)) * jitter)
        )
        const count = (cause: string) =>
          Metric.update(Metric.withAttributes(metrics.resyncs, { group: options.label, cause }), 1)

        const onBreak = (error: CoordinatorError | WatchBroken): Told<A> => {
          if (error._tag === "WatchBroken") {
            // A store that breaks every new watch at once must not be asked again without a pause either.
            const calm = failures === 0 ? Effect.sync(() => void failures++) : pause
            before = Effect.andThen(count(error.why), calm).pipe(
              Effect.withSpan("Group.resync", { attributes: { group: options.label, cause: error.why } })
            )
            return pull
          }
          if (!error.isTransient) return Effect.fail(error)
          const report = Effect.logWarning(
            `The watch on ${options.label} is broken; it reconnects and reads everything anew. ${error.message}`
          )
          before = Effect.all([failures === 0 ? report : Effect.void, count("disconnected"), pause], { discard: true })
          const [first, ...rest] = options.disconnected(error)
          return first === undefined ? pull : Effect.succeed([first, ...rest])
        }

        const { orElse } = options.within
        const thrown = unexpected(orElse, orElse.operation)

        const onEnd = (cause: Cause.Cause<CoordinatorError | WatchBroken | Cause.Done>): Told<A> => {
          const defect = Cause.findDefect(cause)
          if (defect._tag === "Success") return onBreak(thrown(defect.success))
          const error = Option.getOrUndefined(Cause.findErrorOption(cause))
          if (error === undefined) return Effect.interrupt
          return onBreak(Cause.isDone(error) ? new WatchBroken({ why: "ended" }) : error)
        }

        const end = (cause: Cause.Cause<CoordinatorError | WatchBroken | Cause.Done>): Told<A> => {
          const scope = round?.scope
          round = undefined
          const told = Effect.suspend(() => onEnd(cause))
          return scope === undefined ? told : Effect.andThen(Scope.close(scope, Exit.void), told)
        }

        const begin = Effect.gen(function* () {
          const scope = yield* Scope.fork(lifetime)
          round = { scope, pull: Effect.never, delivered: 0 }
          const stream = yield* within(Scope.provide(options.start, scope), {
            millis: options.within.millis,
            orElse: Effect.fail(orElse)
          })
          round.pull = yield* Scope.provide(Stream.toPull(stream), scope)
        })

        const next = (of: Round<A>): Told<A> =>
          Effect.matchCauseEffect(of.pull, {
            onFailure: end,
            onSuccess: (told) => {
              of.delivered += told.length
              // The first element is what was read; only what the watch itself delivers proves that it works again.
              if (of.delivered > 1) failures = 0
              return Effect.succeed(told)
            }
          })

        const pull: Told<A> = Effect.suspend(() => {
          if (round !== undefined) return next(round)
          return Effect.matchCauseEffect(Effect.andThen(before, begin), { onFailure: end, onSuccess: () => pull })
        })
        return pull
      })
    )
  )
