/** The effects of `exclusive`: what it decides, and why that is safe, is in `sequenceAcks.ts`. */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { CoordinatorError } from "../CoordinatorError.ts"
import type { Group, GroupView } from "../Group.ts"
import { label } from "../Group.ts"
import type { MemberConflict, MembershipLost } from "../Membership.ts"
import { backoff } from "./backoff.ts"
import type { Seated, Standing } from "./sequenceAcks.ts"
import * as Acks from "./sequenceAcks.ts"
import type { Seating } from "./sequencePlace.ts"
import { isOver } from "./sequencePlace.ts"

/** Who waits longer than this is told for whom: most likely somebody who does not take part in the acknowledgements. */
const warnAfterMillis = 15_000

export interface Exclusive {
  /**
   * Acknowledges a place once the own body has stopped, and waits until all members of it have; nothing when the place is
   * no longer the same.
   */
  readonly clear: (place: Seated) => Effect.Effect<Standing | undefined, CoordinatorError>
  /** Whether a body has to stop though the place is held: the members changed, here or as another member has seen it. */
  readonly isMoved: (standing: Standing) => boolean
  readonly broken: Effect.Effect<never, CoordinatorError>
}

export const join = Effect.fnUntraced(function* (
  sequence: Group,
  beside: Group,
  seating: Seating
): Effect.fn.Return<Exclusive, CoordinatorError | MemberConflict, Scope.Scope> {
  const { changed, mine, place } = seating
  const name = label(sequence.name)
  const broken = Deferred.makeUnsafe<never, CoordinatorError>()
  let acks: GroupView<string> | undefined
  let standing: Standing | undefined
  let published = ""

  const entry = yield* beside.join({ id: mine.id, value: "" }, { rejoin: true })
  yield* beside.watch.pipe(
    Stream.runForEach((view) =>
      Effect.sync(() => {
        acks = view
        changed.wakeUnsafe()
      })
    ),
    Effect.catchCause((cause) => Deferred.failCause(broken, cause)),
    Effect.forkScoped({ startImmediately: true })
  )

  const isNews = (at: Standing): boolean => {
    const now = place()
    return now._tag === "Seated" && Acks.isNews(at, now)
  }
  const isElsewhere = (at: Standing): boolean => isNews(at) || isOver(place(), at.seat.token)

  /** Tells whether the acknowledgement stands in the store before the place has become another one. */
  const publish = (at: Standing): Effect.Effect<boolean, CoordinatorError> => {
    const text = Acks.encode(Acks.ackOf(at))
    if (published === text) return Effect.succeed(true)
    return entry.set(text).pipe(
      Effect.retry({
        schedule: backoff(100, 1_000),
        // Between two sessions it is refused; the place is another one then, and ends this.
        while: (error: MembershipLost | CoordinatorError) => error._tag === "MembershipLost" || error.isTransient
      }),
      Effect.catchTag("MembershipLost", () => Effect.never),
      Effect.map(() => {
        published = text
        return true
      }),
      Effect.raceFirst(
        Effect.as(
          changed.until(() => isElsewhere(at)),
          false
        )
      )
    )
  }

  const verdict = (at: Standing): Acks.Verdict =>
    // A place that no fresh view shows starts nothing.
    acks === undefined || place()._tag !== "Seated" ? { _tag: "Behind" } : Acks.verdict(at, acks)

  const clear = Effect.fnUntraced(function* (now: Seated) {
    let at = Acks.stand(standing, now)
    while (true) {
      standing = at
      if (!(yield* publish(at))) return undefined
      const here = at
      const isDecided = () => {
        const { _tag } = verdict(here)
        return _tag === "Start" || _tag === "Adopt" || isElsewhere(here)
      }
      const soon = yield* Effect.timeoutOption(changed.until(isDecided), warnAfterMillis)
      if (Option.isNone(soon)) {
        const waiting = verdict(here)
        const whom = waiting._tag === "Wait" ? waiting.lagging.join(", ") : "a newer view"
        yield* Effect.logWarning(
          `${here.seat.id} has its place in ${name} but does not start yet: it waits for ${whom}. ` +
            `Whoever takes part in the sequence has to run with exclusive: true`
        )
        yield* changed.until(isDecided)
      }
      if (isElsewhere(here)) return undefined
      const decided = verdict(here)
      if (decided._tag === "Start") return here
      if (decided._tag === "Adopt") at = Acks.adopt(here, decided.mark)
    }
  })

  return {
    clear,
    isMoved: (at) => isNews(at) || (acks !== undefined && Acks.isOutrun(at, acks)),
    broken: Deferred.await(broken)
  }
})
