/**
 * A place in a group, held for as long as a scope stays open and the session lives.
 *
 * **Gotchas**
 *
 * What a membership does not promise comes first: a process may be paused between `ensure` and the act that follows
 * it. No lease can prevent that. Where it matters, the protected resource itself must compare the token and refuse a
 * lower one than it has seen.
 *
 * @since 0.1.0
 */
import type * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as Stream from "effect/Stream"
import type { CoordinatorError } from "./CoordinatorError.ts"
import type { LossCause } from "./Session.ts"

const causes = {
  DeadlinePassed: "the session was not renewed in time",
  Expired: "the store ended the session",
  StoreRewound: "the store was restored to an earlier state",
  DebtUnsettled: "the session was given up to remove what it had left behind",
  EntryGone: "its entry was deleted or replaced",
  Closed: "its scope has closed",
  NotYetHeld: "the store has not confirmed it yet"
} satisfies Record<LossCause, string>

/**
 * Says in words why a membership ended.
 *
 * @category accessors
 * @since 0.1.0
 */
export const describeCause = (cause: LossCause): string => causes[cause]

/**
 * The membership is not held at this moment: stop acting on it.
 *
 * **Details**
 *
 * For an election or a lock this is final. With `rejoin` it holds between two tokens, until the membership has its
 * place again.
 *
 * @category errors
 * @since 0.1.0
 */
export class MembershipLost extends Schema.TaggedError<MembershipLost>("effect-ensemble/Membership/MembershipLost")(
  "MembershipLost",
  {
    group: Schema.String,
    id: Schema.String,
    cause: Schema.Literals([
      "DeadlinePassed",
      "Expired",
      "StoreRewound",
      "DebtUnsettled",
      "EntryGone",
      "Closed",
      "NotYetHeld"
    ])
  }
) {
  override get message(): string {
    return `${this.id} does not hold its place in ${this.group}: ${causes[this.cause]}`
  }
}

/**
 * Another process, or another membership of this one, holds the id.
 *
 * @category errors
 * @since 0.1.0
 */
export class MemberConflict extends Schema.TaggedError<MemberConflict>("effect-ensemble/Membership/MemberConflict")(
  "MemberConflict",
  { group: Schema.String, id: Schema.String, holder: Schema.String }
) {
  override get message(): string {
    return (
      `The id ${this.id} in ${this.group} is held by ${this.holder}. ` +
      `Give each process its own node name or id, or join with onConflict: "wait"`
    )
  }
}

/**
 * A value does not encode with the schema of its definition; nothing was written.
 *
 * @category errors
 * @since 0.1.0
 */
export class PayloadRejected extends Schema.TaggedError<PayloadRejected>("effect-ensemble/Membership/PayloadRejected")(
  "PayloadRejected",
  { group: Schema.String, detail: Schema.String }
) {
  override get message(): string {
    return `The value for ${this.group} was not written because it does not encode: ${this.detail}`
  }
}

/**
 * Where a membership stands.
 *
 * **Details**
 *
 * `Joining` until the store confirms the first time; `Held` with the token of this holding; `Rejoining` between two
 * holdings; `Conflict` while somebody else holds the id; `Lost` and `Closed` are final.
 *
 * @category models
 * @since 0.1.0
 */
export type MembershipStatus =
  | { readonly _tag: "Joining" }
  | { readonly _tag: "Held"; readonly token: bigint }
  | { readonly _tag: "Rejoining"; readonly cause: LossCause }
  | { readonly _tag: "Conflict"; readonly holder: string }
  | { readonly _tag: "Lost"; readonly cause: LossCause }
  | { readonly _tag: "Closed" }

/**
 * A held place in a group.
 *
 * **Details**
 *
 * - `ensure` is the token, or `MembershipLost`. It reads the clocks when asked and does no I/O: call it before every
 *   act on the outside world.
 * - `token` is the token of the newest holding, also after it was lost. Hand it to the resource that compares tokens.
 * - `lost` never succeeds; it fails when the membership is lost for good. With `rejoin` that is only when its scope has closed.
 * - `status` replays the present status to each subscriber, then follows it.
 * - `set` publishes a new value and returns when the store has confirmed it. When it fails with a
 *   `CoordinatorError`, the value stays the wanted one: it is written as soon as the store answers again.
 *
 * @category models
 * @since 0.1.0
 */
export interface Membership {
  readonly id: string
  readonly token: Effect.Effect<bigint, MembershipLost>
  readonly ensure: Effect.Effect<bigint, MembershipLost>
  readonly lost: Effect.Effect<never, MembershipLost>
  readonly status: Stream.Stream<MembershipStatus>
  readonly set: (value: string) => Effect.Effect<void, MembershipLost | CoordinatorError>
}
