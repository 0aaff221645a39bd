import { assert, describe, it } from "@effect/vitest"
import { Cause } from "effect"
import * as Round from "../src/internal/supervisor/round.ts"
import * as Rules from "../src/internal/supervisor/rules.ts"
import * as Machine from "../src/internal/supervisor/workerMachine.ts"
import type { WorkerEvent, WorkerState } from "../src/internal/supervisor/workerMachine.ts"

const cause = Cause.fail("broken")

const disabled: WorkerState = { _tag: "Disabled" }
const enabled: WorkerState = { _tag: "Enabled" }
const initializing: WorkerState = { _tag: "Initializing" }
const initialized: WorkerState = { _tag: "Initialized" }
const running: WorkerState = { _tag: "Running" }
const restarting: WorkerState = { _tag: "Restarting", delayMillis: 100, cause }
const stopping = (next: Machine.Next): WorkerState => ({ _tag: "Stopping", next })
const abandoned = (next: Machine.Next): WorkerState => ({ _tag: "Abandoned", next })
const stopped: WorkerState = { _tag: "Stopped" }
const failed: WorkerState = { _tag: "Failed", cause }

const states = [
  disabled,
  enabled,
  initializing,
  initialized,
  running,
  restarting,
  stopping("Enabled"),
  stopping("Disabled"),
  stopping("Stopped"),
  abandoned("Enabled"),
  abandoned("Disabled"),
  abandoned("Stopped"),
  stopped,
  failed
] as const

const completed: WorkerEvent = { _tag: "Ended", cause: undefined, delayMillis: undefined }
const completedAgain: WorkerEvent = { _tag: "Ended", cause: undefined, delayMillis: 100 }
const broken: WorkerEvent = { _tag: "Ended", cause, delayMillis: undefined }
const brokenAgain: WorkerEvent = { _tag: "Ended", cause, delayMillis: 100 }

const same = "stays"
type Row = ReadonlyArray<WorkerState | typeof same>

/** For each event the next of each state, in the order above. */
const table: ReadonlyArray<readonly [string, WorkerEvent, Row]> = [
  // prettier-ignore
  ["Enable", { _tag: "Enable" }, [
    enabled, same, same, same, same, same,
    same, stopping("Enabled"), stopping("Enabled"),
    same, abandoned("Enabled"), abandoned("Enabled"),
    enabled, enabled
  ]],
  [
    "Disable",
    { _tag: "Disable" },
    [
      same,
      disabled,
      stopping("Disabled"),
      stopping("Disabled"),
      stopping("Disabled"),
      disabled,
      stopping("Disabled"),
      same,
      stopping("Disabled"),
      abandoned("Disabled"),
      same,
      abandoned("Disabled"),
      disabled,
      disabled
    ]
  ],
  [
    "InitDue",
    { _tag: "InitDue" },
    [same, initializing, same, same, same, same, same, same, same, same, same, same, same, same]
  ],
  [
    "Initialized",
    { _tag: "Initialized" },
    [same, same, initialized, same, same, same, same, same, same, same, same, same, same, same]
  ],
  [
    "RunDue",
    { _tag: "RunDue" },
    [same, same, same, running, same, same, same, same, same, same, same, same, same, same]
  ],
  [
    "Ended well",
    completed,
    [same, same, stopped, stopped, stopped, same, enabled, disabled, stopped, enabled, disabled, stopped, same, same]
  ],
  [
    "Ended well, with another run to come",
    completedAgain,
    [
      same,
      same,
      { ...restarting, cause: undefined },
      { ...restarting, cause: undefined },
      { ...restarting, cause: undefined },
      same,
      enabled,
      disabled,
      stopped,
      enabled,
      disabled,
      stopped,
      same,
      same
    ]
  ],
  [
    "Ended badly",
    broken,
    [same, same, failed, failed, failed, same, enabled, disabled, stopped, enabled, disabled, stopped, same, same]
  ],
  [
    "Ended badly, with another run to come",
    brokenAgain,
    [
      same,
      same,
      restarting,
      restarting,
      restarting,
      same,
      enabled,
      disabled,
      stopped,
      enabled,
      disabled,
      stopped,
      same,
      same
    ]
  ],
  ["Woke", { _tag: "Woke" }, [same, same, same, same, same, enabled, same, same, same, same, same, same, same, same]],
  [
    "Recall",
    { _tag: "Recall" },
    [
      same,
      same,
      stopping("Enabled"),
      stopping("Enabled"),
      stopping("Enabled"),
      same,
      same,
      same,
      same,
      same,
      same,
      same,
      same,
      same
    ]
  ],
  [
    "Stop",
    { _tag: "Stop" },
    [
      same,
      stopped,
      stopping("Stopped"),
      stopping("Stopped"),
      stopping("Stopped"),
      stopped,
      stopping("Stopped"),
      same,
      same,
      abandoned("Stopped"),
      same,
      same,
      same,
      same
    ]
  ],
  [
    "TimedOut",
    { _tag: "TimedOut" },
    [
      same,
      same,
      same,
      same,
      same,
      same,
      abandoned("Enabled"),
      abandoned("Disabled"),
      abandoned("Stopped"),
      same,
      same,
      same,
      same,
      same
    ]
  ]
]

const show = (state: WorkerState) => ("next" in state ? `${state._tag} (then ${state.next})` : state._tag)

describe("a worker's states", () => {
  for (const [name, event, row] of table) {
    for (const [index, state] of states.entries()) {
      it(`${show(state)} on ${name}`, () => {
        const wanted = row[index]
        assert.isDefined(wanted, "the table has a gap")
        const next = Machine.transition(state, event)
        if (wanted === same) assert.strictEqual(next, state)
        else assert.deepStrictEqual(next, wanted)
      })
    }
  }

  it("leads to a new run from no state in which an old one goes on", () => {
    for (const state of states.filter(Machine.isActive)) {
      for (const [name, event] of table) {
        const next = Machine.transition(state, event)
        if (name.startsWith("Ended")) continue
        assert.isTrue(Machine.isActive(next), `${show(state)} on ${name} forgets a run`)
        assert.isTrue(next._tag !== "Initializing" || state === next, `${show(state)} on ${name} begins a second run`)
      }
    }
  })
})

const standing = (states: ReadonlyArray<WorkerState>) => states.map((state, index) => ({ state, index }))
const places = (workers: ReadonlyArray<{ readonly index: number }>) => workers.map(({ index }) => index)
const together = (states: ReadonlyArray<WorkerState>) => {
  const round = Round.make<Round.Standing>()
  // In whatever order they come.
  for (const worker of standing(states).toReversed()) Round.join(round, worker)
  return round
}

describe("who restarts along", () => {
  const all = [running, running, running, running]
  const rows: ReadonlyArray<readonly [Rules.Strategy, ReadonlyArray<WorkerState>, number, ReadonlyArray<number>]> = [
    ["oneForOne", all, 1, []],
    ["oneForAll", all, 1, [0, 2, 3]],
    ["restForOne", all, 1, [2, 3]],
    ["restForOne", all, 3, []],
    ["oneForAll", [disabled, restarting, stopped, failed], 1, []],
    ["oneForAll", [restarting, restarting, enabled, initialized], 1, [0, 2, 3]],
    ["oneForAll", [stopping("Disabled"), restarting, stopping("Enabled"), abandoned("Enabled")], 1, [2, 3]]
  ]
  it.each(rows)("%s %o at %d: %o", (strategy, states, index, wanted) => {
    const workers = standing(states)
    const restarting = workers[index]
    assert.isDefined(restarting)
    assert.deepStrictEqual(places(Rules.alongside(strategy, workers, restarting)), wanted)
  })
})

describe("who may begin", () => {
  const rows: ReadonlyArray<readonly [Rules.Strategy, ReadonlyArray<WorkerState>, ReadonlyArray<number>]> = [
    ["oneForOne", [enabled, enabled, enabled], [0, 1, 2]],
    ["oneForOne", [enabled, restarting, abandoned("Enabled")], [0]],
    ["oneForAll", [enabled, enabled, enabled], [0, 1, 2]],
    ["oneForAll", [enabled, restarting, enabled], []],
    ["oneForAll", [enabled, stopping("Enabled"), enabled], []],
    ["oneForAll", [enabled, abandoned("Enabled"), enabled], []],
    ["oneForAll", [enabled, initializing, initialized], [0]],
    ["restForOne", [enabled, enabled, enabled], [0]],
    ["restForOne", [initializing, enabled, enabled], []],
    ["restForOne", [initialized, enabled, enabled], [1]],
    ["restForOne", [restarting, enabled, enabled], []],
    ["restForOne", [enabled, restarting, enabled], [0]],
    ["restForOne", [enabled, stopping("Enabled")], []],
    ["restForOne", [enabled, abandoned("Enabled")], []]
  ]
  it.each(rows)("%s %o: %o", (strategy, round, wanted) => {
    assert.deepStrictEqual(places(Rules.initDue(strategy, together(round))), wanted)
  })

  it("runs when all that began together are initialized", () => {
    assert.isTrue(Rules.runDue(together([initialized, initialized])))
    for (const other of [enabled, initializing, restarting, stopping("Enabled"), abandoned("Enabled")]) {
      assert.isFalse(Rules.runDue(together([initialized, other])))
    }
  })
})

describe("who begins together", () => {
  it("is counted as it moves, comes and goes", () => {
    const [first, second] = [
      { index: 0, state: enabled },
      { index: 1, state: enabled }
    ]
    const round = Round.make<{ readonly index: number; state: WorkerState }>()
    const go = (worker: { state: WorkerState }, to: WorkerState) => {
      const before = worker.state
      worker.state = to
      Round.move(round, before._tag, to._tag)
    }
    Round.join(round, second)
    Round.join(round, first)
    assert.strictEqual(Round.next(round), first)
    go(first, initializing)
    assert.deepStrictEqual(Rules.initDue("restForOne", round), [])
    go(first, initialized)
    assert.deepStrictEqual(Rules.initDue("restForOne", round), [second])
    go(second, initializing)
    // One that was initialized fails while it waits for the other.
    go(first, restarting)
    assert.strictEqual(Round.next(round), first)
    go(first, enabled)
    assert.deepStrictEqual(Rules.initDue("restForOne", round), [first])
    go(first, initialized)
    assert.isFalse(Rules.runDue(round))
    Round.leave(round, second)
    assert.isTrue(Rules.runDue(round))
  })
})

describe("who may be interrupted", () => {
  const some = [running, stopping("Stopped"), abandoned("Stopped"), stopping("Stopped"), stopped]
  it("is everybody, and in order the last", () => {
    assert.deepStrictEqual(places(Rules.stopDue("oneForOne", standing(some), 5)), [1, 3])
    assert.deepStrictEqual(places(Rules.stopDue("oneForAll", standing(some), 5)), [1, 3])
    assert.deepStrictEqual(places(Rules.stopDue("restForOne", standing(some), 5)), [3])
    assert.deepStrictEqual(places(Rules.stopDue("restForOne", standing(some), 4)), [3])
    assert.deepStrictEqual(places(Rules.stopDue("restForOne", standing(some), 3)), [1])
    assert.deepStrictEqual(places(Rules.stopDue("restForOne", standing([running, stopped]), 2)), [])
  })

  it("has its own bound, or its part of what is left", () => {
    assert.strictEqual(Rules.stopBudget("oneForOne", 10, 40, 30), 10)
    assert.strictEqual(Rules.stopBudget("oneForOne", 50, 90, 30), 30)
    assert.strictEqual(Rules.stopBudget("restForOne", 10, 40, 20), 5)
    assert.strictEqual(Rules.stopBudget("restForOne", 10, 20, 100), 10)
    assert.strictEqual(Rules.stopBudget("restForOne", 0, 0, 20), 0)
  })
})
