import { assert, describe, expectTypeOf, it } from "@effect/vitest"
import type { Layer } from "effect"
import { Cause, Clock, Context, Data, Deferred, Effect, Exit, Fiber, Option, Schedule, Stream } from "effect"
import { Election, Memory, Supervisor } from "effect-ensemble"
import { TestClock } from "effect/testing"
import * as Crew from "../src/internal/supervisor/crew.ts"
import type { Spec } from "../src/internal/supervisor/spec.ts"
import { changesOf } from "../src/internal/supervisor/supervise.ts"
import type { Status } from "../src/internal/supervisor/supervise.ts"

class Broken extends Data.TaggedError("Broken")<{ readonly run: number }> {}
class Other extends Data.TaggedError("Other")<{}> {}

/** What is ready to run runs before time moves, and what the time has woken runs before the test looks. */
const settle = Effect.repeat(Effect.yieldNow, { times: 20 })
const advance = (millis: number) =>
  settle.pipe(Effect.andThen(TestClock.adjust(millis)), Effect.andThen(settle), Effect.asVoid)

/** A journal in order, and workers that write into it. */
const makeJournal = () => {
  const lines: Array<string> = []
  const note = (line: string) => Effect.sync(() => void lines.push(line))
  return {
    lines,
    note,
    take: () => lines.splice(0),
    /** Inits at once and runs until it is told to stop. */
    steady: (name: string) =>
      Supervisor.worker(name, {
        init: Effect.acquireRelease(note(`${name} inits`), () => note(`${name} released`)),
        run: Effect.andThen(note(`${name} runs`), Effect.never)
      })
  }
}

const statesOf = <E>(supervisor: Supervisor.Supervisor<E>) =>
  Effect.map(supervisor.statuses, (statuses) => statuses.map(({ state }) => state._tag))

describe("two phases", () => {
  it.effect("all inits come before any run", () =>
    Effect.gen(function* () {
      const { lines, note } = makeJournal()
      const slow = (name: string, millis: number) =>
        Supervisor.worker(name, {
          init: Effect.andThen(Effect.sleep(millis), note(`${name} inits`)),
          run: note(`${name} runs`)
        })
      const fiber = yield* Effect.forkChild(Supervisor.run([slow("a", 300), slow("b", 100), slow("c", 200)]))
      yield* advance(299)
      assert.deepStrictEqual(lines, ["b inits", "c inits"])
      yield* advance(1)
      assert.deepStrictEqual(lines.slice(0, 3), ["b inits", "c inits", "a inits"])
      assert.deepStrictEqual(lines.slice(3).toSorted(), ["a runs", "b runs", "c runs"])
      yield* Fiber.join(fiber)
    })
  )

  it.effect("a failed init is tried again and keeps the others from running until it succeeds", () =>
    Effect.gen(function* () {
      const { lines, note, steady } = makeJournal()
      let tries = 0
      const late = Supervisor.worker("late", {
        init: Effect.suspend(() => (++tries < 3 ? Effect.fail(new Broken({ run: tries })) : note("late inits"))),
        run: Effect.andThen(note("late runs"), Effect.never),
        schedule: Schedule.spaced("1 second")
      })
      const fiber = yield* Effect.forkScoped(Supervisor.make([steady("a"), late]))
      yield* advance(1_999)
      assert.deepStrictEqual(lines, ["a inits"])
      assert.isUndefined(fiber.pollUnsafe())
      yield* advance(1)
      assert.deepStrictEqual(lines, ["a inits", "late inits", "a runs", "late runs"])
      assert.deepStrictEqual(yield* statesOf(yield* Fiber.join(fiber)), ["Running", "Running"])
    })
  )

  it.effect("a failed init that is not tried again fails the start and releases the others", () =>
    Effect.gen(function* () {
      const { lines, steady } = makeJournal()
      const bad = Supervisor.worker("bad", {
        init: Effect.andThen(Effect.sleep(10), Effect.fail(new Broken({ run: 1 }))),
        run: Effect.never,
        restart: "never"
      })
      const fiber = yield* Effect.forkChild(Effect.flip(Supervisor.make([steady("a"), bad])))
      yield* advance(10)
      const error = yield* Fiber.join(fiber)
      assert(error._tag === "WorkerFailed")
      assert.strictEqual(error.worker, "bad")
      assert.deepStrictEqual(Cause.findErrorOption(error.cause), Option.some(new Broken({ run: 1 })))
      assert.deepStrictEqual(lines, ["a inits", "a released"])
    })
  )

  it.effect("an optional worker whose init fails for good does not keep the others from running", () =>
    Effect.gen(function* () {
      const { steady } = makeJournal()
      const bad = Supervisor.worker("bad", {
        init: Effect.delay(Effect.fail(new Broken({ run: 1 })), 100),
        run: Effect.never,
        restart: "never",
        optional: true
      })
      const fiber = yield* Effect.forkScoped(Supervisor.make([steady("a"), bad]))
      yield* advance(100)
      assert.deepStrictEqual(yield* statesOf(yield* Fiber.join(fiber)), ["Running", "Failed"])
    })
  )

  it.effect("an init that dies is a failure too", () =>
    Effect.gen(function* () {
      const bad = Supervisor.worker("bad", { init: Effect.die("boom"), run: Effect.never, restart: "never" })
      const error = yield* Effect.flip(Supervisor.run([bad]))
      assert(error._tag === "WorkerFailed")
      assert.isTrue(Cause.hasDies(error.cause))
    })
  )

  it.effect("what a run has acquired is released before the next one begins", () =>
    Effect.gen(function* () {
      const { lines, note } = makeJournal()
      let runs = 0
      const worker = Supervisor.worker("a", {
        init: Effect.acquireRelease(note("acquired"), () => Effect.andThen(Effect.sleep(500), note("released"))),
        run: Effect.suspend(() => Effect.fail(new Broken({ run: ++runs }))),
        schedule: Schedule.spaced(100).pipe(Schedule.upTo({ times: 1 }))
      })
      const fiber = yield* Effect.forkChild(Effect.flip(Supervisor.run([worker])))
      yield* advance(599)
      assert.deepStrictEqual(lines, ["acquired", "released"])
      yield* advance(1)
      assert.deepStrictEqual(lines, ["acquired", "released", "acquired"])
      yield* advance(500)
      yield* Fiber.join(fiber)
    })
  )
})

describe("restarting", () => {
  /** Fails as soon as it runs, and notes when. */
  const failing = (options: Partial<Supervisor.WorkerOptions<void, never, never, Broken, never>> = {}) => {
    const at: Array<number> = []
    const worker = Supervisor.worker("failing", {
      ...options,
      run: Effect.clockWith((clock) =>
        Effect.suspend(() => {
          at.push(clock.currentTimeMillisUnsafe())
          return Effect.fail(new Broken({ run: at.length }))
        })
      )
    })
    return { at, worker }
  }

  it.effect("follows the schedule, and ends with it", () =>
    Effect.gen(function* () {
      const { at, worker } = failing({ schedule: Schedule.exponential(100).pipe(Schedule.upTo({ times: 3 })) })
      const fiber = yield* Effect.forkChild(Effect.flip(Supervisor.run([worker])))
      yield* advance(700)
      assert.deepStrictEqual(at, [0, 100, 300, 700])
      const error = yield* Fiber.join(fiber)
      assert(error._tag === "WorkerFailed")
      assert.strictEqual(error.restarts, 3)
      assert.deepStrictEqual(Cause.findErrorOption(error.cause), Option.some(new Broken({ run: 4 })))
    })
  )

  it.effect("by default backs off with jitter, and gives up after ten restarts", () =>
    Effect.gen(function* () {
      const { at, worker } = failing()
      const fiber = yield* Effect.forkChild(Effect.flip(Supervisor.run([worker])))
      for (let second = 0; second < 300; second++) yield* advance(1_000)
      const error = yield* Fiber.join(fiber)
      assert(error._tag === "WorkerFailed")
      assert.strictEqual(at.length, 11)
      const pauses = at.slice(1).map((time, index) => time - (at[index] ?? 0))
      for (const [index, pause] of pauses.entries()) {
        const middle = Math.min(500 * 2 ** index, 30_000)
        assert.isAtLeast(pause, middle * 0.8 - 1)
        assert.isAtMost(pause, middle * 1.2 + 1)
      }
      assert.isTrue(pauses.some((pause, index) => Math.abs(pause - 500 * 2 ** index) > 1))
    })
  )

  it.effect("never spins, whatever the schedule", () =>
    Effect.gen(function* () {
      const { at, worker } = failing({ schedule: Schedule.forever })
      yield* Supervisor.make([worker])
      yield* advance(1_000)
      assert.strictEqual(at.length, 101)
    })
  )

  it.effect("does not spin on a worker that always ends at once", () =>
    Effect.gen(function* () {
      let runs = 0
      const worker = Supervisor.worker("brief", {
        run: Effect.sync(() => runs++),
        restart: "always",
        schedule: Schedule.spaced("1 second").pipe(Schedule.upTo({ times: 4 }))
      })
      const fiber = yield* Effect.forkChild(Supervisor.run([worker]))
      yield* advance(60_000)
      assert.strictEqual(runs, 5)
      assert.deepStrictEqual(yield* Effect.exit(Fiber.join(fiber)), Exit.void)
    })
  )

  it.effect("begins the schedule anew after a run that lasted, and only then", () =>
    Effect.gen(function* () {
      const at: Array<number> = []
      const lasts = [0, 0, 9_999, 10_000, 0]
      const worker = Supervisor.worker("moody", {
        // The init does not count: being ready is not having worked.
        init: Effect.sleep(20_000),
        run: Effect.clockWith((clock) =>
          Effect.suspend(() => {
            at.push(clock.currentTimeMillisUnsafe())
            return Effect.andThen(Effect.sleep(lasts[at.length - 1] ?? 0), Effect.fail(new Broken({ run: at.length })))
          })
        ),
        schedule: Schedule.exponential(1_000),
        resetAfter: "10 seconds"
      })
      yield* Effect.forkScoped(Supervisor.make([worker]))
      for (let second = 0; second < 200; second++) yield* advance(1_000)
      const pauses = at.slice(1, 6).map((time, index) => time - (at[index] ?? 0) - (lasts[index] ?? 0) - 20_000)
      assert.deepStrictEqual(pauses, [1_000, 2_000, 4_000, 1_000, 2_000])
    })
  )

  it.effect("an init that fails late does not begin the schedule anew", () =>
    Effect.gen(function* () {
      let tries = 0
      const worker = Supervisor.worker("a", {
        init: Effect.delay(
          Effect.suspend(() => Effect.fail(new Broken({ run: ++tries }))),
          "1 minute"
        ),
        run: Effect.never,
        schedule: Schedule.spaced(1_000).pipe(Schedule.upTo({ times: 2 })),
        resetAfter: "10 seconds"
      })
      const fiber = yield* Effect.forkChild(Effect.flip(Supervisor.run([worker])))
      yield* advance(600_000)
      assert.strictEqual((yield* Fiber.join(fiber))._tag, "WorkerFailed")
      assert.strictEqual(tries, 3)
    })
  )

  const policies: ReadonlyArray<readonly [Supervisor.Restart, "ends" | "fails", number]> = [
    ["never", "ends", 1],
    ["never", "fails", 1],
    ["onFailure", "ends", 1],
    ["onFailure", "fails", 3],
    ["always", "ends", 3],
    ["always", "fails", 3]
  ]
  it.effect.each(policies)("%s: a run that %s happens %d times", ([restart, how, wanted]) =>
    Effect.gen(function* () {
      let runs = 0
      const worker = Supervisor.worker("a", {
        run: Effect.suspend(() => (++runs, how === "ends" ? Effect.void : Effect.fail(new Broken({ run: runs })))),
        restart,
        schedule: Schedule.spaced(100).pipe(Schedule.upTo({ times: 2 }))
      })
      const fiber = yield* Effect.forkChild(Effect.exit(Supervisor.run([worker])))
      yield* advance(1_000)
      assert.strictEqual(runs, wanted)
      assert.strictEqual(Exit.isSuccess(yield* Fiber.join(fiber)), how === "ends")
    })
  )

  it.effect("treats an interruption of its own making as a failure", () =>
    Effect.gen(function* () {
      let runs = 0
      const worker = Supervisor.worker("a", {
        run: Effect.suspend(() => (++runs < 3 ? Effect.interrupt : Effect.never)),
        schedule: Schedule.spaced(100)
      })
      const supervisor = yield* Supervisor.make([worker])
      yield* advance(200)
      assert.strictEqual(runs, 3)
      assert.deepStrictEqual(yield* statesOf(supervisor), ["Running"])
    })
  )

  it.effect("tells the schedule how the run ended", () =>
    Effect.gen(function* () {
      const { at, worker } = failing({
        schedule: Schedule.spaced(100).pipe(
          Schedule.while(
            ({ input }: { readonly input: Exit.Exit<unknown, Broken> }) =>
              Exit.isFailure(input) && Option.exists(Cause.findErrorOption(input.cause), ({ run }) => run < 3)
          )
        )
      })
      yield* Effect.forkChild(Effect.exit(Supervisor.run([worker])))
      yield* advance(10_000)
      assert.strictEqual(at.length, 3)
    })
  )

  it.effect("a schedule that dies counts as ended", () =>
    Effect.gen(function* () {
      const { at, worker } = failing({
        schedule: Schedule.spaced(1).pipe(Schedule.modifyDelay(() => Effect.die("a bug in a schedule")))
      })
      const error = yield* Effect.flip(Supervisor.run([worker]))
      assert.strictEqual(error._tag, "WorkerFailed")
      assert.strictEqual(at.length, 1)
    })
  )

  it.effect("does not overlap a run that is slow to stop", () =>
    Effect.gen(function* () {
      let running = 0
      let most = 0
      const stubborn = Supervisor.worker("stubborn", {
        run: Effect.acquireUseRelease(
          Effect.sync(() => (most = Math.max(most, ++running))),
          () => Effect.never,
          () =>
            Effect.andThen(
              Effect.sleep(5_000),
              Effect.sync(() => running--)
            )
        ),
        stopTimeout: "1 second"
      })
      const supervisor = yield* Supervisor.make([stubborn])
      const stopping = yield* Effect.forkChild(supervisor.disable("stubborn"))
      yield* advance(1_000)
      assert.strictEqual((yield* Fiber.join(stopping)).outcome, "abandoned")
      yield* supervisor.enable("stubborn")
      yield* advance(3_999)
      assert.deepStrictEqual(yield* statesOf(supervisor), ["Abandoned"])
      yield* advance(1)
      assert.deepStrictEqual(yield* statesOf(supervisor), ["Running"])
      assert.strictEqual(most, 1)
      yield* supervisor.stop.pipe(Effect.forkChild)
      yield* advance(10_000)
    })
  )
})

describe("strategies", () => {
  const crew = (strategy: Supervisor.Strategy) =>
    Effect.gen(function* () {
      const journal = makeJournal()
      const fail = yield* Deferred.make<never, Broken>()
      let runs = 0
      const b = Supervisor.worker("b", {
        init: Effect.acquireRelease(journal.note("b inits"), () => journal.note("b released")),
        run: Effect.andThen(
          journal.note("b runs"),
          Effect.suspend(() => (runs++ === 0 ? Deferred.await(fail) : Effect.never))
        ),
        schedule: Schedule.spaced("1 second")
      })
      const { steady, take } = journal
      const supervisor = yield* Supervisor.make([steady("a"), b, steady("c"), steady("d")], { strategy })
      yield* settle
      const started = take()
      yield* Deferred.fail(fail, new Broken({ run: 1 }))
      yield* advance(999)
      const stopped = take()
      yield* advance(1)
      return { started, stopped, restarted: take(), supervisor, take }
    })

  const all = ["a inits", "b inits", "c inits", "d inits", "a runs", "b runs", "c runs", "d runs"]

  it.effect("oneForOne restarts the one", () =>
    Effect.gen(function* () {
      const { restarted, started, stopped } = yield* crew("oneForOne")
      assert.deepStrictEqual(started, all)
      assert.deepStrictEqual(stopped, ["b released"])
      assert.deepStrictEqual(restarted, ["b inits", "b runs"])
    })
  )

  it.effect("oneForAll restarts all, with both phases, when all have stopped and the delay has passed", () =>
    Effect.gen(function* () {
      const { restarted, started, stopped } = yield* crew("oneForAll")
      assert.deepStrictEqual(started, all)
      assert.deepStrictEqual(stopped, ["b released", "a released", "c released", "d released"])
      assert.deepStrictEqual(restarted, all)
    })
  )

  it.effect("restForOne restarts it and those after it, stopping them in reverse", () =>
    Effect.gen(function* () {
      const { restarted, started, stopped, supervisor, take } = yield* crew("restForOne")
      assert.deepStrictEqual(started, all)
      assert.deepStrictEqual(stopped, ["b released", "d released", "c released"])
      assert.deepStrictEqual(restarted, ["b inits", "c inits", "d inits", "b runs", "c runs", "d runs"])
      yield* supervisor.stop
      assert.deepStrictEqual(take(), ["d released", "c released", "b released", "a released"])
    })
  )

  it.effect("restForOne inits one after another, and then runs in the same order", () =>
    Effect.gen(function* () {
      const { lines, note } = makeJournal()
      const slow = (name: string) =>
        Supervisor.worker(name, { init: Effect.andThen(Effect.sleep(100), note(name)), run: note(`${name} runs`) })
      yield* Effect.forkScoped(Supervisor.make([slow("a"), slow("b"), slow("c")], { strategy: "restForOne" }))
      yield* advance(100)
      assert.deepStrictEqual(lines, ["a"])
      yield* advance(200)
      assert.deepStrictEqual(lines, ["a", "b", "c", "a runs", "b runs", "c runs"])
    })
  )

  for (const strategy of ["oneForAll", "restForOne"] as const) {
    it.effect(`${strategy} begins nothing while a sibling has not stopped`, () =>
      Effect.gen(function* () {
        const { lines, note } = makeJournal()
        let runs = 0
        const first = Supervisor.worker("first", {
          run: Effect.suspend(() =>
            Effect.andThen(
              note("first runs"),
              runs++ === 0 ? Effect.delay(Effect.fail(new Broken({ run: 1 })), 100) : Effect.never
            )
          ),
          schedule: Schedule.spaced(100)
        })
        const sluggish = Supervisor.worker("sluggish", {
          init: Effect.acquireRelease(note("sluggish inits"), () =>
            Effect.andThen(Effect.sleep(5_000), note("sluggish released"))
          ),
          run: Effect.never,
          stopTimeout: "1 second"
        })
        const supervisor = yield* Supervisor.make([first, sluggish], { strategy })
        yield* advance(1_100)
        assert.deepStrictEqual(yield* statesOf(supervisor), ["Enabled", "Abandoned"])
        yield* advance(3_999)
        assert.deepStrictEqual(lines, ["sluggish inits", "first runs"])
        yield* advance(1)
        assert.deepStrictEqual(lines.slice(2), ["sluggish released", "sluggish inits", "first runs"])
        assert.deepStrictEqual(yield* statesOf(supervisor), ["Running", "Running"])
        yield* Effect.forkChild(supervisor.stop)
        yield* advance(10_000)
      })
    )
  }

  it.effect("a sibling's restart costs no restart of one's own", () =>
    Effect.gen(function* () {
      const runs = { flaky: 0, frail: 0 }
      const fails = (millis: number) => Effect.delay(Effect.fail(new Broken({ run: 1 })), millis)
      const flaky = Supervisor.worker("flaky", {
        run: Effect.suspend(() => (++runs.flaky <= 3 ? fails(100) : Effect.never)),
        schedule: Schedule.spaced(100)
      })
      // Recalled three times before it fails once itself, which its schedule allows.
      const frail = Supervisor.worker("frail", {
        run: Effect.suspend(() => (++runs.frail === 4 ? fails(50) : Effect.never)),
        schedule: Schedule.spaced(100).pipe(Schedule.upTo({ times: 1 }))
      })
      const supervisor = yield* Supervisor.make([flaky, frail], { strategy: "oneForAll" })
      yield* advance(5_000)
      assert.deepStrictEqual(runs, { flaky: 5, frail: 5 })
      assert.deepStrictEqual(yield* statesOf(supervisor), ["Running", "Running"])
    })
  )

  it.effect("two failures at once are one restart of all", () =>
    Effect.gen(function* () {
      const { lines, note } = makeJournal()
      const fail = yield* Deferred.make<never, Broken>()
      const twin = (name: string) => {
        let runs = 0
        return Supervisor.worker(name, {
          init: note(`${name} inits`),
          run: Effect.suspend(() => (runs++ === 0 ? Deferred.await(fail) : Effect.never)),
          schedule: Schedule.spaced(100)
        })
      }
      const supervisor = yield* Supervisor.make([twin("a"), twin("b")], { strategy: "oneForAll" })
      yield* settle
      yield* Deferred.fail(fail, new Broken({ run: 1 }))
      yield* advance(1_000)
      assert.deepStrictEqual(lines, ["a inits", "b inits", "a inits", "b inits"])
      assert.deepStrictEqual(yield* statesOf(supervisor), ["Running", "Running"])
    })
  )
})

describe("the end of supervision", () => {
  it.effect("comes when all have ended", () =>
    Effect.gen(function* () {
      const fiber = yield* Effect.forkChild(
        Supervisor.run([
          Supervisor.worker("short", { run: Effect.sleep(100) }),
          Supervisor.worker("long", { run: Effect.sleep(200) })
        ])
      )
      yield* advance(199)
      assert.isUndefined(fiber.pollUnsafe())
      yield* advance(1)
      yield* Fiber.join(fiber)
    })
  )

  it.effect("comes at once without workers", () => Supervisor.run([]))

  it.effect("comes with the failure of a worker, after the others have stopped", () =>
    Effect.gen(function* () {
      const { lines, steady } = makeJournal()
      const bad = Supervisor.worker("bad", {
        run: Effect.delay(Effect.fail(new Broken({ run: 1 })), 100),
        restart: "never"
      })
      const fiber = yield* Effect.forkChild(Effect.flip(Supervisor.run([steady("a"), bad])))
      yield* advance(100)
      const error = yield* Fiber.join(fiber)
      assert(error._tag === "WorkerFailed")
      assert.deepStrictEqual(lines, ["a inits", "a runs", "a released"])
      assert.deepStrictEqual(
        error.stop.workers.map(({ name, outcome }) => [name, outcome]),
        [["a", "clean"]]
      )
      assert.match(error.message, /"bad" has failed for good/)
    })
  )

  it.effect("shows a defect and a typed failure of one cause both", () =>
    Effect.gen(function* () {
      const bad = Supervisor.worker("bad", {
        run: Effect.ensuring(Effect.fail(new Broken({ run: 1 })), Effect.die("clean-up")),
        restart: "never"
      })
      const error = yield* Effect.flip(Supervisor.run([bad]))
      assert(error._tag === "WorkerFailed")
      const tags = error.cause.reasons.map(({ _tag }) => _tag).toSorted()
      assert.include(tags, "Die")
    })
  )

  it.effect("does not come with the failure of an optional worker", () =>
    Effect.gen(function* () {
      const bad = Supervisor.worker("bad", { run: Effect.die("boom"), restart: "never", optional: true })
      const supervisor = yield* Supervisor.make([bad, Supervisor.worker("good", { run: Effect.never })])
      yield* settle
      assert.deepStrictEqual(yield* statesOf(supervisor), ["Failed", "Running"])
      const [status] = yield* supervisor.statuses
      assert.isTrue(status?.cause !== undefined && Cause.hasDies(status.cause))
    })
  )

  it.effect("reaches who waits, also late", () =>
    Effect.gen(function* () {
      const bad = Supervisor.worker("bad", {
        run: Effect.delay(Effect.fail(new Broken({ run: 1 })), 100),
        restart: "never"
      })
      const supervisor = yield* Supervisor.make([bad])
      const early = yield* Effect.forkChild(Effect.flip(supervisor.await))
      yield* advance(100)
      assert.strictEqual((yield* Fiber.join(early)).worker, "bad")
      assert.strictEqual((yield* Effect.flip(supervisor.await)).worker, "bad")
    })
  )
})

describe("at run time", () => {
  it.effect("a subset runs, and the others are known and disabled", () =>
    Effect.gen(function* () {
      const { lines, steady } = makeJournal()
      const supervisor = yield* Supervisor.make([steady("a"), steady("b"), steady("c")], { only: ["c", "a"] })
      yield* settle
      assert.deepStrictEqual(lines, ["a inits", "c inits", "a runs", "c runs"])
      assert.deepStrictEqual(yield* statesOf(supervisor), ["Running", "Disabled", "Running"])
    })
  )

  it.effect("unknown names are refused with the known ones, and nothing starts", () =>
    Effect.gen(function* () {
      const { lines, steady } = makeJournal()
      const error = yield* Effect.flip(Supervisor.run([steady("a"), steady("b")], { only: ["a", "x", "y"] }))
      assert.deepInclude(error, { _tag: "UnknownWorkers", unknown: ["x", "y"], known: ["a", "b"] })
      assert.strictEqual(error.message, 'No worker is called "x", "y". The known workers are: "a", "b"')
      assert.deepStrictEqual(lines, [])
      const supervisor = yield* Supervisor.make([steady("a")])
      for (const refused of [supervisor.enable("z"), supervisor.disable("z")]) {
        assert.deepInclude(yield* Effect.flip(refused), { _tag: "UnknownWorkers", unknown: ["z"], known: ["a"] })
      }
    })
  )

  it.effect("bad names and durations are refused, all at once", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(
        Supervisor.run(
          [
            Supervisor.worker("a", { run: Effect.void }),
            Supervisor.worker("a", { run: Effect.void, resetAfter: -1 }),
            Supervisor.worker("", { run: Effect.void, stopTimeout: Number.POSITIVE_INFINITY })
          ],
          { stopTimeout: -5 }
        )
      )
      assert(error._tag === "InvalidWorkers")
      assert.strictEqual(error.problems.length, 5, error.message)
    })
  )

  it.effect("a worker is disabled and enabled again, with a fresh schedule", () =>
    Effect.gen(function* () {
      let runs = 0
      const worker = Supervisor.worker("a", {
        run: Effect.suspend(() => Effect.fail(new Broken({ run: ++runs }))),
        schedule: Schedule.spaced(100).pipe(Schedule.upTo({ times: 1 })),
        optional: true
      })
      const supervisor = yield* Supervisor.make([worker])
      yield* advance(1_000)
      assert.strictEqual(runs, 2)
      assert.deepStrictEqual(yield* statesOf(supervisor), ["Failed"])
      yield* supervisor.enable("a")
      yield* advance(1_000)
      assert.strictEqual(runs, 4)
      yield* supervisor.disable("a")
      assert.deepStrictEqual(yield* statesOf(supervisor), ["Disabled"])
    })
  )

  it.effect("a worker that waits for its restart is disabled at once and does not come back", () =>
    Effect.gen(function* () {
      let runs = 0
      const worker = Supervisor.worker("a", {
        run: Effect.suspend(() => Effect.fail(new Broken({ run: ++runs }))),
        schedule: Schedule.spaced("1 second")
      })
      const supervisor = yield* Supervisor.make([worker])
      yield* advance(500)
      yield* supervisor.disable("a")
      yield* advance(5_000)
      assert.strictEqual(runs, 1)
      yield* supervisor.enable("a")
      yield* advance(900)
      yield* supervisor.disable("a")
      yield* supervisor.enable("a")
      yield* advance(900)
      // The timer of the restart that was given up does not shorten the next one.
      assert.strictEqual(runs, 3)
    })
  )

  it.effect("enabling one that is being stopped starts it after", () =>
    Effect.gen(function* () {
      const { lines, note } = makeJournal()
      const worker = Supervisor.worker("a", {
        init: Effect.acquireRelease(note("inits"), () => Effect.andThen(Effect.sleep(100), note("released"))),
        run: Effect.never
      })
      const supervisor = yield* Supervisor.make([worker])
      const disabling = yield* Effect.forkChild(supervisor.disable("a"), { startImmediately: true })
      yield* supervisor.enable("a")
      yield* advance(100)
      assert.strictEqual((yield* Fiber.join(disabling)).outcome, "clean")
      assert.deepStrictEqual(lines, ["inits", "released", "inits"])
      assert.deepStrictEqual(yield* statesOf(supervisor), ["Running"])
      yield* Effect.forkChild(supervisor.stop)
      yield* advance(100)
    })
  )

  it.effect("disabling one during the start lets the others run", () =>
    Effect.gen(function* () {
      const { steady } = makeJournal()
      const stuck = Supervisor.worker("stuck", { init: Effect.never, run: Effect.never })
      const jobs = yield* Supervisor.make([steady("a")])
      yield* jobs.add(stuck)
      yield* jobs.add(steady("b"))
      yield* settle
      assert.deepStrictEqual(yield* statesOf(jobs), ["Running", "Initializing", "Running"])
      yield* jobs.disable("stuck")
      assert.deepStrictEqual(yield* statesOf(jobs), ["Running", "Disabled", "Running"])
    })
  )

  it.effect("an added worker starts at once, with the services of who adds it", () =>
    Effect.gen(function* () {
      class Tenant extends Context.Service<Tenant, string>()("test/Tenant") {}
      const { lines, note, steady } = makeJournal()
      const supervisor = yield* Supervisor.make([steady("a")])
      const added = Supervisor.worker("added", { run: Effect.flatMap(Tenant, (tenant) => note(tenant)) })
      yield* supervisor.add(added).pipe(Effect.provideService(Tenant, "t1"))
      yield* settle
      assert.deepStrictEqual(lines, ["a inits", "a runs", "t1"])
      const twice = yield* Effect.flip(supervisor.add(steady("a")))
      assert.strictEqual(twice._tag, "InvalidWorkers")
    })
  )

  it.effect("nothing starts under a supervisor that has stopped", () =>
    Effect.gen(function* () {
      const { steady } = makeJournal()
      const supervisor = yield* Supervisor.make([steady("a")])
      yield* supervisor.stop
      assert.strictEqual((yield* Effect.flip(supervisor.enable("a")))._tag, "SupervisionEnded")
      assert.strictEqual((yield* Effect.flip(supervisor.add(steady("b"))))._tag, "SupervisionEnded")
      assert.deepStrictEqual(yield* statesOf(supervisor), ["Stopped"])
    })
  )
})

describe("states", () => {
  it.effect("are replayed to late subscribers and then followed, each once", () =>
    Effect.gen(function* () {
      let runs = 0
      const worker = Supervisor.worker("a", {
        run: Effect.suspend(() => Effect.delay(++runs === 1 ? Effect.fail(new Broken({ run: 1 })) : Effect.void, 100)),
        schedule: Schedule.spaced(100)
      })
      const supervisor = yield* Supervisor.make([worker, Supervisor.worker("idle", { run: Effect.never })], {
        only: ["a"]
      })
      const seen: Array<string> = []
      yield* supervisor.changes.pipe(
        Stream.runForEach(({ name, state }) => Effect.sync(() => seen.push(`${name} ${state._tag}`))),
        Effect.forkScoped
      )
      yield* advance(300)
      assert.deepStrictEqual(seen, [
        "a Running",
        "idle Disabled",
        "a Restarting",
        "a Enabled",
        "a Initializing",
        "a Initialized",
        "a Running",
        "a Stopped"
      ])
      const late = yield* supervisor.changes.pipe(Stream.take(2), Stream.runCollect)
      assert.deepStrictEqual(
        late.map(({ state }) => state._tag),
        ["Stopped", "Disabled"]
      )
    })
  )

  it.effect("are not collected for a subscriber who has gone", () =>
    Effect.gen(function* () {
      const crew = Crew.make({
        strategy: "oneForOne",
        stopMillis: 1_000,
        clock: yield* Clock.Clock,
        context: yield* Effect.context<never>()
      })
      const worker: Spec = {
        name: "a",
        begin: Effect.succeed(Effect.never),
        restart: "never",
        schedule: Schedule.recurs(0),
        resetAfter: 0,
        stopTimeout: 0,
        optional: false
      }
      crew.add(worker, yield* Effect.context<never>())
      const subscribe = <A>(use: (changes: Stream.Stream<Status>) => Effect.Effect<A>) =>
        Effect.forkChild(use(changesOf(crew)), { startImmediately: true })
      const interrupted = yield* subscribe(Stream.runDrain)
      const satisfied = yield* subscribe((changes) => Stream.runDrain(Stream.take(changes, 2)))
      yield* settle
      assert.strictEqual(crew.listeners.size, 2)
      yield* Fiber.interrupt(interrupted)
      assert.strictEqual(crew.listeners.size, 1)
      crew.begin(crew.slots)
      yield* Fiber.join(satisfied)
      assert.strictEqual(crew.listeners.size, 0)
      crew.stop()
    })
  )

  it.effect("become JSON", () =>
    Effect.gen(function* () {
      yield* TestClock.setTime(1_000)
      const worker = Supervisor.worker("a", {
        run: Effect.fail(new Broken({ run: 1 })),
        schedule: Schedule.spaced("2 seconds")
      })
      const supervisor = yield* Supervisor.make([worker])
      yield* settle
      const [json] = JSON.parse(JSON.stringify((yield* supervisor.statuses).map(Supervisor.toJson)))
      const { failure, ...rest } = json
      assert.deepStrictEqual(rest, {
        name: "a",
        state: "Restarting",
        since: 1_000,
        restarts: 1,
        optional: false,
        restartInMillis: 2_000
      })
      assert.match(failure, /Broken/)
    })
  )
})

describe("composed", () => {
  it.effect("a leader-only worker works only while it leads", () =>
    Effect.gen(function* () {
      const store = yield* Memory.makeStore()
      const a = yield* Memory.makeProcess(store, { node: "a", ttl: 10_000 })
      const b = yield* Memory.makeProcess(store, { node: "b", ttl: 10_000 })
      const { lines, note } = makeJournal()
      const Report = Election.make("report")
      const worker = Supervisor.worker("report", {
        run: Election.lead(Report, ({ id }) => Effect.andThen(note(`${id} leads`), Effect.never))
      })
      const first = yield* Effect.forkChild(a.run(Supervisor.run([worker])))
      yield* advance(100)
      yield* Effect.forkChild(b.run(Supervisor.run([worker])))
      yield* advance(1_000)
      assert.deepStrictEqual(lines, ["a leads"])
      yield* Effect.forkChild(Fiber.interrupt(first))
      yield* advance(1_000)
      assert.deepStrictEqual(lines, ["a leads", "b leads"])
    })
  )

  it.effect("a layer runs its workers while it lives", () =>
    Effect.gen(function* () {
      const { lines, steady } = makeJournal()
      yield* settle.pipe(Effect.provide(Supervisor.layer([steady("a")])))
      assert.deepStrictEqual(lines, ["a inits", "a runs", "a released"])
    })
  )
})

describe("types", () => {
  class Db extends Context.Service<Db, string>()("test/Db") {}
  const one = Supervisor.worker("one", { run: Effect.fail(new Broken({ run: 1 })) })
  const two = Supervisor.worker("two", { init: Db, run: (db) => (db === "" ? Effect.fail(new Other()) : Effect.void) })
  const optional = Supervisor.worker("three", { run: Effect.fail("never mind"), optional: true })

  it("say what workers fail with and need", () => {
    expectTypeOf(one).toEqualTypeOf<Supervisor.Worker<Broken, never>>()
    expectTypeOf(two).toEqualTypeOf<Supervisor.Worker<Other, Db>>()
    expectTypeOf(optional).toEqualTypeOf<Supervisor.Worker<never, never>>()
    const run = Supervisor.run([one, two, optional])
    expectTypeOf(run).toEqualTypeOf<
      Effect.Effect<
        void,
        Supervisor.WorkerFailed<Broken | Other> | Supervisor.InvalidWorkers | Supervisor.UnknownWorkers,
        Db
      >
    >()
    expectTypeOf(Supervisor.layer([optional])).toEqualTypeOf<
      Layer.Layer<never, Supervisor.WorkerFailed<never> | Supervisor.InvalidWorkers | Supervisor.UnknownWorkers, never>
    >()
    expectTypeOf(Supervisor.run([])).toEqualTypeOf<
      Effect.Effect<void, Supervisor.WorkerFailed<never> | Supervisor.InvalidWorkers | Supervisor.UnknownWorkers, never>
    >()
  })

  it("keep out an added worker that fails with more", () => {
    expectTypeOf(one).toExtend<Supervisor.Worker<Broken, unknown>>()
    expectTypeOf(optional).toExtend<Supervisor.Worker<Broken, unknown>>()
    expectTypeOf(two).not.toExtend<Supervisor.Worker<Broken, unknown>>()
  })
})
