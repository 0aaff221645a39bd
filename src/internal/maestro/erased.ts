/**
 * Layers without their types.
 *
 * A run treats all layers alike: what one provides, fails with and needs is known to the types of the public functions,
 * which take it away here and give it back here. That is sound because a run hands on what it was given: it builds a layer
 * in the context in which it was asked for, where the compiler has seen to it that what the layer needs is there.
 */
import type * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"

/** Whatever it provides, fails with and needs. */
export type AnyLayer = Layer.Layer<never, unknown>

export const erase = <Out, E, R>(layer: Layer.Layer<Out, E, R>): AnyLayer => layer as unknown as AnyLayer

/** Only for what was made of a layer of these types. */
export const restore = <Out, E, R>(layer: AnyLayer): Layer.Layer<Out, E, R> =>
  layer as unknown as Layer.Layer<Out, E, R>

/** The same for what a layer has provided. */
export const restoreOutput = <Out, E>(
  output: Effect.Effect<Context.Context<never>, E>
): Effect.Effect<Context.Context<Out>, E> => output as unknown as Effect.Effect<Context.Context<Out>, E>
