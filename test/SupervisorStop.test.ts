import { assert, describe, it } from "@effect/vitest"
import { Cause, Data, Deferred, Effect, Exit, Fiber, Metric, References, Schedule, Scope } from "effect"
import { Supervisor } from "effect-ensemble"
import { TestClock } from "effect/testing"

class Broken extends Data.TaggedError("Broken")<{}> {}

const settle = Effect.repeat(Effect.yieldNow, { times: 20 })
const advance = (millis: number) =>
  settle.pipe(Effect.andThen(TestClock.adjust(millis)), Effect.andThen(settle), Effect.asVoid)

/** Takes its time to stop, in one of the ways in which it can. */
const slow = (
  name: string,
  millis: number,
  options: { readonly stopTimeout?: number; readonly how?: "release" | "uninterruptible" } = {}
) =>
  Supervisor.worker(name, {
    run:
      options.how === "uninterruptible"
        ? Effect.uninterruptible(Effect.sleep(millis))
        : Effect.onInterrupt(Effect.never, () => Effect.sleep(millis)),
    stopTimeout: options.stopTimeout
  })

const outcomes = (report: Supervisor.StopReport) =>
  report.workers.map(({ millis, name, outcome }) => [name, outcome, Math.round(millis)])

/** Stops by hand and gives the report when time has passed. */
const stopped = <E>(supervisor: Supervisor.Supervisor<E>, millis: number) =>
  Effect.gen(function* () {
    const fiber = yield* Effect.forkChild(supervisor.stop)
    yield* advance(millis)
    const exit = fiber.pollUnsafe()
    assert.isDefined(exit, `the stop has not ended after ${millis} ms`)
    return yield* exit
  })

describe("a graceful stop", () => {
  it.effect("waits for all, at once, and says how each obeyed", () =>
    Effect.gen(function* () {
      const dying = Supervisor.worker("dying", { run: Effect.onInterrupt(Effect.never, () => Effect.die("clean-up")) })
      const supervisor = yield* Supervisor.make([slow("a", 300), dying, slow("b", 200)])
      yield* settle
      const report = yield* stopped(supervisor, 300)
      assert.deepStrictEqual(outcomes(report), [
        ["a", "clean", 300],
        ["dying", "failed", 0],
        ["b", "clean", 200]
      ])
      assert.isTrue(report.complete)
      assert.isTrue(report.workers[1]?.cause !== undefined && Cause.hasDies(report.workers[1].cause))
    })
  )

  for (const how of ["release", "uninterruptible"] as const) {
    it.effect(`gives up on a worker after its own bound (${how})`, () =>
      Effect.gen(function* () {
        const supervisor = yield* Supervisor.make([slow("a", 60_000, { how, stopTimeout: 1_000 }), slow("b", 2_000)])
        yield* settle
        const fiber = yield* Effect.forkChild(supervisor.stop)
        yield* advance(999)
        const states = Effect.map(supervisor.statuses, (all) => all.map(({ state }) => state._tag))
        assert.deepStrictEqual(yield* states, ["Stopping", "Stopping"])
        yield* advance(1)
        assert.deepStrictEqual(yield* states, ["Abandoned", "Stopping"])
        yield* advance(1_000)
        const report = yield* Fiber.join(fiber)
        assert.deepStrictEqual(outcomes(report), [
          ["a", "abandoned", 1_000],
          ["b", "clean", 2_000]
        ])
        assert.isFalse(report.complete)
        // What it becomes when it ends late is the truth, too.
        yield* advance(60_000)
        assert.deepStrictEqual(yield* states, ["Stopped", "Stopped"])
      })
    )
  }

  it.effect("takes 45 seconds at the most, for each and for all", () =>
    Effect.gen(function* () {
      const supervisor = yield* Supervisor.make([slow("a", 90_000), slow("b", 90_000)])
      yield* settle
      const fiber = yield* Effect.forkChild(supervisor.stop)
      yield* advance(44_999)
      assert.isUndefined(fiber.pollUnsafe())
      yield* advance(1)
      assert.deepStrictEqual(outcomes(yield* Fiber.join(fiber)), [
        ["a", "abandoned", 45_000],
        ["b", "abandoned", 45_000]
      ])
      yield* advance(60_000)
    })
  )

  it.effect("is bounded in total, whatever the workers may take, and counts what was already stopping", () =>
    Effect.gen(function* () {
      const supervisor = yield* Supervisor.make([slow("a", 90_000), slow("b", 90_000)], { stopTimeout: "2 seconds" })
      yield* settle
      yield* Effect.forkChild(supervisor.disable("a"), { startImmediately: true })
      yield* advance(1_000)
      assert.deepStrictEqual(outcomes(yield* stopped(supervisor, 2_000)), [
        ["a", "abandoned", 3_000],
        ["b", "abandoned", 2_000]
      ])
      yield* advance(90_000)
    })
  )

  it.effect("one after another divides what is left of the total by what each may take", () =>
    Effect.gen(function* () {
      const supervisor = yield* Supervisor.make(
        [
          slow("a", 100, { stopTimeout: 10_000 }),
          slow("b", 60_000, { stopTimeout: 10_000 }),
          slow("c", 60_000, { stopTimeout: 20_000 })
        ],
        { strategy: "restForOne", stopTimeout: "8 seconds" }
      )
      yield* settle
      const report = yield* stopped(supervisor, 6_100)
      // c may take 20 of 40 parts of 8 seconds; b 10 of 20 of the 4 that are left; a has 2 and needs 0.1.
      assert.deepStrictEqual(outcomes(report), [
        ["a", "clean", 100],
        ["b", "abandoned", 2_000],
        ["c", "abandoned", 4_000]
      ])
      yield* advance(60_000)
    })
  )

  it.effect("one after another waits for those after it, also where each is disabled by itself", () =>
    Effect.gen(function* () {
      const told: Array<string> = []
      const worker = (name: string) =>
        Supervisor.worker(name, {
          run: Effect.onInterrupt(Effect.never, () =>
            Effect.andThen(
              Effect.sync(() => told.push(name)),
              Effect.sleep(100)
            )
          )
        })
      const supervisor = yield* Supervisor.make(["a", "b", "c", "d"].map(worker), { strategy: "restForOne" })
      yield* settle
      for (const name of ["c", "a", "d"]) yield* Effect.forkChild(supervisor.disable(name), { startImmediately: true })
      const seen: Array<string> = []
      for (let round = 0; round < 4; round++) {
        seen.push(told.splice(0).join())
        yield* advance(100)
      }
      // c was told before d was to stop; a has to wait for both.
      assert.deepStrictEqual(seen, ["c,d", "a", "", ""])
      assert.deepStrictEqual(
        (yield* supervisor.statuses).map(({ state }) => state._tag),
        ["Disabled", "Running", "Disabled", "Disabled"]
      )
      yield* stopped(supervisor, 100)
    })
  )

  it.effect("one after another leaves no time to one that has ended before its turn", () =>
    Effect.gen(function* () {
      const brief = Supervisor.worker("brief", { run: Effect.sleep(50), restart: "never" })
      const supervisor = yield* Supervisor.make([brief, slow("b", 60_000, { stopTimeout: 10_000 }), slow("c", 100)], {
        strategy: "restForOne",
        stopTimeout: "8 seconds"
      })
      yield* settle
      yield* Effect.forkChild(supervisor.disable("c"), { startImmediately: true })
      yield* Effect.forkChild(supervisor.disable("brief"), { startImmediately: true })
      yield* advance(100)
      assert.deepStrictEqual(outcomes(yield* stopped(supervisor, 8_000)), [["b", "abandoned", 8_000]])
      yield* advance(60_000)
    })
  )

  it.effect("is one for all who ask, and leaves no fiber", () =>
    Effect.gen(function* () {
      let alive = 0
      const counting: Metric.FiberRuntimeMetricsService = {
        recordFiberStart: () => void alive++,
        recordFiberEnd: () => void alive--
      }
      yield* Effect.gen(function* () {
        const supervisor = yield* Supervisor.make([slow("a", 100), slow("b", 200)])
        yield* settle
        const callers = yield* Effect.all(Array.from({ length: 50 }, () => Effect.forkChild(supervisor.stop)))
        yield* advance(200)
        const reports = yield* Effect.all(callers.map((fiber) => Fiber.join(fiber)))
        for (const report of reports) assert.strictEqual(report, reports[0])
        assert.strictEqual(yield* supervisor.stop, reports[0])
      }).pipe(Effect.scoped, Effect.provideService(Metric.FiberRuntimeMetrics, counting))
      yield* advance(0)
      assert.strictEqual(alive, 0)
    })
  )

  it.effect("can be asked for by a worker itself", () =>
    Effect.gen(function* () {
      const self = yield* Deferred.make<Supervisor.Supervisor<never>>()
      const supervisor = yield* Supervisor.make([
        Supervisor.worker("suicidal", {
          run: Effect.flatMap(Deferred.await(self), ({ stop }) => stop),
          restart: "never"
        }),
        slow("b", 100)
      ])
      yield* settle
      yield* Deferred.succeed(self, supervisor)
      yield* advance(100)
      assert.deepStrictEqual(outcomes(yield* supervisor.stop), [
        ["suicidal", "clean", 0],
        ["b", "clean", 100]
      ])
      yield* supervisor.await
    })
  )

  it.effect("ends what waits for its restart, and an init", () =>
    Effect.gen(function* () {
      let runs = 0
      const supervisor = yield* Supervisor.make([
        Supervisor.worker("failing", {
          run: Effect.suspend(() => (runs++, Effect.fail(new Broken()))),
          schedule: Schedule.spaced("1 second")
        })
      ])
      yield* supervisor.add(Supervisor.worker("beginning", { init: Effect.never, run: Effect.never }))
      yield* settle
      const report = yield* stopped(supervisor, 0)
      assert.deepStrictEqual(outcomes(report), [["beginning", "clean", 0]])
      yield* advance(10_000)
      assert.strictEqual(runs, 1)
    })
  )
})

describe("the end of the scope", () => {
  it.effect("stops the workers and waits for them", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const supervisor = yield* Supervisor.make([slow("a", 100)]).pipe(Scope.provide(scope))
      yield* settle
      const closing = yield* Effect.forkChild(Scope.close(scope, Exit.void))
      yield* advance(99)
      assert.isUndefined(closing.pollUnsafe())
      yield* advance(1)
      yield* Fiber.join(closing)
      assert.strictEqual((yield* supervisor.statuses)[0]?.state._tag, "Stopped")
    })
  )

  it.effect("dies when a worker did not stop, naming it", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      yield* Supervisor.make([slow("a", 100), slow("b", 90_000)]).pipe(Scope.provide(scope))
      yield* settle
      const closing = yield* Effect.forkChild(Effect.exit(Scope.close(scope, Exit.void)))
      yield* advance(45_000)
      const exit = yield* Fiber.join(closing)
      assert(Exit.isFailure(exit))
      const defect = Cause.squash(exit.cause)
      assert(defect instanceof Supervisor.StopIncomplete)
      assert.match(defect.message, /Still running after 45000 ms.*: "b"/)
      yield* advance(90_000)
    })
  )

  it.effect("does not die of what the caller of stop was told", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const supervisor = yield* Supervisor.make([slow("b", 90_000)]).pipe(Scope.provide(scope))
      yield* settle
      assert.isFalse((yield* stopped(supervisor, 45_000)).complete)
      yield* Scope.close(scope, Exit.void)
      yield* advance(90_000)
    })
  )

  it.effect("interrupting run stops the workers first", () =>
    Effect.gen(function* () {
      const fiber = yield* Effect.forkChild(Supervisor.run([slow("a", 100), slow("b", 200)]))
      yield* settle
      const interrupting = yield* Effect.forkChild(Fiber.interrupt(fiber))
      yield* advance(199)
      assert.isUndefined(interrupting.pollUnsafe())
      yield* advance(1)
      yield* Fiber.join(interrupting)
      const exit = yield* Fiber.await(fiber)
      assert.isTrue(Exit.isFailure(exit) && Cause.hasInterruptsOnly(exit.cause))
    })
  )

  it.effect("a failure tells who did not stop, and is not hidden by it", () =>
    Effect.gen(function* () {
      const fiber = yield* Effect.forkChild(
        Effect.exit(
          Supervisor.run([
            slow("b", 90_000),
            Supervisor.worker("bad", { run: Effect.delay(Effect.fail(new Broken()), 10), restart: "never" })
          ])
        )
      )
      yield* advance(10)
      yield* advance(45_000)
      const exit = yield* Fiber.join(fiber)
      assert(Exit.isFailure(exit))
      assert.isFalse(Cause.hasDies(exit.cause))
      const error = Cause.squash(exit.cause)
      assert(error instanceof Supervisor.WorkerFailed)
      assert.deepStrictEqual(outcomes(error.stop), [["b", "abandoned", 45_000]])
      assert.match(error.message, /Still running when nobody waited any longer: "b"/)
      yield* advance(90_000)
    })
  )
})

describe("interruption at every point", () => {
  for (const strategy of ["oneForOne", "oneForAll", "restForOne"] as const) {
    it.effect(`of ${strategy}: every init that has begun is released once, and no fiber is left`, () =>
      Effect.gen(function* () {
        let points = 0
        let ended = false
        for (; points < 2_000 && !ended; points++) {
          let alive = 0
          const open = new Map<string, number>()
          const count = (name: string, by: number) => Effect.sync(() => void open.set(name, (open.get(name) ?? 0) + by))
          const counting: Metric.FiberRuntimeMetricsService = {
            recordFiberStart: () => void alive++,
            recordFiberEnd: () => void alive--
          }
          let runs = 0
          const worker = (name: string) =>
            Supervisor.worker(name, {
              init: Effect.acquireRelease(Effect.andThen(Effect.yieldNow, count(name, 1)), () =>
                Effect.andThen(Effect.yieldNow, count(name, -1))
              ),
              run: Effect.suspend(() => (name === "b" && runs++ === 0 ? Effect.fail(new Broken()) : Effect.yieldNow)),
              schedule: Schedule.spaced(0)
            })
          const fiber = yield* Supervisor.run([worker("a"), worker("b"), worker("c")], { strategy }).pipe(
            Effect.andThen(Effect.sync(() => (ended = true))),
            Effect.provideService(References.MaxOpsBeforeYield, 3),
            Effect.provideService(Metric.FiberRuntimeMetrics, counting),
            Effect.forkChild({ startImmediately: true })
          )
          for (let step = 0; step < points; step++) {
            yield* step % 40 === 39 ? TestClock.adjust(10) : Effect.yieldNow
          }
          yield* Fiber.interrupt(fiber)
          yield* advance(50)
          assert.strictEqual(alive, 0, `point ${points}: fibers are left`)
          for (const [name, number] of open) assert.strictEqual(number, 0, `point ${points}: ${name} was not released`)
        }
        assert.isTrue(ended, "the sweep never came to the end")
        assert.isAbove(points, 50)
      })
    )
  }
})
