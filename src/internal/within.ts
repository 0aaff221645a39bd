import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"

/**
 * Bounds an effect and its clean-up: past the deadline the caller goes on at once, and whatever the effect still does
 * to end happens apart.
 *
 * `Effect.timeout` waits for the loser's clean-up, so a request stuck on a dead connection would hold its caller (a
 * renewal, a release) past the very deadline that is meant to bound it.
 */
export const within = <A, E, R, A2, E2, R2>(
  self: Effect.Effect<A, E, R>,
  options: { readonly millis: number; readonly orElse: Effect.Effect<A2, E2, R2> }
): Effect.Effect<A | A2, E | E2, R | R2> =>
  Effect.contextWith((context: Context.Context<R | R2>) =>
    Effect.callback<A | A2, E | E2, R | R2>((resume) => {
      const run = Effect.runForkWith(context)
      const work = run(self)
      const timer = run(Effect.sleep(options.millis))
      work.addObserver((exit) => {
        timer.interruptUnsafe()
        resume(exit)
      })
      timer.addObserver((exit) => {
        if (exit._tag === "Failure") return
        resume(options.orElse)
        work.interruptUnsafe()
      })
      return Effect.sync(() => {
        timer.interruptUnsafe()
        work.interruptUnsafe()
      })
    })
  )
