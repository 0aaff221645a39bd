/**
 * One `wait` as a pure state: what it knows, and what it has to do.
 *
 * An open barrier may close again before everybody has seen it open: a member leaves because it has passed, another one
 * joins, a slow watch conflates the open view away. So the first who sees it open writes down what it saw, its revision
 * and its members, in a group beside the barrier, before it passes; everybody named there passes on reading it.
 *
 * Each wait in progress holds an entry of that group. It says `waiting` first, and becomes the record in the entry of
 * whoever records.
 *
 * Why the record is a fact and not a state: it names one revision at which every member was ready. Nothing that happens
 * later makes that untrue, so a wait that has seen an open view may record it even after the barrier has closed again,
 * and two records of two open views do not disagree.
 *
 * Why a record reaches everybody who was waiting when it was written: the recorder's `wait` does not return before a view
 * of the group shows the record itself and no entry of a wait that could pass by it. A wait whose entry was confirmed
 * before the record was written is in that view, unless it is over. Its own watch shows it the record for as long as it
 * waits; no conflation can hide an entry that stays. When the recorder crashes, its session keeps the record in
 * the store for at least one more TTL. Beyond one TTL nobody is waited for: who has not read it by then has lost its session.
 *
 * Who comes to wait a moment later: the last one to become ready opens the barrier with its state, and comes to `wait` when
 * the others may have passed and left already. So where a named member has not been seen waiting, the record stays in the
 * background, for one TTL at most. That must not let a member pass twice by one opening: a token that has passed in this
 * process passes again only by openings that are not older than its next wait.
 *
 * Why not everybody records: n records of n members each are n² bytes, sent to n watchers. Of all who wait, the one with the
 * lowest token records at once, the others after a pause that grows with their number in the line, unless a record that
 * names them comes first. The pause bounds what a crashed or paused one costs; no promise hangs on it.
 */
import * as Schema from "effect/Schema"
import type * as Group from "../Group.ts"
import type { Judgement } from "./barrierRule.ts"
import * as payload from "./payload.ts"
import { fingerprint } from "./rendezvous.ts"

/** A revision at which the barrier was open, and everybody who was there. */
export interface Opening {
  readonly revision: bigint
  readonly members: ReadonlyArray<{ readonly id: string; readonly token: bigint }>
}

/**
 * `from` is the revision at which the wait began, `tokens` are the members that it stood for then and that had not passed
 * before, `rule` is empty or tells apart waits that expect different ids. It is never written again: a member that gets a
 * new token meanwhile is covered by `from`.
 */
const Waiting = Schema.Struct({
  waiting: Schema.Struct({
    from: Schema.BigIntFromString,
    tokens: Schema.Array(Schema.BigIntFromString),
    rule: Schema.String
  })
})

const Opened = Schema.Struct({
  opened: Schema.Struct({
    revision: Schema.BigIntFromString,
    members: Schema.Array(Schema.Struct({ id: Schema.String, token: Schema.BigIntFromString }))
  })
})

/** What stands in one entry beside the barrier. */
export type Entry = typeof Waiting.Type | typeof Opened.Type

const codec = payload.json<Entry, unknown>(Schema.Union([Waiting, Opened]), (parsed) => parsed)

/** Who has to be there, as far as a recorded opening can tell. `expected` is sorted. */
export interface Party {
  readonly minimum: number
  readonly expected: ReadonlyArray<string>
}

/** What a wait knows. */
export interface Round {
  readonly party: Party
  readonly epoch: number
  readonly from: bigint
  /** Tokens of this process's own members since the wait began, with their ids. Empty for an observer. */
  readonly own: ReadonlyMap<bigint, string>
  /** Those of them that have passed before this wait. */
  readonly spent: ReadonlySet<bigint>
  /** The newest view seen open. It stays when the barrier closes again. */
  readonly seen: Opening | undefined
}

const ownOf = (view: Group.GroupView<string>): ReadonlyArray<readonly [bigint, string]> =>
  view.members.filter((member) => member.mine).map((member) => [member.token, member.id] as const)

const openingOf = (view: Group.GroupView<string>): Opening => ({
  revision: view.revision,
  members: view.members.map(({ id, token }) => ({ id, token }))
})

/** Begins a wait from a linearizable reading, so that every member announced before the wait is in it. */
export const begin = (
  party: Party,
  view: Group.GroupView<string>,
  judgement: Judgement,
  spent: ReadonlySet<bigint> = new Set()
): Round => ({
  party,
  epoch: view.epoch,
  from: view.revision,
  own: new Map(ownOf(view)),
  spent,
  seen: judgement.open ? openingOf(view) : undefined
})

/** Takes a view of the barrier's members in. */
export const see = (round: Round, view: Group.GroupView<string>, judgement: Judgement): Round => {
  // Tokens and revisions of a store that was rewound mean nothing any more.
  if (view.epoch > round.epoch) return begin(round.party, view, judgement)
  // A watch that lags may show the barrier open as it was before this wait, and before its own member joined.
  if (view.epoch < round.epoch || view.revision < round.from) return round
  const own = ownOf(view).filter(([token]) => !round.own.has(token))
  return {
    ...round,
    own: own.length === 0 ? round.own : new Map([...round.own, ...own]),
    seen: judgement.open ? openingOf(view) : round.seen
  }
}

/**
 * Whether a recorded opening lets this wait pass: it names one of its members, or, where it has none, it is not older than
 * the wait. No member passes twice by one opening. An opening recorded by somebody who expected others does not answer for the ids expected here.
 */
export const accepts = (round: Round, opening: Opening): boolean => {
  if (opening.members.length < round.party.minimum) return false
  if (round.party.expected.length > 0) {
    const named = new Set(opening.members.map((member) => member.id))
    if (!round.party.expected.every((id) => named.has(id))) return false
  }
  const isNew = opening.revision >= round.from
  return round.own.size === 0
    ? isNew
    : opening.members.some(({ id, token }) => round.own.get(token) === id && (isNew || !round.spent.has(token)))
}

const ruleText = ({ expected }: Party): string => (expected.length === 0 ? "" : fingerprint(expected))

/** The entry of a wait in progress. */
export const waitingText = (round: Round): string =>
  JSON.stringify({
    waiting: {
      from: String(round.from),
      tokens: Array.from(round.own.keys())
        .filter((token) => !round.spent.has(token))
        .map(String),
      rule: ruleText(round.party)
    }
  })

/** The entry of the one who records. */
export const openedText = (opening: Opening): string =>
  JSON.stringify({
    opened: {
      revision: String(opening.revision),
      members: opening.members.map(({ id, token }) => ({ id, token: String(token) }))
    }
  })

/** What a wait has to do. `ahead` counts the waits that record before this one. */
export type Verdict =
  | { readonly _tag: "Wait" }
  | { readonly _tag: "Pass"; readonly opening: Opening }
  | { readonly _tag: "Record"; readonly opening: Opening; readonly ahead: number }

/** Nothing to do yet. */
export const wait: Verdict = { _tag: "Wait" }

/** Decides by the round and the entries beside the barrier; `place` is the token of the own entry there. */
export const verdict = (round: Round, entries: Group.GroupView<string> | undefined, place: bigint): Verdict => {
  // Without the entries a record might be missed, and everybody who starts at once would write one.
  if (entries === undefined) return wait
  let ahead = 0
  for (const member of entries.members) {
    const decoded = codec.decode(member)
    if (decoded._tag === "Undecoded") continue
    const entry = decoded.member.value
    if ("opened" in entry) {
      if (accepts(round, entry.opened)) return { _tag: "Pass", opening: entry.opened }
    } else if (member.token < place) ahead++
  }
  return round.seen === undefined ? wait : { _tag: "Record", opening: round.seen, ahead }
}

/** Whether a wait in progress could pass by an opening. */
const concerns = (entry: (typeof Waiting.Type)["waiting"], opening: Opening, rule: string): boolean =>
  (entry.rule === "" || entry.rule === rule) &&
  (entry.from <= opening.revision || opening.members.some((member) => entry.tokens.includes(member.token)))

/** Whether the record under `id` may go: everybody concerned has read it. */
export const isSettled = (
  round: Round,
  opening: Opening,
  entries: Group.GroupView<string> | undefined,
  id: string
): boolean => {
  if (entries === undefined || entries.freshness._tag === "Stale") return false
  const rule = ruleText(round.party)
  let recorded = false
  for (const member of entries.members) {
    const decoded = codec.decode(member)
    if (decoded._tag === "Undecoded") continue
    const entry = decoded.member.value
    if (member.id === id) recorded = "opened" in entry
    else if ("waiting" in entry && concerns(entry.waiting, opening, rule)) return false
  }
  return recorded
}

/** Tokens that a wait has been seen to stand for. */
export const heard = (entries: Group.GroupView<string>): ReadonlyArray<bigint> =>
  entries.members.flatMap((member) => {
    const decoded = codec.decode(member)
    return decoded._tag === "Decoded" && "waiting" in decoded.member.value ? decoded.member.value.waiting.tokens : []
  })

/** The pause of one who is not first in the line, bounded so that it never eats what is left before the timeout. */
export const patienceMillis = (ahead: number, remainingMillis: number): number =>
  Math.max(0, Math.min(ahead * 200, 2_000, remainingMillis / 2))
