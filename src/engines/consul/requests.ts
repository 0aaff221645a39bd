/** Requests whose answers have one of the statuses that are expected of them. */
import * as Effect from "effect/Effect"
import type { CoordinatorError } from "../../CoordinatorError.ts"
import { failureOf } from "./failure.ts"
import type { HttpAnswer, HttpRequest } from "./http.ts"
import type { Servers } from "./servers.ts"

/** Asks, and fails unless the answer has one of these statuses. */
export type Ask = (
  operation: string,
  request: HttpRequest,
  statuses: ReadonlyArray<number>
) => Effect.Effect<HttpAnswer, CoordinatorError>

export interface Requests {
  /** Any server of the cluster. */
  readonly any: Ask
  /** The agent at the first address. */
  readonly agent: Ask
}

export const make = (servers: Servers): Requests => {
  const over =
    (send: Servers["send"]): Ask =>
    (operation, request, statuses) =>
      send(request).pipe(
        Effect.mapError((error) => failureOf(operation, request.effects, error)),
        Effect.filterOrFail(
          ({ status }) => statuses.includes(status),
          (answer) => failureOf(operation, request.effects, answer)
        )
      )
  return { any: over(servers.send), agent: over(servers.pinned) }
}
