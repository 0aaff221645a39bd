/** Starting a service: once per run, on a fiber of the run, with its retries and bounds. */
import * as Cause from "effect/Cause"
import type * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import * as Countdown from "./countdown.ts"
import { StartTimeout } from "./errors.ts"
import { outputFor } from "./output.ts"
import type { Run } from "./run.ts"
import { abort, happen, nested, now } from "./run.ts"
import type { Service } from "./service.ts"
import { isSettled, reasonOf } from "./service.ts"
import { findStall } from "./stall.ts"

type Restore = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
type Built = Exit.Exit<Context.Context<never>, unknown>

/** One service depends on another: it holds it up, and its clock stands still while that one is pending. */
export const depend = (run: Run, dependent: Service, dependency: Service): void => {
  if (dependent === dependency) return
  if (!dependent.dependencies.has(dependency)) {
    dependent.dependencies.add(dependency)
    // A captive belongs to an attempt of its dependent's, and goes with that attempt's scope.
    if (!dependency.captive && !dependent.stopping) {
      dependent.holds.add(dependency)
      dependency.heldBy.add(dependent)
    }
  }
  if (isSettled(dependency) || isSettled(dependent) || dependency.dependents.has(dependent)) return
  dependency.dependents.add(dependent)
  if (++dependent.pending > 1) return
  run.blocked++
  dependent.countdown?.pause()
  happen(run, dependent, { _tag: "Waiting" })
}

/** Its own construction is under way, as far as can be seen from outside: nothing that it depends on is pending. */
const begin = (run: Run, service: Service): void => {
  if (service.pending > 0 || service.stopping || service.attempt === 0 || isSettled(service)) return
  happen(run, service, { _tag: "Starting", attempt: service.attempt })
  service.countdown?.resume()
}

const checkStall = (run: Run): void => findStall(run, (problem) => abort(run, problem))

/** Whether something that it needs has failed. It may replace that inside, and go on; most fail by it. */
const isDoomed = (service: Service): boolean => {
  for (const { definition, status } of service.dependencies) {
    if (!definition.optional && status.failure !== undefined) return true
  }
  return false
}

/**
 * Those who wait for a service hear of it first, and are counted as starting only then: one that is built by a chain of
 * `Layer.provide` meets its next dependency in the same turn.
 */
const wake = (run: Run, service: Service, result: Built): void => {
  const dependents = [...service.dependents]
  service.dependents.clear()
  for (const dependent of dependents) if (--dependent.pending === 0) run.blocked--
  Deferred.doneUnsafe(service.result, outputFor(service, result))
  for (const dependent of dependents) if (!isDoomed(dependent)) begin(run, dependent)
}

const tell = (run: Run, service: Service, result: Built): void =>
  nested(
    run,
    () => wake(run, service, result),
    () => checkStall(run)
  )

const ready = (run: Run, service: Service, output: Context.Context<never>): void => {
  service.countdown?.cancel()
  begin(run, service)
  service.output = output
  service.settledAt = now(run)
  happen(run, service, { _tag: "Ready" })
  tell(run, service, Exit.succeed(output))
}

const failed = (run: Run, service: Service, cause: Cause.Cause<unknown>): void => {
  service.countdown?.cancel()
  const failure = reasonOf(service, cause)
  if (failure._tag === "ConstructionFailed") begin(run, service)
  service.settledAt = now(run)
  happen(run, service, { _tag: "Failed", failure })
  tell(run, service, Exit.failCause(cause))
}

/** The failure, together with what the clean-up after it died of. */
const cleanUp = Effect.fnUntraced(function* (scope: Scope.Closeable, exit: Built) {
  const closed = yield* Effect.exit(Scope.close(scope, exit))
  return Exit.isSuccess(exit) || Exit.isSuccess(closed) ? exit : Exit.failCause(Cause.combine(exit.cause, closed.cause))
})

/**
 * One construction in a scope of its own. What fails is cleaned up before its failure is told, and so is what
 * succeeds when nobody wants it any more.
 */
const construct = (run: Run, service: Service, restore: Restore, isWanted: () => boolean): Effect.Effect<Built> =>
  Effect.suspend(() => {
    const scope = Scope.makeUnsafe()
    service.scope = scope
    const memoMap = run.memoMap ?? Layer.makeMemoMapUnsafe()
    const build = Layer.buildWithMemoMap(service.definition.layer, memoMap, scope)
    return Effect.flatMap(Effect.exit(restore(build)), (exit) =>
      Exit.isFailure(exit) || !isWanted() ? cleanUp(scope, exit) : Effect.succeed(exit)
    )
  })

/**
 * A construction that keeps its bound also where it cannot be interrupted: past it, it goes on apart, and a stop of the
 * service finds it there.
 */
const constructWithin = (run: Run, service: Service, restore: Restore, millis: number): Effect.Effect<Built> =>
  Effect.suspend(() => {
    // Whichever comes first in one turn: both fibers may yield afterwards, and then the other must not come true as well.
    let came: "success" | "timeout" | undefined
    const isFirst = (what: "success" | "timeout"): boolean => (came ??= what) === what
    const fiber = Effect.runForkWith(service.context)(
      Effect.uninterruptibleMask((inner) => construct(run, service, inner, () => isFirst("success")))
    )
    service.lingering = fiber
    fiber.addObserver(() => {
      if (service.lingering === fiber) service.lingering = undefined
    })
    const awaited = Countdown.within(fiber, (onZero) => {
      const countdown = Countdown.make(run.context, run.clock, millis, () => {
        if (isFirst("timeout")) onZero()
      })
      service.countdown = countdown
      if (service.pending === 0) countdown.resume()
      return countdown
    })
    return Effect.map(restore(awaited), (done): Built => {
      if (done !== undefined) return Exit.isSuccess(done) ? done.value : Exit.failCause(done.cause)
      fiber.interruptUnsafe()
      const { attempt, definition } = service
      return Exit.fail(new StartTimeout({ service: definition.name, attempt, timeoutMillis: millis }))
    })
  })

/** The typed failure of the service's own construction: nothing else is ever tried again. */
const retryable = (service: Service, cause: Cause.Cause<unknown>): Option.Option<unknown> =>
  reasonOf(service, cause)._tag === "ConstructionFailed" && !Cause.hasDies(cause)
    ? Cause.findErrorOption(cause)
    : Option.none()

const isInterrupted = (exit: Built): boolean => Exit.isFailure(exit) && Cause.hasInterruptsOnly(exit.cause)

/** What went with an attempt is no dependency of the next: it will meet its own. */
const forgetCaptives = (service: Service): void => {
  for (const dependency of service.dependencies) {
    if (dependency.captive && Deferred.isDoneUnsafe(dependency.gone)) service.dependencies.delete(dependency)
  }
}

/** Constructs until it succeeds or its schedule ends. */
const constructAll = Effect.fnUntraced(function* (run: Run, service: Service, restore: Restore) {
  const { retry, startMillis } = service.definition
  const step = retry === undefined ? undefined : yield* Schedule.toStep(retry)
  while (true) {
    service.attempt++
    if (service.attempt > 1) {
      forgetCaptives(service)
      begin(run, service)
    }
    const exit = Number.isFinite(startMillis)
      ? yield* constructWithin(run, service, restore, startMillis)
      : yield* construct(run, service, restore, () => true)
    // Let the whole composition be met before the first constructor's end is told: what fails at once would otherwise
    // hide the services beside it, and a late one would miss its dependency's waiting.
    if (service.launching) yield* Effect.yieldNow
    // Whoever stops it tells how it ended; and what ends while the whole stops has ended by that.
    if (service.stopping || (run.ending && isInterrupted(exit))) return
    if (Exit.isSuccess(exit)) return ready(run, service, exit.value)
    const error = retryable(service, exit.cause)
    if (step === undefined || Option.isNone(error)) return failed(run, service, exit.cause)
    const next = yield* Effect.exit(step(run.clock.currentTimeMillisUnsafe(), error.value))
    if (Exit.isFailure(next)) return failed(run, service, exit.cause)
    const delayMillis = Duration.toMillis(next.value[1])
    begin(run, service)
    happen(run, service, { _tag: "AttemptFailed", attempt: service.attempt, cause: exit.cause, delayMillis })
    yield* restore(Effect.sleep(delayMillis))
    // One attempt at a time, also when the last one could not be interrupted.
    if (service.lingering !== undefined) yield* restore(Fiber.await(service.lingering))
  }
})

const begun = (run: Run, service: Service): void => {
  if (service.stopping) return
  service.launching = true
  Effect.runForkWith(service.context)(
    Effect.withFiber((fiber) => {
      service.fiber = fiber
      return Effect.uninterruptibleMask((restore) => constructAll(run, service, restore))
    })
  )
  service.launching = false
  if (!isDoomed(service)) begin(run, service)
}

/** Starts a service that was just met. */
export const launch = (run: Run, service: Service): void =>
  nested(
    run,
    () => begun(run, service),
    () => checkStall(run)
  )
