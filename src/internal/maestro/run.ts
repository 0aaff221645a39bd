/** One run of a program's services: the registry, the news, the clocks and the time left for stopping. */
import type * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import type * as Layer from "effect/Layer"
import * as PubSub from "effect/PubSub"
import * as Scope from "effect/Scope"
import * as Cell from "../cell.ts"
import * as Notifier from "../notifier.ts"
import * as Countdown from "./countdown.ts"
import type { CircularDependency, DuplicateService } from "./errors.ts"
import { transition } from "./machine.ts"
import type { Happening, Phase, ServiceEvent, ServiceStatus } from "./model.ts"
import type { Service } from "./service.ts"

/** How deep services may start or wake one another in one turn: each level costs some 30 JavaScript frames. */
const maximumNesting = 32

export interface StopPlan {
  readonly deadline: number
  /** The heaviest way down from a service, itself included, in milliseconds of stop budgets. */
  readonly weights: ReadonlyMap<Service, number>
}

export interface Run {
  readonly context: Context.Context<never>
  readonly clock: Clock.Clock
  /** Wall time less monotonic time at the beginning: all times of a run lie on one line, whatever the wall clock does. */
  readonly origin: number
  /** What the whole may take to stop. */
  readonly stopMillis: number
  /** A run of its own for services without a Maestro: nobody watches it, and what has failed in it may be tried again. */
  readonly implicit: boolean
  readonly rootScope: Scope.Closeable
  memoMap: Layer.MemoMap | undefined

  /** Every service by name, in the order in which they were met. */
  readonly services: Map<string, Service>
  /** Those that are up or on their way, by the layer that they are. */
  readonly byLayer: Map<object, Service>

  readonly phase: Cell.Cell<Phase>
  readonly news: PubSub.PubSub<News>
  sequence: number
  /** Woken whenever a service or the run has moved. */
  readonly moved: Notifier.Notifier

  /** How deep in one turn services are starting or waking one another now. */
  nesting: number
  /** Services that construct or pause between attempts, and turns that were put off: while there is one, there is progress. */
  active: number
  /** Services that wait for others. */
  blocked: number
  building: Fiber.Fiber<unknown, unknown> | undefined
  problem: DuplicateService | CircularDependency | undefined
  failure: Cause.Cause<unknown> | undefined
  /** Whether the program itself has asked for the stop. */
  stopAsked: boolean
  ending: boolean
  /** The root's scope did not close in time: what it still holds no longer counts. */
  sweeping: boolean
  /** How the root's scope closed: nothing while it has not, or where it did not in time. */
  rootClosed: Exit.Exit<void> | undefined
  plan: StopPlan | undefined
  /** The bounds of all stops under way, to be cut when the user loses patience. */
  readonly bounds: Set<Countdown.Countdown>
  escalated: boolean
  startedAt: number | undefined
  runningAt: number | undefined
  stoppingAt: number | undefined
  stoppedAt: number | undefined
  readonly ended: Deferred.Deferred<void>
}

/** An event, numbered so that a subscriber can join the present to what follows; nothing after the last one. */
export interface News {
  readonly sequence: number
  readonly event: ServiceEvent | undefined
}

const monotonicMillis = (clock: Clock.Clock): number => Number(clock.monotonicTimeNanosUnsafe()) / 1_000_000

export const make = (options: { readonly stopMillis: number; readonly implicit: boolean }): Effect.Effect<Run> =>
  Effect.gen(function* () {
    const clock = yield* Clock.Clock
    return {
      context: yield* Effect.context<never>(),
      clock,
      origin: clock.currentTimeMillisUnsafe() - monotonicMillis(clock),
      ...options,
      rootScope: Scope.makeUnsafe(),
      memoMap: undefined,
      services: new Map(),
      byLayer: new Map(),
      phase: yield* Cell.make<Phase>("idle"),
      news: yield* PubSub.unbounded<News>(),
      sequence: 0,
      moved: Notifier.make(),
      nesting: 0,
      active: 0,
      blocked: 0,
      building: undefined,
      problem: undefined,
      failure: undefined,
      stopAsked: false,
      ending: false,
      sweeping: false,
      rootClosed: undefined,
      plan: undefined,
      bounds: new Set(),
      escalated: false,
      startedAt: undefined,
      runningAt: undefined,
      stoppingAt: undefined,
      stoppedAt: undefined,
      ended: Deferred.makeUnsafe()
    }
  })

/** The run that a layer is built in. */
export const CurrentRun = Context.Reference<Run | undefined>("effect-ensemble/Maestro/CurrentRun", {
  defaultValue: () => undefined
})

/** Milliseconds of wall time, with fractions. */
export const now = (run: Run): number => run.origin + monotonicMillis(run.clock)

const isWorking = ({ state }: ServiceStatus): boolean => state === "starting" || state === "retrying"

/** Records what happened to a service, and tells it, in one turn: the order of the events is that of the states. */
export const happen = (run: Run, service: Service, happening: Happening): boolean => {
  const at = now(run)
  const before = service.status
  const status = transition(before, happening, at)
  if (status === before) return false
  service.status = status
  service.last = { service: service.definition.name, at, happening, status }
  run.active += Number(isWorking(status)) - Number(isWorking(before))
  publish(run, service.last)
  return true
}

export const publish = (run: Run, event: ServiceEvent): void => {
  PubSub.publishUnsafe(run.news, { sequence: ++run.sequence, event })
  run.moved.wakeUnsafe()
}

export const enter = (run: Run, phase: Phase): void => {
  Cell.setUnsafe(run.phase, phase)
  run.moved.wakeUnsafe()
}

/**
 * Does something that may do the same for other services in turn, and something else after it. Past a certain depth it is
 * left to a turn of its own: a chain of thousands would overflow the stack.
 */
export const nested = (run: Run, act: () => void, after: () => void): void => {
  const at = (depth: number): void => {
    const outer = run.nesting
    run.nesting = depth
    try {
      act()
    } finally {
      run.nesting = outer
    }
    after()
  }
  if (run.nesting < maximumNesting) return at(run.nesting + 1)
  run.active++
  const later = Effect.sync(() => {
    run.active--
    at(1)
  })
  Effect.runForkWith(run.context)(Effect.andThen(Effect.yieldNow, later))
}

/** Waits for a fiber of a stop, at most so long, or until the user loses patience. */
export const awaitStop = <A, E>(run: Run, fiber: Fiber.Fiber<A, E>, millis: number) => {
  let bound: Countdown.Countdown | undefined
  return Effect.ensuring(
    Countdown.within(fiber, (onZero) => {
      const countdown = Countdown.make(run.context, run.clock, millis, onZero)
      bound = countdown
      run.bounds.add(countdown)
      countdown.resume()
      return countdown
    }),
    Effect.sync(() => {
      if (bound !== undefined) run.bounds.delete(bound)
    })
  )
}

/** Leaves no more time to the stops under way: what has not stopped is abandoned at once. */
export const cutBounds = (run: Run): void => {
  // Not those that begin by it: they are given what is left, which is nothing, and a moment for what needs no time.
  const underWay = [...run.bounds]
  for (const bound of underWay) bound.cut()
}

/** The user has lost patience. */
export const escalate = (run: Run): void => {
  run.escalated = true
  cutBounds(run)
}

/** Ends the start: no service can be blamed for what is wrong, and none may recover from it. */
export const abort = (run: Run, problem: NonNullable<Run["problem"]>): void => {
  run.problem ??= problem
  run.building?.interruptUnsafe()
}

/** The run is over: nothing will be told any more. */
export const conclude = (run: Run): void => {
  run.stoppedAt = now(run)
  enter(run, "stopped")
  PubSub.publishUnsafe(run.news, { sequence: ++run.sequence, event: undefined })
  Deferred.doneUnsafe(run.ended, Effect.void)
}
