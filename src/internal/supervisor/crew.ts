/**
 * The workers of a supervisor: steps their states, and does what entering a state asks for.
 *
 * Everything happens in the turn of the event that causes it: events that arise meanwhile are queued, and when none is
 * left, the rules say who may begin, run or be interrupted next. So no two of them ever see each other half done.
 */
import * as Cause from "effect/Cause"
import type * as Clock from "effect/Clock"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as Notifier from "../notifier.ts"
import type { StopReport, WorkerStop } from "./errors.ts"
import { report } from "./journal.ts"
import * as Round from "./round.ts"
import * as Rules from "./rules.ts"
import { makePacer, run } from "./run.ts"
import type { Pacer } from "./run.ts"
import { millis } from "./spec.ts"
import type { Spec } from "./spec.ts"
import * as Machine from "./workerMachine.ts"
import type { WorkerEvent, WorkerState } from "./workerMachine.ts"

type Fork = <A, E>(effect: Effect.Effect<A, E>) => Fiber.Fiber<A, E>

/** A worker and where it stands. `since` is wall time in milliseconds, the other times are monotonic. */
export interface Slot {
  readonly index: number
  readonly spec: Spec
  readonly fork: Fork
  readonly pacer: Pacer
  state: WorkerState
  since: number
  restarts: number
  cause: Cause.Cause<unknown> | undefined
  /** Those with which it begins: none of them runs before all have done their init. */
  round: Round.Round<Slot> | undefined
  fiber: Fiber.Fiber<unknown, unknown> | undefined
  gate: Latch.Latch | undefined
  timer: Fiber.Fiber<void> | undefined
  runsSince: bigint | undefined
  toldAt: bigint | undefined
  stop: WorkerStop | undefined
}

export interface Crew {
  readonly slots: ReadonlyArray<Slot>
  readonly find: (name: string) => Slot | undefined
  readonly add: (spec: Spec, context: Context.Context<never>) => Slot
  /** Enables these together: all their inits come before any of their runs. Says, when asked, whether that has happened. */
  readonly begin: (slots: ReadonlyArray<Slot>) => () => boolean
  readonly disable: (slot: Slot) => void
  readonly stop: () => void
  /** Called after every transition, in the turn in which it happens. */
  readonly listeners: Set<(slot: Slot) => void>
  readonly until: (condition: () => boolean) => Effect.Effect<void>
  readonly isAtRest: () => boolean
  readonly isClosing: () => boolean
  /** There once supervision has ended and everybody has stopped or was abandoned. */
  readonly closed: () => StopReport | undefined
  readonly failure: () => Slot | undefined
}

export interface CrewOptions {
  readonly strategy: Rules.Strategy
  readonly stopMillis: number
  readonly clock: Clock.Clock
  readonly context: Context.Context<never>
}

export const make = ({ clock, context, stopMillis, strategy }: CrewOptions): Crew => {
  const slots: Array<Slot> = []
  const byName = new Map<string, Slot>()
  const rounds = new Set<Round.Round<Slot>>()
  /** Those in which something has changed since the rules were last asked. */
  const touched = new Set<Round.Round<Slot>>()
  const listeners = new Set<(slot: Slot) => void>()
  const notifier = Notifier.make()
  const events: Array<{ readonly slot: Slot; readonly event: WorkerEvent }> = []
  const fork: Fork = Effect.runForkWith(context)
  let isDraining = false
  /** How many are to stop and have not been told so yet, and how long they may take: while there are none, nobody need be looked for. */
  const untold = { count: 0, millis: 0 }
  /** None is to stop from here on. */
  let stopEnd = 0
  /** When all are to stop: so many of the first have. */
  let stopped = 0
  let closing:
    | { readonly since: bigint; readonly told: ReadonlyArray<Slot>; readonly timer: Fiber.Fiber<void> }
    | undefined
  let closed: StopReport | undefined
  let failure: Slot | undefined

  const now = () => clock.monotonicTimeNanosUnsafe()
  const millisSince = (then: bigint) => Number(now() - then) / 1_000_000

  const send = (slot: Slot, event: WorkerEvent): void => {
    events.push({ slot, event })
    drain()
  }

  const drain = (): void => {
    if (isDraining) return
    isDraining = true
    do {
      for (let next = events.shift(); next !== undefined; next = events.shift()) step(next.slot, next.event)
      settle()
    } while (events.length > 0)
    isDraining = false
    notifier.wakeUnsafe()
  }

  const step = (slot: Slot, event: WorkerEvent): void => {
    const before = slot.state
    const after = Machine.transition(before, event)
    if (after === before) return
    slot.state = after
    if (slot.round !== undefined) {
      Round.move(slot.round, before._tag, after._tag)
      touched.add(slot.round)
    }
    slot.since = clock.currentTimeMillisUnsafe()
    if (event._tag === "Ended") ended(slot, before, event.cause)
    enter(slot, before)
    fork(report(slot.spec, before, after, slot))
    for (const listener of listeners) listener(slot)
  }

  const enter = (slot: Slot, before: WorkerState): void => {
    const { state } = slot
    if (state._tag === "Stopping" && before._tag !== "Stopping") {
      countUntold(slot, 1)
      stopEnd = Math.max(stopEnd, slot.index + 1)
    }
    // It has ended, or its time was up, before its turn had come.
    if (before._tag === "Stopping" && state._tag !== "Stopping" && slot.toldAt === undefined) countUntold(slot, -1)
    // A timer belongs to the state that set it: the delay of a restart, the bound of a stop.
    if (before._tag === "Restarting" || (before._tag === "Stopping" && state._tag !== "Stopping")) cancelTimer(slot)
    if (Machine.isAtRest(state) || ("next" in state && state.next !== "Enabled")) leaveRound(slot)
    switch (state._tag) {
      case "Enabled":
        if (slot.round === undefined) joinRound(slot, Round.make())
        if (Machine.isAtRest(before)) {
          slot.restarts = 0
          slot.cause = undefined
          slot.pacer.reset()
        }
        return
      case "Initializing":
        return start(slot)
      case "Running":
        slot.runsSince = now()
        slot.gate?.openUnsafe()
        return
      case "Restarting":
        slot.restarts++
        alarm(slot, state.delayMillis, { _tag: "Woke" })
        return recall(slot)
      case "Failed":
        if (slot.spec.optional) return
        failure ??= slot
        return close()
      case "Abandoned":
        slot.stop = { name: slot.spec.name, outcome: "abandoned", millis: toldFor(slot), cause: undefined }
        return
    }
  }

  const countUntold = (slot: Slot, by: 1 | -1): void => {
    untold.count += by
    untold.millis += by * millis(slot.spec.stopTimeout)
  }

  const start = (slot: Slot): void => {
    slot.gate = Latch.makeUnsafe(false)
    slot.runsSince = undefined
    slot.toldAt = undefined
    slot.fiber = slot.fork(run(slot.spec, () => send(slot, { _tag: "Initialized" }), slot.gate))
    slot.fiber.addObserver((exit) => decide(slot, exit))
  }

  const decide = (slot: Slot, exit: Exit.Exit<unknown, unknown>): void => {
    const cause = Exit.isFailure(exit) ? exit.cause : undefined
    // The end of a run that was told to stop is nobody's failure and costs no restart.
    if (isEnding(slot.state)) return send(slot, { _tag: "Ended", cause, delayMillis: undefined })
    if (slot.runsSince !== undefined && millisSince(slot.runsSince) >= millis(slot.spec.resetAfter)) slot.pacer.reset()
    // In the place of the run, so that a stop reaches a schedule that takes its time.
    slot.fiber = slot.fork(slot.pacer.next(exit))
    slot.fiber.addObserver((delay) =>
      send(slot, {
        _tag: "Ended",
        cause,
        delayMillis: Exit.isSuccess(delay) && typeof delay.value === "number" ? delay.value : undefined
      })
    )
  }

  const ended = (slot: Slot, before: WorkerState, cause: Cause.Cause<unknown> | undefined): void => {
    slot.fiber = undefined
    if (!isEnding(before)) {
      if (cause !== undefined) slot.cause = cause
      return
    }
    const failed = cause !== undefined && !Cause.hasInterruptsOnly(cause)
    slot.stop = {
      name: slot.spec.name,
      outcome: failed ? "failed" : "clean",
      millis: toldFor(slot),
      cause: failed ? cause : undefined
    }
  }

  const toldFor = (slot: Slot): number => (slot.toldAt === undefined ? 0 : millisSince(slot.toldAt))

  const alarm = (slot: Slot, afterMillis: number, event: WorkerEvent): void => {
    const timer = fork(Effect.sleep(afterMillis))
    slot.timer = timer
    // One that was cancelled in the very turn in which it fired is not the slot's any more.
    timer.addObserver(() => {
      if (slot.timer === timer) send(slot, event)
    })
  }

  const cancelTimer = (slot: Slot): void => {
    const { timer } = slot
    slot.timer = undefined
    timer?.interruptUnsafe()
  }

  const joinRound = (slot: Slot, round: Round.Round<Slot>): void => {
    if (slot.round === round) return
    leaveRound(slot)
    slot.round = round
    Round.join(round, slot)
    rounds.add(round)
    touched.add(round)
  }

  const leaveRound = (slot: Slot): void => {
    const { round } = slot
    if (round === undefined) return
    Round.leave(round, slot)
    touched.add(round)
    slot.round = undefined
  }

  /** Takes along whom the strategy says. One that has not come to run yet keeps those waiting that wait for it. */
  const recall = (slot: Slot): void => {
    const round = slot.round ?? Round.make<Slot>()
    joinRound(slot, round)
    for (const sibling of Rules.alongside(strategy, slots, slot)) {
      joinRound(sibling, round)
      events.push({ slot: sibling, event: { _tag: "Recall" } })
    }
  }

  /** What the rules allow now that no event is left. */
  const settle = (): void => {
    for (const round of touched) {
      if (Rules.runDue(round)) {
        rounds.delete(round)
        for (const slot of Round.inOrder(round)) {
          slot.round = undefined
          events.push({ slot, event: { _tag: "RunDue" } })
        }
      } else for (const slot of Rules.initDue(strategy, round)) events.push({ slot, event: { _tag: "InitDue" } })
    }
    touched.clear()
    if (untold.count > 0) {
      const due = Rules.stopDue(strategy, slots, stopEnd)
      if (strategy === "restForOne") stopEnd = due[0] === undefined ? 0 : due[0].index + 1
      for (const slot of due) tell(slot)
    }
    if (closing !== undefined && closed === undefined && haveAllStopped()) {
      closing.timer.interruptUnsafe()
      const workers = closing.told.flatMap(({ stop }) => (stop === undefined ? [] : [stop]))
      closed = {
        complete: workers.every(({ outcome }) => outcome !== "abandoned"),
        millis: millisSince(closing.since),
        workers
      }
    }
  }

  /** Nobody begins again once all are to stop, so each need be looked at until it has. */
  const haveAllStopped = (): boolean => {
    for (let slot = slots[stopped]; slot !== undefined && hasStopped(slot); slot = slots[stopped]) stopped++
    return stopped === slots.length
  }

  const tell = (slot: Slot): void => {
    if (slot.toldAt !== undefined) return
    slot.toldAt = now()
    countUntold(slot, -1)
    alarm(slot, stopBudget(slot), { _tag: "TimedOut" })
    slot.fiber?.interruptUnsafe()
  }

  const stopBudget = (slot: Slot): number => {
    const own = millis(slot.spec.stopTimeout)
    if (closing === undefined) return own
    return Rules.stopBudget(strategy, own, own + untold.millis, Math.max(0, stopMillis - millisSince(closing.since)))
  }

  const close = (): void => {
    if (closing !== undefined) return
    const timer = fork(Effect.sleep(stopMillis))
    closing = { since: now(), told: slots.filter(({ state }) => Machine.isActive(state)), timer }
    for (const slot of slots) events.push({ slot, event: { _tag: "Stop" } })
    timer.addObserver((exit) => {
      if (Exit.isFailure(exit)) return
      for (const slot of slots) events.push({ slot, event: { _tag: "TimedOut" } })
      drain()
    })
  }

  return {
    slots,
    find: (name) => byName.get(name),
    add: (spec, context) => {
      const slot: Slot = {
        index: slots.length,
        spec,
        fork: Effect.runForkWith(context),
        pacer: makePacer(spec),
        state: Machine.initial,
        since: clock.currentTimeMillisUnsafe(),
        restarts: 0,
        cause: undefined,
        round: undefined,
        fiber: undefined,
        gate: undefined,
        timer: undefined,
        runsSince: undefined,
        toldAt: undefined,
        stop: undefined
      }
      slots.push(slot)
      byName.set(spec.name, slot)
      for (const listener of listeners) listener(slot)
      return slot
    },
    begin: (beginning) => {
      const round = Round.make<Slot>()
      for (const slot of beginning) {
        if (Machine.isAtRest(slot.state)) joinRound(slot, round)
        events.push({ slot, event: { _tag: "Enable" } })
      }
      drain()
      return () => !rounds.has(round)
    },
    disable: (slot) => send(slot, { _tag: "Disable" }),
    stop: () => {
      close()
      drain()
    },
    listeners,
    until: notifier.until,
    isAtRest: () => slots.every(({ state }) => Machine.isAtRest(state)),
    isClosing: () => closing !== undefined,
    closed: () => closed,
    failure: () => failure
  }
}

const isEnding = ({ _tag }: WorkerState): boolean => _tag === "Stopping" || _tag === "Abandoned"

const hasStopped = ({ state }: Slot): boolean => Machine.isAtRest(state) || state._tag === "Abandoned"
