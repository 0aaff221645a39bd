/**
 * The names of a group's nodes for those who have just created one: a thousand joins would otherwise read the list a thousand times,
 * each time longer.
 */
import * as Result from "effect/Result"
import type { Answered } from "./client.ts"
import type { GiveUp } from "./exchange.ts"
import { parse } from "./nodes.ts"

export interface Listed {
  readonly byId: ReadonlyMap<string, ReadonlyArray<string>>
  /** The name with the lowest sequence number. Absent where there is a name without one, which says nothing of the order. */
  readonly first: string | undefined
}

/** Sorted once for all who share it. */
export const listed = (names: ReadonlyArray<string>): Listed => {
  const byId = new Map<string, Array<string>>()
  let first: string | undefined
  let lowest = Number.POSITIVE_INFINITY
  let isOrdered = true
  for (const name of names) {
    const { id, sequence } = parse(name)
    const same = byId.get(id)
    if (same === undefined) byId.set(id, [name])
    else same.push(name)
    if (sequence === undefined) isOrdered = false
    else if (sequence < lowest) {
      lowest = sequence
      first = name
    }
  }
  return { byId, first: isOrdered ? first : undefined }
}

/** Asks for the list, or joins those who have. */
export type Shared = (answered: Answered<Listed>) => GiveUp

/**
 * So many lists are under way at a time: with one, those whose creations left together wait for the list of the creation before them.
 * With one for each turn, many small turns would each read all names of a large group.
 */
const mostUnderWay = 4

/**
 * Shares one request among all who ask in one turn, and sends it at the end of that turn, behind all their creations: a request that was
 * sent before somebody's creation does not show it.
 */
export const shared = (
  request: (answered: Answered<ReadonlyArray<string>>) => void,
  /** Called when nobody waits any more. */
  onIdle: () => void
): Shared => {
  let due = new Set<Answered<Listed>>()
  let underWay = 0
  let isTurning = false
  const endTurn = (): void => {
    isTurning = false
    if (due.size === 0 || underWay >= mostUnderWay) return restUnlessBusy()
    const asking = due
    due = new Set()
    underWay++
    request((names) => {
      underWay--
      try {
        const answer = Result.map(names, listed)
        for (const answered of asking) answered(answer)
      } finally {
        // Should one of them throw, those who come later must not wait for ever.
        sendSoon()
      }
    })
  }
  const sendSoon = (): void => {
    if (isTurning) return
    isTurning = true
    void Promise.resolve().then(endTurn)
  }
  const restUnlessBusy = (): void => {
    if (underWay === 0) onIdle()
  }
  return (answered) => {
    const mine = due
    mine.add(answered)
    sendSoon()
    // It is not called back: the others want the answer also when one gives up.
    return () => void mine.delete(answered)
  }
}
