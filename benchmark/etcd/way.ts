/** What every way of doing it on etcd is asked for, so that all are measured alike. */
import type { Effect, Scope } from "effect"

export interface Place {
  readonly endpoints: ReadonlyArray<string>
  /** Keys that no other case uses. */
  readonly prefix: string
  readonly ttlSeconds: number
}

/** One program that joins a group, and another that reads it over a connection of its own. */
export interface Pair {
  /** Joins under these numbers, so many at once; returns when the store has confirmed all. */
  readonly join: (from: number, count: number, atOnce: number) => Effect.Effect<void, unknown>
  /** Takes back everything that was joined. */
  readonly leave: Effect.Effect<void, unknown>
  /** Called for each member that the other program sees joining. */
  readonly onSeen: (seen: () => void) => void
}

/** Two programs that want to lead, one of which does while the other waits for its turn. */
export interface Rivals {
  /** Ends the present tenure; microseconds until the other one leads. The former leader then waits in its turn. */
  readonly handOver: Effect.Effect<number, unknown>
}

export interface Way {
  readonly name: "rpc" | "etcd3" | "library"
  readonly pair: (place: Place) => Effect.Effect<Pair, unknown, Scope.Scope>
  readonly rivals: (place: Place) => Effect.Effect<Rivals, unknown, Scope.Scope>
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
