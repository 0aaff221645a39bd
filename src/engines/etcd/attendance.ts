/** The entries of one group that this process holds, watched for whatever may end their holding. */
import * as Option from "effect/Option"
import type { Disturbed, Followed, Holding } from "../../internal/store.ts"
import type { GroupKeys } from "./keys.ts"
import type { Bytes, WatchResponse } from "./rpc.ts"

type Event = WatchResponse["events"][number]

/** Watches a range; after `ended`, and after it was given up, nothing is called. `ended` may be called before this returns. */
export type ObserveUnsafe = (watched: {
  readonly key: Bytes
  readonly end?: Bytes
  readonly from: bigint
  readonly events: (events: ReadonlyArray<Event>) => void
  readonly ended: () => void
}) => () => void

export interface Attendance {
  readonly attendUnsafe: (holding: Holding, known: bigint, disturbed: Disturbed) => () => void
}

/**
 * So many members of a group have a watch each: they are told of nothing but themselves, in a group of whatever size. Those that come
 * after share one of the whole group: two messages to the server and two from it for each of a thousand would cost more than being
 * told what others do, which any reader of the group is told as well.
 */
const mostAlone = 8

/**
 * Of so many keys it is kept what was told last: an entry is attended some time after its creation, and what befell it meanwhile
 * must not be lost.
 */
const mostRemembered = 1_024

/** What an event says of a key. */
interface Word {
  readonly revision: bigint
  readonly isGone: boolean
  readonly created: string
  readonly lease: string
}

const wordOf = ({ kv, type }: Event): Word => ({
  revision: BigInt(kv.mod_revision),
  isGone: type === "Delete",
  created: kv.create_revision,
  lease: kv.lease
})

interface Member {
  readonly created: string
  readonly lease: string
  readonly known: bigint
  readonly disturbed: Disturbed
}

/** One that was replaced was deleted before. */
const lossOf = ({ isGone, revision }: Word): Followed | undefined =>
  isGone ? { entry: Option.none(), revision } : undefined

const ends = ({ created, known, lease }: Member, word: Word): boolean =>
  word.revision > known && (word.isGone || word.created !== created || word.lease !== lease)

/** One watch for many members. */
interface Shared {
  readonly members: Map<string, Member>
  /** The last word of each key, the oldest first. */
  readonly words: Map<string, Word>
  /** Everything above this revision that was told can still be said, as far as it was the last of its key. */
  forgotten: bigint
  readonly stop: () => void
}

/** `idle` is called each time that nobody is left. */
export const make = (keys: GroupKeys, observeUnsafe: ObserveUnsafe, idle: () => void): Attendance => {
  let alone = 0
  let shared: Shared | undefined

  const restIfIdle = (): void => {
    if (alone === 0 && shared === undefined) idle()
  }

  const aloneUnsafe = (id: string, member: Member): (() => void) => {
    let isOver = false
    let stop = () => {}
    const leave = (): boolean => {
      if (isOver) return false
      isOver = true
      alone--
      stop()
      restIfIdle()
      return true
    }
    const end: Disturbed = (found) => {
      if (leave()) member.disturbed(found)
    }
    alone++
    stop = observeUnsafe({
      key: keys.member(id),
      from: member.known + 1n,
      events: (events) => {
        const last = events.map(wordOf).find((word) => ends(member, word))
        if (last !== undefined) end(lossOf(last))
      },
      ended: () => end()
    })
    return leave
  }

  /** Nothing where there can be no watch. */
  const shareUnsafe = (from: bigint): Shared | undefined => {
    const members = new Map<string, Member>()
    const words = new Map<string, Word>()
    let isOver = false
    const tell = (event: Event): void => {
      const id = keys.idOf(event.kv.key)
      const word = wordOf(event)
      words.delete(id)
      words.set(id, word)
      const member = members.get(id)
      if (member === undefined || !ends(member, word)) return
      members.delete(id)
      member.disturbed(lossOf(word))
    }
    const stop = observeUnsafe({
      key: keys.start,
      end: keys.end,
      from,
      events: (events) => {
        for (const event of events) tell(event)
        for (const [id, { revision }] of words) {
          if (words.size <= mostRemembered) break
          words.delete(id)
          made.forgotten = revision
        }
        endIfIdle(made)
      },
      ended: () => {
        isOver = true
        if (shared?.members === members) shared = undefined
        const left = Array.from(members.values())
        members.clear()
        restIfIdle()
        for (const { disturbed } of left) disturbed()
      }
    })
    const made: Shared = { members, words, forgotten: from - 1n, stop }
    return isOver ? undefined : made
  }

  const endIfIdle = (one: Shared): void => {
    if (shared !== one || one.members.size > 0) return
    shared = undefined
    one.stop()
    restIfIdle()
  }

  return {
    attendUnsafe: ({ id, owner, token }, known, disturbed) => {
      const member: Member = { created: String(token), lease: owner ?? "0", known, disturbed }
      if (shared === undefined && alone >= mostAlone) shared = shareUnsafe(known + 1n)
      // What it does not say for certain is asked of the server anew, from the revision on that is known.
      if (shared === undefined || known < shared.forgotten || shared.members.has(id)) return aloneUnsafe(id, member)
      const joined = shared
      const word = joined.words.get(id)
      if (word !== undefined && ends(member, word)) {
        disturbed(lossOf(word))
        return () => {}
      }
      joined.members.set(id, member)
      return () => {
        if (joined.members.get(id) !== member) return
        joined.members.delete(id)
        endIfIdle(joined)
      }
    }
  }
}
