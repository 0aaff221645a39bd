/** What the outside sees of a run: plain data, and the shape of the handle. */
import type * as Cause from "effect/Cause"
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type * as Graph from "effect/Graph"
import type * as Schedule from "effect/Schedule"
import type * as Stream from "effect/Stream"
import type { ServiceNotReady, StartTimeout, UnknownService } from "./errors.ts"

/**
 * Where a service stands.
 *
 * **Details**
 *
 * - `waiting`: it was met, and something that it depends on is not ready yet.
 * - `starting`: its own construction is under way; `retrying`: the pause before the next attempt.
 * - `ready`, or `degraded` by its own report.
 * - `failed`: it will not become ready in this run.
 * - `stopping`, then `stopped`, or `abandoned` when its clean-up outlived its budget and still runs apart.
 *
 * @category models
 * @since 0.1.0
 */
export type ServiceState =
  | "waiting"
  | "starting"
  | "retrying"
  | "ready"
  | "degraded"
  | "failed"
  | "stopping"
  | "stopped"
  | "abandoned"

/**
 * Why a service did not start.
 *
 * @category models
 * @since 0.1.0
 */
export type FailureReason =
  | { readonly _tag: "ConstructionFailed"; readonly cause: Cause.Cause<unknown> }
  | {
      readonly _tag: "DependencyUnavailable"
      readonly dependency: string
      readonly cause: Cause.Cause<unknown>
    }

/**
 * A service as it stands now.
 *
 * **Details**
 *
 * - `attempts` counts those of its own construction that have begun; 0 means never attempted.
 * - `since` is the wall time in milliseconds at which the present state was entered; `spent` sums the milliseconds of
 *   the states before it.
 * - `failure` is why it did not start, `reason` its own words for being degraded, `stopFailure` what its clean-up died of.
 *
 * @category models
 * @since 0.1.0
 */
export interface ServiceStatus {
  readonly name: string
  readonly optional: boolean
  readonly labels: Readonly<Record<string, string>>
  readonly state: ServiceState
  readonly since: number
  readonly attempts: number
  readonly spent: Readonly<Partial<Record<ServiceState, number>>>
  readonly reason: string | undefined
  readonly failure: FailureReason | undefined
  readonly stopFailure: Cause.Cause<unknown> | undefined
}

/**
 * What happened to a service.
 *
 * **Details**
 *
 * `AttemptFailed` carries the pause before the next attempt, in milliseconds; when there will be none, `Failed` follows at once.
 * `Stopping` carries the budget in milliseconds that its clean-up was given. `Stopped` carries what the clean-up died
 * of, if it did.
 *
 * @category models
 * @since 0.1.0
 */
export type Happening =
  | { readonly _tag: "Waiting" }
  | { readonly _tag: "Starting"; readonly attempt: number }
  | {
      readonly _tag: "AttemptFailed"
      readonly attempt: number
      readonly cause: Cause.Cause<unknown>
      readonly delayMillis: number
    }
  | { readonly _tag: "Ready" }
  | { readonly _tag: "Degraded"; readonly reason: string }
  | { readonly _tag: "Recovered" }
  | { readonly _tag: "Failed"; readonly failure: FailureReason }
  | { readonly _tag: "Stopping"; readonly budgetMillis: number }
  | { readonly _tag: "Stopped"; readonly failure: Cause.Cause<unknown> | undefined }
  | { readonly _tag: "Abandoned" }

/**
 * What happened to which service, when, and how the service stands since.
 *
 * **Details**
 *
 * `at` is wall time in milliseconds.
 *
 * @category models
 * @since 0.1.0
 */
export interface ServiceEvent {
  readonly service: string
  readonly at: number
  readonly happening: Happening
  readonly status: ServiceStatus
}

/**
 * Where a run as a whole stands.
 *
 * **Details**
 *
 * A program is ready to be used in `running` only: in `draining` and `stopping` it still works on what it has, and
 * wants nothing new.
 *
 * @category models
 * @since 0.1.0
 */
export type Phase = "idle" | "starting" | "running" | "draining" | "stopping" | "stopped"

/**
 * The health check of a service that is up.
 *
 * **Details**
 *
 * `check` is the policy's `health`, given what the service provides, within the policy's `healthTimeout`.
 *
 * @category models
 * @since 0.1.0
 */
export interface ServiceCheck {
  readonly service: string
  readonly optional: boolean
  readonly labels: Readonly<Record<string, string>>
  readonly check: Effect.Effect<void, unknown>
}

/**
 * How a service is started, stopped and watched.
 *
 * **Details**
 *
 * - `retry`: when to try its own construction again. Its input is the typed failure of the attempt; a defect and the
 *   failure of a dependency are never retried. Default: one attempt.
 * - `startTimeout`: the longest that one attempt may take, not counting the time for which a dependency is pending.
 *   Default: none. The Schedule bounds the total.
 * - `stopTimeout`: the longest that its own clean-up may take before it is abandoned. Default: 10 seconds.
 * - `health`: fails when the service does not work. It may use what the service provides.
 * - `healthTimeout`: how long one check may take. Default: 1 second.
 * - `labels`: shown with the service wherever it is shown.
 *
 * @category models
 * @since 0.1.0
 */
export interface Policy<in E = unknown, out Uses = never> {
  readonly retry?: Schedule.Schedule<unknown, E | StartTimeout> | undefined
  readonly startTimeout?: Duration.Input | undefined
  readonly stopTimeout?: Duration.Input | undefined
  readonly health?: Effect.Effect<unknown, unknown, Uses> | undefined
  readonly healthTimeout?: Duration.Input | undefined
  readonly labels?: Readonly<Record<string, string>> | undefined
}

/**
 * A dependent's use of a dependency.
 *
 * @category models
 * @since 0.1.0
 */
export interface Dependency {
  readonly optional: boolean
}

/**
 * The services that were met, each with an edge to everything that it depends on.
 *
 * @category models
 * @since 0.1.0
 */
export type ServiceGraph = Graph.DirectedGraph<ServiceStatus, Dependency>

/**
 * How long one service took, in milliseconds.
 *
 * **Details**
 *
 * `beganAt` and `endedAt` count from the beginning of the start or of the stop. `own` is the time of its own
 * construction or clean-up, `waiting` that for dependencies, `retrying` that between attempts.
 *
 * @category models
 * @since 0.1.0
 */
export interface Timing {
  readonly service: string
  readonly beganAt: number
  readonly endedAt: number
  readonly own: number
  readonly waiting: number
  readonly retrying: number
  readonly attempts: number
  readonly state: ServiceState
  /** Whether a faster one of this would have made the whole faster. */
  readonly critical: boolean
}

/**
 * What took how long.
 *
 * @category models
 * @since 0.1.0
 */
export interface Report {
  readonly start: { readonly millis: number; readonly services: ReadonlyArray<Timing> }
  readonly stop: { readonly millis: number; readonly services: ReadonlyArray<Timing> }
}

/**
 * What a program can see of its run, and do to it.
 *
 * **Details**
 *
 * - `events` begins with how every known service stands, then follows; it ends when the run has stopped.
 * - `states` are all services as they stand now, in the order in which they were met.
 * - `phase` and `phases` say how the run as a whole stands.
 * - `checks` are those of the services that are up.
 * - `ready(name)` returns when that service is ready and fails when it cannot become so.
 * - `stop` stops the run and returns when it has stopped; it may be called any number of times.
 * - `fail(cause)` does the same, and makes the run a failed one.
 * - `ended` waits for the end of the run: fails with the cause that it was given.
 *
 * @category models
 * @since 0.1.0
 */
export interface Handle {
  readonly events: Stream.Stream<ServiceEvent>
  readonly states: Effect.Effect<ReadonlyArray<ServiceStatus>>
  readonly phase: Effect.Effect<Phase>
  readonly phases: Stream.Stream<Phase>
  readonly checks: Effect.Effect<ReadonlyArray<ServiceCheck>>
  readonly ready: (name: string) => Effect.Effect<void, ServiceNotReady | UnknownService>
  readonly graph: Effect.Effect<ServiceGraph>
  readonly report: Effect.Effect<Report>
  readonly stop: Effect.Effect<void>
  readonly fail: (cause: Cause.Cause<unknown>) => Effect.Effect<void>
  readonly ended: Effect.Effect<void, unknown>
}
