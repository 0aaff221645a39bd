/**
 * The settings of a service, each declared once.
 *
 * From the one table come the check of the options, the configuration, the report of all that is wrong with either, and the
 * print-out of what a program reads.
 */
import * as Config from "effect/Config"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import type { Problem } from "./errors.ts"
import { ServiceMisconfigured } from "./errors.ts"
import type { Setting } from "./setting.ts"

export type Table<Resolved> = { readonly [Key in keyof Resolved]: Setting<Resolved[Key]> }

/** What users give: some of the settings, in any form that is taken. */
export interface Settings<in out Options, out Resolved> {
  /** The options, checked and filled up; or everything that is wrong with them. */
  readonly resolve: (service: string, options: Options) => Effect.Effect<Resolved, ServiceMisconfigured>
  /** Variables `<prefix>_<NAME>`, and no others. */
  readonly config: (prefix: string) => Config.Config<Resolved>
  /** The options that a configuration holds; or everything that is wrong with it. */
  readonly load: (service: string, config: Config.Wrap<Options>) => Effect.Effect<Options, ServiceMisconfigured>
}

/** One value of a configuration, and what is known of it where the configuration was made from a table. */
interface Field {
  readonly key: string
  readonly config: Config.Config<unknown>
  readonly variable: Variable | undefined
}

/** A setting and where it is read from. */
export interface Variable {
  readonly name: string
  readonly path: readonly [prefix: string, name: string]
  readonly setting: Setting<unknown>
}

/** A `Config` does not tell what it reads, so those that are made here are remembered. */
const tables = new WeakMap<object, ReadonlyArray<Field>>()

export const variablesOf = (config: object): ReadonlyArray<Variable> =>
  (tables.get(config) ?? []).flatMap(({ variable }) => (variable === undefined ? [] : [variable]))

/** The text of a variable, or of the items of a list in a file of settings. Undefined where there is none. */
export const writtenIn = ({ path: [prefix = "", name = ""] }: Variable): Config.Config<string | undefined> =>
  Config.String(name).pipe(
    Config.orElse(() => Config.map(Config.Array(Schema.String, name), (items) => items.join(","))),
    Config.withDefault(undefined),
    Config.nested(prefix)
  )

/** A variable that is set to nothing counts as not set: compose files and charts write that for "none". */
const isSet = (written: string | undefined): written is string => written !== undefined && written !== ""

const configOf = (variable: Variable): Config.Config<unknown> =>
  Config.mapEffect(writtenIn(variable), (written) => {
    const { setting } = variable
    if (!isSet(written)) return Effect.succeed(setting.fallback)
    return Option.match(setting.fromText(written), {
      onNone: () => {
        const message = `${variable.name} has to be ${setting.expected}`
        return Effect.fail(new Config.ConfigError(new ConfigProvider.SourceError({ message })))
      },
      onSome: Effect.succeed
    })
  })

const fieldsUnder = (prefix: string, table: ReadonlyArray<readonly [string, Setting<unknown>]>): ReadonlyArray<Field> =>
  table.map(([key, setting]) => {
    const variable: Variable = { name: `${prefix}_${setting.variable}`, path: [prefix, setting.variable], setting }
    return { key, variable, config: configOf(variable) }
  })

const inOneLine = (value: unknown): string =>
  typeof value === "string" ? value : (JSON.stringify(value) ?? typeof value)

const problemOf = (setting: Setting<unknown>, source: string, found: unknown): Problem => ({
  source,
  found: setting.secret || found === undefined ? undefined : inOneLine(found),
  expected: setting.expected,
  default: setting.shown
})

const problemOfField = (
  { key, variable }: Field,
  error: Config.ConfigError,
  provider: ConfigProvider.ConfigProvider
): Effect.Effect<Problem> =>
  variable === undefined
    ? Effect.succeed({
        source: `the configuration of "${key}"`,
        found: undefined,
        expected: `a readable value (${error.message})`,
        default: undefined
      })
    : writtenIn(variable)
        .parse(provider)
        .pipe(
          Effect.orElseSucceed(() => undefined),
          Effect.map((found) => problemOf(variable.setting, variable.name, found))
        )

export const make =
  <Options extends object>() =>
  <Resolved extends { readonly [Key in keyof Options]-?: unknown }>(
    table: Table<Resolved>
  ): Settings<Options, Resolved> => {
    const entries = Object.entries<Setting<unknown>>(table)

    const resolve = Effect.fnUntraced(function* (service: string, options: Options) {
      const given = new Map<string, unknown>(Object.entries(options))
      const problems: Array<Problem> = []
      const values: Record<string, unknown> = {}
      for (const [key, setting] of entries) {
        const input = given.get(key)
        const value = input === undefined ? Option.some(setting.fallback) : setting.fromOption(input)
        if (Option.isSome(value)) values[key] = value.value
        else problems.push(problemOf(setting, `the option "${key}"`, input))
      }
      if (problems.length > 0) return yield* new ServiceMisconfigured({ service, problems })
      // The table has a setting for every key, and each value came out of its setting.
      return values as Resolved
    })

    const config = (prefix: string): Config.Config<Resolved> => {
      const fields = fieldsUnder(prefix, entries)
      const all = Config.all(Object.fromEntries(fields.map((field) => [field.key, field.config])))
      // The same, through configurations.
      const made = all as Config.Config<unknown> as Config.Config<Resolved>
      tables.set(made, fields)
      return made
    }

    const load = Effect.fnUntraced(function* (service: string, wrapped: Config.Wrap<Options>) {
      const provider = yield* ConfigProvider.ConfigProvider
      const problems: Array<Problem> = []
      const values: Record<string, unknown> = {}
      for (const field of fieldsOf(wrapped)) {
        const found = yield* Effect.result(field.config.parse(provider))
        if (Result.isFailure(found)) problems.push(yield* problemOfField(field, found.failure, provider))
        else if (field.key === "") Object.assign(values, found.success)
        else values[field.key] = found.success
      }
      if (problems.length > 0) return yield* new ServiceMisconfigured({ service, problems })
      // `Wrap` says that these configurations hold the options.
      return values as Options
    })

    return { resolve, config, load }
  }

/** The parts of a configuration: one by one, so that all that is wrong can be told at once. */
const fieldsOf = (wrapped: object): ReadonlyArray<Field> => {
  const table = tables.get(wrapped)
  if (table !== undefined) return table
  if (Config.isConfig(wrapped)) return [{ key: "", config: wrapped, variable: undefined }]
  return Object.entries<Config.Wrap<unknown>>({ ...wrapped }).flatMap(([key, one]) =>
    one === undefined ? [] : [{ key, config: Config.unwrap(one), variable: undefined }]
  )
}
