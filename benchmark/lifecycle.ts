/** What it costs to start and to stop services, against the layers alone and against a wrapper written by hand. */
import { Context, Effect, Exit, Fiber, Layer, Scope } from "effect"
import { Maestro } from "effect-ensemble"
import { interleaved, now, ratio } from "./harness.ts"
import type { Case } from "./harness.ts"
import { count, digits, timesOf, verdict } from "./report.ts"
import type { Report } from "./report.ts"

type Anything = Layer.Layer<never>
type Wrap = (name: string) => (layer: Anything) => Anything

/** A resource, and nothing else: what is left is the cost of the composition. */
const resource = (index: number): Anything =>
  Layer.effect(
    Context.Service<number, number>(`benchmark/${index}`),
    Effect.acquireRelease(Effect.succeed(index), () => Effect.void)
  )

/**
 * What a program would write itself: a fiber that starts, and one that stops within ten seconds. It yields after both, or
 * else a chain of a thousand fibers that wake one another would overflow the stack.
 */
const byHand: Wrap = () => (layer) =>
  Layer.fromBuildMemo((memoMap, scope) =>
    Effect.gen(function* () {
      const own = yield* Scope.make()
      yield* Scope.addFinalizerExit(scope, (exit) =>
        Effect.gen(function* () {
          const closing = yield* Effect.forkDetach(Scope.close(own, exit))
          yield* Effect.timeoutOption(Fiber.await(closing), "10 seconds")
          yield* Effect.yieldNow
        })
      )
      const starting = yield* Effect.forkDetach(Layer.buildWithMemoMap(layer, memoMap, own))
      const context = yield* Fiber.join(starting)
      yield* Effect.yieldNow
      return context
    })
  )

const ways: Readonly<Record<string, { readonly wrap: Wrap; readonly top: (app: Anything) => Anything }>> = {
  layers: { wrap: () => (layer) => layer, top: (app) => app },
  hand: { wrap: byHand, top: (app) => app },
  maestro: {
    // It may time out by its type; without a policy it never does.
    wrap: (name) => (layer) => Layer.orDie(Maestro.service(layer, name)),
    top: (app) => Layer.orDie(Maestro.boot(app).pipe(Layer.provide(Maestro.layer())))
  }
}

const shapes: Readonly<Record<string, (size: number, wrap: Wrap) => Anything>> = {
  independent: (size, wrap) => {
    const [first = Layer.empty, ...rest] = Array.from({ length: size }, (_, index) => wrap(`${index}`)(resource(index)))
    return Layer.mergeAll(first, ...rest)
  },
  chain: (size, wrap) => {
    let chain = wrap("0")(resource(0))
    for (let index = 1; index < size; index++) {
      chain = wrap(`${index}`)(resource(index).pipe(Layer.provide(chain)))
    }
    return chain
  }
}

const startAndStop = (app: Anything): Effect.Effect<ReadonlyArray<number>> =>
  Effect.gen(function* () {
    const began = now()
    const scope = yield* Scope.make()
    yield* Layer.buildWithMemoMap(app, Layer.makeMemoMapUnsafe(), scope)
    yield* Scope.close(scope, Exit.void)
    return [now() - began]
  })

const size = 1_000
const larger = 5_000

const caseName = (shape: string, way: string, services: number): string => `${shape} ${way} ${services}`

const cases: ReadonlyArray<Case> = Object.entries(shapes).flatMap(([shape, compose]) =>
  Object.entries(ways).flatMap(([way, { top, wrap }]) =>
    (way === "maestro" ? [size, larger] : [size]).map((services) => ({
      name: caseName(shape, way, services),
      round: startAndStop(top(compose(services, wrap)))
    }))
  )
)

/** Park and Miller's generator: the same graph on every run, on every machine. */
const randomOf = (seed: number) => {
  let state = seed
  return (below: number): number => {
    state = (state * 48_271) % 2_147_483_647
    return state % below
  }
}

/** Shorter ones would measure the timers of the machine and not the order of the services. */
const shortest = 50

interface Random {
  readonly app: Anything
  /** The sleeps of the heaviest way through the graph, in milliseconds, from the first to the last. */
  readonly critical: ReadonlyArray<number>
}

const sum = (values: ReadonlyArray<number>): number => values.reduce((total, value) => total + value, 0)

/** Services that sleep when they start, each on up to three of those before it. */
const randomGraph = (services: number, { top, wrap }: (typeof ways)[string]): Random => {
  const random = randomOf(7)
  const layers: Array<Anything> = []
  const chains: Array<ReadonlyArray<number>> = []
  const heaviest = (among: ReadonlyArray<ReadonlyArray<number>>): ReadonlyArray<number> =>
    among.reduce((most, chain) => (sum(chain) > sum(most) ? chain : most), [])
  for (let index = 0; index < services; index++) {
    const millis = shortest + random(100)
    const below = index === 0 ? [] : Array.from({ length: random(4) }, () => random(index))
    const own: Anything = Layer.effectDiscard(Effect.sleep(millis))
    const dependencies = below.map((dependency) => layers[dependency] ?? Layer.empty)
    const [first, ...rest] = dependencies
    const whole = first === undefined ? own : Layer.provide(own, Layer.mergeAll(first, ...rest))
    layers.push(wrap(`${index}`)(whole))
    chains.push([...heaviest(below.map((dependency) => chains[dependency] ?? [])), millis])
  }
  const [first = Layer.empty, ...rest] = layers
  return { app: top(Layer.mergeAll(first, ...rest)), critical: heaviest(chains) }
}

const randomServices = 200

/** Each takes more than a second. */
const randomRounds = { rounds: 5, warmUps: 1 }

/** The sleeps of the critical path and nothing else: what the timers of the machine make of it. */
const sleepsAlone = (sleeps: ReadonlyArray<number>): Effect.Effect<ReadonlyArray<number>> =>
  Effect.gen(function* () {
    const began = now()
    for (const millis of sleeps) yield* Effect.sleep(millis)
    return [now() - began]
  })

export const lifecycle: Effect.Effect<Report, unknown> = Effect.gen(function* () {
  const measured = yield* interleaved(cases)
  const of = (shape: string, way: string, services = size) => measured(caseName(shape, way, services))

  const graphs = Object.entries(ways).map(([name, way]) => ({ name, graph: randomGraph(randomServices, way) }))
  const sleeps = graphs[0]?.graph.critical ?? []
  const critical = sum(sleeps)
  const random = yield* interleaved(
    [
      { name: "sleeps", round: sleepsAlone(sleeps) },
      ...graphs.map(({ graph, name }) => ({ name, round: startAndStop(graph.app) }))
    ],
    randomRounds
  )
  const wall = random("maestro").p50 / 1_000

  const names = Object.keys(shapes)
  const toHand = (shape: string) => ratio(of(shape, "maestro"), of(shape, "hand"))
  const growth = (shape: string) => ratio(of(shape, "maestro", larger), of(shape, "maestro")) / (larger / size)
  return {
    name: "lifecycle",
    title: "Starting and stopping services",
    tables: [
      {
        title: `Start and stop of ${count(size)} services that acquire and release nothing`,
        columns: ["shape", "layers alone, ms", "by hand, ms", "Maestro, ms", "to layers", "to by hand"],
        rows: names.map((shape) => [
          shape,
          digits(of(shape, "layers").p50 / 1_000),
          digits(of(shape, "hand").p50 / 1_000),
          digits(of(shape, "maestro").p50 / 1_000),
          timesOf(ratio(of(shape, "maestro"), of(shape, "layers"))),
          timesOf(toHand(shape))
        ])
      },
      {
        title: `The cost of each service, from ${count(size)} to ${count(larger)} services`,
        columns: ["shape", `µs each of ${count(size)}`, `µs each of ${count(larger)}`, "growth"],
        rows: names.map((shape) => [
          shape,
          digits(of(shape, "maestro").p50 / size),
          digits(of(shape, "maestro", larger).p50 / larger),
          timesOf(growth(shape))
        ])
      },
      {
        title: `${count(randomServices)} services that sleep ${shortest} ms and more, each on up to three others`,
        columns: ["what", "ms", "to critical path"],
        rows: [
          [`critical path, ${sleeps.length} services`, digits(critical), timesOf(1)],
          ...[
            ["its sleeps alone", "sleeps"],
            ["start and stop, layers alone", "layers"],
            ["start and stop, by hand", "hand"],
            ["start and stop, Maestro", "maestro"]
          ].map(([what = "", name = ""]) => {
            const millis = random(name).p50 / 1_000
            return [what, digits(millis), timesOf(millis / critical)]
          })
        ]
      }
    ],
    verdicts: [
      ...names.map((shape) =>
        verdict(`${count(size)} services, ${shape}: at most 3.00 x by hand`, timesOf(toHand(shape)), toHand(shape) <= 3)
      ),
      ...names.map((shape) =>
        verdict(
          `${shape}: each of ${count(larger)} costs at most 1.50 x each of ${count(size)}`,
          timesOf(growth(shape)),
          growth(shape) <= 1.5
        )
      ),
      verdict("the random graph: at most 1.02 x its critical path", timesOf(wall / critical), wall / critical <= 1.02)
    ]
  }
})
