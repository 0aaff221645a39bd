/** Measuring in rounds that take turns, so that whatever else the machine does meets every case alike. */
import { Effect } from "effect"

/** One thing to measure: each round gives its samples in microseconds. */
export interface Case<out E = never> {
  readonly name: string
  readonly round: Effect.Effect<ReadonlyArray<number>, E>
}

export interface Measured {
  readonly p50: number
  readonly p99: number
  /** The median of each round: ratios are taken within a round, where both sides met the same machine. */
  readonly rounds: ReadonlyArray<number>
}

/** Rounds that count; two more go before them, until the code is compiled. */
const usualRounds = 9
const usualWarmUps = 2

const quantile = (values: ReadonlyArray<number>, q: number): number => {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))] ?? Number.NaN
}

export const median = (values: ReadonlyArray<number>): number => quantile(values, 0.5)

/** What the samples of each round come to. */
export const measuredOf = (rounds: ReadonlyArray<ReadonlyArray<number>>): Measured => {
  const all = rounds.flat()
  return { p50: quantile(all, 0.5), p99: quantile(all, 0.99), rounds: rounds.map(median) }
}

/** Lets every round begin with a heap of the same fill. */
export const collect = Effect.sync(() => globalThis.gc?.())

/** Measures all cases in turn, again and again, each round beginning with the next case. */
export const interleaved = <E>(
  cases: ReadonlyArray<Case<E>>,
  options: { readonly rounds?: number; readonly warmUps?: number } = {}
): Effect.Effect<(name: string) => Measured, E> =>
  Effect.gen(function* () {
    const { rounds = usualRounds, warmUps = usualWarmUps } = options
    const samples = new Map(cases.map(({ name }) => [name, [] as Array<ReadonlyArray<number>>]))
    for (let round = -warmUps; round < rounds; round++) {
      const first = (round + warmUps) % cases.length
      yield* collect
      for (const { name, round: run } of [...cases.slice(first), ...cases.slice(0, first)]) {
        const taken = yield* run
        if (round >= 0) samples.get(name)?.push(taken)
      }
    }
    return (name) => {
      const taken = samples.get(name)
      if (taken === undefined) throw new Error(`Nothing was measured under the name ${name}`)
      return measuredOf(taken)
    }
  })

/** How many times as long one takes as the other: the median of the rounds' own ratios. */
export const ratio = (one: Measured, other: Measured): number =>
  median(one.rounds.map((value, round) => value / (other.rounds[round] ?? Number.NaN)))

/** Microseconds since the start of the process. */
export const now = (): number => performance.now() * 1000

/** Runs an effect so many times, one after the other, and takes what each gives. */
export const times = <A, E, R>(
  count: number,
  sample: (index: number) => Effect.Effect<A, E, R>
): Effect.Effect<ReadonlyArray<A>, E, R> =>
  Effect.gen(function* () {
    const taken: Array<A> = []
    for (let index = 0; index < count; index++) taken.push(yield* sample(index))
    return taken
  })

/** What an effect gives, and the bytes of heap that it keeps, after a collection. */
export const retained = <A, E, R>(
  build: Effect.Effect<A, E, R>
): Effect.Effect<{ readonly result: A; readonly bytes: number }, E, R> =>
  Effect.gen(function* () {
    yield* collect
    const before = process.memoryUsage().heapUsed
    const result = yield* build
    yield* collect
    return { result, bytes: process.memoryUsage().heapUsed - before }
  })
