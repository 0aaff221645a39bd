/** When a barrier is open: a pure judgement over all members of one view. */
import * as Option from "effect/Option"
import type * as Group from "../Group.ts"

/** What a view is judged by. */
export interface Rule<in out S> {
  readonly minimum: number
  readonly expected: ReadonlyArray<string>
  readonly decode: Group.Decoder<S>
  readonly isReady: (state: S) => boolean
}

export interface Judgement {
  readonly revision: bigint
  readonly minimum: number
  readonly present: number
  readonly ready: number
  readonly notReady: ReadonlyArray<string>
  readonly missing: ReadonlyArray<string>
  readonly short: number
  readonly stale: boolean
  readonly open: boolean
}

/**
 * An empty value is a place that was taken before its state was written: the acquire of a writer in Waiter's layout.
 * It is never ready, also where the schema and `isReady` would have it.
 */
const isReady = <S>(rule: Rule<S>, member: Group.Member<string>): boolean => {
  if (member.value === "") return false
  const decoded = rule.decode(member)
  return decoded._tag === "Decoded" && rule.isReady(decoded.member.value)
}

/** Judges all members anew in every view: who did not change may be the one that is not ready. */
export const judge = <S>(rule: Rule<S>, view: Group.GroupView<string>): Judgement => {
  const notReady = view.members.filter((member) => !isReady(rule, member)).map((member) => member.id)
  const missing = rule.expected.filter((id) => Option.isNone(view.get(id)))
  const stale = view.freshness._tag === "Stale"
  const short = Math.max(0, rule.minimum - view.size)
  return {
    revision: view.revision,
    minimum: rule.minimum,
    present: view.size,
    ready: view.size - notReady.length,
    notReady,
    missing,
    short,
    stale,
    open: !stale && short === 0 && missing.length === 0 && notReady.length === 0
  }
}

const sameIds = (a: ReadonlyArray<string>, b: ReadonlyArray<string>): boolean =>
  a.length === b.length && a.every((id, index) => id === b[index])

/** Whether two judgements tell a reader the same: a revision may grow without anything having changed. */
export const same = (a: Judgement, b: Judgement): boolean =>
  a.open === b.open &&
  a.stale === b.stale &&
  a.present === b.present &&
  a.ready === b.ready &&
  sameIds(a.notReady, b.notReady) &&
  sameIds(a.missing, b.missing)
