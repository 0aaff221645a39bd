import type { Duration, Effect, Scope } from "effect"
import type { Measurable } from "./measure.ts"
import type { Place, Way } from "./way.ts"

/** A server that was started for a benchmark. */
export interface Server {
  readonly version: string
  readonly endpoints: ReadonlyArray<string>
  /** Requests of all clients so far. */
  readonly received: Effect.Effect<number, unknown>
}

/** What differs between the benchmarks of stores. */
export interface Store {
  readonly name: string
  /** How the server was started, for the report. */
  readonly setting: string
  /** The last one is the library. */
  readonly ways: readonly [Way, ...ReadonlyArray<Way>]
  /** The way that the library is held against: the npm client, used by hand. */
  readonly byHand: Way
  readonly start: Effect.Effect<Server, unknown, Scope.Scope>
  readonly prefix: (number: number) => string
  /** Between two changes of a group whose way to a reader is timed. */
  readonly pace: Duration.Input
  /** What the requests are called in its own words. */
  readonly requests: string
  /** Sizes of groups that join at once. */
  readonly groups: ReadonlyArray<number>
  /** A row that only this store has, and what is wanted of it. */
  readonly own?: { readonly row: (places: () => Place) => Measurable; readonly bound: number } | undefined
  readonly failOver: {
    readonly ttls: ReadonlyArray<number>
    /** Those that renew what they hold; the last one is the library. */
    readonly ways: ReadonlyArray<Way>
    /** Seconds until the server has given a place away, by its own rules, and what is allowed for all else. */
    readonly bound: (ttlSeconds: number) => number
    readonly rule: string
    /** What the server does by itself: microseconds from the sending of a last renewal to the news that its entry is gone. */
    readonly alone?: (place: Place) => Effect.Effect<number, unknown>
  }
  /** Rows whose ratio cannot be what is wanted, and why, in a sentence each. */
  readonly notes: ReadonlyArray<string>
}
