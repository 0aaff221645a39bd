import * as Effect from "effect/Effect"
import * as Roster from "./roster.ts"

/** Wakes all who wait, in constant time for each who comes or goes: ten thousand subscribers of one group wait here. */
export class Notifier {
  private readonly waiting = new Roster.Roster<() => void>()

  /**
   * Waits until the condition holds. It is tested in the same turn in which the waiter is entered: a fiber may yield
   * between any two steps, and a wake-up in between would be lost.
   */
  until(condition: () => boolean): Effect.Effect<void> {
    return Effect.callback<void>((resume) => {
      if (condition()) return resume(Effect.void)
      const prevent = this.onceUnsafe(condition, () => resume(Effect.void))
      return Effect.sync(prevent)
    })
  }

  /** Calls once, at a wake-up at which the condition holds; returns the way to prevent it. */
  onceUnsafe(condition: () => boolean, call: () => void): () => void {
    const { waiting } = this
    const entry = waiting.add(() => {
      if (!condition()) return
      waiting.remove(entry)
      call()
    })
    return () => waiting.remove(entry)
  }

  wakeUnsafe(): void {
    this.waiting.forEach((wake) => wake())
  }
}

export const make = (): Notifier => new Notifier()
