/** What the strategies mean: who restarts with whom, and in which order workers begin and end. */
import { isAtRest } from "./workerMachine.ts"
import type { WorkerState } from "./workerMachine.ts"

/**
 * What workers owe each other: nothing; everything; or each builds on those before it.
 *
 * Only in the last one is there an order: init one after another, stop in reverse. In the others all do at once.
 */
export type Strategy = "oneForOne" | "oneForAll" | "restForOne"

/** A worker, as far as the rules are concerned. Lists of them are in the order in which the workers were given. */
interface Standing {
  readonly state: WorkerState
}

const isEnding = ({ state }: Standing): boolean => state._tag === "Stopping" || state._tag === "Abandoned"

/** It does not run, or stops without a next run to come. */
const isLeaving = ({ state }: Standing): boolean =>
  isAtRest(state) || ((state._tag === "Stopping" || state._tag === "Abandoned") && state.next !== "Enabled")

const isEnabled = ({ state }: Standing): boolean => state._tag === "Enabled"
const isRestarting = ({ state }: Standing): boolean => state._tag === "Restarting"
const isInitialized = ({ state }: Standing): boolean => state._tag === "Initialized"
const isStopping = ({ state }: Standing): boolean => state._tag === "Stopping"

/** Those that have to restart when this one does: what is at rest stays so. */
export const alongside = <W extends Standing>(
  strategy: Strategy,
  workers: ReadonlyArray<W>,
  restarting: W
): ReadonlyArray<W> => {
  if (strategy === "oneForOne") return []
  const candidates = strategy === "oneForAll" ? workers : workers.slice(workers.indexOf(restarting) + 1)
  return candidates.filter((worker) => worker !== restarting && !isLeaving(worker))
}

/** Who of a round, the workers that begin together, may do its init now. */
export const initDue = <W extends Standing>(strategy: Strategy, round: ReadonlyArray<W>): ReadonlyArray<W> => {
  if (strategy === "oneForOne") return round.filter(isEnabled)
  // No run of a round begins while an old one of it goes on.
  if (round.some(isEnding)) return []
  if (strategy === "oneForAll") return round.some(isRestarting) ? [] : round.filter(isEnabled)
  const next = round.find((worker) => !isInitialized(worker))
  return next !== undefined && isEnabled(next) ? [next] : []
}

/** Whether all that begin together have done their init. */
export const runDue = (round: ReadonlyArray<Standing>): boolean => round.every(isInitialized)

/** Who of those that are to stop may be interrupted now. */
export const stopDue = <W extends Standing>(strategy: Strategy, workers: ReadonlyArray<W>): ReadonlyArray<W> => {
  if (strategy !== "restForOne") return workers.filter(isStopping)
  const last = workers.findLast(isStopping)
  return last === undefined ? [] : [last]
}

/**
 * How long to wait for a worker when all are to stop in the time that is left: where they stop one after another, its part of that
 * by what it and those that come after it may take.
 */
export const stopBudget = (strategy: Strategy, own: number, toCome: number, left: number): number =>
  Math.min(own, strategy === "restForOne" && toCome > 0 ? (left * own) / toCome : left)
