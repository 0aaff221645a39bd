import { assert, describe, it } from "@effect/vitest"
import type { Duration, Scope } from "effect"
import { Clock, Context, Deferred, Effect, Exit, Fiber, Metric, Option } from "effect"
import { Lock, Memory } from "effect-ensemble"
import type { Coordinator, CoordinatorError, Membership } from "effect-ensemble"
import { Faults } from "effect-ensemble/testing"
import { TestClock } from "effect/testing"

const Ledger = Lock.make("ledger")

/** Sessions open at 0 with 10 seconds, so a process cut off before its first renewal stops at 8 and overruns at 10. */
const ttl = "10 seconds"

const setup = (...nodes: ReadonlyArray<string>) =>
  Effect.gen(function* () {
    const store = yield* Memory.makeStore()
    const processes = yield* Effect.forEach(nodes, (node) => Memory.makeProcess(store, { node, ttl }))
    const at = (node: string): Memory.Process => {
      const found = processes.find((process) => process.node === node)
      if (found === undefined) throw new Error(`no process ${node}`)
      return found
    }
    const entries = Effect.map(Faults.inspect(store), (inspection) => inspection.entries.map((entry) => entry.id))
    return { store, faults: Faults.make(store), run: (node: string) => at(node).run, entries }
  })

/** Lets everything happen that needs no time: a request takes turns of the scheduler, which the test clock cannot see. */
const settled = Effect.yieldNow.pipe(Effect.repeat({ times: 300 }), Effect.asVoid)

/** Moves time, with what it leads to. */
const pass = (by: Duration.Input) => settled.pipe(Effect.andThen(TestClock.adjust(by)), Effect.andThen(settled))

const seconds = Effect.map(Clock.currentTimeMillis, (millis) => Math.round(millis / 100) / 10)

describe("Lock.withLock", () => {
  it.effect("lets one in at a time, in the order of asking, of all processes and their fibers", () =>
    Effect.gen(function* () {
      const { entries, run } = yield* setup("one", "two")
      const order: Array<string> = []
      let inside = 0
      let most = 0
      const tokens: Array<bigint> = []
      const work = (name: string) =>
        Lock.withLock(Ledger, (tenure) =>
          Effect.gen(function* () {
            most = Math.max(most, ++inside)
            order.push(name)
            tokens.push(yield* tenure.ensure)
            yield* Effect.sleep("1 second")
            inside--
            return name
          })
        )
      const fibers: Array<Fiber.Fiber<string, unknown>> = []
      for (const [name, node] of [
        ["a", "one"],
        ["b", "two"],
        ["c", "one"],
        ["d", "one"],
        ["e", "two"]
      ] as const) {
        fibers.push(yield* work(name).pipe(run(node), Effect.forkChild))
        yield* settled
      }
      assert.strictEqual((yield* entries).length, 5)
      for (let i = 0; i < 5; i++) yield* pass("1 second")
      assert.deepStrictEqual(yield* Effect.forEach(fibers, Fiber.join), ["a", "b", "c", "d", "e"])
      assert.deepStrictEqual(order, ["a", "b", "c", "d", "e"])
      assert.strictEqual(most, 1)
      assert.deepStrictEqual(
        tokens,
        tokens.toSorted((a, b) => (a < b ? -1 : 1))
      )
      assert.deepStrictEqual(yield* entries, [])
    })
  )

  it.effect("asks under an id of its own each time, within the length of a name", () =>
    Effect.gen(function* () {
      const node = "n".repeat(128)
      const { entries, run } = yield* setup(node)
      const ids = yield* Effect.forEach([1, 2], () => run(node)(Lock.withLock(Ledger, entries)))
      const [first, second] = ids.flat()
      assert.match(first ?? "", /^n{111}\.[0-9a-f]{16}$/)
      assert.match(second ?? "", /^n{111}\.[0-9a-f]{16}$/)
      assert.notStrictEqual(first, second)
    })
  )

  it.effect("gives the lock back when the body fails, and takes the body last", () =>
    Effect.gen(function* () {
      const { entries, run } = yield* setup("one")
      assert.strictEqual(yield* Effect.fail("broken").pipe(Lock.withLock(Ledger), Effect.flip, run("one")), "broken")
      assert.deepStrictEqual(yield* entries, [])
      assert.strictEqual(
        yield* Lock.withLock(Ledger)((tenure) => Effect.succeed(tenure.id.length)).pipe(run("one")),
        20
      )
    })
  )

  it.effect("keeps the lock until the body has stopped", () =>
    Effect.gen(function* () {
      const { entries, run } = yield* setup("one")
      const held: Array<number> = []
      const body = Effect.never.pipe(
        Effect.onInterrupt(() => Effect.map(Effect.delay(entries, "1 second"), (ids) => held.push(ids.length)))
      )
      const fiber = yield* Lock.withLock(Ledger, body).pipe(run("one"), Effect.forkChild)
      yield* settled
      const interrupting = yield* Effect.forkChild(Fiber.interrupt(fiber))
      yield* pass("2 seconds")
      yield* Fiber.join(interrupting)
      assert.deepStrictEqual(held, [1])
      assert.deepStrictEqual(yield* entries, [])
    })
  )

  it.effect("interrupts a holder that is cut off by its deadline, fails, and does not come back", () =>
    Effect.gen(function* () {
      const { entries, faults, run } = yield* setup("one", "two")
      const stopped: Array<number> = []
      const refused: Array<string> = []
      const fiber = yield* Lock.withLock(Ledger, (tenure) =>
        Effect.never.pipe(
          Effect.onInterrupt(() =>
            Effect.gen(function* () {
              stopped.push(yield* seconds)
              refused.push(
                yield* Effect.match(tenure.ensure, { onFailure: (lost) => lost.cause, onSuccess: () => "held" })
              )
            })
          )
        )
      ).pipe(Effect.flip, run("one"), Effect.forkChild)
      yield* settled
      const next = yield* Lock.withLock(Ledger, seconds).pipe(run("two"), Effect.forkChild)
      yield* settled
      yield* faults.partition("one")
      yield* pass("7900 millis")
      assert.deepStrictEqual(stopped, [])
      yield* pass("100 millis")
      assert.deepStrictEqual(stopped, [8])
      assert.deepStrictEqual(refused, ["DeadlinePassed"])
      const error = yield* Fiber.join(fiber)
      assert.strictEqual(error._tag === "MembershipLost" ? error.cause : error._tag, "DeadlinePassed")
      yield* faults.heal("one")
      yield* pass("1 minute")
      assert.isTrue((yield* Fiber.join(next)) >= 8)
      assert.deepStrictEqual(yield* entries, [])
    })
  )

  it.effect(
    "tells the caller of a loss also where the body could not be stopped, but not instead of its own failure",
    () =>
      Effect.gen(function* () {
        const { faults, run } = yield* setup("one")
        const slow = <A, E>(then: Effect.Effect<A, E>) => Effect.uninterruptible(Effect.delay(then, "9 seconds"))
        for (const [body, expected] of [
          [slow(Effect.succeed("late")), "MembershipLost"],
          [slow(Effect.fail({ _tag: "DiskFull" } as const)), "DiskFull"]
        ] as const) {
          const fiber = yield* Lock.withLock(Ledger, body).pipe(Effect.exit, run("one"), Effect.forkChild)
          yield* settled
          yield* faults.expireSession("one")
          yield* pass("10 seconds")
          const exit = yield* Fiber.join(fiber)
          const tags = Exit.isFailure(exit)
            ? exit.cause.reasons.flatMap((reason) => (reason._tag === "Fail" ? [reason.error._tag] : []))
            : []
          assert.deepStrictEqual(tags, [expected])
        }
      })
  )

  it.effect("counts a body that cannot be stopped as an overrun", () =>
    Effect.gen(function* () {
      const { faults, run } = yield* setup("one")
      const count = Effect.map(Metric.snapshot, (metrics) =>
        metrics.flatMap((metric) =>
          metric.id === "ensemble_overruns" &&
          metric.attributes?.["group"] === "lock/overrunning" &&
          metric.type === "Counter"
            ? [Number(metric.state.count)]
            : []
        )
      )
      const fiber = yield* Lock.withLock(
        Lock.make("overrunning"),
        Effect.uninterruptible(Effect.sleep("1 minute"))
      ).pipe(Effect.exit, run("one"), Effect.forkChild)
      yield* settled
      yield* faults.partition("one")
      yield* pass("9900 millis")
      assert.deepStrictEqual(yield* count, [])
      yield* pass("2 minutes")
      assert.isTrue(Exit.isFailure(yield* Fiber.join(fiber)))
      assert.deepStrictEqual(yield* count, [1])
    })
  )

  it.effect("leaves the queue when its caller gives up waiting", () =>
    Effect.gen(function* () {
      const { entries, run } = yield* setup("one", "two")
      const release = yield* Deferred.make<void>()
      yield* Lock.withLock(Ledger, Deferred.await(release)).pipe(run("one"), Effect.forkChild)
      yield* settled
      const waiting = yield* Lock.withLock(Ledger, Effect.void).pipe(
        Effect.timeoutOption("2 seconds"),
        run("two"),
        Effect.forkChild
      )
      yield* pass("1 second")
      assert.strictEqual((yield* entries).length, 2)
      yield* pass("1 second")
      assert.isTrue(Option.isNone(yield* Fiber.join(waiting)))
      assert.strictEqual((yield* entries).length, 1)
      yield* Deferred.succeed(release, undefined)
    })
  )

  it.effect("leaves to the caller's scope what the body acquires", () =>
    Effect.gen(function* () {
      const { entries, run } = yield* setup("one")
      const released: Array<number> = []
      const acquire = Effect.acquireRelease(Effect.void, () => Effect.map(entries, (ids) => released.push(ids.length)))
      yield* Effect.scoped(
        Effect.gen(function* () {
          yield* run("one")(Lock.withLock(Ledger, acquire))
          assert.deepStrictEqual(released, [])
        })
      )
      assert.deepStrictEqual(released, [0])
    })
  )

  it.effect("fails with typed errors", () =>
    Effect.gen(function* () {
      const { faults, run } = yield* setup("one")
      const invalid = yield* Effect.flip(run("one")(Lock.withLock(Lock.make("a b"), Effect.void)))
      assert.strictEqual(invalid._tag === "CoordinatorError" ? invalid.reason._tag : invalid._tag, "InvalidOptions")
      yield* faults.partition("one", "refused")
      const down = yield* Lock.withLock(Ledger, Effect.void).pipe(Effect.flip, run("one"), Effect.forkChild)
      yield* pass("10 seconds")
      const error = yield* Fiber.join(down)
      assert.strictEqual(error._tag === "CoordinatorError" ? error.reason._tag : error._tag, "Unreachable")
    })
  )
})

describe("Lock.tryLock", () => {
  it.effect("runs the body when nobody holds the lock, and waits for nobody", () =>
    Effect.gen(function* () {
      const { entries, run, store } = yield* setup("one", "two")
      assert.deepStrictEqual(yield* run("one")(Lock.tryLock(Ledger, Effect.succeed(1))), Option.some(1))
      assert.deepStrictEqual(yield* entries, [])
      const release = yield* Deferred.make<void>()
      yield* Lock.withLock(Ledger, Deferred.await(release)).pipe(run("one"), Effect.forkChild)
      yield* settled
      let ran = false
      const before = (yield* Faults.inspect(store)).requests["Group.list"] ?? 0
      const tried = yield* Effect.sync(() => {
        ran = true
      }).pipe(Lock.tryLock(Ledger), run("two"))
      assert.isTrue(Option.isNone(tried))
      assert.isFalse(ran)
      assert.strictEqual(((yield* Faults.inspect(store)).requests["Group.list"] ?? 0) - before, 1)
      assert.strictEqual((yield* entries).length, 1, "who tried in vain has left")
      yield* Deferred.succeed(release, undefined)
      yield* settled
      assert.deepStrictEqual(
        yield* run("two")(Lock.tryLock(Ledger, (tenure) => tenure.ensure)).pipe(Effect.map(Option.isSome)),
        true
      )
    })
  )

  it.effect("holds the lock as withLock does", () =>
    Effect.gen(function* () {
      const { faults, run } = yield* setup("one", "two")
      const fiber = yield* Lock.tryLock(Ledger, Effect.never).pipe(Effect.flip, run("one"), Effect.forkChild)
      yield* settled
      assert.isTrue(Option.isNone(yield* run("two")(Lock.tryLock(Ledger, Effect.void))))
      yield* faults.expireSession("one")
      yield* pass("5 seconds")
      assert.strictEqual((yield* Fiber.join(fiber))._tag, "MembershipLost")
    })
  )
})

describe("Lock types", () => {
  class Db extends Context.Service<Db, { readonly host: string }>()("test/Db") {}

  it("keeps all that the body needs, and types the failures", () => {
    const body: Effect.Effect<"done", "broken", Db | Scope.Scope> = Effect.succeed("done")
    type Failure = "broken" | CoordinatorError.CoordinatorError | Membership.MembershipLost
    type Needs = Db | Scope.Scope | Coordinator.Coordinator
    const first = Lock.withLock(Ledger, body)
    const last = body.pipe(Lock.withLock(Ledger))
    const tried = Lock.tryLock(Ledger, () => body)
    const same: [Effect.Effect<"done", Failure, Needs>, Effect.Effect<Option.Option<"done">, Failure, Needs>] = [
      first,
      tried
    ]
    const needs: [Needs] extends [Effect.Services<typeof first>] ? true : false = true
    const fails: [Failure] extends [Effect.Error<typeof last>] ? true : false = true
    assert.isTrue(needs && fails && same.every(Effect.isEffect) && Effect.isEffect(last))
  })
})
