import { assert, describe, it } from "@effect/vitest"
import * as Machine from "../../src/internal/membershipMachine.ts"

const held: Machine.MembershipState = { _tag: "Held", token: 7n, session: "s1" }
const joining: Machine.MembershipState = { _tag: "Joining" }
const conflict: Machine.MembershipState = { _tag: "Conflict", holder: "s9" }
const rejoining: Machine.MembershipState = { _tag: "Rejoining", cause: "Expired" }
const lost: Machine.MembershipState = { _tag: "Lost", cause: "Expired" }
const closed: Machine.MembershipState = { _tag: "Closed" }

const confirmed: Machine.MembershipEvent = { _tag: "Confirmed", token: 7n, session: "s1" }
const blocked: Machine.MembershipEvent = { _tag: "Blocked", holder: "s9" }
const expired: Machine.MembershipEvent = { _tag: "SessionLost", session: "s1", cause: "Expired" }
const gone: Machine.MembershipEvent = { _tag: "EntryGone", token: 7n }
const withdrawn: Machine.MembershipEvent = { _tag: "Withdrawn" }
const ended: Machine.MembershipEvent = { _tag: "SessionLost", session: "s1", cause: "Closed" }

/** State, event, next without rejoin, next with rejoin. */
const rows: ReadonlyArray<
  readonly [Machine.MembershipState, Machine.MembershipEvent, Machine.MembershipState, Machine.MembershipState]
> = [
  [joining, confirmed, held, held],
  [joining, blocked, conflict, conflict],
  [joining, expired, joining, joining],
  [joining, gone, joining, joining],
  [joining, ended, { _tag: "Lost", cause: "Closed" }, { _tag: "Lost", cause: "Closed" }],
  [conflict, confirmed, held, held],
  [conflict, blocked, conflict, conflict],
  [conflict, expired, conflict, conflict],
  [held, confirmed, held, held],
  [held, blocked, held, held],
  [held, expired, lost, rejoining],
  [held, { _tag: "SessionLost", session: "s0", cause: "Expired" }, held, held],
  [held, gone, { _tag: "Lost", cause: "EntryGone" }, { _tag: "Rejoining", cause: "EntryGone" }],
  [held, { _tag: "EntryGone", token: 6n }, held, held],
  [held, ended, { _tag: "Lost", cause: "Closed" }, { _tag: "Lost", cause: "Closed" }],
  [rejoining, confirmed, held, held],
  [rejoining, blocked, conflict, conflict],
  [rejoining, expired, rejoining, rejoining],
  [lost, confirmed, lost, lost],
  [lost, blocked, lost, lost],
  [lost, expired, lost, lost],
  [lost, gone, lost, lost],
  [closed, confirmed, closed, closed],
  [closed, expired, closed, closed]
]

describe("membership", () => {
  for (const [state, event, without, withRejoin] of rows) {
    it(`${state._tag} on ${event._tag}${"token" in event ? ` ${event.token}` : ""}`, () => {
      assert.deepStrictEqual(Machine.transition(false, state, event), without)
      assert.deepStrictEqual(Machine.transition(true, state, event), withRejoin)
    })
  }

  for (const state of [joining, conflict, held, rejoining, closed]) {
    it(`${state._tag} is closed by its withdrawal`, () => {
      assert.deepStrictEqual(Machine.transition(true, state, withdrawn), closed)
    })
  }

  it("keeps the cause of a loss when it is withdrawn after", () => {
    assert.deepStrictEqual(Machine.transition(true, lost, withdrawn), lost)
  })

  it("shows users the token and not the session", () => {
    assert.deepStrictEqual(Machine.status(held), { _tag: "Held", token: 7n })
  })
})
