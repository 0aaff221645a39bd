/** Stopping: everything is closed, once, within its bound; and the service can be started again. */
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
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

const contract = "Stop"

export const cases: ReadonlyArray<Case> = [
  conform(contract, "closes everything, without a failure", [], (harness) =>
    Effect.gen(function* () {
      const { current, start, stop } = yield* program(harness)
      yield* done(harness, "the start", start)
      const handle = Option.getOrUndefined(yield* current)
      if (harness.open !== undefined) yield* expect((yield* harness.open) > 0, "something is open after the start")
      yield* done(harness, "the stop", stop)
      yield* nothingIsOpen(harness, "after the stop")
      const [status] = handle === undefined ? [] : yield* handle.states
      yield* expectEqual(status?.state, "stopped", "the state after the stop")
      yield* expect(status?.stopFailure === undefined, `the clean-up does not fail: ${status?.stopFailure}`)
    })
  ),

  conform(contract, "twice is once, also at once", [], (harness) =>
    Effect.gen(function* () {
      const { start, stop } = yield* program(harness)
      yield* done(harness, "the start", start)
      yield* done(harness, "the stops", Effect.all([stop, stop, stop], { concurrency: "unbounded" }))
      yield* done(harness, "the stop after them", stop)
      yield* nothingIsOpen(harness, "after the stops")
    })
  ),

  conform(contract, "before any start does nothing", [], (harness) =>
    Effect.gen(function* () {
      const { start, stop } = yield* program(harness)
      yield* done(harness, "the stop", stop)
      yield* works(harness, yield* done(harness, "the start", start), "started after a stop")
    })
  ),

  conform(contract, "during a start leaves nothing open", [], (harness) =>
    Effect.gen(function* () {
      const { start, stop } = yield* program(harness)
      const starting = yield* launch(harness, start)
      yield* done(harness, "the stop", stop)
      yield* ended(harness, "the start", Fiber.await(starting))
      yield* nothingIsOpen(harness, "after the stop")
    })
  ),

  conform(
    contract,
    "ends with its bound while the server does not answer, and closes what it can",
    ["stall"],
    (harness) =>
      Effect.gen(function* () {
        const { start, stop } = yield* program(harness, { stopTimeout: patience(harness) / 10 })
        yield* done(harness, "the start", start)
        yield* strike(harness, "stall")
        yield* done(harness, "the stop", stop)
        yield* heal(harness)
        yield* nothingIsOpen(harness, "after the stop, with the server back")
      })
  ),

  conform(contract, "and start again give a service that works as before, any number of times", [], (harness) =>
    Effect.gen(function* () {
      const { start, stop } = yield* program(harness)
      yield* done(harness, "the start", start)
      const open = yield* openNow(harness)
      for (const time of ["first", "second", "third"]) {
        yield* done(harness, `the ${time} stop`, stop)
        yield* nothingIsOpen(harness, `after the ${time} stop`)
        yield* works(harness, yield* done(harness, `the ${time} restart`, start), `after the ${time} restart`)
        yield* isOpen(harness, open, `after the ${time} restart`)
      }
    })
  )
]

const health = "Health"

export const healthCases: ReadonlyArray<Case> = [
  conform(health, "is well while the server is, and says so when it is not", ["health", "stall"], (harness) =>
    Effect.gen(function* () {
      const { current, start } = yield* program(harness, {
        health: harness.health,
        healthTimeout: patience(harness) / 10
      })
      yield* done(harness, "the start", start)
      const handle = Option.getOrUndefined(yield* current)
      const [own] = handle === undefined ? [] : yield* handle.checks
      if (own === undefined) return yield* new ConformanceFailure({ detail: "the service has no check" })
      yield* done(harness, "the check of a healthy server", own.check)
      yield* strike(harness, "stall")
      const exit = yield* ended(harness, "the check of a server that does not answer", Effect.result(own.check))
      yield* expect(
        exit._tag === "Success" && Result.isFailure(exit.value),
        "the check of a server that does not answer fails"
      )
    })
  )
]
