import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Exit, Fiber, Option, Schema, Stream } from "effect"
import { CoordinatorError, Group, Memory } from "effect-ensemble"
import * as Barrier from "effect-ensemble/Barrier"
import * as Rounds from "effect-ensemble/internal/barrierRound"
import { judge } from "effect-ensemble/internal/barrierRule"
import { Faults } from "effect-ensemble/testing"
import { TestClock } from "effect/testing"

const ttl = "10 seconds"

const Gate = Barrier.make("gate", {
  state: Schema.Literals(["busy", "ready"]),
  minimum: 2,
  isReady: (state) => state === "ready"
})

const Three = Barrier.make("three", {
  state: Schema.Literals(["busy", "ready"]),
  minimum: 3,
  isReady: (state) => state === "ready"
})

const setup = (...nodes: ReadonlyArray<string>) =>
  Effect.gen(function* () {
    const store = yield* Memory.makeStore()
    const processes = yield* Effect.forEach(nodes, (node) => Memory.makeProcess(store, { node, ttl }))
    const at = (node: string): Memory.Process => {
      const found = processes.find((process) => process.node === node)
      if (found === undefined) throw new Error(`no process ${node}`)
      return found
    }
    const entries = (kind: string) =>
      Effect.map(Faults.inspect(store), (inspection) =>
        inspection.entries.filter((entry) => entry.group.startsWith(`${kind}/`))
      )
    return {
      store,
      faults: Faults.make(store),
      run: (node: string) => at(node).run,
      at,
      entries,
      records: Effect.map(entries("barrier-opening"), (all) => all.filter((entry) => entry.value.includes("opened")))
    }
  })

/** Everything that needs no time has happened after this. */
const settled = Effect.repeat(Effect.yieldNow, { times: 200 }).pipe(
  Effect.andThen(TestClock.adjust("5 millis")),
  Effect.andThen(Effect.repeat(Effect.yieldNow, { times: 200 }))
)

const long = { timeout: "10 minutes" } as const

const idsOf = (opening: Barrier.Opening) => opening.members.map((member) => member.id)

describe("Barrier.wait", () => {
  it.effect("passes when enough are present and every one of them is ready", () =>
    Effect.gen(function* () {
      const { run } = yield* setup("a", "b")
      const a = yield* run("a")(Barrier.announce(Gate, "busy"))
      const waiting = yield* Effect.forkChild(run("a")(Barrier.wait(Gate, long)))
      yield* settled
      yield* a.set("ready")
      yield* settled
      assert.isUndefined(waiting.pollUnsafe(), "one of two is not enough")
      yield* run("b")(Barrier.announce(Gate, "ready"))
      yield* settled
      assert.deepStrictEqual(idsOf(yield* Fiber.join(waiting)), ["a", "b"])
    })
  )

  it.effect("does not pass while one that has not changed for long is not ready", () =>
    Effect.gen(function* () {
      const { run } = yield* setup("a", "b", "c")
      yield* run("a")(Barrier.announce(Gate, "busy"))
      const b = yield* run("b")(Barrier.announce(Gate, "busy"))
      const c = yield* run("c")(Barrier.announce(Gate, "busy"))
      const waiting = yield* Effect.forkChild(run("c")(Barrier.wait(Gate, long)))
      yield* TestClock.adjust("2 minutes")
      assert.isUndefined(waiting.pollUnsafe(), "all are busy")
      yield* b.set("ready")
      yield* c.set("ready")
      yield* TestClock.adjust("2 minutes")
      assert.isUndefined(waiting.pollUnsafe(), "a is busy though it is not the one that changed")
      yield* Fiber.interrupt(waiting)
    })
  )

  it.effect("counts members that do not decode or are empty as present and not ready", () =>
    Effect.gen(function* () {
      const { faults, run } = yield* setup("a")
      const Any = Barrier.make("gate", { state: Schema.String, minimum: 2 })
      yield* run("a")(Barrier.announce(Any, "ready"))
      yield* faults.put(Gate.group, "waiter/with session", "")
      const empty = yield* Effect.flip(run("a")(Barrier.wait(Any, { timeout: "1 second" }))).pipe(Effect.forkChild)
      yield* TestClock.adjust("1 second")
      const first = yield* Fiber.join(empty)
      assert.deepInclude(first, { present: 2, ready: 1, notReady: ["waiter/with session"], short: 0 })
      yield* faults.put(Gate.group, "waiter/with session", "unheard of")
      const strange = yield* Effect.forkChild(Effect.flip(run("a")(Barrier.wait(Gate, { timeout: "1 second" }))))
      yield* TestClock.adjust("1 second")
      assert.deepInclude(yield* Fiber.join(strange), { present: 2, ready: 1, notReady: ["waiter/with session"] })
    })
  )

  it.effect("does not see the members of a barrier whose name begins the same", () =>
    Effect.gen(function* () {
      const { run } = yield* setup("a", "b")
      const Longer = Barrier.make("gate-two", { state: Schema.String, minimum: 1 })
      yield* run("a")(Barrier.announce(Longer, "ready"))
      yield* run("b")(Barrier.announce(Longer, "ready"))
      const waiting = yield* Effect.forkChild(Effect.flip(run("a")(Barrier.wait(Gate, { timeout: "1 second" }))))
      yield* TestClock.adjust("1 second")
      assert.deepInclude(yield* Fiber.join(waiting), { present: 0, short: 2 })
    })
  )

  it.effect("names who is not ready and who is missing", () =>
    Effect.gen(function* () {
      const { run } = yield* setup("a", "b")
      yield* run("a")(Barrier.announce(Gate, "busy"))
      yield* run("b")(Barrier.announce(Gate, "ready"))
      const named = yield* Barrier.wait(Gate, { timeout: "5 seconds", expected: ["d", "b", "c", "c"] }).pipe(
        run("a"),
        Effect.flip,
        Effect.forkChild
      )
      yield* TestClock.adjust("5 seconds")
      const error = yield* Fiber.join(named)
      if (error._tag !== "BarrierTimeout") return assert.fail(error._tag)
      assert.deepStrictEqual(
        { ...error },
        {
          _tag: "BarrierTimeout",
          barrier: "gate",
          timeoutMillis: 5000,
          minimum: 2,
          present: 2,
          ready: 1,
          notReady: ["a"],
          missing: ["c", "d"],
          short: 0,
          stale: false
        }
      )
      assert.strictEqual(
        error.message,
        "The barrier gate did not open within 5000 ms: 2 of at least 2 present, 1 of them ready. " +
          "Not ready: a. Missing: c, d"
      )
      const Five = Barrier.make("gate", { state: Schema.String, minimum: 5 })
      const counted = yield* Effect.forkChild(Effect.flip(run("a")(Barrier.wait(Five, { timeout: "1 second" }))))
      yield* TestClock.adjust("1 second")
      assert.strictEqual(
        (yield* Fiber.join(counted)).message,
        "The barrier gate did not open within 1000 ms: 2 of at least 5 present, 2 of them ready. 3 more must come"
      )
    })
  )

  it.effect("waits for the expected, beyond the minimum", () =>
    Effect.gen(function* () {
      const { run } = yield* setup("a", "b", "c")
      yield* run("a")(Barrier.announce(Gate, "ready"))
      yield* run("b")(Barrier.announce(Gate, "ready"))
      const waiting = yield* Effect.forkChild(run("a")(Barrier.wait(Gate, { ...long, expected: ["a", "c"] })))
      const other = yield* run("b")(Barrier.wait(Gate, long))
      assert.deepStrictEqual(idsOf(other), ["a", "b"])
      yield* settled
      assert.isUndefined(waiting.pollUnsafe(), "an opening without c does not count for who expects c")
      yield* run("c")(Barrier.announce(Gate, "ready"))
      yield* settled
      assert.deepStrictEqual(idsOf(yield* Fiber.join(waiting)), ["a", "b", "c"])
    })
  )

  it.effect("refuses numbers, ids and names that cannot be used, as the first operation's failure", () =>
    Effect.gen(function* () {
      const { run } = yield* setup("a")
      const reason = <A, E extends { readonly _tag: string; readonly reason?: { readonly _tag: string } }>(
        effect: Effect.Effect<A, E>
      ) => Effect.map(Effect.flip(effect), (error) => error.reason?._tag ?? error._tag)
      for (const minimum of [0, -1, 1.5, Number.NaN, Number.POSITIVE_INFINITY]) {
        const bad = Barrier.make("gate", { state: Schema.String, minimum })
        assert.strictEqual(yield* reason(run("a")(Barrier.wait(bad, long))), "InvalidOptions")
        assert.strictEqual(yield* reason(run("a")(Effect.scoped(Barrier.announce(bad, "x")))), "InvalidOptions")
        assert.strictEqual(yield* reason(run("a")(Stream.runHead(Barrier.progress(bad)))), "InvalidOptions")
      }
      for (const expected of [[], [""]]) {
        assert.strictEqual(yield* reason(run("a")(Barrier.wait(Gate, { ...long, expected }))), "InvalidOptions")
      }
      assert.strictEqual(
        yield* reason(run("a")(Barrier.wait(Gate, { timeout: Number.POSITIVE_INFINITY }))),
        "InvalidOptions"
      )
      const slashed = Barrier.make("a/b", { state: Schema.String, minimum: 1 })
      assert.strictEqual(yield* reason(run("a")(Barrier.wait(slashed, long))), "InvalidOptions")
    })
  )

  it.effect("fails with the defect of an isReady that throws", () =>
    Effect.gen(function* () {
      const { run } = yield* setup("a")
      const Bad = Barrier.make("gate", {
        state: Schema.String,
        minimum: 2,
        isReady: (state): boolean => {
          throw new Error(`bad ${state}`)
        }
      })
      const waiting = yield* Effect.forkChild(Effect.exit(run("a")(Barrier.wait(Bad, long))))
      yield* settled
      yield* run("a")(Barrier.announce(Bad, "x"))
      yield* settled
      const exit = yield* Fiber.join(waiting)
      assert.isTrue(Exit.isFailure(exit) && String(exit.cause).includes("bad x"))
    })
  )
})

describe("the timeout", () => {
  it.effect("comes exactly, also when the store does not answer", () =>
    Effect.gen(function* () {
      const { faults, run } = yield* setup("a", "b")
      yield* run("a")(Barrier.announce(Gate, "ready"))
      for (const how of ["healthy", "silent", "refused", "answers-lost"] as const) {
        const start = yield* Clock.currentTimeMillis
        const waiting = yield* Barrier.wait(Gate, { timeout: "4321 millis" }).pipe(
          Effect.flip,
          Effect.flatMap((error) => Effect.map(Clock.currentTimeMillis, (at) => [error._tag, at - start])),
          run("b"),
          Effect.forkChild
        )
        yield* TestClock.adjust("1 second")
        if (how !== "healthy") yield* faults.partition("b", how)
        yield* TestClock.adjust("20 seconds")
        assert.deepStrictEqual(yield* Fiber.join(waiting), ["BarrierTimeout", 4321], how)
        yield* faults.heal("b")
        yield* TestClock.adjust("30 seconds")
      }
    })
  )

  it.effect("tells that the store was never seen", () =>
    Effect.gen(function* () {
      const { faults, run } = yield* setup("a")
      yield* faults.partition("a")
      const waiting = yield* Effect.forkChild(Effect.flip(run("a")(Barrier.wait(Gate, { timeout: "1 second" }))))
      yield* TestClock.adjust("1 second")
      assert.deepInclude(yield* Fiber.join(waiting), { _tag: "BarrierTimeout", present: 0, stale: true })
      yield* faults.heal("a")
    })
  )

  it.effect("does not beat an opening that came before it, and beats one after it", () =>
    Effect.gen(function* () {
      const { run } = yield* setup("a", "b")
      yield* run("a")(Barrier.announce(Gate, "ready"))
      const b = yield* run("b")(Barrier.announce(Gate, "busy"))
      const early = yield* Effect.forkChild(run("a")(Barrier.wait(Gate, { timeout: "10 seconds" })))
      yield* TestClock.adjust("9990 millis")
      yield* b.set("ready")
      yield* TestClock.adjust("9 millis")
      assert.deepStrictEqual(idsOf(yield* Fiber.join(early)), ["a", "b"])
      yield* b.set("busy")
      const late = yield* Effect.forkChild(Effect.flip(run("a")(Barrier.wait(Gate, { timeout: "10 seconds" }))))
      yield* TestClock.adjust("10 seconds")
      yield* b.set("ready")
      assert.strictEqual((yield* Fiber.join(late))._tag, "BarrierTimeout")
    })
  )

  it.effect("outlives a store that comes back in time", () =>
    Effect.gen(function* () {
      const { faults, run } = yield* setup("a", "b")
      yield* run("a")(Barrier.announce(Gate, "ready"))
      yield* run("b")(Barrier.announce(Gate, "ready"))
      yield* faults.partition("b", "refused")
      const waiting = yield* Effect.forkChild(run("b")(Barrier.wait(Gate, long)))
      yield* TestClock.adjust("4 seconds")
      assert.isUndefined(waiting.pollUnsafe())
      yield* faults.heal("b")
      yield* TestClock.adjust("5 seconds")
      assert.deepStrictEqual(idsOf(yield* Fiber.join(waiting)), ["a", "b"])
    })
  )
})

describe("what stays behind", () => {
  it.effect("nothing, after a success, a timeout and an interruption", () =>
    Effect.gen(function* () {
      const { entries, run, store } = yield* setup("a", "b")
      yield* Effect.scoped(
        Effect.gen(function* () {
          yield* run("a")(Barrier.announce(Gate, "busy"))
          const interrupted = yield* Effect.forkChild(run("b")(Barrier.wait(Gate, long)))
          const late = yield* Effect.forkChild(Effect.exit(run("a")(Barrier.wait(Gate, { timeout: "1 second" }))))
          yield* settled
          assert.lengthOf(yield* entries("barrier-opening"), 2)
          yield* Fiber.interrupt(interrupted)
          yield* TestClock.adjust("1 second")
          yield* Fiber.join(late)
          yield* settled
          assert.deepStrictEqual(yield* entries("barrier-opening"), [])
          const One = Barrier.make("gate", { state: Schema.String, minimum: 1 })
          yield* run("b")(Barrier.wait(One, long))
          assert.lengthOf(yield* entries("barrier-opening"), 1, "the record, for a, which is not waiting yet")
          yield* TestClock.adjust("10 seconds")
          assert.deepStrictEqual(yield* entries("barrier-opening"), [])
        })
      )
      yield* settled
      const inspection = yield* Faults.inspect(store)
      assert.deepStrictEqual(inspection.entries, [])
      assert.strictEqual(inspection.watches, 0)
    })
  )

  it.effect("only participants stand in the barrier's own group, with the raw state as their value", () =>
    Effect.gen(function* () {
      const { entries, run } = yield* setup("a", "b")
      yield* run("a")(Barrier.announce(Gate, "busy"))
      yield* run("b")(Barrier.announce(Gate, "ready"))
      const waiting = yield* Effect.forkChild(run("a")(Barrier.wait(Gate, long)))
      yield* settled
      assert.deepStrictEqual(
        (yield* entries("barrier")).map(({ id, value }) => [id, value]),
        [
          ["a", "busy"],
          ["b", "ready"]
        ]
      )
      yield* Fiber.interrupt(waiting)
    })
  )
})

describe("Barrier.announce", () => {
  it.effect("does not take the winner's place away when it loses", () =>
    Effect.gen(function* () {
      const { entries, run } = yield* setup("a", "b")
      yield* run("a")(Barrier.announce(Gate, "ready", { id: "same" }))
      const error = yield* Barrier.announce(Gate, "busy", { id: "same", onConflict: "fail" }).pipe(
        Effect.scoped,
        run("b"),
        Effect.flip
      )
      assert.strictEqual(error._tag, "MemberConflict")
      assert.deepStrictEqual(
        (yield* entries("barrier")).map(({ id, value }) => [id, value]),
        [["same", "ready"]]
      )
    })
  )

  it.effect("comes back with the newest state and a new token, and goes for good with its scope", () =>
    Effect.gen(function* () {
      const { entries, faults, run } = yield* setup("a")
      yield* Effect.scoped(
        Effect.gen(function* () {
          const a = yield* run("a")(Barrier.announce(Gate, "busy"))
          yield* a.set("ready")
          const [before] = yield* entries("barrier")
          yield* faults.expireSession("a")
          yield* TestClock.adjust("10 seconds")
          const [after] = yield* entries("barrier")
          assert.strictEqual(after?.value, "ready")
          assert.isTrue((after?.token ?? 0n) > (before?.token ?? 0n))
          assert.isDefined(after?.session)
          const status = yield* Stream.runHead(a.status)
          assert.deepStrictEqual(status, Option.some({ _tag: "Held", token: after?.token ?? 0n } as const))
        })
      )
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual(yield* entries("barrier"), [])
    })
  )

  it.effect("writes nothing that does not encode", () =>
    Effect.gen(function* () {
      const { entries, run } = yield* setup("a")
      const Short = Barrier.make("gate", { state: Schema.String.check(Schema.isMaxLength(3)), minimum: 1 })
      const error = yield* Effect.flip(run("a")(Effect.scoped(Barrier.announce(Short, "too long"))))
      assert.strictEqual(error._tag, "PayloadRejected")
      const a = yield* run("a")(Barrier.announce(Short, "ok"))
      assert.strictEqual((yield* Effect.flip(a.set("too long")))._tag, "PayloadRejected")
      assert.deepStrictEqual((yield* entries("barrier"))[0]?.value, "ok")
    })
  )
})

describe("a recorded opening", () => {
  it.effect("lets everybody whom it names pass, whatever joins, leaves or changes after", () =>
    Effect.gen(function* () {
      const { faults, records, run } = yield* setup("a", "b", "c")
      const a = yield* run("a")(Barrier.announce(Gate, "busy"))
      yield* run("b")(Barrier.announce(Gate, "ready"))
      const slow = yield* Effect.forkChild(run("b")(Barrier.wait(Gate, long)))
      yield* settled
      yield* faults.delayEvents("b", "3 seconds")
      const fast = yield* Effect.forkChild(run("a")(Barrier.wait(Gate, long)))
      yield* settled
      yield* a.set("ready")
      yield* settled
      // b has the lower place in the line: it is given a moment to record, and then a does.
      yield* TestClock.adjust("1 second")
      assert.lengthOf(yield* records, 1)
      yield* a.set("busy")
      yield* run("c")(Barrier.announce(Gate, "busy"))
      assert.isUndefined(slow.pollUnsafe(), "b has not heard of it yet")
      assert.isUndefined(fast.pollUnsafe(), "a keeps the record for b")
      yield* TestClock.adjust("6 seconds")
      assert.deepStrictEqual(idsOf(yield* Fiber.join(fast)), ["a", "b"])
      assert.deepStrictEqual(idsOf(yield* Fiber.join(slow)), ["a", "b"])
    })
  )

  it.effect("does not let a later joiner pass", () =>
    Effect.gen(function* () {
      const { faults, records, run } = yield* setup("a", "b", "c")
      yield* run("a")(Barrier.announce(Gate, "ready"))
      yield* run("b")(Barrier.announce(Gate, "busy"))
      const b = yield* Effect.forkChild(run("b")(Barrier.wait(Gate, { timeout: "1 minute" })))
      yield* settled
      yield* faults.partition("b")
      // With b frozen out of the network, its entry keeps the record alive.
      yield* faults.remove(Gate.group, "b")
      const One = Barrier.make("gate", { state: Schema.Literals(["busy", "ready"]), minimum: 1, isReady: Gate.isReady })
      const recorder = yield* Effect.forkChild(run("a")(Barrier.wait(One, long)))
      yield* TestClock.adjust("2 seconds")
      assert.lengthOf(yield* records, 1)
      yield* run("c")(Barrier.announce(One, "busy"))
      const late = yield* Effect.forkChild(Effect.flip(run("c")(Barrier.wait(One, { timeout: "2 seconds" }))))
      yield* TestClock.adjust("2 seconds")
      assert.deepInclude(yield* Fiber.join(late), { _tag: "BarrierTimeout", notReady: ["c"] })
      yield* TestClock.adjust("1 minute")
      yield* Fiber.join(recorder)
      yield* faults.heal("b")
      yield* TestClock.adjust("1 minute")
      yield* Fiber.await(b)
    })
  )

  it.effect("is written once, however many wait", () =>
    Effect.gen(function* () {
      const nodes = Array.from({ length: 12 }, (_, index) => `n${index}`)
      const { run, store } = yield* setup(...nodes)
      const All = Barrier.make("gate", { state: Schema.String, minimum: nodes.length })
      const waits = yield* Effect.forEach(nodes, (node) =>
        Effect.forkChild(run(node)(Barrier.wait(All, { timeout: "1 minute" })))
      )
      yield* settled
      for (const node of nodes) yield* run(node)(Barrier.announce(All, "here"))
      yield* TestClock.adjust("1 second")
      for (const wait of waits) assert.deepStrictEqual(idsOf(yield* Fiber.join(wait)), nodes)
      assert.strictEqual((yield* Faults.inspect(store)).requests["Group.update"], 1)
    })
  )

  it.effect("lets the last one pass who comes to wait when the others have left", () =>
    Effect.gen(function* () {
      const { entries, run } = yield* setup("a", "b", "c")
      const early = yield* Effect.forEach(["a", "b"], (node) =>
        Barrier.announce(Three, "ready").pipe(
          Effect.andThen(Barrier.wait(Three, long)),
          Effect.scoped,
          run(node),
          Effect.forkChild
        )
      )
      yield* settled
      yield* run("c")(Barrier.announce(Three, "ready"))
      yield* settled
      for (const fiber of early) assert.deepStrictEqual(idsOf(yield* Fiber.join(fiber)), ["a", "b", "c"])
      assert.lengthOf(yield* entries("barrier"), 1, "they have left")
      yield* TestClock.adjust("8 seconds")
      const last = yield* Effect.forkChild(run("c")(Barrier.wait(Three, long)))
      yield* settled
      assert.deepStrictEqual(idsOf(yield* Fiber.join(last)), ["a", "b", "c"])
      yield* settled
      assert.deepStrictEqual(yield* entries("barrier-opening"), [], "all whom it names have passed")
    })
  )

  it.effect("lets each member pass once", () =>
    Effect.gen(function* () {
      const { records, run } = yield* setup("a", "b", "c")
      const a = yield* run("a")(Barrier.announce(Three, "ready"))
      yield* run("b")(Barrier.announce(Three, "ready"))
      yield* run("c")(Barrier.announce(Three, "ready"))
      yield* run("a")(Barrier.wait(Three, long))
      assert.lengthOf(yield* records, 1, "b and c have not been waiting")
      yield* a.set("busy")
      const again = yield* Effect.forkChild(Effect.flip(run("a")(Barrier.wait(Three, { timeout: "5 seconds" }))))
      const first = yield* Effect.forkChild(run("b")(Barrier.wait(Three, { timeout: "5 seconds" })))
      yield* TestClock.adjust("5 seconds")
      assert.strictEqual((yield* Fiber.join(again))._tag, "BarrierTimeout")
      assert.deepStrictEqual(idsOf(yield* Fiber.join(first)), ["a", "b", "c"])
    })
  )

  it.effect("does not hold its recorder up for members that wait for the next round", () =>
    Effect.gen(function* () {
      const nodes = ["a", "b", "c"]
      const { run } = yield* setup(...nodes)
      const rounds: Array<string> = []
      const fibers = yield* Effect.forEach(nodes, (node) =>
        Effect.gen(function* () {
          const participant = yield* Barrier.announce(Three, "busy")
          for (let round = 0; round < 5; round++) {
            yield* participant.arrive("ready", long)
            rounds.push(`${round}${node}`)
            yield* participant.set("busy")
            // Everybody has seen that the round is over before the next one begins.
            yield* Effect.sleep("100 millis")
          }
        }).pipe(Effect.scoped, run(node), Effect.forkChild)
      )
      yield* TestClock.adjust("5 seconds")
      for (const fiber of fibers) assert.isDefined(fiber.pollUnsafe())
      assert.deepStrictEqual(
        rounds.map((round) => round[0]),
        [0, 1, 2, 3, 4].flatMap((round) => [`${round}`, `${round}`, `${round}`])
      )
    })
  )

  it.effect("is never missed by one that arrives, however slow its requests are", () =>
    Effect.gen(function* () {
      const { faults, run, store } = yield* setup("a", "b")
      const writes: Array<string> = []
      Memory.internals(store).server.observe(({ entry, id }) => {
        if (id.startsWith("b")) writes.push(entry === undefined ? "left" : entry.value.slice(0, 9))
      })
      const b = yield* run("b")(Barrier.announce(Gate, "busy"))
      const a = yield* Barrier.announce(Gate, "ready").pipe(
        Effect.andThen(Barrier.wait(Gate, long)),
        Effect.scoped,
        run("a"),
        Effect.forkChild
      )
      yield* settled
      yield* faults.delayRequests("b", "700 millis")
      yield* faults.delayEvents("b", "700 millis")
      const arriving = yield* Effect.forkChild(run("b")(b.arrive("ready", long)))
      yield* TestClock.adjust("15 seconds")
      yield* faults.heal("b")
      assert.isDefined(arriving.pollUnsafe())
      assert.deepStrictEqual(writes.slice(0, 3), ["busy", `{"waiting`, "ready"])
      assert.deepStrictEqual(idsOf(yield* Fiber.join(a)), ["b", "a"])
      assert.deepStrictEqual(idsOf(yield* Fiber.join(arriving)), ["b", "a"])
    })
  )

  it.effect("survives its recorder's crash and interruption", () =>
    Effect.gen(function* () {
      for (const end of ["crash", "interrupt"] as const) {
        const { faults, records, run } = yield* setup("a", "b", "c")
        const a = yield* run("a")(Barrier.announce(Gate, "busy"))
        yield* run("b")(Barrier.announce(Gate, "ready"))
        const recorder = yield* Effect.forkChild(run("a")(Barrier.wait(Gate, long)))
        yield* settled
        const slow = yield* Effect.forkChild(run("b")(Barrier.wait(Gate, long)))
        yield* settled
        // What b misses meanwhile it never sees: it reads the group anew.
        yield* faults.partition("b", "refused")
        yield* a.set("ready")
        yield* settled
        assert.lengthOf(yield* records, 1)
        if (end === "crash") yield* faults.pause("a")
        const interrupting = yield* Effect.forkChild(end === "crash" ? Effect.void : Fiber.interrupt(recorder))
        yield* run("c")(Barrier.announce(Gate, "busy"))
        yield* TestClock.adjust("2 seconds")
        assert.isUndefined(slow.pollUnsafe())
        yield* faults.heal("b")
        yield* TestClock.adjust("3 seconds")
        assert.isDefined(slow.pollUnsafe(), end)
        assert.deepStrictEqual(idsOf(yield* Fiber.join(slow)), ["a", "b"], end)
        yield* faults.resume("a")
        yield* TestClock.adjust("1 minute")
        yield* Fiber.await(interrupting)
        assert.isDefined(recorder.pollUnsafe(), end)
      }
    })
  )

  it.effect("is kept when its recorder times out before it hears that it was written", () =>
    Effect.gen(function* () {
      const nodes = ["a", "b", "c"]
      const { entries, faults, records, run } = yield* setup(...nodes, "d")
      for (const node of ["a", "b"]) yield* run(node)(Barrier.announce(Three, "ready"))
      const [timingOut, cut] = [
        yield* Effect.forkChild(Effect.flip(run("a")(Barrier.wait(Three, { timeout: "1 second" })))),
        yield* Effect.forkChild(run("b")(Barrier.wait(Three, long)))
      ]
      yield* settled
      const last = yield* Effect.forkChild(run("c")(Barrier.wait(Three, long)))
      yield* settled
      yield* faults.partition("b", "refused")
      yield* faults.delayRequests("a", "100 millis")
      yield* TestClock.adjust("830 millis")
      yield* Effect.scoped(
        Effect.gen(function* () {
          yield* run("c")(Barrier.announce(Three, "ready"))
          yield* TestClock.adjust("120 millis")
          assert.lengthOf(yield* records, 1)
          assert.deepStrictEqual(idsOf(yield* Fiber.join(last)), nodes)
        })
      )
      yield* TestClock.adjust("50 millis")
      assert.strictEqual((yield* Fiber.join(timingOut))._tag, "BarrierTimeout")
      yield* run("d")(Barrier.announce(Three, "busy"))
      yield* TestClock.adjust("2 seconds")
      yield* faults.heal("b")
      // A watch that was refused for three seconds pauses for up to four before it tries again.
      yield* TestClock.adjust("6 seconds")
      assert.isDefined(cut.pollUnsafe())
      assert.deepStrictEqual(idsOf(yield* Fiber.join(cut)), nodes)
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(yield* entries("barrier-opening"), [])
      yield* faults.heal("a")
    })
  )

  it.effect("is not kept longer than one TTL for one who cannot read it", () =>
    Effect.gen(function* () {
      const { faults, run } = yield* setup("a", "b")
      const a = yield* run("a")(Barrier.announce(Gate, "busy"))
      yield* run("b")(Barrier.announce(Gate, "ready"))
      const recorder = yield* Effect.forkChild(run("a")(Barrier.wait(Gate, long)))
      yield* settled
      const cut = yield* Effect.forkChild(run("b")(Barrier.wait(Gate, long)))
      yield* settled
      yield* faults.partition("b")
      yield* a.set("ready")
      yield* TestClock.adjust("1 second")
      assert.isUndefined(recorder.pollUnsafe())
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual(idsOf(yield* Fiber.join(recorder)), ["a", "b"])
      yield* faults.heal("b")
      yield* Fiber.interrupt(cut)
    })
  )

  it.effect("names a member that came back with another token while it was waiting", () =>
    Effect.gen(function* () {
      const { faults, records, run } = yield* setup("a", "b", "c")
      yield* run("a")(Barrier.announce(Gate, "ready"))
      yield* run("b")(Barrier.announce(Gate, "busy"))
      const returned = yield* Effect.forkChild(run("a")(Barrier.wait(Gate, long)))
      yield* settled
      yield* faults.expireSession("a")
      yield* TestClock.adjust("10 seconds")
      const recorder = yield* Effect.forkChild(run("b")(Barrier.wait(Gate, long)))
      yield* settled
      yield* faults.delayEvents("a", "3 seconds")
      const b = yield* Effect.forkChild(
        Effect.scoped(run("b")(Barrier.announce(Gate, "ready", { id: "b2" })).pipe(Effect.andThen(Effect.never)))
      )
      yield* faults.put(Gate.group, "b", "ready")
      yield* TestClock.adjust("1 second")
      assert.lengthOf(yield* records, 1)
      yield* run("c")(Barrier.announce(Gate, "busy"))
      yield* TestClock.adjust("10 seconds")
      assert.include(idsOf(yield* Fiber.join(returned)), "a")
      assert.include(idsOf(yield* Fiber.join(recorder)), "a")
      yield* Fiber.interrupt(b)
    })
  )

  it.effect("lets one pass that only observes, if it is not older than the wait", () =>
    Effect.gen(function* () {
      const { faults, run } = yield* setup("a", "b", "c", "eye")
      const a = yield* run("a")(Barrier.announce(Gate, "busy"))
      yield* run("b")(Barrier.announce(Gate, "ready"))
      const recorder = yield* Effect.forkChild(run("a")(Barrier.wait(Gate, long)))
      yield* settled
      const before = yield* Effect.forkChild(run("eye")(Barrier.wait(Gate, long)))
      yield* settled
      yield* faults.delayEvents("eye", "2 seconds")
      yield* a.set("ready")
      yield* settled
      yield* run("c")(Barrier.announce(Gate, "busy"))
      const after = yield* Effect.forkChild(Effect.flip(run("eye")(Barrier.wait(Gate, { timeout: "20 seconds" }))))
      yield* TestClock.adjust("5 seconds")
      assert.deepStrictEqual(idsOf(yield* Fiber.join(before)), ["a", "b"])
      assert.isUndefined(after.pollUnsafe(), "it began after the opening")
      yield* TestClock.adjust("20 seconds")
      assert.deepInclude(yield* Fiber.join(after), { notReady: ["c"] })
      yield* Fiber.join(recorder)
    })
  )
})

describe("Barrier.progress", () => {
  it.effect("tells how far it has come, without repeats", () =>
    Effect.gen(function* () {
      const { faults, run } = yield* setup("a", "b")
      const Words = Barrier.make("words", { state: Schema.String, minimum: 2, isReady: (word) => word === "ready" })
      const seen: Array<string> = []
      const watching = yield* Barrier.progress(Words, { expected: ["a", "c"] }).pipe(
        Stream.runForEach(({ missing, notReady, open, present, ready, short, stale }) =>
          Effect.sync(() => seen.push(`${present}/${ready} -${notReady} ?${missing} <${short} ${open} ${stale}`))
        ),
        run("b"),
        Effect.forkChild
      )
      yield* settled
      const a = yield* run("a")(Barrier.announce(Words, "10 %"))
      yield* settled
      for (const word of ["20 %", "30 %", "ready"]) {
        yield* a.set(word)
        yield* settled
      }
      yield* run("b")(Barrier.announce(Words, "ready", { id: "c" }))
      yield* settled
      yield* faults.partition("b", "refused")
      yield* settled
      yield* faults.heal("b")
      yield* Fiber.interrupt(watching)
      assert.deepStrictEqual(seen, [
        "0/0 - ?a,c <2 false false",
        "1/0 -a ?c <1 false false",
        "1/1 - ?c <1 false false",
        "2/2 - ? <0 true false",
        "2/2 - ? <0 false true"
      ])
    })
  )
})

describe("the definition", () => {
  it("never throws and carries its form in the store", () => {
    assert.deepStrictEqual(Barrier.make("", { state: Schema.String, minimum: -1 }).group, { kind: "barrier", name: "" })
    assert.strictEqual(Gate.decode(member("a", 1, "ready"))._tag, "Decoded")
    assert.strictEqual(Gate.decode(member("a", 1, "?"))._tag, "Undecoded")
    assert.strictEqual(Group.label(Gate.group), "barrier/gate")
  })
})

const member = (id: string, token: number, value: string, mine = false): Group.Member<string> => ({
  id,
  token: BigInt(token),
  value,
  mine
})

const viewOf = (revision: number, members: ReadonlyArray<Group.Member<string>>, epoch = 0) =>
  Group.makeView({ members, revision: BigInt(revision), epoch })

const stale = (view: Group.GroupView<string>) =>
  Group.applyChanges(view, [], {
    revision: view.revision,
    epoch: view.epoch,
    freshness: {
      _tag: "Stale",
      since: 0,
      cause: new CoordinatorError.CoordinatorError({
        engine: "memory",
        operation: "Group.watch",
        endpoint: "memory://a",
        reason: new CoordinatorError.Unreachable({ detail: "gone" })
      })
    }
  })

const ruleOf = (minimum: number, expected: ReadonlyArray<string> = []) => ({
  minimum,
  expected,
  decode: Gate.decode,
  isReady: Gate.isReady
})

describe("the judgement", () => {
  const a = member("a", 1, "ready")
  const b = member("b", 2, "ready")
  const cases: ReadonlyArray<[string, boolean, Group.GroupView<string>, number, ReadonlyArray<string>?]> = [
    ["nobody", false, viewOf(9, []), 1],
    ["one of two", false, viewOf(9, [a]), 2],
    ["two of two", true, viewOf(9, [a, b]), 2],
    ["more than the minimum", true, viewOf(9, [a, b, member("c", 3, "ready")]), 2],
    ["one busy beyond the minimum", false, viewOf(9, [a, b, member("c", 3, "busy")]), 2],
    ["one empty", false, viewOf(9, [a, b, member("c", 3, "")]), 2],
    ["one undecodable", false, viewOf(9, [a, b, member("c", 3, "?")]), 2],
    ["the expected", true, viewOf(9, [a, b]), 1, ["a", "b"]],
    ["the expected are not there", false, viewOf(9, [a, b]), 1, ["a", "c"]],
    ["a stale view", false, stale(viewOf(9, [a, b])), 2]
  ]
  it.each(cases)("%s: open is %s", (_, open, view, minimum, expected) => {
    assert.strictEqual(judge(ruleOf(minimum, expected), view).open, open)
  })

  it("does not ask isReady about an empty value", () => {
    const rule = { ...ruleOf(1), ...Barrier.make("any", { state: Schema.String, minimum: 1 }), expected: [] }
    assert.isFalse(judge(rule, viewOf(9, [member("a", 1, "")])).open)
    assert.isTrue(judge(rule, viewOf(9, [member("a", 1, "x")])).open)
  })
})

describe("the round", () => {
  const party = { minimum: 1, expected: [] }
  const begin = (view: Group.GroupView<string>, of: Rounds.Party = party) =>
    Rounds.begin(of, view, judge(ruleOf(1), view))
  const see = (round: Rounds.Round, view: Group.GroupView<string>) => Rounds.see(round, view, judge(ruleOf(1), view))
  const openingAt = (revision: number, ...members: ReadonlyArray<[string, number]>): Rounds.Opening => ({
    revision: BigInt(revision),
    members: members.map(([id, token]) => ({ id, token: BigInt(token) }))
  })
  const beside = (...entries: ReadonlyArray<[number, string]>) =>
    viewOf(
      100,
      entries.map(([token, value]) => member(`w${token}`, token, value))
    )
  const waiting = (view: Group.GroupView<string>, of?: Rounds.Party) => Rounds.waitingText(begin(view, of))
  const closed = viewOf(10, [member("me", 5, "busy", true), member("other", 6, "ready")])
  const open = viewOf(12, [member("me", 5, "ready", true), member("other", 6, "ready")])

  it("remembers an open view after the barrier has closed again", () => {
    const round = see(see(begin(closed), open), viewOf(13, [member("me", 5, "busy", true)]))
    assert.deepStrictEqual(round.seen, openingAt(12, ["me", 5], ["other", 6]))
  })

  it("does not look at views from before it began", () => {
    const round = see(begin(closed), viewOf(9, [member("other", 6, "ready")]))
    assert.isUndefined(round.seen)
  })

  it("forgets everything when the store was rewound, and ignores views from before that", () => {
    const rewound = see(see(begin(closed), open), viewOf(3, [member("me", 2, "busy", true)], 1))
    assert.isUndefined(rewound.seen)
    assert.deepStrictEqual(Array.from(rewound.own), [[2n, "me"]])
    assert.isUndefined(see(rewound, open).seen)
  })

  it("passes by an opening that names any of its own tokens since it began", () => {
    const back = see(begin(closed), viewOf(20, [member("other", 6, "busy"), member("me", 19, "busy", true)]))
    for (const [opening, passes] of [
      [openingAt(12, ["me", 5], ["other", 6]), true],
      [openingAt(21, ["other", 6], ["me", 19]), true],
      [openingAt(21, ["other", 6]), false],
      [openingAt(21, ["you", 19]), false]
    ] as const) {
      assert.strictEqual(Rounds.accepts(back, opening), passes)
    }
  })

  it("passes once by one opening", () => {
    const view = viewOf(20, [member("me", 5, "busy", true), member("mine", 15, "busy", true)])
    const again = Rounds.begin(party, view, judge(ruleOf(1), view), new Set([5n]))
    assert.isFalse(Rounds.accepts(again, openingAt(19, ["me", 5])))
    assert.isTrue(Rounds.accepts(again, openingAt(20, ["me", 5])))
    assert.isTrue(Rounds.accepts(again, openingAt(19, ["me", 5], ["mine", 15])))
    const text = Rounds.waitingText(again)
    assert.deepStrictEqual(Rounds.heard(beside([50, text])), [15n])
    assert.deepStrictEqual(Rounds.heard(beside([50, Rounds.openedText(openingAt(19, ["me", 5]))])), [])
  })

  it("passes, as an observer, by an opening that is not older than itself", () => {
    const observer = begin(viewOf(10, [member("other", 6, "busy")]))
    assert.isFalse(Rounds.accepts(observer, openingAt(9, ["other", 6])))
    assert.isTrue(Rounds.accepts(observer, openingAt(10, ["other", 6])))
  })

  it("passes only by an opening with all whom it expects, and with the minimum", () => {
    const opening = openingAt(12, ["me", 5], ["other", 6])
    assert.isTrue(Rounds.accepts(begin(closed, { minimum: 2, expected: ["me", "other"] }), opening))
    assert.isFalse(Rounds.accepts(begin(closed, { minimum: 2, expected: ["me", "third"] }), opening))
    assert.isFalse(Rounds.accepts(begin(closed, { minimum: 3, expected: [] }), opening))
  })

  it("waits, passes or records", () => {
    const record = Rounds.openedText(openingAt(12, ["me", 5], ["other", 6]))
    const foreign = Rounds.openedText(openingAt(12, ["other", 6]))
    const seen = see(begin(closed), open)
    const own = waiting(closed)
    const tag = (round: Rounds.Round, entries: Group.GroupView<string> | undefined) => {
      const found = Rounds.verdict(round, entries, 50n)
      return found._tag === "Record" ? `Record ${found.ahead}` : found._tag
    }
    assert.strictEqual(tag(begin(closed), beside([50, own])), "Wait")
    assert.strictEqual(tag(begin(closed), beside([50, own], [40, record])), "Pass")
    assert.strictEqual(tag(begin(closed), beside([50, own], [40, foreign])), "Wait")
    assert.strictEqual(tag(seen, undefined), "Wait")
    assert.strictEqual(tag(seen, beside([50, own])), "Record 0")
    assert.strictEqual(tag(seen, beside([50, own], [60, own], [40, own], [30, own])), "Record 2")
    assert.strictEqual(tag(seen, beside([50, own], [40, foreign], [30, "what?"])), "Record 0")
  })

  it("keeps its record while one whom it concerns waits", () => {
    const opening = openingAt(12, ["me", 5], ["other", 6])
    const record = Rounds.openedText(opening)
    const settles = (...others: ReadonlyArray<[number, string]>) =>
      Rounds.isSettled(begin(closed), opening, beside([50, record], ...others), "w50")
    const late = (...members: ReadonlyArray<Group.Member<string>>) => waiting(viewOf(20, members))
    assert.isTrue(settles())
    assert.isFalse(settles([60, waiting(viewOf(12, []))]), "one that began before the opening")
    assert.isTrue(settles([60, late()]), "an observer that came later")
    assert.isFalse(settles([60, late(member("other", 6, "busy", true))]), "a named one that came later")
    assert.isTrue(settles([60, late(member("third", 15, "busy", true))]), "a later joiner")
    assert.isTrue(settles([60, record]), "another record")
    const expecting = waiting(viewOf(12, []), { minimum: 1, expected: ["x"] })
    assert.isTrue(settles([60, expecting]), "one that expects others")
    const all = beside([50, record])
    assert.isFalse(Rounds.isSettled(begin(closed), opening, beside([50, waiting(closed)]), "w50"), "not seen yet")
    assert.isFalse(Rounds.isSettled(begin(closed), opening, stale(all), "w50"), "a stale view")
    assert.isFalse(Rounds.isSettled(begin(closed), opening, undefined, "w50"))
  })

  it("waits longer the further behind it is, and never past the timeout", () => {
    assert.deepStrictEqual(
      [Rounds.patienceMillis(1, 60_000), Rounds.patienceMillis(3, 60_000), Rounds.patienceMillis(99, 60_000)],
      [200, 600, 2_000]
    )
    assert.strictEqual(Rounds.patienceMillis(5, 100), 50)
    assert.strictEqual(Rounds.patienceMillis(5, -1), 0)
  })
})

/** A generator of the same numbers for the same seed. */
const seeded = (seed: number) => {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296
  }
}

interface Waited {
  readonly node: string
  readonly opening: Barrier.Opening | undefined
  readonly endedAt: number
  /** Its entry beside the barrier, if it came to that. */
  readonly entry: string | undefined
}

interface Recorded {
  readonly at: number
  readonly names: ReadonlyArray<string>
  /** Entries of the waits that were in progress then, and the member that each stood for. */
  readonly waiting: ReadonlyArray<{ readonly entry: string; readonly member: string }>
}

/** Processes that come, change and go at random over a network that is late at random; every wait is written down. */
const history = (seed: number) =>
  Effect.gen(function* () {
    const random = seeded(seed)
    const upTo = (millis: number) => Math.floor(random() * millis)
    const nodes = ["a", "b", "c", "d"]
    const { faults, run, store } = yield* setup(...nodes)
    /** The barrier at each revision at which it changed, as the store had it. */
    const views: Array<{ readonly revision: bigint; readonly members: ReadonlyMap<string, [bigint, string]> }> = [
      { revision: 0n, members: new Map() }
    ]
    const records: Array<Recorded> = []
    const waiting = new Map<string, string>()
    const newest = new Map<string, string>()
    const memberOf = (node: string) => `${node} ${views.at(-1)?.members.get(node)?.[0]}`
    const stop = Memory.internals(store).server.observe(({ at, entry, group, id, revision }) => {
      const node = id.slice(0, 1)
      if (group === "barrier/gate") {
        const members = new Map(views.at(-1)?.members)
        if (entry === undefined) members.delete(id)
        else members.set(id, [entry.token, entry.value])
        views.push({ revision, members })
      } else if (entry === undefined) waiting.delete(id)
      else if (entry.value.startsWith(`{"waiting"`)) {
        waiting.set(id, memberOf(node))
        newest.set(node, id)
      } else {
        waiting.delete(id)
        const names = JSON.parse(entry.value).opened.members.map(
          (member: { readonly id: string; readonly token: string }) => `${member.id} ${member.token}`
        )
        records.push({ at, names, waiting: Array.from(waiting, ([entry, member]) => ({ entry, member })) })
      }
    })
    const waited: Array<Waited> = []

    const visit = (node: string) =>
      Effect.gen(function* () {
        const participant = yield* Barrier.announce(Gate, random() < 0.5 ? "busy" : "ready")
        newest.delete(node)
        const waiter = yield* Barrier.wait(Gate, { timeout: "1 hour" }).pipe(
          Effect.onExit((exit) =>
            Effect.map(Clock.currentTimeMillis, (endedAt) => {
              const opening = Exit.isSuccess(exit) ? exit.value : undefined
              waited.push({ node, opening, endedAt, entry: newest.get(node) })
            })
          ),
          Effect.forkChild
        )
        for (let change = 0; change < 6; change++) {
          yield* Effect.sleep(upTo(1500))
          if (waiter.pollUnsafe() !== undefined) break
          yield* Effect.ignore(participant.set(random() < 0.7 ? "ready" : "busy"))
        }
        yield* Effect.timeoutOption(Fiber.await(waiter), upTo(3000))
        return waiter
      })

    const live = (node: string) =>
      Effect.gen(function* () {
        for (let round = 0; round < 4; round++) {
          yield* Effect.sleep(upTo(2000))
          if (random() < 0.5) yield* faults.delayEvents(node, upTo(3000))
          if (random() < 0.3) yield* faults.delayRequests(node, upTo(400))
          // The wait outlives the place that it began with: a named one passes also after it has left.
          const waiter = yield* Effect.scoped(visit(node))
          yield* Effect.timeoutOption(Fiber.await(waiter), 20_000)
          yield* Fiber.interrupt(waiter)
        }
      }).pipe(run(node))

    const all = yield* Effect.forkChild(Effect.all(nodes.map(live), { concurrency: "unbounded" }))
    for (let second = 0; second < 400 && all.pollUnsafe() === undefined; second++) yield* TestClock.adjust("1 second")
    yield* Fiber.join(all)
    stop()
    for (const node of nodes) yield* faults.heal(node)
    return { views, records, waited }
  })

describe("the history of a barrier", () => {
  it.effect.each(Array.from({ length: 20 }, (_, seed) => seed + 1))("holds with seed %i", (seed) =>
    Effect.gen(function* () {
      let named = 0
      const { records, views, waited } = yield* history(seed)
      for (const { node, opening } of waited) {
        if (opening === undefined) continue
        const at = views.findLast(({ revision }) => revision <= opening.revision)
        const members = Array.from(at?.members ?? [], ([id, [token, value]]) => ({ id, token, value }))
        const message = `${node} passed by ${opening.revision}`
        assert.isTrue(members.length >= 2 && members.every(({ value }) => value === "ready"), message)
        assert.sameDeepMembers(
          [...opening.members],
          members.map(({ id, token }) => ({ id, token })),
          message
        )
      }
      for (const { at, names, waiting } of records) {
        for (const { entry, member } of waiting) {
          if (!names.includes(member)) continue
          const wait = waited.find((one) => one.entry === entry)
          // One that the schedule itself has interrupted soon after may not have heard of it.
          if (wait === undefined || (wait.opening === undefined && wait.endedAt < at + 10_000)) continue
          assert.isDefined(wait.opening, `${member} was named at ${at} while it was waiting`)
          named++
        }
      }
      assert.isAbove(waited.filter(({ opening }) => opening !== undefined).length, 4, "the schedule opens nothing")
      assert.isAbove(named, 0, "nobody was named while it was waiting")
    })
  )
})
