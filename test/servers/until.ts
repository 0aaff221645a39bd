import type { Duration } from "effect"
import { Clock, Effect, Schedule } from "effect"

/** Servers live in real time, also under a test that holds its own clock. */
export const realTime = Effect.provideService(Clock.Clock, Clock.Clock.defaultValue())

/** Tries again until the effect succeeds, or fails as the last try did once the time is up. */
export const until = <A, E, R>(
  effect: Effect.Effect<A, E, R>,
  options: { readonly within: Duration.Input; readonly while?: (error: E) => boolean }
): Effect.Effect<A, E, R> =>
  effect.pipe(
    Effect.retry({
      // Servers take tenths of seconds to start: 10 ms more or less are not noticed.
      schedule: Schedule.spaced("10 millis").pipe(Schedule.upTo({ duration: options.within })),
      while: options.while ?? (() => true)
    }),
    realTime
  )
