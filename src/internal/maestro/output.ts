/** What a service hands to whoever asks for it. */
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Exit from "effect/Exit"
import { CurrentMemoMap } from "effect/Layer"
import * as Option from "effect/Option"
import type { Service } from "./service.ts"

const originPrefix = "effect-ensemble/Maestro/origin/"
const optionalPrefix = "effect-ensemble/Maestro/optional/"

/** Goes with what a service provides, so that its users can be told from the context alone. */
const mark = (context: Context.Context<never>, service: Service): Context.Context<never> =>
  Context.addUnsafe(context, originPrefix + service.definition.name, service)

/** The services whose output is in a context. */
export const originsIn = (context: Context.Context<never>): ReadonlyArray<Service> => {
  const found: Array<Service> = []
  for (const [key, value] of context.mapUnsafe) if (key.startsWith(originPrefix)) found.push(value as Service)
  return found
}

/** Whether a key belongs to the machinery of building and not to anything that a layer provides. */
export const isMachinery = (key: string): boolean =>
  key.startsWith("effect-ensemble/Maestro/") || key === CurrentMemoMap.key

/** Where a service of an optional layer is found, if it is there: absent means that the layer did not start. */
export const optionalKey = <S>(key: string): Context.Reference<Option.Option<S>> =>
  Context.Reference<Option.Option<S>>(optionalPrefix + key, { defaultValue: Option.none })

const asOptional = (context: Context.Context<never>): Context.Context<never> => {
  const entries = new Map<string, unknown>()
  for (const [key, value] of context.mapUnsafe) {
    if (key.startsWith(optionalPrefix)) entries.set(key, value)
    else if (!isMachinery(key)) entries.set(optionalPrefix + key, Option.some(value))
  }
  return Context.makeUnsafe(entries)
}

/**
 * What an optional service provides is always there, and says itself whether it is. An interruption is nobody's failure,
 * so it is not recovered from.
 */
export const outputFor = (
  service: Service,
  result: Exit.Exit<Context.Context<never>, unknown>
): Exit.Exit<Context.Context<never>, unknown> => {
  if (Exit.isSuccess(result)) {
    return Exit.succeed(mark(service.definition.optional ? asOptional(result.value) : result.value, service))
  }
  const passes = !service.definition.optional || Cause.hasInterruptsOnly(result.cause)
  return passes ? result : Exit.succeed(mark(Context.empty(), service))
}
