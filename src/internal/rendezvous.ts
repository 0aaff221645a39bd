/**
 * Rendezvous hashing, and the hash under it. Both are part of the protocol between processes: two versions of this library
 * in one group must agree on every owner, so a change here is a change of format. The tests hold fixed vectors.
 */

const offsetBasis = 0x811c9dc5

const eat = (hash: number, byte: number): number => Math.imul(hash ^ byte, 0x01000193)

/** FNV-1a over 32 bits. The ids that we write are ASCII, one byte each; of foreign ones each wider unit gives two. */
const fnv1a = (text: string): number => {
  let hash = offsetBasis
  for (let at = 0; at < text.length; at++) {
    const unit = text.charCodeAt(at)
    hash = eat(hash, unit & 0xff)
    if (unit > 0xff) hash = eat(hash, unit >>> 8)
  }
  return hash
}

/** Murmur3's finalizer: FNV alone spreads the last bytes, which are the partition's number, too little. */
const mix = (hash: number): number => {
  let h = hash
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b)
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35)
  return (h ^ (h >>> 16)) >>> 0
}

const score = (hash: number, partition: number): number =>
  mix(eat(eat(eat(eat(hash, partition & 0xff), (partition >>> 8) & 0xff), (partition >>> 16) & 0xff), partition >>> 24))

interface Candidate {
  readonly id: string
  readonly hash: number
  readonly second: number
}

/** Ids whose hashes are equal tie on every partition, and one of them would own nothing: a second hash, over another beginning, parts them. */
const beats = (a: Candidate, b: Candidate, partition: number): boolean => {
  const first = score(a.hash, partition) - score(b.hash, partition)
  if (first !== 0) return first > 0
  const second = score(a.second, partition) - score(b.second, partition)
  return second === 0 ? a.id < b.id : second > 0
}

/**
 * The owner of each partition from 0 to `partitions - 1`: the one with the highest score, whatever the order of the ids.
 * Without ids, or without a positive whole number of partitions, nothing is owned.
 */
export const owners = (ids: ReadonlyArray<string>, partitions: number): ReadonlyArray<string> => {
  const candidates = ids.map((id) => ({ id, hash: fnv1a(id), second: fnv1a(`/${id}`) }))
  const [first, ...rest] = candidates
  if (first === undefined || !Number.isSafeInteger(partitions) || partitions < 1) return []
  return Array.from({ length: partitions }, (_, partition) => {
    let best: Candidate = first
    for (const candidate of rest) if (beats(candidate, best, partition)) best = candidate
    return best.id
  })
}

const hex = (hash: number): string => hash.toString(16).padStart(8, "0")

/** 64 bits of hash over texts, as 16 hexadecimal digits: two independent streams, so that one colliding does not matter. */
export const fingerprint = (texts: Iterable<string>): string => {
  let a = 0xdeadbeef
  let b = 0x41c6ce57
  for (const text of texts) {
    // One unit past the end, which no text can hold, so that ["ab"] and ["a", "b"] differ.
    for (let at = 0; at <= text.length; at++) {
      const unit = at === text.length ? 0x10000 : text.charCodeAt(at)
      a = Math.imul(a ^ unit, 0x9e3779b1)
      b = Math.imul(b ^ unit, 0x5f356495)
      a ^= a >>> 15
      b ^= b >>> 13
    }
  }
  return hex(mix(a)) + hex(mix(b))
}
