import { assert, describe, it } from "@effect/vitest"
import { Context, Deferred, Effect, Exit, Fiber, Option, Queue, Scope, Stream } from "effect"
import { Coordinator, CoordinatorError, Election, Lock } from "effect-ensemble"
import { TestClock } from "effect/testing"
import * as AwaitTurn from "../../src/internal/awaitTurn.ts"
import type { Disturbed, Entry, Followed, Holding } from "../../src/internal/store.ts"
import { make } from "./fakeStore.ts"

const name = { kind: "discovery", name: "api" } as const

const own: Entry = { id: "a", value: "", token: 1n, version: 1n, owner: "s1" }

const unreachable = new CoordinatorError.CoordinatorError({
  engine: "test",
  operation: "Membership.set",
  endpoint: "test://",
  reason: new CoordinatorError.Unreachable({ detail: "no" })
})

/** A store whose watch of an own entry a test disturbs, and whose word on what became of it a test gives. */
const watched = Effect.gen(function* () {
  const attended: Array<{ readonly holding: Holding; readonly known: bigint; stopped: boolean }> = []
  const disturb: Array<Disturbed> = []
  const told = yield* Queue.unbounded<Followed>()
  let asked = 0
  const coordinator = yield* make({
    attendUnsafe: (holding, known, disturbed) => {
      const one = { holding, known, stopped: false }
      attended.push(one)
      disturb.push(disturbed)
      return () => {
        one.stopped = true
      }
    },
    follow: () => {
      asked++
      return Stream.fromQueue(told)
    }
  })
  return {
    coordinator,
    attended,
    asked: () => asked,
    disturb: (found?: Followed) => disturb[disturb.length - 1]?.(found),
    tell: (followed: Followed) => Effect.andThen(Queue.offer(told, followed), Effect.yieldNow)
  }
})

describe("the own entry", () => {
  it.effect("is attended to from a moment after its creation on, and no longer than it is held", () =>
    Effect.gen(function* () {
      const { attended, coordinator } = yield* watched
      const scope = yield* Scope.make()
      yield* Scope.provide(coordinator.group(name).join({ value: "" }), scope)
      yield* TestClock.adjust(99)
      assert.deepStrictEqual(attended, [])
      yield* TestClock.adjust(1)
      assert.deepStrictEqual(attended, [{ holding: { id: "a", token: 1n, owner: "s1" }, known: 1n, stopped: false }])
      yield* Scope.close(scope, Exit.void)
      assert.isTrue(attended[0]?.stopped)
    })
  )

  it.effect("is attended to at once where it makes somebody lead, and sooner than others where it is a lock", () =>
    Effect.gen(function* () {
      const { attended, coordinator } = yield* watched
      yield* coordinator.group({ kind: "election", name: "e" }).join({ value: "" })
      assert.lengthOf(attended, 1)
      yield* coordinator.group({ kind: "lock", name: "l" }).join({ value: "" })
      yield* coordinator.group({ kind: "sequence", name: "s" }).join({ value: "" })
      yield* TestClock.adjust(10)
      assert.lengthOf(attended, 2)
      yield* TestClock.adjust(90)
      assert.lengthOf(attended, 3)
    })
  )

  it.effect("costs nothing when it is given up before", () =>
    Effect.gen(function* () {
      const { attended, coordinator } = yield* watched
      yield* Effect.scoped(coordinator.group(name).join({ value: "" }))
      yield* TestClock.adjust(1_000)
      assert.deepStrictEqual(attended, [])
    })
  )

  it.effect("is asked for no more when it is given up, though the watch was disturbed as it began", () =>
    Effect.gen(function* () {
      let asked = 0
      let stopped = 0
      const coordinator = yield* make({
        attendUnsafe: (_, __, disturbed) => {
          disturbed()
          return () => {}
        },
        follow: () =>
          Stream.ensuring(
            Stream.fromEffect(Effect.sync(() => asked++).pipe(Effect.andThen(Effect.never))),
            Effect.sync(() => stopped++)
          )
      })
      const scope = yield* Scope.make()
      yield* Scope.provide(coordinator.group(name).join({ value: "" }), scope)
      yield* TestClock.adjust(100)
      assert.deepStrictEqual([asked, stopped], [1, 0])
      yield* Scope.close(scope, Exit.void)
      assert.deepStrictEqual([asked, stopped], [1, 1])
    })
  )

  it.effect("is asked for when the watch is disturbed, and lost when it is gone", () =>
    Effect.gen(function* () {
      const { asked, coordinator, disturb, tell } = yield* watched
      const mine = yield* coordinator.group(name).join({ value: "" })
      const lost = yield* Effect.forkChild(Effect.flip(mine.lost), { startImmediately: true })
      yield* TestClock.adjust(100)
      assert.strictEqual(asked(), 0)
      disturb()
      assert.strictEqual(asked(), 1)
      assert.strictEqual(yield* mine.ensure, 1n)
      // What was there before it was created says nothing.
      yield* tell({ entry: Option.none(), revision: 0n })
      assert.strictEqual(yield* mine.ensure, 1n)
      yield* tell({ entry: Option.none(), revision: 7n })
      assert.strictEqual((yield* Fiber.join(lost)).cause, "EntryGone")
    })
  )

  it.effect("is lost at once, and nobody is asked, where the watch says for certain that it is gone", () =>
    Effect.gen(function* () {
      const { asked, coordinator, disturb } = yield* watched
      const mine = yield* coordinator.group(name).join({ value: "" })
      yield* TestClock.adjust(100)
      disturb({ entry: Option.none(), revision: 7n })
      assert.strictEqual((yield* Effect.flip(mine.ensure)).cause, "EntryGone")
      assert.strictEqual(asked(), 0)
    })
  )

  it.effect("is asked for where the watch says what is no loss", () =>
    Effect.gen(function* () {
      const { asked, coordinator, disturb } = yield* watched
      const mine = yield* coordinator.group(name).join({ value: "" })
      yield* TestClock.adjust(100)
      disturb({ entry: Option.some(own), revision: 7n })
      assert.strictEqual(yield* mine.ensure, 1n)
      assert.strictEqual(asked(), 1)
    })
  )

  for (const [what, entry] of [
    ["under another token", { ...own, token: 2n }],
    ["under another owner", { ...own, owner: "s2" }]
  ] as const) {
    it.effect(`is lost when it stands ${what}`, () =>
      Effect.gen(function* () {
        const { coordinator, disturb, tell } = yield* watched
        const mine = yield* coordinator.group(name).join({ value: "" })
        yield* TestClock.adjust(100)
        disturb()
        yield* tell({ entry: Option.some(entry), revision: 7n })
        assert.strictEqual((yield* Effect.flip(mine.lost)).cause, "EntryGone")
      })
    )
  }

  it.effect("is attended to anew from where it was found, after pauses that grow while that does not last", () =>
    Effect.gen(function* () {
      const { attended, coordinator, disturb, tell } = yield* watched
      yield* coordinator.group(name).join({ value: "" })
      yield* TestClock.adjust(100)
      for (const [index, pause] of [100, 200, 400, 800, 1_000, 1_000].entries()) {
        disturb()
        yield* tell({ entry: Option.some(own), revision: BigInt(10 + index) })
        yield* TestClock.adjust(pause - 1)
        assert.lengthOf(attended, index + 1)
        yield* TestClock.adjust(1)
        assert.lengthOf(attended, index + 2)
        assert.strictEqual(attended[index + 1]?.known, BigInt(10 + index))
      }
      yield* TestClock.adjust(1_001)
      disturb()
      yield* tell({ entry: Option.some(own), revision: 20n })
      yield* TestClock.adjust(100)
      assert.strictEqual(attended.at(-1)?.known, 20n)
    })
  )
})

describe("the own entry, of a store that only follows", () => {
  it.effect("is followed from its creation on, and is lost when it is gone after that", () =>
    Effect.gen(function* () {
      const told = yield* Queue.unbounded<Followed>()
      const known: Array<bigint | undefined> = []
      const coordinator = yield* make({
        create: () => Effect.succeed({ _tag: "Created", token: 5n, version: 5n }),
        follow: (_, from) => {
          known.push(from)
          return Stream.fromQueue(told)
        }
      })
      const mine = yield* coordinator.group(name).join({ value: "" })
      assert.deepStrictEqual(known, [5n])
      yield* Queue.offer(told, { entry: Option.none(), revision: 4n })
      yield* Effect.yieldNow
      assert.strictEqual(yield* mine.ensure, 5n)
      yield* Queue.offer(told, { entry: Option.none(), revision: 5n })
      assert.strictEqual((yield* Effect.flip(mine.lost)).cause, "EntryGone")
    })
  )
})

describe("a turn", () => {
  it.effect("is granted by the creation's own word to who asks at once, and costs no look", () =>
    Effect.gen(function* () {
      let looks = 0
      const coordinator = yield* make({
        create: () => Effect.succeed({ _tag: "Created", token: 5n, version: 5n, isFirst: true }),
        turn: () => {
          looks++
          return Effect.succeed({ own: Option.none(), ahead: Option.none(), revision: 9n })
        }
      })
      const token = yield* Lock.withLock(Lock.make("m"), ({ token }) => Effect.succeed(token)).pipe(
        Effect.provideService(Coordinator.Coordinator, coordinator)
      )
      assert.strictEqual(token, 5n)
      assert.strictEqual(looks, 0)
      // Whoever comes later is answered by the store, which has it no more.
      const mine = yield* coordinator.group(name).join({ value: "" })
      assert.strictEqual((yield* Effect.flip(coordinator.group(name).awaitTurn(mine))).cause, "EntryGone")
      assert.strictEqual(looks, 1)
    })
  )

  it.effect("is the creation's to grant once, and for no longer than a fiber may wait for its processor", () =>
    Effect.gen(function* () {
      let token = 0n
      const coordinator = yield* make({
        create: () => Effect.sync(() => ({ _tag: "Created", token: ++token, version: token, isFirst: true }))
      })
      const join = coordinator.group(name).join
      const first = yield* join({ id: "first", value: "" })
      assert.strictEqual(yield* AwaitTurn.granted(first), 1n)
      assert.isUndefined(yield* AwaitTurn.granted(first))
      const second = yield* join({ id: "second", value: "" })
      assert.isUndefined(yield* AwaitTurn.granted({ ...second }))
      yield* TestClock.adjust(101)
      assert.isUndefined(yield* AwaitTurn.granted(second))
      const scope = yield* Scope.make()
      const third = yield* Scope.provide(join({ id: "third", value: "" }), scope)
      yield* Scope.close(scope, Exit.void)
      assert.strictEqual((yield* Effect.flip(AwaitTurn.granted(third))).cause, "Closed")
    })
  )

  it.effect("is asked for where the creation has not said so", () =>
    Effect.gen(function* () {
      let looks = 0
      const coordinator = yield* make({
        turn: () => {
          looks++
          return Effect.succeed({ own: Option.some({ ...own, id: "b" }), ahead: Option.none(), revision: 9n })
        }
      })
      const lead = Election.campaign(Election.make("e"), { id: "b" })
      const tenure = yield* Effect.provideService(lead, Coordinator.Coordinator, coordinator)
      assert.strictEqual(tenure.token, 1n)
      assert.strictEqual(looks, 1)
    })
  )

  it.effect("is not granted to an entry under another owner", () =>
    Effect.gen(function* () {
      const turn = { own: Option.some({ ...own, owner: "s2" }), ahead: Option.none(), revision: 9n }
      const coordinator = yield* make({ turn: () => Effect.succeed(turn) })
      const mine = yield* coordinator.group(name).join({ value: "" })
      const error = yield* Effect.flip(coordinator.group(name).awaitTurn(mine))
      assert(error._tag === "MembershipLost")
      assert.strictEqual(error.cause, "EntryGone")
    })
  )

  it.effect("that was read for a token is not granted to the next one", () =>
    Effect.gen(function* () {
      const answer = yield* Deferred.make<void>()
      const looks: Array<bigint> = []
      let opened = 0
      let created = 0n
      const coordinator = yield* make(
        {
          create: () => Effect.sync(() => ({ _tag: "Created", token: ++created, version: created })),
          turn: (_, token) => {
            looks.push(token)
            const read = { own: Option.some({ ...own, token, owner: `s${token}` }), ahead: Option.none(), revision: 9n }
            return Effect.as(token === 1n ? Deferred.await(answer) : Effect.void, read)
          }
        },
        {
          open: (ttlMillis) => Effect.sync(() => ({ id: `s${++opened}`, ttlMillis })),
          renew: (session) =>
            Effect.succeed(session === "s1" ? { _tag: "Gone" } : { _tag: "Renewed", ttlMillis: 15_000 })
        },
        { requestTimeout: "1 minute" }
      )
      const mine = yield* coordinator.group(name).join({ value: "" }, { rejoin: true })
      const turn = yield* Effect.forkChild(coordinator.group(name).awaitTurn(mine), { startImmediately: true })
      yield* TestClock.adjust("6 seconds")
      assert.strictEqual(yield* mine.ensure, 2n)
      yield* Deferred.succeed(answer, undefined)
      assert.strictEqual(yield* Fiber.join(turn), 2n)
      assert.deepStrictEqual(looks, [1n, 2n])
    })
  )

  it.effect("that is asked for ends with the membership, though the store does not answer", () =>
    Effect.gen(function* () {
      const store = yield* watched
      const hanging = yield* make({ turn: () => Effect.never })
      const scope = yield* Scope.make()
      const mine = yield* Scope.provide(hanging.group(name).join({ value: "" }), scope)
      const turn = yield* Effect.forkChild(Effect.flip(hanging.group(name).awaitTurn(mine)), {
        startImmediately: true
      })
      yield* Scope.close(scope, Exit.void)
      const error = yield* Fiber.join(turn)
      assert(error._tag === "MembershipLost")
      assert.strictEqual(error.cause, "Closed")
      // One of another coordinator is not judged here.
      const strange = yield* Effect.flip(store.coordinator.group(name).awaitTurn(mine))
      assert(strange._tag === "MembershipLost")
      assert.strictEqual(strange.cause, "NotYetHeld")
    })
  )
})

describe("a value that is set", () => {
  it.effect("is written again after a look where the store has refused it", () =>
    Effect.gen(function* () {
      const written: Array<{ readonly version: bigint; readonly value: string }> = []
      const coordinator = yield* make({
        read: () => Effect.succeed(Option.some({ ...own, version: 8n })),
        update: ({ version }, value) => {
          written.push({ version, value })
          return Effect.succeed(version === 8n ? { _tag: "Updated", version: 9n } : { _tag: "Refused" })
        }
      })
      const mine = yield* coordinator.group(name).join({ value: "" })
      yield* mine.set("one")
      yield* mine.set("two")
      assert.deepStrictEqual(written, [
        { version: 1n, value: "one" },
        { version: 8n, value: "one" },
        { version: 9n, value: "two" },
        { version: 8n, value: "two" }
      ])
    })
  )

  it.effect("while another one is under way is written after it, and only the newest of several", () =>
    Effect.gen(function* () {
      const answer = yield* Deferred.make<void>()
      const written: Array<string> = []
      let version = 1n
      const coordinator = yield* make({
        update: (_, value) => {
          written.push(value)
          return Effect.as(written.length === 1 ? Deferred.await(answer) : Effect.void, {
            _tag: "Updated",
            version: ++version
          })
        }
      })
      const mine = yield* coordinator.group(name).join({ value: "" })
      const setters = yield* Effect.forEach(["one", "two", "three"], (value) =>
        Effect.forkChild(mine.set(value), { startImmediately: true })
      )
      assert.deepStrictEqual(written, ["one"])
      yield* Deferred.succeed(answer, undefined)
      yield* Fiber.awaitAll(setters)
      assert.deepStrictEqual(written, ["one", "three"])
    })
  )

  it.effect("is written although who has set it has gone away", () =>
    Effect.gen(function* () {
      const written: Array<string> = []
      const coordinator = yield* make({
        read: () => Effect.succeed(Option.some(own)),
        update: (_, value) => {
          written.push(value)
          return written.length === 1 ? Effect.never : Effect.succeed({ _tag: "Updated", version: 2n })
        }
      })
      const mine = yield* coordinator.group(name).join({ value: "" })
      const setter = yield* Effect.forkChild(mine.set("one"), { startImmediately: true })
      yield* Fiber.interrupt(setter)
      assert.deepStrictEqual(written, ["one", "one"])
      // Nothing is left to be done, so that the next one goes its own way.
      yield* mine.set("two")
      assert.deepStrictEqual(written, ["one", "one", "two"])
    })
  )

  it.effect("fails with the store's error, and is written nevertheless when the store is back", () =>
    Effect.gen(function* () {
      const written: Array<string> = []
      const coordinator = yield* make({
        read: () => Effect.succeed(Option.some(own)),
        update: (_, value) => {
          written.push(value)
          return written.length === 1 ? Effect.fail(unreachable) : Effect.succeed({ _tag: "Updated", version: 2n })
        }
      })
      const mine = yield* coordinator.group(name).join({ value: "" })
      assert.strictEqual(yield* Effect.flip(mine.set("one")), unreachable)
      assert.deepStrictEqual(written, ["one", "one"])
    })
  )

  it.effect("fails at once when the place is lost, though the store does not answer", () =>
    Effect.gen(function* () {
      const gone = { renew: () => Effect.succeed({ _tag: "Gone" } as const) }
      const coordinator = yield* make({ update: () => Effect.never }, gone)
      const mine = yield* coordinator.group(name).join({ value: "" })
      yield* TestClock.adjust("4 seconds")
      // Sent shortly before the session is found to be gone: its own bound is later.
      const setter = yield* Effect.forkChild(Effect.flip(mine.set("one")), { startImmediately: true })
      yield* TestClock.adjust("2 seconds")
      const error = setter.pollUnsafe()
      assert(error !== undefined && Exit.isSuccess(error))
      assert.strictEqual(error.value._tag, "MembershipLost")
    })
  )

  it.effect("does not keep a place that is lost from being taken anew, and is a part of it", () =>
    Effect.gen(function* () {
      const created: Array<string> = []
      const sessions: Array<string> = []
      const coordinator = yield* make(
        {
          create: (_, __, value) => {
            created.push(value)
            return Effect.succeed({ _tag: "Created", token: BigInt(created.length), version: 1n })
          },
          update: () => Effect.never
        },
        {
          open: (ttlMillis) => Effect.sync(() => ({ id: `s${sessions.push("")}`, ttlMillis })),
          renew: (session) =>
            Effect.succeed(session === "s1" ? { _tag: "Gone" } : { _tag: "Renewed", ttlMillis: 15_000 })
        }
      )
      const mine = yield* coordinator.group(name).join({ value: "zero" }, { rejoin: true })
      yield* TestClock.adjust("4 seconds")
      const setter = yield* Effect.forkChild(mine.set("one"), { startImmediately: true })
      yield* TestClock.adjust("2 seconds")
      assert.deepStrictEqual(created, ["zero", "one"])
      yield* Fiber.join(setter)
      assert.strictEqual(yield* mine.ensure, 2n)
    })
  )
})

describe("a join", () => {
  it.effect("ends with the coordinator, though the store does not answer", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const coordinator = yield* Scope.provide(make({ create: () => Effect.never }), scope)
      const joining = yield* Effect.forkChild(Effect.flip(coordinator.group(name).join({ value: "" })), {
        startImmediately: true
      })
      yield* Scope.close(scope, Exit.void)
      const error = yield* Fiber.join(joining)
      assert(error._tag === "CoordinatorError")
      assert.strictEqual(error.reason._tag, "Unreachable")
    })
  )

  it.effect("ends with the coordinator, though somebody else holds the id", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const held = make({ create: () => Effect.succeed({ _tag: "Occupied", entry: { ...own, owner: "foreign" } }) })
      const coordinator = yield* Scope.provide(held, scope)
      const joining = yield* Effect.forkChild(Effect.flip(coordinator.group(name).join({ value: "" })), {
        startImmediately: true
      })
      yield* Scope.close(scope, Exit.void)
      const error = yield* Fiber.join(joining)
      assert(error._tag === "CoordinatorError")
      assert.strictEqual(error.reason._tag, "Unreachable")
    })
  )

  it.effect("whose answer comes after the deadline is not held, and is joined anew", () =>
    Effect.gen(function* () {
      const answer = yield* Deferred.make<void>()
      let created = 0
      let opened = 0
      const coordinator = yield* make(
        {
          create: () =>
            Effect.suspend(() => {
              const token = BigInt(++created)
              return Effect.as(token === 1n ? Deferred.await(answer) : Effect.void, {
                _tag: "Created",
                token,
                version: token
              })
            })
        },
        {
          open: (ttlMillis) => Effect.sync(() => ({ id: `s${++opened}`, ttlMillis })),
          renew: (session) => (session === "s1" ? Effect.never : Effect.succeed({ _tag: "Renewed", ttlMillis: 15_000 }))
        },
        { requestTimeout: "1 minute" }
      )
      const joining = yield* Effect.forkChild(coordinator.group(name).join({ value: "" }, { rejoin: true }), {
        startImmediately: true
      })
      yield* TestClock.adjust("13 seconds")
      assert.strictEqual(opened, 2)
      yield* Deferred.succeed(answer, undefined)
      const mine = yield* Fiber.join(joining)
      assert.strictEqual(yield* mine.ensure, 2n)
    })
  )

  it.effect("takes no entry for its own that another membership of this process may have left", () =>
    Effect.gen(function* () {
      let stands = false
      let sent = 0
      const removed: Array<bigint> = []
      const lost = new CoordinatorError.CoordinatorError({
        engine: "test",
        operation: "Group.join",
        endpoint: "test://",
        reason: new CoordinatorError.OutcomeUnknown({ detail: "no answer" })
      })
      const coordinator = yield* make({
        create: () =>
          Effect.suspend(() => {
            sent++
            // Whose it is that is applied when a third is under way, nobody can tell.
            if (sent === 3) stands = true
            return sent <= 3 ? Effect.fail(lost) : Effect.succeed({ _tag: "Created", token: 2n, version: 2n })
          }),
        read: () => Effect.sync(() => (stands ? Option.some(own) : Option.none())),
        remove: ({ token }) =>
          Effect.sync(() => {
            stands = false
            removed.push(token)
          })
      })
      const first = yield* Effect.flip(coordinator.group(name).join({ value: "" }))
      assert.strictEqual(first, lost)
      const mine = yield* coordinator.group(name).join({ value: "" })
      assert.deepStrictEqual(removed, [1n])
      assert.strictEqual(yield* mine.ensure, 2n)
    })
  )

  it.effect("asks in the context of the program that joins, and so does whatever the membership asks later", () =>
    Effect.gen(function* () {
      const Who = Context.Reference<string>("test/Who", { defaultValue: () => "nobody" })
      const asked: Array<string> = []
      const coordinator = yield* make({
        create: () =>
          Effect.map(Who, (who) => {
            asked.push(who)
            return { _tag: "Created", token: 1n, version: 1n } as const
          }),
        update: () =>
          Effect.map(Who, (who) => {
            asked.push(who)
            return { _tag: "Updated", version: 2n } as const
          })
      })
      const mine = yield* Effect.provideService(coordinator.group(name).join({ value: "" }), Who, "joiner")
      yield* Effect.provideService(mine.set("one"), Who, "setter")
      assert.deepStrictEqual(asked, ["joiner", "joiner"])
    })
  )

  it.effect("that is interrupted frees its id", () =>
    Effect.gen(function* () {
      let created = 0
      const coordinator = yield* make({
        create: () => (created++ === 0 ? Effect.never : Effect.succeed({ _tag: "Created", token: 1n, version: 1n }))
      })
      const joining = yield* Effect.forkChild(coordinator.group(name).join({ value: "" }), { startImmediately: true })
      yield* Fiber.interrupt(joining)
      const mine = yield* coordinator.group(name).join({ value: "" })
      assert.strictEqual(yield* mine.ensure, 1n)
    })
  )
})
