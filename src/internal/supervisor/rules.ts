/** What the strategies mean: who restarts with whom, and in which order workers begin and end. */
import * as Round from "./round.ts"
import type { Standing } from "./round.ts"
import { isAtRest } from "./workerMachine.ts"

/**
 * What workers owe each other: nothing; everything; or each builds on those before it.
 *
 * Only in the last one is there an order: init one after another, stop in reverse. In the others all do at once.
 */
export type Strategy = "oneForOne" | "oneForAll" | "restForOne"

/** It does not run, or stops without a next run to come. */
const isLeaving = ({ state }: Standing): boolean =>
  isAtRest(state) || ((state._tag === "Stopping" || state._tag === "Abandoned") && state.next !== "Enabled")

const isEnabled = ({ state }: Standing): boolean => state._tag === "Enabled"
const isStopping = ({ state }: Standing): boolean => state._tag === "Stopping"

/** Those that have to restart when this one does: what is at rest stays so. */
export const alongside = <W extends Standing>(
  strategy: Strategy,
  workers: ReadonlyArray<W>,
  restarting: W
): ReadonlyArray<W> => {
  if (strategy === "oneForOne") return []
  const candidates = strategy === "oneForAll" ? workers : workers.slice(restarting.index + 1)
  return candidates.filter((worker) => worker !== restarting && !isLeaving(worker))
}

/** Who of a round, the workers that begin together, may do its init now. */
export const initDue = <W extends Standing>(strategy: Strategy, round: Round.Round<W>): ReadonlyArray<W> => {
  if (Round.count(round, "Enabled") === 0) return []
  if (strategy === "oneForOne") return Round.inOrder(round).filter(isEnabled)
  // No run of a round begins while an old one of it goes on.
  if (Round.count(round, "Stopping") + Round.count(round, "Abandoned") > 0) return []
  if (strategy === "oneForAll") {
    return Round.count(round, "Restarting") > 0 ? [] : Round.inOrder(round).filter(isEnabled)
  }
  const next = Round.next(round)
  return next !== undefined && isEnabled(next) ? [next] : []
}

/** Whether all that begin together have done their init. */
export const runDue = (round: Round.Round<Standing>): boolean =>
  Round.count(round, "Initialized") === round.members.size

/** Who of those that are to stop may be interrupted now. From `end` on, none is to stop. */
export const stopDue = <W extends Standing>(
  strategy: Strategy,
  workers: ReadonlyArray<W>,
  end: number
): ReadonlyArray<W> => {
  if (strategy !== "restForOne") return workers.filter(isStopping)
  for (let index = end - 1; index >= 0; index--) {
    const worker = workers[index]
    if (worker !== undefined && isStopping(worker)) return [worker]
  }
  return []
}

/**
 * How long to wait for a worker when all are to stop in the time that is left: where they stop one after another, its part of that
 * by what it and those that come after it may take.
 */
export const stopBudget = (strategy: Strategy, own: number, toCome: number, left: number): number =>
  Math.min(own, strategy === "restForOne" && toCome > 0 ? (left * own) / toCome : left)
