/**
 * Workers without their types.
 *
 * A supervisor treats all workers alike: what they fail with and need is known to the types of the public functions, which
 * take it away here and give it back here. That is sound because it runs each in the context that it was given with, and
 * fails with the cause of one of them.
 */
import type * as Effect from "effect/Effect"
import type { InvalidWorkers, UnknownWorkers, WorkerFailed } from "./errors.ts"
import type { Spec } from "./spec.ts"
import type { Supervision } from "./supervise.ts"

/** A worker, whatever its effects fail with and need. */
export interface AnySpec extends Omit<Spec, "begin"> {
  readonly begin: Effect.Effect<Effect.Effect<unknown, unknown, unknown>, unknown, unknown>
}

export const erase = (worker: AnySpec): Spec => worker as Spec

/** A supervision of workers that fail with `E`. */
export interface Typed<out E> extends Omit<Supervision, "await" | "started"> {
  readonly started: Effect.Effect<void, WorkerFailed<E>>
  readonly await: Effect.Effect<void, WorkerFailed<E>>
}

/** Only for a start of workers that fail with `E` and need `R`. */
export const restore = <E, R, R0>(
  start: Effect.Effect<Supervision, InvalidWorkers | UnknownWorkers, R0>
): Effect.Effect<Typed<E>, InvalidWorkers | UnknownWorkers, R | R0> =>
  start as Effect.Effect<Typed<E>, InvalidWorkers | UnknownWorkers, R | R0>
