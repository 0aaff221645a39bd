/** What releases that the store leaves unanswered may cost, and whom. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Scope, Stream } from "effect"
import type { Coordinator, Session } from "effect-ensemble"
import { Memory } from "effect-ensemble"
import { Faults } from "effect-ensemble/testing"
import { TestClock } from "effect/testing"

const ttl = 15_000
const requestTimeout = 5_000
const name = { kind: "discovery", name: "api" } as const

const setup = Effect.fnUntraced(function* (seed: number) {
  const store = yield* Memory.makeStore({ seed })
  const faults = Faults.make(store)
  const a = yield* Memory.makeProcess(store, { node: "a", ttl, requestTimeout })
  // What hangs would hold the test's own end up too.
  yield* Effect.addFinalizer(() => faults.healAll)
  const states: Array<Session.SessionState> = []
  yield* Stream.runForEach(a.coordinator.session, (state) => Effect.sync(() => states.push(state))).pipe(
    Effect.forkScoped
  )
  const ids = Effect.map(Faults.inspect(store), ({ entries }) => entries.map(({ id }) => id).sort())
  return { store, faults, a, states, ids }
})

/** Members in a scope of their own, and the effect that closes it. */
const joined = Effect.fnUntraced(function* (
  coordinator: Coordinator.Coordinator["Service"],
  ids: ReadonlyArray<string>
) {
  const scope = yield* Scope.make()
  const group = coordinator.group(name)
  yield* Effect.forEach(ids, (id) => group.join({ id, value: "" }, { rejoin: true })).pipe(Scope.provide(scope))
  return Scope.close(scope, Exit.void)
})

const ten = Array.from({ length: 10 }, (_, index) => `m${index}`)

/** How many seconds an effect takes, rounded up. */
const took = Effect.fnUntraced(function* <E>(effect: Effect.Effect<void, E>) {
  const fiber = yield* Effect.forkScoped(effect, { startImmediately: true })
  let waited = 0
  while (fiber.pollUnsafe() === undefined && waited < 60) {
    yield* TestClock.adjust(1000)
    waited++
  }
  return waited
})

const reached = (states: ReadonlyArray<Session.SessionState>) => states.map(({ _tag }) => _tag)

describe("releases that hang", () => {
  it.effect("cost the close of a scope one request timeout, however many memberships it has", () =>
    Effect.gen(function* () {
      const { a, faults, ids } = yield* setup(1)
      const leave = yield* joined(a.coordinator, ten)
      yield* faults.hangReleases("a")
      assert.isAtMost(yield* took(leave), requestTimeout / 1000)
      yield* faults.heal("a")
      yield* TestClock.adjust(ttl)
      assert.deepStrictEqual(yield* ids, [])
    })
  )

  it.effect("are waited for again once the store has answered one", () =>
    Effect.gen(function* () {
      const { a, faults, ids } = yield* setup(1)
      const leave = yield* joined(a.coordinator, ["x", "y"])
      const again = yield* joined(a.coordinator, ["z"])
      yield* faults.hangReleases("a")
      yield* took(leave)
      yield* faults.heal("a")
      yield* TestClock.adjust(ttl)
      yield* faults.delayRequests("a", 1000)
      assert.strictEqual(yield* took(again), 2)
      assert.deepStrictEqual(yield* ids, [])
    })
  )

  it.effect("delay neither a renewal nor a join", () =>
    Effect.gen(function* () {
      const { a, faults, states } = yield* setup(1)
      const leave = yield* joined(a.coordinator, ten)
      yield* faults.hangReleases("a")
      yield* Effect.forkDetach(leave, { startImmediately: true })
      yield* TestClock.adjust(ttl)
      assert.isAtMost(yield* took(Effect.asVoid(joined(a.coordinator, ["other"]))), 1)
      yield* TestClock.adjust(ttl / 2)
      assert.deepStrictEqual(new Set(reached(states)), new Set(["Connected"]))
      // Within two renewals of now, whatever the settling does.
      const last = states.at(-1)
      const now = yield* a.run(Effect.clockWith((clock) => clock.currentTimeMillis))
      assert(last?._tag === "Connected")
      assert.isAtLeast(last.lease.sentAt.wall, now - (ttl / 3) * 1.2)
    })
  )

  it.effect("cost the session after two TTLs, however many there are", () =>
    Effect.gen(function* () {
      const { a, faults, ids, states } = yield* setup(1)
      const leavers = yield* Effect.forEach(ten, (id) => joined(a.coordinator, [id]))
      yield* faults.hangReleases("a")
      yield* Effect.forEach(leavers, (leave) => Effect.forkDetach(leave, { startImmediately: true }))
      // The debts begin when nobody waits any more. Then two TTLs, one renewal, and one removal that was under way.
      yield* TestClock.adjust(requestTimeout + 2 * ttl + 0.4 * ttl + requestTimeout)
      assert.include(reached(states), "Lost")
      yield* TestClock.adjust(2 * ttl)
      assert.deepStrictEqual(yield* ids, [])
    })
  )
})
