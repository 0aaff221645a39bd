/** Barrier: it opens only when all are ready, and whom it names passes, whatever happens after. */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Barrier from "../../Barrier.ts"
import { background, conform, eventually, expect, expectEqual, fault, forTtls, holds } from "./harness.ts"
import type { Case } from "./harness.ts"

const contract = "Barrier"

const Start = Barrier.make("start", {
  state: Schema.Literals(["busy", "ready"]),
  minimum: 2,
  isReady: (state) => state === "ready"
})

export const cases: ReadonlyArray<Case> = [
  conform(contract, "opens for all when enough are present and every one is ready", [], (harness) =>
    Effect.gen(function* () {
      const [a, b] = [yield* harness.process("a"), yield* harness.process("b")]
      const timeout = harness.ttlMillis * 20
      const one = yield* a.run(Barrier.announce(Start, "ready"))
      const waits = [
        yield* background(a.run(Barrier.wait(Start, { timeout }))),
        yield* background(b.run(Barrier.wait(Start, { timeout })))
      ]
      yield* forTtls(harness, 0.5)
      yield* expect(
        (yield* Effect.all(waits)).every((ended) => ended === undefined),
        "one is too few"
      )
      const two = yield* b.run(Barrier.announce(Start, "busy"))
      yield* forTtls(harness, 0.5)
      yield* expect(
        (yield* Effect.all(waits)).every((ended) => ended === undefined),
        "one of them is busy"
      )
      yield* two.set("ready")
      yield* eventually(
        harness,
        "both pass",
        Effect.map(Effect.all(waits), (all) => all.every((ended) => ended?.exit._tag === "Success"))
      )
      yield* eventually(harness, "no record is left", holds(harness, [], "barrier-opening/start"))
      yield* expectEqual(one.id, "a", "the id")
    })
  ),

  conform(contract, "does not open while a member is not ready, however long the others are", [], (harness) =>
    Effect.gen(function* () {
      const [a, b, c] = [yield* harness.process("a"), yield* harness.process("b"), yield* harness.process("c")]
      yield* a.run(Barrier.announce(Start, "ready"))
      yield* b.run(Barrier.announce(Start, "ready"))
      yield* c.run(Barrier.announce(Start, "busy"))
      const wait = yield* background(Effect.flip(a.run(Barrier.wait(Start, { timeout: harness.ttlMillis * 2 }))))
      yield* eventually(
        harness,
        "the wait has timed out",
        Effect.map(wait, (ended) => ended !== undefined),
        3
      )
      const exit = (yield* wait)?.exit
      const error = exit?._tag === "Success" ? exit.value : undefined
      yield* expect(error?._tag === "BarrierTimeout" && error.notReady.join() === "c", "c is named as not ready")
      yield* expect(yield* holds(harness, [], "barrier-opening/start"), "the wait has left nothing")
    })
  ),

  conform(contract, "an empty value, as other programs write first, is present and not ready", ["put"], (harness) =>
    Effect.gen(function* () {
      const a = yield* harness.process("a")
      yield* a.run(Barrier.announce(Start, "ready"))
      yield* fault(harness, "put")(Start.group, "foreign", "")
      const wait = yield* background(a.run(Barrier.wait(Start, { timeout: harness.ttlMillis * 5 })))
      yield* forTtls(harness, 1)
      yield* expect((yield* wait) === undefined, "it has not opened")
      yield* fault(harness, "put")(Start.group, "foreign", "ready")
      yield* eventually(
        harness,
        "it opens",
        Effect.map(wait, (ended) => ended?.exit._tag === "Success")
      )
    })
  ),

  conform(
    contract,
    "whom an opening names passes, also when another has left and one is busy again",
    ["delayEvents", "healAll"],
    (harness) =>
      Effect.gen(function* () {
        const [a, b] = [yield* harness.process("a"), yield* harness.process("b")]
        const timeout = harness.ttlMillis * 20
        const one = yield* a.run(Barrier.announce(Start, "ready"))
        const two = yield* b.run(Barrier.announce(Start, "busy"))
        const slow = yield* background(b.run(Barrier.wait(Start, { timeout })))
        const fast = yield* background(a.run(Barrier.wait(Start, { timeout })))
        yield* forTtls(harness, 0.2)
        yield* fault(harness, "delayEvents")("b", harness.ttlMillis / 4)
        yield* two.set("ready")
        // a sees it open and records it; before b sees anything, the group is closed again.
        yield* eventually(
          harness,
          "the opening is recorded",
          Effect.map(harness.truth, ({ members }) =>
            members.some((member) => member.startsWith("barrier-opening/start/"))
          )
        )
        yield* forTtls(harness, 0.05)
        yield* one.set("busy")
        yield* eventually(
          harness,
          "both pass",
          Effect.map(Effect.all([slow, fast]), (all) => all.every((ended) => ended?.exit._tag === "Success"))
        )
      })
  ),

  conform(contract, "a stale view never opens it", ["partition", "healAll"], (harness) =>
    Effect.gen(function* () {
      const [a, b] = [yield* harness.process("a"), yield* harness.process("b")]
      yield* a.run(Barrier.announce(Start, "ready"))
      const two = yield* b.run(Barrier.announce(Start, "busy"))
      const wait = yield* background(a.run(Barrier.wait(Start, { timeout: harness.ttlMillis * 20 })))
      yield* forTtls(harness, 0.2)
      yield* fault(harness, "partition")("a")
      yield* two.set("ready")
      yield* forTtls(harness, 0.7)
      yield* expect((yield* wait) === undefined, "not while it cannot see the store")
      yield* fault(harness, "healAll")
      yield* eventually(
        harness,
        "it opens",
        Effect.map(wait, (ended) => ended?.exit._tag === "Success")
      )
    })
  ),

  ...[0, -1, 1.5, Number.NaN].map((minimum) =>
    conform(contract, `a minimum of ${minimum} is refused`, [], (harness) =>
      Effect.gen(function* () {
        const a = yield* harness.process("a")
        const bad = Barrier.make("bad", { state: Schema.String, minimum })
        const refused = yield* Effect.flip(a.run(Barrier.wait(bad, { timeout: harness.ttlMillis })))
        yield* expect(
          refused._tag === "CoordinatorError" && refused.reason._tag === "InvalidOptions",
          `InvalidOptions, not ${refused.message}`
        )
      })
    )
  )
]
