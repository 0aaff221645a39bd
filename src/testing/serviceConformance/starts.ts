/** Starting: once for all who ask, at a later attempt if need be, or not at all and without a trace. */
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Scheduler from "effect/Scheduler"
import type { ServiceStatus, StartFailed } from "../../Maestro.ts"
import { ConformanceFailure, expect, expectEqual } from "../conformance/harness.ts"
import {
  conform,
  done,
  ended,
  heal,
  isOpen,
  launch,
  nothingIsOpen,
  openNow,
  patience,
  program,
  strike,
  works
} from "./harness.ts"
import type { Case } from "./harness.ts"

const contract = "Start"

/** As many as ask at once in the suite that this one succeeds. */
const callers = 50

/** The points a sweep stops at: beyond the last one, the start has ended by itself. */
const mostPoints = 2_000

/** The least with which the interpreter still gets on: it yields after every other operation. */
const slowly = Effect.provideService(Scheduler.MaxOpsBeforeYield, 3)

const failureOf = (exit: Exit.Exit<unknown, StartFailed>): Effect.Effect<StartFailed, ConformanceFailure> => {
  const error = Exit.isFailure(exit) ? Option.getOrUndefined(Cause.findErrorOption(exit.cause)) : undefined
  return error === undefined
    ? Effect.fail(new ConformanceFailure({ detail: `the start fails with StartFailed: it was ${exit}` }))
    : Effect.succeed(error)
}

const statusOf = ({ services }: StartFailed): ServiceStatus | undefined =>
  services.find(({ name }) => name === "service")

export const cases: ReadonlyArray<Case> = [
  conform(contract, "gives a service that works", [], (harness) =>
    Effect.gen(function* () {
      const { start } = yield* program(harness)
      yield* works(harness, yield* done(harness, "the start", start), "after the start")
    })
  ),

  conform(contract, "opens nothing before it", ["count"], (harness) =>
    Effect.gen(function* () {
      yield* program(harness)
      yield* expectEqual(yield* openNow(harness), 0, "open before the start")
    })
  ),

  conform(contract, "twice is once", [], (harness) =>
    Effect.gen(function* () {
      const { start } = yield* program(harness)
      const first = yield* done(harness, "the start", start)
      const open = yield* openNow(harness)
      yield* works(harness, yield* done(harness, "the second start", start), "after the second start")
      yield* works(harness, first, "after the second start, by the first one's value")
      yield* isOpen(harness, open, "after the second start")
    })
  ),

  conform(contract, `by ${callers} callers at once is once`, [], (harness) =>
    Effect.gen(function* () {
      const alone = yield* program(harness)
      yield* done(harness, "the start", alone.start)
      const open = yield* openNow(harness)
      yield* done(harness, "the stop", alone.stop)
      yield* nothingIsOpen(harness, "after the stop")

      const { start } = yield* program(harness)
      const all = Effect.all(
        Array.from({ length: callers }, () => start),
        { concurrency: "unbounded" }
      )
      const contexts = yield* done(harness, "the starts", all)
      yield* isOpen(harness, open, `after ${callers} starts`)
      for (const context of contexts.slice(0, 3)) yield* works(harness, context, "after the starts")
    })
  ),

  conform(contract, "two of them at once do not know each other", [], (harness) =>
    Effect.gen(function* () {
      const a = yield* program(harness)
      const b = yield* program(harness)
      yield* done(harness, "the first start", a.start)
      const context = yield* done(harness, "the second start", b.start)
      yield* done(harness, "the stop of the first", a.stop)
      yield* works(harness, context, "after the other has stopped")
    })
  ),

  conform(contract, "cancelled at every point leaves nothing open, and can be done again", [], (harness) =>
    Effect.gen(function* () {
      let isStarted = false
      let points = 0
      for (; points < mostPoints && !isStarted; points += harness.stride ?? 1) {
        const { current, start } = yield* slowly(program(harness))
        const isRunning = Effect.flatMap(current, (handle) =>
          Option.isNone(handle) ? Effect.succeed(false) : Effect.map(handle.value.phase, (phase) => phase === "running")
        )
        const fiber = yield* launch(harness, slowly(start))
        for (let step = 0; step < points; step++) {
          // Construction may wait for time to pass, too.
          yield* step % 50 === 49 ? harness.advance(patience(harness) / 1_000) : Effect.yieldNow
        }
        isStarted = yield* isRunning
        if (isStarted) break
        yield* done(harness, `the cancelling at point ${points}`, Fiber.interrupt(fiber))
        yield* nothingIsOpen(harness, `cancelled at point ${points}`)
      }
      yield* expect(points > 1, `the sweep has cancelled the start at ${points} points`)
      const again = yield* program(harness)
      yield* works(harness, yield* done(harness, "the start", again.start), "after the cancelled starts")
    })
  ),

  conform(contract, "cancelled while the server does not answer ends, and leaves nothing open", ["stall"], (harness) =>
    Effect.gen(function* () {
      yield* strike(harness, "stall")
      const { start } = yield* program(harness, { stopTimeout: patience(harness) / 10 })
      const fiber = yield* launch(harness, start)
      yield* harness.advance(patience(harness) / 10)
      yield* done(harness, "the cancelling", Fiber.interrupt(fiber))
      yield* heal(harness)
      yield* nothingIsOpen(harness, "after the cancelled start")
    })
  ),

  conform(contract, "that is refused fails with a typed failure and leaves nothing open", ["refuse"], (harness) =>
    Effect.gen(function* () {
      yield* strike(harness, "refuse")
      const { start } = yield* program(harness)
      for (const time of ["first", "second"]) {
        const error = yield* Effect.flatMap(ended(harness, `the ${time} start`, start), failureOf)
        const failure = statusOf(error)?.failure
        yield* expect(
          failure !== undefined && !Cause.hasDies(failure.cause),
          `the ${time} start fails with a typed failure, and not with a defect: ${failure?.cause}`
        )
        yield* nothingIsOpen(harness, `after the ${time} refused start`)
      }
    })
  ),

  conform(
    contract,
    "that is refused is retried, and recovers with nothing left of the attempts",
    ["refuse"],
    (harness) =>
      Effect.gen(function* () {
        const alone = yield* program(harness)
        yield* done(harness, "the start", alone.start)
        const open = yield* openNow(harness)
        yield* done(harness, "the stop", alone.stop)
        yield* nothingIsOpen(harness, "after the stop")

        yield* strike(harness, "refuse")
        const { current, start } = yield* program(harness, {
          retry: Schedule.spaced(Duration.millis(patience(harness) / 50))
        })
        const fiber = yield* launch(harness, start)
        const attempts = Effect.flatMap(current, (handle) =>
          Option.isNone(handle)
            ? Effect.succeed(0)
            : Effect.map(handle.value.states, (states) => states[0]?.attempts ?? 0)
        )
        yield* done(
          harness,
          "a third attempt",
          attempts.pipe(
            Effect.tap(() => Effect.yieldNow),
            Effect.repeat({ until: (count) => count >= 3 })
          ),
          4
        )
        yield* heal(harness)
        yield* works(harness, yield* done(harness, "the recovery", Fiber.join(fiber), 4), "after the recovery")
        yield* isOpen(harness, open, "after the recovery")
      })
  ),

  conform(contract, "that has no answer ends with its bound, and leaves nothing open", ["stall"], (harness) =>
    Effect.gen(function* () {
      yield* strike(harness, "stall")
      const { start } = yield* program(harness, {
        startTimeout: patience(harness) / 10,
        stopTimeout: patience(harness) / 10
      })
      const exit = yield* ended(harness, "the start", start, 2)
      yield* failureOf(exit)
      yield* heal(harness)
      yield* nothingIsOpen(harness, "after the start that had no answer")
    })
  )
]
