/** A membership in trouble: it comes back or ends, is never somebody else's, and leaves nothing behind. */
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type { MembershipStatus } from "../../Membership.ts"
import {
  background,
  collect,
  conform,
  election,
  eventually,
  expect,
  expectEqual,
  fault,
  forTtls,
  groupOf,
  holds,
  ids,
  joinScoped,
  tokenOf,
  valueOf
} from "./harness.ts"
import type { Case } from "./harness.ts"

const contract = "Membership"

export const cases: ReadonlyArray<Case> = [
  conform(
    contract,
    "with rejoin, comes back after a loss with the latest value and a larger token",
    ["expireSession"],
    (harness) =>
      Effect.gen(function* () {
        const a = yield* harness.process("a")
        const { membership } = yield* joinScoped(a, "1", true)
        const before = yield* membership.ensure
        const statuses = yield* collect(membership.status)
        yield* membership.set("2")
        yield* fault(harness, "expireSession")("a")
        yield* eventually(
          harness,
          "held again under a larger token",
          Effect.match(membership.ensure, { onFailure: () => false, onSuccess: (token) => token > before })
        )
        yield* expectEqual(yield* valueOf(a, "a"), "2", "the value")
        yield* expectEqual(
          (yield* statuses).map((status: MembershipStatus) => status._tag),
          ["Held", "Rejoining", "Held"],
          "the statuses"
        )
      })
  ),

  conform(
    contract,
    "with rejoin, a value set while cut off is the one that comes back",
    ["partition", "heal"],
    (harness) =>
      Effect.gen(function* () {
        const a = yield* harness.process("a")
        const b = yield* harness.process("b")
        const { membership } = yield* joinScoped(a, "1", true)
        yield* fault(harness, "partition")("a")
        const set = yield* background(membership.set("2"))
        yield* eventually(
          harness,
          "set returns within its deadline",
          Effect.map(set, (ended) => ended !== undefined),
          1
        )
        const exit = (yield* set)?.exit
        yield* expect(exit?._tag === "Failure", "set fails while nothing answers")
        yield* forTtls(harness, 3)
        yield* fault(harness, "heal")("a")
        yield* eventually(
          harness,
          "the latest value is in the store",
          Effect.map(valueOf(b, "a"), (value) => value === "2")
        )
      })
  ),

  conform(contract, "without rejoin, a loss is final", ["expireSession"], (harness) =>
    Effect.gen(function* () {
      const a = yield* harness.process("a")
      const { membership } = yield* joinScoped(a, "1")
      const lost = yield* background(Effect.flip(membership.lost))
      yield* fault(harness, "expireSession")("a")
      yield* eventually(
        harness,
        "the loss is reported",
        Effect.map(lost, (ended) => ended?.exit._tag === "Success")
      )
      yield* forTtls(harness, 3)
      // Whichever news is first: that of the session, or that of the entry which went with it.
      const { cause } = yield* Effect.flip(membership.ensure)
      yield* expect(cause === "Expired" || cause === "EntryGone", `ensure after reconnecting refuses, not ${cause}`)
      yield* expect(yield* holds(harness, []), "it has not joined again")
    })
  ),

  ...[false, true].map((rejoin) =>
    conform(
      contract,
      `its entry deleted by hand is a loss while the session lives: rejoin ${rejoin}`,
      ["remove"],
      (harness) =>
        Effect.gen(function* () {
          const a = yield* harness.process("a")
          const { membership } = yield* joinScoped(a, "1", rejoin)
          const before = yield* membership.ensure
          const statuses = yield* collect(membership.status)
          yield* fault(harness, "remove")(election, "a")
          yield* eventually(
            harness,
            "the loss is noticed",
            Effect.map(statuses, (all) =>
              all.some(
                (status) => (status._tag === "Rejoining" || status._tag === "Lost") && status.cause === "EntryGone"
              )
            ),
            2
          )
          if (rejoin) {
            yield* eventually(
              harness,
              "held again under a larger token",
              Effect.match(membership.ensure, { onFailure: () => false, onSuccess: (token) => token > before })
            )
          } else {
            yield* expectEqual((yield* Effect.flip(membership.ensure)).cause, "EntryGone", "ensure after the loss")
          }
        })
    )
  ),

  conform(contract, "its entry replaced by another program is a loss, and is never removed", ["put"], (harness) =>
    Effect.gen(function* () {
      const a = yield* harness.process("a")
      const { leave, membership } = yield* joinScoped(a, "1")
      yield* fault(harness, "put")(election, "a", "foreign")
      yield* eventually(
        harness,
        "the loss is noticed",
        Effect.match(membership.ensure, { onFailure: (lost) => lost.cause === "EntryGone", onSuccess: () => false }),
        2
      )
      yield* leave
      yield* forTtls(harness, 2)
      yield* expectEqual(yield* valueOf(a, "a"), "foreign", "the foreign entry")
    })
  ),

  conform(contract, "leaving at the moment of being replaced does not remove the other's entry", ["put"], (harness) =>
    Effect.gen(function* () {
      const a = yield* harness.process("a")
      const { leave } = yield* joinScoped(a, "1")
      yield* fault(harness, "put")(election, "a", "foreign")
      // Before the news has come: the removal is sent all the same.
      yield* leave
      yield* expectEqual(yield* valueOf(a, "a"), "foreign", "the foreign entry")
    })
  ),

  conform(
    contract,
    "its own stale entry is removed and made anew at the end of the order, never overwritten",
    ["partition", "heal"],
    (harness) =>
      Effect.gen(function* () {
        const a = yield* harness.process("a")
        const b = yield* harness.process("b")
        const { membership } = yield* joinScoped(a, "1", true)
        const other = yield* joinScoped(b, "b")
        yield* fault(harness, "partition")("a")
        yield* eventually(
          harness,
          "a has given up",
          Effect.match(membership.ensure, { onFailure: () => true, onSuccess: () => false })
        )
        // Before the store's own expiry, which is later than the local one: the old entry is still there.
        yield* fault(harness, "heal")("a")
        yield* eventually(
          harness,
          "a is back",
          Effect.match(membership.ensure, { onFailure: () => false, onSuccess: () => true })
        )
        yield* expect(
          (yield* membership.ensure) > (yield* other.membership.ensure),
          "behind whoever joined before it came back"
        )
        yield* expectEqual(ids(yield* groupOf(b).list), ["b", "a"], "the order")
      })
  ),

  conform(
    contract,
    "a restarted process waits for its former self's session, then joins behind the others",
    ["pause"],
    (harness) =>
      Effect.gen(function* () {
        const a = yield* harness.process("a")
        const b = yield* harness.process("b")
        yield* joinScoped(a, "old")
        yield* joinScoped(b, "b")
        yield* fault(harness, "pause")("a")
        const again = yield* harness.process("a")
        const joined = yield* background(groupOf(again).join({ value: "new" }))
        yield* eventually(
          harness,
          "the restarted process has joined",
          Effect.map(joined, (ended) => ended?.exit._tag === "Success")
        )
        yield* expectEqual(ids(yield* groupOf(b).list), ["b", "a"], "the order")
        yield* expectEqual(yield* valueOf(b, "a"), "new", "the value")
      })
  ),

  ...(["applied", "not-applied", "later"] as const).map((outcome) =>
    conform(contract, `a create whose answer is lost is resolved by reading: ${outcome}`, ["loseAnswer"], (harness) =>
      Effect.gen(function* () {
        const a = yield* harness.process("a")
        const b = yield* harness.process("b")
        yield* fault(harness, "loseAnswer")(
          "a",
          outcome === "later" ? { appliedAfter: harness.ttlMillis / 4 } : outcome
        )
        const { leave, membership } = yield* joinScoped(a, "1", true)
        const token = yield* membership.ensure
        yield* expectEqual(yield* tokenOf(b, "a"), token, "the store's token is the membership's")
        yield* forTtls(harness, 3)
        yield* expectEqual(yield* tokenOf(b, "a"), yield* membership.ensure, "and stays so")
        yield* leave
        yield* forTtls(harness, 3)
        yield* expect(yield* holds(harness, []), "nothing is left")
      })
    )
  ),

  conform(contract, "an older value that is applied late does not overwrite a newer one", ["loseAnswer"], (harness) =>
    Effect.gen(function* () {
      const a = yield* harness.process("a")
      const { membership } = yield* joinScoped(a, "1", true)
      yield* fault(harness, "loseAnswer")("a", { appliedAfter: harness.ttlMillis / 2 })
      const set = yield* Effect.exit(membership.set("2"))
      yield* Effect.ignore(membership.set("3"))
      yield* forTtls(harness, 3)
      yield* expect(set._tag === "Success" || set._tag === "Failure", "set returned")
      yield* expectEqual(yield* valueOf(a, "a"), "3", "the value in the end")
    })
  ),

  conform(
    contract,
    "a release that hangs holds nobody up, and is made good by the session",
    ["hangReleases", "heal"],
    (harness) =>
      Effect.gen(function* () {
        const a = yield* harness.process("a")
        const { leave } = yield* joinScoped(a, "1")
        yield* fault(harness, "hangReleases")("a")
        const left = yield* background(leave)
        yield* eventually(
          harness,
          "closing the scope returns within a TTL",
          Effect.map(left, (ended) => ended !== undefined),
          1
        )
        yield* fault(harness, "heal")("a")
        yield* eventually(harness, "the entry is gone", holds(harness, []), 2)
      })
  ),

  conform(
    contract,
    "a release that hangs for good costs the session, and nothing outlives that",
    ["hangReleases"],
    (harness) =>
      Effect.gen(function* () {
        const a = yield* harness.process("a")
        const states = yield* collect(a.coordinator.session)
        const { leave } = yield* joinScoped(a, "1")
        yield* fault(harness, "hangReleases")("a")
        yield* Effect.forkScoped(leave, { startImmediately: true })
        yield* eventually(
          harness,
          "the session is retired",
          Effect.map(states, (all) => all.some((state) => state._tag === "Lost" && state.cause === "DebtUnsettled"))
        )
        yield* eventually(harness, "the entry is gone", holds(harness, []))
      })
  ),

  conform(contract, "many releases that hang do not hold the renewals up", ["hangReleases"], (harness) =>
    Effect.gen(function* () {
      const a = yield* harness.process("a")
      const states = yield* collect(a.coordinator.session)
      const leavers = yield* Effect.forEach(Array.from({ length: 8 }), (_, index) =>
        joinScoped(a, "1", false, `leaver-${index}`)
      )
      yield* fault(harness, "hangReleases")("a")
      yield* Effect.forEach(leavers, ({ leave }) => Effect.forkScoped(leave, { startImmediately: true }))
      yield* eventually(
        harness,
        "the session is given up",
        Effect.map(states, (all) => all.some((state) => state._tag === "Lost"))
      )
      const lost = (yield* states).find((state) => state._tag === "Lost")
      yield* expectEqual(lost?._tag === "Lost" ? lost.cause : undefined, "DebtUnsettled", "why it was given up")
    })
  ),

  conform(
    contract,
    "an abandoned join whose create comes late is a debt that is paid",
    ["loseAnswer", "partition", "heal"],
    (harness) =>
      Effect.gen(function* () {
        const a = yield* harness.process("a")
        const b = yield* harness.process("b")
        yield* fault(harness, "loseAnswer")("a", { appliedAfter: harness.ttlMillis })
        const joining = yield* Effect.forkScoped(Effect.scoped(groupOf(a).join({ value: "ghost" })), {
          startImmediately: true
        })
        // The create is under way and will be applied a TTL from now; its caller gives up at once.
        for (let turn = 0; turn < 8; turn++) yield* Effect.yieldNow
        yield* Fiber.interrupt(joining)
        yield* eventually(
          harness,
          "the ghost appears",
          Effect.map(groupOf(b).list, (view) => view.size === 1),
          2
        ).pipe(Effect.ignore)
        yield* eventually(harness, "the ghost is removed while the session lives", holds(harness, []), 4)
        yield* forTtls(harness, 2)
        yield* expect(yield* holds(harness, []), "and stays away")
      })
  ),

  conform(
    contract,
    "a join that is given up while its create is on its way leaves nothing behind",
    ["delayRequests", "heal"],
    (harness) =>
      Effect.gen(function* () {
        const a = yield* harness.process("a")
        yield* fault(harness, "delayRequests")("a", harness.ttlMillis / 10)
        const joining = yield* Effect.forkScoped(Effect.scoped(groupOf(a).join({ value: "ghost" })), {
          startImmediately: true
        })
        yield* forTtls(harness, 0.05)
        yield* Fiber.interrupt(joining)
        yield* fault(harness, "heal")("a")
        yield* eventually(
          harness,
          "the ghost appears",
          Effect.map(harness.truth, ({ members }) => members.includes("election/group/a")),
          1
        )
        yield* eventually(harness, "and is removed while the session lives", holds(harness, []), 2)
        yield* forTtls(harness, 2)
        yield* expect(yield* holds(harness, []), "and stays away")
      })
  ),

  conform(contract, "a join that is interrupted while it waits for a holder leaves nothing behind", [], (harness) =>
    Effect.gen(function* () {
      const a = yield* harness.process("a")
      const b = yield* harness.process("b")
      const first = yield* joinScoped(a, "1", false, "shared")
      const waiting = yield* Effect.forkScoped(Effect.scoped(groupOf(b).join({ id: "shared", value: "2" })), {
        startImmediately: true
      })
      yield* forTtls(harness, 1)
      yield* Fiber.interrupt(waiting)
      yield* first.leave
      yield* forTtls(harness, 3)
      yield* expect(yield* holds(harness, []), "nothing is left")
    })
  )
]
