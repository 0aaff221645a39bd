/** What the tests of the torture on each engine have in common. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Logger } from "effect"
import { Election, Group } from "../../src/index.ts"
import type { Engine } from "../torture/engine.ts"
import { Guard } from "../torture/engine.ts"
import { Chief } from "../torture/roles.ts"
import { run } from "../torture/run.ts"

/** It comes to rest twice, which takes a minute each time where a busy machine delays everything. */
const timeout = 240_000

const chief = Group.label(Chief.group)

const tells = (engine: Engine) =>
  Effect.gen(function* () {
    const { chronicle, entries, operate, servers } = yield* engine.start(1)
    const endpoints = servers.map(({ host, port }) => `${host}:${port}`)
    const orders = { engine: engine.name, root: engine.root, label: "n0.1", node: "n0", endpoints, seed: 1 }
    const node = yield* Layer.build(engine.layer(orders))
    const guard = yield* Effect.provideContext(Guard, node)
    const tokens: Array<bigint> = []
    for (const fault of ["entry deleted", "session ended"] as const) {
      yield* Effect.gen(function* () {
        const tenure = yield* Election.campaign(Chief)
        tokens.push(tenure.token)
        yield* guard.write(tenure, tenure.token, `by-${tenure.token}`)
        assert.deepStrictEqual(
          (yield* entries).map(({ group, id, token }) => ({ group, id, token })),
          [{ group: chief, id: "n0", token: tenure.token }]
        )
        yield* operate(fault, 0)
        yield* Effect.flip(tenure.lost)
      }).pipe(Effect.scoped, Effect.provideContext(node))
    }
    yield* chronicle.caughtUp
    const { writes } = yield* chronicle.told
    const [first = 0n, second = 0n] = tokens
    assert.deepStrictEqual(
      writes
        .filter(({ group }) => group === chief)
        .map(({ forced, id, of, token, value }) => [of, id, token, value, value === undefined && forced]),
      [
        ["entry", "n0", first, "", false],
        ["guarded", `by-${first}`, first, "", false],
        ["entry", "n0", first, undefined, true],
        ["entry", "n0", second, "", false],
        ["guarded", `by-${second}`, second, "", false],
        ["entry", "n0", second, undefined, true]
      ]
    )
  })

const endures = (engine: Engine) =>
  Effect.gen(function* () {
    const lines: Array<string> = []
    const { outcomes, violations } = yield* run(
      { engine, seed: 5, seconds: 40, nodes: 4 },
      { say: (line) => lines.push(line) }
    )
    assert.deepStrictEqual(violations, [], lines.join("\n"))
    // It has been one: faults struck, and places changed hands. How often depends on the machine.
    for (const { counts } of outcomes) {
      assert.isAbove(Object.keys(counts.faults).length, 3)
      assert.isAbove(counts.tenures, 1)
      assert.isAbove(counts.guardedWrites, 10)
    }
  })

export const torture = (engine: Engine) =>
  describe("the torture", () => {
    it.live(
      "knows every write, and which of them are an operator's",
      // What the engine logs about it is of no use.
      () => Effect.provide(tells(engine), Logger.layer([])),
      timeout
    )

    it.live(
      "a storm of faults on one server, another on three, and nothing is violated",
      () => endures(engine),
      timeout
    )
  })
