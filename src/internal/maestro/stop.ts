/** Stopping a service: once, after all who hold it, on a fiber of its own and within its share of the time. */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import type { Run, StopPlan } from "./run.ts"
import { awaitStop, happen, now } from "./run.ts"
import type { Service } from "./service.ts"
import { isSettled } from "./service.ts"

type AnyExit = Exit.Exit<unknown, unknown>

const weightOf = (service: Service): number =>
  service.status.state === "failed" || service.stopping ? 0 : service.definition.stopMillis

/**
 * How heavy each way down is, in one pass: dependencies before dependents, without recursion, since a chain may be
 * thousands of services long.
 */
const weigh = (services: Iterable<Service>): ReadonlyMap<Service, number> => {
  const weights = new Map<Service, number>()
  const entered = new Set<Service>()
  const open = [...services]
  for (let service = open.at(-1); service !== undefined; service = open.at(-1)) {
    if (!entered.has(service)) {
      entered.add(service)
      for (const dependency of service.dependencies) if (!entered.has(dependency)) open.push(dependency)
      continue
    }
    open.pop()
    if (weights.has(service)) continue
    let below = 0
    for (const dependency of service.dependencies) below = Math.max(below, weights.get(dependency) ?? 0)
    weights.set(service, weightOf(service) + below)
  }
  return weights
}

/** Shares the time out, once: when the whole has to stop. */
const plan = (run: Run): StopPlan => {
  run.plan ??= { deadline: now(run) + run.stopMillis, weights: weigh(run.services.values()) }
  return run.plan
}

/** What is left of the time for the whole. */
export const timeLeft = (run: Run): number => (run.escalated ? 0 : Math.max(0, plan(run).deadline - now(run)))

/** What a service's clean-up may take: its own limit, or its share of what is left when the whole has to end. */
const budgetOf = (run: Run, service: Service): number => {
  const own = service.definition.stopMillis
  if (!run.ending) return own
  const left = timeLeft(run)
  const heaviest = plan(run).weights.get(service) ?? own
  // A limit of infinity has no share; nor has one of nothing.
  return heaviest === 0 || !Number.isFinite(heaviest) ? Math.min(own, left) : Math.min(own, (left * own) / heaviest)
}

/** Whatever it is doing, and then whatever it has acquired. */
const close = Effect.fnUntraced(function* (service: Service, exit: AnyExit) {
  if (service.fiber !== undefined) yield* Fiber.interrupt(service.fiber)
  if (service.lingering !== undefined) yield* Fiber.interrupt(service.lingering)
  if (service.scope !== undefined) yield* Scope.close(service.scope, exit)
})

/** Whether anybody still holds it: a service that depends on it, or an open scope that asked for it. */
const isHeld = (run: Run, service: Service): boolean => service.heldBy.size > 0 || (service.scopes > 0 && !run.sweeping)

/** Stops it if nobody holds it any more. */
export const letGo = (run: Run, service: Service, exit: AnyExit, depth = 0): Effect.Effect<void> =>
  Effect.suspend(() => {
    if (isHeld(run, service)) return Effect.void
    // What has failed stays failed for the run, and what it depends on is not started a second time for others.
    const stays = service.status.state === "failed" && !service.captive && !run.implicit && !run.ending
    return stays ? Effect.void : stop(run, service, exit, depth)
  })

/** How many levels of fibers may start and wake one another in one turn: each costs some 60 JavaScript frames. */
const levelsPerTurn = 16

/**
 * In one fiber where there is only one; where there are more, with an empty stack before and after every so many levels: a
 * graph of thousands of them would overflow it. Not at every level, so that a stop takes no more turns than it must.
 */
const letGoAll = (run: Run, services: ReadonlyArray<Service>, exit: AnyExit, depth: number): Effect.Effect<void> => {
  const [first] = services
  if (first === undefined) return Effect.void
  if (services.length === 1) return letGo(run, first, exit, depth)
  const all = Effect.forEach(services, (one) => letGo(run, one, exit, depth + 1), {
    concurrency: "unbounded",
    discard: true
  })
  if ((depth + 1) % levelsPerTurn > 0) return all
  return Effect.yieldNow.pipe(Effect.andThen(all), Effect.andThen(Effect.yieldNow))
}

const releaseHolds = (run: Run, service: Service, exit: AnyExit, depth: number): Effect.Effect<void> =>
  Effect.suspend(() => {
    const held = [...service.holds]
    service.holds.clear()
    for (const dependency of held) dependency.heldBy.delete(service)
    // What stops already, while it was held, waits in a circle with this one: to wait for its end would never end.
    return letGoAll(
      run,
      held.filter(({ stopping }) => !stopping),
      exit,
      depth
    )
  })

/** Nobody waits for it any more: it will not become ready. */
export const giveUp = (run: Run, service: Service): void => {
  service.countdown?.cancel()
  if (isSettled(service)) return
  if (service.pending > 0) run.blocked--
  service.pending = 0
  for (const dependency of service.dependencies) dependency.dependents.delete(service)
  for (const dependent of service.dependents) {
    if (--dependent.pending === 0) run.blocked--
  }
  service.dependents.clear()
  Deferred.doneUnsafe(service.result, Exit.interrupt())
}

/**
 * Stops a service, whoever holds it. Every outcome lets go of what it holds: a clean-up that fails or does not end must not
 * keep its dependencies from stopping.
 */
export const stop = (run: Run, service: Service, exit: AnyExit, depth = 0): Effect.Effect<void> =>
  Effect.suspend(() => {
    if (service.stopping) return Deferred.await(service.gone)
    const budgetMillis = budgetOf(run, service)
    service.stopping = true
    service.stoppingAt = now(run)
    happen(run, service, { _tag: "Stopping", budgetMillis })
    const closing = Effect.runForkWith(run.context)(close(service, exit))
    return awaitStop(run, closing, budgetMillis).pipe(
      Effect.flatMap((done) => {
        service.stoppedAt = now(run)
        if (done === undefined) happen(run, service, { _tag: "Abandoned" })
        else happen(run, service, { _tag: "Stopped", failure: Exit.isFailure(done) ? done.cause : undefined })
        giveUp(run, service)
        if (run.byLayer.get(service.key) === service) run.byLayer.delete(service.key)
        return releaseHolds(run, service, exit, depth)
      }),
      Effect.ensuring(Effect.sync(() => Deferred.doneUnsafe(service.gone, Exit.void))),
      Effect.uninterruptible
    )
  })

/**
 * Whatever is left of a run, dependents first. What the root's scope still holds does not count: it did not close. What has
 * not become ready has given nothing to its dependents, and need not wait for them; those that wait in a circle could not.
 */
export const sweep = (run: Run, exit: AnyExit): Effect.Effect<void> =>
  Effect.suspend(() => {
    run.sweeping = true
    const left = [...run.services.values()].filter(({ gone }) => !Deferred.isDoneUnsafe(gone))
    const tops = left.filter((service) => service.heldBy.size === 0 || !isSettled(service))
    const stopped = Effect.forEach(tops, (service) => stop(run, service, exit), {
      concurrency: "unbounded",
      discard: true
    })
    return Effect.andThen(
      stopped,
      Effect.forEach(left, ({ gone }) => Deferred.await(gone), { discard: true })
    )
  })
