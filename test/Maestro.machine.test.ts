import { assert, describe, it } from "@effect/vitest"
import { Cause } from "effect"
import type { Maestro } from "effect-ensemble"
import { met, transition } from "../src/internal/maestro/machine.ts"

const cause = Cause.fail("why")
const happenings: { readonly [Tag in Maestro.Happening["_tag"]]: Maestro.Happening } = {
  Waiting: { _tag: "Waiting" },
  Starting: { _tag: "Starting", attempt: 2 },
  AttemptFailed: { _tag: "AttemptFailed", attempt: 1, cause, delayMillis: 5 },
  Ready: { _tag: "Ready" },
  Degraded: { _tag: "Degraded", reason: "slow" },
  Recovered: { _tag: "Recovered" },
  Failed: { _tag: "Failed", failure: { _tag: "ConstructionFailed", cause } },
  Stopping: { _tag: "Stopping", budgetMillis: 10 },
  Stopped: { _tag: "Stopped", failure: undefined },
  Abandoned: { _tag: "Abandoned" }
}
const columns = [
  "Waiting",
  "Starting",
  "AttemptFailed",
  "Ready",
  "Degraded",
  "Recovered",
  "Failed",
  "Stopping",
  "Stopped",
  "Abandoned"
] as const satisfies ReadonlyArray<Maestro.Happening["_tag"]>

// A dot: the very same status. A plus: the same state with another reason.
const table = `
  waiting    .        starting  retrying  .      +         .  failed  stopping  .        .
  starting   waiting  .         retrying  ready  +         .  failed  stopping  .        .
  retrying   waiting  starting  .         .      .         .  failed  stopping  .        .
  ready      .        .         .         .      degraded  .  .       stopping  .        .
  degraded   .        .         .         .      +         ready  .   stopping  .        .
  failed     .        .         .         .      .         .  .       .         .        abandoned
  stopping   .        .         .         .      .         .  .       .         stopped  abandoned
  stopped    .        .         .         .      .         .  .       .         .        .
  abandoned  .        .         .         .      .         .  .       .         .        .
`
const rows = table
  .trim()
  .split("\n")
  .map((row) => row.trim().split(/\s+/))

const fresh = met({ name: "db", optional: false, labels: {} }, 0)
const at = (state: string): Maestro.ServiceStatus => ({
  ...fresh,
  state: state as Maestro.ServiceState,
  reason: state === "degraded" ? "before" : undefined
})

describe("a service's states", () => {
  for (const [state = "", ...cells] of rows) {
    it(`${state} goes on as the table says`, () => {
      const actual = columns.map((tag) => {
        const before = at(state)
        const after = transition(before, happenings[tag], 10)
        return after === before ? "." : after.state === before.state ? "+" : after.state
      })
      assert.deepStrictEqual(actual, cells)
    })
  }

  it("covers every state and every happening", () => {
    assert.strictEqual(rows.length, 9)
    assert.deepStrictEqual(new Set<string>(columns), new Set(Object.keys(happenings)))
  })

  it("adds up the time of each state", () => {
    const moves: ReadonlyArray<readonly [Maestro.Happening["_tag"], number]> = [
      ["Starting", 5],
      ["AttemptFailed", 15],
      ["Starting", 18],
      ["Waiting", 20],
      ["Starting", 21],
      ["Ready", 31]
    ]
    const end = moves.reduce((status, [tag, now]) => transition(status, happenings[tag], now), fresh)
    assert.deepStrictEqual(end.spent, { waiting: 6, starting: 22, retrying: 3 })
    assert.strictEqual(end.since, 31)
    assert.strictEqual(end.attempts, 2)
  })

  it("is degraded from the start if it says so while it starts, and not by an attempt before", () => {
    const starting = transition(fresh, happenings.Starting, 0)
    const said = transition(starting, happenings.Degraded, 0)
    assert.strictEqual(transition(said, happenings.Ready, 0).state, "degraded")
    const again = transition(transition(said, happenings.AttemptFailed, 0), happenings.Starting, 0)
    assert.strictEqual(transition(again, happenings.Ready, 0).state, "ready")
  })

  it("does not tell the same reason twice", () => {
    const degraded = { ...at("degraded"), reason: "slow" }
    assert.strictEqual(transition(degraded, happenings.Degraded, 0), degraded)
  })
})
