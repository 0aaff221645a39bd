/** One run of a worker, and what its policy says when it has ended. */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Latch from "effect/Latch"
import * as Schedule from "effect/Schedule"
import type { Spec } from "./spec.ts"

/**
 * A restart is never sooner than this, whatever the schedule says: one without delays (`Schedule.recurs`) over a worker
 * that fails at once would keep a core busy. A hundred starts a second is more than anything can gain by.
 */
const soonestMillis = 10

/** Init, the wait for the others, and the run, in one scope that closes before the run counts as ended. */
export const run = (spec: Spec, initialized: () => void, gate: Latch.Latch): Effect.Effect<unknown, unknown> =>
  spec.begin.pipe(
    Effect.withSpan("Supervisor.init", { attributes: { worker: spec.name } }),
    Effect.tap(() => Effect.andThen(Effect.sync(initialized), gate.await)),
    Effect.flatten,
    Effect.scoped,
    Effect.annotateLogs({ worker: spec.name })
  )

/** Asks the schedule: the delay before the next run, or nothing when there is none. */
export interface Pacer {
  readonly next: (exit: Exit.Exit<unknown, unknown>) => Effect.Effect<number | undefined>
  readonly reset: () => void
}

export const makePacer = (spec: Spec): Pacer => {
  const fresh = Schedule.toStep(spec.schedule)
  let current: Effect.Success<typeof fresh> | undefined
  const next = Effect.fnUntraced(
    function* (exit: Exit.Exit<unknown, unknown>) {
      current ??= yield* fresh
      // The schedule was given together with this worker, for its exits.
      const [, delay] = yield* current(yield* Clock.currentTimeMillis, exit as never)
      return Math.max(soonestMillis, Duration.toMillis(delay))
    },
    // A schedule that is at its end says so by failing; one that dies has no delay to offer either.
    Effect.catchCause((cause) =>
      Effect.as(
        Cause.hasDies(cause)
          ? Effect.logError(`The schedule of the worker "${spec.name}" has died: it counts as ended`, cause)
          : Effect.void,
        undefined
      )
    )
  )
  return {
    next: (exit) => (wantsAnother(spec, exit) ? next(exit) : Effect.undefined),
    reset: () => {
      current = undefined
    }
  }
}

const wantsAnother = (spec: Spec, exit: Exit.Exit<unknown, unknown>): boolean =>
  spec.restart === "always" || (spec.restart === "onFailure" && Exit.isFailure(exit))
