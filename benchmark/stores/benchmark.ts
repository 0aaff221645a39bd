/** A store's benchmark: the rows on each of its ways, and what they come to. */
import { Effect } from "effect"
import type { Measured } from "../harness.ts"
import { measuredOf, ratio, times } from "../harness.ts"
import { count, digits, timesOf, verdict } from "../report.ts"
import type { Report, Table } from "../report.ts"
import * as FailOver from "./failOver.ts"
import type { ByWay, Result, Row } from "./measure.ts"
import { at, idle, measure } from "./measure.ts"
import * as Rows from "./rows.ts"
import type { Store } from "./store.ts"
import type { Place, Way } from "./way.ts"

/** Long enough that hardly a renewal falls into a measurement. */
const ttlSeconds = 60

const idleMembers = 1_000
const idleTtlSeconds = 10

const millis = (micros: number) => digits(micros / 1_000)
const seconds = (micros: number) => digits(micros / 1_000_000)
const most = ({ rounds }: Measured) => Math.max(...rounds)
const middle = (values: ReadonlyArray<number>) => measuredOf([values]).p50

/** A leader is killed: each TTL by itself, all ways of one at the same time. They wait, and do nothing that another would feel. */
const failOvers = ({ failOver, name }: Store, places: (ttl: number) => Place) =>
  Effect.forEach(
    failOver.ttls,
    Effect.fnUntraced(function* (ttl) {
      const { alone, ways } = failOver
      const taken = yield* times(5, () =>
        Effect.all(
          {
            ...(alone === undefined ? {} : { alone: alone(places(ttl)) }),
            ...Object.fromEntries(
              ways.map((way) => [way.name, Effect.suspend(() => FailOver.killed(name, way, places(ttl)))])
            )
          } as Readonly<Record<string, Effect.Effect<number, unknown>>>,
          { concurrency: "unbounded" }
        )
      )
      process.stderr.write(".")
      const columns = [...(alone === undefined ? [] : ["alone"]), ...ways.map((way) => way.name)]
      const measures = columns.map((column) => measuredOf(taken.map((round) => [round[column] ?? Number.NaN])))
      return { ttl, measures }
    }),
    { concurrency: "unbounded" }
  )

export const benchmark = (store: Store): Effect.Effect<Report, unknown> =>
  Effect.scoped(
    Effect.gen(function* () {
      const { byHand, failOver, groups, name, notes, requests, setting, ways } = store
      const library = ways[ways.length - 1] ?? byHand
      const others = ways.slice(0, -1)
      const server = yield* store.start
      let number = 0
      const places = (ttl = ttlSeconds): Place => ({
        endpoints: server.endpoints,
        prefix: store.prefix(++number),
        ttlSeconds: ttl
      })

      const run = <A>(row: Row<A>) => measure(ways, server, row)
      const steps = yield* Effect.forEach(Rows.pairs(places, store.pace), run)
      const joins = [yield* run(Rows.joins(places, 1, 100)), yield* run(Rows.joins(places, Rows.atOnce, 512))]
      const filled = yield* Effect.forEach(groups, (members) => run(Rows.filled(places, members)))
      const lock = yield* run(Rows.lock(places))
      const handOver = yield* run(Rows.handOver(places))
      const own = store.own === undefined ? [] : [yield* store.own.row(places)(ways, server)]
      const rows: ReadonlyArray<Result> = [...steps, ...joins, ...filled, lock, handOver, ...own]

      const killed = yield* failOvers(store, places)
      const quiet = yield* idle(ways, server, {
        make: (way) => Rows.quiet(places(idleTtlSeconds), idleMembers)(way),
        millis: 3_000,
        rounds: 5
      })

      const columns = <A>(show: (way: Way) => A) => ways.map(show)
      const ratios = others.map((way) => `library to ${way.title}`)
      const compared = (measures: ByWay<Measured>, show: (micros: number) => string) => [
        ...columns((way) => show(at(measures, way).p50)),
        ...columns((way) => show(at(measures, way).p99)),
        ...others.map((way) => timesOf(ratio(at(measures, library), at(measures, way))))
      ]
      const titled = (
        title: string,
        of: (row: Result) => ByWay<Measured>,
        show: (micros: number) => string
      ): Table => ({
        title,
        columns: [
          "what",
          ...columns(({ title }) => `${title}, p50`),
          ...columns(({ title }) => `${title}, p99`),
          ...ratios
        ],
        rows: rows.map((row) => [row.what, ...compared(of(row), show)])
      })
      const within = ({ time, what }: Result, bound: number) => {
        const found = ratio(at(time, library), at(time, byHand))
        return verdict(`${what}: at most ${timesOf(bound)} of ${byHand.title}`, timesOf(found), found <= bound)
      }

      return {
        name,
        title: `On ${name} ${server.version}: ${setting}`,
        tables: [
          titled("Time, ms", ({ time }) => time, millis),
          titled("Processor time of the client, writer and reader together, µs", ({ cpu }) => cpu, digits),
          {
            title: `${requests} to the server for one, until nobody asks for anything any more`,
            columns: ["what", ...columns(({ title }) => title)],
            rows: rows.map(({ requests, what }) => [
              what,
              ...columns((way) => {
                const found = at(requests, way)
                return found.length > 0 ? digits(middle(found)) : ""
              })
            ])
          },
          {
            title: "The leader's process is killed: s until the next one leads",
            columns: [
              "TTL, s",
              ...(failOver.alone === undefined ? [] : ["server alone, from the last renewal, p50", "most"]),
              ...failOver.ways.flatMap(({ title }) => [`${title}, p50`, "most"])
            ],
            rows: killed.map(({ measures, ttl }) => [
              String(ttl),
              ...measures.flatMap((measured) => [seconds(measured.p50), seconds(most(measured))])
            ])
          },
          {
            title: `${count(idleMembers)} members that nobody changes, written and read by the same process, TTL ${idleTtlSeconds} s`,
            columns: ["", ...columns(({ title }) => title)],
            rows: [
              ["% of one processor, p50", ...columns((way) => digits(middle(at(quiet, way).percent)))],
              [
                `${requests.toLowerCase()} per second, p50`,
                ...columns((way) => digits(middle(at(quiet, way).requests)))
              ]
            ]
          },
          {
            title: "Load of the machine while measuring (1 minute average; this benchmark alone makes up to 2)",
            columns: ["least", "most"],
            rows: [
              [digits(Math.min(...rows.map(({ load }) => load))), digits(Math.max(...rows.map(({ load }) => load)))]
            ]
          }
        ],
        verdicts: [
          ...[...steps, ...joins].map((row) => within(row, 1.1)),
          ...filled.map((row) => within(row, 1.2)),
          within(lock, 1.1),
          within(handOver, 1.1),
          ...own.map((row) => within(row, store.own?.bound ?? 1)),
          ...killed.map(({ measures, ttl }) => {
            const measured = measures[measures.length - 1] ?? measuredOf([])
            return verdict(
              `a leader is killed at a TTL of ${ttl} s: the next one within ${failOver.rule}`,
              `${seconds(measured.p50)} s, at most ${seconds(most(measured))} s`,
              most(measured) <= failOver.bound(ttl) * 1_000_000
            )
          })
        ],
        notes
      }
    })
  )
