/**
 * Named workers that run until they are done, are started again when they fail, and stop when they are told to.
 *
 * **When to use**
 *
 * Use it for the loops of a program that go on for as long as it lives: consumers, pollers, schedulers, a leader's work.
 * Use a `Maestro` service for what is started once and then used by others; a supervisor may live inside one.
 *
 * **Details**
 *
 * ```text
 *           Enable            its turn                 done               all with it have
 *  Disabled ───────▶ Enabled ─────────▶ Initializing ───────▶ Initialized ────────────────▶ Running
 *                       ▲                     │                                                │
 *                       │ the delay is over   ▼          ends or fails, and runs again         │
 *                       └──────────────── Restarting ◀─────────────────────────────────────────┤
 *                                                                                              │
 *                                          Stopped ◀────────────── ends for good ──────────────┤
 *                                          Failed  ◀────────────── fails for good ─────────────┤
 *                                                                                              │
 *   Enabled, Disabled, Stopped ◀────────── Stopping ◀────────────── is told to stop ───────────┘
 *                 ▲                            │ its bound passes
 *                 └──── ends at last ────── Abandoned
 * ```
 *
 * A run is an init and a run in one scope. The next one begins only when the last one has ended and its scope has
 * closed: a worker never overlaps with itself, however slowly it stops.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import type * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import { identity } from "effect/Function"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import type * as Stream from "effect/Stream"
import type * as Types from "effect/Types"
import { backoff } from "./internal/backoff.ts"
import { erase, restore } from "./internal/supervisor/erased.ts"
import type * as errors from "./internal/supervisor/errors.ts"
import type { InvalidWorkers, SupervisionEnded, UnknownWorkers, WorkerFailed } from "./internal/supervisor/errors.ts"
import type * as spec from "./internal/supervisor/spec.ts"
import { reportToMaestro } from "./internal/supervisor/maestro.ts"
import * as internal from "./internal/supervisor/supervise.ts"
import type * as machine from "./internal/supervisor/workerMachine.ts"

/**
 * How supervision fails.
 *
 * **Details**
 *
 * - `WorkerFailed`: a worker that is not optional has failed and is not started again. `cause` has its typed failures and
 *   its defects, `stop` says how the others were stopped.
 * - `UnknownWorkers`: names that no worker has, with the known ones.
 * - `InvalidWorkers`: every name and duration that cannot be used, at once.
 * - `SupervisionEnded`: something was to be started under a supervisor that has stopped.
 * - `StopIncomplete`: the defect of a scope that has closed while workers went on beyond their bound.
 *
 * @since 0.1.0
 */
export {
  InvalidWorkers,
  StopIncomplete,
  SupervisionEnded,
  UnknownWorkers,
  WorkerFailed
} from "./internal/supervisor/errors.ts"

/**
 * Where a worker stands.
 *
 * **Details**
 *
 * - `Disabled`: known, and not to run. `Enabled`: waits for its turn to begin.
 * - `Initializing`, `Initialized`: the first phase, and waiting for that of the others. `Running`: the second.
 * - `Restarting`: its run is over, and the next one begins after `delayMillis`. `cause` is there when it failed.
 * - `Stopping`: told to stop, still running. `Abandoned`: the same, and nobody waits any longer. `next` is what it becomes
 *   when its run ends.
 * - `Stopped`: it has ended for good, by itself or because supervision did. `Failed`: it has failed for good.
 *
 * @category models
 * @since 0.1.0
 */
export type WorkerState = machine.WorkerState

/**
 * A worker as its observers see it.
 *
 * **Details**
 *
 * `since` is when it came into its state, in milliseconds since 1970. `restarts` counts since it was last enabled, `cause` is
 * that of its last failure since.
 *
 * @category models
 * @since 0.1.0
 */
export type WorkerStatus = internal.Status

/**
 * How one worker obeyed when it was told to stop: `clean`, `failed` in its clean-up, or `abandoned` while it still ran.
 *
 * @category models
 * @since 0.1.0
 */
export type WorkerStop = errors.WorkerStop

/**
 * How a stop went: `workers` are those that were running. It is `complete` when none of them was abandoned.
 *
 * @category models
 * @since 0.1.0
 */
export type StopReport = errors.StopReport

/**
 * When a run that has ended is followed by another: `never`, after a failure, or `always`.
 *
 * @category models
 * @since 0.1.0
 */
export type Restart = spec.Restart

/**
 * What workers owe each other.
 *
 * **Details**
 *
 * - `oneForOne`: nothing. Each restarts alone.
 * - `oneForAll`: everything. When one restarts, all that run stop and start again with it.
 * - `restForOne`: each builds on those before it. When one restarts, those after it do. Init goes one after another in
 *   the order of the list, and stopping in reverse; in the other strategies all do at once.
 *
 * @category models
 * @since 0.1.0
 */
export type Strategy = "oneForOne" | "oneForAll" | "restForOne"

const TypeId = "~effect-ensemble/Supervisor/Worker"

/**
 * A worker of any errors and needs.
 *
 * @category models
 * @since 0.1.0
 */
export interface AnyWorker extends Omit<spec.Spec, "begin"> {
  // Not `Worker<unknown, unknown>`: a worker made where that is expected would infer what is expected.
  readonly [TypeId]: unknown
  readonly begin: Effect.Effect<Effect.Effect<unknown, unknown, unknown>, unknown, unknown>
}

/**
 * A named worker that can fail for good with `E` and needs `R`. Made by {@link worker}.
 *
 * @category models
 * @since 0.1.0
 */
export interface Worker<out E, out R> extends AnyWorker {
  readonly [TypeId]: { readonly _E: Types.Covariant<E>; readonly _R: Types.Covariant<R> }
}

/**
 * What some of these workers can fail with.
 *
 * @category models
 * @since 0.1.0
 */
export type ErrorOf<Workers extends ReadonlyArray<AnyWorker>> =
  // The error of no worker at all, where there would be nothing to infer from.
  [Workers[number]] extends [never] ? never : Workers[number] extends Worker<infer E, infer _R> ? E : never

/**
 * What all of these workers need.
 *
 * @category models
 * @since 0.1.0
 */
export type ServicesOf<Workers extends ReadonlyArray<AnyWorker>> = [Workers[number]] extends [never]
  ? never
  : Workers[number] extends Worker<infer _E, infer R>
    ? R
    : never

/**
 * What a worker does and when it does it again.
 *
 * **Details**
 *
 * - `init`: the first phase. No worker runs before all that start with it have done theirs. What it acquires is released
 *   when the run ends, and acquired anew for the next.
 * - `run`: the second phase: an effect, or an effect made from what `init` gave.
 * - `restart`: default `onFailure`. A failed `init`, a defect, and an interruption that the supervisor did not ask for are
 *   failures too.
 * - `schedule`: the pauses between runs and how many there are; its input is the exit of the run. Default
 *   {@link defaultSchedule}. No pause is shorter than 10 milliseconds.
 * - `resetAfter`: a run that lasted so long, its init not counted, begins the schedule anew. Default 30 seconds.
 * - `stopTimeout`: how long a stop waits for this worker. Default 45 seconds.
 * - `optional`: the others go on when it has failed for good. Its errors then leave the types, too. Default `false`.
 *
 * @category models
 * @since 0.1.0
 */
export interface WorkerOptions<A, E, R, E2, R2> {
  readonly init?: Effect.Effect<A, E, R> | undefined
  readonly run: Effect.Effect<unknown, E2, R2> | ((init: A) => Effect.Effect<unknown, E2, R2>)
  readonly restart?: Restart | undefined
  readonly schedule?: Schedule.Schedule<unknown, Exit.Exit<unknown, NoInfer<E | E2>>> | undefined
  readonly resetAfter?: Duration.Input | undefined
  readonly stopTimeout?: Duration.Input | undefined
  readonly optional?: boolean | undefined
}

/**
 * Half a second at first, doubling up to 30 seconds, jittered by ±20 %, ten times.
 *
 * **Details**
 *
 * A worker that fails eleven times in some two and a half minutes, and never ran for half a minute, is broken in a way that another
 * start does not cure.
 *
 * @category constants
 * @since 0.1.0
 */
export const defaultSchedule: Schedule.Schedule<unknown> = backoff(500, 30_000).pipe(Schedule.upTo({ times: 10 }))

/** A run as long as the longest pause of the default schedule was worth its start. */
const defaultResetAfter: Duration.Input = "30 seconds"

/**
 * Names a worker. It never throws: a name or a duration that cannot be used fails the start.
 *
 * **Example** (Two phases)
 *
 * ```ts
 * import { Console, Effect } from "effect"
 * import { Supervisor } from "effect-ensemble"
 *
 * const mailer = Supervisor.worker("mailer", {
 *   init: Effect.acquireRelease(Effect.succeed("mailbox"), () => Console.log("closed")),
 *   run: (mailbox) => Console.log(`reads its ${mailbox}`)
 * })
 * await Effect.runPromise(Supervisor.run([mailer]))
 * // => reads its mailbox
 * // => closed
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const worker: {
  <E2, R2, A = void, E = never, R = never>(
    name: string,
    options: WorkerOptions<A, E, R, E2, R2> & { readonly optional: true }
  ): Worker<never, Exclude<R | R2, Scope.Scope>>
  <E2, R2, A = void, E = never, R = never>(
    name: string,
    options: WorkerOptions<A, E, R, E2, R2>
  ): Worker<E | E2, Exclude<R | R2, Scope.Scope>>
} = <E2, R2, A, E, R>(name: string, options: WorkerOptions<A, E, R, E2, R2>): Worker<never, never> => {
  const { init, run } = options
  const begun: Effect.Effect<A, E, R> | Effect.Effect<undefined> = init ?? Effect.undefined
  return {
    [TypeId]: { _E: identity, _R: identity },
    name,
    begin: Effect.isEffect(run)
      ? Effect.as(begun, run)
      : // Without an init, `A` is void: there is nothing for the run to be made from.
        Effect.map(begun, (value) => Effect.suspend(() => run(value as A))),
    restart: options.restart ?? "onFailure",
    schedule: options.schedule ?? defaultSchedule,
    resetAfter: options.resetAfter ?? defaultResetAfter,
    stopTimeout: options.stopTimeout ?? internal.defaultStopTimeout,
    optional: options.optional ?? false
  }
}

/**
 * How to supervise.
 *
 * **Details**
 *
 * - `strategy`: default `oneForOne`.
 * - `only`: the names of those to start; the others are known and disabled. Default: all.
 * - `stopTimeout`: how long the stop of all may take. Where they stop one after another, each gets its part of what is left.
 *   Default 45 seconds.
 *
 * @category models
 * @since 0.1.0
 */
export type Options = internal.Options

/**
 * Workers under supervision.
 *
 * **Details**
 *
 * - `statuses`: all workers, in order. `changes`: the present status of each, then every later one.
 * - `await`: returns when nothing runs and nothing will run again, fails when a worker has failed for good.
 * - `enable`: starts a worker that is at rest, with a fresh schedule. One that is being stopped starts again after that; one that runs
 *   stays as it is.
 * - `disable`: stops a worker, waits for it within its bound, and says how that went. The strategy does not count: the others go on.
 * - `add`: a further worker, the last in order, started at once. It can fail with nothing that the supervisor's type does not know.
 * - `stop`: ends supervision. All callers share one stop and its report.
 *
 * @category models
 * @since 0.1.0
 */
export interface Supervisor<in out E> {
  readonly statuses: Effect.Effect<ReadonlyArray<WorkerStatus>>
  readonly changes: Stream.Stream<WorkerStatus>
  readonly await: Effect.Effect<void, WorkerFailed<E>>
  readonly enable: (name: string) => Effect.Effect<void, UnknownWorkers | SupervisionEnded>
  readonly disable: (name: string) => Effect.Effect<WorkerStop, UnknownWorkers>
  readonly add: <R>(worker: Worker<E, R>) => Effect.Effect<void, InvalidWorkers | SupervisionEnded, R>
  readonly stop: Effect.Effect<StopReport>
}

/**
 * Why supervision did not start, or has ended.
 *
 * @category errors
 * @since 0.1.0
 */
export type SupervisorError<E> = WorkerFailed<E> | InvalidWorkers | UnknownWorkers

const start = <const Workers extends ReadonlyArray<AnyWorker>>(workers: Workers, options: Options) =>
  restore<ErrorOf<Workers>, ServicesOf<Workers>, Scope.Scope>(internal.start(workers.map(erase), options))

/**
 * Starts workers and gives the means to watch and steer them; it returns when all inits are done and all run.
 *
 * **Details**
 *
 * - Closing the scope stops the workers within their bounds.
 * - In a program with a `Maestro`, the failure of supervision fails the run; and inside a service, that service is
 *   degraded while a worker waits for its restart, was abandoned, or is optional and has failed.
 *
 * **Gotchas**
 *
 * A scope that closes while a worker goes on beyond its bound dies with `StopIncomplete`, unless `stop` has given its
 * report to somebody before.
 *
 * **Example** (Enabling a worker at run time)
 *
 * ```ts
 * import { Deferred, Effect } from "effect"
 * import { Supervisor } from "effect-ensemble"
 *
 * const program = Effect.scoped(Effect.gen(function*() {
 *   const reindexed = yield* Deferred.make<void>()
 *   const jobs = yield* Supervisor.make([
 *     Supervisor.worker("consumer", { run: Effect.never }),
 *     Supervisor.worker("reindex", { run: Deferred.succeed(reindexed, undefined) })
 *   ], { only: ["consumer"] })
 *   yield* jobs.enable("reindex")
 *   yield* Deferred.await(reindexed)
 *   const stopped = yield* jobs.disable("consumer")
 *   return `${stopped.name}: ${stopped.outcome}`
 * }))
 * console.log(await Effect.runPromise(program)) // => consumer: clean
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = Effect.fnUntraced(function* <const Workers extends ReadonlyArray<AnyWorker>>(
  workers: Workers,
  options: Options = {}
): Effect.fn.Return<
  Supervisor<ErrorOf<Workers>>,
  SupervisorError<ErrorOf<Workers>>,
  ServicesOf<Workers> | Scope.Scope
> {
  const { started, ...supervision } = yield* start(workers, options)
  yield* started
  yield* reportToMaestro(supervision)
  return {
    ...supervision,
    add: <R>(added: Worker<ErrorOf<Workers>, R>) =>
      Effect.contextWith((context: Context.Context<R>) => supervision.add(erase(added), context))
  }
})

/**
 * Runs workers until all have ended for good, or one that is not optional has failed for good.
 *
 * **When to use**
 *
 * Use it as the body of a program, of an `Election.lead`, of a seat. Use {@link make} to steer the workers while they run.
 *
 * **Details**
 *
 * Interruption stops the workers within their bounds and then ends `run`. A failure stops the others first.
 *
 * **Gotchas**
 *
 * Workers that are told to stop and go on beyond their bound add the defect `StopIncomplete` to an interruption.
 *
 * **Example** (A failure with its cause)
 *
 * ```ts
 * import { Cause, Data, Effect, Option, Schedule } from "effect"
 * import { Supervisor } from "effect-ensemble"
 *
 * class Unpaid extends Data.TaggedError("Unpaid")<{ readonly invoice: number }> {}
 *
 * const billing = Supervisor.worker("billing", {
 *   run: Effect.fail(new Unpaid({ invoice: 7 })),
 *   schedule: Schedule.recurs(2)
 * })
 * const program = Supervisor.run([billing, Supervisor.worker("web", { run: Effect.never })]).pipe(
 *   Effect.catchTag("WorkerFailed", ({ cause, restarts, worker }) =>
 *     Effect.succeed(`${worker} after ${restarts} restarts: ${Option.map(Cause.findErrorOption(cause), (e) => e.invoice)}`))
 * )
 * console.log(await Effect.runPromise(program)) // => billing after 2 restarts: some(7)
 * ```
 *
 * **Example** (Work for the leader only)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Election, Memory, Supervisor } from "effect-ensemble"
 *
 * const Report = Election.make("nightly-report")
 * const report = Supervisor.worker("report", {
 *   run: Election.lead(Report, (tenure) => Effect.sync(() => console.log(`${tenure.id} writes`)))
 * })
 * await Effect.runPromise(Supervisor.run([report]).pipe(Effect.provide(Memory.layer({ node: "web-1" })))) // => web-1 writes
 * ```
 *
 * @category combinators
 * @since 0.1.0
 */
export const run = <const Workers extends ReadonlyArray<AnyWorker>>(
  workers: Workers,
  options: Options = {}
): Effect.Effect<void, SupervisorError<ErrorOf<Workers>>, Exclude<ServicesOf<Workers>, Scope.Scope>> =>
  Effect.scoped(Effect.flatMap(start(workers, options), (supervision) => supervision.await))

/**
 * Runs workers for the life of a layer; building it returns when all inits are done and all run.
 *
 * **When to use**
 *
 * Use it where nobody steers the workers. For a supervisor that others can ask for, give {@link make} to a service of your
 * own: `Layer.effect(Jobs, Supervisor.make(workers))`.
 *
 * **Example** (Background work of a program)
 *
 * ```ts
 * import { Deferred, Effect, Layer } from "effect"
 * import { Supervisor } from "effect-ensemble"
 *
 * const program = Effect.gen(function*() {
 *   const polled = yield* Deferred.make<string>()
 *   const Workers = Supervisor.layer([
 *     Supervisor.worker("poller", { run: Deferred.succeed(polled, "polled"), restart: "always" })
 *   ])
 *   return yield* Deferred.await(polled).pipe(Effect.provide(Workers))
 * })
 * console.log(await Effect.runPromise(program)) // => polled
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = <const Workers extends ReadonlyArray<AnyWorker>>(
  workers: Workers,
  options: Options = {}
): Layer.Layer<never, SupervisorError<ErrorOf<Workers>>, Exclude<ServicesOf<Workers>, Scope.Scope>> =>
  Layer.effectDiscard(make(workers, options))

/**
 * A worker's status as data for JSON.
 *
 * @category models
 * @since 0.1.0
 */
export interface WorkerStatusJson {
  readonly name: string
  readonly state: WorkerState["_tag"]
  readonly since: number
  readonly restarts: number
  readonly optional: boolean
  readonly restartInMillis?: number
  readonly failure?: string
}

/**
 * A worker's status as data for JSON: its state by name, its last failure as text.
 *
 * **Example** (What a worker is doing)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Supervisor } from "effect-ensemble"
 *
 * const program = Effect.scoped(Effect.gen(function*() {
 *   const jobs = yield* Supervisor.make([Supervisor.worker("consumer", { run: Effect.never })])
 *   return (yield* jobs.statuses).map(Supervisor.toJson).map(({ name, state }) => ({ name, state }))
 * }))
 * console.log(JSON.stringify(await Effect.runPromise(program))) // => [{"name":"consumer","state":"Running"}]
 * ```
 *
 * @category conversions
 * @since 0.1.0
 */
export const toJson = ({ cause, name, optional, restarts, since, state }: WorkerStatus): WorkerStatusJson => ({
  name,
  state: state._tag,
  since,
  restarts,
  optional,
  ...(state._tag === "Restarting" ? { restartInMillis: state.delayMillis } : undefined),
  ...(cause === undefined ? undefined : { failure: Cause.pretty(cause) })
})
