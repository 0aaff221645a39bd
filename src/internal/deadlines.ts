/**
 * Deadlines that all have the same bound: they come in the order in which they were begun, so that one timer, for the oldest, serves
 * them all. A timer and its fiber for each would be a good part of what a request costs this process.
 */
import * as Cause from "effect/Cause"
import type * as Clock from "effect/Clock"
import type * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import type * as Scope from "effect/Scope"
import * as Roster from "./roster.ts"

interface Open {
  /** By the monotonic clock, in nanoseconds: a wall clock that is set does not shorten anybody's time. */
  readonly deadline: bigint
  readonly end: () => void
}

/** Has an effect end with a failure of somebody else's; returns the way not to. Never calls back within the call. */
export type Cut<E> = (end: (failure: Effect.Effect<never, E>) => void) => () => void

interface Bounding<A, E, E3, E4> {
  readonly orElse: Effect.Effect<A, E>
  readonly onDefect?: (defect: unknown) => E3
  readonly cut?: Cut<E4> | undefined
  readonly context?: Context.Context<never> | undefined
}

export interface Deadlines {
  /** Calls `end` when the time is over; returns the way to prevent it. */
  readonly beginUnsafe: (end: () => void) => () => void
  /**
   * Bounds an effect and its clean-up as `within` does: past the deadline the caller goes on with `orElse` at once, and whatever
   * the effect still does to end happens apart. So it does where it is cut. Where it dies, it fails as `onDefect` says.
   *
   * It runs in the context that is given, or in the caller's. A span makes a context of its own for each call, and whatever is
   * looked up in such a one is looked up anew: what a membership asks is asked in the context in which it was joined.
   */
  readonly bound: <A, E, A2, E2, E3 = never, E4 = never>(
    self: Effect.Effect<A, E>,
    options: Bounding<A2, E2, E3, E4>
  ) => Effect.Effect<A | A2, E | E2 | E3 | E4>
}

/** A timer is no more exact than that, and a clock that runs at another speed rounds. */
const exactNanos = 1_000_000n

/** After the scope the timer is gone as soon as nothing is open, and no request that is late then goes without its deadline. */
export const make = Effect.fnUntraced(function* (options: {
  readonly clock: Clock.Clock
  readonly millis: number
}): Effect.fn.Return<Deadlines, never, Scope.Scope> {
  const { clock, millis } = options
  const run = Effect.runForkWith(yield* Effect.context<never>())
  const bound = Duration.toNanosUnsafe(Duration.millis(millis))
  const open = new Roster.Roster<Open>()
  let timer: Fiber.Fiber<void> | undefined
  let lingers = true

  const stopUnsafe = (): void => {
    if (lingers || !open.isEmpty) return
    timer?.interruptUnsafe()
    timer = undefined
  }
  yield* Effect.addFinalizer(() =>
    Effect.sync(() => {
      lingers = false
      stopUnsafe()
    })
  )

  const now = () => clock.monotonicTimeNanosUnsafe()

  const watch = Effect.gen(function* () {
    for (let { oldest } = open; oldest !== undefined; { oldest } = open) {
      const left = oldest.deadline - now()
      if (left >= exactNanos) yield* clock.sleep(Duration.nanos(left))
      else oldest.end()
    }
    timer = undefined
  })

  const beginUnsafe = (end: () => void): (() => void) => {
    const leave = () => {
      if (open.remove(entry)) stopUnsafe()
    }
    const entry = open.add({
      deadline: now() + bound,
      end: () => {
        open.remove(entry)
        end()
      }
    })
    timer ??= run(watch)
    return leave
  }

  return {
    beginUnsafe,
    bound: <A, E, A2, E2, E3 = never, E4 = never>(self: Effect.Effect<A, E>, options: Bounding<A2, E2, E3, E4>) => {
      const { cut, onDefect, orElse } = options
      const ask = (context: Context.Context<never>) =>
        Effect.callback<A | A2, E | E2 | E3 | E4>((resume) => {
          const ended = (exit: Exit.Exit<A, E>) => {
            const defect = Exit.isFailure(exit) && onDefect !== undefined ? Cause.findDefect(exit.cause) : undefined
            resume(defect?._tag === "Success" && onDefect !== undefined ? Effect.fail(onDefect(defect.success)) : exit)
          }
          const work = Effect.runForkWith(context)(self)
          const done = work.pollUnsafe()
          if (done !== undefined) return ended(done)
          const instead = (result: Effect.Effect<A2, E2 | E4>) => {
            release()
            resume(result)
            work.interruptUnsafe()
          }
          const prevent = beginUnsafe(() => instead(orElse))
          const uncut = cut?.(instead)
          const release = () => {
            prevent()
            uncut?.()
          }
          work.addObserver((exit) => {
            release()
            ended(exit)
          })
          return Effect.sync(() => {
            release()
            work.interruptUnsafe()
          })
        })
      return options.context === undefined ? Effect.contextWith(ask) : ask(options.context)
    }
  }
})
