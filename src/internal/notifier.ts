import * as Effect from "effect/Effect"

/** Wakes all who wait, in constant time for each who comes or goes: ten thousand subscribers of one group wait here. */
export interface Notifier {
  /**
   * Waits until the condition holds. It is tested in the same turn in which the waiter is entered: a fiber may yield
   * between any two steps, and a wake-up in between would be lost.
   */
  readonly until: (condition: () => boolean) => Effect.Effect<void>
  /** Calls once, at a wake-up at which the condition holds; returns the way to prevent it. */
  readonly onceUnsafe: (condition: () => boolean, call: () => void) => () => void
  readonly wakeUnsafe: () => void
}

export const make = (): Notifier => {
  /** Made for the first who waits: each membership has one of these, and on few anybody waits. */
  let waiting: Set<() => void> | undefined
  const onceUnsafe = (condition: () => boolean, call: () => void): (() => void) => {
    const all = (waiting ??= new Set())
    const wake = () => {
      if (!condition()) return
      all.delete(wake)
      call()
    }
    all.add(wake)
    return () => all.delete(wake)
  }
  return {
    until: (condition) =>
      Effect.callback<void>((resume) => {
        if (condition()) return resume(Effect.void)
        const prevent = onceUnsafe(condition, () => resume(Effect.void))
        return Effect.sync(prevent)
      }),
    onceUnsafe,
    wakeUnsafe: () => {
      if (waiting === undefined) return
      for (const wake of waiting) wake()
    }
  }
}
