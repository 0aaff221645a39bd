/** A membership as its coordinator has it: what is known of its place, and what is wanted. */
import type * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import type { CoordinatorError } from "../CoordinatorError.ts"
import type { GroupKind, JoinOptions } from "../Group.ts"
import * as Membership from "../Membership.ts"
import type * as Session from "../Session.ts"
import * as Cell from "./cell.ts"
import type { Cut, Deadlines } from "./deadlines.ts"
import type { Debts } from "./debts.ts"
import * as Machine from "./membershipMachine.ts"
import * as Notifier from "./notifier.ts"
import type { SessionKeeper } from "./sessionKeeper.ts"
import type { GroupStore } from "./store.ts"

/** One request within its bound, and until it is cut; in the caller's context, where no other is given. */
export type Ask = <A, E = never>(
  operation: string,
  request: Effect.Effect<A, CoordinatorError>,
  cut?: Cut<E>,
  context?: Context.Context<never>
) => Effect.Effect<A, CoordinatorError | E>

/** What memberships need of their coordinator. */
export interface Environment {
  readonly keeper: SessionKeeper
  readonly debts: Debts
  readonly requestMillis: number
  readonly background: boolean
  readonly read: Ask
  readonly write: Ask
  /** After how long to begin to watch one's own entry, where that is not at once. */
  readonly attendance: (kind: GroupKind) => Deadlines | undefined
  /**
   * Removes what its membership gave up, and tells of a removal that was not confirmed. It is waited for unless the one
   * before it was left unanswered: a scope with many memberships closes in one request's time, not in one for each.
   */
  readonly release: (
    request: Effect.Effect<void, CoordinatorError>,
    unconfirmed: (error: CoordinatorError) => Effect.Effect<void>
  ) => Effect.Effect<void>
  readonly unreachable: (operation: string) => CoordinatorError
  readonly checkSize: (operation: string, value: string) => CoordinatorError | undefined
  /** Runs an effect by this process's clock, whoever calls it. */
  readonly local: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
}

export interface JoinRequest {
  readonly kind: GroupKind
  readonly label: string
  readonly key: string
  readonly group: GroupStore
  readonly id: string
  readonly value: string
  readonly options: JoinOptions
}

interface Setter {
  readonly version: number
  readonly done: Deferred.Deferred<void, CoordinatorError>
}

export interface LocalMembership {
  readonly env: Environment
  readonly request: JoinRequest
  /** That of the program that joined: what is done in the background is done in it. */
  readonly context: Context.Context<never>
  state: Machine.MembershipState
  readonly status: Cell.Cell<Membership.MembershipStatus>
  readonly lost: Deferred.Deferred<never, Membership.MembershipLost>
  readonly changed: Notifier.Notifier
  /** The newest token there was. */
  token: bigint | undefined
  /** When the store confirmed the present token together with the word that nobody stands before it. */
  firstSince: bigint | undefined
  desired: { readonly value: string; readonly version: number }
  /** The version of what the store has; -1 where that is nothing that was wanted. */
  written: number
  /** Of the entry's last write, by the store's count; absent while that is not known. */
  version: bigint | undefined
  setters: Array<Setter>
  /** The session under which a create was sent whose answer has not come. */
  unanswered: string | undefined
  /** Whether joining is done, for the program that joins. */
  joined: boolean
  /** Whether somebody else was met under the id. */
  blocked: boolean
  /** Whether somebody sees to it that the store has what is wanted: one at a time. */
  busy: boolean
  worker: Fiber.Fiber<void> | undefined
  /** Ends the watch of the own entry. */
  unguard: (() => void) | undefined
  readonly stepUnsafe: (event: Machine.MembershipEvent) => void
}

export const make = (
  env: Environment,
  request: JoinRequest,
  context: Context.Context<never>,
  stepUnsafe: (self: LocalMembership, event: Machine.MembershipEvent) => void
): LocalMembership => {
  const self: LocalMembership = {
    env,
    request,
    context,
    state: Machine.initial,
    status: Cell.makeUnsafe(Machine.status(Machine.initial)),
    lost: Deferred.makeUnsafe(),
    changed: Notifier.make(),
    token: undefined,
    firstSince: undefined,
    desired: { value: request.value, version: 0 },
    written: -1,
    version: undefined,
    setters: [],
    unanswered: undefined,
    joined: false,
    blocked: false,
    busy: false,
    worker: undefined,
    unguard: undefined,
    stepUnsafe: (event) => stepUnsafe(self, event)
  }
  return self
}

/** What the program gets. Whoever holds the very object can be told by it from whoever has copied it. */
export class Joined implements Membership.Membership {
  readonly id: string
  readonly token: Membership.Membership["token"]
  readonly ensure: Membership.Membership["ensure"]
  readonly lost: Membership.Membership["lost"]
  readonly status: Membership.Membership["status"]
  readonly set: Membership.Membership["set"]
  readonly #local: LocalMembership

  constructor(local: LocalMembership, act: Pick<Membership.Membership, "token" | "ensure" | "set">) {
    this.id = local.request.id
    this.token = act.token
    this.ensure = act.ensure
    this.lost = Deferred.await(local.lost)
    this.status = Cell.changes(local.status)
    this.set = act.set
    this.#local = local
  }

  static localOf(membership: Membership.Membership): LocalMembership | undefined {
    return #local in membership ? membership.#local : undefined
  }
}

export const localOf = Joined.localOf

export const rejoins = ({ request }: LocalMembership): boolean => request.options.rejoin === true

export const isOver = ({ state }: LocalMembership): boolean => state._tag === "Lost" || state._tag === "Closed"

export const lostBy = ({ request }: LocalMembership, cause: Session.LossCause): Membership.MembershipLost =>
  new Membership.MembershipLost({ group: request.label, id: request.id, cause })

/** Why it is not held, as its state has it. */
export const whyNotHeld = ({ state }: LocalMembership): Session.LossCause => {
  switch (state._tag) {
    case "Lost":
    case "Rejoining":
      return state.cause
    case "Closed":
      return "Closed"
    case "Held":
      return "DeadlinePassed"
    default:
      return "NotYetHeld"
  }
}

/** Ends a request with the membership: nobody wants its answer any more. */
export const untilOver =
  <E>(self: LocalMembership, error: () => E): Cut<E> =>
  (end) =>
    self.changed.onceUnsafe(
      () => isOver(self),
      () => end(Effect.suspend(() => Effect.fail(error())))
    )

/** The store may apply what was sent at any time from now on: it is looked for until it is surely not there. */
export const oweUnsafe = (self: LocalMembership, session: string, token: bigint | undefined): void => {
  const { group, id, key } = self.request
  self.env.debts.addUnsafe({ group, key, id, token, session, by: self })
}

export const settleSetters = (
  self: LocalMembership,
  upTo: number,
  result: Effect.Effect<void, CoordinatorError>
): void => {
  if (self.setters.length === 0) return
  const due = self.setters.filter((setter) => setter.version <= upTo)
  self.setters = self.setters.filter((setter) => setter.version > upTo)
  for (const setter of due) Deferred.doneUnsafe(setter.done, result)
}
