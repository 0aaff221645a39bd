/** Waiting for one's turn at a constant number of requests for each hand-over, however many wait. */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import type { CoordinatorError } from "../CoordinatorError.ts"
import type * as Membership from "../Membership.ts"
import { backoff } from "./backoff.ts"
import type { LocalMembership } from "./localMembership.ts"
import { localOf, lostBy, untilOver, whyNotHeld } from "./localMembership.ts"
import * as metrics from "./metrics.ts"
import type { Entry, GroupStore } from "./store.ts"

/** The same key under a higher token is somebody who joined after me: the one I waited for is gone. */
const gone = (ahead: Entry, now: Option.Option<Entry>): boolean => Option.isNone(now) || now.value.token !== ahead.token

type Place =
  | { readonly _tag: "Granted"; readonly token: bigint }
  | { readonly _tag: "Behind"; readonly ahead: Entry; readonly at: bigint }
  | { readonly _tag: "Again" }

const again: Place = { _tag: "Again" }

/** A fiber may have waited for its processor since the store's answer, and no longer. */
const atOnceMillis = 100

/**
 * The token of a membership that the store has just created with the word that nobody stands before it: a linearizable reading
 * that shows the own entry, owner and token, as a look would be. It is for those alone who ask in the turn of the answer, since what
 * happens to the entry later a look would show.
 */
export const granted = (
  membership: Membership.Membership
): Effect.Effect<bigint | undefined, Membership.MembershipLost> =>
  Effect.suspend(() => {
    const self = localOf(membership)
    if (self?.firstSince === undefined) return Effect.undefined
    const since = Number(self.env.keeper.clock.monotonicTimeNanosUnsafe() - self.firstSince) / 1_000_000
    self.firstSince = undefined
    return since <= atOnceMillis ? membership.ensure : Effect.undefined
  })

/** Returns the token once the turn has come. */
export const make = (
  group: GroupStore,
  membership: Membership.Membership,
  self: LocalMembership
): Effect.Effect<bigint, CoordinatorError | Membership.MembershipLost> => {
  const { env, request } = self
  const lost = untilOver(self, () => lostBy(self, whyNotHeld(self)))

  const grant = (token: bigint): Effect.Effect<Place, Membership.MembershipLost> =>
    // The clocks last: what was read may have become old meanwhile.
    Effect.map(membership.ensure, (ensured) => (ensured === token ? { _tag: "Granted", token } : again))

  /** Looks once; returns who is still ahead, or grants. */
  const look: Effect.Effect<Place, CoordinatorError | Membership.MembershipLost> = Effect.flatMap(
    membership.ensure,
    () => {
      const { state } = self
      if (state._tag !== "Held") return Effect.succeed(again)
      return Effect.flatMap(
        env.read("Group.awaitTurn", group.turn(membership.id, state.token), lost),
        ({ ahead, own, revision }) => {
          if (Option.isNone(own) || own.value.token !== state.token || own.value.owner !== state.session) {
            self.stepUnsafe({ _tag: "EntryGone", token: state.token })
            return Effect.succeed(again)
          }
          return Option.isSome(ahead)
            ? Effect.succeed<Place>({ _tag: "Behind", ahead: ahead.value, at: revision })
            : grant(state.token)
        }
      )
    }
  )

  const wait = Effect.fnUntraced(function* (first: Place) {
    let freed: number | undefined
    for (let place = first; ; place = yield* look) {
      if (place._tag === "Granted") {
        if (freed !== undefined) {
          const handOver = Metric.withAttributes(metrics.handOverTime, { group: request.label })
          yield* Metric.update(handOver, Duration.millis((yield* Clock.currentTimeMillis) - freed))
        }
        return place.token
      }
      if (place._tag === "Behind") {
        const { ahead, at } = place
        yield* group.follow(ahead.id, at).pipe(
          Stream.filter(({ entry }) => gone(ahead, entry)),
          Stream.runHead
        )
        freed = yield* Clock.currentTimeMillis
      }
    }
  })

  /** A place in the line outlives a request that failed: only the loss of the membership gives it up. */
  const stand = (first: Place) =>
    Effect.retry(
      Effect.suspend(() => wait(first)),
      {
        schedule: backoff(100, Math.max(1000, env.requestMillis)),
        while: (error) => error._tag === "CoordinatorError" && error.isTransient
      }
    ).pipe(Effect.raceFirst(membership.lost))

  // Whoever finds nobody ahead needs no more than one look, and nothing of what a wait needs.
  return env.local(
    Effect.matchEffect(look, {
      onFailure: (error) =>
        error._tag === "CoordinatorError" && error.isTransient ? stand(again) : Effect.fail(error),
      onSuccess: (place) => (place._tag === "Granted" ? Effect.succeed(place.token) : stand(place))
    })
  )
}
