/** A watch that outlives its connections: start anew after every break, and say so while it is broken. */
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
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
  Stream.suspend(() => {
    let failures = 0
    const pause = Effect.flatMap(Random.nextBetween(0.8, 1.2), (jitter) =>
      Effect.sleep(Math.min(longestPauseMillis, firstPauseMillis * 2 ** Math.min(failures++, 10)) * jitter)
    )
    const count = (cause: string) =>
      Metric.update(Metric.withAttributes(metrics.resyncs, { group: options.label, cause }), 1)

    const onBreak = (error: CoordinatorError | WatchBroken): Stream.Stream<A, CoordinatorError> => {
      if (error._tag === "WatchBroken") {
        // A store that breaks every new watch at once must not be asked again without a pause either.
        const calm = failures === 0 ? Effect.sync(() => failures++) : pause
        return Stream.fromEffectDrain(
          Effect.andThen(count(error.why), calm).pipe(
            Effect.withSpan("Group.resync", { attributes: { group: options.label, cause: error.why } })
          )
        )
      }
      if (!error.isTransient) return Stream.fail(error)
      const report = Effect.logWarning(
        `The watch on ${options.label} is broken; it reconnects and reads everything anew. ${error.message}`
      )
      return Stream.concat(
        Stream.fromIterable(options.disconnected(error)),
        Stream.fromEffectDrain(Effect.all([failures === 0 ? report : Effect.void, count("disconnected"), pause]))
      )
    }

    const { orElse } = options.within
    const thrown = unexpected(orElse, orElse.operation)
    const started = Effect.flatMap(Effect.scope, (scope) =>
      within(Scope.provide(options.start, scope), {
        millis: options.within.millis,
        orElse: Effect.fail(orElse)
      })
    )
    const round = Stream.suspend(() => {
      let delivered = 0
      return Stream.unwrap(started).pipe(
        // Suspended: few watches end, and an error costs its stack trace.
        Stream.concat(Stream.suspend(() => Stream.fail(new WatchBroken({ why: "ended" })))),
        Stream.tap(() =>
          Effect.sync(() => {
            // The first element is what was read; only what the watch itself delivers proves that it works again.
            if (delivered++ > 0) failures = 0
          })
        ),
        Stream.catchDefect((defect) => Stream.fail(thrown(defect))),
        Stream.catch(onBreak)
      )
    })
    return Stream.forever(round)
  })
