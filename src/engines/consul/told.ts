/** The members of a group as a watch has told them: from one whole answer to the next, what has changed. */
import type { Feed, Snapshot } from "../../internal/store.ts"
import type { Pair } from "./keys.ts"
import { entryOf, isMember } from "./keys.ts"
import type { Found } from "./kv.ts"

export interface Told {
  readonly epoch: number
  /** What the answer tells; nothing where it contradicts what was told before. */
  readonly tell: (found: Found) => Feed | undefined
}

export const snapshotOf = (path: string, { epoch, pairs, revision }: Found): Snapshot => ({
  entries: pairs.filter((pair) => isMember(path, pair)).map((pair) => entryOf(path, pair)),
  revision,
  epoch
})

/** Begins with the answer that lists the group. Of each later one only what is new is read further than its index. */
export const make = (path: string, first: Found): Told => {
  const { epoch } = first
  let { revision } = first
  /** The index of each member's last write. */
  const written = new Map(first.pairs.map((pair) => [pair.Key, pair.ModifyIndex]))

  /** Forgets whom the answer has not, given how many of those that were told it has. */
  const forgetGone = (pairs: ReadonlyArray<Pair>, kept: number): Array<string> => {
    const gone: Array<string> = []
    if (kept === written.size) return gone
    const present = new Set(pairs.map(({ Key }) => Key))
    for (const key of written.keys()) {
      if (present.has(key)) continue
      written.delete(key)
      gone.push(key.slice(path.length))
    }
    return gone
  }

  return {
    epoch,
    tell: (found) => {
      const { pairs } = found
      const before = revision
      const news: Array<Pair> = []
      let kept = 0
      for (const pair of pairs) {
        const index = written.get(pair.Key)
        if (index !== undefined) kept++
        if (index !== pair.ModifyIndex) news.push(pair)
      }
      // News of a write that had been made before, when it was not there: only a store that was put back to an earlier state has it.
      if (news.some(({ ModifyIndex }) => ModifyIndex <= before)) return undefined
      const removes = forgetGone(pairs, kept)
      for (const { Key, ModifyIndex } of news) written.set(Key, ModifyIndex)
      if (found.revision > revision) revision = found.revision
      if (news.length === 0 && removes.length === 0) return { _tag: "Progress", revision: found.revision }
      // A lower index is not older data, since every reading is consistent: it is taken as it is.
      if (found.revision <= before) return { _tag: "Snapshot", snapshot: snapshotOf(path, found) }
      const puts = news.filter((pair) => isMember(path, pair)).map((pair) => entryOf(path, pair))
      return { _tag: "Changes", revision: found.revision, puts, removes }
    }
  }
}
