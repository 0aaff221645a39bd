import { assert, describe, it } from "@effect/vitest"
import { History } from "effect-ensemble/testing"
import type { Write } from "./chronicle.ts"
import * as Fencing from "./fencing.ts"
import { merge } from "./merge.ts"
import { bury } from "./node.ts"
import * as Plan from "./plan.ts"
import { phasesOf } from "./run.ts"

const group = "election/chief"

const entry = (revision: bigint, id: string, token: bigint, value?: string, at = Number(revision)): Write => {
  return { at, epoch: 0, revision, of: "entry", group, id, token, value, forced: false }
}

const guarded = (revision: bigint, token: bigint, id = `${revision}`): Write => {
  return { at: 0, epoch: 0, revision, of: "guarded", group, id, token, value: "", forced: false }
}

const violationsOf = (writes: ReadonlyArray<Write>, attempts: ReadonlyArray<Fencing.Attempt> = []) =>
  Fencing.check({ writes }, attempts).violations

const stamp = (process: string, at: number) => ({ process, at, order: 0 })

describe("guarded writes", () => {
  const first = [entry(1n, "a", 1n, ""), entry(2n, "b", 2n, "")]
  const handedOver = [...first, guarded(3n, 1n), entry(4n, "a", 1n), guarded(5n, 2n)]

  it("by the first in line, one after the other, are as they should be", () => {
    assert.deepStrictEqual(violationsOf(handedOver, [{ nonce: "5", outcome: "done" }]), [])
  })

  it("under an older token, by a gone entry, or out of turn, are violations", () => {
    assert.match(violationsOf([...handedOver, guarded(6n, 1n)]).join(), /after token 2.*whose entry was gone/)
    assert.match(violationsOf([...first, guarded(3n, 2n)]).join(), /while token 1 was ahead/)
  })

  it("are not judged by entries where those are not known", () => {
    const writes = [...handedOver, guarded(6n, 2n), guarded(7n, 1n)]
    const { unknown, violations } = Fencing.check({ writes, isVague: (_, revision) => revision >= 6n }, [])
    assert.deepStrictEqual(violations, [`${group} was written at revision 7 under token 1, after token 2`])
    assert.strictEqual(unknown, 1)
  })

  it("that were refused and are there, or were confirmed and are not, are violations", () => {
    assert.match(violationsOf(handedOver, [{ nonce: "5", outcome: "refused" }]).join(), /refused, and yet written/)
    assert.match(violationsOf(handedOver, [{ nonce: "6", outcome: "done" }]).join(), /confirmed, and never written/)
  })
})

describe("a merged history", () => {
  const place = { group, id: "a", token: 1n }

  it("has a write before whoever knows of it, though the watch told it later", () => {
    const told: ReadonlyArray<History.Event> = [{ _tag: "Granted", ...stamp("p", 5), ...place }]
    const history = merge(told, { writes: [entry(1n, "a", 1n, "", 9)] })
    assert.deepStrictEqual(
      history.map(({ _tag }) => _tag),
      ["Stored", "Granted"]
    )
    assert.deepStrictEqual(History.check(history), [])
  })

  it("shows who held a place after its entry was gone", () => {
    const told: ReadonlyArray<History.Event> = [
      { _tag: "Granted", ...stamp("p", 5), ...place },
      { _tag: "Interrupted", ...stamp("p", 30), ...place, lost: true },
      { _tag: "Stopped", ...stamp("p", 31), ...place, lost: true }
    ]
    const history = merge(told, { writes: [entry(1n, "a", 1n, "", 4), entry(2n, "a", 1n, undefined, 20)] })
    assert.deepStrictEqual(
      History.check(history).map(({ name }) => name),
      ["HeldAfterRemoval"]
    )
  })

  it("ends what a killed process held, and nothing that another holds", () => {
    const events: Array<History.Event> = [
      { _tag: "Granted", ...stamp("p", 5), ...place },
      { _tag: "Granted", ...stamp("q", 6), ...place, id: "b", token: 2n }
    ]
    bury(events, "p", 7)
    assert.deepStrictEqual(events.slice(2), [{ _tag: "Stopped", ...stamp("p", 7), ...place, lost: false }])
  })
})

describe("a plan", () => {
  const planOf = (seed: number) =>
    Plan.make({ seed, nodes: 4, expiryMillis: 5_000, storeFaults: Plan.storeFaults, phases: phasesOf(1_200, 5_000) })

  it("is made from its seed alone", () => {
    assert.deepStrictEqual(planOf(7), planOf(7))
    assert.notDeepEqual(planOf(7), planOf(8))
  })

  it("of twenty minutes has every fault in it, on one server and on three", () => {
    const faults = new Set(
      planOf(1).flatMap(({ storms }) => storms.flatMap(({ steps }) => steps.map(({ fault }) => fault)))
    )
    const { clientFaults, clusterFaults, networkFaults, singleFaults, storeFaults } = Plan
    const all = [...networkFaults, ...clientFaults, ...singleFaults, ...clusterFaults, ...storeFaults]
    assert.deepStrictEqual(
      all.filter((fault) => !faults.has(fault)),
      []
    )
  })
})
