/** Brings the store to what a membership wants: its entry created, and created anew after a loss, with the newest value. */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import type { CoordinatorError } from "../CoordinatorError.ts"
import type { MembershipLost } from "../Membership.ts"
import { MemberConflict } from "../Membership.ts"
import type * as Session from "../Session.ts"
import { backoff } from "./backoff.ts"
import type { Cut } from "./deadlines.ts"
import type { LocalMembership } from "./localMembership.ts"
import { isOver, lostBy, oweUnsafe, settleSetters, untilOver } from "./localMembership.ts"
import type { Held } from "./membershipMachine.ts"
import type { Creation, Entry } from "./store.ts"

const unwanted = (self: LocalMembership) => untilOver(self, () => self.env.unreachable("Group.join"))

/** Its own entry stands in the store. The answer may have come after the deadline: then the holding is over before it began. */
const confirmUnsafe = (
  self: LocalMembership,
  lease: Session.Lease,
  entry: Pick<Entry, "token" | "version">,
  written: number,
  isFirst = false
): void => {
  const { keeper } = self.env
  self.unanswered = undefined
  self.written = written
  self.version = entry.version
  if (keeper.leaseUnsafe()?.id !== lease.id) return
  self.firstSince = isFirst ? keeper.clock.monotonicTimeNanosUnsafe() : undefined
  self.stepUnsafe({ _tag: "Confirmed", token: entry.token, session: lease.id })
  settleSetters(self, written, Effect.void)
}

/**
 * An entry stands under the id. One that an unanswered create of this very joining may have made is adopted; any other of
 * this process's is removed and never overwritten, because an overwrite would keep its token and its place in the order.
 * Returns the entry when it is somebody else's.
 */
const meet = (
  self: LocalMembership,
  entry: Entry,
  lease: Session.Lease,
  mayBeThis: boolean
): Effect.Effect<Entry | undefined, CoordinatorError> => {
  const { desired, env, request } = self
  if (entry.owner === undefined || !env.keeper.owns(entry.owner)) {
    self.unanswered = undefined
    return Effect.succeed(entry)
  }
  if (mayBeThis && entry.owner === lease.id && !env.debts.inherited(request.key, self)) {
    confirmUnsafe(self, lease, entry, entry.value === desired.value ? desired.version : -1)
    return Effect.undefined
  }
  return Effect.as(env.write("Group.join", request.group.remove(entry), unwanted(self), self.context), undefined)
}

const create = (self: LocalMembership, lease: Session.Lease, mayBeThis: boolean) => {
  const { desired, env, request } = self
  const before = self.unanswered
  self.unanswered = lease.id
  const creation = request.group.create(lease.id, request.id, desired.value)
  return Effect.matchEffect(env.write("Group.join", creation, unwanted(self), self.context), {
    onFailure: (error) => {
      // It may be applied at any time from now on, also after a later attempt has succeeded and been withdrawn.
      if (error.reason._tag === "OutcomeUnknown") oweUnsafe(self, lease.id, undefined)
      else if (!isOver(self)) self.unanswered = before
      return Effect.fail(error)
    },
    onSuccess: (answer: Creation): Effect.Effect<Entry | undefined, CoordinatorError> => {
      switch (answer._tag) {
        case "Created":
          confirmUnsafe(self, lease, answer, desired.version, answer.isFirst)
          return Effect.undefined
        case "Occupied":
          return meet(self, answer.entry, lease, mayBeThis)
        case "SessionGone":
          self.unanswered = undefined
          env.keeper.stepUnsafe({ _tag: "Expired", id: lease.id, cause: "Expired" })
          return Effect.undefined
      }
    }
  })
}

/** One attempt; returns the foreign entry that stands in the way, if one does. */
const attempt = (self: LocalMembership, lease: Session.Lease): Effect.Effect<Entry | undefined, CoordinatorError> =>
  Effect.suspend(() => {
    const { env, request } = self
    if (self.unanswered !== lease.id) return create(self, lease, false)
    // A create whose answer was lost is resolved by reading; sent again blindly, it could not tell whose entry it met.
    return Effect.flatMap(
      env.read("Group.join", request.group.read(request.id), unwanted(self), self.context),
      (found) => (Option.isSome(found) ? meet(self, found.value, lease, true) : create(self, lease, true))
    )
  })

/** Waits until the foreign holder of the id is gone. */
const outwait = Effect.fnUntraced(function* (self: LocalMembership, entry: Entry) {
  const { group, id, label, options } = self.request
  const holder = entry.owner === undefined ? `an entry without a session` : `session ${entry.owner}`
  // What was joined once is wanted until its scope closes, whoever took the id in between.
  if (options.onConflict === "fail" && !self.joined) {
    return yield* new MemberConflict({ group: label, id, holder })
  }
  self.blocked = true
  self.stepUnsafe({ _tag: "Blocked", holder })
  yield* Effect.logWarning(
    `${id} in ${label} is held by ${holder}; waiting for it to go. ` +
      `If that is another live process, give this one its own node name`
  )
  yield* group.follow(id, entry.version).pipe(
    Stream.filter(({ entry: now }) => Option.isNone(now) || now.value.token !== entry.token),
    Stream.runHead,
    Effect.raceFirst(self.changed.until(() => isOver(self)))
  )
})

const awaitLease = (self: LocalMembership): Effect.Effect<Session.Lease, CoordinatorError> => {
  const { keeper, requestMillis, unreachable } = self.env
  if (self.joined || self.blocked) return keeper.awaitLease
  const over = Effect.andThen(
    self.changed.until(() => isOver(self)),
    Effect.suspend(() => Effect.fail(unreachable("Group.join")))
  )
  return Effect.timeoutOrElse(Effect.raceFirst(keeper.awaitLease, over), {
    duration: requestMillis,
    orElse: () => Effect.fail(unreachable("Group.join"))
  })
}

/** Joins, or joins again. Returns when the place is held, or not wanted any more. */
const establish = (self: LocalMembership): Effect.Effect<void, CoordinatorError | MemberConflict> =>
  Effect.suspend(() => {
    if (self.state._tag === "Held" || isOver(self)) return Effect.void
    const lease = self.env.keeper.leaseUnsafe()
    if (lease === undefined) return Effect.andThen(awaitLease(self), establish(self))
    const goOn = (inTheWay: Entry | undefined): Effect.Effect<void, CoordinatorError | MemberConflict> =>
      inTheWay === undefined ? establish(self) : Effect.andThen(outwait(self, inTheWay), establish(self))
    return Effect.matchEffect(attempt(self, lease), {
      // Once more at once: the second attempt reads what became of the first.
      onFailure: (error) =>
        error.reason._tag === "OutcomeUnknown" ? Effect.flatMap(attempt(self, lease), goOn) : Effect.fail(error),
      onSuccess: goOn
    })
  })

/** Writes the newest value once, if nothing has happened to the entry since the last write. */
const update = (
  self: LocalMembership,
  held: Held,
  version: bigint,
  cut?: Cut<CoordinatorError>
): Effect.Effect<boolean, CoordinatorError> => {
  const { desired, env, request } = self
  const holding = { id: request.id, token: held.token, owner: held.session, version }
  // Until it is answered, and where it is refused, nobody knows which write of the entry is the last.
  self.version = undefined
  return Effect.map(
    env.write("Membership.set", request.group.update(holding, desired.value), cut, self.context),
    (answer) => {
      if (answer._tag === "Refused") return false
      self.version = answer.version
      self.written = desired.version
      settleSetters(self, desired.version, Effect.void)
      return true
    }
  )
}

/** Publishes until no value that is wanted is ahead of the written one. */
const publish = Effect.fnUntraced(function* (self: LocalMembership, held: Held) {
  const { env, request } = self
  while (self.written < self.desired.version) {
    if (self.version === undefined) {
      // What the store holds now decides whether it is to be written again, or not its own.
      const found = Option.getOrUndefined(yield* env.read("Membership.set", request.group.read(request.id)))
      if (found === undefined || found.token !== held.token || found.owner !== held.session) {
        return self.stepUnsafe({ _tag: "EntryGone", token: held.token })
      }
      self.version = found.version
    }
    const wanted = self.desired.version
    yield* update(self, held, self.version).pipe(
      Effect.tapError((error) => Effect.sync(() => settleSetters(self, wanted, Effect.fail(error)))),
      Effect.catchIf(
        (error) => error.reason._tag === "OutcomeUnknown",
        () => Effect.void
      )
    )
  }
})

const firstPauseMillis = 100

const patience = (self: LocalMembership) => backoff(firstPauseMillis, Math.max(1000, self.env.requestMillis))

/** Who has waited for another holder to go is not sent away by one failed request. */
export const establishFirst = (self: LocalMembership): Effect.Effect<void, CoordinatorError | MemberConflict> => {
  const mayWait = (error: CoordinatorError | MemberConflict) =>
    self.blocked && error._tag === "CoordinatorError" && error.isTransient
  return Effect.catchIf(establish(self), mayWait, () =>
    Effect.retry(Effect.delay(establish(self), firstPauseMillis), { schedule: patience(self), while: mayWait })
  )
}

const persist = <A>(
  self: LocalMembership,
  what: string,
  effect: Effect.Effect<A, CoordinatorError | MemberConflict>
): Effect.Effect<A> =>
  effect.pipe(
    Effect.tapError((error) =>
      isOver(self)
        ? Effect.void
        : Effect.logWarning(
            `${what} ${self.request.id} in ${self.request.label} failed; trying again. ${error.message}`
          )
    ),
    Effect.retry(patience(self)),
    Effect.orDie
  )

const hasWork = (self: LocalMembership): boolean =>
  !isOver(self) && (self.state._tag !== "Held" || self.written < self.desired.version)

const work = Effect.fnUntraced(function* (self: LocalMembership) {
  while (hasWork(self)) {
    const { state } = self
    if (state._tag === "Held") {
      const left = self.changed.until(() => self.state !== state)
      yield* Effect.raceFirst(left, persist(self, "Publishing", publish(self, state)))
    } else {
      if (state._tag === "Rejoining") {
        yield* Effect.logWarning(`${self.request.id} has lost its place in ${self.request.label} and joins again`)
      }
      yield* persist(self, "Joining", establish(self))
    }
  }
  // In the turn of the last look: whoever comes with something new afterwards begins anew.
  self.busy = false
  self.worker = undefined
})

/** Sees to it in the background, unless somebody does already. A membership that is as it should be has no fiber. */
export const workUnsafe = (self: LocalMembership): void => {
  if (self.busy || !hasWork(self)) return
  self.busy = true
  const worker = Effect.runForkWith(self.context)(self.env.local(work(self)))
  if (self.busy) self.worker = worker
}

/** Waits until the store has what was wanted under this version, or something newer. */
const awaitWritten = (self: LocalMembership, wanted: number) =>
  Effect.suspend(() => {
    if (self.written >= wanted) return Effect.void
    if (isOver(self)) return Effect.fail(notSet(self))
    const done = Deferred.makeUnsafe<void, CoordinatorError>()
    self.setters.push({ version: wanted, done })
    self.changed.wakeUnsafe()
    workUnsafe(self)
    return Effect.timeoutOrElse(Effect.raceFirst(Deferred.await(done), Deferred.await(self.lost)), {
      duration: self.env.requestMillis,
      orElse: () => Effect.fail(self.env.unreachable("Membership.set"))
    })
  })

const notSet = (self: LocalMembership) =>
  self.state._tag === "Lost" ? lostBy(self, self.state.cause) : self.env.unreachable("Membership.set")

/** Makes a value the wanted one, and returns when the store has it. */
export const set = (self: LocalMembership, value: string): Effect.Effect<void, CoordinatorError | MembershipLost> => {
  const { state, version } = self
  const isAlone = !self.busy && self.written === self.desired.version
  const wanted = self.desired.version + 1
  self.desired = { value, version: wanted }
  if (state._tag !== "Held" || !isAlone || version === undefined) return awaitWritten(self, wanted)
  // In the caller's own fiber where nothing else is under way, which is mostly so.
  self.busy = true
  const left: Cut<CoordinatorError> = (end) =>
    self.changed.onceUnsafe(
      () => self.state !== state,
      () => end(Effect.suspend(() => Effect.fail(self.env.unreachable("Membership.set"))))
    )
  return update(self, state, version, left).pipe(
    // After a loss, the value is a part of what is joined with again.
    Effect.catch((error) => (self.state === state ? Effect.fail(error) : Effect.succeed(false))),
    Effect.onExit(() =>
      Effect.sync(() => {
        self.busy = false
        // Goes on with what was refused or not answered, and with what others have set meanwhile.
        workUnsafe(self)
      })
    ),
    Effect.flatMap((isWritten) => (isWritten ? Effect.void : awaitWritten(self, wanted)))
  )
}
