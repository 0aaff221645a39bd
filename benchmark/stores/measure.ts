/** The ways of a store measured in turn: time, the client's processor time, and requests. */
import { Effect } from "effect"
import type { Scope } from "effect"
import { loadavg } from "node:os"
import type { Measured } from "../harness.ts"
import { collect, interleaved, measuredOf, now } from "../harness.ts"
import type { Server } from "./store.ts"
import type { Way } from "./way.ts"

/** By the name of the way. */
export type ByWay<A> = Readonly<Record<string, A>>

export const byWay = <A>(ways: ReadonlyArray<Way>, of: (way: Way) => A): ByWay<A> =>
  Object.fromEntries(ways.map((way) => [way.name, of(way)]))

export const at = <A>(values: ByWay<A>, { name }: Way): A => {
  const value = values[name]
  if (value === undefined) throw new Error(`Nothing was measured on the way ${name}`)
  return value
}

/** One thing that is measured on each way. */
export interface Row<A> {
  readonly what: string
  /** What it is measured with, gone when the next row begins. */
  readonly make: (way: Way) => Effect.Effect<A, unknown, Scope.Scope>
  /** Once; gives the moment at which it was done, where that is not the one at which it returns. */
  readonly act: (made: A) => Effect.Effect<number | void, unknown>
  /** Makes the next one possible. Not timed. */
  readonly rest?: (made: A) => Effect.Effect<unknown, unknown>
  /** How often in a round. */
  readonly samples: number
  /** What one act counts for. Default 1. */
  readonly each?: number
  readonly rounds: number
  readonly warmUps: number
}

/** A row together with what it is measured by. */
export type Measurable = (ways: ReadonlyArray<Way>, server: Server) => Effect.Effect<Result, unknown>

export interface Result {
  readonly what: string
  /** Microseconds. */
  readonly time: ByWay<Measured>
  /** Microseconds of this process, reader and writer together. */
  readonly cpu: ByWay<Measured>
  /** Whatever the server was sent until nobody asked for anything any more. Counted while warming up. */
  readonly requests: ByWay<ReadonlyArray<number>>
  readonly load: number
}

/** Until what follows an act has reached the server too. */
const settled = Effect.sleep("30 millis")

export const measure = <A>(
  ways: ReadonlyArray<Way>,
  server: Server,
  { act, each = 1, make, rest, rounds, samples, warmUps, what }: Row<A>
): Effect.Effect<Result, unknown> =>
  Effect.scoped(
    Effect.gen(function* () {
      const cpu = byWay(ways, () => [] as Array<ReadonlyArray<number>>)
      const requests = byWay(ways, () => [] as Array<number>)

      const once = Effect.fnUntraced(function* (made: A) {
        const before = process.cpuUsage()
        const started = now()
        const done = (yield* act(made)) ?? now()
        const { system, user } = process.cpuUsage(before)
        return { time: (done - started) / each, cpu: (system + user) / each }
      })

      const counted = Effect.fnUntraced(function* (made: A, into: Array<number>) {
        const before = yield* server.received
        const taken = yield* once(made)
        yield* settled
        into.push(((yield* server.received) - before) / each)
        return taken
      })

      const cases = yield* Effect.forEach(ways, (way) =>
        Effect.map(make(way), (made) => {
          let warmUp = 0
          const round = Effect.gen(function* () {
            const counting = warmUp++ < warmUps
            const times: Array<number> = []
            const used: Array<number> = []
            for (let sample = 0; sample < samples; sample++) {
              const taken = yield* counting ? counted(made, at(requests, way)) : once(made)
              times.push(taken.time)
              used.push(taken.cpu)
              if (rest !== undefined) yield* rest(made)
            }
            if (!counting) at(cpu, way).push(used)
            return times
          })
          return { name: way.name, round }
        })
      )
      const measured = yield* interleaved(cases, { rounds, warmUps })
      process.stderr.write(".")
      return {
        what,
        time: byWay(ways, ({ name }) => measured(name)),
        cpu: byWay(ways, (way) => measuredOf(at(cpu, way))),
        requests,
        load: loadavg()[0] ?? 0
      }
    })
  )

/** The client's processor time and the requests of ways that do nothing, one after the other. */
export const idle = <A>(
  ways: ReadonlyArray<Way>,
  server: Server,
  options: {
    readonly make: (way: Way) => Effect.Effect<A, unknown, Scope.Scope>
    readonly millis: number
    readonly rounds: number
  }
) =>
  Effect.gen(function* () {
    const { make, millis, rounds } = options
    const taken = byWay(ways, () => ({ percent: [] as Array<number>, requests: [] as Array<number> }))
    for (let round = 0; round < rounds; round++) {
      for (const way of ways) {
        yield* Effect.scoped(
          Effect.gen(function* () {
            yield* make(way)
            yield* Effect.sleep("1 second")
            yield* collect
            const received = yield* server.received
            const before = process.cpuUsage()
            yield* Effect.sleep(millis)
            const { system, user } = process.cpuUsage(before)
            at(taken, way).percent.push((system + user) / millis / 10)
            at(taken, way).requests.push(((yield* server.received) - received) / (millis / 1_000))
          })
        )
      }
    }
    process.stderr.write(".")
    return taken
  })
