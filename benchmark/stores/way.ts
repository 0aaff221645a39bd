/** What every way of doing it on a store is asked for, so that all are measured alike. */
import type { Effect, Scope } from "effect"

export interface Place {
  readonly endpoints: ReadonlyArray<string>
  /** Keys that no other case uses. */
  readonly prefix: string
  readonly ttlSeconds: number
}

/** What a reader is told of a member. */
export type Seen = "Joined" | "Updated" | "Left"

/** One program whose members join a group, and another that reads it over a connection of its own. */
export interface Pair {
  /** Joins under these numbers, so many at once; returns when the store has confirmed all. */
  readonly join: (from: number, count: number, atOnce: number) => Effect.Effect<void, unknown>
  /** Changes a member's value. */
  readonly set: (index: number, value: string) => Effect.Effect<void, unknown>
  /** Takes one member back; returns when the store has confirmed it. */
  readonly leave: (index: number) => Effect.Effect<void, unknown>
  /** Takes back everything that is left, in the fastest way there is. */
  readonly clear: Effect.Effect<void, unknown>
  /** Called for each thing that the other program sees. */
  readonly onSeen: (seen: (what: Seen) => void) => void
}

/** A program that wants to be the only one. */
export interface Candidate {
  /** Stands in line and returns when it leads; resigns with the scope, which ends when the store has confirmed that. */
  readonly lead: Effect.Effect<void, unknown, Scope.Scope>
  /** Takes a lock that nobody else wants, and gives it back. */
  readonly lock: Effect.Effect<void, unknown>
}

export interface Way {
  readonly name: string
  readonly title: string
  readonly pair: (place: Place) => Effect.Effect<Pair, unknown, Scope.Scope>
  /** A program with a session of its own, called like this. */
  readonly candidate: (place: Place, node: string) => Effect.Effect<Candidate, unknown, Scope.Scope>
}

/** The members that were joined and not taken back yet, with what is needed for that. */
export const makeHeld = <A>() => {
  let held = new Map<number, A>()
  return {
    add: (index: number, one: A) => void held.set(index, one),
    get: (index: number): A => {
      const one = held.get(index)
      if (one === undefined) throw new Error(`Member ${index} has not joined`)
      return one
    },
    take: (index: number): A => {
      const one = held.get(index)
      if (one === undefined || !held.delete(index)) throw new Error(`Member ${index} has not joined`)
      return one
    },
    takeAll: (): ReadonlyArray<readonly [index: number, one: A]> => {
      const all = Array.from(held)
      held = new Map()
      return all
    }
  }
}

/** Runs a task for each number, so many at once, as a program without Effect would. */
export const forEachAtOnce = async (
  from: number,
  count: number,
  atOnce: number,
  task: (index: number) => Promise<unknown>
): Promise<void> => {
  let next = from
  const worker = async () => {
    while (next < from + count) await task(next++)
  }
  await Promise.all(Array.from({ length: Math.min(atOnce, count) }, worker))
}

export const valueOf = (index: number): string =>
  JSON.stringify({ address: "10.0.0.1", port: 8_000 + (index % 1_000), attributes: { zone: "a" } })
