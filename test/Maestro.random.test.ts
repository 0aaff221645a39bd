import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Layer, Schedule } from "effect"
import { Maestro } from "effect-ensemble"
import { TestClock } from "effect/testing"
import { launch, Log, merge, tag } from "./maestro/kit.ts"

/** Park and Miller's generator: a graph that fails has a number under which it fails again. */
const randomOf = (seed: number) => {
  let state = (seed * 7_919) % 2_147_483_647 || 1
  return (below: number): number => {
    state = (state * 48_271) % 2_147_483_647
    return state % below
  }
}

const totalMillis = 500
const size = 14

interface Node {
  readonly name: string
  readonly dependencies: ReadonlyArray<Node>
  readonly optional: boolean
  readonly layer: Layer.Layer<never, unknown>
}

/**
 * Services with every kind of trouble. Each checks for itself that what it depends on is up when it is constructed; what
 * is wrong is written down.
 */
const makeGraph = (random: (below: number) => number, log: Log, wrong: Array<string>): ReadonlyArray<Node> => {
  const up = new Map<string, number>()
  const nodes: Array<Node> = []
  for (let index = 0; index < size; index++) {
    const name = `s${index}`
    const chance = (percent: number) => random(100) < percent
    const dependencies = nodes.filter(() => chance(Math.min(60, 250 / (index + 1))))
    const optional = chance(25)
    const startMillis = random(60)
    const stopMillis = chance(15) ? 5_000 : random(40)
    const failures = chance(25) ? random(5) : 0
    const uninterruptible = chance(25)
    const dying = chance(10)
    let attempts = 0
    const own = Layer.effect(
      tag(name),
      Effect.gen(function* () {
        const attempt = ++attempts
        for (const dependency of dependencies) {
          if ((up.get(dependency.name) ?? 0) === 0 && !dependency.optional)
            wrong.push(`${name} before ${dependency.name}`)
        }
        const starting = Effect.sleep(startMillis)
        yield* Effect.acquireRelease(
          Effect.andThen(uninterruptible ? starting : Effect.void, log.add(`${name} open`)),
          () =>
            Effect.gen(function* () {
              up.set(name, 0)
              const waiting = Effect.sleep(stopMillis)
              yield* uninterruptible ? Effect.uninterruptible(waiting) : waiting
              yield* log.add(`${name} closed`)
              if (dying) return yield* Effect.die(`${name} dies`)
            })
        )
        if (!uninterruptible) yield* starting
        if (attempt <= failures) return yield* Effect.fail(`${name} fails`)
        up.set(name, (up.get(name) ?? 0) + 1)
        return { name }
      })
    )
    const whole = dependencies.length === 0 ? own : Layer.provide(own, merge(dependencies.map(({ layer }) => layer)))
    const policy: Maestro.Policy = {
      retry: chance(50) ? Schedule.max([Schedule.spaced(20), Schedule.recurs(3)]) : undefined,
      startTimeout: chance(30) ? 30 + random(60) : undefined,
      stopTimeout: 10 + random(100)
    }
    const layer: Layer.Layer<never, unknown> = optional
      ? Maestro.optional(whole, name, policy)
      : Maestro.service(whole, name, policy)
    nodes.push({ name, dependencies, optional, layer })
  }
  return nodes
}

const play = (seed: number) =>
  Effect.gen(function* () {
    const random = randomOf(seed)
    const log = new Log()
    const wrong: Array<string> = []
    const nodes = makeGraph(random, log, wrong)
    const run = yield* launch(merge(nodes.map(({ layer }) => layer)), { stopTimeout: totalMillis })
    const actAt = random(600)
    yield* TestClock.adjust(actAt)
    const [act = "close"] = [["close", "interrupt", "stop"][random(3)]]
    const acting = { close: run.close, interrupt: Fiber.interrupt(run.fiber), stop: run.maestro.stop }
    const phase = yield* run.maestro.phase
    const ending = yield* Effect.forkChild(acting[act as keyof typeof acting], { startImmediately: true })
    // A start that has just failed may have begun to stop before.
    yield* TestClock.adjust(totalMillis + 1)
    assert.isDefined(ending.pollUnsafe(), `${seed}: ${act} in ${phase} took longer than the whole budget`)
    // To interrupt a start that is over does nothing: then this is what stops the run.
    const closing = yield* Effect.forkChild(run.close, { startImmediately: true })
    yield* TestClock.adjust(totalMillis + 1)
    assert.isDefined(closing.pollUnsafe(), `${seed}: close after ${act} in ${phase} took longer than the whole budget`)
    // What was abandoned ends some time: then everything that was opened is closed, once.
    yield* TestClock.adjust("1 minute")
    assert.deepStrictEqual(wrong, [], `${seed}: constructed before its dependency`)
    assert.isTrue(log.isBalanced(), `${seed}: ${log.lines.join("\n")}`)
    for (const { name, state } of yield* run.maestro.states) {
      assert.include(["stopped", "failed", "abandoned"], state, `${seed}: ${name}`)
    }
    const ends = new Map<string, number>()
    for (const [index, event] of run.events.entries()) {
      const [, name = "", what = ""] = event.split(" ")
      if (["Stopped", "Abandoned", "Failed"].includes(what)) ends.set(name, index)
    }
    for (const { dependencies, name } of nodes) {
      const begin = run.events.findIndex((event) => event.includes(` ${name} Starting`))
      for (const dependency of dependencies) {
        const ready = run.events.findIndex((event) => event.includes(` ${dependency.name} Ready`))
        const failed = run.events.findIndex((event) => event.includes(` ${dependency.name} Failed`))
        if (begin >= 0 && !dependency.optional) {
          assert.isTrue(ready >= 0 && ready < begin, `${seed}: ${name} started before ${dependency.name} was ready`)
        }
        const stopping = run.events.findIndex((event) => event.includes(` ${dependency.name} Stopping`))
        if (stopping >= 0 && ready >= 0 && failed < 0 && begin >= 0) {
          assert.isBelow(ends.get(name) ?? -1, stopping, `${seed}: ${dependency.name} stopped before ${name}`)
        }
      }
    }
    return phase
  })

describe("random graphs with every kind of trouble", () => {
  for (let block = 0; block < 10; block++) {
    it.effect(`graphs ${block * 30} to ${block * 30 + 29}`, () =>
      Effect.gen(function* () {
        for (let seed = block * 30; seed < block * 30 + 30; seed++) yield* play(seed)
      })
    )
  }
})
