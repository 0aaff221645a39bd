/** The session: renewed while it can be, given up by the process's own clock before the store can give its places away. */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import * as Session from "../../Session.ts"
import {
  always,
  background,
  collect,
  conform,
  eventually,
  expect,
  expectEqual,
  fault,
  forTtls,
  groupOf,
  holds,
  latest
} from "./harness.ts"
import type { Case, Harness, TestProcess } from "./harness.ts"

const contract = "Session"

const tag = (process: TestProcess) =>
  Effect.map(latest(process.coordinator.session), (read) => Effect.map(read, (state) => state?._tag))

/** Every way in which renewals can stop being acknowledged. */
const cuts = (harness: Harness) => ({
  partition: fault(harness, "partition")("a"),
  freezeRenewals: fault(harness, "freezeRenewals")("a")
})

export const cases: ReadonlyArray<Case> = [
  conform(contract, "is renewed for as long as the process runs", [], (harness) =>
    Effect.gen(function* () {
      const a = yield* harness.process("a")
      const mine = yield* groupOf(a).join({ value: "1" })
      const token = yield* mine.ensure
      yield* always(
        harness,
        "the member is held",
        5,
        Effect.map(mine.ensure, (held) => held === token)
      )
      yield* expect(yield* holds(harness, ["a"]), "the store still holds the member")
    })
  ),

  ...(["partition", "freezeRenewals"] as const).map((cut) =>
    conform(
      contract,
      `is suspended, then lost by its own clock before the store's: ${cut}`,
      ["partition", "freezeRenewals", "heal"],
      (harness) =>
        Effect.gen(function* () {
          const a = yield* harness.process("a")
          const states = yield* collect(a.coordinator.session)
          const mine = yield* groupOf(a).join({ value: "1" })
          yield* cuts(harness)[cut]
          yield* eventually(
            harness,
            "the session is suspended",
            Effect.map(states, (all) => all.some((state) => state._tag === "Suspended"))
          )
          yield* mine.ensure
          yield* eventually(
            harness,
            "the session is lost",
            Effect.map(states, (all) => all.some((state) => state._tag === "Lost")),
            1
          )
          if (cut === "partition") {
            yield* expect(yield* holds(harness, ["a"]), "the process gave up before the store did")
          }
          const refused = yield* Effect.flip(mine.ensure)
          yield* expectEqual(refused.cause, "DeadlinePassed", "the cause of the loss")
          const lost = (yield* states).find((state) => state._tag === "Lost")
          const late =
            lost?._tag === "Lost" ? Session.untilStoreExpiryMillis(lost.lease, yield* a.run(Session.instant)) : 0
          yield* expect(late > 0, "the loss came before the granted TTL had passed since the last sending")
        })
    )
  ),

  conform(
    contract,
    "refuses from the clocks alone: ensure fails at the deadline whatever timers do",
    ["partition"],
    (harness) =>
      Effect.gen(function* () {
        const a = yield* harness.process("a")
        const b = yield* harness.process("b")
        const mine = yield* groupOf(a).join({ value: "1" })
        yield* fault(harness, "partition")("a")
        yield* eventually(
          harness,
          "the store gives the place away",
          Effect.gen(function* () {
            const view = yield* groupOf(b).list
            const gone = view.size === 0
            const refused = yield* Effect.match(mine.ensure, { onFailure: () => true, onSuccess: () => false })
            yield* expect(
              !gone || refused,
              "the store gave the place away while its former holder still believed in it"
            )
            return gone
          })
        )
      })
  ),

  conform(contract, "a wall clock that jumps forward costs the session and never safety", ["jumpClock"], (harness) =>
    Effect.gen(function* () {
      const a = yield* harness.process("a")
      const mine = yield* groupOf(a).join({ value: "1" }, { rejoin: true })
      const first = yield* mine.ensure
      yield* fault(harness, "jumpClock")("a", harness.ttlMillis * 2)
      yield* expectEqual((yield* Effect.flip(mine.ensure)).cause, "DeadlinePassed", "ensure right after the jump")
      yield* eventually(
        harness,
        "the member is back under a larger token",
        Effect.match(mine.ensure, { onFailure: () => false, onSuccess: (token) => token > first })
      )
    })
  ),

  conform(contract, "a wall clock set back does not lengthen the lease", ["jumpClock", "partition"], (harness) =>
    Effect.gen(function* () {
      const a = yield* harness.process("a")
      const mine = yield* groupOf(a).join({ value: "1" })
      yield* fault(harness, "partition")("a")
      yield* fault(harness, "jumpClock")("a", -harness.ttlMillis * 100)
      yield* forTtls(harness, 1)
      yield* expectEqual((yield* Effect.flip(mine.ensure)).cause, "DeadlinePassed", "ensure after a TTL")
    })
  ),

  conform(
    contract,
    "a process that was paused past its deadline is refused first of all",
    ["pause", "resume"],
    (harness) =>
      Effect.gen(function* () {
        const a = yield* harness.process("a")
        const mine = yield* groupOf(a).join({ value: "1" })
        yield* fault(harness, "pause")("a")
        yield* forTtls(harness, 3)
        yield* fault(harness, "resume")("a")
        yield* expectEqual(
          (yield* Effect.flip(mine.ensure)).cause,
          "DeadlinePassed",
          "the first ensure after the pause"
        )
      })
  ),

  conform(contract, "opens the next one after a loss, under the next generation", ["expireSession"], (harness) =>
    Effect.gen(function* () {
      const a = yield* harness.process("a")
      const states = yield* collect(a.coordinator.session)
      yield* fault(harness, "expireSession")("a")
      yield* eventually(
        harness,
        "a second session is open",
        Effect.map(states, (all) => all.some((state) => state._tag === "Connected" && state.lease.generation === 2))
      )
      const tags = (yield* states).map((state) => state._tag)
      const lost = (yield* states).find((state) => state._tag === "Lost")
      yield* expectEqual(lost?._tag === "Lost" ? lost.cause : undefined, "Expired", "why the first was lost")
      yield* expectEqual(
        tags.slice(tags.indexOf("Lost")),
        ["Lost", "Connecting", "Connected"],
        "the states passed through"
      )
    })
  ),

  conform(contract, "connects in the background when it is told to", ["partitionFromStart", "heal"], (harness) =>
    Effect.gen(function* () {
      yield* fault(harness, "partitionFromStart")("late")
      const late = yield* harness.process("late", { connect: "background" })
      const state = yield* tag(late)
      const mine = yield* groupOf(late).join({ value: "1" }, { rejoin: true })
      yield* expectEqual((yield* Effect.flip(mine.ensure)).cause, "NotYetHeld", "ensure before the first session")
      yield* forTtls(harness, 1)
      yield* expectEqual(yield* state, "Connecting", "the state while cut off")
      yield* fault(harness, "heal")("late")
      yield* eventually(harness, "the member has joined", holds(harness, ["late"]))
    })
  ),

  conform(contract, "fails its layer when the store is unreachable at build", ["partitionFromStart"], (harness) =>
    Effect.gen(function* () {
      yield* fault(harness, "partitionFromStart")("late")
      const build = yield* Effect.forkScoped(
        Effect.flip(harness.process("late", { connectTimeout: harness.ttlMillis })),
        {
          startImmediately: true
        }
      )
      yield* forTtls(harness, 2)
      const exit = build.pollUnsafe()
      yield* expect(
        exit?._tag === "Success" && exit.value.reason._tag === "Unreachable",
        "the layer failed with Unreachable within its connect timeout"
      )
    })
  ),

  conform(contract, "ends with its scope, and takes its members with it at once", [], (harness) =>
    Effect.gen(function* () {
      const process = yield* Scope.make()
      const a = yield* harness.process("a").pipe(Scope.provide(process))
      const mine = yield* groupOf(a).join({ value: "1" })
      const lost = yield* background(Effect.flip(mine.lost))
      yield* Scope.close(process, Exit.void)
      yield* expect(yield* holds(harness, []), "nothing is left in the store")
      yield* expectEqual((yield* Effect.flip(mine.ensure)).cause, "Closed", "the cause after closing")
      yield* eventually(
        harness,
        "the member hears of it",
        Effect.map(lost, (ended) => ended !== undefined)
      )
    })
  ),

  conform(
    contract,
    "a jump of the wall clock ends what runs under the session without being asked",
    ["jumpClock"],
    (harness) =>
      Effect.gen(function* () {
        const a = yield* harness.process("a")
        const mine = yield* groupOf(a).join({ value: "1" })
        const lost = yield* background(Effect.flip(mine.lost))
        yield* forTtls(harness, 0.1)
        yield* fault(harness, "jumpClock")("a", harness.ttlMillis * 2)
        // A third of a TTL would be the next renewal; the timers look more often.
        yield* eventually(
          harness,
          "the loss is reported",
          Effect.map(lost, (ended) => ended?.exit._tag === "Success"),
          0.15
        )
      })
  )
]
