import { assert, describe, it } from "@effect/vitest"
import type { Node } from "../../src/engines/zookeeper/nodes.ts"
import * as Views from "../../src/engines/zookeeper/views.ts"

const name = (id: string, sequence: number): string =>
  `_c_${"0".repeat(32)}-${id}-${String(sequence).padStart(10, "0")}`

const [a, b] = [name("a", 1), name("b", 2)]

const node = (of: string, token: bigint, value = "1"): Node => ({
  name: of,
  id: of.slice(36, -11),
  value,
  token,
  version: 0n,
  owner: "0x1"
})

const listed = (revision: bigint, ...names: ReadonlyArray<string>): Views.Event => ({ _tag: "Listed", names, revision })
const changed = (of: string): Views.Event => ({ _tag: "Changed", name: of })
const removed = (of: string): Views.Event => ({ _tag: "Removed", name: of })
const read = (of: string, number: number, found: Node | undefined, revision: bigint): Views.Event => ({
  _tag: "Read",
  name: of,
  read: number,
  node: found,
  revision
})

/** What is shown after the events: the members while they are known exactly, what is due while they are not. */
const run = (...events: ReadonlyArray<Views.Event>) => {
  const state = Views.make()
  const asked: Array<string> = []
  for (const event of events) {
    const reads: Array<Views.Read> = []
    Views.step(state, event, reads)
    asked.push(...reads.map((one) => `${one.name === Views.theGroup ? "group" : one.name.slice(36, -11)}#${one.read}`))
  }
  return {
    asked,
    settled: Views.isSettled(state) ? state.revision : undefined,
    members: Views.members(state)
      .map(({ id, token, value }) => `${id}@${token}=${value}`)
      .sort(),
    state
  }
}

const both = [listed(10n, a, b), read(a, 1, node(a, 1n), 10n), read(b, 2, node(b, 2n), 11n)]

describe("the view of a group in ZooKeeper", () => {
  it("reads whatever is listed, and is exact at the last answer", () => {
    const { asked, members, settled } = run(...both)
    assert.deepStrictEqual(asked, ["a#1", "b#2"])
    assert.deepStrictEqual(members, ["a@1=1", "b@2=1"])
    assert.strictEqual(settled, 11n)
  })

  it("is not exact while an answer is due", () => {
    assert.isUndefined(run(...both.slice(0, 2)).settled)
    assert.isUndefined(run(...both, changed(a)).settled)
  })

  it("of an empty group is exact at once", () => {
    assert.deepInclude(run(listed(7n)), { asked: [], members: [], settled: 7n })
  })

  it("reads once for each change", () => {
    const { asked, members, settled } = run(...both, changed(a), read(a, 3, node(a, 1n, "2"), 20n))
    assert.deepStrictEqual(asked, ["a#1", "b#2", "a#3"])
    assert.deepStrictEqual(members, ["a@1=2", "b@2=1"])
    assert.strictEqual(settled, 20n)
  })

  it("is not exact with an answer to a question that was asked before the last change, and knows more", () => {
    const late = [...both, changed(a), changed(a), read(a, 3, node(a, 1n, "old"), 20n)]
    assert.deepInclude(run(...late), { members: ["a@1=old", "b@2=1"], settled: undefined })
    assert.deepInclude(run(...late, read(a, 4, node(a, 1n, "new"), 21n)), {
      members: ["a@1=new", "b@2=1"],
      settled: 21n
    })
  })

  it("asks the group after a removal, which may be one of several of one transaction", () => {
    const half = run(...both, removed(a))
    assert.deepStrictEqual(half.asked, ["a#1", "b#2", "group#3"])
    assert.isUndefined(half.settled)
    const whole = run(...both, removed(a), removed(b), read(Views.theGroup, 3, undefined, 20n))
    assert.isUndefined(whole.settled)
    assert.deepInclude(run(...both, removed(a), removed(b), read(Views.theGroup, 4, undefined, 21n)), {
      members: [],
      settled: 21n
    })
  })

  it("never brings a member back from a removal, however late its answer comes", () => {
    const { members, settled } = run(
      ...both,
      changed(a),
      removed(a),
      read(a, 3, node(a, 1n, "2"), 20n),
      read(Views.theGroup, 4, undefined, 21n)
    )
    assert.deepStrictEqual(members, ["b@2=1"])
    assert.strictEqual(settled, 21n)
  })

  it("takes a name that is used again by its last reading", () => {
    const again = [...both, changed(a), removed(a), changed(a), read(Views.theGroup, 4, undefined, 20n)]
    assert.deepInclude(run(...again, read(a, 3, node(a, 1n), 20n)), { members: ["b@2=1"], settled: undefined })
    assert.deepInclude(run(...again, read(a, 3, undefined, 20n), read(a, 5, node(a, 9n), 21n)), {
      members: ["a@9=1", "b@2=1"],
      settled: 21n
    })
  })

  it("is not exact while a watch is used up, and then as it was when that was set again", () => {
    const open: Views.Event = { _tag: "GapOpened" }
    const closed = (revision: bigint): Views.Event => ({ _tag: "GapClosed", revision })
    assert.isUndefined(run(...both, open).settled)
    assert.isUndefined(run(...both, open, open, closed(20n)).settled)
    assert.strictEqual(run(...both, open, open, closed(20n), closed(21n)).settled, 21n)
    const come = [...both, open, changed(a), closed(20n)]
    assert.isUndefined(run(...come).settled)
    assert.strictEqual(run(...come, read(a, 3, node(a, 1n, "2"), 22n)).settled, 22n)
  })

  it("lacks nobody who was listed once each of them was read or removed, however much is due", () => {
    const isComplete = (...events: ReadonlyArray<Views.Event>) => Views.isComplete(run(...events).state)
    assert.isFalse(isComplete())
    assert.isFalse(isComplete(listed(10n, a, b), changed(a), read(a, 3, node(a, 1n), 11n)))
    const busy = [listed(10n, a, b), changed(a), read(a, 1, node(a, 1n), 10n), changed(a)]
    assert.isFalse(isComplete(...busy))
    assert.isTrue(isComplete(...busy, read(b, 2, node(b, 2n), 10n)))
    assert.isTrue(isComplete(...busy, removed(b)))
    assert.isUndefined(run(...busy, removed(b)).settled)
  })

  it("does not ask twice for what changed before the list was answered", () => {
    assert.deepStrictEqual(run(changed(a), listed(10n, a, b)).asked, ["a#1", "b#2"])
  })

  it("leaves out who was gone when it was read", () => {
    assert.deepInclude(run(listed(10n, a), read(a, 1, undefined, 11n)), { members: [], settled: 11n })
  })

  it("shows of one id the oldest node, and the next one once that is gone", () => {
    const second = name("a", 5)
    const two = [...both, changed(second), read(second, 3, node(second, 5n, "second"), 20n)]
    assert.deepInclude(run(...two), { members: ["a@1=1", "b@2=1"], settled: 20n })
    assert.deepInclude(run(...two, removed(a), read(Views.theGroup, 4, undefined, 21n)), {
      members: ["a@5=second", "b@2=1"],
      settled: 21n
    })
  })

  it("tells the differences once", () => {
    const { state } = run(...both)
    const first = Views.differences(state)
    assert.deepStrictEqual(first.puts.map(({ id }) => id).sort(), ["a", "b"])
    const after = [removed(a), changed(b), read(Views.theGroup, 3, undefined, 20n), read(b, 4, node(b, 2n, "2"), 20n)]
    Views.steps(state, after)
    const next = Views.differences(state)
    assert.deepStrictEqual(next.removes, ["a"])
    assert.deepStrictEqual(
      next.puts.map(({ id, value }) => `${id}=${value}`),
      ["b=2"]
    )
    assert.deepInclude(Views.differences(state), { puts: [], removes: [] })
  })

  it("asks once for what changes several times in a row", () => {
    const reads = Views.steps(run(...both).state, [changed(a), changed(a), changed(b), removed(b), changed(a)])
    assert.deepStrictEqual(reads, [
      { name: Views.theGroup, read: 6 },
      { name: a, read: 7 }
    ])
  })
})
