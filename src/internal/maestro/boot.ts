/** The top of a run: starts what is below, and stops it as a whole. */
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import type { AnyLayer } from "./erased.ts"
import * as Countdown from "./countdown.ts"
import { StartFailed } from "./errors.ts"
import type { ServiceStatus } from "./model.ts"
import { CurrentBuilder, makeMemoMap } from "./parts.ts"
import type { Run } from "./run.ts"
import { awaitStop, conclude, CurrentRun, cutBounds, enter, now } from "./run.ts"
import { depend } from "./start.ts"
import { sweep, timeLeft } from "./stop.ts"

/** The run that a `Maestro` in the context speaks for. */
export class RunOfMaestro extends Context.Service<RunOfMaestro, Run>()("effect-ensemble/Maestro/RunOfMaestro") {}

/** All services as they stand, in the order in which they were met. */
export const statesOf = (run: Run): ReadonlyArray<ServiceStatus> =>
  [...run.services.values()].map(({ status }) => status)

/**
 * Stops a run: whoever asks first stops it, the others wait for the end. What is composed outside all services is closed
 * within the whole time; what it did not let go by then is stopped without it.
 */
export const stopRun = (run: Run, exit: Exit.Exit<unknown, unknown>): Effect.Effect<void> =>
  Effect.suspend(() => {
    if (run.ending) return Deferred.await(run.ended)
    run.ending = true
    run.stoppingAt = now(run)
    enter(run, "stopping")
    const { building } = run
    const interrupted = building === undefined ? Effect.void : Fiber.interrupt(building)
    const left = timeLeft(run)
    // Also for what began to stop before, with a limit of its own.
    const end = Countdown.make(run.context, run.clock, left, () => cutBounds(run))
    end.resume()
    const closing = Effect.runForkWith(run.context)(Effect.andThen(interrupted, Scope.close(run.rootScope, exit)))
    return awaitStop(run, closing, left).pipe(
      Effect.flatMap((closed) => {
        run.rootClosed = closed
        return sweep(run, exit)
      }),
      Effect.ensuring(
        Effect.sync(() => {
          end.cancel()
          conclude(run)
        })
      ),
      Effect.uninterruptible
    )
  })

const failed = (run: Run, cause: Cause.Cause<unknown>): StartFailed => {
  const services = statesOf(run)
  const neverAttempted = services.filter(({ attempts }) => attempts === 0).map(({ name }) => name)
  return new StartFailed({
    services,
    neverAttempted,
    cause: run.problem === undefined ? cause : Cause.fail(run.problem)
  })
}

/**
 * Builds the application on a fiber of the run, so that the run can be stopped by others than whoever asked for it, and in
 * a scope of the run, so that closing it can be bounded.
 */
const start = Effect.fnUntraced(function* (run: Run, app: AnyLayer, memoMap: Layer.MemoMap, scope: Scope.Scope) {
  if (run.startedAt !== undefined) {
    return yield* Effect.die(new Error("Maestro.boot was called twice under one Maestro.layer. Give each its own"))
  }
  run.startedAt = now(run)
  run.memoMap = makeMemoMap(memoMap, (dependent, dependency) => depend(run, dependent, dependency))
  yield* Scope.addFinalizerExit(scope, (exit) => stopRun(run, exit))
  // Stopped before it began: by its user, or because the scope was closed already.
  if (run.ending) return yield* failed(run, Cause.interrupt())
  enter(run, "starting")
  const context = (yield* Effect.context<never>()).pipe(
    Context.add(CurrentRun, run),
    Context.add(CurrentBuilder, { service: undefined, part: undefined })
  )
  const building = Effect.runForkWith(context)(Layer.buildWithMemoMap(app, run.memoMap, run.rootScope))
  run.building = building
  // It may have found its problem in the very turn in which it was started.
  if (run.problem !== undefined) building.interruptUnsafe()
  const exit = yield* Effect.interruptible(Fiber.await(building))
  if (Exit.isSuccess(exit) && !run.ending) {
    run.runningAt = now(run)
    enter(run, "running")
    return exit.value
  }
  yield* stopRun(run, exit)
  return yield* failed(run, Exit.isSuccess(exit) ? Cause.interrupt() : exit.cause)
}, Effect.uninterruptible)

export const boot = (app: AnyLayer): Layer.Layer<never, StartFailed> =>
  Layer.fromBuildMemo((memoMap, scope) =>
    Effect.contextWith((context: Context.Context<never>) =>
      Option.match(Context.getOption(context, RunOfMaestro), {
        onNone: () => Effect.die(new Error("Maestro.boot needs Maestro.layer: provide it around the booted layer")),
        onSome: (run) => start(run, app, memoMap, scope)
      })
    )
  )
