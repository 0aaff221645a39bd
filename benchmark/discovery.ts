/** What the recipe adds to the engine's bare changes: decoding each instance with its schema. */
import { Effect, Exit, Schema, Scope } from "effect"
import type { Coordinator } from "effect-ensemble"
import { Discovery } from "effect-ensemble"
import { Faults } from "effect-ensemble/testing"
import { filled, follow, startProcess, untilRead } from "./fixture.ts"
import type { Probe } from "./fixture.ts"
import { interleaved, now, ratio, times } from "./harness.ts"
import type { Case } from "./harness.ts"
import { count, digits, timesOf, verdict } from "./report.ts"
import type { Report } from "./report.ts"

const size = 100
const samples = 1_000
/** A burst is read in one go: what is left is the work for each change, without the wait for the reader's turn. */
const burst = 500
const burstsPerRound = 10

const Plain = Discovery.make("plain-attributes")
const Typed = Discovery.make("typed-attributes", {
  attributes: Schema.Struct({ zone: Schema.String, weight: Schema.FiniteFromString })
})

/** Written once, before: what it costs to write them is no part of what it costs to read them. */
const values = Array.from({ length: samples }, (_, index) =>
  JSON.stringify({
    address: `10.0.${(index >> 8) & 255}.${index & 255}`,
    port: 8_080,
    attributes: { zone: `zone-${index % 3}`, weight: String(index % 100) }
  })
)

const value = (index: number): string => values[index % values.length] ?? ""

const definitions = [
  { title: "a record of strings", name: Plain.group, changes: Discovery.changes(Plain) },
  { title: "a schema of two fields", name: Typed.group, changes: Discovery.changes(Typed) }
]

type Reading = "bare" | "recipe"

interface Way {
  readonly key: string
  readonly title: string
  readonly measure: (probe: Probe, acts: Acts) => Effect.Effect<ReadonlyArray<number>, unknown>
}

interface Acts {
  readonly put: (index: number) => Effect.Effect<void>
  readonly remove: (index: number) => Effect.Effect<void>
  /** Sets another value each time: to set the same one again is no change. */
  readonly set: Effect.Effect<void, unknown>
  readonly join: (index: number) => Effect.Effect<unknown, unknown, Scope.Scope>
}

const ways: ReadonlyArray<Way> = [
  {
    key: "one",
    title: "store write to change read, one at a time",
    measure: (probe, { put, remove }) =>
      times(samples, (index) =>
        Effect.gen(function* () {
          const come = yield* untilRead(probe, put(index), 1)
          const go = yield* untilRead(probe, remove(index), 1)
          return (come + go) / 2
        })
      )
  },
  {
    key: "set",
    title: "a member's `set` to change read, one at a time",
    measure: (probe, { set }) => times(samples, () => untilRead(probe, set, 1))
  },
  {
    key: "join",
    title: "join or leave to change read, one at a time",
    measure: (probe, { join }) =>
      times(samples, (index) =>
        Effect.gen(function* () {
          const scope = yield* Scope.make()
          const come = yield* untilRead(probe, Scope.provide(join(index), scope), 1)
          const go = yield* untilRead(probe, Scope.close(scope, Exit.void), 1)
          return (come + go) / 2
        })
      )
  },
  {
    key: "burst",
    title: `a burst of ${count(burst)} changes, for each, the store's writes left out`,
    measure: (probe, { put, remove }) =>
      times(burstsPerRound, (round) =>
        Effect.gen(function* () {
          probe.expect(burst)
          // Every second round takes back what the one before it has put.
          const act = round % 2 === 0 ? put : remove
          for (let index = 0; index < burst; index++) yield* act(index)
          const started = now()
          return ((yield* probe.done) - started) / burst
        })
      )
  }
]

export const discovery: Effect.Effect<Report, unknown> = Effect.scoped(
  Effect.gen(function* () {
    const cases: Array<Case<unknown>> = []
    for (const { changes, name, title } of definitions) {
      const store = yield* filled(name, size - 1, value)
      const faults = Faults.make(store)
      const reader = yield* startProcess(store, "reader")
      const writer = yield* startProcess(store, "writer")
      const joining = writer.coordinator.group(name)
      const member = yield* joining.join({ value: value(0) })
      let sets = 0
      const acts: Acts = {
        put: (index) => faults.put(name, `probe-${index}`, value(index)),
        remove: (index) => faults.remove(name, `probe-${index}`),
        set: Effect.suspend(() => member.set(value(++sets))),
        join: (index) => joining.join({ id: `probe-${index}`, value: value(index) })
      }
      const group = reader.coordinator.group(name)
      const readings: Record<Reading, Effect.Effect<Probe, unknown, Scope.Scope>> = {
        bare: follow(group.changes, { first: size }),
        recipe: reader.run(follow<unknown, unknown, Coordinator.Coordinator>(changes, { first: size }))
      }
      for (const { key, measure } of ways) {
        for (const reading of ["bare", "recipe"] as const) {
          cases.push({
            name: `${title} ${key} ${reading}`,
            // Each in a scope of its own: two readers at once would pay for each other.
            round: Effect.scoped(Effect.flatMap(readings[reading], (probe) => measure(probe, acts)))
          })
        }
      }
    }
    const measured = yield* interleaved(cases)
    const of = (title: string, key: string, reading: Reading) => measured(`${title} ${key} ${reading}`)
    const added = (title: string, key: string) => ratio(of(title, key, "recipe"), of(title, key, "bare"))

    return {
      name: "discovery",
      title: "`Discovery.changes` against the engine's bare changes",
      tables: ways.map((way) => ({
        title: `${way.title}; ${size} members`,
        columns: [
          "attributes",
          "bare p50, µs",
          "bare p99, µs",
          "`Discovery` p50, µs",
          "`Discovery` p99, µs",
          "to bare"
        ],
        rows: definitions.map(({ title }) => [
          title,
          digits(of(title, way.key, "bare").p50),
          digits(of(title, way.key, "bare").p99),
          digits(of(title, way.key, "recipe").p50),
          digits(of(title, way.key, "recipe").p99),
          timesOf(added(title, way.key))
        ])
      })),
      verdicts: definitions.flatMap(({ title }) =>
        ways
          .filter(({ key }) => key !== "burst")
          .map((way) =>
            verdict(
              `${way.title}, ${title}: at most 1.20 x`,
              timesOf(added(title, way.key)),
              added(title, way.key) <= 1.2
            )
          )
      )
    }
  })
)
