/** The time of one coordinator, for machinery that has no fiber of its own. */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as Random from "effect/Random"

export interface Timers {
  readonly nowMillis: () => number
  /** Calls back once after so long; returns the way to call it off. */
  readonly after: (millis: number, then: () => void) => () => void
  /** Between 0 and 1. */
  readonly random: () => number
  /** Runs an effect by this clock, and tells how it ended; returns the way to interrupt it, after which nothing is told. */
  readonly run: <A, E>(effect: Effect.Effect<A, E>, ended: (exit: Exit.Exit<A, E>) => void) => () => void
}

export const make: Effect.Effect<Timers> = Effect.gen(function* () {
  const clock = yield* Clock.clockWith(Effect.succeed)
  const random = yield* Random.Random
  const fork = Effect.runForkWith(yield* Effect.context<never>())
  const run: Timers["run"] = (effect, ended) => {
    let isWanted = true
    const fiber = fork(effect)
    fiber.addObserver((exit) => {
      if (isWanted) ended(exit)
    })
    return () => {
      isWanted = false
      fiber.interruptUnsafe()
    }
  }
  return {
    nowMillis: () => Number(clock.monotonicTimeNanosUnsafe()) / 1_000_000,
    after: (millis, then) => run(clock.sleep(Duration.millis(millis)), then),
    random: () => random.nextDoubleUnsafe(),
    run
  }
})
