/** A program that is started and stopped by hand, any number of times. */
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import type { AnyLayer } from "./erased.ts"
import { boot, RunOfMaestro, stopRun } from "./boot.ts"
import type { StartFailed } from "./errors.ts"
import type { Run } from "./run.ts"
import { make as makeRun } from "./run.ts"

type Restore = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>

interface Attempt {
  readonly run: Run
  readonly scope: Scope.Closeable
  readonly fiber: Fiber.Fiber<Context.Context<never>, StartFailed>
  starters: number
}

export interface Program {
  readonly start: Effect.Effect<Context.Context<never>, StartFailed>
  readonly stop: Effect.Effect<void>
  readonly current: Effect.Effect<Run | undefined>
}

/** `provideRun` makes what the application sees of its run. */
export const makeProgram = (
  app: AnyLayer,
  stopMillis: number,
  provideRun: (run: Run) => Context.Context<never>
): Effect.Effect<Program> =>
  Effect.contextWith((context: Context.Context<never>) =>
    Effect.sync(() => {
      let current: Attempt | undefined

      const begin = (run: Run): Attempt => {
        const scope = Scope.makeUnsafe()
        const inside = Context.merge(context, provideRun(run)).pipe(Context.add(RunOfMaestro, run))
        const fiber = Effect.runForkWith(inside)(Layer.buildWithMemoMap(boot(app), Layer.makeMemoMapUnsafe(), scope))
        return { run, scope, fiber, starters: 0 }
      }

      const end = (attempt: Attempt): Effect.Effect<void> =>
        Effect.uninterruptible(
          Effect.andThen(
            stopRun(attempt.run, Exit.void),
            Effect.andThen(Fiber.await(attempt.fiber), Scope.close(attempt.scope, Exit.void))
          )
        )

      /** Shared by all who start at once: only when the last of them has gone is the start given up. */
      const join = (attempt: Attempt, restore: Restore): Effect.Effect<Context.Context<never>, StartFailed> => {
        attempt.starters++
        return Effect.onExit(restore(Fiber.join(attempt.fiber)), () => {
          attempt.starters--
          return attempt.starters === 0 && attempt.fiber.pollUnsafe() === undefined ? end(attempt) : Effect.void
        })
      }

      // An interruption between beginning a run and being counted among its starters would leave a run that nobody owns.
      const start: Program["start"] = Effect.uninterruptibleMask((restore) =>
        Effect.flatMap(makeRun({ stopMillis, implicit: false }), (run) => {
          if (current === undefined || current.run.stoppedAt !== undefined) current = begin(run)
          if (current.run.ending) return restore(Effect.andThen(Deferred.await(current.run.ended), start))
          return join(current, restore)
        })
      )

      return {
        start,
        stop: Effect.suspend(() => (current === undefined ? Effect.void : end(current))),
        current: Effect.sync(() => current?.run)
      }
    })
  )
