/** Keeps one session of a store alive: the effects that hang off `Session.transition`. */
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as FiberHandle from "effect/FiberHandle"
import * as Metric from "effect/Metric"
import * as Random from "effect/Random"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { CoordinatorError, Unreachable } from "../CoordinatorError.ts"
import * as Membership from "../Membership.ts"
import * as Session from "../Session.ts"
import { backoff } from "./backoff.ts"
import * as Cell from "./cell.ts"
import * as metrics from "./metrics.ts"
import type { Facts, Store } from "./store.ts"
import { unexpected } from "./unexpected.ts"
import { within } from "./within.ts"

export interface SessionKeeper {
  readonly state: Cell.Cell<Session.SessionState>
  readonly clock: Clock.Clock
  /** The lease under which this process may act at this very instant, from the clocks. */
  readonly leaseUnsafe: () => Session.Lease | undefined
  /** The newest lease that a session had, also of one that is over. */
  readonly lastUnsafe: (session: string) => Session.Lease | undefined
  /** Waits for a lease. */
  readonly awaitLease: Effect.Effect<Session.Lease>
  readonly stepUnsafe: (event: Session.SessionEvent) => void
  /** Whether this coordinator created the session, now or earlier. */
  readonly owns: (session: string) => boolean
}

export interface SessionOptions {
  readonly ttlMillis: number
  readonly requestMillis: number
  readonly connect: "wait" | "background"
  readonly connectMillis: number
}

export interface SessionHooks {
  /** Ends the memberships that a session carried, in the same turn in which it is lost. */
  readonly surrenderUnsafe: (session: string, cause: Session.LossCause) => void
  /** Runs after acknowledged renewals, one at a time. */
  readonly renewed: (lease: Session.Lease) => Effect.Effect<void>
}

/** Renewals go out at a third of the TTL, so that two may be lost before the deadline. */
const defaultRenewalsPerTtl = 3

/** A failed renewal is tried again this often within a TTL: several times before the deadline even where it fails late. */
const retriesPerTtl = 12

/** How late a jump of the wall clock may be noticed by the timers, as a part of the TTL; `ensure` notices it at once. */
const looksPerTtl = 10

const unanswered = (facts: Facts, operation: string, millis: number) =>
  new CoordinatorError({
    engine: facts.engine,
    operation,
    endpoint: facts.endpoint,
    reason: new Unreachable({ detail: `No answer within ${Math.round(millis)} ms` })
  })

export const make = Effect.fnUntraced(function* (
  facts: Facts,
  store: Store,
  options: SessionOptions,
  hooks: SessionHooks
): Effect.fn.Return<SessionKeeper, CoordinatorError, Scope.Scope> {
  const renewalsPerTtl = facts.renewalsPerTtl ?? defaultRenewalsPerTtl
  const clock = yield* Clock.clockWith(Effect.succeed)
  const context = yield* Effect.context<never>()
  const fork = Effect.runForkWith(context)
  const state = yield* Cell.make<Session.SessionState>(Session.initial)
  /** Every session that was created, and of those that were taken the newest lease. */
  const created = new Map<string, Session.Lease | undefined>()
  const housekeeping = yield* FiberHandle.make()
  let connected = Deferred.makeUnsafe<Session.Lease>()
  let lost = Deferred.makeUnsafe<void>()

  const now = () => Session.instantUnsafe(clock)
  const lease = () =>
    state.value._tag === "Connected" || state.value._tag === "Suspended" ? state.value.lease : undefined

  /** One request to the store, which ends in time. */
  const ask = <A>(operation: string, request: Effect.Effect<A, CoordinatorError>, millis: number) =>
    within(request, { millis, orElse: Effect.suspend(() => Effect.fail(unanswered(facts, operation, millis))) })

  const revoke = (id: string) =>
    ask("Session.revoke", store.revoke(id), options.requestMillis).pipe(
      // The session is over for us either way; the store ends it by its own clock where this request fails.
      Effect.ignore({ log: "Debug" })
    )

  const stepUnsafe = (event: Session.SessionEvent): void => {
    const before = state.value
    const { actions, state: after } = Session.transition(before, event)
    if (after === before && actions.length === 0) return
    if (after !== before) Cell.setUnsafe(state, after)
    if ("lease" in after) created.set(after.lease.id, after.lease)
    if (after._tag === "Connected" && before._tag === "Connecting") {
      Deferred.doneUnsafe(connected, Effect.succeed(after.lease))
    }
    for (const action of actions) {
      if (action._tag === "Surrender") {
        // One that nobody has completed keeps its waiters: they wait for the next session.
        if (Deferred.isDoneUnsafe(connected)) connected = Deferred.makeUnsafe()
        hooks.surrenderUnsafe(action.id, action.cause)
        Deferred.doneUnsafe(lost, Effect.void)
      } else if (action._tag === "Revoke" && event._tag !== "Closed") {
        fork(revoke(action.id))
      }
    }
    if (after._tag !== before._tag) fork(report(before, after))
  }

  const report = Effect.fnUntraced(function* (before: Session.SessionState, after: Session.SessionState) {
    if (after._tag === "Suspended") {
      const seconds = Math.max(0, (after.deadline - clock.currentTimeMillisUnsafe()) / 1000).toFixed(1)
      yield* Effect.logWarning(
        `The session with ${facts.engine} is suspended: ${after.cause.message}. ` +
          `Memberships are given up in ${seconds} s unless a renewal is answered before`
      )
    } else if (after._tag === "Lost") {
      yield* Metric.update(Metric.withAttributes(metrics.sessionsLost, { cause: after.cause }), 1)
      yield* Effect.logError(
        `The session with ${facts.engine} is lost because ${Membership.describeCause(after.cause)}. ` +
          `Its memberships have ended; a new session is being opened`
      )
    } else if (after._tag === "Connected") {
      yield* Effect.logInfo(
        before._tag === "Suspended"
          ? `The session with ${facts.engine} is renewed again`
          : `Session ${after.lease.generation} with ${facts.engine} is open for ${after.lease.ttlMillis} ms at a time`
      )
    }
  })

  const openOnce = Effect.fnUntraced(function* (generation: number, millis: number) {
    const sentAt = now()
    const granted = yield* ask("Session.open", store.open(options.ttlMillis), millis)
    created.set(granted.id, undefined)
    const opened = { id: granted.id, generation, sentAt, ttlMillis: granted.ttlMillis, margin: facts.margin }
    stepUnsafe({ _tag: "Opened", lease: opened, now: now() })
  })

  const open = (generation: number) =>
    openOnce(generation, options.requestMillis).pipe(
      Effect.catchDefect((defect) => Effect.fail(unexpected(facts, "Session.open")(defect))),
      Effect.tapError((cause) => {
        stepUnsafe({ _tag: "OpenFailed", cause })
        return Effect.logWarning(`No session with ${facts.engine} yet; trying again. ${cause.message}`)
      }),
      Effect.retry(backoff(100, Math.max(1000, options.ttlMillis / renewalsPerTtl))),
      Effect.orDie
    )

  const renewOnce = Effect.fnUntraced(function* (current: Session.Lease, sentAt: Session.Instant) {
    // No longer than until the next is due: one that is lost must not take the time of those that could still make it good.
    const patience = Math.min(options.requestMillis, current.ttlMillis / renewalsPerTtl)
    const millis = Math.max(1, Math.min(patience, Session.remainingMillis(current, sentAt)))
    const answer = yield* ask("Session.renew", store.renew(current.id), millis).pipe(
      Effect.catchDefect((defect) => Effect.fail(unexpected(facts, "Session.renew")(defect))),
      Effect.result
    )
    if (answer._tag === "Failure") {
      yield* Metric.update(Metric.withAttributes(metrics.renewals, { outcome: "failed" }), 1)
      stepUnsafe({ _tag: "RenewalFailed", id: current.id, cause: answer.failure, now: now() })
      return false
    }
    switch (answer.success._tag) {
      case "Renewed": {
        yield* Metric.update(Metric.withAttributes(metrics.renewals, { outcome: "acknowledged" }), 1)
        const { ttlMillis } = answer.success
        stepUnsafe({ _tag: "Renewed", id: current.id, sentAt, ttlMillis, now: now() })
        return true
      }
      case "Gone":
        stepUnsafe({ _tag: "Expired", id: current.id, cause: "Expired" })
        return false
      case "Rewound":
        stepUnsafe({ _tag: "Expired", id: current.id, cause: "StoreRewound" })
        return false
    }
  })

  const renewals = Effect.gen(function* () {
    let answered = true
    let sentAt = lease()?.sentAt ?? now()
    for (let current = lease(); current !== undefined; current = lease()) {
      const jitter = yield* Random.nextBetween(0.9, 1.1)
      const pause = (current.ttlMillis / (answered ? renewalsPerTtl : retriesPerTtl)) * jitter
      // From the sending, as the deadline is: time that the last one has spent waiting is no longer there to be spent.
      yield* Effect.sleep(Math.max(0, pause - Session.elapsedMillis(sentAt, now())))
      const still = lease()
      if (still === undefined) return
      sentAt = now()
      answered = yield* renewOnce(still, sentAt)
      // Apart: what it asks of the store may hang, and the next renewal must not wait for it.
      if (answered) yield* FiberHandle.run(housekeeping, hooks.renewed(still), { onlyIfMissing: true })
    }
  })

  /** Fires at the deadline whatever the renewal is doing: a request in flight must not hold the loss up. */
  const deadline = Effect.gen(function* () {
    for (let current = lease(); current !== undefined; current = lease()) {
      const remaining = Session.remainingMillis(current, now())
      if (remaining <= 0) stepUnsafe({ _tag: "Ticked", now: now() })
      else yield* Effect.sleep(Math.max(1, Math.min(remaining, current.ttlMillis / looksPerTtl)))
    }
  })

  const keep = Effect.gen(function* () {
    while (true) {
      if (state.value._tag === "Connecting") yield* open(state.value.generation)
      if (lease() !== undefined) {
        yield* Effect.raceFirst(
          Deferred.await(lost),
          Effect.all([renewals, deadline], { concurrency: "unbounded", discard: true })
        )
      }
      lost = Deferred.makeUnsafe()
      stepUnsafe({ _tag: "Reopened" })
    }
  })

  yield* Effect.addFinalizer(() => {
    const last = lease()
    stepUnsafe({ _tag: "Closed" })
    return last === undefined ? Effect.void : revoke(last.id)
  })
  if (options.connect === "wait") {
    // What the last attempt met says more than that the time is over.
    let failure = unanswered(facts, "Session.open", options.connectMillis)
    const attempts = openOnce(1, options.connectMillis).pipe(
      Effect.tapError((error) => Effect.sync(() => void (failure = error))),
      Effect.retry({ schedule: backoff(100, 1000), while: (error) => error.isTransient })
    )
    yield* within(attempts, { millis: options.connectMillis, orElse: Effect.suspend(() => Effect.fail(failure)) })
  }
  yield* keep.pipe(Effect.forkScoped)
  yield* store.rewinds.pipe(
    Stream.runForEach(() =>
      Effect.suspend(() => {
        const current = lease()
        if (current !== undefined) stepUnsafe({ _tag: "Expired", id: current.id, cause: "StoreRewound" })
        return Effect.logError(
          `The store ${facts.engine} was rewound to an earlier state. Every watch re-lists and every member joins anew`
        )
      })
    ),
    Effect.forkScoped({ startImmediately: true })
  )

  return {
    state,
    clock,
    stepUnsafe,
    owns: (session) => created.has(session),
    lastUnsafe: (session) => created.get(session),
    leaseUnsafe: () => {
      const current = lease()
      if (current === undefined || Session.isCurrent(current, now())) return current
      stepUnsafe({ _tag: "Ticked", now: now() })
      return undefined
    },
    awaitLease: Effect.suspend(() => Deferred.await(connected))
  }
})
