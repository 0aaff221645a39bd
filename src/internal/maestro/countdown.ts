/** A budget of time that can be paused and cut short. */
import type * as Clock from "effect/Clock"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"

export interface Countdown {
  readonly pause: () => void
  readonly resume: () => void
  /** Ends it now, as if the time were over. */
  readonly cut: () => void
  readonly cancel: () => void
}

/**
 * A countdown that is not running yet. `onZero` is called once, unless it was cancelled before. An infinite one never
 * sets a timer.
 */
export const make = (
  context: Context.Context<never>,
  clock: Clock.Clock,
  millis: number,
  onZero: () => void
): Countdown => {
  const now = (): number => Number(clock.monotonicTimeNanosUnsafe()) / 1_000_000
  let left = millis
  let since = 0
  let timer: Fiber.Fiber<void> | undefined
  let over = false
  const pause = (): void => {
    if (timer === undefined) return
    timer.interruptUnsafe()
    timer = undefined
    left = Math.max(0, left - (now() - since))
  }
  const end = (then: () => void): void => {
    if (over) return
    over = true
    pause()
    then()
  }
  return {
    pause,
    resume: () => {
      if (over || timer !== undefined || !Number.isFinite(left)) return
      since = now()
      const started = Effect.runForkWith(context)(Effect.sleep(left))
      timer = started
      started.addObserver((exit) => {
        if (exit._tag === "Success" && timer === started) end(onZero)
      })
    },
    cut: () => end(onZero),
    cancel: () => end(() => {})
  }
}

/**
 * Waits for a fiber to end, and no longer than the countdown that `start` makes: past it the fiber goes on apart, and
 * the answer is nothing.
 */
export const within = <A, E>(
  fiber: Fiber.Fiber<A, E>,
  start: (onZero: () => void) => Countdown
): Effect.Effect<Exit.Exit<A, E> | undefined> =>
  Effect.callback((resume) => {
    const done = fiber.pollUnsafe()
    if (done !== undefined) return resume(Effect.succeed(done))
    const listener: { stop: () => void } = { stop: () => {} }
    const countdown = start(() => {
      listener.stop()
      resume(Effect.undefined)
    })
    listener.stop = fiber.addObserver((exit) => {
      countdown.cancel()
      resume(Effect.succeed(exit))
    })
    return Effect.sync(() => {
      countdown.cancel()
      listener.stop()
    })
  })
