/** Seeded random numbers (mulberry32), so that a failing frame can be made again. */
export const seeded = (seed: number) => {
  let state = seed >>> 0
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 0x1_0000_0000
  }
  return {
    below: (limit: number): number => Math.floor(next() * limit),
    pick: <A>(values: ReadonlyArray<A>): A => values[Math.floor(next() * values.length)] as A
  }
}
