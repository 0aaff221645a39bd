/** Ways to tell the tour's story wrongly, for its judge to find. */
import type { EventOf, History, Stamped } from "../../examples/tour/events.ts"
import { verify } from "../../examples/tour/verify.ts"

export const problemsOf = (history: History): ReadonlyArray<string> =>
  verify(history).flatMap(({ problems }) => problems)

type Event = Stamped["event"]
type Tag = Event["_tag"]
export type Lie = (history: History) => History

/** Where the n-th event of a kind stands, from the end for a negative n. */
const at = (history: History, tag: Tag, n: number): number =>
  history.flatMap(({ event }, index) => (event._tag === tag ? [index] : [])).at(n) ?? history.length

export const without =
  (tag: Tag, n: number): Lie =>
  (history) =>
    history.toSpliced(at(history, tag, n), 1)

export const inserted =
  (event: Event, tag: Tag, n: number): Lie =>
  (history) =>
    history.toSpliced(at(history, tag, n), 0, { at: 0, event })

export const moved =
  (tag: Tag, n: number, before: Tag, m: number): Lie =>
  (history) => {
    const from = at(history, tag, n)
    return history.toSpliced(at(history, before, m), 0, ...history.slice(from, from + 1)).toSpliced(from, 1)
  }

export const changed =
  <T extends Tag>(tag: T, n: number, change: (event: EventOf<T>) => EventOf<T>): Lie =>
  (history) =>
    history.map((stamped, index) =>
      index === at(history, tag, n) ? { ...stamped, event: change(stamped.event as EventOf<T>) } : stamped
    )
