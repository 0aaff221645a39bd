/**
 * The suite that every engine passes: data, for any test runner.
 *
 * **When to use**
 *
 * Use it when you write an engine, or wrap one. Give {@link suite} a way to start processes on a fresh store and the
 * capabilities of your harness, and run each case as a test:
 *
 * ```typescript
 * for (const { contract, name, run } of Conformance.suite(makeHarness, capabilities)) {
 *   it.effect(`${contract}: ${name}`, () => run)
 * }
 * ```
 *
 * **Details**
 *
 * A case runs in its own scope and on its own store. It fails with a {@link ConformanceFailure} that says which promise was
 * not kept. Cases let time pass through the harness only, so the same suite runs under a test clock and in real time.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Barrier from "./conformance/barrier.ts"
import * as Discovery from "./conformance/discovery.ts"
import * as Exclusion from "./conformance/exclusion.ts"
import type * as harness from "./conformance/harness.ts"
import * as Interruption from "./conformance/interruption.ts"
import * as Membership from "./conformance/membership.ts"
import * as Outage from "./conformance/outage.ts"
import * as Reconciliation from "./conformance/reconciliation.ts"
import * as Sequence from "./conformance/sequence.ts"
import * as Session from "./conformance/session.ts"
import * as Turns from "./conformance/turns.ts"
import * as Watch from "./conformance/watch.ts"

/**
 * A promise that an engine did not keep, in words.
 *
 * @category re-exports
 * @since 0.1.0
 */
export { ConformanceFailure } from "./conformance/harness.ts"

/**
 * What the suite needs of an engine's tests: processes on one store, time, faults and the truth.
 *
 * **Details**
 *
 * - `ttlMillis`: the TTL that the processes are to use. `process` starts one, under the name of its node, for the scope.
 * - `advance`: lets so many milliseconds pass.
 * - `faults`: those of `Faults` that the tests of this engine can strike.
 * - `truth`: the members (`kind/group/id`) and upstream watches that the store itself counts.
 * - `stride`: interruption is swept at every so manieth point.
 * - `requests`: how many requests have reached the store.
 *
 * @category models
 * @since 0.1.0
 */
export type Harness = harness.Harness

/**
 * One process that a {@link Harness} has started.
 *
 * @category models
 * @since 0.1.0
 */
export type TestProcess = harness.TestProcess

/**
 * Something that not every engine or harness can do: a fault, requests that are counted, or conflicts in the kind
 * `discovery`, which an agent's catalog does not have.
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
export interface Case {
  readonly contract: string
  readonly name: string
  readonly run: Effect.Effect<void, unknown>
}

const all: ReadonlyArray<harness.Case> = [
  ...Session.cases,
  ...Membership.cases,
  ...Reconciliation.cases,
  ...Watch.cases,
  ...Outage.cases,
  ...Turns.cases,
  ...Interruption.cases,
  ...Discovery.cases,
  ...Exclusion.cases,
  ...Barrier.cases,
  ...Sequence.cases
]

/**
 * Every capability that some case needs, for a harness that has them all.
 *
 * @category constructors
 * @since 0.1.0
 */
export const capabilities: ReadonlyArray<Capability> = Array.from(new Set(all.flatMap((each) => each.needs)))

/**
 * The cases that an engine with these capabilities has to pass.
 *
 * **Gotchas**
 *
 * A case is left out only because it needs a capability that was not declared: declare what the engine promises, not
 * what passes.
 *
 * @category constructors
 * @since 0.1.0
 */
export const suite = <E, R>(
  makeHarness: Effect.Effect<Harness, E, R | Scope.Scope>,
  declared: Iterable<Capability>
): ReadonlyArray<Omit<Case, "run"> & { readonly run: Effect.Effect<void, unknown, Exclude<R, Scope.Scope>> }> => {
  const has = new Set<Capability>(declared)
  return all
    .filter((each) => each.needs.every((need) => has.has(need)))
    .map(({ contract, name, run }) => ({
      contract,
      name,
      run: Effect.scoped(
        Effect.flatMap(makeHarness, (harness) =>
          // Before the processes end: a release that a fault holds up would wait for time that nobody moves any more.
          Effect.ensuring(run(harness), harness.faults.healAll ?? Effect.void)
        )
      )
    }))
}
