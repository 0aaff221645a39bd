/** A named layer in a run: what the run has to know to start it once, hold it up, and stop it once. */
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import type * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import type { AnyLayer } from "./erased.ts"
import type { Countdown } from "./countdown.ts"
import type { FailureReason, Policy, ServiceEvent, ServiceStatus } from "./model.ts"

/** Enough for a connection pool to finish its queries, and a third of what Kubernetes grants (30 s) to a whole program. */
const defaultStopMillis = 10_000

/** A check that takes longer than this has answered: probes are themselves given a second by default. */
const defaultHealthMillis = 1_000

/** What a combinator was given, read once. */
export interface Definition {
  readonly name: string
  readonly optional: boolean
  readonly labels: Readonly<Record<string, string>>
  readonly retry: Schedule.Schedule<unknown, unknown> | undefined
  readonly startMillis: number
  readonly stopMillis: number
  readonly health: Effect.Effect<unknown, unknown> | undefined
  readonly healthMillis: number
  /** The user's layer: what it provides and needs is known to the combinator's type, and nowhere else. */
  readonly layer: AnyLayer
}

const millisOf = (input: Duration.Input | undefined, otherwise: number): number =>
  input === undefined ? otherwise : Duration.toMillis(Duration.fromInputUnsafe(input))

export const define = (
  name: string,
  optional: boolean,
  policy: Policy<never, unknown>,
  layer: Definition["layer"]
): Definition => ({
  name,
  optional,
  labels: policy.labels ?? {},
  // The combinator's type has checked both: the input is this layer's failure, and the check uses what the layer provides.
  retry: policy.retry as Definition["retry"],
  startMillis: millisOf(policy.startTimeout, Number.POSITIVE_INFINITY),
  stopMillis: millisOf(policy.stopTimeout, defaultStopMillis),
  health: policy.health as Definition["health"],
  healthMillis: millisOf(policy.healthTimeout, defaultHealthMillis),
  layer
})

export interface Service {
  readonly definition: Definition
  /** The layer that it is: whoever asks for that layer is given this service. */
  readonly key: object
  status: ServiceStatus
  /** What brought it to where it stands. */
  last: ServiceEvent
  readonly metAt: number
  settledAt: number | undefined
  stoppingAt: number | undefined
  stoppedAt: number | undefined

  /** Everything that it was seen to depend on. */
  readonly dependencies: Set<Service>
  /** Those of them that stay up for as long as this service does. */
  readonly holds: Set<Service>
  readonly heldBy: Set<Service>
  /** Scopes in which it was asked for and that are still open. */
  scopes: number
  /** Services that wait for this one, and for how many this one waits itself. */
  readonly dependents: Set<Service>
  pending: number

  /** In the very turn in which it was met. */
  launching: boolean
  attempt: number
  /** The context of its own construction: what else a dependency is given comes out of that construction. */
  context: Context.Context<never>
  /** The attempt's own scope: when it is ready, everything that it has acquired. */
  scope: Scope.Closeable | undefined
  fiber: Fiber.Fiber<unknown, unknown> | undefined
  /** An attempt that was given up and has not ended. */
  lingering: Fiber.Fiber<unknown, unknown> | undefined
  countdown: Countdown | undefined
  output: Context.Context<never> | undefined
  /** Given to it by the construction of a dependent, and so a part of that construction. */
  captive: boolean
  stopping: boolean

  /** What whoever asks for it is given. */
  readonly result: Deferred.Deferred<Context.Context<never>, unknown>
  readonly gone: Deferred.Deferred<void>
}

export const make = (definition: Definition, key: object, status: ServiceStatus): Service => ({
  definition,
  key,
  status,
  last: { service: definition.name, at: status.since, happening: { _tag: "Waiting" }, status },
  metAt: status.since,
  settledAt: undefined,
  stoppingAt: undefined,
  stoppedAt: undefined,
  dependencies: new Set(),
  holds: new Set(),
  heldBy: new Set(),
  scopes: 0,
  dependents: new Set(),
  pending: 0,
  launching: false,
  attempt: 0,
  context: Context.empty(),
  scope: undefined,
  fiber: undefined,
  lingering: undefined,
  countdown: undefined,
  output: undefined,
  captive: false,
  stopping: false,
  result: Deferred.makeUnsafe(),
  gone: Deferred.makeUnsafe()
})

/** Whether it has become ready, or never will. */
export const isSettled = (self: Service): boolean => Deferred.isDoneUnsafe(self.result)

const valuesOf = (cause: Cause.Cause<unknown>): ReadonlyArray<unknown> =>
  cause.reasons.flatMap((reason) => {
    if (Cause.isFailReason(reason)) return [reason.error]
    return Cause.isDieReason(reason) ? [reason.defect] : []
  })

/**
 * Tells a failure of its own from one that a dependency has handed up. The very same error is looked for, because a
 * dependency that failed may have been replaced by something else inside (`Layer.catch`), after which the failure at hand is its own.
 */
export const reasonOf = (self: Service, cause: Cause.Cause<unknown>): FailureReason => {
  const values = new Set(valuesOf(cause))
  for (const dependency of self.dependencies) {
    const { failure } = dependency.status
    if (dependency.definition.optional || failure === undefined) continue
    if (valuesOf(failure.cause).some((value) => values.has(value))) {
      return { _tag: "DependencyUnavailable", dependency: dependency.definition.name, cause }
    }
  }
  return { _tag: "ConstructionFailed", cause }
}
