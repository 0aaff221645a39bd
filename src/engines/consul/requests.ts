/** Requests whose answers have one of the statuses that are expected of them. */
import * as Effect from "effect/Effect"
import type { CoordinatorError } from "../../CoordinatorError.ts"
import { failureOf } from "./failure.ts"
import type { HttpAnswer, HttpRequest } from "./http.ts"
import { HttpError } from "./http.ts"
import type { Send, Servers } from "./servers.ts"

/** Asks, and fails unless the answer has one of these statuses. */
export interface Ask {
  (
    operation: string,
    request: HttpRequest,
    statuses: ReadonlyArray<number>
  ): Effect.Effect<HttpAnswer, CoordinatorError>
  /** The same for who needs no fiber; returns the way to give it up. */
  readonly unsafe: (
    operation: string,
    request: HttpRequest,
    statuses: ReadonlyArray<number>,
    answered: (answer: HttpAnswer | CoordinatorError) => void
  ) => () => void
}

export interface Requests {
  /** Any server of the cluster. */
  readonly any: Ask
  /** The agent at the first address. */
  readonly agent: Ask
}

const isExpected = (answer: HttpAnswer | HttpError, statuses: ReadonlyArray<number>): answer is HttpAnswer =>
  !(answer instanceof HttpError) && statuses.includes(answer.status)

const askOver = (send: Send): Ask =>
  Object.assign(
    (operation: string, request: HttpRequest, statuses: ReadonlyArray<number>) =>
      Effect.callback<HttpAnswer, CoordinatorError>((resume) => {
        const giveUp = send(request, (answer) =>
          resume(
            isExpected(answer, statuses)
              ? Effect.succeed(answer)
              : Effect.fail(failureOf(operation, request.effects, answer))
          )
        )
        return Effect.sync(giveUp)
      }),
    {
      unsafe: (
        operation: string,
        request: HttpRequest,
        statuses: ReadonlyArray<number>,
        answered: (answer: HttpAnswer | CoordinatorError) => void
      ) =>
        send(request, (answer) =>
          answered(isExpected(answer, statuses) ? answer : failureOf(operation, request.effects, answer))
        )
    }
  )

export const make = (servers: Servers): Requests => ({
  any: askOver(servers.sendUnsafe),
  agent: askOver(servers.pinnedUnsafe)
})
