/**
 * The session: the one thing in the store that keeps all memberships of a process alive, and the arithmetic that tells
 * for how long the process may still believe in it.
 *
 * **When to use**
 *
 * Read `Coordinator.session` to show or probe the connection of this process to its store. An engine steps
 * {@link transition}; nobody else needs it.
 *
 * **Details**
 *
 * ```text
 *                 Opened                 RenewalFailed
 *  Connecting ─────────────▶ Connected ◀──────────────▶ Suspended
 *      ▲                         │         Renewed          │
 *      │ Reopened                │ Expired, Ticked past     │ the same
 *      │                         ▼ the deadline             ▼
 *      └─────────────────────── Lost ◀──────────────────────┘        any ── Closed ──▶ Closed
 * ```
 *
 * The deadline counts from the moment at which the last renewal that the quorum acknowledged was *sent*, because the
 * store counts from some moment after that one. Elapsed time is the larger of monotonic and wall time: a monotonic
 * clock may stand still while a machine is suspended, and a wall clock may be set back. Taking the larger can only end
 * a session too early, never too late.
 *
 * `Lost` is final for that session's id: an answer that arrives afterwards does not bring it back.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type { CoordinatorError } from "./CoordinatorError.ts"

/**
 * One reading of both clocks of a process.
 *
 * **Details**
 *
 * `monotonic` is in nanoseconds from an arbitrary origin, `wall` in milliseconds since 1970. Two instants compare only
 * when the same process took them.
 *
 * @category models
 * @since 0.1.0
 */
export interface Instant {
  readonly monotonic: bigint
  readonly wall: number
}

/**
 * Reads both clocks at once, for synchronous code that already holds a `Clock`.
 *
 * @category constructors
 * @since 0.1.0
 */
export const instantUnsafe = (clock: Clock.Clock): Instant => ({
  monotonic: clock.monotonicTimeNanosUnsafe(),
  wall: clock.currentTimeMillisUnsafe()
})

/**
 * Reads both clocks of the running fiber at once.
 *
 * **Example** (Measuring elapsed time)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Session } from "effect-ensemble"
 *
 * const program = Effect.gen(function*() {
 *   const start = yield* Session.instant
 *   const end = { monotonic: start.monotonic + 1_000_000_000n, wall: start.wall - 60_000 }
 *   return Session.elapsedMillis(start, end) // a wall clock set back by a minute changes nothing
 * })
 * console.log(await Effect.runPromise(program)) // => 1000
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const instant: Effect.Effect<Instant> = Clock.clockWith((clock) => Effect.sync(() => instantUnsafe(clock)))

/**
 * Milliseconds from one instant to another: the larger of monotonic and wall time, never negative.
 *
 * @category combinators
 * @since 0.1.0
 */
export const elapsedMillis = (since: Instant, now: Instant): number =>
  Math.max(0, Number(now.monotonic - since.monotonic) / 1_000_000, now.wall - since.wall)

/**
 * What the store granted and when that was asked for.
 *
 * **Details**
 *
 * `ttlMillis` is what the store granted, not what was requested. `margin` is the part of it that this process uses
 * (0.8, ZooKeeper 0.5). `generation` counts the sessions of this coordinator from 1.
 *
 * @category models
 * @since 0.1.0
 */
export interface Lease {
  readonly id: string
  readonly generation: number
  readonly sentAt: Instant
  readonly ttlMillis: number
  readonly margin: number
}

/**
 * Milliseconds for which this process may still act under the lease; zero or less means that it must have stopped.
 *
 * **Example** (The deadline counts from the sending)
 *
 * ```ts
 * import { Session } from "effect-ensemble"
 *
 * const sentAt = { monotonic: 0n, wall: 0 }
 * const lease = { id: "s1", generation: 1, sentAt, ttlMillis: 15_000, margin: 0.8 }
 * console.log(Session.remainingMillis(lease, sentAt)) // => 12000
 * console.log(Session.remainingMillis(lease, { monotonic: 0n, wall: 20_000 })) // => -8000
 * ```
 *
 * @category combinators
 * @since 0.1.0
 */
export const remainingMillis = (lease: Lease, now: Instant): number =>
  lease.ttlMillis * lease.margin - elapsedMillis(lease.sentAt, now)

/**
 * Whether this process may still act under the lease at this instant.
 *
 * @category guards
 * @since 0.1.0
 */
export const isCurrent = (lease: Lease, now: Instant): boolean => remainingMillis(lease, now) > 0

/**
 * Milliseconds until the store itself may drop the lease, which is later than {@link remainingMillis}: a body that
 * still runs at that moment has overrun.
 *
 * @category combinators
 * @since 0.1.0
 */
export const untilStoreExpiryMillis = (lease: Lease, now: Instant): number =>
  lease.ttlMillis - elapsedMillis(lease.sentAt, now)

/**
 * Why a session or a membership ended without its owner asking for it.
 *
 * **Details**
 *
 * - `DeadlinePassed`: no renewal was acknowledged in time; the process stopped by its own clock.
 * - `Expired`: the store answered that the session is gone.
 * - `StoreRewound`: the store was restored to an earlier state.
 * - `DebtUnsettled`: something that the session left behind could not be removed for two TTLs, so the session was
 *   given up to remove it.
 * - `EntryGone`: the session lives, but the member's own entry was deleted or replaced.
 * - `Closed`: the membership's scope, or the coordinator, has closed.
 * - `NotYetHeld`: the store has not confirmed the membership for the first time yet.
 *
 * @category models
 * @since 0.1.0
 */
export type LossCause =
  | "DeadlinePassed"
  | "Expired"
  | "StoreRewound"
  | "DebtUnsettled"
  | "EntryGone"
  | "Closed"
  | "NotYetHeld"

/**
 * Where the session stands.
 *
 * **Details**
 *
 * `since` is the first unanswered renewal, `deadline` the wall time in milliseconds at which the session is lost if none is
 * answered before.
 *
 * @category models
 * @since 0.1.0
 */
export type SessionState =
  | { readonly _tag: "Connecting"; readonly generation: number; readonly cause: CoordinatorError | undefined }
  | { readonly _tag: "Connected"; readonly lease: Lease }
  | {
      readonly _tag: "Suspended"
      readonly lease: Lease
      readonly since: number
      readonly deadline: number
      readonly cause: CoordinatorError
    }
  | { readonly _tag: "Lost"; readonly lease: Lease; readonly cause: LossCause }
  | { readonly _tag: "Closed" }

/**
 * What can happen to a session.
 *
 * @category models
 * @since 0.1.0
 */
export type SessionEvent =
  | { readonly _tag: "Opened"; readonly lease: Lease; readonly now: Instant }
  | { readonly _tag: "OpenFailed"; readonly cause: CoordinatorError }
  | {
      readonly _tag: "Renewed"
      readonly id: string
      readonly sentAt: Instant
      readonly ttlMillis: number
      readonly now: Instant
    }
  | { readonly _tag: "RenewalFailed"; readonly id: string; readonly cause: CoordinatorError; readonly now: Instant }
  | { readonly _tag: "Expired"; readonly id: string; readonly cause: LossCause }
  | { readonly _tag: "Ticked"; readonly now: Instant }
  | { readonly _tag: "Reopened" }
  | { readonly _tag: "Closed" }

/**
 * What an engine has to do after a transition.
 *
 * **Details**
 *
 * `Surrender` ends every membership that the session carried. `Revoke` tells the store to forget the session, as far as it
 * can be reached. `Open` asks for a new one.
 *
 * @category models
 * @since 0.1.0
 */
export type SessionAction =
  | { readonly _tag: "Open"; readonly generation: number }
  | { readonly _tag: "Surrender"; readonly id: string; readonly cause: LossCause }
  | { readonly _tag: "Revoke"; readonly id: string }

/**
 * A state and what to do on entering it.
 *
 * @category models
 * @since 0.1.0
 */
export interface Transition {
  readonly state: SessionState
  readonly actions: ReadonlyArray<SessionAction>
}

/**
 * The state in which every session starts.
 *
 * @category constructors
 * @since 0.1.0
 */
export const initial: SessionState = { _tag: "Connecting", generation: 1, cause: undefined }

const stay = (state: SessionState): Transition => ({ state, actions: [] })

const lose = (lease: Lease, cause: LossCause): Transition => ({
  state: { _tag: "Lost", lease, cause },
  actions: [
    { _tag: "Surrender", id: lease.id, cause },
    { _tag: "Revoke", id: lease.id }
  ]
})

/** The lease that a state stands on, where it stands on one. */
const leaseOf = (state: SessionState): Lease | undefined =>
  state._tag === "Connected" || state._tag === "Suspended" ? state.lease : undefined

/**
 * The session's whole behaviour: a total function from a state and an event to the next state and its actions.
 *
 * **Gotchas**
 *
 * Events that speak of another session's id, and events that a state does not expect, change nothing: answers may
 * arrive late. An answer that comes after the deadline counts as none, even when no timer has fired yet.
 *
 * @category combinators
 * @since 0.1.0
 */
export const transition = (state: SessionState, event: SessionEvent): Transition => {
  if (state._tag === "Closed") return stay(state)
  const lease = leaseOf(state)
  switch (event._tag) {
    case "Closed":
      return {
        state: { _tag: "Closed" },
        actions:
          lease === undefined
            ? []
            : [
                { _tag: "Surrender", id: lease.id, cause: "Closed" },
                { _tag: "Revoke", id: lease.id }
              ]
      }
    case "Reopened":
      return state._tag === "Lost"
        ? {
            state: { _tag: "Connecting", generation: state.lease.generation + 1, cause: undefined },
            actions: [{ _tag: "Open", generation: state.lease.generation + 1 }]
          }
        : stay(state)
    case "OpenFailed":
      return state._tag === "Connecting" ? stay({ ...state, cause: event.cause }) : stay(state)
    case "Opened":
      if (state._tag !== "Connecting") return { state, actions: [{ _tag: "Revoke", id: event.lease.id }] }
      return isCurrent(event.lease, event.now)
        ? stay({ _tag: "Connected", lease: event.lease })
        : lose(event.lease, "DeadlinePassed")
    case "Renewed": {
      if (lease === undefined || lease.id !== event.id) return stay(state)
      if (!isCurrent(lease, event.now)) return lose(lease, "DeadlinePassed")
      // Answers may overtake one another: only a later sending moves the deadline.
      const later = event.sentAt.monotonic > lease.sentAt.monotonic
      const renewed = later ? { ...lease, sentAt: event.sentAt, ttlMillis: event.ttlMillis } : lease
      return isCurrent(renewed, event.now)
        ? stay({ _tag: "Connected", lease: renewed })
        : lose(renewed, "DeadlinePassed")
    }
    case "RenewalFailed": {
      if (lease === undefined || lease.id !== event.id) return stay(state)
      const remaining = remainingMillis(lease, event.now)
      if (remaining <= 0) return lose(lease, "DeadlinePassed")
      return stay({
        _tag: "Suspended",
        lease,
        since: state._tag === "Suspended" ? state.since : event.now.wall,
        deadline: event.now.wall + remaining,
        cause: event.cause
      })
    }
    case "Expired":
      return lease === undefined || lease.id !== event.id ? stay(state) : lose(lease, event.cause)
    case "Ticked":
      return lease === undefined || isCurrent(lease, event.now) ? stay(state) : lose(lease, "DeadlinePassed")
  }
}
