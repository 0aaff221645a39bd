/** Where a member of a sequence sits: its membership's status and the newest view, read together. */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { CoordinatorError } from "../CoordinatorError.ts"
import type { Group, GroupView } from "../Group.ts"
import type { MemberConflict, Membership, MembershipStatus } from "../Membership.ts"
import * as Notifier from "./notifier.ts"

export interface Seat {
  readonly id: string
  readonly index: number
  readonly count: number
  readonly token: bigint
  readonly revision: bigint
  readonly members: ReadonlyArray<string>
}

/** Who is in a view, in token order. */
export type Content = ReadonlyArray<{ readonly id: string; readonly token: bigint }>

/**
 * `Unknown` is a place that the session still holds and that no fresh view shows: not seen yet, or the store cannot be
 * seen. It neither seats anybody nor takes a seat away; the loss of the membership does, at its deadline.
 */
export type Place =
  | {
      readonly _tag: "Seated"
      readonly token: bigint
      readonly seat: Seat
      readonly content: Content
      readonly epoch: number
    }
  | { readonly _tag: "Unknown"; readonly token: bigint }
  | { readonly _tag: "Lost" }

const lost: Place = { _tag: "Lost" }

export const placeOf = (id: string, status: MembershipStatus, view: GroupView<string> | undefined): Place => {
  if (status._tag !== "Held") return lost
  const { token } = status
  if (view === undefined || view.freshness._tag === "Stale") return { _tag: "Unknown", token }
  const index = view.members.findIndex((member) => member.id === id && member.token === token)
  // Tokens and revisions share one number space: below my token a view has not seen me yet, from it on I am gone.
  if (index < 0) return view.revision < token ? { _tag: "Unknown", token } : lost
  const members = view.members.map((member) => member.id)
  return {
    _tag: "Seated",
    token,
    seat: { id, index, count: members.length, token, revision: view.revision, members },
    content: view.members,
    epoch: view.epoch
  }
}

/** Whether two seats are the same work. A revision may grow without anything having changed. */
export const sameSeat = (a: Seat, b: Seat): boolean =>
  a.token === b.token &&
  a.index === b.index &&
  a.members.length === b.members.length &&
  a.members.every((id, at) => id === b.members[at])

/** Whether two views hold the same members: a token is given once, so it stands for its member. */
export const sameContent = (a: Content, b: Content): boolean =>
  a.length === b.length && a.every((member, at) => member.token === b[at]?.token)

/** Whether the place that a token stood for is over. */
export const isOver = (place: Place, token: bigint): boolean => place._tag === "Lost" || place.token !== token

/** A joined member's place, kept up to date by fibers of the scope. */
export interface Seating {
  readonly mine: Membership
  readonly status: () => MembershipStatus
  readonly place: () => Place
  readonly changed: Notifier.Notifier
  /** Fails when the watch ends with an error that waiting does not cure. */
  readonly broken: Effect.Effect<never, CoordinatorError>
  readonly isBroken: () => boolean
}

/** Joins, and follows the place. Entries hold no value: who is here, and in what order, is all there is to know. */
export const sit = Effect.fnUntraced(function* (
  group: Group,
  options: { readonly id?: string | undefined; readonly onConflict?: "wait" | "fail" | undefined }
): Effect.fn.Return<Seating, CoordinatorError | MemberConflict, Scope.Scope> {
  const mine = yield* group.join({ id: options.id, value: "" }, { rejoin: true, onConflict: options.onConflict })
  const changed = Notifier.make()
  const broken = Deferred.makeUnsafe<never, CoordinatorError>()
  let status: MembershipStatus = { _tag: "Joining" }
  let view: GroupView<string> | undefined
  let place: Place = lost

  const placeUnsafe = (): void => {
    place = placeOf(mine.id, status, view)
    changed.wakeUnsafe()
  }

  yield* mine.status.pipe(
    Stream.runForEach((now) =>
      Effect.sync(() => {
        status = now
        placeUnsafe()
      })
    ),
    Effect.forkScoped({ startImmediately: true })
  )
  yield* group.watch.pipe(
    Stream.runForEach((now) =>
      Effect.sync(() => {
        view = now
        placeUnsafe()
      })
    ),
    Effect.catchCause((cause) => Effect.andThen(Deferred.failCause(broken, cause), Effect.sync(changed.wakeUnsafe))),
    Effect.forkScoped({ startImmediately: true })
  )
  return {
    mine,
    changed,
    status: () => status,
    place: () => place,
    broken: Deferred.await(broken),
    isBroken: () => Deferred.isDoneUnsafe(broken)
  }
})

/** The seat now and at every change, none while the place is not known to be held. Repeats are dropped, and so is a backlog. */
export const seats = (seating: Seating): Stream.Stream<Option.Option<Seat>, CoordinatorError> =>
  Stream.suspend(() => {
    let last: Option.Option<Seat> | undefined
    const now = (): Option.Option<Seat> => {
      const place = seating.place()
      return place._tag === "Seated" ? Option.some(place.seat) : Option.none()
    }
    const differs = (): boolean => {
      if (last === undefined) return true
      const seat = now()
      return Option.isSome(last) && Option.isSome(seat) ? !sameSeat(last.value, seat.value) : last._tag !== seat._tag
    }
    const next = Effect.flatMap(
      seating.changed.until(() => differs() || seating.isBroken()),
      () => {
        if (seating.isBroken()) return seating.broken
        last = now()
        return Effect.succeed([last] as const)
      }
    )
    return Stream.fromPull(Effect.succeed(next))
  })
