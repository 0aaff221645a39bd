/**
 * How to test a service of your own against a store that fails: simulated processes, faults on demand, and a clock that
 * the test moves. In a project this is the body of an `it.effect` of `@effect/vitest`, which provides that clock and
 * silences the log as it is done here at the end.
 */
import { NodeRuntime } from "@effect/platform-node"
import { Console, Effect, Logger, Ref } from "effect"
import { Election, Memory } from "effect-ensemble"
import { Faults } from "effect-ensemble/testing"
import { TestClock } from "effect/testing"
import { strictEqual } from "node:assert"

// The service under test: it counts on one process only, and publishes who that is.
const Counter = Election.make("counter")

const makeCounter = Effect.gen(function* () {
  const running = yield* Ref.make(false)
  yield* Election.lead(
    Counter,
    Effect.acquireUseRelease(
      Ref.set(running, true),
      () => Effect.never,
      () => Ref.set(running, false)
    )
  ).pipe(Effect.forkScoped)
  return { isRunning: Ref.get(running) }
})

const test = Effect.gen(function* () {
  const store = yield* Memory.makeStore()
  const faults = Faults.make(store)
  const one = yield* Memory.makeProcess(store, { node: "one", ttl: "15 seconds" })
  const two = yield* Memory.makeProcess(store, { node: "two", ttl: "15 seconds" })

  const first = yield* one.run(makeCounter)
  yield* TestClock.adjust("1 second")
  const second = yield* two.run(makeCounter)
  yield* TestClock.adjust("1 second")
  strictEqual(yield* first.isRunning, true)
  strictEqual(yield* second.isRunning, false)
  yield* Console.log("one counts, two waits")

  // Cut off, it must have stopped by 0.8 of the TTL, and before that nobody else may have started.
  yield* faults.partition("one")
  yield* TestClock.adjust("12 seconds")
  strictEqual(yield* first.isRunning, false)
  strictEqual(yield* second.isRunning, false)
  yield* Console.log("one is cut off and has stopped by its own clock; nobody counts")

  // The store ends a session between once and twice its TTL.
  yield* TestClock.adjust("30 seconds")
  strictEqual(yield* second.isRunning, true)
  yield* Console.log("two has taken over")

  // Back again, it is a candidate like any other.
  yield* faults.heal("one")
  yield* TestClock.adjust("30 seconds")
  strictEqual(yield* first.isRunning, false)
  strictEqual(yield* second.isRunning, true)
  yield* Console.log("one is back and waits for its turn")
})

test.pipe(Effect.scoped, Effect.provide([TestClock.layer(), Logger.layer([])]), NodeRuntime.runMain)
