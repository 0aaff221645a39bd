/** What a worker is, with its options checked and its durations in milliseconds. */
import type * as Effect from "effect/Effect"
import type * as Schedule from "effect/Schedule"
import * as Duration from "effect/Duration"
import { durationProblem } from "../options.ts"

/** When a run that has ended is followed by another. */
export type Restart = "never" | "onFailure" | "always"

/** A worker without its types: its first effect is the init, which gives the second, the run. */
export interface Spec {
  readonly name: string
  readonly begin: Effect.Effect<Effect.Effect<unknown, unknown>, unknown>
  readonly restart: Restart
  /** Fed with the exits of this worker and of no other, which is the type that it was made with. */
  readonly schedule: Schedule.Schedule<unknown, never>
  readonly resetAfter: Duration.Input
  readonly stopTimeout: Duration.Input
  readonly optional: boolean
}

/** Everything that is wrong with these workers, next to those already known. */
export const problems = (
  specs: ReadonlyArray<Pick<Spec, "name" | "resetAfter" | "stopTimeout">>,
  known: ReadonlyArray<string>
): ReadonlyArray<string> => {
  const seen = new Set(known)
  return specs.flatMap(({ name, resetAfter, stopTimeout }, index) => {
    const found = [
      name === ""
        ? `The worker at position ${index + 1} has no name. Give it one: states, logs and reports use it`
        : "",
      seen.has(name) ? `Two workers are called "${name}". Give each its own name` : "",
      durationProblem(`resetAfter of "${name}"`, resetAfter) ?? "",
      durationProblem(`stopTimeout of "${name}"`, stopTimeout) ?? ""
    ].filter((problem) => problem !== "")
    seen.add(name)
    return found
  })
}

/** Of a duration that {@link problems} has let pass. */
export const millis = (input: Duration.Input): number => Duration.toMillis(Duration.fromInputUnsafe(input))
