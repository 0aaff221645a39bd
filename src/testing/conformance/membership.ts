/** A membership: scoped, guarded, reconciled; never somebody else's, never two, never left behind. */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import type { MembershipStatus } from "../../Membership.ts"
import {
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
  ids
} from "./harness.ts"
import type { Case, Harness, TestProcess } from "./harness.ts"

const contract = "Membership"

const election = { kind: "election", name: "group" } as const

const valueOf = (process: TestProcess, id: string) =>
  Effect.map(groupOf(process).list, (view) => {
    const member = view.get(id)
    return member._tag === "Some" ? member.value.value : undefined
  })

const tokenOf = (process: TestProcess, id: string) =>
  Effect.map(groupOf(process).list, (view) => {
    const member = view.get(id)
    return member._tag === "Some" ? member.value.token : undefined
  })

/** Joins in a scope of its own and gives the way to close it. */
const joinScoped = Effect.fnUntraced(function* (process: TestProcess, value: string, rejoin = false, id?: string) {
  const scope = yield* Scope.make()
  yield* Effect.addFinalizer((exit) => Scope.close(scope, exit))
  const membership = yield* groupOf(process).join({ id, value }, { rejoin }).pipe(Scope.provide(scope))
  return { membership, leave: Scope.close(scope, Exit.void) }
})

const isHeld = (harness: Harness, process: TestProcess, id: string) =>
  eventually(
    harness,
    `${id} is a member`,
    Effect.map(groupOf(process).list, (view) => ids(view).includes(id))
  )

export const cases: ReadonlyArray<Case> = [
  conform(contract, "is in the store while its scope is open, and gone after", [], (harness) =>
    Effect.gen(function* () {
      const a = yield* harness.process("a")
      const { leave, membership } = yield* joinScoped(a, "hello")
      const view = yield* groupOf(a).list
      yield* expectEqual(ids(view), ["a"], "the members")
      yield* expectEqual(yield* valueOf(a, "a"), "hello", "the value")
      yield* expectEqual(yield* tokenOf(a, "a"), yield* membership.ensure, "the token")
      yield* leave
      yield* expect(yield* holds(harness, []), "nothing is left")
    })
  ),

  conform(contract, "tokens grow with every join", [], (harness) =>
    Effect.gen(function* () {
      const a = yield* harness.process("a")
      const b = yield* harness.process("b")
      let last = 0n
      for (const process of [a, b, a, b]) {
        const { leave, membership } = yield* joinScoped(process, "1")
        const token = yield* membership.ensure
        yield* expect(token > last, `token ${token} is above ${last}`)
        last = token
        yield* leave
      }
    })
  ),

  conform(contract, "set publishes a new value under the same token", [], (harness) =>
    Effect.gen(function* () {
      const a = yield* harness.process("a")
      const { membership } = yield* joinScoped(a, "1")
      const before = yield* membership.ensure
      yield* membership.set("2")
      yield* expectEqual(yield* valueOf(a, "a"), "2", "the value")
      yield* expectEqual(yield* tokenOf(a, "a"), before, "the token")
    })
  ),

  conform(contract, "a second join of an id here is a conflict and leaves the first alone", [], (harness) =>
    Effect.gen(function* () {
      const a = yield* harness.process("a")
      const { membership } = yield* joinScoped(a, "1")
      const second = yield* Effect.flip(Effect.scoped(groupOf(a).join({ value: "2" })))
      yield* expectEqual(second._tag, "MemberConflict", "the second join")
      yield* membership.ensure
      yield* expectEqual(yield* valueOf(a, "a"), "1", "the value")
    })
  ),

  conform(contract, "of two joins of one id at the same time here, one is a conflict", [], (harness) =>
    Effect.gen(function* () {
      const a = yield* harness.process("a")
      const join = (value: string) => Effect.exit(groupOf(a).join({ value }))
      const exits = yield* Effect.all([join("1"), join("2"), join("3")], { concurrency: "unbounded" })
      yield* expectEqual(exits.filter(Exit.isSuccess).length, 1, "joins that succeeded")
      yield* expect(yield* holds(harness, ["a"]), "there is one entry")
    })
  ),

  conform(contract, "a live foreign holder is a conflict when asked to fail, naming it", [], (harness) =>
    Effect.gen(function* () {
      const a = yield* harness.process("a")
      const b = yield* harness.process("b")
      yield* joinScoped(a, "1", false, "shared")
      const refused = yield* Effect.flip(
        Effect.scoped(groupOf(b).join({ id: "shared", value: "2" }, { onConflict: "fail" }))
      )
      yield* expect(refused._tag === "MemberConflict" && refused.holder !== "", "MemberConflict with a holder")
      yield* expectEqual(yield* valueOf(b, "shared"), "1", "the holder's value")
    })
  ),

  conform(contract, "waits for a live foreign holder by default, then joins behind it", [], (harness) =>
    Effect.gen(function* () {
      const a = yield* harness.process("a")
      const b = yield* harness.process("b")
      const first = yield* joinScoped(a, "1", false, "shared")
      const before = yield* first.membership.ensure
      const second = yield* background(groupOf(b).join({ id: "shared", value: "2" }))
      yield* forTtls(harness, 3)
      yield* expect((yield* second) === undefined, "still waiting while the holder lives")
      yield* first.leave
      yield* eventually(
        harness,
        "the waiting join returns",
        Effect.map(second, (ended) => ended?.exit._tag === "Success")
      )
      const after = yield* tokenOf(b, "shared")
      yield* expect(after !== undefined && after > before, "the token is larger")
    })
  ),

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
  ),

  conform(contract, "used after its scope has closed, fails with a typed error", [], (harness) =>
    Effect.gen(function* () {
      const a = yield* harness.process("a")
      const { leave, membership } = yield* joinScoped(a, "1")
      yield* leave
      yield* expectEqual((yield* Effect.flip(membership.ensure)).cause, "Closed", "ensure")
      const set = yield* Effect.flip(membership.set("2"))
      yield* expectEqual(set._tag, "MembershipLost", "set")
      yield* expectEqual((yield* Effect.flip(membership.lost)).cause, "Closed", "lost")
      yield* expectEqual(
        (yield* Effect.flip(groupOf(a).awaitTurn(membership))).message.includes("scope"),
        true,
        "awaitTurn"
      )
    })
  ),

  conform(contract, "an id is free again as soon as its scope has closed", [], (harness) =>
    Effect.gen(function* () {
      const a = yield* harness.process("a")
      for (let round = 0; round < 3; round++) {
        const { leave } = yield* joinScoped(a, String(round))
        yield* isHeld(harness, a, "a")
        yield* leave
      }
      yield* expect(yield* holds(harness, []), "nothing is left")
    })
  ),

  conform(contract, "a request that nothing answers fails within its deadline", ["partition"], (harness) =>
    Effect.gen(function* () {
      const a = yield* harness.process("a")
      yield* fault(harness, "partition")("a")
      const list = yield* background(groupOf(a).list)
      const join = yield* background(Effect.scoped(groupOf(a).join({ value: "1" })))
      yield* forTtls(harness, 1)
      yield* expectEqual((yield* list)?.exit._tag, "Failure", "list")
      yield* eventually(
        harness,
        "join has failed",
        Effect.map(join, (ended) => ended?.exit._tag === "Failure"),
        2
      )
    })
  ),

  conform(contract, "values over the store's limit are refused before any write", [], (harness) =>
    Effect.gen(function* () {
      const a = yield* harness.process("a")
      const large = "x".repeat(2_000_000)
      const refused = yield* Effect.flip(Effect.scoped(groupOf(a).join({ value: large })))
      yield* expect(
        refused._tag === "CoordinatorError" && refused.reason._tag === "TooLarge",
        "join fails with TooLarge"
      )
      const { membership } = yield* joinScoped(a, "1")
      const again = yield* Effect.flip(membership.set(large))
      yield* expect(again._tag === "CoordinatorError" && again.reason._tag === "TooLarge", "set fails with TooLarge")
      yield* expectEqual(yield* valueOf(a, "a"), "1", "the value")
    })
  ),

  ...["", "x".repeat(129), "a/b", "a b", "..", "ü"].map((bad) =>
    conform(contract, `names that a store cannot hold are refused: ${JSON.stringify(bad.slice(0, 8))}`, [], (harness) =>
      Effect.gen(function* () {
        const a = yield* harness.process("a")
        const group = groupOf(a, { kind: "election", name: bad })
        const failures = [
          yield* Effect.flip(Effect.scoped(group.join({ value: "1" }))),
          yield* Effect.flip(group.list),
          yield* Effect.flip(Effect.scoped(groupOf(a).join({ id: bad, value: "1" })))
        ]
        for (const failure of failures) {
          yield* expect(
            failure._tag === "CoordinatorError" && failure.reason._tag === "InvalidOptions",
            `InvalidOptions, not ${failure.message}`
          )
        }
        yield* expect(yield* holds(harness, []), "nothing was written")
      })
    )
  ),

  conform(contract, "names that share a beginning do not bleed into one another", [], (harness) =>
    Effect.gen(function* () {
      const a = yield* harness.process("a")
      const short = groupOf(a, { kind: "election", name: "svc" })
      const long = groupOf(a, { kind: "election", name: "svc-two" })
      const otherKind = groupOf(a, { kind: "lock", name: "svc" })
      yield* long.join({ value: "long" })
      yield* otherKind.join({ value: "lock" })
      yield* expectEqual((yield* short.list).size, 0, "members of svc")
      yield* short.join({ value: "short" })
      yield* expectEqual((yield* long.list).size, 1, "members of svc-two")
    })
  )
]
