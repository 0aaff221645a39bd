import { assert, describe, it } from "@effect/vitest"
import { Cause, Context, Data, Deferred, Effect, Exit, Fiber, Layer, Option, Schedule, Stream } from "effect"
import { Health, Supervisor } from "effect-ensemble"
import { TestClock } from "effect/testing"
import * as Maestro from "../src/Maestro.ts"

class Broken extends Data.TaggedError("Broken")<{}> {}

const settle = Effect.repeat(Effect.yieldNow, { times: 40 })
const advance = (millis: number) =>
  settle.pipe(Effect.andThen(TestClock.adjust(millis)), Effect.andThen(settle), Effect.asVoid)

const happenings = (handle: Maestro.Handle) => {
  const seen: Array<string> = []
  return Effect.as(
    handle.events.pipe(
      Stream.runForEach(({ happening, service }) =>
        Effect.sync(() => {
          const reason = happening._tag === "Degraded" ? ` (${happening.reason})` : ""
          seen.push(`${service} ${happening._tag}${reason}`)
        })
      ),
      Effect.forkScoped
    ),
    seen
  )
}

describe("a supervisor in a Maestro's service", () => {
  it.effect("degrades it while a worker waits for its restart, and no longer", () =>
    Effect.gen(function* () {
      let runs = 0
      const Jobs = Supervisor.layer([
        Supervisor.worker("moody", {
          run: Effect.suspend(() => (++runs === 1 ? Effect.delay(Effect.fail(new Broken()), 100) : Effect.never)),
          schedule: Schedule.spaced("1 second")
        }),
        Supervisor.worker("steady", { run: Effect.never })
      ]).pipe(Maestro.service("jobs"))
      const program = yield* Maestro.make(Jobs)
      yield* program.start
      const handle = Option.getOrThrow(yield* program.current)
      const seen = yield* happenings(handle)
      yield* advance(100)
      yield* advance(1_000)
      assert.deepStrictEqual(seen.slice(1), [
        'jobs Degraded (the worker "moody" waits for its restart)',
        "jobs Recovered"
      ])
      yield* program.stop
    })
  )

  it.effect("its failure fails the run, with its cause, and stops it", () =>
    Effect.gen(function* () {
      const fail = yield* Deferred.make<never, Broken>()
      const Jobs = Supervisor.layer([
        Supervisor.worker("bad", { run: Deferred.await(fail), restart: "never" }),
        Supervisor.worker("steady", { run: Effect.never })
      ]).pipe(Maestro.service("jobs"))
      const program = yield* Maestro.make(Jobs)
      yield* program.start
      const handle = Option.getOrThrow(yield* program.current)
      const ended = yield* Effect.forkChild(Effect.exit(handle.ended))
      yield* settle
      yield* Deferred.fail(fail, new Broken())
      yield* advance(0)
      const exit = yield* Fiber.join(ended)
      assert(Exit.isFailure(exit))
      const error = Cause.squash(exit.cause)
      assert(error instanceof Supervisor.WorkerFailed)
      assert.strictEqual(error.worker, "bad")
      assert.deepStrictEqual(
        (yield* handle.states).map(({ state }) => state),
        ["stopped"]
      )
    })
  )

  it.effect("workers that do not stop are the failure of that service's stop, and hold nobody else up", () =>
    Effect.gen(function* () {
      class Db extends Context.Service<Db, string>()("test/Db") {}
      let closed = false
      const DbLive = Layer.effect(
        Db,
        Effect.acquireRelease(Effect.succeed("db"), () => Effect.sync(() => (closed = true)))
      ).pipe(Maestro.service("db"))
      const Jobs = Supervisor.layer([
        Supervisor.worker("stuck", {
          init: Db,
          run: Effect.uninterruptible(Effect.sleep("1 hour")),
          stopTimeout: "1 second"
        })
      ]).pipe(Layer.provide(DbLive), Maestro.service("jobs"))
      const program = yield* Maestro.make(Jobs)
      yield* program.start
      const handle = Option.getOrThrow(yield* program.current)
      const stopping = yield* Effect.forkChild(program.stop)
      yield* advance(1_000)
      yield* Fiber.join(stopping)
      const jobs = (yield* handle.states).find(({ name }) => name === "jobs")
      assert(jobs?.stopFailure !== undefined)
      assert.match(String(Cause.squash(jobs.stopFailure)), /Still running.*"stuck"/)
      assert.isTrue(closed)
      yield* advance(3_600_000)
    })
  )

  it.effect("its probes follow the run: starting, ready, stopping", () =>
    Effect.gen(function* () {
      const gate = yield* Deferred.make<void>()
      const Jobs = Supervisor.layer([
        Supervisor.worker("slow", {
          init: Deferred.await(gate),
          run: Effect.onInterrupt(Effect.never, () => Effect.sleep("1 second"))
        })
      ]).pipe(Maestro.service("jobs"))
      const probes = yield* Deferred.make<Health.Health["Service"]>()
      const Probes = Layer.effectDiscard(
        Effect.flatMap(Health.Health, (health) => Deferred.succeed(probes, health))
      ).pipe(Layer.provideMerge(Health.layerRegistry))
      const running = yield* Maestro.boot(Jobs).pipe(
        Layer.provide(Probes),
        Layer.provide(Maestro.layer()),
        Layer.launch,
        Effect.forkChild
      )
      yield* settle
      const { report } = yield* Deferred.await(probes)
      const shown = Effect.map(Effect.all([report("startup"), report("ready"), report("live")]), (reports) =>
        reports.map(({ status }) => status)
      )
      assert.deepStrictEqual(yield* shown, ["fail", "fail", "pass"])
      yield* Deferred.succeed(gate, undefined)
      yield* settle
      assert.deepStrictEqual(yield* shown, ["pass", "pass", "pass"])
      const stopping = yield* Effect.forkChild(Fiber.interrupt(running))
      yield* settle
      assert.deepStrictEqual(yield* shown, ["pass", "fail", "pass"])
      yield* advance(1_000)
      yield* Fiber.join(stopping)
    })
  )
})
