/** Interruption at every point at which it can strike leaves no member, no watch and no fiber. */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Fiber from "effect/Fiber"
import * as Metric from "effect/Metric"
import * as Ref from "effect/Ref"
import * as Scheduler from "effect/Scheduler"
import * as Stream from "effect/Stream"
import { conform, eventually, expect, expectEqual, forTtls, groupOf, holds } from "./harness.ts"
import type { Case, Harness, TestProcess } from "./harness.ts"

const contract = "Interruption"

/** The points a sweep stops at: beyond the last one, every operation here has ended by itself. */
const mostPoints = 2_000

/** Fine enough to strike between two requests to a store on the same machine. */
const millisPerPoint = 0.25

/** Counts the fibers that run under an effect, those that it forks apart included. */
const countFibers = Effect.fnUntraced(function* () {
  let alive = 0
  const metrics: Metric.FiberRuntimeMetricsService = {
    recordFiberStart: () => void alive++,
    recordFiberEnd: () => void alive--
  }
  return {
    counted: Effect.provideService(Metric.FiberRuntimeMetrics, metrics),
    alive: Effect.sync(() => alive)
  }
})

/**
 * Runs the operation again and again, each time interrupted one scheduler step later than before, until it ends before it
 * can be interrupted. Three operations are the smallest budget with which a fiber advances between its yields. Where a store
 * takes real time to answer, the steps are in time as well.
 */
const sweep = (
  name: string,
  prepare: (process: TestProcess, other: TestProcess) => Effect.Effect<unknown, unknown, Scope.Scope>,
  operation: (process: TestProcess) => Effect.Effect<unknown, unknown>,
  left: ReadonlyArray<string>
): Case =>
  conform(contract, `${name}, at every point`, [], (harness: Harness) =>
    Effect.gen(function* () {
      const process = yield* harness.process("a")
      const other = yield* harness.process("b")
      yield* prepare(process, other)
      yield* forTtls(harness, 0.1)
      const watches = (yield* harness.truth).watches
      const ended = yield* Ref.make(false)
      let points = 0
      for (; points < mostPoints && !(yield* Ref.get(ended)); points += harness.stride ?? 1) {
        const fibers = yield* countFibers()
        const fiber = yield* operation(process).pipe(
          Effect.ensuring(Effect.void),
          Effect.andThen(Ref.set(ended, true)),
          Effect.provideService(Scheduler.MaxOpsBeforeYield, 3),
          fibers.counted,
          Effect.forkScoped({ startImmediately: true })
        )
        for (let step = 0; step < points; step++) yield* Effect.yieldNow
        if (harness.stride !== undefined) yield* Effect.sleep(points * millisPerPoint)
        yield* Fiber.interrupt(fiber)
        yield* eventually(harness, `point ${points}: no member is left behind`, holds(harness, left), 4)
        yield* eventually(
          harness,
          `point ${points}: no watch is left behind`,
          Effect.map(harness.truth, (truth) => truth.watches === watches),
          4
        )
        yield* eventually(
          harness,
          `point ${points}: no fiber is left behind`,
          Effect.map(fibers.alive, (alive) => alive === 0),
          4
        )
      }
      yield* expect(points > 1, `the sweep stopped the operation at ${points} points`)
      yield* expect(yield* Ref.get(ended), `the sweep reached the operation's end within ${points} points`)
      yield* expectEqual(yield* holds(harness, left), true, "the members in the end")
    })
  )

export const cases: ReadonlyArray<Case> = [
  sweep(
    "join",
    () => Effect.void,
    (process) => Effect.scoped(groupOf(process).join({ value: "1" })),
    []
  ),
  sweep(
    "join with rejoin, and set",
    () => Effect.void,
    (process) =>
      Effect.scoped(
        Effect.flatMap(groupOf(process).join({ value: "1" }, { rejoin: true }), (membership) => membership.set("2"))
      ),
    []
  ),
  sweep(
    "waiting for a turn that comes at once",
    () => Effect.void,
    (process) =>
      Effect.scoped(
        Effect.flatMap(groupOf(process).join({ value: "1" }), (membership) => groupOf(process).awaitTurn(membership))
      ),
    []
  ),
  sweep(
    "reading the first view of a watch",
    (_, other) => groupOf(other).join({ value: "1" }),
    (process) => Stream.runHead(groupOf(process).watch),
    ["b"]
  ),
  sweep(
    "reading the first of the changes",
    (_, other) => groupOf(other).join({ value: "1" }),
    (process) => Stream.runHead(groupOf(process).changes),
    ["b"]
  ),
  sweep(
    "listing",
    (_, other) => groupOf(other).join({ value: "1" }),
    (process) => groupOf(process).list,
    ["b"]
  )
]
