/** Holding a place alone: campaigning for it, and running a body for no longer than it is held. */
import type * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Metric from "effect/Metric"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { Coordinator } from "../Coordinator.ts"
import type { CoordinatorError } from "../CoordinatorError.ts"
import type { Group, GroupName } from "../Group.ts"
import { label } from "../Group.ts"
import { describeCause } from "../Membership.ts"
import type { MemberConflict, Membership, MembershipLost } from "../Membership.ts"
import * as Session from "../Session.ts"
import * as AwaitTurn from "./awaitTurn.ts"
import * as Leases from "./leases.ts"
import * as metrics from "./metrics.ts"

/** A membership whose turn has come, under the one token that it will ever have. */
export interface Tenure {
  readonly group: GroupName
  readonly id: string
  readonly token: bigint
  readonly ensure: Effect.Effect<bigint, MembershipLost>
  readonly lost: Effect.Effect<never, MembershipLost>
}

/**
 * Joins and does what `settle` does with the membership, for as long as the scope stays open.
 *
 * A failure or interruption before `settle` is done takes the candidate back at once, not when the caller's scope closes:
 * the caller that gave up waiting would otherwise be elected later without knowing it, and nobody would lead.
 */
export const enter = <A, E>(
  group: Group,
  entry: { readonly id?: string | undefined; readonly value: string },
  settle: (membership: Membership) => Effect.Effect<A, E>
): Effect.Effect<A, E | CoordinatorError | MemberConflict, Scope.Scope> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.flatMap(Effect.scope, (outer) =>
      Effect.flatMap(Scope.fork(outer), (own) =>
        restore(Effect.flatMap(group.join(entry), settle)).pipe(
          Scope.provide(own),
          Effect.onExit((exit) => (Exit.isSuccess(exit) ? Effect.void : Scope.close(own, exit)))
        )
      )
    )
  )

/** Waits for the turn of a membership. */
export const awaitTenure = (
  group: Group,
  membership: Membership
): Effect.Effect<Tenure, CoordinatorError | MembershipLost> =>
  Effect.map(
    Effect.flatMap(AwaitTurn.granted(membership), (token) =>
      token === undefined ? group.awaitTurn(membership) : Effect.succeed(token)
    ),
    (token) => ({ group: group.name, id: membership.id, token, ensure: membership.ensure, lost: membership.lost })
  )

/** How a tenure ended: with its body, or by a loss that stopped the body. */
export type Outcome<A, E> =
  | { readonly _tag: "Ended"; readonly exit: Exit.Exit<A, E> }
  | { readonly _tag: "Lost"; readonly loss: MembershipLost }

const isLost = (error: unknown): error is MembershipLost =>
  typeof error === "object" && error !== null && "_tag" in error && error._tag === "MembershipLost"

/** Whether a body did nothing but obey a loss: it was interrupted, or asked its tenure and was refused. */
const obeyed = (cause: Cause.Cause<unknown>, loss: MembershipLost): boolean =>
  cause.reasons.every(
    (reason) =>
      reason._tag === "Interrupt" ||
      (reason._tag === "Fail" &&
        isLost(reason.error) &&
        reason.error.group === loss.group &&
        reason.error.id === loss.id)
  )

/** Why a tenure is not held now, by the clocks alone. */
const refusal = (tenure: Tenure): Effect.Effect<MembershipLost | undefined> =>
  Effect.match(tenure.ensure, { onFailure: (loss) => loss, onSuccess: () => undefined })

interface FollowedLease {
  /** The newest lease of the session that the tenure stands on: a later session is not the one. */
  readonly latest: () => Session.Lease | undefined
  /** Keeps the one that is the newest now. */
  readonly stop: Effect.Effect<void>
}

/** The lease under which a tenure was granted, of a coordinator that tells no more than its session's states. */
const followStates = Effect.fnUntraced(function* (
  coordinator: Coordinator["Service"]
): Effect.fn.Return<FollowedLease> {
  const leaseOf = (state: Session.SessionState) => ("lease" in state ? state.lease : undefined)
  const begun = Deferred.makeUnsafe<void>()
  let lease: Session.Lease | undefined
  const fiber = yield* coordinator.session.pipe(
    Stream.runForEach((state) =>
      Effect.sync(() => {
        const newer = leaseOf(state)
        if (!Deferred.isDoneUnsafe(begun) || (newer !== undefined && newer.id === lease?.id)) lease = newer
        Deferred.doneUnsafe(begun, Effect.void)
      })
    ),
    Effect.ensuring(Deferred.succeed(begun, undefined)),
    Effect.forkChild({ startImmediately: true })
  )
  yield* Deferred.await(begun)
  return { latest: () => lease, stop: Fiber.interrupt(fiber) }
})

const followLease = (coordinator: Coordinator["Service"]): Effect.Effect<FollowedLease> =>
  Effect.suspend(() => {
    const leases = Leases.of(coordinator)
    if (leases === undefined) return followStates(coordinator)
    const session = leases.leaseUnsafe()?.id
    const newest = () => (session === undefined ? undefined : leases.lastUnsafe(session))
    let latest = newest
    return Effect.succeed({
      latest: () => latest(),
      stop: Effect.sync(() => {
        const last = latest()
        latest = () => last
      })
    })
  })

interface Options<A, E, R, R2> {
  readonly verb: "leads" | "holds"
  readonly body: Effect.Effect<A, E, R>
  readonly onOverrun: (loss: MembershipLost) => Effect.Effect<unknown, never, R2>
}

const annotated = (group: Group, { id, token }: Tenure) =>
  Effect.annotateLogs({ group: label(group.name), id, token: String(token) })

/** Waits until the store may drop the lease, and says that the work is still running then. */
const overrun = Effect.fnUntraced(function* <A, E, R, R2>(
  group: Group,
  tenure: Tenure,
  { onOverrun, verb }: Options<A, E, R, R2>,
  lease: FollowedLease,
  lost: MembershipLost
) {
  // Renewals go on when only the entry is gone; they do not bring it back.
  if (lost.cause === "EntryGone") yield* lease.stop
  while (true) {
    const known = lease.latest()
    const left = known === undefined ? 0 : Session.untilStoreExpiryMillis(known, yield* Session.instant)
    if (left <= 0) break
    yield* Effect.sleep(Math.ceil(left))
  }
  const name = label(group.name)
  yield* Effect.uninterruptible(
    Effect.logError(
      `The work of ${tenure.id}, which no longer ${verb} ${name} (token ${tenure.token}), was still running when the store ` +
        `could already give its place away: another may be at work at the same time. Make the work ` +
        `interruptible, and let what it writes to compare tokens`
    ).pipe(
      annotated(group, tenure),
      Effect.andThen(Metric.update(Metric.withAttributes(metrics.overruns, { group: name }), 1)),
      Effect.andThen(onOverrun(lost))
    )
  )
})

/**
 * Runs a body while the tenure is held and returns when it has stopped.
 *
 * The interruption is issued in the turn in which the tenure is lost. What still runs when the store itself may drop the
 * lease has overrun: that is reported once, and `onOverrun` runs to its end.
 */
export const hold = <A, E, R, R2>(
  coordinator: Coordinator["Service"],
  group: Group,
  tenure: Tenure,
  options: Options<A, E, R, R2>
): Effect.Effect<Outcome<A, E>, never, R | R2> => {
  const run = (
    restore: <B, E2, R3>(effect: Effect.Effect<B, E2, R3>) => Effect.Effect<B, E2, R3>,
    lease: FollowedLease
  ) =>
    Effect.gen(function* (): Effect.fn.Return<Outcome<A, E>, never, R | R2> {
      let loss: MembershipLost | undefined
      // A fiber of its own is interruptible whatever the caller is: a loss must reach the body.
      const body = yield* Effect.forkChild(options.body, { startImmediately: true })
      const guard = yield* Effect.forkChild(
        Effect.catch(tenure.lost, (lost) => {
          loss = lost
          body.interruptUnsafe()
          const { id, token } = tenure
          const why = describeCause(lost.cause)
          return Effect.logWarning(
            `${id} no longer ${options.verb} ${label(group.name)} (token ${token}): ${why}. Its work is interrupted`
          ).pipe(annotated(group, tenure), Effect.andThen(overrun(group, tenure, options, lease, lost)))
        }),
        { startImmediately: true }
      )
      const exit = yield* restore(Fiber.await(body)).pipe(
        Effect.onInterrupt(() => Fiber.interrupt(body)),
        Effect.ensuring(Effect.andThen(Fiber.interrupt(guard), lease.stop))
      )
      if (Exit.isSuccess(exit)) return { _tag: "Ended", exit }
      // A body may ask its tenure and be refused before the news of the loss has come here.
      const known = loss ?? (yield* refusal(tenure))
      return known !== undefined && obeyed(exit.cause, known) ? { _tag: "Lost", loss: known } : { _tag: "Ended", exit }
    })
  return Effect.uninterruptibleMask((restore) =>
    Effect.flatMap(followLease(coordinator), (lease) =>
      // Asked after the lease was read: as long as it is held, that is the lease it is held by.
      Effect.matchEffect(tenure.ensure, {
        onFailure: (refused) => Effect.as(lease.stop, { _tag: "Lost", loss: refused } as const),
        onSuccess: () => run(restore, lease)
      })
    )
  )
}
