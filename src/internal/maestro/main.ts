/** A program as the main one of its process: signals, the time to drain, exit codes. */
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Runtime from "effect/Runtime"
import * as Scope from "effect/Scope"
import type { AnyLayer } from "./erased.ts"
import { boot, stopRun } from "./boot.ts"
import * as Countdown from "./countdown.ts"
import { describeCause, describeStatus } from "./describe.ts"
import { timeLeft } from "./stop.ts"
import type { Run } from "./run.ts"
import { awaitStop, enter, escalate } from "./run.ts"

export type Signal = "SIGINT" | "SIGTERM"

/** By convention a process that ends by a signal ends with 128 and the signal's number. */
const numbers: Readonly<Record<Signal, number>> = { SIGINT: 2, SIGTERM: 15 }
export const defaultSignalExitCode = (signal: Signal): number => 128 + numbers[signal]

/** What is asked of the process: as much of Node's `process` as Bun and Deno have too. */
export interface Host {
  readonly on: (signal: Signal, listener: () => void) => unknown
  readonly removeListener: (signal: Signal, listener: () => void) => unknown
  readonly exit: (code: number) => void
}

export interface Settings {
  readonly app: AnyLayer
  /** Built before the services and released after them. */
  readonly around: AnyLayer
  readonly context: Context.Context<never>
  readonly drainMillis: number
  readonly signalExitCode: (signal: Signal) => number
}

interface Signals {
  first: Signal | undefined
  count: number
}

/** Not ready from now on, then the time to drain, then the stop. A start that is under way has nothing to drain. */
const wind = (run: Run, drainMillis: number): void => {
  const halt = () => {
    run.bounds.delete(draining)
    Effect.runForkWith(run.context)(stopRun(run, Exit.void))
  }
  const draining: Countdown.Countdown = Countdown.make(run.context, run.clock, drainMillis, halt)
  if (run.phase.value !== "running" || drainMillis === 0) return halt()
  enter(run, "draining")
  run.bounds.add(draining)
  draining.resume()
}

const receive = (run: Run, signals: Signals, settings: Settings, host: Host) => (signal: Signal) => {
  signals.count++
  signals.first ??= signal
  if (signals.count === 1) wind(run, settings.drainMillis)
  else if (signals.count === 2) escalate(run)
  else host.exit(defaultSignalExitCode(signal))
}

/** Everything that was not left as it should have been. */
const remains = (run: Run): ReadonlyArray<string> => {
  const services = [...run.services.values()]
    .filter(({ status }) => status.state === "abandoned" || status.stopFailure !== undefined)
    .map(({ status }) => describeStatus(status))
  const { rootClosed } = run
  if (run.stoppedAt === undefined || (rootClosed !== undefined && Exit.isSuccess(rootClosed))) return services
  const why = rootClosed === undefined ? "abandoned" : describeCause(rootClosed.cause)
  return [...services, `what is composed outside all services: ${why}`]
}

const exitCodeOf = (run: Run, signals: Signals, settings: Settings, started: Exit.Exit<unknown, unknown>): number => {
  if (remains(run).length > 0) return 2
  if (run.failure !== undefined) return 1
  if (signals.first !== undefined) return settings.signalExitCode(signals.first)
  return Exit.isFailure(started) && !run.stopAsked ? 1 : 0
}

const close = (run: Run, scope: Scope.Closeable): Effect.Effect<boolean> =>
  Effect.suspend(() => {
    const closing = Effect.runForkWith(run.context)(Scope.close(scope, Exit.void))
    return Effect.map(awaitStop(run, closing, timeLeft(run)), (closed) =>
      closed === undefined ? false : Exit.isSuccess(closed)
    )
  })

/** The whole life: what is around, the services, the wait for the end, and the code to exit with. */
const live = Effect.fnUntraced(function* (run: Run, signals: Signals, settings: Settings) {
  const scope = yield* Scope.make()
  const memoMap = yield* Layer.makeMemoMap
  // A signal ends the run, also one that has not begun.
  const ended = Effect.andThen(Deferred.await(run.ended), Effect.interrupt)
  const around = yield* Layer.buildWithMemoMap(settings.around, memoMap, scope).pipe(
    Effect.provideContext(settings.context),
    Effect.raceFirst(ended),
    Effect.exit
  )
  if (Exit.isFailure(around)) {
    if (signals.first === undefined) {
      yield* Effect.logError(`What is around the program did not start: ${describeCause(around.cause)}`)
    }
    const closed = yield* close(run, scope)
    return closed ? exitCodeOf(run, signals, settings, around) : 2
  }
  const context = Context.merge(settings.context, around.value)
  return yield* Effect.gen(function* () {
    const started = yield* Effect.exit(Layer.buildWithMemoMap(boot(settings.app), memoMap, scope))
    const wanted = signals.first !== undefined || run.stopAsked
    if (Exit.isFailure(started) && !wanted) yield* Effect.logError(describeCause(started.cause))
    yield* Deferred.await(run.ended)
    if (run.failure !== undefined) yield* Effect.logError("The program has failed", run.failure)
    for (const remain of remains(run)) yield* Effect.logError(`Did not stop: ${remain}`)
    const closed = yield* close(run, scope)
    return closed ? exitCodeOf(run, signals, settings, started) : 2
  }).pipe(Effect.provideContext(context))
})

/** Runs the program and ends the process with its code. Where there is no process, signals and codes reach nobody. */
export const runMain = (run: Run, settings: Settings, host: Host | undefined): void => {
  const signals: Signals = { first: undefined, count: 0 }
  const main = Runtime.makeRunMain(({ fiber, teardown }) => {
    const on = host === undefined ? () => {} : receive(run, signals, settings, host)
    const listeners = { SIGINT: () => on("SIGINT"), SIGTERM: () => on("SIGTERM") }
    const all: ReadonlyArray<Signal> = ["SIGINT", "SIGTERM"]
    for (const signal of all) host?.on(signal, listeners[signal])
    fiber.addObserver((exit) => {
      for (const signal of all) host?.removeListener(signal, listeners[signal])
      teardown(exit, (code) => {
        // A clean end leaves what is still being written its time.
        if (signals.count > 0 || code !== 0) host?.exit(code)
      })
    })
  })
  main(live(run, signals, settings), {
    disableErrorReporting: true,
    teardown: (exit, onExit) => onExit(Exit.isSuccess(exit) && typeof exit.value === "number" ? exit.value : 1)
  })
}
