/** What the store itself tells of a run, whatever its clients say: every write of a member, and every write under guard. */
import type { Effect } from "effect"
import type { History } from "../../src/testing/index.ts"
import type { Entry, Trouble } from "./engine.ts"

/** Something as one transaction left it. */
export interface Write {
  /** When it was made or heard of: by `now`, and not before it was made. */
  readonly at: number
  readonly revision: bigint
  /** Grows with each restore of the store. */
  readonly epoch: number
  /** A member's entry, or what a holder of the group wrote under guard. */
  readonly of: "entry" | "guarded"
  readonly group: string
  /** The member's id; what was said to identify a guarded write. */
  readonly id: string
  /** Of the entry; the one that a guarded write was made by. */
  readonly token: bigint
  /** Nothing where the entry was removed. */
  readonly value: string | undefined
  /** Of a removal: an operator's doing. */
  readonly forced: boolean
}

/** The store was put back: from here on it has these entries, and revisions begin anew. */
export interface Restore {
  readonly at: number
  readonly epoch: number
  readonly revision: bigint
  readonly entries: ReadonlyArray<Entry>
}

export interface Told {
  /** In the order of their epochs and revisions. */
  readonly writes: ReadonlyArray<Write>
  readonly restores?: ReadonlyArray<Restore>
  /** Whether it is unknown what a group was at a revision. */
  readonly isVague?: (group: string, revision: bigint) => boolean
  /** Whether what looks like a violation is something that this store may do, or that the chronicle cannot know. */
  readonly excuses?: (violation: History.Violation) => boolean
}

export interface Chronicle {
  /** Waits until all that has been written so far is here. */
  readonly caughtUp: Effect.Effect<unknown, Trouble>
  readonly told: Effect.Effect<Told, Trouble>
}
