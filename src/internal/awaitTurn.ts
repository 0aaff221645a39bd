/** Waiting for one's turn at a constant number of requests for each hand-over, however many wait. */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import type { CoordinatorError } from "../CoordinatorError.ts"
import * as Membership from "../Membership.ts"
import { backoff } from "./backoff.ts"
import type { Environment, LocalMembership } from "./membership.ts"
import * as metrics from "./metrics.ts"
import type { Entry, GroupStore } from "./store.ts"

/** The same key under a higher token is somebody who joined after me: the one I waited for is gone. */
const gone = (ahead: Entry, now: Option.Option<Entry>): boolean => Option.isNone(now) || now.value.token !== ahead.token

/** Returns the token once the turn has come. */
export const make = (
  env: Environment,
  label: string,
  group: GroupStore,
  membership: Membership.Membership,
  local: LocalMembership | undefined
): Effect.Effect<bigint, CoordinatorError | Membership.MembershipLost> => {
  if (local === undefined) {
    return Effect.fail(new Membership.MembershipLost({ group: label, id: membership.id, cause: "NotYetHeld" }))
  }

  /** Looks once; returns who is still ahead, or grants. The read comes first and the clocks last: either may have changed. */
  const look = Effect.fnUntraced(function* () {
    yield* membership.ensure
    const state = local.stateUnsafe()
    if (state._tag !== "Held") return { _tag: "Again" } as const
    const turn = yield* env.read("Group.awaitTurn", group.turn(membership.id, state.token))
    const own = Option.getOrUndefined(turn.own)
    if (own === undefined || own.token !== state.token || own.owner !== state.session) {
      local.stepUnsafe({ _tag: "EntryGone", token: state.token })
      return { _tag: "Again" } as const
    }
    if (Option.isSome(turn.ahead)) return { _tag: "Behind", ahead: turn.ahead.value, at: turn.revision } as const
    const token = yield* membership.ensure
    return token === own.token ? ({ _tag: "Granted", token } as const) : ({ _tag: "Again" } as const)
  })

  const wait = Effect.gen(function* () {
    let freed: number | undefined
    while (true) {
      const place = yield* look()
      if (place._tag === "Granted") {
        if (freed !== undefined) {
          const handOver = Metric.withAttributes(metrics.handOverTime, { group: label })
          yield* Metric.update(handOver, Duration.millis((yield* Clock.currentTimeMillis) - freed))
        }
        return place.token
      }
      if (place._tag === "Behind") {
        yield* group.follow(place.ahead.id, place.at).pipe(
          Stream.filter(({ entry }) => gone(place.ahead, entry)),
          Stream.runHead
        )
        freed = yield* Clock.currentTimeMillis
      }
    }
  })

  return wait.pipe(
    // A place in the line outlives a request that failed: only the loss of the membership gives it up.
    Effect.retry({
      schedule: backoff(100, Math.max(1000, env.requestMillis)),
      while: (error) => error._tag === "CoordinatorError" && error.isTransient
    }),
    Effect.raceFirst(membership.lost),
    env.local
  )
}
