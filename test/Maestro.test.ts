import { assert, describe, it } from "@effect/vitest"
import { Cause, Context, Deferred, Effect, Exit, Fiber, Layer, Option, Ref, Schedule, Scope, Stream } from "effect"
import { Maestro } from "effect-ensemble"
import { TestClock } from "effect/testing"
import { launch, Log, merge, probe, tag } from "./maestro/kit.ts"

const startFailed = <A>(exit: Exit.Exit<A, Maestro.StartFailed>): Maestro.StartFailed => {
  const error = Option.getOrUndefined(Exit.findErrorOption(exit))
  if (error === undefined) return assert.fail(`the start did not fail: ${String(exit)}`)
  return error
}

const stateOf = (states: ReadonlyArray<Maestro.ServiceStatus>, name: string) =>
  states.find((status) => status.name === name)?.state

describe("order", () => {
  it.effect("a service starts after its dependencies and stops before them", () =>
    Effect.gen(function* () {
      const log = new Log()
      const db = probe(log, "db", { start: 10, stop: 5 }).pipe(Maestro.service("db"))
      const cache = probe(log, "cache", { start: 20, stop: 5 }).pipe(Layer.provide(db), Maestro.service("cache"))
      const api = probe(log, "api", { start: 30, stop: 5 }).pipe(Layer.provide([db, cache]), Maestro.service("api"))
      const run = yield* launch(api)
      yield* TestClock.adjust(100)
      yield* run.started
      yield* Effect.forkChild(run.close)
      yield* TestClock.adjust(100)
      assert.deepStrictEqual(log.lines, [
        "0 db open",
        "10 db up",
        "10 cache open",
        "30 cache up",
        "30 api open",
        "60 api up",
        "100 api closing",
        "105 api closed",
        "105 cache closing",
        "110 cache closed",
        "110 db closing",
        "115 db closed"
      ])
    })
  )

  it.effect("a service waits for its own dependencies and for nothing beside them", () =>
    Effect.gen(function* () {
      const log = new Log()
      const fast = probe(log, "fast", { start: 10, stop: 10 }).pipe(Maestro.service("fast"))
      const slow = probe(log, "slow", { start: 100, stop: 100 }).pipe(Maestro.service("slow"))
      const afterFast = probe(log, "afterFast", { start: 10 }).pipe(Layer.provide(fast), Maestro.service("afterFast"))
      const afterSlow = probe(log, "afterSlow", { start: 10, stop: 10 }).pipe(
        Layer.provide(slow),
        Maestro.service("afterSlow")
      )
      const run = yield* launch(Layer.mergeAll(afterSlow, afterFast))
      yield* TestClock.adjust(1_000)
      yield* run.started
      assert.include(log.lines, "20 afterFast up")
      assert.include(log.lines, "110 afterSlow up")
      yield* Effect.forkChild(run.close)
      yield* TestClock.adjust(1_000)
      assert.include(log.lines, "1010 fast closed")
      assert.include(log.lines, "1110 slow closed")
    })
  )

  it.effect("a shared base starts once and stops after the last of its dependents", () =>
    Effect.gen(function* () {
      const log = new Log()
      const base = probe(log, "base", { start: 1 }).pipe(Maestro.service("base"))
      const left = probe(log, "left", { stop: 10 }).pipe(Layer.provide(base), Maestro.service("left"))
      const right = probe(log, "right", { stop: 50 }).pipe(Layer.provide(base), Maestro.service("right"))
      const run = yield* launch(Layer.mergeAll(left, right))
      yield* TestClock.adjust(100)
      yield* run.started
      yield* Effect.forkChild(run.close)
      yield* TestClock.adjust(100)
      assert.strictEqual(log.count("base open"), 1)
      assert.include(log.lines, "150 base closing")
      assert.isTrue(log.isBalanced())
    })
  )

  it.effect("knows every service composed outside in before the first constructor's end is told", () =>
    Effect.gen(function* () {
      const log = new Log()
      const leaf = probe(log, "leaf").pipe(Maestro.service("leaf"))
      const deep = probe(log, "deep").pipe(Maestro.service("deep"))
      const middle = probe(log, "middle").pipe(Layer.provide(deep), Maestro.service("middle"))
      const top = probe(log, "top").pipe(Layer.provide(middle), Maestro.service("top"))
      const run = yield* launch(Layer.mergeAll(leaf, top))
      yield* run.started
      const firstReady = run.events.findIndex((event) => event.endsWith("Ready"))
      const lastMet = run.events.findLastIndex((event) => event === "0 deep Waiting")
      assert.isAbove(firstReady, lastMet)
    })
  )

  it.effect("holds a shared base up through a composition without a name", () =>
    Effect.gen(function* () {
      const log = new Log()
      const db = probe(log, "db", { start: 5 }).pipe(Maestro.service("db"))
      const cache = probe(log, "cache", { start: 5 }).pipe(Maestro.service("cache"))
      const infra = Layer.mergeAll(db, cache)
      const a = probe(log, "a", { stop: 10 }).pipe(Layer.provide(infra), Maestro.service("a"))
      const b = probe(log, "b", { stop: 200 }).pipe(Layer.provide(infra), Maestro.service("b", { stopTimeout: 100 }))
      const run = yield* launch(Layer.mergeAll(a, b))
      yield* TestClock.adjust(10)
      yield* run.started
      const graph = yield* run.maestro.graph
      assert.deepStrictEqual(run.edges(graph), ["a -> cache", "a -> db", "b -> cache", "b -> db"])
      yield* Effect.forkChild(run.close)
      yield* TestClock.adjust(100)
      // b is given up after its own budget, and what it depends on is stopped apart from it, not within it.
      assert.include(run.events, "110 b Abandoned")
      assert.include(run.events, "110 db Stopped")
      assert.include(run.events, "110 cache Stopped")
    })
  )

  it.effect("counts a service wrapped before Layer.provide by what it is given", () =>
    Effect.gen(function* () {
      const log = new Log()
      const db = probe(log, "db", { start: 5 }).pipe(Maestro.service("db"))
      const api = probe(log, "api", { start: 5 }).pipe(Maestro.service("api"), Layer.provide(db))
      const run = yield* launch(api)
      assert.isUndefined(stateOf(yield* run.maestro.states, "api"))
      yield* TestClock.adjust(10)
      yield* run.started
      assert.deepStrictEqual(run.edges(yield* run.maestro.graph), ["api -> db"])
      yield* run.close
      assert.isTrue(log.isBalanced())
      assert.isBelow(log.lines.indexOf("10 api closed"), log.lines.indexOf("10 db closing"))
    })
  )

  it.effect("starts and stops 3,000 services in a chain", () =>
    Effect.gen(function* () {
      const log = new Log()
      let chain: Layer.Layer<never, unknown> = probe(log, "0").pipe(Maestro.service("0"))
      for (let index = 1; index < 3_000; index++) {
        chain = probe(log, `${index}`).pipe(Layer.provide(chain), Maestro.service(`${index}`))
      }
      const run = yield* launch(chain)
      yield* run.started
      yield* run.close
      assert.isTrue(log.isBalanced())
      assert.strictEqual(log.lines.length, 12_000)
    })
  )

  it.effect("starts and stops 3,000 services side by side, all at once", () =>
    Effect.gen(function* () {
      const log = new Log()
      const layers = Array.from({ length: 3_000 }, (_, index) =>
        probe(log, `${index}`, { start: 10, stop: 10 }).pipe(Maestro.service(`${index}`))
      )
      const [first = Layer.empty, ...rest] = layers
      const run = yield* launch(Layer.mergeAll(first, ...rest))
      yield* TestClock.adjust(10)
      yield* run.started
      const closing = yield* Effect.forkChild(run.close, { startImmediately: true })
      yield* TestClock.adjust(10)
      yield* Fiber.join(closing)
      assert.isTrue(log.isBalanced())
      assert.strictEqual(log.count("2999 closed"), 1)
    })
  )

  it.effect("starts and stops a ladder of 300 diamonds", () =>
    Effect.gen(function* () {
      const log = new Log()
      const rung = (index: number, below: ReadonlyArray<Layer.Layer<never, unknown>>) =>
        ["a", "b"].map((side) =>
          probe(log, `${side}${index}`).pipe(Layer.provide(merge(below)), Maestro.service(`${side}${index}`))
        )
      let below = rung(0, [])
      for (let index = 1; index < 300; index++) below = rung(index, below)
      const run = yield* launch(merge(below))
      yield* run.started
      yield* run.close
      assert.isTrue(log.isBalanced())
      assert.strictEqual(log.lines.length, 2_400)
    })
  )
})

describe("retries", () => {
  it.effect("constructs again in a new scope, with its dependency held", () =>
    Effect.gen(function* () {
      const log = new Log()
      const db = probe(log, "db", { start: 10 }).pipe(Maestro.service("db"))
      const own = probe(log, "own")
      const api = probe(log, "api", { start: 30, failures: 2 }).pipe(
        Layer.provide([db, own]),
        Maestro.service("api", { retry: Schedule.exponential(100) })
      )
      const run = yield* launch(api)
      yield* TestClock.adjust(1_000)
      yield* run.started
      assert.deepStrictEqual(run.eventsOf("api"), [
        "0 Waiting",
        "10 Starting 1",
        "40 AttemptFailed 1 +100",
        "140 Starting 2",
        "170 AttemptFailed 2 +200",
        "370 Starting 3",
        "400 Ready"
      ])
      assert.strictEqual(log.count("db open"), 1)
      assert.strictEqual(log.count("own open"), 3)
      assert.strictEqual(log.count("own closed"), 2)
      yield* run.close
      assert.isTrue(log.isBalanced())
    })
  )

  it.effect("keeps the schedule's count of attempts", () =>
    Effect.gen(function* () {
      const log = new Log()
      const api = probe(log, "api", { failures: 9 }).pipe(Maestro.service("api", { retry: Schedule.recurs(2) }))
      const run = yield* launch(api)
      const error = startFailed(yield* Effect.exit(run.started))
      assert.strictEqual(error.services[0]?.attempts, 3)
      assert.strictEqual(log.count("api open"), 3)
    })
  )

  it.effect("never retries a defect", () =>
    Effect.gen(function* () {
      const log = new Log()
      const api = probe(log, "api", { failures: 9, defect: true }).pipe(
        Maestro.service("api", { retry: Schedule.recurs(5) })
      )
      const run = yield* launch(api)
      assert.strictEqual(startFailed(yield* Effect.exit(run.started)).services[0]?.attempts, 1)
    })
  )

  it.effect("retries its own failure after a dependency's was replaced inside", () =>
    Effect.gen(function* () {
      const log = new Log()
      const db = probe(log, "db", { failures: 9 }).pipe(Maestro.service("db"))
      const replaced = db.pipe(Layer.catch(() => Layer.succeed(tag("db"), { name: "spare" })))
      const api = probe(log, "api", { failures: 1 }).pipe(
        Layer.provide(replaced),
        Maestro.service("api", { retry: Schedule.recurs(5) })
      )
      const run = yield* launch(api)
      yield* run.started
      assert.strictEqual(log.count("api open"), 2)
      assert.strictEqual(log.count("db open"), 1)
    })
  )

  it.effect("never retries a dependency's failure, and names the dependency", () =>
    Effect.gen(function* () {
      const log = new Log()
      const db = probe(log, "db", { start: 10, failures: 9 }).pipe(Maestro.service("db", { retry: Schedule.recurs(1) }))
      const api = probe(log, "api").pipe(
        Layer.provide(Layer.mergeAll(db)),
        Maestro.service("api", { retry: Schedule.recurs(5) })
      )
      const web = probe(log, "web").pipe(Layer.provide(api), Maestro.service("web", { retry: Schedule.recurs(5) }))
      const run = yield* launch(web)
      yield* TestClock.adjust(1_000)
      const error = startFailed(yield* Effect.exit(run.started))
      assert.deepStrictEqual(run.eventsOf("api"), ["0 Waiting", "20 Failed by db"])
      assert.deepStrictEqual(run.eventsOf("web"), ["0 Waiting", "20 Failed by api"])
      assert.deepStrictEqual(error.neverAttempted, ["web", "api"])
      assert.strictEqual(log.count("db open"), 2)
    })
  )

  it.effect("restarts with an attempt what the attempt has given its own construction to", () =>
    Effect.gen(function* () {
      const log = new Log()
      const settings = probe(log, "settings")
      const db = probe(log, "db").pipe(Maestro.service("db"), Layer.provide(settings))
      const api = probe(log, "api", { start: 1, failures: 1 }).pipe(
        Layer.provide(db),
        Maestro.service("api", { retry: Schedule.spaced(100) })
      )
      const run = yield* launch(api)
      yield* TestClock.adjust(1_000)
      yield* run.started
      assert.strictEqual(log.count("settings open"), 2)
      assert.strictEqual(log.count("db open"), 2)
      yield* run.close
      assert.isTrue(log.isBalanced())
      // Never used after what it was given has been released.
      const closes = log.lines
        .filter((line) => /db closed|settings closing/.test(line))
        .map((line) => line.split(" ")[1])
      assert.deepStrictEqual(closes, ["db", "settings", "db", "settings"])
    })
  )
})

describe("start timeout", () => {
  it.effect("bounds one attempt, and the schedule the total", () =>
    Effect.gen(function* () {
      const log = new Log()
      const api = probe(log, "api", { start: 100 }).pipe(
        Maestro.service("api", { startTimeout: 10, retry: Schedule.max([Schedule.recurs(1), Schedule.spaced(5)]) })
      )
      const run = yield* launch(api)
      yield* TestClock.adjust(1_000)
      const error = startFailed(yield* Effect.exit(run.started))
      assert.deepStrictEqual(run.eventsOf("api"), [
        "0 Waiting",
        "0 Starting 1",
        "10 AttemptFailed 1 +5",
        "15 Starting 2",
        "25 Failed"
      ])
      assert.match(error.message, /Attempt 2 to start api took longer than 10 ms/)
      assert.isTrue(log.isBalanced())
    })
  )

  it.effect("stands still while a dependency is pending", () =>
    Effect.gen(function* () {
      const log = new Log()
      const db = probe(log, "db", { start: 500 }).pipe(Maestro.service("db"))
      const late = probe(log, "late", { start: 500 }).pipe(Maestro.service("late"))
      const api = probe(log, "api", { start: 20 }).pipe(
        Layer.provide(late),
        Layer.provide(db),
        Maestro.service("api", { startTimeout: 30 })
      )
      const run = yield* launch(api)
      yield* TestClock.adjust(2_000)
      yield* run.started
      assert.include(log.lines, "1020 api up")
    })
  )

  it.effect("holds against an acquisition that cannot be interrupted, and releases what comes late", () =>
    Effect.gen(function* () {
      const log = new Log()
      const api = probe(log, "api", { start: 100, uninterruptible: true }).pipe(
        Maestro.service("api", { startTimeout: 10 })
      )
      const run = yield* launch(api)
      yield* TestClock.adjust(10)
      assert.include(run.events, "10 api Failed")
      yield* TestClock.adjust(90)
      startFailed(yield* Effect.exit(run.started))
      assert.include(log.lines, "100 api closed")
      assert.isTrue(log.isBalanced())
    })
  )

  it.effect("releases what comes late at once, not when the program ends", () =>
    Effect.gen(function* () {
      const log = new Log()
      const cache = probe(log, "cache", { start: 100, uninterruptible: true }).pipe(
        Maestro.optional("cache", { startTimeout: 10 })
      )
      const run = yield* launch(cache)
      yield* TestClock.adjust(10)
      yield* run.started
      yield* TestClock.adjust(90)
      assert.deepStrictEqual(log.lines, ["0 cache open", "100 cache closing", "100 cache closed"])
      yield* run.close
    })
  )

  it.effect("stands still for a dependency that is met late", () =>
    Effect.gen(function* () {
      const log = new Log()
      const late = probe(log, "late", { start: 500 }).pipe(Maestro.service("late"))
      const found = Layer.unwrap(Effect.as(Effect.sleep(20), late))
      const api = probe(log, "api", { start: 5 }).pipe(
        Layer.provide(found),
        Maestro.service("api", { startTimeout: 30 })
      )
      const run = yield* launch(api)
      yield* TestClock.adjust(1_000)
      yield* run.started
      assert.deepStrictEqual(run.eventsOf("api"), [
        "0 Waiting",
        "0 Starting 1",
        "20 Waiting",
        "520 Starting 1",
        "525 Ready"
      ])
    })
  )

  it.effect("begins the next attempt only when the one given up has ended", () =>
    Effect.gen(function* () {
      const log = new Log()
      const api = probe(log, "api", { start: 100, uninterruptible: true }).pipe(
        Maestro.service("api", { startTimeout: 10, retry: Schedule.max([Schedule.recurs(1), Schedule.spaced(5)]) })
      )
      const run = yield* launch(api)
      yield* TestClock.adjust(1_000)
      yield* Effect.exit(run.started)
      assert.deepStrictEqual(run.eventsOf("api").slice(0, 5), [
        "0 Waiting",
        "0 Starting 1",
        "10 AttemptFailed 1 +5",
        "100 Starting 2",
        "110 Failed"
      ])
      assert.isTrue(log.isBalanced())
    })
  )

  it.effect("of one service leaves others alone that share a layer with it", () =>
    Effect.gen(function* () {
      const log = new Log()
      const shared = probe(log, "shared", { start: 50 })
      const hasty = probe(log, "hasty").pipe(Layer.provide(shared), Maestro.optional("hasty", { startTimeout: 10 }))
      const patient = probe(log, "patient").pipe(Layer.provide(shared), Maestro.service("patient"))
      const run = yield* launch(Layer.mergeAll(hasty, patient))
      yield* TestClock.adjust(1_000)
      yield* run.started
      assert.include(run.events, "10 hasty Failed")
      assert.include(run.events, "60 patient Ready")
      yield* run.close
      assert.isTrue(log.isBalanced())
    })
  )
})

describe("optional", () => {
  const cacheTag = tag("cache")

  it.effect("is an Option: there when it started", () =>
    Effect.gen(function* () {
      const cache = probe(new Log(), "cache").pipe(Maestro.optional("cache"))
      const run = yield* launch(cache)
      const context = yield* run.started
      const found = yield* Effect.provideContext(Maestro.option(cacheTag), context)
      assert.deepStrictEqual(found, Option.some({ name: "cache" }))
    })
  )

  for (const behaviour of [{ failures: 9 }, { failures: 9, defect: true }, { failures: 9, dieOnStop: true }]) {
    it.effect(`is none for the whole run after ${JSON.stringify(behaviour)}`, () =>
      Effect.gen(function* () {
        const log = new Log()
        const seen: Array<unknown> = []
        const cache = probe(log, "cache", behaviour).pipe(Maestro.optional("cache"))
        const reader = (name: string, delay: number) =>
          Layer.effectDiscard(
            Effect.gen(function* () {
              yield* Effect.sleep(delay)
              seen.push(yield* Maestro.option(cacheTag))
            })
          ).pipe(Layer.provide(cache), Maestro.service(name))
        const app = Layer.mergeAll(reader("a", 1), reader("b", 10))
        const run = yield* launch(app)
        yield* TestClock.adjust(100)
        yield* run.started
        assert.deepStrictEqual(seen, [Option.none(), Option.none()])
        assert.strictEqual(log.count("cache open"), 1)
        assert.strictEqual(stateOf(yield* run.maestro.states, "cache"), "failed")
        yield* run.close
      })
    )
  }

  it.effect("takes the failures of what it depends on with it", () =>
    Effect.gen(function* () {
      const log = new Log()
      const memcached = probe(log, "memcached", { failures: 9 }).pipe(Maestro.service("memcached"))
      const cache = probe(log, "cache").pipe(Layer.provide(memcached), Maestro.optional("cache"))
      const api = probe(log, "api").pipe(Layer.provide(cache), Maestro.service("api"))
      const run = yield* launch(api)
      yield* run.started
      assert.include(run.events, "0 cache Failed by memcached")
      assert.include(run.events, "0 api Ready")
    })
  )

  it.effect("keeps up what it depended on, so that nothing starts twice", () =>
    Effect.gen(function* () {
      const log = new Log()
      const base = probe(log, "base").pipe(Maestro.service("base"))
      const cache = probe(log, "cache", { failures: 9 }).pipe(Layer.provide(base), Maestro.optional("cache"))
      const slow = probe(log, "slow", { start: 50 }).pipe(Maestro.service("slow"))
      const api = probe(log, "api").pipe(Layer.provide(base), Layer.provide(slow), Maestro.service("api"))
      const run = yield* launch(Layer.mergeAll(cache, api))
      yield* TestClock.adjust(100)
      yield* run.started
      assert.strictEqual(log.count("base open"), 1)
      yield* run.close
      assert.isTrue(log.isBalanced())
    })
  )

  it.effect("lets an interruption pass", () =>
    Effect.gen(function* () {
      const cache = Layer.effect(cacheTag, Effect.interrupt).pipe(Maestro.optional("cache"))
      const run = yield* launch(cache)
      const error = startFailed(yield* Effect.exit(run.started))
      assert.isTrue(Cause.hasInterruptsOnly(error.cause))
    })
  )

  it.effect("does not hide two layers under one name", () =>
    Effect.gen(function* () {
      const make = () => probe(new Log(), "cache", { start: 5 }).pipe(Maestro.optional("cache"))
      const run = yield* launch(Layer.mergeAll(make(), make()))
      const error = startFailed(yield* Effect.exit(run.started))
      assert.match(error.message, /Two different layers are named cache/)
    })
  )
})

describe("a start that fails", () => {
  it.effect("releases everything in order and reports every service", () =>
    Effect.gen(function* () {
      const log = new Log()
      const db = probe(log, "db", { start: 10, stop: 5 }).pipe(Maestro.service("db"))
      const bad = probe(log, "bad", { start: 20, failures: 9 }).pipe(Maestro.service("bad"))
      const api = probe(log, "api", { start: 30 }).pipe(Layer.provide([db, bad]), Maestro.service("api"))
      const other = probe(log, "other", { start: 300, stop: 5 }).pipe(Layer.provide(db), Maestro.service("other"))
      const run = yield* launch(Layer.mergeAll(api, other))
      yield* TestClock.adjust(1_000)
      const error = startFailed(yield* Effect.exit(run.started))
      assert.deepStrictEqual(
        error.services.map(({ attempts, name, state }) => [name, state, attempts]),
        [
          ["api", "failed", 0],
          ["db", "stopped", 1],
          ["bad", "failed", 1],
          ["other", "stopped", 1]
        ]
      )
      assert.deepStrictEqual(error.neverAttempted, ["api"])
      assert.isTrue(log.isBalanced())
      assert.isBelow(log.lines.indexOf("25 other closed"), log.lines.indexOf("25 db closing"))
    })
  )

  it.effect("refuses two layers under one name", () =>
    Effect.gen(function* () {
      const log = new Log()
      const make = () => probe(log, "db", { start: 5 }).pipe(Maestro.service("db"))
      const run = yield* launch(Layer.mergeAll(make(), make()))
      const error = startFailed(yield* Effect.exit(run.started))
      assert.instanceOf(Cause.squash(error.cause), Maestro.DuplicateService)
      assert.isTrue(log.isBalanced())
    })
  )

  it.effect("names the services that wait for one another", () =>
    Effect.gen(function* () {
      const log = new Log()
      const a: Layer.Layer<never, unknown> = probe(log, "a").pipe(
        Layer.provide(Layer.suspend(() => c)),
        Maestro.service("a")
      )
      const b = probe(log, "b").pipe(Layer.provide(a), Maestro.service("b"))
      const c = probe(log, "c").pipe(Layer.provide(b), Maestro.service("c"))
      const slow = probe(log, "slow", { start: 100 }).pipe(Maestro.service("slow"))
      const run = yield* launch(Layer.mergeAll(c, slow))
      yield* TestClock.adjust(100)
      const error = startFailed(yield* Effect.exit(run.started))
      assert.match(error.message, /c -> b -> a -> c/)
    })
  )

  it.effect("is stopped by an interruption, each service once", () =>
    Effect.gen(function* () {
      const log = new Log()
      const db = probe(log, "db", { start: 10 }).pipe(Maestro.service("db"))
      const api = probe(log, "api", { start: 30 }).pipe(Layer.provide(db), Maestro.service("api"))
      const web = probe(log, "web", { start: 30 }).pipe(Layer.provide(api), Maestro.service("web"))
      const run = yield* launch(web)
      yield* TestClock.adjust(20)
      yield* Fiber.interrupt(run.fiber)
      assert.deepStrictEqual(
        (yield* run.maestro.states).map(({ attempts, name, state }) => [name, state, attempts]),
        [
          ["web", "stopped", 0],
          ["api", "stopped", 1],
          ["db", "stopped", 1]
        ]
      )
      assert.isTrue(log.isBalanced())
      assert.strictEqual(log.count("db closed"), 1)
    })
  )

  it.effect("outlives whoever asked first, as long as another waits", () =>
    Effect.gen(function* () {
      const log = new Log()
      const db = probe(log, "db", { start: 100 }).pipe(Maestro.service("db"))
      const hasty = Layer.effectDiscard(Effect.void).pipe(Layer.provide(db))
      const impatient = Layer.fromBuild((memoMap, scope) =>
        Effect.as(Effect.timeoutOption(Layer.buildWithMemoMap(hasty, memoMap, scope), 10), Context.empty())
      )
      const api = probe(log, "api").pipe(Layer.provide(db), Maestro.service("api"))
      const run = yield* launch(Layer.mergeAll(impatient, api))
      yield* TestClock.adjust(1_000)
      yield* run.started
      assert.strictEqual(log.count("db open"), 1)
      assert.include(log.lines, "100 db up")
    })
  )
})

describe("stop", () => {
  it.effect("ends clean, failed or abandoned, and none of these keeps a dependency up", () =>
    Effect.gen(function* () {
      const log = new Log()
      const db = probe(log, "db").pipe(Maestro.service("db"))
      const clean = probe(log, "clean").pipe(Layer.provide(db), Maestro.service("clean"))
      const dying = probe(log, "dying", { dieOnStop: true }).pipe(Layer.provide(db), Maestro.service("dying"))
      const hanging = probe(log, "hanging", { stop: "1 hour", stopUninterruptible: true }).pipe(
        Layer.provide(db),
        Maestro.service("hanging", { stopTimeout: 50 })
      )
      const run = yield* launch(Layer.mergeAll(clean, dying, hanging))
      yield* run.started
      yield* Effect.forkChild(run.close)
      yield* TestClock.adjust(50)
      assert.deepStrictEqual(run.eventsOf("clean").slice(-1), ["0 Stopped"])
      assert.deepStrictEqual(run.eventsOf("dying").slice(-1), ["0 Stopped failed"])
      assert.deepStrictEqual(run.eventsOf("hanging").slice(-1), ["50 Abandoned"])
      assert.deepStrictEqual(run.eventsOf("db").slice(-1), ["50 Stopped"])
      assert.strictEqual(yield* run.maestro.phase, "stopped")
    })
  )

  it.effect("splits the whole budget along the heaviest way down", () =>
    Effect.gen(function* () {
      const log = new Log()
      const hang = { stop: "1 hour", stopUninterruptible: true } as const
      const policy = { stopTimeout: "10 seconds" } as const
      const base = probe(log, "base", hang).pipe(Maestro.service("base", policy))
      const light = probe(log, "light", hang).pipe(
        Layer.provide(base),
        Maestro.service("light", { stopTimeout: 1_000 })
      )
      const heavy = probe(log, "heavy", hang).pipe(Layer.provide(base), Maestro.service("heavy", policy))
      const top = probe(log, "top", hang).pipe(Layer.provide([light, heavy]), Maestro.service("top", policy))
      const run = yield* launch(top, { stopTimeout: "15 seconds" })
      yield* run.started
      yield* Effect.forkChild(run.close)
      yield* TestClock.adjust("15 seconds")
      assert.deepStrictEqual(
        run.events.filter((event) => /Stopping|Abandoned/.test(event)),
        [
          "0 top Stopping 5000",
          "5000 top Abandoned",
          "5000 light Stopping 909",
          "5000 heavy Stopping 5000",
          "5909 light Abandoned",
          "10000 heavy Abandoned",
          "10000 base Stopping 5000",
          "15000 base Abandoned"
        ]
      )
      assert.strictEqual(yield* run.maestro.phase, "stopped")
    })
  )

  it.effect("bounds what is composed outside all services by the whole budget", () =>
    Effect.gen(function* () {
      const log = new Log()
      const db = probe(log, "db").pipe(Maestro.service("db"))
      const root = probe(log, "root", { stop: "1 hour", stopUninterruptible: true }).pipe(Layer.provide(db))
      const run = yield* launch(root, { stopTimeout: "3 seconds" })
      yield* run.started
      const closing = yield* Effect.forkChild(run.close)
      yield* TestClock.adjust("3 seconds")
      yield* Fiber.join(closing)
      assert.deepStrictEqual(run.eventsOf("db").slice(-1), ["3000 Stopped"])
    })
  )

  it.effect("bounds an acquisition that it has to wait for", () =>
    Effect.gen(function* () {
      const log = new Log()
      const db = probe(log, "db", { start: "1 hour", uninterruptible: true }).pipe(
        Maestro.service("db", { stopTimeout: 100 })
      )
      const run = yield* launch(db)
      yield* Effect.forkChild(run.close)
      yield* TestClock.adjust(100)
      assert.include(run.events, "100 db Abandoned")
      yield* TestClock.adjust("1 hour")
      assert.isTrue(log.isBalanced())
    })
  )

  it.effect("of a run is shared by all who ask for it", () =>
    Effect.gen(function* () {
      const log = new Log()
      const db = probe(log, "db", { stop: 10 }).pipe(Maestro.service("db"))
      const run = yield* launch(db)
      yield* run.started
      const first = yield* Effect.forkChild(run.maestro.stop, { startImmediately: true })
      const second = yield* Effect.forkChild(run.maestro.stop, { startImmediately: true })
      yield* TestClock.adjust(10)
      yield* Fiber.join(first)
      yield* Fiber.join(second)
      yield* run.close
      assert.strictEqual(log.count("db closed"), 1)
    })
  )

  it.effect("stops a start that is under way", () =>
    Effect.gen(function* () {
      const log = new Log()
      const db = probe(log, "db", { start: 100 }).pipe(Maestro.service("db"))
      const run = yield* launch(db)
      yield* run.maestro.stop
      startFailed(yield* Effect.exit(run.started))
      assert.isTrue(log.isBalanced())
    })
  )

  it.effect("may be asked for by a service", () =>
    Effect.gen(function* () {
      const log = new Log()
      const worker = Layer.effectDiscard(
        Effect.gen(function* () {
          const maestro = yield* Maestro.Maestro
          yield* Effect.forkScoped(Effect.andThen(Effect.sleep(10), maestro.stop))
        })
      ).pipe(Maestro.service("worker"))
      const db = probe(log, "db").pipe(Maestro.service("db"))
      const run = yield* launch(Layer.mergeAll(worker, db))
      yield* run.started
      yield* TestClock.adjust(10)
      yield* run.maestro.ended
      assert.isTrue(log.isBalanced())
    })
  )
})

describe("the handle", () => {
  it.effect("replays the present to a late subscriber, and ends with the run", () =>
    Effect.gen(function* () {
      const log = new Log()
      const db = probe(log, "db").pipe(Maestro.service("db"))
      const slow = probe(log, "slow", { start: 50 }).pipe(Layer.provide(db), Maestro.service("slow"))
      const run = yield* launch(slow)
      yield* TestClock.adjust(10)
      const late = yield* Effect.forkChild(Stream.runCollect(run.maestro.events), { startImmediately: true })
      yield* TestClock.adjust(100)
      yield* run.started
      yield* run.close
      const events = (yield* Fiber.join(late)).map(({ happening, service }) => `${service} ${happening._tag}`)
      assert.deepStrictEqual(events, [
        "slow Starting",
        "db Ready",
        "slow Ready",
        "slow Stopping",
        "slow Stopped",
        "db Stopping",
        "db Stopped"
      ])
    })
  )

  it.effect("waits for one service", () =>
    Effect.gen(function* () {
      const log = new Log()
      const fast = probe(log, "fast", { start: 10 }).pipe(Maestro.service("fast"))
      const bad = probe(log, "bad", { start: 30, failures: 9 }).pipe(Maestro.optional("bad"))
      const slow = probe(log, "slow", { start: 100 }).pipe(Maestro.service("slow"))
      const run = yield* launch(Layer.mergeAll(fast, bad, slow))
      const ready = (name: string) => Effect.forkChild(Effect.exit(run.maestro.ready(name)), { startImmediately: true })
      const waits = { fast: yield* ready("fast"), bad: yield* ready("bad"), nobody: yield* ready("nobody") }
      yield* TestClock.adjust(10)
      assert.isTrue(Exit.isSuccess(yield* Fiber.join(waits.fast)))
      yield* TestClock.adjust(20)
      const bad_ = yield* Fiber.join(waits.bad)
      assert.match(String(bad_), /bad fails/)
      assert.isUndefined(waits.nobody.pollUnsafe())
      yield* TestClock.adjust(70)
      assert.match(String(yield* Fiber.join(waits.nobody)), /Known services: fast, bad, slow/)
    })
  )

  it.effect("shows a service's own report of itself", () =>
    Effect.gen(function* () {
      const inner = yield* Deferred.make<void>()
      const db = Layer.effectDiscard(
        Effect.gen(function* () {
          yield* Maestro.degraded("replica only")
          yield* Effect.forkScoped(Effect.andThen(Deferred.await(inner), Maestro.recovered))
        })
      ).pipe(Maestro.service("db"))
      const run = yield* launch(db)
      yield* run.started
      assert.deepStrictEqual(
        (yield* run.maestro.states).map(({ reason, state }) => [state, reason]),
        [["degraded", "replica only"]]
      )
      yield* run.maestro.ready("db")
      yield* Deferred.succeed(inner, undefined)
      yield* Effect.yieldNow
      assert.strictEqual(stateOf(yield* run.maestro.states, "db"), "ready")
    })
  )

  it.effect("gives the checks of what is up, each with its deadline", () =>
    Effect.gen(function* () {
      const dbTag = tag("db")
      const asked = yield* Ref.make<ReadonlyArray<string>>([])
      const db = probe(new Log(), "db").pipe(
        Maestro.service("db", {
          health: Effect.flatMap(dbTag, ({ name }) => Ref.update(asked, (names) => [...names, name]))
        })
      )
      const stuck = probe(new Log(), "stuck").pipe(
        Maestro.service("stuck", { health: Effect.never, healthTimeout: 20 })
      )
      const run = yield* launch(Layer.mergeAll(db, stuck))
      assert.isEmpty(yield* run.maestro.checks)
      yield* run.started
      const [first, second] = yield* run.maestro.checks
      if (first === undefined || second === undefined) return assert.fail("two services have a check")
      yield* first.check
      assert.deepStrictEqual(yield* Ref.get(asked), ["db"])
      const checking = yield* Effect.forkChild(Effect.exit(second.check), { startImmediately: true })
      yield* TestClock.adjust(20)
      assert.isTrue(Exit.isFailure(yield* Fiber.join(checking)))
    })
  )

  it.effect("ends as failed with the cause that it was given", () =>
    Effect.gen(function* () {
      const log = new Log()
      const db = probe(log, "db").pipe(Maestro.service("db"))
      const worker = Layer.effectDiscard(
        Effect.forkScoped(Effect.andThen(Effect.sleep(10), Maestro.fail(Cause.fail("the worker died"))))
      ).pipe(Layer.provide(db), Maestro.service("worker"))
      const run = yield* launch(worker)
      yield* run.started
      yield* TestClock.adjust(10)
      assert.strictEqual(yield* Effect.flip(run.maestro.ended), "the worker died")
      assert.isTrue(log.isBalanced())
    })
  )

  it.effect("follows the phases", () =>
    Effect.gen(function* () {
      const db = probe(new Log(), "db", { start: 5, stop: 5 }).pipe(Maestro.service("db"))
      const run = yield* launch(db)
      const phases = yield* Effect.forkChild(Stream.runCollect(run.maestro.phases), { startImmediately: true })
      yield* TestClock.adjust(5)
      yield* run.started
      yield* Effect.forkChild(run.close)
      yield* TestClock.adjust(5)
      assert.deepStrictEqual(yield* Fiber.join(phases), ["starting", "running", "stopping", "stopped"])
    })
  )
})

describe("a program", () => {
  it.effect("is started once for all who start it, and can start again", () =>
    Effect.gen(function* () {
      const log = new Log()
      const db = probe(log, "db", { start: 10, stop: 10 }).pipe(Maestro.service("db"))
      const program = yield* Maestro.make(db)
      const starts = Effect.forEach(Array.from({ length: 50 }), () => program.start, { concurrency: "unbounded" })
      for (let round = 1; round <= 3; round++) {
        const starting = yield* Effect.forkChild(starts, { startImmediately: true })
        yield* TestClock.adjust(10)
        const contexts = yield* Fiber.join(starting)
        assert.strictEqual(new Set(contexts).size, 1)
        const stopping = yield* Effect.forkChild(
          Effect.forEach(Array.from({ length: 50 }), () => program.stop, { concurrency: "unbounded" }),
          { startImmediately: true }
        )
        yield* TestClock.adjust(10)
        yield* Fiber.join(stopping)
        assert.strictEqual(log.count("db open"), round)
        assert.strictEqual(log.count("db closed"), round)
      }
    })
  )

  it.effect("starts again after a start that failed", () =>
    Effect.gen(function* () {
      const log = new Log()
      const db = probe(log, "db", { failures: 1 }).pipe(Maestro.service("db"))
      const program = yield* Maestro.make(db)
      startFailed(yield* Effect.exit(program.start))
      yield* program.start
      yield* program.stop
      assert.isTrue(log.isBalanced())
    })
  )

  it.effect("gives a start up with the last who waits for it", () =>
    Effect.gen(function* () {
      const log = new Log()
      const db = probe(log, "db", { start: 100 }).pipe(Maestro.service("db"))
      const program = yield* Maestro.make(db)
      const first = yield* Effect.forkChild(program.start, { startImmediately: true })
      const second = yield* Effect.forkChild(program.start, { startImmediately: true })
      yield* Fiber.interrupt(first)
      assert.strictEqual(log.count("db closed"), 0)
      yield* Fiber.interrupt(second)
      assert.isTrue(log.isBalanced())
      assert.strictEqual(log.count("db closed"), 1)
    })
  )

  it.effect("started while it stops, starts afterwards", () =>
    Effect.gen(function* () {
      const log = new Log()
      const db = probe(log, "db", { stop: 10 }).pipe(Maestro.service("db"))
      const program = yield* Maestro.make(db)
      yield* program.start
      yield* Effect.forkChild(program.stop, { startImmediately: true })
      const starting = yield* Effect.forkChild(program.start, { startImmediately: true })
      yield* TestClock.adjust(10)
      yield* Fiber.join(starting)
      assert.deepStrictEqual(log.names(), ["db open", "db up", "db closing", "db closed", "db open", "db up"])
      yield* Effect.forkChild(program.stop)
      yield* TestClock.adjust(10)
      assert.isTrue(log.isBalanced())
    })
  )
})

describe("without a Maestro", () => {
  it.effect("a service is its layer, with retries and bounds", () =>
    Effect.gen(function* () {
      const log = new Log()
      const db = probe(log, "db", { start: 10, failures: 1 }).pipe(
        Maestro.service("db", { startTimeout: 50, retry: Schedule.spaced(10) })
      )
      const cache = probe(log, "cache", { failures: 9 }).pipe(Layer.provide(db), Maestro.optional("cache"))
      const api = probe(log, "api").pipe(Layer.provide([db, cache]), Maestro.service("api", { stopTimeout: 100 }))
      const scope = yield* Scope.make()
      const building = yield* Effect.forkChild(Layer.buildWithScope(Layer.mergeAll(api, db), scope), {
        startImmediately: true
      })
      yield* TestClock.adjust(100)
      yield* Fiber.join(building)
      assert.strictEqual(log.count("db open"), 2)
      yield* Scope.close(scope, Exit.void)
      assert.isTrue(log.isBalanced())
      assert.deepStrictEqual(log.names().slice(-4), ["api closing", "api closed", "db closing", "db closed"])
    })
  )

  it.effect("reports to nobody", () => Effect.andThen(Maestro.degraded("alone"), Maestro.recovered))
})
