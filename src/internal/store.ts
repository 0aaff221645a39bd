/**
 * What an engine gives so that the rest of this folder can make a `Coordinator` of it: a few requests over strings, each
 * one attempt, and two streams. Sessions, deadlines, retries, rejoining, debts, sharing and folding are done once,
 * above, for all engines.
 */
import type * as Effect from "effect/Effect"
import type * as Option from "effect/Option"
import type * as Stream from "effect/Stream"
import type { CoordinatorError } from "../CoordinatorError.ts"
import type { GroupName } from "../Group.ts"

/**
 * A member as the store holds it. `owner` is the id of the session that keeps it alive; foreign entries may have none.
 * `version` is the revision of its last write.
 */
export interface Entry {
  readonly id: string
  readonly value: string
  readonly token: bigint
  readonly version: bigint
  readonly owner: string | undefined
}

/** What identifies one holding of one entry: only its holder may remove it. */
export type Holding = Pick<Entry, "id" | "token" | "owner">

/** A whole group at one revision. `epoch` grows when the store was rewound while this process watched. */
export interface Snapshot {
  readonly entries: ReadonlyArray<Entry>
  readonly revision: bigint
  readonly epoch: number
}

/**
 * What a group's upstream watch tells, in order. Reconnecting and re-listing have happened below.
 *
 * With `unsettled` it is not exactly what the store had at `revision`: everything up to there is in it, and of what came later
 * some may be. Subscribers see it as stale with that cause. Values and removals still only move forward.
 */
export type Feed =
  | { readonly _tag: "Snapshot"; readonly snapshot: Snapshot; readonly unsettled?: CoordinatorError | undefined }
  | {
      readonly _tag: "Changes"
      readonly revision: bigint
      readonly puts: ReadonlyArray<Entry>
      readonly removes: ReadonlyArray<string>
      readonly unsettled?: CoordinatorError | undefined
    }
  | { readonly _tag: "Progress"; readonly revision: bigint }
  | { readonly _tag: "Disconnected"; readonly cause: CoordinatorError }

/** One entry as followed by its id: what it is at `revision`. */
export interface Followed {
  readonly entry: Option.Option<Entry>
  readonly revision: bigint
}

/**
 * Told with what the entry is where the store has said so, by an event or in a linearizable reading: whoever stands next is told at the
 * same time, and would act before one who has to ask.
 */
export type Disturbed = (found?: Followed) => void

/** The answer to an attempt to create an entry. */
export type Creation =
  | {
      readonly _tag: "Created"
      readonly token: bigint
      readonly version: bigint
      /**
       * True where a linearizable reading that shows this entry, made with its creation, found nobody with a lower token. Tokens only
       * grow, so nobody comes to stand there later. Absent where it was not looked.
       */
      readonly isFirst?: boolean | undefined
    }
  | { readonly _tag: "Occupied"; readonly entry: Entry }
  | { readonly _tag: "SessionGone" }

/**
 * The answer to a guarded update, with the new version. An update compares the version too: one that was thought lost
 * and is applied late must not overwrite a newer value.
 */
export type Update = { readonly _tag: "Updated"; readonly version: bigint } | { readonly _tag: "Refused" }

/** A linearizable look at a candidate's place: its own entry, and the entry with the next lower token, at `revision`. */
export interface Turn {
  readonly own: Option.Option<Entry>
  readonly ahead: Option.Option<Entry>
  readonly revision: bigint
}

/** The answer to a renewal that the quorum saw. */
export type Renewal =
  | { readonly _tag: "Renewed"; readonly ttlMillis: number }
  | { readonly _tag: "Gone" }
  | { readonly _tag: "Rewound" }

/** One group's part of a store. `create`, `read`, `turn` and `list` are linearizable. */
export interface GroupStore {
  readonly create: (session: string, id: string, value: string) => Effect.Effect<Creation, CoordinatorError>
  readonly read: (id: string) => Effect.Effect<Option.Option<Entry>, CoordinatorError>
  readonly update: (holding: Holding & Pick<Entry, "version">, value: string) => Effect.Effect<Update, CoordinatorError>
  /** Removes the entry if it is still this holding; succeeds as well when it is not. */
  readonly remove: (holding: Holding) => Effect.Effect<void, CoordinatorError>
  readonly list: Effect.Effect<Snapshot, CoordinatorError>
  readonly turn: (id: string, token: bigint) => Effect.Effect<Turn, CoordinatorError>
  /** Never ends by itself; fails only with what waiting does not cure. */
  readonly feed: Stream.Stream<Feed, CoordinatorError>
  /**
   * The same for a single entry, at a cost that does not depend on the group's size. What it was at the revision `known` need
   * not be told again: whoever has just read or written it saves a store that keeps a history the reading.
   */
  readonly follow: (id: string, known?: bigint) => Stream.Stream<Followed, CoordinatorError>
  /**
   * Calls back once when an entry may no longer be this holding, or when this watch can no longer tell, whatever the reason; what
   * became of it is then asked, unless it is told. Nothing is missed that happened after the revision `known`, at which it was this
   * holding. Returns the way to give it up, after which nothing is called. A store that can do this for less than a `follow` spares
   * each membership one.
   */
  readonly attendUnsafe?: ((holding: Holding, known: bigint, disturbed: Disturbed) => () => void) | undefined
}

/** What is known of a store before it is reached. */
export interface Facts {
  readonly engine: string
  readonly endpoint: string
  /** The part of the granted TTL after which this process stops by itself. */
  readonly margin: number
  /** How many renewals go out in a TTL. Default 3; a store with a smaller margin needs more, to lose two before the deadline. */
  readonly renewalsPerTtl?: number | undefined
  readonly minimumTtlMillis: number
  readonly maximumValueBytes: number
}

/** A store, reached from one process. */
export interface Store {
  readonly open: (
    ttlMillis: number
  ) => Effect.Effect<{ readonly id: string; readonly ttlMillis: number }, CoordinatorError>
  readonly renew: (session: string) => Effect.Effect<Renewal, CoordinatorError>
  readonly revoke: (session: string) => Effect.Effect<void, CoordinatorError>
  /** Emits when any answer shows that the store was restored to an earlier state. */
  readonly rewinds: Stream.Stream<void>
  readonly group: (name: GroupName) => GroupStore
}
