/** Why an Exhibitor gave no list that can be used. */
import * as Schema from "effect/Schema"
import type { Reason } from "../../CoordinatorError.ts"
import { CoordinatorError, NotThisServer, Unauthenticated, Unreachable } from "../../CoordinatorError.ts"

const engine = "exhibitor"

/** What answered is no list of servers, as a whole or in any part. */
export class BadAnswer extends Schema.TaggedError<BadAnswer>("effect-ensemble/Exhibitor/BadAnswer")("BadAnswer", {
  endpoint: Schema.String,
  detail: Schema.String
}) {
  override get message(): string {
    return `What answers is not Exhibitor's list of servers: ${this.detail}`
  }
}

/** The list is well-formed, and nobody is on it. */
export class EmptyList extends Schema.TaggedError<EmptyList>("effect-ensemble/Exhibitor/EmptyList")("EmptyList", {
  endpoint: Schema.String
}) {
  override get message(): string {
    return "Exhibitor lists no ZooKeeper server"
  }
}

const failure = (endpoint: string, reason: Reason): CoordinatorError =>
  new CoordinatorError({ engine, operation: "Exhibitor.list", endpoint, reason })

/** Nobody answered, or an error that may go away. */
export const unanswered = (endpoint: string, detail: string, cause?: unknown): CoordinatorError =>
  failure(endpoint, new Unreachable(cause === undefined ? { detail } : { detail, cause }))

export const badAnswer = (endpoint: string, detail: string): CoordinatorError => {
  const cause = new BadAnswer({ endpoint, detail })
  return failure(endpoint, new NotThisServer({ detail: cause.message, cause }))
}

/** An operator may still be filling it, so it is worth asking again. */
export const emptyList = (endpoint: string): CoordinatorError => {
  const cause = new EmptyList({ endpoint })
  return failure(endpoint, new Unreachable({ detail: cause.message, cause }))
}

/** What a status other than 200 means. */
export const refusal = (endpoint: string, status: number): CoordinatorError => {
  const detail = `Exhibitor answers with the status ${status}`
  if (status === 401 || status === 403) return failure(endpoint, new Unauthenticated({ detail }))
  // Too busy, starting, or behind a proxy that does not reach it.
  const mayPass = status >= 500 || status === 408 || status === 429
  return mayPass ? unanswered(endpoint, detail) : badAnswer(endpoint, `the status ${status}`)
}
