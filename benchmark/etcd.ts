/** The library on etcd, beside the npm client `etcd3` used by hand and beside the bare calls: three ways in one run. */
import { Effect } from "effect"
import type { Scope } from "effect"
import { loadavg } from "node:os"
import * as Etcd from "../test/servers/etcd.ts"
import { etcd3 } from "./etcd/etcd3.ts"
import * as FailOver from "./etcd/failOver.ts"
import { library } from "./etcd/library.ts"
import { rpc } from "./etcd/rpc.ts"
import * as Traffic from "./etcd/traffic.ts"
import type { Pair, Place, Rivals, Way } from "./etcd/way.ts"
import { makeProbe } from "./fixture.ts"
import type { Measured } from "./harness.ts"
import { collect, interleaved, measuredOf, now, ratio, times } from "./harness.ts"
import { count, digits, timesOf, verdict } from "./report.ts"
import type { Report } from "./report.ts"

const ways = [rpc, etcd3, library] as const

type Name = Way["name"]

const titles: Record<Name, string> = { rpc: "bare call", etcd3: "`etcd3` by hand", library: "library" }

/** Long enough that hardly a renewal falls into a measurement. */
const ttlSeconds = 60

/** Members that join at the same time as others, as a program does that starts with many. */
const atOnce = 64
const batches: ReadonlyArray<readonly [joiners: number, joins: number]> = [
  [1, 100],
  [atOnce, 512]
]
const groups = [1_000, 10_000]

type Measures = Readonly<Record<Name, Measured>>

/** More than one sample a round would meet the same machine; more rounds would take long. */
const usual = { rounds: 5, warmUps: 2 }

let cases = 0

/** Members are never called the same twice: whoever reads them is told of each once. */
let called = 0
const names = (number: number): number => {
  called += number
  return called - number
}

export const etcd: Effect.Effect<Report, unknown> = Effect.scoped(
  Effect.gen(function* () {
    const server = yield* Etcd.single({ elections: "standard", fsync: true })
    const [endpoint = ""] = server.endpoints
    const place = (seconds = ttlSeconds): Place => ({
      endpoints: server.endpoints,
      prefix: `/bench-${++cases}`,
      ttlSeconds: seconds
    })
    const { version } = yield* server.gateway.status
    const loads: Array<number> = []
    const progress = Effect.sync(() => process.stderr.write("."))

    /** Measures all ways in turn. What they measure with is gone when the next rows begin. */
    const compare = <A>(
      make: (way: Way) => Effect.Effect<A, unknown, Scope.Scope>,
      round: (made: A, name: Name) => Effect.Effect<ReadonlyArray<number>, unknown>,
      options: { readonly rounds: number; readonly warmUps: number }
    ): Effect.Effect<Measures, unknown> =>
      Effect.scoped(
        Effect.gen(function* () {
          const cases = yield* Effect.forEach(ways, (way) =>
            Effect.map(make(way), (made) => ({ name: way.name, round: round(made, way.name) }))
          )
          const measured = yield* interleaved(cases, options)
          loads.push(loadavg()[0] ?? 0)
          yield* progress
          return { rpc: measured("rpc"), etcd3: measured("etcd3"), library: measured("library") }
        })
      )

    const pair = (way: Way) => way.pair(place())
    const probed = (pair: Pair) => {
      const probe = makeProbe()
      pair.onSeen(probe.read)
      return probe
    }

    const seen = yield* compare<Pair>(
      pair,
      (pair) =>
        Effect.gen(function* () {
          const probe = probed(pair)
          const taken = yield* times(60, () =>
            Effect.gen(function* () {
              probe.expect(1)
              const started = now()
              yield* pair.join(names(1), 1, 1)
              return (yield* probe.done) - started
            })
          )
          yield* pair.leave
          yield* Effect.sleep("50 millis")
          return taken
        }),
      usual
    )

    const joins: Array<{ readonly joiners: number; readonly taken: Measures; readonly cpu: Measures }> = []
    for (const [joiners, number] of batches) {
      const cpu: Record<Name, Array<ReadonlyArray<number>>> = { rpc: [], etcd3: [], library: [] }
      const taken = yield* compare<Pair>(
        pair,
        (pair, name) =>
          Effect.gen(function* () {
            const probe = probed(pair)
            const samples = yield* times(2, () =>
              Effect.gen(function* () {
                yield* collect
                const before = process.cpuUsage()
                const started = now()
                probe.expect(number)
                yield* pair.join(names(number), number, joiners)
                const joined = now() - started
                yield* probe.done
                const { system, user } = process.cpuUsage(before)
                yield* pair.leave
                yield* Effect.sleep("100 millis")
                return { joined: joined / number, used: (system + user) / number }
              })
            )
            cpu[name].push(samples.map(({ used }) => used))
            return samples.map(({ joined }) => joined)
          }),
        usual
      )
      const used = (name: Name) => measuredOf(cpu[name].slice(2))
      joins.push({ joiners, taken, cpu: { rpc: used("rpc"), etcd3: used("etcd3"), library: used("library") } })
    }

    const filled: Array<{ readonly members: number; readonly taken: Measures }> = []
    for (const members of groups) {
      const taken = yield* compare<Pair>(
        pair,
        (pair) =>
          Effect.gen(function* () {
            const probe = probed(pair)
            probe.expect(members)
            const started = now()
            yield* pair.join(names(members), members, atOnce)
            const done = (yield* probe.done) - started
            yield* pair.leave
            yield* Effect.sleep(`${200 + members / 10} millis`)
            return [done]
          }),
        members > 1_000 ? { rounds: 5, warmUps: 0 } : usual
      )
      filled.push({ members, taken })
    }

    const handOvers: Record<Name, Array<number>> = { rpc: [], etcd3: [], library: [] }
    const handOver = yield* compare<Rivals>(
      (way) => way.rivals(place()),
      ({ handOver }, name) =>
        times(10, () =>
          Effect.gen(function* () {
            const { received, result } = yield* Traffic.during(endpoint, handOver)
            handOvers[name].push(Traffic.total(received))
            return result
          })
        ),
      usual
    )

    // All at the same time: they wait, and do nothing that the other would feel.
    const failOvers = yield* Effect.forEach(
      [2, 5],
      Effect.fnUntraced(function* (seconds) {
        const taken = yield* times(5, () =>
          Effect.all(
            {
              rpc: FailOver.ofServer(place(seconds)),
              etcd3: FailOver.withEtcd3(place(seconds)),
              library: FailOver.withLibrary(place(seconds))
            },
            { concurrency: "unbounded" }
          )
        )
        const of = (name: Name) => measuredOf(taken.map((round) => [round[name]]))
        return { seconds, measures: { rpc: of("rpc"), etcd3: of("etcd3"), library: of("library") } }
      }),
      { concurrency: "unbounded" }
    )

    const idleMillis = 2_000
    const idle: Record<Name, { readonly cpu: Array<number>; readonly requests: Array<number> }> = {
      rpc: { cpu: [], requests: [] },
      etcd3: { cpu: [], requests: [] },
      library: { cpu: [], requests: [] }
    }
    yield* times(5, () =>
      Effect.forEach(ways, (way) =>
        Effect.scoped(
          Effect.gen(function* () {
            const pair = yield* way.pair(place(10))
            yield* pair.join(names(1_000), 1_000, atOnce)
            yield* Effect.sleep("1 second")
            yield* collect
            const before = process.cpuUsage()
            const { received } = yield* Traffic.during(endpoint, Effect.sleep(idleMillis))
            const { system, user } = process.cpuUsage(before)
            idle[way.name].cpu.push((system + user) / idleMillis / 10)
            idle[way.name].requests.push(Traffic.total(received) / (idleMillis / 1_000))
            yield* pair.leave
          })
        )
      )
    )

    const byWay = <A>(show: (name: Name) => A) => ways.map(({ name }) => show(name))
    const headings = (what: string) => byWay((name) => `${titles[name]}${what}`)
    const millis = (micros: number) => digits(micros / 1_000)
    const compared = (measures: Measures, show: (micros: number) => string) => [
      ...byWay((name) => show(measures[name].p50)),
      ...byWay((name) => show(measures[name].p99)),
      timesOf(ratio(measures.library, measures.rpc)),
      timesOf(ratio(measures.library, measures.etcd3))
    ]
    const ratios = ["library to bare", "library to `etcd3`"]
    const middle = (values: ReadonlyArray<number>) => measuredOf([values]).p50
    const most = ({ rounds }: Measured) => Math.max(...rounds)
    const toEtcd3 = ({ etcd3, library }: Measures) => ratio(library, etcd3)
    const within = (what: string, measures: Measures, bound: number) =>
      verdict(
        `${what}: at most ${timesOf(bound)} of \`etcd3\` by hand`,
        timesOf(toEtcd3(measures)),
        toEtcd3(measures) <= bound
      )

    return {
      name: "etcd",
      title: `On etcd ${version}: one server with fsync, on the machine that measures`,
      tables: [
        {
          title: "Time, ms",
          columns: ["what", ...headings(", p50"), ...headings(", p99"), ...ratios],
          rows: [
            ["a join, until another program has seen it", ...compared(seen, millis)],
            ...filled.map(({ members, taken }) => [
              `${count(members)} members, until another program has seen all`,
              ...compared(taken, millis)
            ]),
            ["a leader resigns, until the next one leads", ...compared(handOver, millis)]
          ]
        },
        {
          title: "Joins",
          columns: ["joiners at once", ...headings(", joins per second"), ...ratios.map((name) => `time, ${name}`)],
          rows: joins.map(({ joiners, taken }) => [
            count(joiners),
            ...byWay((name) => count(Math.round(1_000_000 / taken[name].p50))),
            timesOf(ratio(taken.library, taken.rpc)),
            timesOf(toEtcd3(taken))
          ])
        },
        {
          title: "Processor time of the client for one join and for reading it, µs",
          columns: ["joiners at once", ...headings(", p50"), ...headings(", p99"), ...ratios],
          rows: joins.map(({ cpu, joiners }) => [count(joiners), ...compared(cpu, digits)])
        },
        {
          title: "Messages to the server for one hand-over, after which the former leader stands in line again",
          columns: ["", ...headings("")],
          rows: [["median", ...byWay((name) => count(middle(handOvers[name])))]]
        },
        {
          title: "The leader's process is killed: s until the next one leads",
          columns: [
            "TTL, s",
            "server alone, from the last renewal, p50",
            "most",
            ...(["etcd3", "library"] as const).flatMap((name) => [`${titles[name]}, p50`, "most"])
          ],
          rows: failOvers.map(({ measures, seconds }) => [
            String(seconds),
            ...byWay((name) => [measures[name].p50, most(measures[name])])
              .flat()
              .map((micros) => digits(micros / 1_000_000))
          ])
        },
        {
          title: "1,000 members that nobody changes, written and read by the same process, TTL 10 s",
          columns: ["", ...headings("")],
          rows: [
            ["% of one processor, p50", ...byWay((name) => digits(middle(idle[name].cpu)))],
            ["messages to the server per second, p50", ...byWay((name) => digits(middle(idle[name].requests)))]
          ]
        },
        {
          title: "Load of the machine while measuring (1 minute average; this benchmark alone makes up to 2)",
          columns: ["least", "most"],
          rows: [[digits(Math.min(...loads)), digits(Math.max(...loads))]]
        }
      ],
      verdicts: [
        within("a join, until another program has seen it", seen, 1.1),
        ...joins.map(({ joiners, taken }) => within(`a join, ${count(joiners)} at once`, taken, 1.1)),
        ...filled.map(({ members, taken }) => within(`${count(members)} members joined and seen`, taken, 1.2)),
        verdict(
          "a leader resigns: at most the two round trips, bare, and 10 %",
          timesOf(ratio(handOver.library, handOver.rpc)),
          ratio(handOver.library, handOver.rpc) <= 1.1
        ),
        within("a leader resigns", handOver, 1.1),
        ...failOvers.map(({ measures, seconds }) =>
          verdict(
            `a leader is killed: the next one within the TTL of ${seconds} s and 0.6 s`,
            `${digits(measures.library.p50 / 1_000_000)} s, at most ${digits(most(measures.library) / 1_000_000)} s`,
            most(measures.library) <= (seconds + 0.6) * 1_000_000
          )
        )
      ]
    }
  })
)
