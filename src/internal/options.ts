/** Checks of what users give, each with a message that names the bad value and the good ones. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { Coordinator } from "../Coordinator.ts"
import { CoordinatorError, InvalidOptions } from "../CoordinatorError.ts"

/** An `InvalidOptions` failure of a recipe's operation. */
export const invalid = (
  coordinator: Pick<Coordinator["Service"], "engine" | "node">,
  operation: string,
  detail: string
): CoordinatorError =>
  new CoordinatorError({
    engine: coordinator.engine,
    operation,
    endpoint: coordinator.node,
    reason: new InvalidOptions({ detail })
  })

/** The longest name: with a kind and a member id it stays below every store's key limit (ZooKeeper paths, 1 KiB in practice). */
const maximumLength = 128

/** What stands in a path segment of every store without escaping; `/` is the delimiter, so no name bleeds into another. */
const characters = /^[A-Za-z0-9._-]+$/

/** Says what is wrong with a group's name or a member's id, or nothing. */
export const nameProblem = (what: string, name: string): string | undefined => {
  if (name === "") return `The ${what} is empty. Give it 1 to ${maximumLength} characters of A-Z a-z 0-9 . _ -`
  if (name.length > maximumLength) {
    return `The ${what} "${name.slice(0, 16)}…" has ${name.length} characters. Shorten it to ${maximumLength}`
  }
  if (name === "." || name === "..") return `The ${what} "${name}" has a meaning of its own in paths. Choose another`
  return characters.test(name)
    ? undefined
    : `The ${what} "${name}" has characters that not every store can hold. Use only A-Z a-z 0-9 . _ -`
}

/** Milliseconds of a duration setting, or a message that says why it cannot be used. */
export const durationProblem = (what: string, input: Duration.Input): string | undefined => {
  const duration = Duration.fromInput(input)
  const millis = duration._tag === "Some" ? Duration.toMillis(duration.value) : Number.NaN
  return Number.isFinite(millis) && millis >= 0
    ? undefined
    : `${what} is not a finite, non-negative duration. Give something like "15 seconds"`
}

/** Milliseconds of a duration setting; a bad one is an `InvalidOptions` failure of the operation. */
export const millisOf = (
  coordinator: Pick<Coordinator["Service"], "engine" | "node">,
  operation: string,
  what: string,
  input: Duration.Input
): Effect.Effect<number, CoordinatorError> => {
  const problem = durationProblem(what, input)
  return problem === undefined
    ? Effect.succeed(Duration.toMillis(Duration.fromInputUnsafe(input)))
    : Effect.fail(invalid(coordinator, operation, problem))
}
