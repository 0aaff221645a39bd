/** One membership: its reconciliation with the store from joining to withdrawal. */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { CoordinatorError } from "../CoordinatorError.ts"
import type { JoinOptions } from "../Group.ts"
import * as Membership from "../Membership.ts"
import type * as Session from "../Session.ts"
import { backoff } from "./backoff.ts"
import * as Cell from "./cell.ts"
import type { Debts } from "./debts.ts"
import * as Machine from "./membershipMachine.ts"
import * as Notifier from "./notifier.ts"
import type { SessionKeeper } from "./sessionKeeper.ts"
import type { Entry, GroupStore } from "./store.ts"

/** What memberships need of their coordinator. */
export interface Environment {
  readonly keeper: SessionKeeper
  readonly debts: Debts
  readonly requestMillis: number
  readonly background: boolean
  readonly read: <A>(
    operation: string,
    request: Effect.Effect<A, CoordinatorError>
  ) => Effect.Effect<A, CoordinatorError>
  readonly write: <A>(
    operation: string,
    request: Effect.Effect<A, CoordinatorError>
  ) => Effect.Effect<A, CoordinatorError>
  /**
   * Removes what its membership gave up, and tells of a removal that was not confirmed. It is waited for unless the one
   * before it was left unanswered: a scope with many memberships closes in one request's time, not in one for each.
   */
  readonly release: (
    request: Effect.Effect<void, CoordinatorError>,
    unconfirmed: (error: CoordinatorError) => Effect.Effect<void>
  ) => Effect.Effect<void>
  readonly unreachable: (operation: string) => CoordinatorError
  readonly checkSize: (operation: string, value: string) => Effect.Effect<void, CoordinatorError>
  /** Runs an effect by this process's clock, whoever calls it. */
  readonly local: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
}

export interface LocalMembership {
  readonly membership: Membership.Membership
  readonly stateUnsafe: () => Machine.MembershipState
  readonly stepUnsafe: (event: Machine.MembershipEvent) => void
}

export interface JoinRequest {
  readonly label: string
  readonly key: string
  readonly group: GroupStore
  readonly id: string
  readonly value: string
  readonly options: JoinOptions
}

/** Joins, and returns once the store has confirmed it; on failure or interruption everything is taken back. */
export const join = Effect.fnUntraced(function* (
  env: Environment,
  request: JoinRequest,
  scope: Scope.Scope,
  /** Enters it under its key, or refuses because the key is taken: in one turn, since two may join at once. */
  registerUnsafe: (local: LocalMembership) => (() => void) | undefined
) {
  const { group, id, label, options } = request
  const rejoin = options.rejoin ?? false
  let state = Machine.initial
  const status = yield* Cell.make(Machine.status(state))
  const identity = {}
  const lost = Deferred.makeUnsafe<never, Membership.MembershipLost>()
  const first = Deferred.makeUnsafe<void, CoordinatorError | Membership.MemberConflict>()
  const changed = Notifier.make()
  let newest: bigint | undefined
  let desired = { value: request.value, version: 0 }
  let written = -1
  let version = 0n
  let blocked = false
  let setters: Array<{ readonly version: number; readonly done: Deferred.Deferred<void, CoordinatorError> }> = []
  /** The session under which a create was sent whose answer has not come. */
  let unanswered: string | undefined

  const lostError = (cause: Session.LossCause) => new Membership.MembershipLost({ group: label, id, cause })

  const stepUnsafe = (event: Machine.MembershipEvent): void => {
    const after = Machine.transition(rejoin, state, event)
    if (after === state) return
    state = after
    if (after._tag === "Held") newest = after.token
    Cell.setUnsafe(status, Machine.status(after))
    if (after._tag === "Lost" || after._tag === "Closed") {
      const cause = after._tag === "Lost" ? after.cause : "Closed"
      // Made when read: mostly nobody does, and an error costs its stack trace.
      const ended = Effect.suspend(() => Effect.fail(lostError(cause)))
      const refused = Effect.suspend(() => Effect.fail(env.unreachable("Group.join")))
      Deferred.doneUnsafe(lost, ended)
      Deferred.doneUnsafe(first, refused)
    }
    changed.wakeUnsafe()
  }

  const oweUnsafe = (session: string, token: bigint | undefined) =>
    env.debts.addUnsafe({ group, key: request.key, id, token, session, by: identity })

  const isOver = () => state._tag === "Lost" || state._tag === "Closed"

  const settleSetters = (upTo: number, result: Effect.Effect<void, CoordinatorError>) => {
    const due = setters.filter((setter) => setter.version <= upTo)
    setters = setters.filter((setter) => setter.version > upTo)
    for (const setter of due) Deferred.doneUnsafe(setter.done, result)
  }

  /** The store holds my entry. The answer may have come after the deadline: then the holding is over before it began. */
  const confirmUnsafe = (lease: Session.Lease, entry: Pick<Entry, "token" | "version">, value: number): void => {
    unanswered = undefined
    written = value
    version = entry.version
    if (env.keeper.leaseUnsafe()?.id !== lease.id) return
    stepUnsafe({ _tag: "Confirmed", token: entry.token, session: lease.id })
    settleSetters(value, Effect.void)
  }

  /**
   * An entry stands under my id. One that an unanswered create of this very joining may have made is adopted; any other of
   * mine is removed and never overwritten, because an overwrite would keep its token and its place in the order.
   * Returns the entry when it is somebody else's.
   */
  const meet = Effect.fnUntraced(function* (entry: Entry, lease: Session.Lease, mayBeThis: boolean) {
    if (entry.owner === undefined || !env.keeper.owns(entry.owner)) {
      unanswered = undefined
      return entry
    }
    if (mayBeThis && entry.owner === lease.id && !env.debts.inherited(request.key, identity)) {
      confirmUnsafe(lease, entry, entry.value === desired.value ? desired.version : -1)
    } else {
      yield* env.write("Group.join", group.remove(entry))
    }
    return undefined
  })

  /** One attempt; returns the foreign entry that stands in the way, if one does. */
  const attempt = Effect.fnUntraced(function* (lease: Session.Lease) {
    const mayBeThis = unanswered === lease.id
    if (mayBeThis) {
      // A create whose answer was lost is resolved by reading; sent again blindly, it could not tell whose entry it met.
      const found = yield* env.read("Group.join", group.read(id))
      if (Option.isSome(found)) return yield* meet(found.value, lease, true)
    }
    const { value, version: wanted } = desired
    const before = unanswered
    unanswered = lease.id
    const creation = yield* env.write("Group.join", group.create(lease.id, id, value)).pipe(
      Effect.tapError((error) =>
        Effect.sync(() => {
          // It may be applied at any time from now on, also after a later attempt has succeeded and been withdrawn.
          if (error.reason._tag === "OutcomeUnknown") oweUnsafe(lease.id, undefined)
          else unanswered = before
        })
      )
    )
    switch (creation._tag) {
      case "Created":
        return confirmUnsafe(lease, creation, wanted)
      case "Occupied":
        return yield* meet(creation.entry, lease, mayBeThis)
      case "SessionGone":
        unanswered = undefined
        return env.keeper.stepUnsafe({ _tag: "Expired", id: lease.id, cause: "Expired" })
    }
  })

  /** Waits until the foreign holder of my id is gone. */
  const outwait = Effect.fnUntraced(function* (entry: Entry) {
    const holder = entry.owner === undefined ? `an entry without a session` : `session ${entry.owner}`
    // What was joined once is wanted until its scope closes, whoever took the id in between.
    if (options.onConflict === "fail" && !Deferred.isDoneUnsafe(first)) {
      return yield* new Membership.MemberConflict({ group: label, id, holder })
    }
    blocked = true
    stepUnsafe({ _tag: "Blocked", holder })
    yield* Effect.logWarning(
      `${id} in ${label} is held by ${holder}; waiting for it to go. ` +
        `If that is another live process, give this one its own node name`
    )
    yield* group.follow(id, entry.version).pipe(
      Stream.filter(({ entry: now }) => Option.isNone(now) || now.value.token !== entry.token),
      Stream.runHead
    )
  })

  const awaitLease = () =>
    Deferred.isDoneUnsafe(first) || blocked
      ? env.keeper.awaitLease
      : Effect.timeoutOrElse(env.keeper.awaitLease, {
          duration: env.requestMillis,
          orElse: () => Effect.fail(env.unreachable("Group.join"))
        })

  const establish = Effect.gen(function* () {
    while (state._tag !== "Held" && !isOver()) {
      const lease = env.keeper.leaseUnsafe() ?? (yield* awaitLease())
      const inTheWay = yield* attempt(lease).pipe(
        // Once more at once: the second attempt reads what became of the first.
        Effect.catchIf(
          (error) => error.reason._tag === "OutcomeUnknown",
          () => attempt(lease)
        )
      )
      if (inTheWay !== undefined) yield* outwait(inTheWay)
    }
  })

  /** Publishes the desired value until none is ahead of the written one. */
  const publish = Effect.fnUntraced(function* (held: Machine.Held) {
    while (written < desired.version) {
      const wanted = desired
      const holding = { id, token: held.token, owner: held.session, version }
      const answer = yield* env.write("Membership.set", group.update(holding, wanted.value)).pipe(
        Effect.tapError((error) =>
          Effect.sync(() => {
            settleSetters(wanted.version, Effect.fail(error))
          })
        ),
        Effect.catchIf(
          (error) => error.reason._tag === "OutcomeUnknown",
          () => Effect.succeed({ _tag: "Refused" as const })
        )
      )
      if (answer._tag === "Updated") {
        version = answer.version
        written = wanted.version
        settleSetters(wanted.version, Effect.void)
        continue
      }
      // Refused or unanswered: what the store holds now decides whether it is written, to be written again, or not mine.
      const found = Option.getOrUndefined(yield* env.read("Membership.set", group.read(id)))
      if (found === undefined || found.token !== held.token || found.owner !== held.session) {
        return stepUnsafe({ _tag: "EntryGone", token: held.token })
      }
      version = found.version
    }
  })

  /**
   * Watches the own entry: a delete by hand, a restore or a wrong revoke is a loss while the session lives. Where the store has
   * a cheap way to say that something may have happened, the dear one that is certain begins only then.
   */
  const guard = (held: Machine.Held) => {
    const { attend } = group
    const [attended, known] =
      attend === undefined
        ? [Effect.void, held.token]
        : [attend({ id, token: held.token, owner: held.session }), undefined]
    const gone = group.follow(id, known).pipe(
      Stream.filter(
        ({ entry, revision }) =>
          revision >= held.token &&
          (Option.isNone(entry) || entry.value.token !== held.token || entry.value.owner !== held.session)
      ),
      Stream.runHead
    )
    return Effect.map(Effect.andThen(attended, gone), () => stepUnsafe({ _tag: "EntryGone", token: held.token }))
  }

  const patience = backoff(100, Math.max(1000, env.requestMillis))

  const persist = <A>(what: string, effect: Effect.Effect<A, CoordinatorError | Membership.MemberConflict>) =>
    effect.pipe(
      Effect.tapError((error) => Effect.logWarning(`${what} ${id} in ${label} failed; trying again. ${error.message}`)),
      Effect.retry(patience),
      Effect.orDie
    )

  /** Until the place is lost. A member whose value never changes costs no fiber for publishing it. */
  const hold = Effect.fnUntraced(function* (held: Machine.Held) {
    const isLeft = () => state !== held
    const watching = yield* Effect.forkChild(persist("Watching", guard(held)), { startImmediately: true })
    while (!isLeft()) {
      yield* changed.until(() => isLeft() || written < desired.version)
      if (!isLeft()) yield* Effect.raceFirst(changed.until(isLeft), persist("Publishing", publish(held)))
    }
    yield* Fiber.interrupt(watching)
  })

  const reconcile = Effect.gen(function* () {
    const started = yield* establish.pipe(
      // Who has waited for another holder to go is not sent away by one failed request.
      Effect.retry({ schedule: patience, while: (error) => blocked && "isTransient" in error && error.isTransient }),
      Effect.exit
    )
    const awaited = Deferred.doneUnsafe(first, started)
    if (awaited && Exit.isFailure(started)) return
    while (!isOver()) {
      if (state._tag === "Held") {
        yield* hold(state)
        if (!isOver()) yield* Effect.logWarning(`${id} has lost its place in ${label} and joins again`)
      } else {
        yield* persist("Joining", establish)
      }
    }
  })

  const withdraw = Effect.fnUntraced(function* () {
    const last = state
    stepUnsafe({ _tag: "Withdrawn" })
    for (const setter of setters) Deferred.doneUnsafe(setter.done, Effect.fail(env.unreachable("Membership.set")))
    const current = env.keeper.leaseUnsafe()
    if (last._tag === "Held" && last.session === current?.id) {
      const { session, token } = last
      yield* env.release(group.remove({ id, token, owner: session }), (error) => {
        oweUnsafe(session, token)
        return Effect.logWarning(
          `Withdrawing ${id} from ${label} was not confirmed; it is removed with the next renewal. ${error.message}`
        )
      })
    } else if (unanswered !== undefined && unanswered === current?.id) {
      oweUnsafe(unanswered, undefined)
    }
  })

  const tokenOrLost = (token: bigint | undefined) =>
    token === undefined ? Effect.fail(lostError("NotYetHeld")) : Effect.succeed(token)

  const ensure = Effect.suspend(() => {
    // Reading the clocks may itself end the session, so they are read before the state.
    const lease = env.keeper.leaseUnsafe()
    if (state._tag === "Held" && lease?.id === state.session) return Effect.succeed(state.token)
    switch (state._tag) {
      case "Lost":
      case "Rejoining":
        return Effect.fail(lostError(state.cause))
      case "Closed":
        return Effect.fail(lostError("Closed"))
      case "Held":
        return Effect.fail(lostError("DeadlinePassed"))
      default:
        return Effect.fail(lostError("NotYetHeld"))
    }
  })

  const set = Effect.fnUntraced(function* (value: string) {
    if (state._tag === "Lost") return yield* lostError(state.cause)
    if (state._tag === "Closed") return yield* lostError("Closed")
    yield* env.checkSize("Membership.set", value)
    desired = { value, version: desired.version + 1 }
    const done = Deferred.makeUnsafe<void, CoordinatorError>()
    setters.push({ version: desired.version, done })
    changed.wakeUnsafe()
    yield* Effect.raceFirst(Deferred.await(done), Deferred.await(lost)).pipe(
      Effect.timeoutOrElse({
        duration: env.requestMillis,
        orElse: () => Effect.fail(env.unreachable("Membership.set"))
      }),
      env.local
    )
  })

  const membership: Membership.Membership = {
    id,
    token: Effect.suspend(() => tokenOrLost(newest)),
    ensure,
    lost: Deferred.await(lost),
    status: Cell.changes(status),
    set
  }

  return yield* Effect.uninterruptibleMask(
    Effect.fnUntraced(function* (restore) {
      const unregister = registerUnsafe({ membership, stateUnsafe: () => state, stepUnsafe })
      if (unregister === undefined) {
        return yield* new Membership.MemberConflict({ group: label, id, holder: "another membership of this process" })
      }
      if (env.background && rejoin && env.keeper.state.value._tag === "Connecting") {
        Deferred.doneUnsafe(first, Effect.void)
      }
      const fiber = yield* Effect.forkDetach(env.local(Effect.interruptible(reconcile)))
      const close = Fiber.interrupt(fiber).pipe(
        Effect.andThen(env.local(withdraw())),
        Effect.ensuring(Effect.sync(unregister))
      )
      yield* restore(Deferred.await(first)).pipe(Effect.onExit((exit) => (Exit.isSuccess(exit) ? Effect.void : close)))
      yield* Scope.addFinalizer(scope, close)
      return membership
    })
  )
})
