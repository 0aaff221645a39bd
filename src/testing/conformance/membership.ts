/** A membership: scoped, ordered, never two under one id, never under a name that a store cannot hold. */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import {
  background,
  conform,
  eventually,
  expect,
  expectEqual,
  fault,
  forTtls,
  groupOf,
  holds,
  ids,
  isHeld,
  joinScoped,
  tokenOf,
  valueOf
} from "./harness.ts"
import type { Case } from "./harness.ts"

const contract = "Membership"

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
