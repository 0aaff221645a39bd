import { assert, describe, it } from "@effect/vitest"
import { Clock, Context, Effect, Exit, Fiber, Layer, Metric, Schedule, Scope, Stream } from "effect"
import { Maestro } from "effect-ensemble"
import { TestClock } from "effect/testing"
import { merge, tag } from "./maestro/kit.ts"

/** A graph: each service with those that it depends on. One that stands below is listed first. */
interface Shape {
  readonly edges: ReadonlyArray<readonly [name: string, ...dependencies: ReadonlyArray<string>]>
  readonly optional?: string
  /** Where the trouble is put: a service that others depend on, one in between, one that nobody depends on. */
  readonly troubled: ReadonlyArray<string>
}

const chain = (size: number): Shape["edges"] =>
  Array.from({ length: size }, (_, index) => (index === 0 ? ["s0"] : [`s${index}`, `s${index - 1}`]))

const shapes: Readonly<Record<string, Shape>> = {
  single: { edges: [["s0"]], troubled: ["s0"] },
  "chain of 10": { edges: chain(10), troubled: ["s0", "s5", "s9"] },
  "50 side by side": {
    edges: Array.from({ length: 50 }, (_, index) => [`s${index}`] as const),
    troubled: ["s0", "s49"]
  },
  diamond: {
    edges: [["base"], ["left", "base"], ["right", "base"], ["top", "left", "right"]],
    troubled: ["base", "left", "top"]
  },
  "ladder of diamonds": {
    edges: Array.from({ length: 4 }, (_, index) => {
      const below = index === 0 ? [] : [`a${index - 1}`, `b${index - 1}`]
      return [[`a${index}`, ...below] as const, [`b${index}`, ...below] as const]
    }).flat(),
    troubled: ["a0", "b2", "a3"]
  },
  "shared optional": {
    edges: [["base"], ["cache", "base"], ["left", "cache"], ["right", "cache", "base"]],
    optional: "cache",
    troubled: ["base", "cache", "left"]
  },
  "two that share nothing": { edges: [["a"], ["b", "a"], ["x"], ["y", "x"]], troubled: ["a", "y"] }
}

interface Trouble {
  readonly start?: "fails at once" | "fails late" | "fails for ever" | "fails twice" | "dies" | "hangs" | "hangs hard"
  readonly stop?: "is slow" | "hangs" | "hangs hard" | "dies" | "throws"
}

const troubles: ReadonlyArray<Trouble> = [
  {},
  { start: "fails at once" },
  { start: "fails late" },
  { start: "fails twice" },
  { start: "fails for ever" },
  { start: "dies" },
  { start: "hangs" },
  { start: "hangs hard" },
  { stop: "is slow" },
  { stop: "hangs" },
  { stop: "hangs hard" },
  { stop: "dies" },
  { stop: "throws" }
]

/** Who ends it: whoever built it closes its scope, or is interrupted, or the program stops itself; each at several times. */
const acts = ["close", "interrupt", "stop"] as const
const moments = [0, 7, 25, 1_000]

const startMillis = 10
const stopMillis = 5
const limit = 100
const total = 400
/** Longer than every bound, and not for ever: what is abandoned ends some time, and then it must be released. */
const hang = "10 minutes"

interface Entry {
  readonly at: number
  readonly name: string
  readonly what: "open" | "closing" | "closed"
}

const compose = (shape: Shape, troubled: string, trouble: Trouble, record: Array<Entry>) => {
  const layers = new Map<string, Layer.Layer<never, unknown>>()
  const note = (name: string, what: Entry["what"]) =>
    Effect.map(Clock.currentTimeMillis, (at) => void record.push({ at, name, what }))
  for (const [name, ...dependencies] of shape.edges) {
    const { start, stop } = name === troubled ? trouble : {}
    let attempts = 0
    const release = Effect.gen(function* () {
      yield* note(name, "closing")
      if (stop === "hangs") yield* Effect.sleep(hang)
      if (stop === "hangs hard") yield* Effect.uninterruptible(Effect.sleep(hang))
      yield* Effect.sleep(stop === "is slow" ? 40 : stopMillis)
      yield* note(name, "closed")
      if (stop === "dies") return yield* Effect.die(`${name} does not close`)
    })
    const own = Layer.effect(
      tag(name),
      Effect.gen(function* () {
        attempts++
        const acquire = start === "hangs hard" ? Effect.sleep(hang) : Effect.void
        yield* Effect.acquireRelease(Effect.andThen(note(name, "open"), acquire), () => {
          if (stop !== "throws") return release
          record.push({ at: 0, name, what: "closing" }, { at: 0, name, what: "closed" })
          throw new Error(`${name} throws`)
        })
        if (start === "hangs") yield* Effect.sleep(hang)
        if (start === "fails at once" || (start === "fails for ever" && attempts % 2 === 0))
          return yield* Effect.fail("no")
        yield* Effect.sleep(startMillis)
        if (start === "dies") return yield* Effect.die(`${name} is broken`)
        if (start === "fails late" || start === "fails for ever") return yield* Effect.fail("no")
        if (start === "fails twice" && attempts <= 2) return yield* Effect.fail("not yet")
        return { name }
      })
    )
    const below = dependencies.map((dependency) => layers.get(dependency) ?? Layer.empty)
    const whole = below.length === 0 ? own : Layer.provide(own, merge(below))
    const policy: Maestro.Policy = {
      retry: start === "fails for ever" ? Schedule.spaced(3) : Schedule.max([Schedule.recurs(2), Schedule.spaced(3)]),
      startTimeout: 50,
      stopTimeout: limit
    }
    const wrap = name === shape.optional ? Maestro.optional : Maestro.service
    layers.set(name, (wrap as typeof Maestro.service)(whole, name, policy) as Layer.Layer<never, unknown>)
  }
  return merge([...layers.values()])
}

const up: ReadonlySet<string> = new Set(["ready", "degraded"])
const over = ["stopped", "failed", "abandoned"]

interface Round {
  readonly shape: Shape
  readonly troubled: string
  readonly trouble: Trouble
  readonly act: (typeof acts)[number]
  readonly moment: number
}

const play = ({ act, moment, shape, trouble, troubled }: Round) =>
  Effect.gen(function* () {
    const says = (what: string) => `${troubled} ${JSON.stringify(trouble)}, ${act} at ${moment}: ${what}`
    let alive = 0
    const counting: Metric.FiberRuntimeMetricsService = {
      recordFiberStart: () => void alive++,
      recordFiberEnd: () => void alive--
    }
    const record: Array<Entry> = []
    const events: Array<Maestro.ServiceEvent> = []
    yield* Effect.gen(function* () {
      const scope = yield* Scope.make()
      const context = yield* Layer.buildWithScope(Maestro.layer({ stopTimeout: total }), scope)
      const maestro = Context.get(context, Maestro.Maestro)
      const follow = (into: Array<Maestro.ServiceEvent>) =>
        maestro.events.pipe(
          Stream.runForEach((event) => Effect.sync(() => into.push(event))),
          Effect.forkDetach({ startImmediately: true })
        )
      yield* follow(events)
      const began = yield* Clock.currentTimeMillis
      const app = compose(shape, troubled, trouble, record)
      const starting = yield* Layer.buildWithScope(Maestro.boot(app), scope).pipe(
        Effect.provideContext(context),
        Effect.forkDetach({ startImmediately: true })
      )
      const waiting = yield* Effect.forEach([...shape.edges, ["nobody"]], ([name = ""]) =>
        Effect.forkDetach(Effect.exit(maestro.ready(name)), { startImmediately: true })
      )
      yield* TestClock.adjust(moment)

      // A late subscriber sees the present first.
      const late: Array<Maestro.ServiceEvent> = []
      const states = yield* maestro.states
      yield* follow(late)
      yield* Effect.yieldNow
      assert.deepStrictEqual(
        late.slice(0, states.length).map(({ status }) => status),
        states,
        says("a late subscriber does not see the present")
      )

      const close = Scope.close(scope, Exit.void)
      const acting = { close, interrupt: Fiber.interrupt(starting), stop: maestro.stop }[act]
      const ending = yield* Effect.forkDetach(acting, { startImmediately: true })
      yield* TestClock.adjust(total + 1)
      assert.isDefined(ending.pollUnsafe(), says("it took longer than the total"))
      // An interruption of a start that is over does nothing.
      const closing = yield* Effect.forkDetach(close, { startImmediately: true })
      yield* TestClock.adjust(total + 1)
      assert.isDefined(closing.pollUnsafe(), says("closing took longer than the total"))
      assert.isDefined(starting.pollUnsafe(), says("the start has no end"))
      for (const fiber of waiting) assert.isDefined(fiber.pollUnsafe(), says("somebody waits for ever"))
      for (const { name, state } of yield* maestro.states) assert.include(over, state, says(`${name} has no end`))
      assert.strictEqual(yield* maestro.phase, "stopped")
      yield* TestClock.adjust("1 hour")

      // The order of the events is that of the states: each goes on from where the last one of its service was.
      const last = new Map<string, Maestro.ServiceStatus>()
      let before = began
      for (const { at, service, status } of events) {
        assert.isAtLeast(at, before, says("events go back in time"))
        before = at
        assert.isAtLeast(status.attempts, last.get(service)?.attempts ?? 0, says(`${service} goes back an attempt`))
        assert.notStrictEqual(status, last.get(service), says(`${service} is told twice`))
        last.set(service, status)
      }
      for (const status of yield* maestro.states) {
        assert.strictEqual(last.get(status.name), status, says(`the last event of ${status.name} is not its state`))
      }
    }).pipe(Effect.provideService(Metric.FiberRuntimeMetrics, counting))
    yield* Effect.repeat(Effect.yieldNow, { times: 20 })
    assert.strictEqual(alive, 0, says("fibers are left"))

    for (const [name, ...dependencies] of shape.edges) {
      const opened = record.filter((entry) => entry.name === name && entry.what === "open").length
      const closed = record.filter((entry) => entry.name === name && entry.what === "closed").length
      assert.strictEqual(closed, opened, says(`${name} was opened ${opened} times and closed ${closed} times`))
      const firstOpen = record.findIndex((entry) => entry.name === name && entry.what === "open")
      const ends = events.findLastIndex(({ service, status }) => service === name && over.includes(status.state))
      for (const dependency of dependencies) {
        if (firstOpen >= 0 && dependency !== shape.optional) {
          const ready = events.find(({ service, status }) => service === dependency && up.has(status.state))
          assert.isDefined(ready, says(`${name} was constructed without ${dependency}`))
          assert.isAtMost(
            ready?.at ?? 0,
            record[firstOpen]?.at ?? 0,
            says(`${name} was constructed before ${dependency}`)
          )
        }
        const stopping = events.findIndex(
          ({ happening, service }) => service === dependency && happening._tag === "Stopping"
        )
        const wasReady = events.some(({ service, status }) => service === dependency && up.has(status.state))
        if (stopping >= 0 && wasReady && firstOpen >= 0) {
          assert.isBelow(ends, stopping, says(`${dependency} was stopped before ${name}`))
        }
      }
    }
  })

describe("every shape with every trouble, ended in every way at several times", () => {
  for (const [name, shape] of Object.entries(shapes)) {
    for (const troubled of shape.troubled) {
      it.effect(`${name}: ${troubled}`, () =>
        Effect.gen(function* () {
          for (const trouble of troubles) {
            for (const act of acts) {
              for (const moment of moments) yield* play({ shape, troubled, trouble, act, moment })
            }
          }
        })
      )
    }
  }
})
