import { assert, describe, it } from "@effect/vitest"
import { Roster } from "../../src/internal/roster.ts"

const valuesOf = <A>(roster: Roster<A>): ReadonlyArray<A> => {
  const values: Array<A> = []
  roster.forEach((value) => values.push(value))
  return values
}

describe("a roster", () => {
  it("has its values in the order in which they came, wherever others have left", () => {
    const roster = new Roster<string>()
    const [a, b, c, d] = [roster.add("a"), roster.add("b"), roster.add("c"), roster.add("d")]
    assert.isTrue(roster.remove(b))
    assert.deepStrictEqual(valuesOf(roster), ["a", "c", "d"])
    assert.isTrue(roster.remove(a))
    assert.strictEqual(roster.oldest, "c")
    assert.isTrue(roster.remove(d))
    roster.add("e")
    assert.deepStrictEqual(valuesOf(roster), ["c", "e"])
    assert.isTrue(roster.remove(c))
    assert.strictEqual(roster.oldest, "e")
  })

  it("lets each leave once, and keeps nothing of who has left", () => {
    const roster = new Roster<string>()
    const entry = roster.add("a")
    roster.add("b")
    assert.isTrue(roster.remove(entry))
    assert.isFalse(roster.remove(entry))
    assert.deepStrictEqual(entry, { value: undefined, before: undefined, after: undefined })
    assert.deepStrictEqual(valuesOf(roster), ["b"])
    assert.isFalse(roster.isEmpty)
  })

  it("is empty when all have left", () => {
    const roster = new Roster<string>()
    const entry = roster.add("a")
    roster.remove(entry)
    assert.isTrue(roster.isEmpty)
    assert.isUndefined(roster.oldest)
    roster.add("b")
    assert.deepStrictEqual(valuesOf(roster), ["b"])
  })

  it("calls nobody who has left before his turn, and nobody who came meanwhile", () => {
    const roster = new Roster<() => void>()
    const called: Array<string> = []
    roster.add(() => {
      called.push("a")
      roster.remove(b)
      roster.add(() => called.push("d"))
    })
    const b = roster.add(() => called.push("b"))
    const c = roster.add(() => {
      called.push("c")
      roster.remove(c)
    })
    roster.forEach((call) => call())
    assert.deepStrictEqual(called, ["a", "c"])
  })
})
