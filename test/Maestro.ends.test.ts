import { assert, describe, it } from "@effect/vitest"
import { Cause, Context, Effect, Exit, Fiber, Layer, Schedule, Scope, Stream } from "effect"
import { Maestro } from "effect-ensemble"
import { TestClock } from "effect/testing"
import { launch, Log, probe } from "./maestro/kit.ts"

/** Builds a layer in a scope that is closed after a while by nobody whom the run knows. */
const brief = (millis: number, layer: Layer.Layer<never, unknown>) =>
  Layer.fromBuild((memoMap) =>
    Effect.gen(function* () {
      const own = yield* Scope.make()
      yield* Layer.buildWithMemoMap(Layer.effectDiscard(Effect.void).pipe(Layer.provide(layer)), memoMap, own)
      yield* Effect.forkDetach(Effect.andThen(Effect.sleep(millis), Scope.close(own, Exit.void)))
      return Context.empty()
    })
  )

describe("a run", () => {
  it.effect("has one top", () =>
    Effect.gen(function* () {
      const log = new Log()
      const twice = Effect.gen(function* () {
        const db = probe(log, "db").pipe(Maestro.service("db"))
        yield* Layer.build(Maestro.boot(db))
        return yield* Effect.exit(Layer.build(Maestro.boot(Layer.fresh(db))))
      })
      const exit = yield* twice.pipe(Effect.scoped, Effect.provide(Maestro.layer()))
      assert.match(String(exit), /Maestro.boot was called twice under one Maestro.layer/)
      assert.deepStrictEqual(log.names(), ["db open", "db up", "db closing", "db closed"])
    })
  )

  it.effect("that was stopped before it began starts nothing", () =>
    Effect.gen(function* () {
      const log = new Log()
      const db = probe(log, "db").pipe(Maestro.service("db"))
      const program = Effect.gen(function* () {
        const maestro = yield* Maestro.Maestro
        yield* maestro.stop
        const exit = yield* Effect.exit(Layer.build(Maestro.boot(db)))
        return { exit, phase: yield* maestro.phase, states: yield* maestro.states }
      })
      const { exit, phase, states } = yield* program.pipe(Effect.scoped, Effect.provide(Maestro.layer()))
      assert.isTrue(Exit.isFailure(exit))
      assert.strictEqual(phase, "stopped")
      assert.isEmpty(states)
      assert.isEmpty(log.lines)
    })
  )

  it.effect("ends once, however often and whenever it is told to", () =>
    Effect.gen(function* () {
      const log = new Log()
      const db = probe(log, "db", { stop: 10 }).pipe(Maestro.service("db"))
      const run = yield* launch(db)
      yield* run.started
      const phases: Array<string> = []
      yield* Effect.forkChild(
        Stream.runForEach(run.maestro.phases, (phase) => Effect.sync(() => phases.push(phase))),
        { startImmediately: true }
      )
      yield* Effect.forkChild(run.maestro.stop, { startImmediately: true })
      yield* TestClock.adjust(5)
      yield* Effect.forkChild(run.maestro.stop, { startImmediately: true })
      yield* Effect.forkChild(run.maestro.fail(Cause.fail("too late")), { startImmediately: true })
      yield* TestClock.adjust(5)
      const report = yield* run.maestro.report
      assert.strictEqual(report.stop.millis, 10)
      yield* TestClock.adjust(50)
      yield* run.maestro.stop
      yield* run.close
      yield* run.maestro.ended
      assert.deepStrictEqual(yield* run.maestro.report, report)
      assert.deepStrictEqual(phases, ["running", "stopping", "stopped"])
      assert.deepStrictEqual(run.eventsOf("db").slice(-2), ["0 Stopping 10000", "10 Stopped"])
    })
  )

  it.effect("tells who comes after its end how it ended", () =>
    Effect.gen(function* () {
      const db = probe(new Log(), "db").pipe(Maestro.service("db"))
      const run = yield* launch(db)
      yield* run.started
      yield* run.close
      const events = yield* Effect.forkChild(Stream.runCollect(run.maestro.events), { startImmediately: true })
      const phases = yield* Effect.forkChild(Stream.runCollect(run.maestro.phases), { startImmediately: true })
      const ready = yield* Effect.forkChild(Effect.exit(run.maestro.ready("db")), { startImmediately: true })
      yield* Effect.repeat(Effect.yieldNow, { times: 20 })
      for (const fiber of [events, phases, ready]) assert.isDefined(fiber.pollUnsafe())
      assert.deepStrictEqual(
        (yield* Fiber.join(events)).map(({ status }) => status.state),
        ["stopped"]
      )
      assert.deepStrictEqual(yield* Fiber.join(phases), ["stopped"])
      assert.match(String(yield* Fiber.join(ready)), /A service is not available: db stopped/)
    })
  )
})

describe("the end of a start", () => {
  it.effect("interrupts what is composed outside all services", () =>
    Effect.gen(function* () {
      const log = new Log()
      const root = probe(log, "root", { start: "1 hour" })
      const run = yield* launch(root)
      yield* TestClock.adjust(10)
      yield* run.maestro.stop
      assert.deepStrictEqual(log.lines, ["0 root open", "10 root closing", "10 root closed"])
      yield* Effect.repeat(Effect.yieldNow, { times: 20 })
      assert.isDefined(run.fiber.pollUnsafe(), "the constructor goes on")
    })
  )

  it.effect("waits for an attempt that was given up, and names it when it does not end", () =>
    Effect.gen(function* () {
      const log = new Log()
      const cache = probe(log, "cache", { start: "1 hour", uninterruptible: true }).pipe(
        Maestro.optional("cache", { startTimeout: 10, stopTimeout: 100 })
      )
      const run = yield* launch(cache)
      yield* TestClock.adjust(20)
      yield* run.started
      const stopping = yield* Effect.forkChild(run.maestro.stop, { startImmediately: true })
      yield* TestClock.adjust(99)
      assert.isUndefined(stopping.pollUnsafe())
      yield* TestClock.adjust(1)
      yield* Fiber.join(stopping)
      assert.deepStrictEqual(run.eventsOf("cache").slice(-2), ["10 Failed", "120 Abandoned"])
      yield* TestClock.adjust("1 hour")
      assert.isTrue(log.isBalanced())
    })
  )

  it.effect("waits for an attempt that is under way and cannot be interrupted", () =>
    Effect.gen(function* () {
      const log = new Log()
      const db = probe(log, "db", { start: 50, uninterruptible: true }).pipe(
        Maestro.service("db", { startTimeout: "1 hour" })
      )
      const run = yield* launch(db)
      yield* TestClock.adjust(10)
      yield* Effect.forkChild(run.maestro.stop, { startImmediately: true })
      yield* TestClock.adjust(40)
      assert.deepStrictEqual(run.eventsOf("db").slice(-2), ["10 Stopping 10000", "50 Stopped"])
      assert.deepStrictEqual(log.lines, ["0 db open", "50 db closing", "50 db closed"])
    })
  )
})

describe("who waits for a service", () => {
  it.effect("hears that it will not come, also where the wait cannot be interrupted", () =>
    Effect.gen(function* () {
      const log = new Log()
      const db = probe(log, "db", { start: "1 hour" }).pipe(Maestro.service("db"))
      const stubborn = Layer.fromBuild((memoMap, scope) =>
        Effect.uninterruptible(
          Effect.onExit(Layer.buildWithMemoMap(db, memoMap, scope), (exit) => log.add(`waiter ${exit._tag}`))
        )
      )
      const api = probe(log, "api").pipe(Layer.provide(stubborn), Maestro.service("api", { stopTimeout: 100 }))
      const run = yield* launch(api)
      yield* TestClock.adjust(10)
      yield* Effect.forkChild(run.maestro.stop, { startImmediately: true })
      yield* TestClock.adjust(100)
      assert.deepStrictEqual(run.eventsOf("api").slice(-2), ["10 Stopping 100", "110 Abandoned"])
      assert.strictEqual(yield* run.maestro.phase, "stopped")
      assert.deepStrictEqual(log.lines, ["0 db open", "110 db closing", "110 db closed", "110 waiter Failure"])
    })
  )
})

describe("what goes on after the end of a run", () => {
  it.effect("starts nothing any more", () =>
    Effect.gen(function* () {
      const log = new Log()
      const late = probe(log, "late").pipe(Maestro.service("late"))
      const slow = Layer.fromBuild((memoMap, scope) =>
        Effect.uninterruptible(Effect.andThen(Effect.sleep(50), Layer.buildWithMemoMap(late, memoMap, scope)))
      )
      const api = probe(log, "api").pipe(Layer.provide(slow), Maestro.service("api", { stopTimeout: 20 }))
      const run = yield* launch(api)
      yield* TestClock.adjust(10)
      yield* Effect.forkChild(run.maestro.stop, { startImmediately: true })
      yield* TestClock.adjust(20)
      assert.deepStrictEqual(run.eventsOf("api").slice(-2), ["10 Stopping 20", "30 Abandoned"])
      assert.strictEqual(yield* run.maestro.phase, "stopped")
      yield* TestClock.adjust(100)
      assert.isEmpty(log.lines)
    })
  )
})

describe("the time for the whole", () => {
  it.effect("binds what began to stop before", () =>
    Effect.gen(function* () {
      const log = new Log()
      const db = probe(log, "db", { stop: "1 hour", stopUninterruptible: true }).pipe(
        Maestro.service("db", { stopTimeout: "1 minute" })
      )
      const run = yield* launch(brief(10, db), { stopTimeout: 100 })
      yield* TestClock.adjust(20)
      yield* run.started
      const stopping = yield* Effect.forkChild(run.maestro.stop, { startImmediately: true })
      yield* TestClock.adjust(99)
      assert.isUndefined(stopping.pollUnsafe())
      yield* TestClock.adjust(1)
      yield* Fiber.join(stopping)
      assert.deepStrictEqual(run.eventsOf("db").slice(-2), ["10 Stopping 60000", "120 Abandoned"])
      yield* TestClock.adjust("1 hour")
      assert.isTrue(log.isBalanced())
    })
  )

  it.effect("is waited for where it is needed, also by what began to stop before", () =>
    Effect.gen(function* () {
      const log = new Log()
      const base = probe(log, "base").pipe(Maestro.service("base"))
      const db = probe(log, "db", { stop: 50 }).pipe(Layer.provide(base), Maestro.service("db"))
      const run = yield* launch(brief(10, db))
      yield* TestClock.adjust(20)
      yield* run.started
      yield* Effect.forkChild(run.maestro.stop, { startImmediately: true })
      yield* TestClock.adjust(100)
      assert.deepStrictEqual(run.eventsOf("db").slice(-2), ["10 Stopping 10000", "60 Stopped"])
      assert.strictEqual(run.eventsOf("base").at(-1), "60 Stopped")
      assert.strictEqual((yield* run.maestro.report).stop.millis, 40)
    })
  )

  it.effect("does not pass while the program starts", () =>
    Effect.gen(function* () {
      const log = new Log()
      const settings = probe(log, "settings")
      const db = probe(log, "db", { stop: 10 }).pipe(Maestro.service("db"), Layer.provide(settings))
      const api = probe(log, "api", { start: 1, failures: 3, stop: 30 }).pipe(
        Layer.provide(db),
        Maestro.service("api", { retry: Schedule.spaced(1_000) })
      )
      const run = yield* launch(api, { stopTimeout: 100 })
      yield* TestClock.adjust(10_000)
      yield* run.started
      assert.notInclude(run.events.join(), "Abandoned")
      assert.strictEqual(log.count("db closed"), 3)
      yield* Effect.forkChild(run.maestro.stop, { startImmediately: true })
      yield* TestClock.adjust(100)
      assert.notInclude(run.events.join(), "Abandoned")
      assert.isTrue(log.isBalanced())
    })
  )
})

describe("a constructor knows its attempt", () => {
  it.effect("by number, and is in its first where there is no Maestro", () =>
    Effect.gen(function* () {
      const seen: Array<number> = []
      const api = Layer.effectDiscard(
        Effect.gen(function* () {
          const attempt = yield* Maestro.attempt
          seen.push(attempt)
          if (attempt < 3) return yield* Effect.fail("not yet")
        })
      ).pipe(Maestro.service("api", { retry: Schedule.recurs(5) }))
      const run = yield* launch(api)
      yield* run.started
      yield* run.close
      assert.deepStrictEqual(seen, [1, 2, 3])
      assert.strictEqual(yield* Maestro.attempt, 1)
    })
  )
})

describe("an attempt", () => {
  const mixed = {
    "that fails and dies at once": Layer.effectDiscard(
      Effect.failCause(Cause.combine(Cause.fail("so"), Cause.die("and so")))
    ),
    "whose clean-up dies": probe(new Log(), "own", { failures: 9, dieOnStop: true })
  }
  for (const [how, layer] of Object.entries<Layer.Layer<never, string>>(mixed)) {
    it.effect(`${how} is the last, though it has failed with what would be tried again`, () =>
      Effect.gen(function* () {
        const run = yield* launch(layer.pipe(Maestro.service("api", { retry: Schedule.recurs(5) })))
        const exit = yield* Effect.exit(run.started)
        assert.isTrue(Exit.isFailure(exit))
        const [status] = yield* run.maestro.states
        assert.strictEqual(status?.attempts, 1)
        assert(status?.failure?._tag === "ConstructionFailed")
        assert.isTrue(Cause.hasDies(status.failure.cause))
      })
    )
  }
})
