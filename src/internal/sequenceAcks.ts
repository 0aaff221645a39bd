/**
 * How `exclusive` keeps bodies of different divisions from overlapping: the protocol as pure functions.
 *
 * Each member writes one acknowledgement into a group beside the sequence. `token/mark/print` says: the member with this
 * token has stopped every body for an earlier mark; at `mark` it stands for the members whose fingerprint is `print`. The
 * order is: stop the body, acknowledge the new members with a higher mark than before, wait until every member of the view,
 * by id and token, has acknowledged exactly that mark and print, start the body. So a body runs only
 * between its member's acknowledgement and the next one.
 *
 * Why no two bodies of different members overlap. Let X run for (r, C) and Y for (s, D), where C and D differ.
 *   - Each is in the other's view. Y started on X's acknowledgement of (s, D), and X's newest is (r, C), so X wrote (s, D)
 *     before (r, C); marks only rise, so s < r. In the same way r < s. Contradiction. A late reading changes nothing: it shows
 *     an older acknowledgement, and one that was ever equal proves the same.
 *   - X, under that token, is not in D. Where Y is in C, it acknowledged (r, C) first and saw D later, so X's
 *     entry has gone from the store in between. Where Y is not in C either, the one with the lower token was gone when the
 *     other was seen. A member's entry goes when it leaves, which it does after its body has stopped, or when its
 *     session ends, and its own deadline, at which the body is interrupted, comes before that. When it is back it has a
 *     new token, and acknowledges under it, as ever, after the old body has stopped.
 *
 * Why it does not wait for ever. Members that see the same members may have given them different marks, because a watch
 * conflates views and engines count revisions differently. So one that waits takes over the highest mark that another
 * member has acknowledged with the same print. New marks come only from changes that a watch shows, so after the last
 * change this ends at the highest of them, and all start. A running body that meets a higher mark stops: somebody has
 * seen a change that its own watch has not shown yet, or has conflated away (one came and went). It cannot acknowledge while
 * it runs, because others could start on that.
 *
 * Which mark: the token of the newest member, which all who see it join agree on without a word; after a leave, the
 * view's revision, which is the same for all whose watch tells events. So one change costs each member one small write as a
 * rule. Revisions that grow without a change are never acknowledged.
 *
 * A member that has died is waited for until its session ends in the store: then it is no longer in the view.
 */
import * as Option from "effect/Option"
import * as Group from "../Group.ts"
import { fingerprint } from "./rendezvous.ts"
import type { Content, Place, Seat } from "./sequencePlace.ts"
import { sameContent } from "./sequencePlace.ts"

/** An acknowledgement. */
export interface Ack {
  readonly token: bigint
  readonly mark: bigint
  readonly print: string
}

export const encode = ({ mark, print, token }: Ack): string => `${token}/${mark}/${print}`

const form = /^(\d{1,20})\/(\d{1,20})\/([0-9a-f]{16})$/

const decode = Group.makeDecoder<Ack>((raw) => {
  const [, token, mark, print] = form.exec(raw) ?? []
  return token === undefined || mark === undefined || print === undefined
    ? { detail: "not an acknowledgement" }
    : { value: { token: BigInt(token), mark: BigInt(mark), print } }
})

/** What a member stands for: the members that it sees, and the mark that it gives them. */
export interface Standing {
  readonly seat: Seat
  readonly content: Content
  readonly print: string
  readonly mark: bigint
  /** Marks rise within one epoch: after a restore tokens and revisions begin below those of before, and may be the same. */
  readonly epoch: number
  /** Whether the mark was taken over from another member, so that the own watch may still be behind it. */
  readonly adopted: boolean
}

export type Seated = Extract<Place, { readonly _tag: "Seated" }>

const printOf = (content: Content): string => fingerprint(content.map(({ id, token }) => `${token}/${id}`))

/**
 * Whether a place is another one than the standing's. Members are not given a mark above the revision at which they were
 * seen, so a view from below an adopted mark is old news: the watch is going to show what the other has seen.
 */
export const isNews = (standing: Standing, place: Seated): boolean =>
  place.token !== standing.seat.token ||
  place.epoch !== standing.epoch ||
  (!sameContent(place.content, standing.content) && !(standing.adopted && place.seat.revision < standing.mark))

/** Above the floor in any case, also where a store gives one revision twice. */
const markOf = (place: Seated, floor: bigint): bigint => {
  const newest = place.content.at(-1)?.token ?? place.token
  const mark = newest > floor ? newest : place.seat.revision
  return mark > floor ? mark : floor + 1n
}

/** The standing at a place: the former one where nothing is new, else one with a higher mark. */
export const stand = (before: Standing | undefined, place: Seated): Standing => {
  if (before !== undefined && !isNews(before, place)) return before
  const floor = before?.seat.token === place.token && before.epoch === place.epoch ? before.mark : 0n
  return {
    seat: place.seat,
    content: place.content,
    print: printOf(place.content),
    mark: markOf(place, floor),
    epoch: place.epoch,
    adopted: false
  }
}

/** Takes over the mark that another member has given to the same members. */
export const adopt = (standing: Standing, mark: bigint): Standing => ({ ...standing, mark, adopted: true })

export const ackOf = ({ mark, print, seat }: Standing): Ack => ({ token: seat.token, mark, print })

export type Verdict =
  | { readonly _tag: "Start" }
  | { readonly _tag: "Adopt"; readonly mark: bigint }
  /** Somebody has seen a newer view; the own watch is going to show it. */
  | { readonly _tag: "Behind" }
  | { readonly _tag: "Wait"; readonly lagging: ReadonlyArray<string> }

/** The acknowledgement of a member, if it is one under the member's present token. */
const ackBy = (acks: Group.GroupView<string>, member: Content[number]): Ack | undefined => {
  const entry = Option.getOrUndefined(acks.get(member.id))
  const decoded = entry === undefined ? undefined : decode(entry)
  if (decoded?._tag !== "Decoded") return undefined
  const ack = decoded.member.value
  return ack.token === member.token ? ack : undefined
}

/** What a member that has acknowledged its standing may do. Its own acknowledgement is not looked at. */
export const verdict = (standing: Standing, acks: Group.GroupView<string>): Verdict => {
  const { mark, print, seat } = standing
  const lagging: Array<string> = []
  let same = mark
  let newer = mark
  for (const member of standing.content) {
    if (member.id === seat.id) continue
    const ack = ackBy(acks, member)
    if (ack !== undefined && ack.mark > mark) {
      if (ack.print !== print) newer = ack.mark > newer ? ack.mark : newer
      else if (ack.mark > same) same = ack.mark
    } else if (ack === undefined || ack.mark < mark || ack.print !== print) lagging.push(member.id)
  }
  if (newer > same) return { _tag: "Behind" }
  if (same > mark) return { _tag: "Adopt", mark: same }
  return lagging.length > 0 ? { _tag: "Wait", lagging } : { _tag: "Start" }
}

/** Whether another member has acknowledged a later mark than the one that a body runs for. */
export const isOutrun = (standing: Standing, acks: Group.GroupView<string>): boolean =>
  standing.content.some((member) => {
    const ack = member.id === standing.seat.id ? undefined : ackBy(acks, member)
    return ack !== undefined && ack.mark > standing.mark
  })
