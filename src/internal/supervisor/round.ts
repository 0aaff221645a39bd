/**
 * Workers that begin together. How many of them are in which state is counted as they move, and in order each is passed
 * once: were all looked at whenever one moves, a start of thousands would take their square.
 */
import type { WorkerState } from "./workerMachine.ts"

/** A worker, as far as the rules are concerned. `index` is its place in the order in which the workers were given. */
export interface Standing {
  readonly index: number
  readonly state: WorkerState
}

type Tag = WorkerState["_tag"]

export interface Round<W extends Standing> {
  readonly members: Set<W>
  readonly counts: Map<Tag, number>
  /** Sorted when it is asked for, until somebody comes or goes. */
  inOrder: ReadonlyArray<W> | undefined
  /** At least so many of the first in order are initialized. */
  passed: number
}

export const make = <W extends Standing>(): Round<W> => ({
  members: new Set(),
  counts: new Map(),
  inOrder: undefined,
  passed: 0
})

export const count = (self: Round<Standing>, tag: Tag): number => self.counts.get(tag) ?? 0

const shift = (self: Round<Standing>, tag: Tag, by: number): void => void self.counts.set(tag, count(self, tag) + by)

const disorder = (self: Round<Standing>): void => {
  self.inOrder = undefined
  self.passed = 0
}

export const join = <W extends Standing>(self: Round<W>, worker: W): void => {
  self.members.add(worker)
  shift(self, worker.state._tag, 1)
  disorder(self)
}

export const leave = <W extends Standing>(self: Round<W>, worker: W): void => {
  self.members.delete(worker)
  shift(self, worker.state._tag, -1)
  disorder(self)
}

/** A member has gone from one state to another. */
export const move = (self: Round<Standing>, before: Tag, after: Tag): void => {
  shift(self, before, -1)
  shift(self, after, 1)
  if (before === "Initialized") self.passed = 0
}

export const inOrder = <W extends Standing>(self: Round<W>): ReadonlyArray<W> =>
  (self.inOrder ??= [...self.members].sort((a, b) => a.index - b.index))

/** The first in order whose init is not done. */
export const next = <W extends Standing>(self: Round<W>): W | undefined => {
  const workers = inOrder(self)
  while (workers[self.passed]?.state._tag === "Initialized") self.passed++
  return workers[self.passed]
}
