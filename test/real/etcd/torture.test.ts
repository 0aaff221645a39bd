import { assert, it } from "@effect/vitest"
import { Effect } from "effect"
import { run } from "../../torture/run.ts"

/** It comes to rest twice, which takes half a minute each time where a busy machine delays everything. */
const timeout = 240_000

it.live(
  "torture: a storm of faults on one server, another on three, and nothing is violated",
  () =>
    Effect.gen(function* () {
      const lines: Array<string> = []
      const { outcomes, violations } = yield* run(
        { seed: 5, seconds: 45, nodes: 4 },
        { say: (line) => lines.push(line) }
      )
      assert.deepStrictEqual(violations, [], lines.join("\n"))
      // It has been one: faults struck, and places changed hands. How often depends on the machine.
      for (const { counts } of outcomes) {
        assert.isAbove(Object.keys(counts.faults).length, 3)
        assert.isAbove(counts.tenures, 1)
        assert.isAbove(counts.guardedWrites, 10)
      }
    }),
  timeout
)
