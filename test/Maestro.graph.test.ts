import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Graph, Layer, Option, Schedule } from "effect"
import { Maestro } from "effect-ensemble"
import { TestClock } from "effect/testing"
import { launch, Log, probe, tag } from "./maestro/kit.ts"

const nothing = Layer.empty
const define = (
  name: string,
  dependsOn: Maestro.Definition["dependsOn"] = [],
  optional = false
): Maestro.Definition => ({
  name,
  dependsOn,
  optional,
  layer: nothing
})

const problems = (definitions: ReadonlyArray<Maestro.Definition>) =>
  Effect.scoped(
    Effect.map(Effect.exit(Layer.build(Maestro.fromGraph(definitions))), (exit) => {
      const error = Option.getOrUndefined(Exit.findErrorOption(exit))
      return error instanceof Maestro.InvalidGraph ? error.problems : []
    })
  )

describe("a graph known at run time", () => {
  it.effect("is refused for every reason at once, and starts nothing", () =>
    Effect.gen(function* () {
      const log = new Log()
      const found = yield* problems([
        { ...define("a", ["a", "b", "b", "nowhere", "elsewhere"]), layer: Layer.orDie(probe(log, "a")) },
        define("b", ["cache"]),
        define("b"),
        define("cache", [], true),
        define("fine", [{ name: "cache", optional: true }]),
        define("x", ["y"]),
        define("y", ["z", "x"]),
        define("z", ["x"]),
        define("p", ["q"]),
        define("q", ["p"])
      ])
      assert.deepStrictEqual(found, [
        { _tag: "DuplicateName", service: "b" },
        { _tag: "SelfDependency", service: "a" },
        { _tag: "DuplicateEdge", service: "a", dependency: "b" },
        { _tag: "MissingService", service: "a", dependency: "nowhere" },
        { _tag: "MissingService", service: "a", dependency: "elsewhere" },
        { _tag: "RequiresOptional", service: "b", dependency: "cache" },
        { _tag: "Cycle", services: ["p", "q"] },
        { _tag: "Cycle", services: ["x", "y"] }
      ])
      assert.isEmpty(log.lines)
    })
  )

  it.effect("lets an optional service depend on another by a plain edge", () =>
    Effect.gen(function* () {
      assert.isEmpty(yield* problems([define("cache", [], true), define("views", ["cache"], true)]))
    })
  )

  it.effect("starts and stops like a composition by hand", () =>
    Effect.gen(function* () {
      const log = new Log()
      const definitions: ReadonlyArray<Maestro.Definition<string>> = [
        { name: "web", layer: probe(log, "web", { start: 5, stop: 5 }), dependsOn: ["api"] },
        {
          name: "api",
          layer: probe(log, "api", { start: 10, stop: 5 }),
          dependsOn: ["db", { name: "cache", optional: true }]
        },
        {
          name: "db",
          layer: probe(log, "db", { start: 20, stop: 5, failures: 1 }),
          policy: { retry: Schedule.spaced(7) }
        },
        { name: "cache", layer: probe(log, "cache", { failures: 9 }), optional: true }
      ]
      const run = yield* launch(Maestro.fromGraph(definitions))
      yield* TestClock.adjust(100)
      yield* run.started
      assert.deepStrictEqual(run.edges(yield* run.maestro.graph), ["api -> cache", "api -> db", "web -> api"])
      // 20, a clean-up of 5, a pause of 7 and 20 again.
      assert.include(run.events, "52 db Ready")
      assert.include(run.events, "67 web Ready")
      yield* Effect.forkChild(run.close)
      yield* TestClock.adjust(100)
      assert.deepStrictEqual(
        log
          .names()
          .filter((name) => name.endsWith("closed"))
          .slice(-3),
        ["web closed", "api closed", "db closed"]
      )
      assert.isTrue(log.isBalanced())
    })
  )

  it.effect("gives a constructor its dependencies by name", () =>
    Effect.gen(function* () {
      const memcached = tag("memcached")
      const named = (name: string) => Layer.succeed(memcached, { name })
      const seen: Array<unknown> = []
      const reading = <A, E>(name: string, effect: Effect.Effect<A, E>) =>
        Layer.effectDiscard(Effect.map(Effect.exit(effect), (exit) => seen.push([name, exit])))
      yield* launch(
        Maestro.fromGraph([
          { name: "mc-1", layer: named("one") },
          { name: "mc-2", layer: named("two"), optional: true },
          { name: "mc-3", layer: Layer.effect(memcached, Effect.fail("no")), optional: true },
          { name: "reads-1", layer: reading("reads-1", Maestro.dependency("mc-1", memcached)), dependsOn: ["mc-1"] },
          {
            name: "reads-2",
            layer: reading("reads-2", Maestro.dependencyOption("mc-2", memcached)),
            dependsOn: [{ name: "mc-2", optional: true }]
          },
          {
            name: "reads-3",
            layer: reading("reads-3", Maestro.dependencyOption("mc-3", memcached)),
            dependsOn: [{ name: "mc-3", optional: true }]
          }
        ])
      )
      yield* Effect.yieldNow
      assert.sameDeepMembers(seen, [
        ["reads-1", Exit.succeed({ name: "one" })],
        ["reads-2", Exit.succeed(Option.some({ name: "two" }))],
        ["reads-3", Exit.succeed(Option.none())]
      ])
    })
  )

  it.effect("fails a constructor that reads what it was not given", () =>
    Effect.gen(function* () {
      const run = yield* launch(
        Maestro.fromGraph<unknown>([
          { name: "mc-1", layer: probe(new Log(), "other") },
          { name: "not named", layer: Layer.effectDiscard(Maestro.dependency("mc-1", tag("memcached"))) }
        ])
      )
      assert.match(String(yield* Effect.exit(run.started)), /not named reads test\/memcached of mc-1/)
      const second = yield* launch(
        Maestro.fromGraph<unknown>([
          { name: "mc-1", layer: probe(new Log(), "other") },
          {
            name: "wrong",
            layer: Layer.effectDiscard(Maestro.dependencyOption("mc-1", tag("memcached"))),
            dependsOn: ["mc-1"]
          }
        ])
      )
      assert.match(String(yield* Effect.exit(second.started)), /wrong reads test\/memcached of mc-1/)
    })
  )

  it.effect("of 5,000 diamonds is checked in one pass", () =>
    Effect.gen(function* () {
      const definitions = Array.from({ length: 5_000 }, (_, index) => {
        const below = index === 0 ? [] : [`a${index - 1}`, `b${index - 1}`]
        return [define(`a${index}`, below), define(`b${index}`, below)]
      }).flat()
      // Were it to follow every way down, it would not end: there are 2^5000.
      assert.deepStrictEqual(yield* problems([...definitions, define("top", ["a4999", "nobody"])]), [
        { _tag: "MissingService", service: "top", dependency: "nobody" }
      ])
    })
  )
})

describe("pictures", () => {
  const story = Effect.gen(function* () {
    const log = new Log()
    const db = probe(log, "db", { start: 200, failures: 1, stop: 50 }).pipe(
      Maestro.service("db", { retry: Schedule.spaced(100) })
    )
    const cache = probe(log, "cache", { start: 30, failures: 9 }).pipe(Maestro.optional("cache"))
    const api = probe(log, "api", { start: 100, stop: 20 }).pipe(Layer.provide([db, cache]), Maestro.service("api"))
    const run = yield* launch(api)
    yield* TestClock.adjust(1_000)
    yield* run.started
    const graph = yield* run.maestro.graph
    yield* Effect.forkChild(run.close)
    yield* TestClock.adjust(1_000)
    return { graph, report: yield* run.maestro.report }
  })

  it.effect("draw the graph with its states", () =>
    Effect.gen(function* () {
      const { graph } = yield* story
      assert.strictEqual(Graph.nodeCount(graph), 3)
      assert.deepStrictEqual(Maestro.toMermaid(graph).split("\n"), [
        "flowchart TD",
        '  0["api: ready"]',
        '  1["db: ready"]',
        '  2["cache: failed"]',
        "  0 --> 1",
        '  0 -->|"optional"| 2',
        "  classDef ready fill:#c8e6c9,stroke:#555,color:#000",
        "  class 0,1 ready",
        "  classDef failed fill:#f8b4b4,stroke:#555,color:#000",
        "  class 2 failed"
      ])
      assert.deepStrictEqual(Maestro.toDot(graph).split("\n"), [
        'digraph "services" {',
        '  "0" [label="api ready (1 attempt)"];',
        '  "1" [label="db ready (2 attempts)"];',
        '  "2" [label="cache failed (1 attempt, optional): cache fails"];',
        '  "0" -> "1" [label=""];',
        '  "0" -> "2" [label="optional"];',
        '  "0" [style="filled", fillcolor="#c8e6c9"];',
        '  "1" [style="filled", fillcolor="#c8e6c9"];',
        '  "2" [style="filled", fillcolor="#f8b4b4"];',
        "}"
      ])
    })
  )

  it.effect("tell own time from waiting and from pauses, and mark the critical chain", () =>
    Effect.gen(function* () {
      const { report } = yield* story
      assert.deepStrictEqual(
        report.start.services.map(({ attempts, critical, own, retrying, service, waiting }) => [
          service,
          own,
          waiting,
          retrying,
          attempts,
          critical
        ]),
        [
          ["api", 100, 550, 0, 1, true],
          ["db", 450, 0, 100, 2, true],
          ["cache", 30, 0, 0, 1, false]
        ]
      )
      assert.deepStrictEqual(Maestro.toText(report).split("\n"), [
        "The start took 650 ms; the critical chain is marked *",
        "  cache  failed @ 30 ms  own 30 ms",
        "* db     ready @ 550 ms  own 450 ms, between attempts 100 ms, 2 attempts",
        "* api    ready @ 650 ms  own 100 ms, waiting 550 ms",
        "The stop took 70 ms; the critical chain is marked *",
        "* api  stopped @ 20 ms  own 20 ms",
        "* db   stopped @ 70 ms  own 50 ms, waiting 20 ms"
      ])
      assert.deepStrictEqual(Maestro.toGantt(report).split("\n"), [
        "gantt",
        "  dateFormat x",
        "  axisFormat %S.%L",
        "  title Start and stop",
        "  section Start",
        "    api :crit, done, 550, 650",
        "    db :crit, done, 0, 550",
        "    cache :crit, 0, 30",
        "  section Stop",
        "    api :crit, done, 0, 20",
        "    db :crit, done, 20, 70"
      ])
    })
  )
})
