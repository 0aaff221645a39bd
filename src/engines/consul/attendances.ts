/** Own entries, attended so that a loss is told while the session lives: a few by a query each, the others of a group by one. */
import * as Option from "effect/Option"
import type { CoordinatorError } from "../../CoordinatorError.ts"
import type { Disturbed, Followed, Holding } from "../../internal/store.ts"
import type { Pair } from "./keys.ts"
import { entryOf } from "./keys.ts"
import type { Found, Kv } from "./kv.ts"
import * as Polls from "./polls.ts"
import type { Seats } from "./seats.ts"

/**
 * How long a query rests after each of its answers. What happens meanwhile is in the next answer, so nothing is missed; and a value of one's
 * own that changes, or a group that never rests, costs no more than this often.
 */
const restMillis = 1_000

/** How long to leave a server alone after a failure, at first and at most. */
const firstPauseMillis = 50
const longestPauseMillis = 1_000

/** A holding that is attended. */
interface Place {
  readonly path: string
  readonly key: string
  readonly token: bigint
  readonly owner: string | undefined
  readonly known: bigint
  readonly epoch: number
  /** The number of queries that had been asked when it came: what those find may be older than what is known. */
  readonly since: number
  readonly disturbed: Disturbed
}

/** One query and whom it serves. */
interface Watch {
  readonly add: (place: Omit<Place, "since">) => () => void
}

interface Answer {
  readonly found: Found
  readonly pairs: ReadonlyMap<string, Pair>
}

const isHeld = ({ owner, token }: Place, pair: Pair | undefined): boolean =>
  pair !== undefined && BigInt(pair.CreateIndex) === token && (pair.Session === "" ? undefined : pair.Session) === owner

export interface Attendances {
  /** Calls back once when the entry below the path may no longer be what it was at the revision `known`; returns the way to leave. */
  readonly attendUnsafe: (path: string, holding: Holding, known: bigint, disturbed: Disturbed) => () => void
}

export const make = (
  kv: Kv,
  seats: Seats,
  settings: { readonly endpoint: string; readonly requestMillis: number }
): Attendances => {
  const { timers } = kv
  const shared = new Map<string, Watch>()

  /** Lasts from the first place to the last. Which key it asks for, and from which index, is the matter of who makes it. */
  const watch = (key: string, recurse: boolean, from: bigint, ended: () => void): Watch => {
    const places = new Set<Place>()
    let asked = 0
    let failures = 0
    let last: Answer | undefined
    let poll = kv.poll("Group.follow", key, { ...settings, recurse, from })
    let stopUnsafe = () => {}
    let isOver = false

    const endUnsafe = (): void => {
      if (isOver) return
      isOver = true
      stopUnsafe()
      ended()
    }

    const disturb = (place: Place, found?: Followed): void => {
      if (places.delete(place)) place.disturbed(found)
    }

    /** A reading that was asked for after what is known, or that is of a later revision, shows the entry or its loss. */
    const judge = (place: Place, { found, pairs }: Answer, number: number): void => {
      if (place.epoch !== found.epoch) return disturb(place)
      const isLater = place.since < number || found.revision > place.known
      const pair = pairs.get(place.key)
      if (!isLater || isHeld(place, pair)) return
      const entry = pair === undefined ? Option.none() : Option.some(entryOf(place.path, pair))
      disturb(place, { entry, revision: found.revision })
    }

    const answered = (number: number) => (found: Found | CoordinatorError) => {
      if (Polls.isFailure(found)) return failed(found)
      failures = 0
      last = { found, pairs: new Map(found.pairs.map((pair) => [pair.Key, pair])) }
      for (const place of Array.from(places)) judge(place, last, number)
      restUnsafe(restMillis)
    }

    const failed = (failure: CoordinatorError): void => {
      // Without an index, as it must be after a failure: what is there then is told, so nothing is missed.
      poll = kv.poll("Group.follow", key, { ...settings, recurse, from: 0n })
      if (!failure.isTransient) for (const place of Array.from(places)) disturb(place)
      restUnsafe(Math.min(longestPauseMillis, firstPauseMillis * 2 ** Math.min(failures++, 10)))
    }

    const askUnsafe = (): void => {
      asked++
      stopUnsafe = poll.next(answered(asked))
    }

    const restUnsafe = (millis: number): void => {
      if (places.size === 0) endUnsafe()
      else stopUnsafe = timers.after(millis, askUnsafe)
    }

    return {
      add: (attended) => {
        const place = { ...attended, since: asked }
        places.add(place)
        if (asked === 0) askUnsafe()
        else if (last !== undefined && last.found.epoch === place.epoch) judge(place, last, 0)
        return () => {
          if (places.delete(place) && places.size === 0) endUnsafe()
        }
      }
    }
  }

  const alone = (path: string, key: string, known: bigint): Watch | undefined => {
    const giveBack = seats.takeUnsafe(path)
    return giveBack === undefined ? undefined : watch(key, false, known, giveBack)
  }

  const together = (path: string): Watch => {
    const existing = shared.get(path)
    if (existing !== undefined) return existing
    const made = watch(path, true, 0n, () => shared.delete(path))
    shared.set(path, made)
    return made
  }

  return {
    attendUnsafe: (path, { id, owner, token }, known, disturbed) => {
      const key = `${path}${id}`
      const place = { path, key, token, owner, known, epoch: kv.epochUnsafe(), disturbed }
      return (alone(path, key, known) ?? together(path)).add(place)
    }
  }
}
