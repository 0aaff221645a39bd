/** The three failures that every service has, whichever client it is made of. */
import * as Inspectable from "effect/Inspectable"
import * as Schema from "effect/Schema"

/**
 * The server did not serve: it was not reached, refused the credentials, did not answer in time, or is not what it should be.
 *
 * **Details**
 *
 * `endpoint` is where it was looked for, without user names and passwords; `attempt` says which start it was, counted by the Maestro
 * that tries again, and 1 without one; `reason` is what went wrong in words, `cause` what the client itself said.
 *
 * @category errors
 * @since 0.1.0
 */
export class ServiceUnavailable extends Schema.TaggedError<ServiceUnavailable>(
  "effect-ensemble/Services/ServiceUnavailable"
)("ServiceUnavailable", {
  service: Schema.String,
  endpoint: Schema.String,
  attempt: Schema.Finite,
  reason: Schema.String,
  cause: Schema.optionalKey(Schema.Defect())
}) {
  override get message(): string {
    const attempt = this.attempt === 1 ? "" : ` (attempt ${this.attempt})`
    return `${this.service} at ${this.endpoint} does not serve${attempt}: ${this.reason}`
  }
}

/**
 * A setting that cannot be used.
 *
 * **Details**
 *
 * `source` is the variable, or the option, that holds it; `found` is left out for secrets.
 *
 * @category models
 * @since 0.1.0
 */
export interface Problem {
  readonly source: string
  readonly found: string | undefined
  readonly expected: string
  readonly default: string | undefined
}

const Problem: Schema.Codec<Problem> = Schema.Struct({
  source: Schema.String,
  found: Schema.UndefinedOr(Schema.String),
  expected: Schema.String,
  default: Schema.UndefinedOr(Schema.String)
})

const describe = ({ default: standard, expected, found, source }: Problem): string =>
  `  ${source}${found === undefined ? "" : ` is ${JSON.stringify(found)},`} expected ${expected}` +
  `${standard === undefined ? "" : `; default: ${standard}`}`

/**
 * Settings of a service cannot be used: all of them at once, and before any connection was opened.
 *
 * @category errors
 * @since 0.1.0
 */
export class ServiceMisconfigured extends Schema.TaggedError<ServiceMisconfigured>(
  "effect-ensemble/Services/ServiceMisconfigured"
)("ServiceMisconfigured", { service: Schema.String, problems: Schema.Array(Problem) }) {
  override get message(): string {
    return [`${this.service} was not started, its settings are wrong:`, ...this.problems.map(describe)].join("\n")
  }
}

/**
 * A call through `use` failed; `cause` is what the client raised.
 *
 * @category errors
 * @since 0.1.0
 */
export class ServiceCallFailed extends Schema.TaggedError<ServiceCallFailed>(
  "effect-ensemble/Services/ServiceCallFailed"
)("ServiceCallFailed", { service: Schema.String, endpoint: Schema.String, cause: Schema.Defect() }) {
  override get message(): string {
    return `A call to ${this.service} at ${this.endpoint} failed: ${inWords(this.cause)}`
  }
}

/**
 * What a client's error says. Node leaves the message of an error that stands for several empty (one for each address that was
 * tried), and some clients wrap what happened: so the first words that are found count.
 */
export const inWords = (cause: unknown): string => {
  // Not `String`: what has no prototype cannot be made one.
  if (!(cause instanceof Error)) return typeof cause === "string" ? cause : Inspectable.toStringUnknown(cause)
  if (cause.message !== "") return cause.message
  const inner = cause instanceof AggregateError ? cause.errors[0] : cause.cause
  return inner === undefined ? cause.name : inWords(inner)
}
