/** A whole run: phases on one server and on three by turns, and what came of them. */
import { Effect, Schema } from "effect"
import { mkdirSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { History } from "../../src/testing/index.ts"
import type { Engine } from "./engine.ts"
import type { Counts, Outcome, Reporter } from "./phase.ts"
import * as Phases from "./phase.ts"
import type { Phase } from "./plan.ts"
import * as Plan from "./plan.ts"

export interface Options {
  readonly engine: Engine
  readonly seed: number
  readonly seconds: number
  readonly nodes: number
}

/** Starting, coming to rest and giving back take about as long as this for each phase, and for each storm. */
const phaseOverhead = 6_000
const stormOverhead = 6_000

/** Storms for a phase: few enough that its history is judged in seconds. */
const stormsPerPhase = 3

/** One broken guarantee shows in many places; the first ones tell enough, and the history has them all. */
const shownViolations = 20

/** Fills the time with phases. The shortest run has one on each kind of server. */
export const phasesOf = (seconds: number, expiryMillis: number): Plan.Options["phases"] => {
  const millis = seconds * 1_000
  // Long enough for a session to end and its places to be taken back twice.
  const stormMillis = 4 * expiryMillis
  const full = stormsPerPhase * (stormMillis + stormOverhead) + phaseOverhead
  if (millis < 2 * full) {
    const storm = Math.max(5_000, Math.round((millis - 2 * (phaseOverhead + stormOverhead)) / 2))
    const pieces = Math.max(1, Math.round(storm / (stormMillis + stormOverhead)))
    const storms = Array.from({ length: pieces }, () => Math.round(storm / pieces))
    return [1, 3].map((members) => ({ members, storms }))
  }
  const storms = Array.from({ length: stormsPerPhase }, () => stormMillis)
  return Array.from({ length: Math.round(millis / full) }, (_, index) => ({ members: index % 2 === 0 ? 1 : 3, storms }))
}

export const replay = ({ engine, nodes, seconds, seed }: Options): string =>
  `npm run torture -- --engine ${engine.name} --minutes ${seconds / 60} --seed ${seed} --nodes ${nodes}`

const folder = fileURLToPath(new URL("../../.cache/torture/", import.meta.url))

const encodeHistory = Schema.encodeSync(Schema.fromJsonString(Schema.toCodecJson(Schema.Array(History.Event))))

/** A history of some megabytes, one file for each phase. */
const save = ({ engine, seed }: Options, { history, phase }: Outcome): string => {
  mkdirSync(folder, { recursive: true })
  const file = join(folder, `${engine.name}-${seed}-${phase.index}.json`)
  writeFileSync(file, encodeHistory(history))
  return file
}

export interface Result {
  readonly outcomes: ReadonlyArray<Outcome>
  readonly violations: ReadonlyArray<string>
  readonly table: string
}

const sum = (all: ReadonlyArray<Counts>, of: (counts: Counts) => number) =>
  all.reduce((total, counts) => total + of(counts), 0)

const tableOf = ({ storeFaults }: Engine, outcomes: ReadonlyArray<Outcome>, violations: number): string => {
  const all = outcomes.map(({ counts }) => counts)
  const rows: Array<readonly [string, number | string]> = []
  const faults = [
    ...Plan.networkFaults,
    ...Plan.clientFaults,
    ...Plan.singleFaults,
    ...Plan.clusterFaults,
    ...storeFaults
  ]
  for (const fault of faults) rows.push([`fault: ${fault}`, sum(all, (counts) => counts.faults[fault] ?? 0)])
  rows.push(
    ["processes started", sum(all, ({ processes }) => processes)],
    ["tenures (election and locks)", sum(all, ({ tenures }) => tenures)],
    ["hand-overs of the election", sum(all, ({ handOvers }) => handOvers)],
    ["longest time without a leader", `${(Math.max(...all.map((one) => one.longestGapMillis)) / 1_000).toFixed(1)} s`],
    ["guarded writes", sum(all, ({ guardedWrites }) => guardedWrites)],
    ["registrations restored", sum(all, ({ registrationsRestored }) => registrationsRestored)],
    ["watch convergences", sum(all, ({ convergences }) => convergences)],
    ["pauses of clients above the margin", sum(all, ({ stalls }) => stalls)],
    ["not judged: what the store may do, or does not tell", sum(all, ({ excused }) => excused)],
    ["violations", violations]
  )
  return ["| what | count |", "| --- | ---: |", ...rows.map(([what, count]) => `| ${what} | ${count} |`)].join("\n")
}

const describe = ({ index, members, storms }: Phase): string =>
  `phase ${index}: ${members === 1 ? "one server" : `${members} servers`}, ` +
  storms.map(({ millis, steps }) => `${steps.length} faults in ${millis / 1_000} s`).join(", ")

export const run = Effect.fnUntraced(function* (options: Options, reporter: Reporter) {
  const { engine, nodes, seconds, seed } = options
  const { expiryMillis } = engine
  const phases = Plan.make({
    seed,
    nodes,
    expiryMillis,
    storeFaults: engine.storeFaults,
    phases: phasesOf(seconds, expiryMillis)
  })
  const outcomes: Array<Outcome> = []
  const violations: Array<string> = []
  for (const phase of phases) {
    reporter.say(describe(phase))
    const outcome = yield* Phases.run(phase, { engine, nodes, reporter })
    outcomes.push({ ...outcome, history: [] })
    if (outcome.violations.length === 0) continue
    violations.push(...outcome.violations)
    for (const violation of outcome.violations.slice(0, shownViolations)) reporter.say(violation)
    const more = outcome.violations.length - shownViolations
    if (more > 0) reporter.say(`and ${more} more`)
    reporter.say(`The history of phase ${phase.index} is in ${save(options, outcome)}`)
  }
  const table = tableOf(engine, outcomes, violations.length)
  reporter.say(`${engine.name}, seed ${seed}, ${seconds} s, ${nodes} nodes\n\n${table}\n`)
  if (violations.length > 0) reporter.say(`${violations.length} violations. The same plan again: ${replay(options)}`)
  const result: Result = { outcomes, violations, table }
  return result
})
