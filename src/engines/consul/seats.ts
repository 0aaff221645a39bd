/** Queries for single keys: how many each group has. */

export interface Seats {
  /** Takes one of a group's, if there is one left; returns the way to give it back. */
  readonly takeUnsafe: (path: string) => (() => void) | undefined
}

/**
 * A query for one key wakes for that key alone, and holds a connection, of which an agent gives 200 to one address. Whoever holds
 * and awaits a place needs two.
 */
const most = 4

export const make = (): Seats => {
  const taken = new Map<string, number>()
  return {
    takeUnsafe: (path) => {
      const before = taken.get(path) ?? 0
      if (before >= most) return undefined
      taken.set(path, before + 1)
      return () => {
        const left = (taken.get(path) ?? 0) - 1
        if (left > 0) taken.set(path, left)
        else taken.delete(path)
      }
    }
  }
}
