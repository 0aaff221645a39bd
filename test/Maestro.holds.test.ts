import { assert, describe, it } from "@effect/vitest"
import { Cause, Context, Effect, Exit, Layer, Option, Schedule, Scope } from "effect"
import { Maestro } from "effect-ensemble"
import { TestClock } from "effect/testing"
import { launch, Log, merge, probe, tag } from "./maestro/kit.ts"

/** Builds a layer in a scope of its own, from one moment to another. What it fails with is nobody's concern. */
const between = (from: number, to: number, layer: Layer.Layer<never, unknown>) =>
  Layer.fromBuild((memoMap, scope) =>
    Effect.gen(function* () {
      yield* Effect.sleep(from)
      const own = yield* Scope.fork(scope)
      yield* Effect.forkIn(Effect.andThen(Effect.sleep(to - from), Scope.close(own, Exit.void)), scope)
      yield* Effect.timeoutOption(Effect.exit(Layer.buildWithMemoMap(layer, memoMap, own)), to - from)
      return Context.empty()
    })
  )

/** What the program uses without a name of its own: it is not shared, so each asks for itself. */
const anonymous = (layer: Layer.Layer<never, unknown>) => Layer.effectDiscard(Effect.void).pipe(Layer.provide(layer))

describe("a service is up", () => {
  it.effect("as long as one of the scopes that asked for it is open", () =>
    Effect.gen(function* () {
      const log = new Log()
      const db = probe(log, "db").pipe(Maestro.service("db"))
      const run = yield* launch(Layer.mergeAll(between(0, 10, anonymous(db)), between(0, 30, anonymous(db))))
      yield* TestClock.adjust(29)
      yield* run.started
      assert.strictEqual(log.count("db closed"), 0)
      yield* TestClock.adjust(1)
      assert.include(log.lines, "30 db closed")
      yield* run.close
      assert.isTrue(log.isBalanced())
    })
  )

  it.effect("and started anew when somebody asks for it after that", () =>
    Effect.gen(function* () {
      const log = new Log()
      const db = probe(log, "db", { stop: 10 }).pipe(Maestro.service("db"))
      const app = Layer.mergeAll(
        between(0, 10, anonymous(db)),
        // While it stops: it has to wait for that.
        between(15, 30, anonymous(db)),
        between(50, 60, anonymous(db))
      )
      const run = yield* launch(app)
      yield* TestClock.adjust(100)
      yield* run.started
      assert.deepStrictEqual(
        log.lines.filter((line) => /open|closed/.test(line)),
        ["0 db open", "20 db closed", "20 db open", "40 db closed", "50 db open", "70 db closed"]
      )
      yield* run.close
    })
  )

  it.effect("for no scope that is closed already", () =>
    Effect.gen(function* () {
      const log = new Log()
      const db = probe(log, "db").pipe(Maestro.service("db"))
      const late = Layer.fromBuild((memoMap) =>
        Effect.gen(function* () {
          const own = yield* Scope.make()
          yield* Scope.close(own, Exit.void)
          const exit = yield* Effect.exit(Layer.buildWithMemoMap(anonymous(db), memoMap, own))
          assert.isTrue(Exit.isFailure(exit) && Cause.hasInterruptsOnly(exit.cause))
          return Context.empty()
        })
      )
      const run = yield* launch(late)
      yield* run.started
      assert.isEmpty(yield* run.maestro.states)
      yield* run.close
      assert.isEmpty(log.lines)
    })
  )

  it.effect("across the attempts of the only one who depends on it", () =>
    Effect.gen(function* () {
      const log = new Log()
      const db = probe(log, "db", { start: 10 }).pipe(Maestro.service("db"))
      const api = probe(log, "api", { start: 5, failures: 2 }).pipe(
        Layer.provide(db),
        Maestro.service("api", { retry: Schedule.spaced(100), startTimeout: 50 })
      )
      const run = yield* launch(api)
      yield* TestClock.adjust(1_000)
      yield* run.started
      assert.strictEqual(log.count("api open"), 3)
      assert.deepStrictEqual(run.eventsOf("db"), ["0 Waiting", "0 Starting 1", "10 Ready"])
      yield* run.close
    })
  )

  it.effect("no longer than its users, when the one who met it was already given up", () =>
    Effect.gen(function* () {
      const log = new Log()
      const late = probe(log, "late").pipe(Maestro.service("late"))
      const slow = Layer.fromBuild((memoMap, scope) =>
        Effect.uninterruptible(Effect.andThen(Effect.sleep(50), Layer.buildWithMemoMap(late, memoMap, scope)))
      )
      const api = probe(log, "api").pipe(Layer.provide(slow), Maestro.service("api", { stopTimeout: 20 }))
      const run = yield* launch(between(0, 10, anonymous(api)))
      yield* TestClock.adjust(100)
      yield* run.started
      assert.deepStrictEqual(run.eventsOf("api").slice(-2), ["10 Stopping 20", "30 Abandoned"])
      assert.deepStrictEqual(
        log.lines.filter((line) => line.includes("late")),
        ["50 late open", "50 late up", "50 late closing", "50 late closed"]
      )
      yield* run.close
    })
  )
})

describe("what has failed", () => {
  it.effect("stays failed for the run, also when nobody holds it any more", () =>
    Effect.gen(function* () {
      const log = new Log()
      const base = probe(log, "base").pipe(Maestro.service("base"))
      const db = probe(log, "db", { start: 5, failures: 1 }).pipe(Layer.provide(base), Maestro.service("db"))
      const user = probe(log, "user").pipe(Layer.provide(db), Maestro.optional("user"))
      const run = yield* launch(Layer.mergeAll(between(0, 10, anonymous(db)), between(50, 100, user)))
      yield* TestClock.adjust(100)
      yield* run.started
      assert.deepStrictEqual(run.eventsOf("db"), ["0 Waiting", "0 Starting 1", "5 Failed"])
      assert.include(run.events, "50 user Failed by db")
      assert.strictEqual(log.count("db open"), 1)
      assert.strictEqual(log.count("base open"), 1)
      yield* run.close
      assert.isTrue(log.isBalanced())
    })
  )

  it.effect("and was given to by an attempt is tried again with the next attempt", () =>
    Effect.gen(function* () {
      const log = new Log()
      const settings = probe(log, "settings")
      const db = probe(log, "db", { failures: 1 }).pipe(Maestro.service("db"), Layer.provide(settings))
      const spare = db.pipe(Layer.catchCause(() => Layer.succeed(tag("db"), { name: "spare" })))
      const api = probe(log, "api", { failures: 1 }).pipe(
        Layer.provide(spare),
        Maestro.service("api", { retry: Schedule.recurs(1) })
      )
      const run = yield* launch(api)
      yield* run.started
      assert.strictEqual(log.count("db open"), 2)
      assert.strictEqual(log.count("db up"), 1)
      yield* run.close
      assert.isTrue(log.isBalanced())
    })
  )
})

describe("of an optional base", () => {
  it.effect("a failure fails nobody, and every reader sees the same", () =>
    Effect.gen(function* () {
      const log = new Log()
      const cache = probe(log, "cache", { start: 10, failures: 9 }).pipe(Maestro.optional("cache"))
      const seen: Array<string> = []
      const reader = (name: string, delay: number) =>
        Layer.effectDiscard(
          Effect.gen(function* () {
            yield* Effect.sleep(delay)
            const found = yield* Maestro.option(tag("cache"))
            seen.push(`${name} ${Option.isSome(found) ? "some" : "none"}`)
          })
        ).pipe(Layer.provide(cache), Maestro.service(name))
      const readers = Array.from({ length: 5 }, (_, index) => reader(`r${index}`, index))
      const run = yield* launch(merge(readers))
      yield* TestClock.adjust(100)
      yield* run.started
      assert.deepStrictEqual(seen, ["r0 none", "r1 none", "r2 none", "r3 none", "r4 none"])
      assert.strictEqual(log.count("cache open"), 1)
      assert.strictEqual(run.eventsOf("cache").at(-1), "10 Failed")
      yield* run.close
    })
  )
})
