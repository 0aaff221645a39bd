/**
 * The rules of Consul's blocking queries, as pure functions.
 *
 * A query names the index that it knows, and is answered when there is a higher one, or when its wait is over. Consul's documentation
 * of blocking queries has the rules: an index that went backwards starts anew from 0, one below 1 must not be waited for,
 * and that a query returned does not mean that something has changed. One more is ours: a restored snapshot answers the queries
 * that wait, unchanged and at once, and one that waited again for an index which the restored store has not reached would
 * be silent until it has.
 */

/** How long the server keeps a query that has nothing to say. Short, because a dead connection is noticed only after it. */
export const waitMillis = 10_000

/** The server adds up to a sixteenth of the wait, so that its clients do not all return at once. */
export const longestMillis = (wait: number): number => wait + wait / 16

/** How long to leave a server alone that names no index: asked again at once it would be asked without end. */
export const pauseMillis = 1_000

/** What an answer says: the index to wait for next (0: ask again at once), and whether the asking should pause first. */
export interface Step {
  readonly next: bigint
  readonly pause: boolean
}

export const step = (asked: bigint, answered: bigint | undefined, early: boolean): Step => {
  if (answered === undefined || answered < 1n) return { next: 0n, pause: true }
  if (answered < asked || (answered === asked && early)) return { next: 0n, pause: false }
  return { next: answered, pause: false }
}

/** A whole election's worth of changes passes unhindered; a group that never rests costs no more than the rate. */
const standardBurst = 50
const perSecond = 20

export interface Bucket {
  readonly tokens: number
  readonly atMillis: number
  readonly burst: number
}

export const full = (atMillis: number, burst = standardBurst): Bucket => ({ tokens: burst, atMillis, burst })

/** Takes one token, and tells how long to wait for it. Nobody waits while there are some. */
export const take = (bucket: Bucket, nowMillis: number): { readonly bucket: Bucket; readonly waitMillis: number } => {
  const { burst } = bucket
  const refilled = Math.min(burst, bucket.tokens + (Math.max(0, nowMillis - bucket.atMillis) * perSecond) / 1_000)
  const tokens = refilled - 1
  return { bucket: { tokens, atMillis: nowMillis, burst }, waitMillis: tokens >= 0 ? 0 : (-tokens * 1_000) / perSecond }
}
