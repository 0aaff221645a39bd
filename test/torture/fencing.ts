/** Guarded writes held against the store's own order: exact by revisions, whatever any clock says. */
import type { Told } from "./chronicle.ts"

/** What a holder was told of one guarded write. */
export interface Attempt {
  readonly nonce: string
  readonly outcome: "done" | "refused" | "unknown"
}

export interface Fenced {
  readonly violations: ReadonlyArray<string>
  readonly written: number
  /** What looks like a violation where the chronicle does not know what the group was. */
  readonly unknown: number
}

const tokensOf = (entries: ReadonlyMap<string, bigint>) => Array.from(entries.values())

/** Every write was by a live entry, the first in its line; tokens never fall; answers were true. */
export const check = ({ isVague, writes }: Told, attempts: Iterable<Attempt>): Fenced => {
  const violations: Array<string> = []
  const newest = new Map<string, bigint>()
  const alive = new Map<string, Map<string, bigint>>()
  const nonces = new Set<string>()
  let unknown = 0
  for (const { group, id, of, revision, token, value } of writes) {
    const entries = alive.get(group) ?? new Map<string, bigint>()
    alive.set(group, entries)
    if (of === "entry") {
      if (value === undefined) entries.delete(id)
      else entries.set(id, token)
      continue
    }
    const held = tokensOf(entries)
    const at = `${group} was written at revision ${revision} under token ${token}`
    nonces.add(id)
    if (token < (newest.get(group) ?? 0n)) violations.push(`${at}, after token ${newest.get(group)}`)
    const found: Array<string> = []
    if (!held.includes(token)) found.push(`${at}, whose entry was gone`)
    const ahead = held.find((other) => other < token)
    if (ahead !== undefined) found.push(`${at}, while token ${ahead} was ahead`)
    if (isVague?.(group, revision)) unknown += found.length
    else violations.push(...found)
    newest.set(group, token)
  }
  for (const { nonce, outcome } of attempts) {
    if (outcome === "refused" && nonces.has(nonce)) violations.push(`${nonce} was refused, and yet written`)
    if (outcome === "done" && !nonces.has(nonce)) violations.push(`${nonce} was confirmed, and never written`)
  }
  return { violations, written: nonces.size, unknown }
}
