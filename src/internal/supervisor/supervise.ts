/** Starting a crew in a scope, and what a caller may ask of it. */
import * as Clock from "effect/Clock"
import type * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { durationProblem } from "../options.ts"
import * as Crew from "./crew.ts"
import type { StopReport, WorkerStop } from "./errors.ts"
import { InvalidWorkers, StopIncomplete, SupervisionEnded, UnknownWorkers, WorkerFailed } from "./errors.ts"
import type { Strategy } from "./rules.ts"
import { millis, problems } from "./spec.ts"
import type { Spec } from "./spec.ts"
import * as Machine from "./workerMachine.ts"
import type { WorkerState } from "./workerMachine.ts"

export interface Options {
  readonly strategy?: Strategy | undefined
  readonly only?: Iterable<string> | undefined
  readonly stopTimeout?: Duration.Input | undefined
}

/** A worker as its observers see it. */
export interface Status {
  readonly name: string
  readonly state: WorkerState
  readonly since: number
  readonly restarts: number
  readonly optional: boolean
  readonly cause: Crew.Slot["cause"]
}

export interface Supervision {
  /** Waits for the first round of runs, or for the failure to get there. */
  readonly started: Effect.Effect<void, WorkerFailed>
  readonly await: Effect.Effect<void, WorkerFailed>
  readonly stop: Effect.Effect<StopReport>
  readonly statuses: Effect.Effect<ReadonlyArray<Status>>
  readonly changes: Stream.Stream<Status>
  readonly enable: (name: string) => Effect.Effect<void, UnknownWorkers | SupervisionEnded>
  readonly disable: (name: string) => Effect.Effect<WorkerStop, UnknownWorkers>
  readonly add: (spec: Spec, context: Context.Context<never>) => Effect.Effect<void, InvalidWorkers | SupervisionEnded>
}

/** As long as Kubernetes and systemd leave a service by default at the least: 30 and 90 seconds, and the seed's own bound. */
export const defaultStopTimeout: Duration.Input = "45 seconds"

const statusOf = ({ cause, restarts, since, spec, state }: Crew.Slot): Status => ({
  name: spec.name,
  state,
  since,
  restarts,
  optional: spec.optional,
  cause
})

/** Starts the workers for the life of the scope. */
export const start = Effect.fnUntraced(function* (
  specs: ReadonlyArray<Spec>,
  options: Options
): Effect.fn.Return<Supervision, InvalidWorkers | UnknownWorkers, Scope.Scope> {
  const stopTimeout = options.stopTimeout ?? defaultStopTimeout
  const wrong = [...problems(specs, []), durationProblem("stopTimeout of the supervisor", stopTimeout) ?? ""]
  if (wrong.some((problem) => problem !== "")) {
    return yield* new InvalidWorkers({ problems: wrong.filter((problem) => problem !== "") })
  }
  const known = specs.map(({ name }) => name)
  const wanted = new Set(options.only ?? known)
  const unknown = Array.from(wanted).filter((name) => !known.includes(name))
  if (unknown.length > 0) return yield* new UnknownWorkers({ unknown, known })

  const context = yield* Effect.context<never>()
  const crew = Crew.make({
    strategy: options.strategy ?? "oneForOne",
    stopMillis: millis(stopTimeout),
    clock: yield* Clock.Clock,
    context
  })
  // Whoever has been given the report need not die of it when the scope closes.
  let isTold = false
  const stop = Effect.suspend(() => {
    crew.stop()
    return crew.until(() => crew.closed() !== undefined)
  }).pipe(Effect.map(() => crew.closed() ?? { complete: true, millis: 0, workers: [] }))
  yield* Effect.addFinalizer(() =>
    Effect.flatMap(stop, (report) =>
      report.complete || isTold ? Effect.void : Effect.die(new StopIncomplete({ report }))
    )
  )
  for (const spec of specs) crew.add(spec, context)
  const isPassed = crew.begin(crew.slots.filter(({ spec }) => wanted.has(spec.name)))

  const outcome = Effect.suspend(() => {
    const failure = crew.failure()
    const report = crew.closed()
    if (failure === undefined || report === undefined || failure.cause === undefined) return Effect.void
    isTold = true
    const { cause, restarts, spec } = failure
    return Effect.fail(new WorkerFailed({ worker: spec.name, restarts, cause, stop: report }))
  })
  const isClosed = () => crew.closed() !== undefined
  const settled = (condition: () => boolean) =>
    crew.until(() => isClosed() || (!crew.isClosing() && condition())).pipe(Effect.andThen(outcome))

  const find = (name: string): Effect.Effect<Crew.Slot, UnknownWorkers> => {
    const slot = crew.find(name)
    return slot === undefined
      ? Effect.fail(new UnknownWorkers({ unknown: [name], known: crew.slots.map(({ spec }) => spec.name) }))
      : Effect.succeed(slot)
  }
  const whileOpen = (worker: string) =>
    Effect.suspend(() => (crew.isClosing() ? Effect.fail(new SupervisionEnded({ worker })) : Effect.void))

  return {
    started: settled(isPassed),
    await: settled(crew.isAtRest),
    stop: Effect.tap(stop, () => Effect.sync(() => (isTold = true))),
    statuses: Effect.sync(() => crew.slots.map(statusOf)),
    changes: changesOf(crew),
    enable: Effect.fn("Supervisor.enable")(function* (name) {
      yield* Effect.annotateCurrentSpan({ worker: name })
      const slot = yield* find(name)
      yield* whileOpen(name)
      crew.begin([slot])
    }),
    disable: Effect.fn("Supervisor.disable")(function* (name) {
      yield* Effect.annotateCurrentSpan({ worker: name })
      const slot = yield* find(name)
      const isActive = Machine.isActive(slot.state)
      crew.disable(slot)
      // Not "until it is disabled": somebody may enable it again meanwhile.
      yield* crew.until(() => slot.state._tag !== "Stopping")
      return isActive && slot.stop !== undefined ? slot.stop : { name, outcome: "clean", millis: 0, cause: undefined }
    }),
    add: Effect.fn("Supervisor.add")(function* (spec, services) {
      yield* Effect.annotateCurrentSpan({ worker: spec.name })
      yield* whileOpen(spec.name)
      const wrong = problems(
        [spec],
        crew.slots.map((slot) => slot.spec.name)
      )
      if (wrong.length > 0) return yield* new InvalidWorkers({ problems: wrong })
      crew.begin([crew.add(spec, services)])
    })
  }
})

/** The present status of each worker and then every later one: read and followed in one turn, so that none is lost between. */
export const changesOf = (crew: Pick<Crew.Crew, "slots" | "listeners">): Stream.Stream<Status> =>
  Stream.unwrap(
    Effect.flatMap(Queue.unbounded<Status>(), (queue) => {
      const listener = (slot: Crew.Slot) => void Queue.offerUnsafe(queue, statusOf(slot))
      return Effect.acquireRelease(
        Effect.sync(() => {
          crew.slots.forEach(listener)
          crew.listeners.add(listener)
          return Stream.fromQueue(queue)
        }),
        () => Effect.sync(() => crew.listeners.delete(listener))
      )
    })
  )
