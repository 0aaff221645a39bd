/**
 * Deadlines of requests that all have the same bound: they come in the order in which the requests began, so that one timer, for the
 * oldest, serves them all. A timer and its fiber for each would be a good part of what a request costs this process.
 */
import type * as Clock from "effect/Clock"
import type * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import type * as Scope from "effect/Scope"

interface Open {
  /** By the monotonic clock, in nanoseconds: a wall clock that is set does not shorten anybody's time. */
  readonly deadline: bigint
  readonly end: () => void
}

export interface Deadlines {
  /**
   * Bounds an effect and its clean-up as `within` does: past the deadline the caller goes on with `orElse` at once, and whatever
   * the effect still does to end happens apart.
   */
  readonly bound: <A, E, R, A2, E2, R2>(
    self: Effect.Effect<A, E, R>,
    orElse: Effect.Effect<A2, E2, R2>
  ) => Effect.Effect<A | A2, E | E2, R | R2>
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
  const open = new Set<Open>()
  let timer: Fiber.Fiber<void> | undefined
  let lingers = true

  const stopUnsafe = (): void => {
    if (lingers || open.size > 0) return
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
    for (let [oldest] = open; oldest !== undefined; [oldest] = open) {
      const left = oldest.deadline - now()
      if (left >= exactNanos) yield* clock.sleep(Duration.nanos(left))
      else {
        open.delete(oldest)
        oldest.end()
      }
    }
    timer = undefined
  })

  return {
    bound: <A, E, R, A2, E2, R2>(self: Effect.Effect<A, E, R>, orElse: Effect.Effect<A2, E2, R2>) =>
      Effect.contextWith((context: Context.Context<R | R2>) =>
        Effect.callback<A | A2, E | E2, R | R2>((resume) => {
          const work = Effect.runForkWith(context)(self)
          const entry: Open = {
            deadline: now() + bound,
            end: () => {
              resume(orElse)
              work.interruptUnsafe()
            }
          }
          open.add(entry)
          timer ??= run(watch)
          work.addObserver((exit) => {
            open.delete(entry)
            stopUnsafe()
            resume(exit)
          })
          return Effect.sync(() => {
            open.delete(entry)
            stopUnsafe()
            work.interruptUnsafe()
          })
        })
      )
  }
})
