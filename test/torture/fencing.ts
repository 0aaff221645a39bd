/** Guarded writes held against the store's own order: exact by revisions, whatever any clock says. */
import type { Chronicle, Write } from "./chronicle.ts"
import { placeOf } from "./merge.ts"

/** Where holders of a group write under guard, and what: `<token> <nonce>`. */
export const guardedKey = (root: string, group: string): string => `${root}/guarded/${group}`

export const guardedValue = (token: bigint, nonce: string): string => `${token} ${nonce}`

const parse = (value: string) => {
  const [token = "0", nonce = ""] = value.split(" ")
  return { token: BigInt(token), nonce }
}

/** What a holder was told of one guarded write. */
export interface Attempt {
  readonly nonce: string
  readonly outcome: "done" | "refused" | "unknown"
}

export interface Fenced {
  readonly violations: ReadonlyArray<string>
  readonly written: number
}

const tokensOf = (entries: ReadonlyMap<string, bigint>) => Array.from(entries.values())

/** Every write was by a live entry, the first in its line; tokens never fall; answers were true. */
export const check = (
  root: string,
  prefix: string,
  chronicle: Pick<Chronicle, "writes">,
  attempts: Iterable<Attempt>
): Fenced => {
  const violations: Array<string> = []
  const newest = new Map<string, bigint>()
  const alive = new Map<string, Map<string, bigint>>()
  const nonces = new Set<string>()
  const start = `${root}/guarded/`
  const apply = ({ key, token, value }: Write) => {
    const place = placeOf(prefix, key)
    if (place === undefined) return
    const entries = alive.get(place.group) ?? new Map<string, bigint>()
    alive.set(place.group, entries)
    if (value === undefined) entries.delete(place.id)
    else entries.set(place.id, token)
  }
  for (const write of chronicle.writes) {
    if (!write.key.startsWith(start) || write.value === undefined) {
      apply(write)
      continue
    }
    const group = write.key.slice(start.length)
    const { nonce, token } = parse(write.value)
    const held = tokensOf(alive.get(group) ?? new Map<string, bigint>())
    const at = `${group} was written at revision ${write.revision} under token ${token}`
    nonces.add(nonce)
    if (token < (newest.get(group) ?? 0n)) violations.push(`${at}, after token ${newest.get(group)}`)
    if (!held.includes(token)) violations.push(`${at}, whose entry was gone`)
    const ahead = held.find((other) => other < token)
    if (ahead !== undefined) violations.push(`${at}, while token ${ahead} was ahead`)
    newest.set(group, token)
  }
  for (const { nonce, outcome } of attempts) {
    if (outcome === "refused" && nonces.has(nonce)) violations.push(`${nonce} was refused, and yet written`)
    if (outcome === "done" && !nonces.has(nonce)) violations.push(`${nonce} was confirmed, and never written`)
  }
  return { violations, written: nonces.size }
}
