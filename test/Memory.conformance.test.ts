import { describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { Memory } from "effect-ensemble"
import { Conformance, Faults } from "effect-ensemble/testing"
import { TestClock } from "effect/testing"

const ttlMillis = 10_000

/** What is ready to run runs before time moves, and what the time has woken runs before the test looks. */
const settle = Effect.repeat(Effect.yieldNow, { times: 20 })

const makeHarness = Effect.gen(function* () {
  const store = yield* Memory.makeStore()
  const harness: Conformance.Harness = {
    ttlMillis,
    process: (node, options) => Memory.makeProcess(store, { ...options, node, ttl: ttlMillis }),
    advance: (millis) => settle.pipe(Effect.andThen(TestClock.adjust(millis)), Effect.andThen(settle), Effect.asVoid),
    faults: Faults.make(store),
    truth: Effect.map(Faults.inspect(store), ({ entries, watches }) => ({
      members: entries.map((entry) => `${entry.group}/${entry.id}`),
      watches
    })),
    requests: Effect.map(Faults.inspect(store), ({ requests }) =>
      Object.entries(requests).reduce(
        (sum, [operation, count]) => (operation.startsWith("Group.") ? sum + count : sum),
        0
      )
    )
  }
  return harness
})

describe("Memory keeps the contract", () => {
  for (const { contract, name, run } of Conformance.suite(makeHarness, Conformance.capabilities)) {
    it.effect(`${contract}: ${name}`, () => run)
  }
})
