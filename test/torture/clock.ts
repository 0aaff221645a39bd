/** One clock for all processes of a machine. */
import { Clock, Effect } from "effect"
import { hrtime } from "node:process"

/** Milliseconds of CLOCK_MONOTONIC, with fractions: they compare between processes, and no two events tie by rounding. */
export const now = (): number => Number(hrtime.bigint()) / 1_000_000

/** Real time, but stamps are by {@link now}: for the recorder of a history. */
export const shared: Effect.Effect<Clock.Clock> = Clock.clockWith((clock) =>
  Effect.succeed({
    currentTimeMillisUnsafe: now,
    currentTimeMillis: Effect.sync(now),
    currentTimeNanosUnsafe: () => clock.currentTimeNanosUnsafe(),
    currentTimeNanos: clock.currentTimeNanos,
    monotonicTimeNanosUnsafe: () => clock.monotonicTimeNanosUnsafe(),
    monotonicTimeNanos: clock.monotonicTimeNanos,
    sleep: (duration) => clock.sleep(duration)
  })
)
