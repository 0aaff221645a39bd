/**
 * The suite that a service's layer passes: data, for any test runner.
 *
 * **When to use**
 *
 * Use it when you write the layer of a client: of a database, a cache, a broker. Give {@link suite} the layer and what your
 * tests can do to its server, and run each case as a test:
 *
 * ```typescript
 * for (const { contract, name, run } of ServiceConformance.suite(makeHarness, ["count", "refuse"])) {
 *   it.live(`${contract}: ${name}`, () => run)
 * }
 * ```
 *
 * **Details**
 *
 * A case runs in its own scope, with a harness of its own. It makes a `Maestro` service of the layer and starts, cancels, retries and
 * stops that, so a layer that passes can be given to `Maestro.service` with any policy. It fails with a
 * `ConformanceFailure` that says which promise was not kept. Cases let time pass through the harness only, so the same suite runs
 * under a test clock and in real time.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type * as harness from "./serviceConformance/harness.ts"
import { heal } from "./serviceConformance/harness.ts"
import * as Starts from "./serviceConformance/starts.ts"
import * as Stops from "./serviceConformance/stops.ts"

/**
 * What the suite needs of a service's tests.
 *
 * **Details**
 *
 * - `layer`: the layer under test, with everything that it needs but nothing of a policy.
 * - `probe`: uses the service as a program would, and fails unless it works: a value written and read, a query answered.
 * - `advance`: lets so many milliseconds pass.
 * - `patienceMillis`: the longest that anything may take on a healthy server. Bounds that the suite sets are a tenth of it.
 *   Default 10 seconds.
 * - `open`: what the service has open in the outside world: the connections that the server counts.
 * - `pooled`: for clients that open connections when they need them: how many of them a service may have more, or fewer, than at
 *   another moment at which it does the same. None is still none. Default 0.
 * - `health`: the effect that the service's users are to give as `health` in their policies.
 * - `faults`: see {@link Faults}.
 * - `stride`: cancelling is swept at every so manieth point; above 1 where a point costs real time. Default 1.
 *
 * @category models
 * @since 0.1.0
 */
export type Harness<Out> = harness.Harness<Out>

/**
 * What tests can do to the server.
 *
 * **Details**
 *
 * - `refuse`: new connections fail at once. `stall`: nothing has an answer any more, neither what is open nor what is new.
 * - `heal`: undoes both.
 *
 * @category models
 * @since 0.1.0
 */
export type Faults = harness.Faults

/**
 * Something that not every harness has: a fault, a count of what is open, or a health check.
 *
 * @category models
 * @since 0.1.0
 */
export type Capability = harness.Need

/**
 * One promise, as a test.
 *
 * @category models
 * @since 0.1.0
 */
export interface Case<out R = never> {
  readonly contract: string
  readonly name: string
  readonly run: Effect.Effect<void, unknown, R>
}

const all: ReadonlyArray<harness.Case> = [...Starts.cases, ...Stops.cases, ...Stops.healthCases]

/**
 * Every capability that some case needs, for a harness that has them all.
 *
 * @category constructors
 * @since 0.1.0
 */
export const capabilities: ReadonlyArray<Capability> = ["count", "refuse", "stall", "health"]

/**
 * The cases that a service with these capabilities of its tests has to pass.
 *
 * **Gotchas**
 *
 * A case is left out only because it needs a capability that was not declared. Without `count`, the suite cannot see what a
 * service leaves open, which is most of what goes wrong.
 *
 * @category constructors
 * @since 0.1.0
 */
export const suite = <Out, E, R>(
  makeHarness: Effect.Effect<Harness<Out>, E, R | Scope.Scope>,
  declared: Iterable<Capability>
): ReadonlyArray<Case<Exclude<R, Scope.Scope>>> => {
  const has = new Set<Capability>(declared)
  return all
    .filter((each) => each.needs.every((need) => has.has(need)))
    .map(({ contract, name, run }) => ({
      contract,
      name,
      run: Effect.scoped(
        Effect.flatMap(makeHarness, (harness) =>
          // Before the programs stop: a stop that a fault holds up would wait for its bound.
          Effect.ensuring(run(harness), heal(harness))
        )
      )
    }))
}
