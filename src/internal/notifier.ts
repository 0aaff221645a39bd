import * as Effect from "effect/Effect"

/** Wakes all who wait, in constant time for each who comes or goes: ten thousand subscribers of one group wait here. */
export interface Notifier {
  /**
   * Waits until the condition holds. It is tested in the same turn in which the waiter is entered: a fiber may yield
   * between any two steps, and a wake-up in between would be lost.
   */
  readonly until: (condition: () => boolean) => Effect.Effect<void>
  readonly wakeUnsafe: () => void
}

export const make = (): Notifier => {
  const waiting = new Set<() => void>()
  return {
    until: (condition) =>
      Effect.callback<void>((resume) => {
        if (condition()) return resume(Effect.void)
        const wake = () => {
          if (!condition()) return
          waiting.delete(wake)
          resume(Effect.void)
        }
        waiting.add(wake)
        return Effect.sync(() => waiting.delete(wake))
      }),
    wakeUnsafe: () => {
      for (const wake of waiting) wake()
    }
  }
}
