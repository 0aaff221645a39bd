/** What a history is made of: facts about the store and about what its processes did, each with its time and its order. */
import * as Schema from "effect/Schema"

const stamp = { process: Schema.String, at: Schema.Finite, order: Schema.Int }
const place = { group: Schema.String, id: Schema.String, token: Schema.BigInt }

/**
 * A member of a group as an event names it.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Place = Schema.Struct({ id: Schema.String, token: Schema.BigInt })

/**
 * A member with its value.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Valued = Schema.Struct({ id: Schema.String, token: Schema.BigInt, value: Schema.String })

/**
 * The schema of all events, to keep a history and judge it again.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Event = Schema.TaggedUnion({
  // What the store holds. `epoch` is the store's own: it grows with each restore.
  Stored: { ...stamp, ...place, value: Schema.String, revision: Schema.BigInt, epoch: Schema.Int },
  Removed: { ...stamp, ...place, revision: Schema.BigInt, epoch: Schema.Int, forced: Schema.Boolean },
  Restored: {
    ...stamp,
    revision: Schema.BigInt,
    epoch: Schema.Int,
    entries: Schema.Array(Schema.Struct({ ...place, value: Schema.String }))
  },
  IndexLowered: { ...stamp, group: Schema.String },
  // What was done to a process.
  Paused: stamp,
  Resumed: stamp,
  Cut: stamp,
  Healed: stamp,
  // What a process did by its place.
  Acted: { ...stamp, ...place },
  Granted: { ...stamp, ...place },
  Began: { ...stamp, ...place, index: Schema.Int, count: Schema.Int, exclusive: Schema.Boolean },
  Interrupted: { ...stamp, ...place, lost: Schema.Boolean },
  Stopped: { ...stamp, ...place, lost: Schema.Boolean },
  // What a reader was shown.
  Viewed: {
    ...stamp,
    reader: Schema.String,
    group: Schema.String,
    epoch: Schema.Int,
    revision: Schema.BigInt,
    fresh: Schema.Boolean,
    members: Schema.Array(Valued)
  },
  Changed: {
    ...stamp,
    reader: Schema.String,
    group: Schema.String,
    change: Schema.Literals(["Joined", "Updated", "Left"]),
    member: Valued
  },
  Seated: { ...stamp, ...place, reader: Schema.String, index: Schema.Int, count: Schema.Int },
  Unseated: { ...stamp, reader: Schema.String, group: Schema.String },
  Detached: { ...stamp, reader: Schema.String },
  // Barriers.
  Waiting: { ...stamp, group: Schema.String, wait: Schema.Int, mine: Schema.Array(Place) },
  Passed: {
    ...stamp,
    group: Schema.String,
    wait: Schema.Int,
    revision: Schema.BigInt,
    members: Schema.Array(Place)
  },
  GaveUp: { ...stamp, group: Schema.String, wait: Schema.Int, timedOut: Schema.Boolean },
  // Marks of the test.
  Settled: stamp,
  Counted: {
    ...stamp,
    entries: Schema.Array(Schema.Struct(place)),
    sessions: Schema.Int,
    watches: Schema.Int
  }
})

/**
 * Something that happened in a run: what the store held, what was done to a process, what a process did by its place, what a
 * reader was shown, and the marks that a test sets.
 *
 * **Details**
 *
 * Each has the `process` it is about, `at` in milliseconds of one clock for all, and `order`, by which events of one moment are told
 * apart. `epoch` of store events is the store's own count of restores; that of views is the reader's.
 *
 * @category models
 * @since 0.1.0
 */
export type Event = typeof Event.Type

/**
 * The name of an event.
 *
 * @category models
 * @since 0.1.0
 */
export type Tag = Event["_tag"]

/**
 * One kind of event.
 *
 * @category models
 * @since 0.1.0
 */
export type Of<T extends Tag> = Extract<Event, { readonly _tag: T }>

/**
 * A guarantee that a history breaks.
 *
 * **Details**
 *
 * `name` is the guarantee's, `message` says what happened, to whom and when, and `events` are those that show it, in their order.
 *
 * @category models
 * @since 0.1.0
 */
export interface Violation {
  readonly name: ViolationName
  readonly message: string
  readonly events: ReadonlyArray<Event>
}

/**
 * The guarantees that are judged.
 *
 * @category models
 * @since 0.1.0
 */
export type ViolationName =
  | "ViewWentBack"
  | "ViewIsWrong"
  | "ViewIsBehind"
  | "ChangeDoesNotFit"
  | "FoldIsWrong"
  | "TokenDidNotGrow"
  | "GrantedWithoutEntry"
  | "GrantedOutOfTurn"
  | "ActedWithoutEntry"
  | "HeldAfterRemoval"
  | "RemovedBeforeStopped"
  | "TenuresOverlap"
  | "BodiesOverlap"
  | "NeverInterrupted"
  | "OpenedTooEarly"
  | "PassedUnnamed"
  | "PassedTwice"
  | "LeftBehindBarrier"
  | "IndicesDoNotFit"
  | "LeftInStore"
