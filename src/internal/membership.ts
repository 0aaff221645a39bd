/** One membership, from joining to withdrawal. */
import type * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import type { CoordinatorError } from "../CoordinatorError.ts"
import * as Membership from "../Membership.ts"
import * as Cell from "./cell.ts"
import type { Environment, JoinRequest, LocalMembership } from "./localMembership.ts"
import * as Local from "./localMembership.ts"
import * as Machine from "./membershipMachine.ts"
import * as OwnEntry from "./ownEntry.ts"
import * as Reconcile from "./reconcile.ts"

const stepUnsafe = (self: LocalMembership, event: Machine.MembershipEvent): void => {
  const after = Machine.transition(Local.rejoins(self), self.state, event)
  if (after === self.state) return
  self.state = after
  self.unguard?.()
  self.unguard = undefined
  if (after._tag === "Held") self.token = after.token
  Cell.setUnsafe(self.status, Machine.status(after))
  if (after._tag === "Lost" || after._tag === "Closed") {
    const cause = after._tag === "Lost" ? after.cause : "Closed"
    // Made when read: mostly nobody does, and an error costs its stack trace.
    Deferred.doneUnsafe(
      self.lost,
      Effect.suspend(() => Effect.fail(Local.lostBy(self, cause)))
    )
  }
  self.changed.wakeUnsafe()
  // Those who were woken may have gone further.
  if (self.state !== after) return
  if (after._tag === "Held") OwnEntry.guardUnsafe(self, after)
  else Reconcile.workUnsafe(self)
}

const withdraw = (self: LocalMembership): Effect.Effect<void> =>
  Effect.suspend(() => {
    const { env, request, state: last, unanswered } = self
    const { group, id, label } = request
    self.stepUnsafe({ _tag: "Withdrawn" })
    const withdrawn = Effect.suspend(() => Effect.fail(env.unreachable("Membership.set")))
    Local.settleSetters(self, self.desired.version, withdrawn)
    const current = env.keeper.leaseUnsafe()
    if (last._tag === "Held" && last.session === current?.id) {
      const { session, token } = last
      return env.release(group.remove({ id, token, owner: session }), (error) => {
        Local.oweUnsafe(self, session, token)
        return Effect.logWarning(
          `Withdrawing ${id} from ${label} was not confirmed; it is removed with the next renewal. ${error.message}`
        )
      })
    }
    if (unanswered !== undefined && unanswered === current?.id) Local.oweUnsafe(self, unanswered, undefined)
    return Effect.void
  })

const tokenOf = (self: LocalMembership): Effect.Effect<bigint, Membership.MembershipLost> =>
  self.token === undefined ? Effect.fail(Local.lostBy(self, "NotYetHeld")) : Effect.succeed(self.token)

const ensure = (self: LocalMembership): Effect.Effect<bigint, Membership.MembershipLost> => {
  // Reading the clocks may itself end the session, so they are read before the state.
  const lease = self.env.keeper.leaseUnsafe()
  const { state } = self
  return state._tag === "Held" && lease?.id === state.session
    ? Effect.succeed(state.token)
    : Effect.fail(Local.lostBy(self, Local.whyNotHeld(self)))
}

const set = (
  self: LocalMembership,
  value: string
): Effect.Effect<void, Membership.MembershipLost | CoordinatorError> => {
  const { env, state } = self
  if (state._tag === "Lost") return Effect.fail(Local.lostBy(self, state.cause))
  if (state._tag === "Closed") return Effect.fail(Local.lostBy(self, "Closed"))
  const tooLarge = env.checkSize("Membership.set", value)
  return tooLarge === undefined ? env.local(Reconcile.set(self, value)) : Effect.fail(tooLarge)
}

const membershipOf = (self: LocalMembership): Membership.Membership =>
  new Local.Joined(self, {
    token: Effect.suspend(() => tokenOf(self)),
    ensure: Effect.suspend(() => ensure(self)),
    set: (value) => Effect.suspend(() => set(self, value))
  })

/** Until the store has confirmed it. */
const joining = (self: LocalMembership): Effect.Effect<void, CoordinatorError | Membership.MemberConflict> => {
  const { env } = self
  if (env.background && Local.rejoins(self) && env.keeper.state.value._tag === "Connecting") {
    self.joined = true
    Reconcile.workUnsafe(self)
    return Effect.void
  }
  self.busy = true
  return Effect.flatMap(env.local(Reconcile.establishFirst(self)), () => {
    // It may be over already, or lost and not yet held again, though it was held.
    if (Local.isOver(self)) return Effect.fail(env.unreachable("Group.join"))
    self.joined = true
    self.busy = false
    Reconcile.workUnsafe(self)
    return Effect.void
  })
}

/** Joins, and returns once the store has confirmed it; on failure or interruption everything is taken back. */
export const join = (
  env: Environment,
  request: JoinRequest,
  scope: Scope.Scope,
  context: Context.Context<never>,
  /** Enters it under its key, or refuses because the key is taken: in one turn, since two may join at once. */
  registerUnsafe: (local: LocalMembership) => (() => void) | undefined
): Effect.Effect<Membership.Membership, CoordinatorError | Membership.MemberConflict> =>
  Effect.uninterruptibleMask((restore) => {
    const self = Local.make(env, request, context, stepUnsafe)
    const unregister = registerUnsafe(self)
    if (unregister === undefined) {
      const { id, label } = request
      return Effect.fail(
        new Membership.MemberConflict({ group: label, id, holder: "another membership of this process" })
      )
    }
    const close = Effect.suspend(() => {
      const { worker } = self
      const left = Effect.ensuring(env.local(withdraw(self)), Effect.sync(unregister))
      return worker === undefined ? left : Effect.andThen(Fiber.interrupt(worker), left)
    })
    return Effect.flatMap(
      Effect.onExit(restore(joining(self)), (exit) => (Exit.isSuccess(exit) ? Effect.void : close)),
      () => Effect.as(Scope.addFinalizer(scope, close), membershipOf(self))
    )
  })
