/**
 * The one error that every engine raises, with a tagged `reason` that says what kind of failure it was.
 *
 * **When to use**
 *
 * Match the error with `Effect.catchTag("CoordinatorError", …)`, or one kind of it with
 * `Effect.catchReason("CoordinatorError", "Unreachable", …)`. The reasons are the same on every engine, so a program
 * that handles them once handles them on all.
 *
 * **Gotchas**
 *
 * `Unreachable` means that the store certainly did not carry the operation out, or that it only read.
 * `OutcomeUnknown` means that a write may or may not have been applied, and may still be: never replay it blindly.
 * The library itself resolves such writes by reading its own entry back; the reason reaches a caller only where the
 * call's deadline passed first.
 *
 * @since 0.1.0
 */
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"

/**
 * The store gave no usable answer in time, and the operation was certainly not carried out.
 *
 * @category errors
 * @since 0.1.0
 */
export class Unreachable extends Schema.TaggedError<Unreachable>("effect-ensemble/CoordinatorError/Unreachable")(
  "Unreachable",
  { detail: Schema.String, cause: Schema.optionalKey(Schema.Defect()) }
) {
  override get message(): string {
    return `${this.detail}. Check that the store runs and that this process can reach it`
  }
}

/**
 * The store refused the credentials.
 *
 * @category errors
 * @since 0.1.0
 */
export class Unauthenticated extends Schema.TaggedError<Unauthenticated>(
  "effect-ensemble/CoordinatorError/Unauthenticated"
)("Unauthenticated", { detail: Schema.String, cause: Schema.optionalKey(Schema.Defect()) }) {
  override get message(): string {
    return `${this.detail}. Check the user name, the password or the token given to the engine's layer`
  }
}

/**
 * The credentials are good, but they do not permit this operation on these keys.
 *
 * @category errors
 * @since 0.1.0
 */
export class Forbidden extends Schema.TaggedError<Forbidden>("effect-ensemble/CoordinatorError/Forbidden")(
  "Forbidden",
  { detail: Schema.String, cause: Schema.optionalKey(Schema.Defect()) }
) {
  override get message(): string {
    return `${this.detail}. Grant this user read and write on the engine's prefix`
  }
}

/**
 * Something answered at the endpoint, but it is not a server of this engine.
 *
 * @category errors
 * @since 0.1.0
 */
export class NotThisServer extends Schema.TaggedError<NotThisServer>("effect-ensemble/CoordinatorError/NotThisServer")(
  "NotThisServer",
  { detail: Schema.String, cause: Schema.optionalKey(Schema.Defect()) }
) {
  override get message(): string {
    return `${this.detail}. Check the endpoint's address, port and protocol`
  }
}

/**
 * A value, or a request made of it, is over the store's size limit; nothing was written.
 *
 * @category errors
 * @since 0.1.0
 */
export class TooLarge extends Schema.TaggedError<TooLarge>("effect-ensemble/CoordinatorError/TooLarge")("TooLarge", {
  detail: Schema.String,
  cause: Schema.optionalKey(Schema.Defect())
}) {
  override get message(): string {
    return `${this.detail}. Publish less, or publish a reference to it`
  }
}

/**
 * A write was sent and its answer never came: it may have been applied, not applied, or may be applied later.
 *
 * @category errors
 * @since 0.1.0
 */
export class OutcomeUnknown extends Schema.TaggedError<OutcomeUnknown>(
  "effect-ensemble/CoordinatorError/OutcomeUnknown"
)("OutcomeUnknown", { detail: Schema.String, cause: Schema.optionalKey(Schema.Defect()) }) {
  override get message(): string {
    return `${this.detail}. The write may or may not have been applied: read before writing again`
  }
}

/**
 * A name, a number or a duration is one that cannot work; the message names it and the values that can.
 *
 * @category errors
 * @since 0.1.0
 */
export class InvalidOptions extends Schema.TaggedError<InvalidOptions>(
  "effect-ensemble/CoordinatorError/InvalidOptions"
)("InvalidOptions", { detail: Schema.String }) {
  override get message(): string {
    return this.detail
  }
}

/**
 * The schema of {@link Reason}.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Reason = Schema.Union([
  Unreachable,
  Unauthenticated,
  Forbidden,
  NotThisServer,
  TooLarge,
  OutcomeUnknown,
  InvalidOptions
])

/**
 * Why an operation failed: the same kinds on every engine.
 *
 * @category models
 * @since 0.1.0
 */
export type Reason = typeof Reason.Type

/**
 * The failure of an operation against the store, naming the engine, the operation, the endpoint and the reason.
 *
 * **Example** (Handling one reason)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { CoordinatorError } from "effect-ensemble"
 *
 * const failing = new CoordinatorError.CoordinatorError({
 *   engine: "memory",
 *   operation: "Group.list",
 *   endpoint: "memory://local",
 *   reason: new CoordinatorError.Unreachable({ detail: "No answer within 5 seconds" })
 * })
 * const handled = Effect.fail(failing).pipe(
 *   Effect.catchReason("CoordinatorError", "Unreachable", (reason) => Effect.succeed(reason._tag))
 * )
 * console.log(await Effect.runPromise(handled)) // => Unreachable
 * ```
 *
 * @category errors
 * @since 0.1.0
 */
export class CoordinatorError extends Schema.TaggedError<CoordinatorError>("effect-ensemble/CoordinatorError")(
  "CoordinatorError",
  {
    engine: Schema.String,
    operation: Schema.String,
    endpoint: Schema.String,
    reason: Reason
  }
) {
  override get message(): string {
    return `${this.operation} failed on ${this.engine} (${this.endpoint}): ${this.reason.message}`
  }

  /**
   * Whether trying again later may succeed without anybody changing a setting.
   *
   * @since 0.1.0
   */
  get isTransient(): boolean {
    return this.reason._tag === "Unreachable" || this.reason._tag === "OutcomeUnknown"
  }
}

/**
 * Tells whether a value is a {@link CoordinatorError}.
 *
 * @category guards
 * @since 0.1.0
 */
export const isCoordinatorError = (u: unknown): u is CoordinatorError => Predicate.isTagged(u, "CoordinatorError")
