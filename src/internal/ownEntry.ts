/**
 * The watch of a membership's own entry: a delete by hand, a restore or a wrong revoke is a loss while the session lives.
 *
 * Where the store has a cheap way to say that something may have happened, the dear one that is certain begins only then.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import { backoff } from "./backoff.ts"
import type { LocalMembership } from "./localMembership.ts"
import type { Held } from "./membershipMachine.ts"
import type { Followed } from "./store.ts"

/** A watch that ends so soon again and again is not set again without a pause that grows up to this. */
const longestPauseMillis = 1_000
const firstPauseMillis = 100

/** Watches for as long as the place is held, or until `unguard`. */
export const guardUnsafe = (self: LocalMembership, held: Held): void => {
  const { env, request } = self
  const { group, id } = request
  const holding = { id, token: held.token, owner: held.session }
  const run = <A>(effect: Effect.Effect<A>) => Effect.runForkWith(self.context)(env.local(effect))
  let over = false
  let end = () => {}
  self.unguard = () => {
    over = true
    end()
  }

  const isGone = ({ entry, revision }: Followed) =>
    revision >= held.token &&
    (Option.isNone(entry) || entry.value.token !== held.token || entry.value.owner !== held.session)

  /** Retried for as long as it takes: what the store says is what is wanted, and nothing else. */
  const followed = (known: bigint | undefined, isEnough: (found: Followed) => boolean) =>
    Stream.suspend(() => group.follow(id, known)).pipe(
      Stream.filter(isEnough),
      Stream.runHead,
      Effect.tapError((error) =>
        Effect.logWarning(`Watching ${id} in ${request.label} failed; trying again. ${error.message}`)
      ),
      Effect.retry(backoff(firstPauseMillis, Math.max(longestPauseMillis, env.requestMillis))),
      Effect.orDie
    )

  const begin = (effect: Effect.Effect<void>): void => {
    const fiber = run(effect)
    end = () => fiber.interruptUnsafe()
  }

  const gone = () => self.stepUnsafe({ _tag: "EntryGone", token: held.token })

  const { attendUnsafe } = group
  if (attendUnsafe === undefined) return begin(Effect.map(followed(held.token, isGone), gone))

  /** Attends from a revision at which it was held, and asks what became of it when that ends. */
  const attend = (known: bigint, pauses: number): void => {
    const since = env.keeper.clock.monotonicTimeNanosUnsafe()
    let disturbed = false
    const stop = attendUnsafe(holding, known, () => {
      disturbed = true
      if (over) return
      const lasted = Number(env.keeper.clock.monotonicTimeNanosUnsafe() - since) / 1_000_000
      look(lasted > longestPauseMillis ? 0 : pauses)
    })
    if (!disturbed) end = stop
  }

  const look = (pauses: number): void => {
    const pause = Math.min(longestPauseMillis, firstPauseMillis * 2 ** pauses)
    begin(
      Effect.flatMap(followed(undefined, ({ revision }) => revision >= held.token), (found) => {
        if (Option.isNone(found) || isGone(found.value)) return Effect.sync(gone)
        const { revision } = found.value
        return Effect.andThen(
          Effect.sleep(pause),
          Effect.sync(() => {
            if (!over) attend(revision, pauses + 1)
          })
        )
      })
    )
  }

  // A moment later: a lock that is held for less would pay as much for this as for itself. What happens until then is told when it
  // begins.
  end = env.attendances.beginUnsafe(() => {
    if (!over) attend(held.token, 0)
  })
}
