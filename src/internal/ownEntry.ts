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
import type { Followed, GroupStore, Holding } from "./store.ts"

/** A watch that ends so soon again and again is not set again without a pause that grows up to this. */
const longestPauseMillis = 1_000
const firstPauseMillis = 100

interface Guard {
  readonly self: LocalMembership
  readonly held: Held
  readonly holding: Holding
  /** Ends whatever is under way. */
  end: () => void
}

const gone = ({ held, self }: Guard): void => {
  // Where the session is over by the clocks, that is what the entry went with.
  self.env.keeper.leaseUnsafe()
  self.stepUnsafe({ _tag: "EntryGone", token: held.token })
}

const isGone = ({ held }: Guard, { entry, revision }: Followed): boolean =>
  revision >= held.token &&
  (Option.isNone(entry) || entry.value.token !== held.token || entry.value.owner !== held.session)

/** Retried for as long as it takes: what the store says is what is wanted, and nothing else. */
const followed = ({ self }: Guard, known: bigint | undefined, isEnough: (found: Followed) => boolean) => {
  const { env, request } = self
  return Stream.suspend(() => request.group.follow(request.id, known)).pipe(
    Stream.filter(isEnough),
    Stream.runHead,
    Effect.tapError((error) =>
      Effect.logWarning(`Watching ${request.id} in ${request.label} failed; trying again. ${error.message}`)
    ),
    Effect.retry(backoff(firstPauseMillis, Math.max(longestPauseMillis, env.requestMillis))),
    Effect.orDie
  )
}

const run = (guard: Guard, effect: Effect.Effect<void>): void => {
  const { context, env } = guard.self
  const fiber = Effect.runForkWith(context)(env.local(effect))
  guard.end = () => fiber.interruptUnsafe()
}

type Attend = NonNullable<GroupStore["attendUnsafe"]>

/** Attends from a revision at which it was held, and asks what became of it when that ends. */
const attend = (guard: Guard, attendUnsafe: Attend, known: bigint, pauses: number): void => {
  const now = () => guard.self.env.keeper.clock.monotonicTimeNanosUnsafe()
  const since = now()
  let disturbed = false
  const stop = attendUnsafe(guard.holding, known, (found) => {
    disturbed = true
    if (found !== undefined && isGone(guard, found)) return gone(guard)
    const lasted = Number(now() - since) / 1_000_000
    look(guard, attendUnsafe, lasted > longestPauseMillis ? 0 : pauses)
  })
  if (!disturbed) guard.end = stop
}

const look = (guard: Guard, attendUnsafe: Attend, pauses: number): void => {
  const { token } = guard.held
  const newest = followed(guard, undefined, ({ revision }) => revision >= token)
  run(
    guard,
    Effect.flatMap(newest, (found) => {
      if (Option.isNone(found) || isGone(guard, found.value)) return Effect.sync(() => gone(guard))
      const { revision } = found.value
      return Effect.andThen(
        Effect.sleep(Math.min(longestPauseMillis, firstPauseMillis * 2 ** pauses)),
        Effect.sync(() => attend(guard, attendUnsafe, revision, pauses + 1))
      )
    })
  )
}

/** Watches for as long as the place is held, or until `unguard`. */
export const guardUnsafe = (self: LocalMembership, held: Held): void => {
  const { env, request } = self
  const holding = { id: request.id, token: held.token, owner: held.session }
  const guard: Guard = { self, held, holding, end: () => {} }
  self.unguard = () => guard.end()
  const { attendUnsafe } = request.group
  if (attendUnsafe === undefined) {
    const end = followed(guard, held.token, (found) => isGone(guard, found))
    return run(
      guard,
      Effect.map(end, () => gone(guard))
    )
  }
  const begin = () => attend(guard, attendUnsafe, held.token, 0)
  const moment = env.attendance(request.kind)
  if (moment === undefined) begin()
  else guard.end = moment.beginUnsafe(begin)
}
