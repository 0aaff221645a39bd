/** The variables that a program reads, as a table for a person. */
import * as ConfigProvider from "effect/ConfigProvider"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { Variable } from "./settings.ts"
import { variablesOf, writtenIn } from "./settings.ts"

const heads = ["variable", "what it is for", "default", "set"] as const

/** What stands in the last column: never the value, which may be a secret or hold one. */
const state = ({ name, setting }: Variable, written: string | undefined): string => {
  if (written === undefined || written === "") return "no"
  return Option.isSome(setting.fromText(written)) ? "yes" : `yes, but ${name} has to be ${setting.expected}`
}

const table = (rows: ReadonlyArray<ReadonlyArray<string>>): string => {
  const widths = heads.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)))
  return rows
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join("  ")
        .trimEnd()
    )
    .join("\n")
}

export const describeConfig = Effect.fn("Services.describeConfig")(function* (configs: Iterable<object>) {
  const provider = yield* ConfigProvider.ConfigProvider
  const rows: Array<ReadonlyArray<string>> = []
  for (const variable of [...configs].flatMap(variablesOf)) {
    const written = yield* Effect.orElseSucceed(writtenIn(variable).parse(provider), () => undefined)
    const { setting } = variable
    rows.push([variable.name, setting.about, setting.shown ?? "none", state(variable, written)])
  }
  return table([heads, heads.map((head) => "-".repeat(head.length)), ...rows])
})
