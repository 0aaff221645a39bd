/** The clocks of one simulated process, over the clock of the test: they may run fast or slow, jump, and stand still. */
import type * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"

export interface ProcessClock extends Clock.Clock {
  /** Both clocks run at `rate` times the speed of the test's clock from now on. */
  readonly setRateUnsafe: (rate: number) => void
  /** Moves the wall clock only. */
  readonly jumpWallUnsafe: (millis: number) => void
  /** Open while the process runs. Whatever the process does next waits for it. */
  readonly running: Latch.Latch
}

export const make = (base: Clock.Clock): ProcessClock => {
  const running = Latch.makeUnsafe(true)
  let rate = 1
  let anchor = {
    baseMonotonic: base.monotonicTimeNanosUnsafe(),
    monotonic: base.monotonicTimeNanosUnsafe(),
    baseWall: base.currentTimeMillisUnsafe(),
    wall: base.currentTimeMillisUnsafe()
  }
  const monotonic = (): bigint => {
    const elapsed = base.monotonicTimeNanosUnsafe() - anchor.baseMonotonic
    return anchor.monotonic + (rate === 1 ? elapsed : BigInt(Math.round(Number(elapsed) * rate)))
  }
  const wall = (): number => anchor.wall + (base.currentTimeMillisUnsafe() - anchor.baseWall) * rate
  const reanchor = (jump: number) => {
    anchor = {
      monotonic: monotonic(),
      wall: wall() + jump,
      baseMonotonic: base.monotonicTimeNanosUnsafe(),
      baseWall: base.currentTimeMillisUnsafe()
    }
  }
  const nanos = () => BigInt(Math.round(wall() * 1_000_000))
  return {
    running,
    setRateUnsafe: (next) => {
      reanchor(0)
      rate = next
    },
    jumpWallUnsafe: reanchor,
    currentTimeMillisUnsafe: wall,
    currentTimeMillis: Effect.sync(wall),
    currentTimeNanosUnsafe: nanos,
    currentTimeNanos: Effect.sync(nanos),
    monotonicTimeNanosUnsafe: monotonic,
    monotonicTimeNanos: Effect.sync(monotonic),
    sleep: (duration) =>
      Effect.andThen(
        base.sleep(rate === 1 ? duration : Duration.millis(Duration.toMillis(duration) / rate)),
        running.await
      )
  }
}
