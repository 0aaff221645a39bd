/** Definitions composed into the layers that a program would have written. */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type { AnyLayer } from "./erased.ts"
import { toLayer } from "./ask.ts"
import type { Node } from "./definitions.ts"
import { inOrder, nameOf, problemsOf } from "./definitions.ts"
import { InvalidGraph, MissingDependency } from "./errors.ts"
import type { Policy } from "./model.ts"
import { optionalKey, originsIn } from "./output.ts"
import { CurrentBuilder } from "./parts.ts"
import { define } from "./service.ts"

export interface Defined extends Node {
  readonly layer: AnyLayer
  readonly policy?: Policy<never, never> | undefined
}

/** What a service of a graph provides, kept under its name: several may provide the same. */
const named = (name: string): Context.Reference<Context.Context<never> | undefined> =>
  Context.Reference<Context.Context<never> | undefined>(`effect-ensemble/Maestro/named/${name}`, {
    defaultValue: () => undefined
  })

const underItsName = (name: string, service: AnyLayer): AnyLayer =>
  Layer.fromBuild((memoMap, scope) =>
    Effect.map(Layer.buildWithMemoMap(service, memoMap, scope), (context) => Context.make(named(name), context))
  )

const beside = (layers: ReadonlyArray<AnyLayer>): AnyLayer => {
  const [first, ...rest] = layers
  return first === undefined ? Layer.empty : Layer.mergeAll(first, ...rest)
}

const compose = (definitions: ReadonlyArray<Defined>): AnyLayer => {
  const layers = new Map<string, AnyLayer>()
  for (const { dependsOn = [], layer, name, optional = false, policy = {} } of inOrder(definitions)) {
    const dependencies = dependsOn.flatMap((edge) => layers.get(nameOf(edge)) ?? [])
    const whole = dependencies.length === 0 ? layer : Layer.provide(layer, beside(dependencies))
    layers.set(name, underItsName(name, toLayer(define(name, optional, policy, whole))))
  }
  return beside([...layers.values()])
}

/** Checked when it is built and before anything starts; composed once, so that it is the same layer each time. */
export const fromGraph = (definitions: ReadonlyArray<Defined>): AnyLayer => {
  let composed: AnyLayer | undefined
  return Layer.suspend(() => {
    if (composed === undefined) {
      const problems = problemsOf(definitions)
      composed = problems.length === 0 ? compose(definitions) : Layer.effectDiscard(new InvalidGraph({ problems }))
    }
    return composed
  })
}

interface Found<S> {
  readonly value: Option.Option<S>
  /** Nothing at all is provided by an optional service that did not start: its absence is no mistake. */
  readonly isDown: boolean
  readonly missing: MissingDependency
}

/** The service by that name of a graph, as whoever is being constructed was given it. */
const find = <S>(name: string, tag: Context.Key<unknown, S>): Effect.Effect<Found<S>> =>
  Effect.contextWith((context: Context.Context<never>) => {
    const service = Context.get(context, CurrentBuilder).service?.definition.name ?? "the program"
    const missing = new MissingDependency({ service, dependency: name, tag: tag.key })
    const provided = Context.get(context, named(name))
    if (provided === undefined) return Effect.succeed({ value: Option.none(), isDown: false, missing })
    const value = Option.orElse(Context.get(provided, optionalKey<S>(tag.key)), () =>
      Context.getOption(provided as Context.Context<unknown>, tag)
    )
    return Effect.succeed({ value, isDown: originsIn(provided).some(({ output }) => output === undefined), missing })
  })

export const dependency = <S>(name: string, tag: Context.Key<unknown, S>): Effect.Effect<S, MissingDependency> =>
  Effect.flatMap(find(name, tag), ({ missing, value }) => Effect.mapError(Effect.fromOption(value), () => missing))

export const dependencyOption = <S>(
  name: string,
  tag: Context.Key<unknown, S>
): Effect.Effect<Option.Option<S>, MissingDependency> =>
  Effect.flatMap(find(name, tag), ({ isDown, missing, value }) =>
    Option.isSome(value) || isDown ? Effect.succeed(value) : Effect.fail(missing)
  )
