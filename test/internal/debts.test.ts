import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Fiber, Option } from "effect"
import { TestClock } from "effect/testing"
import * as ProcessClock from "../../src/engines/memory/processClock.ts"
import * as Debts from "../../src/internal/debts.ts"
import type { Entry, GroupStore } from "../../src/internal/store.ts"

const ttlMillis = 10_000
const lease = { id: "s2", generation: 2, sentAt: { monotonic: 0n, wall: 0 }, ttlMillis, margin: 0.8 }
const entry: Entry = { id: "a", value: "", token: 1n, version: 1n, owner: "s2" }

/** A group of which only what a debt asks is there, and how often it was asked. */
const ofGroup = (options: { readonly read: Option.Option<Entry>; readonly removal: Effect.Effect<void> }) => {
  const asked = { reads: 0, removals: 0 }
  const count = (what: keyof typeof asked) =>
    Effect.sync(() => {
      asked[what]++
    })
  const group = {
    read: () => Effect.as(count("reads"), options.read),
    remove: () => Effect.andThen(count("removals"), options.removal)
  } as unknown as GroupStore // the rest is never called
  return { asked, group }
}

const make = Effect.fnUntraced(function* (session: { alive: string }, claims: ReadonlySet<string> = new Set()) {
  const clock = yield* Clock.clockWith(Effect.succeed)
  return Debts.make({
    clock,
    alive: (id) => id === session.alive,
    claimed: (key) => claims.has(key),
    call: (request) => request
  })
})

const owe = (debts: Debts.Debts, group: GroupStore, key: string, session = "s2") =>
  debts.addUnsafe({ group, key, id: "a", token: 1n, session, by: {} })

describe("debts", () => {
  it.effect("are not taken on for a session that is lost already", () =>
    Effect.gen(function* () {
      const { asked, group } = ofGroup({ read: Option.some({ ...entry, owner: "s1" }), removal: Effect.void })
      const debts = yield* make({ alive: "s2" })
      owe(debts, group, "k", "s1")
      yield* TestClock.adjust(3 * ttlMillis)
      assert.strictEqual(yield* debts.settle(lease), "Settled")
      assert.strictEqual(asked.reads, 0)
    })
  )

  it.effect("are passed over when their session is lost while one of them is being settled", () =>
    Effect.gen(function* () {
      const { asked, group } = ofGroup({
        read: Option.some(entry),
        removal: Effect.sync(() => debts.forgetUnsafe("s2"))
      })
      const debts = yield* make({ alive: "s2" })
      for (const key of ["one", "two", "three"]) owe(debts, group, key)
      yield* debts.settle(lease)
      assert.strictEqual(asked.removals, 1)
    })
  )

  it.effect("are looked at no further once one is overdue", () =>
    Effect.gen(function* () {
      const { asked, group } = ofGroup({ read: Option.some(entry), removal: Effect.void })
      const debts = yield* make({ alive: "s2" })
      for (const key of ["one", "two", "three"]) owe(debts, group, key)
      yield* TestClock.adjust(2 * ttlMillis)
      assert.strictEqual(yield* debts.settle(lease), "Overdue")
      assert.strictEqual(asked.removals, 1)
    })
  )

  it.effect("leave alone what has been joined under their key while they were read", () =>
    Effect.gen(function* () {
      const claims = new Set<string>()
      const { asked, group } = ofGroup({ read: Option.some(entry), removal: Effect.void })
      const debts = yield* make({ alive: "s2" }, claims)
      const slow: GroupStore = { ...group, read: (id) => Effect.delay(group.read(id), 400) }
      debts.addUnsafe({ group: slow, key: "k", id: "a", token: undefined, session: "s2", by: {} })
      const settling = yield* Effect.forkChild(debts.settle(lease))
      yield* TestClock.adjust(100)
      claims.add("k")
      yield* TestClock.adjust(ttlMillis)
      yield* Fiber.join(settling)
      assert.strictEqual(asked.reads, 1)
      assert.strictEqual(asked.removals, 0)
    })
  )

  it.effect("are paid when absent for a whole TTL, counted anew when seen or sent again", () =>
    Effect.gen(function* () {
      const { asked, group } = ofGroup({ read: Option.none(), removal: Effect.void })
      const debts = yield* make({ alive: "s2" })
      owe(debts, group, "one")
      yield* debts.settle(lease)
      yield* TestClock.adjust(0.6 * ttlMillis)
      owe(debts, group, "one")
      yield* debts.settle(lease)
      yield* TestClock.adjust(0.6 * ttlMillis)
      yield* debts.settle(lease)
      assert.strictEqual(asked.reads, 3)
      assert.isTrue(debts.inherited("one", {}))
      yield* TestClock.adjust(0.5 * ttlMillis)
      yield* debts.settle(lease)
      assert.isFalse(debts.inherited("one", {}))
      yield* debts.settle(lease)
      assert.strictEqual(asked.reads, 4)
    })
  )

  it.effect("are not paid early by a wall clock that jumps", () =>
    Effect.gen(function* () {
      const { group } = ofGroup({ read: Option.none(), removal: Effect.void })
      const clock = ProcessClock.make(yield* Clock.clockWith(Effect.succeed))
      const debts = yield* make({ alive: "s2" }).pipe(Effect.provideService(Clock.Clock, clock))
      owe(debts, group, "one")
      yield* debts.settle(lease)
      clock.jumpWallUnsafe(0.7 * ttlMillis)
      yield* TestClock.adjust(0.4 * ttlMillis)
      yield* debts.settle(lease)
      assert.isTrue(debts.inherited("one", {}))
    })
  )
})
