import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Logger, Random, Scope } from "effect"
import type { Exhibitor } from "effect-ensemble/exhibitor"
import { TestClock } from "effect/testing"
import * as Ensemble from "../../src/engines/exhibitor/ensemble.ts"
import * as Settings from "../../src/engines/exhibitor/settings.ts"
import { show } from "../../src/engines/zookeeper/transport.ts"
import type { Behaviour } from "./fakeHttp.ts"
import { list, make as fakeHttp } from "./fakeHttp.ts"

const hostOf = (url: string) => new URL(url).hostname

/** Three Exhibitors, followed for the scope, and where they were told to connect to. */
const following = Effect.fnUntraced(function* (behaviours: Record<string, Behaviour>, options: Exhibitor.Options = {}) {
  const http = fakeHttp(behaviours)
  const moves: Array<string> = []
  const settings = yield* Settings.read({ endpoints: Object.keys(behaviours), ...options })
  const ensemble = yield* Ensemble.follow(http.client, settings, (servers) =>
    Effect.sync(() => void moves.push(servers.map(show).join(" ")))
  )
  const known = yield* Effect.forkChild(Effect.result(ensemble.known), { startImmediately: true })
  return { ...http, ensemble, moves, known, hosts: () => http.asked.map(({ url }) => hostOf(url)) }
})

const all = (behaviour: Behaviour) => ({ one: behaviour, two: behaviour, three: behaviour })

/** What is logged at a level that an operator reads, while the effect runs. */
const logged = <A, E, R>(effect: (lines: Array<string>) => Effect.Effect<A, E, R>) =>
  Effect.suspend(() => {
    const lines: Array<string> = []
    const logger = Logger.make(({ logLevel, message }) => void lines.push(`${logLevel} ${String(message)}`))
    return Effect.provide(effect(lines), Logger.layer([logger]))
  })

describe("the Exhibitors", () => {
  it.effect("are begun with at random", () =>
    Effect.gen(function* () {
      const first = new Set<string>()
      for (let i = 0; i < 60; i++) {
        const { hosts } = yield* following(all(list(["a"])))
        yield* TestClock.adjust(1)
        first.add(hosts()[0] ?? "")
      }
      assert.strictEqual(first.size, 3)
    })
  )

  it.effect("are asked in turn until one gives a list, which is then asked first", () =>
    Effect.gen(function* () {
      const { asked, behaviours, hosts, moves } = yield* following(all({ status: 500, body: "" }))
      yield* TestClock.adjust(1)
      const round = hosts()
      assert.deepStrictEqual(round.toSorted(), ["one", "three", "two"])
      const [first = "", second = "", third = ""] = round
      behaviours.set(second, list(["a"]))
      yield* TestClock.adjust("2 seconds")
      assert.deepStrictEqual(hosts().slice(3), [first, second])
      yield* TestClock.adjust("12 seconds")
      assert.deepStrictEqual(hosts().slice(5), [second])
      // Another that differs is not asked as long as this one answers.
      behaviours.set(third, list(["b"]))
      yield* TestClock.adjust("30 seconds")
      assert.deepStrictEqual(moves, ["a:2181"])
      behaviours.set(second, "broken")
      asked.length = 0
      yield* TestClock.adjust("12 seconds")
      assert.deepStrictEqual(hosts().slice(0, 2), [second, third])
      assert.deepStrictEqual(moves, ["a:2181", "b:2181"])
    })
  )

  it.effect("that are silent do not keep the next one from being asked in time", () =>
    Effect.gen(function* () {
      const { asked, hosts, known } = yield* following(all("silent"), { pollTimeout: "3 seconds" })
      yield* TestClock.adjust("2999 millis")
      assert.deepStrictEqual(
        asked.map(({ at }) => at),
        [0, 1000, 2000]
      )
      assert.strictEqual(new Set(hosts()).size, 3)
      assert.isUndefined(known.pollUnsafe())
      yield* TestClock.adjust("1 millis")
      const answer = yield* Fiber.join(known)
      assert.strictEqual(answer._tag === "Failure" ? answer.failure.reason._tag : "", "Unreachable")
    })
  )

  it.effect("are looked at in a rhythm that is not the same for all", () =>
    Effect.gen(function* () {
      const { asked } = yield* following({ one: list(["a"]) }, { pollInterval: "10 seconds" })
      yield* TestClock.adjust("10 minutes")
      const pauses = asked.slice(1).map(({ at }, index) => at - (asked[index]?.at ?? 0))
      assert.isAtLeast(Math.min(...pauses), 8_000)
      assert.isAtMost(Math.max(...pauses), 12_000)
      assert.isAbove(Math.max(...pauses) - Math.min(...pauses), 1_000)
      assert.isAtLeast(pauses.length, 50)
    })
  )

  it.effect("are left alone when the scope closes, also in the middle of a question", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const { aborted, asked } = yield* following({ one: "silent" }).pipe(Scope.provide(scope))
      yield* TestClock.adjust("1 second")
      yield* Scope.close(scope, yield* Effect.exit(Effect.void))
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(asked.length, 1)
      assert.strictEqual(aborted(), 1)
    })
  )
})

describe("the servers", () => {
  it.effect("are named before anybody who waits for them goes on", () =>
    Effect.gen(function* () {
      const { ensemble, known, moves } = yield* following({ one: list(["b", "a"]) })
      let named = -1
      yield* Effect.forkChild(
        Effect.tap(ensemble.known, () => Effect.sync(() => (named = moves.length))),
        { startImmediately: true }
      )
      yield* TestClock.adjust(1)
      assert.strictEqual((yield* Fiber.join(known))._tag, "Success")
      assert.strictEqual(named, 1)
      assert.deepStrictEqual(moves, ["b:2181 a:2181"])
    })
  )

  it.effect("stay when a list has the same ones, and move when it has others", () =>
    Effect.gen(function* () {
      const { behaviours, moves } = yield* following({ one: list(["a", "b"]) })
      for (const [servers, expected] of [
        [["b", "a"], 1],
        [["a", "b", "c"], 2],
        [["c", "b", "a"], 2],
        [["c"], 3]
      ] as const) {
        behaviours.set("one", list(servers))
        yield* TestClock.adjust("12 seconds")
        assert.strictEqual(moves.length, expected, servers.join())
      }
      behaviours.set("one", list(["c"], 2182))
      yield* TestClock.adjust("12 seconds")
      assert.deepStrictEqual(moves.slice(1), ["a:2181 b:2181 c:2181", "c:2181", "c:2182"])
    })
  )

  const nothings: ReadonlyArray<readonly [string, Behaviour]> = [
    ["an empty list", list([])],
    ["a malformed list", { body: { servers: ["a", 1], port: 2181 } }],
    ["a page", { raw: true, body: "<html>" }],
    ["an error", { status: 500, body: "" }],
    ["a refusal", { status: 401, body: "" }],
    ["silence", "silent"]
  ]
  it.effect.each(nothings)("stay through %s, and move when there is a list again", ([, behaviour]) =>
    Effect.gen(function* () {
      const { behaviours, ensemble, moves } = yield* following(all(list(["a"])), { backup: "spare" })
      yield* TestClock.adjust("1 second")
      for (const name of ["one", "two", "three"]) behaviours.set(name, behaviour)
      yield* TestClock.adjust("2 minutes")
      assert.deepStrictEqual(moves, ["a:2181"])
      yield* ensemble.known
      for (const name of ["one", "two", "three"]) behaviours.set(name, list(["b"]))
      yield* TestClock.adjust("20 seconds")
      assert.deepStrictEqual(moves, ["a:2181", "b:2181"])
    })
  )

  it.effect.each(nothings)("are the back-up's after %s at the start, until there is a list", ([, behaviour]) =>
    Effect.gen(function* () {
      const { behaviours, known, moves } = yield* following(all(behaviour), { backup: "spare:1,other" })
      yield* TestClock.adjust("5 seconds")
      assert.strictEqual((yield* Fiber.join(known))._tag, "Success")
      assert.deepStrictEqual(moves, ["spare:1 other:2181"])
      behaviours.set("two", list(["a"]))
      yield* TestClock.adjust("20 seconds")
      assert.deepStrictEqual(moves, ["spare:1 other:2181", "a:2181"])
    })
  )

  it.effect.each(nothings)("are unknown after %s at the start, and looked for every second", ([, behaviour]) =>
    Effect.gen(function* () {
      const { behaviours, ensemble, known, moves } = yield* following({ one: behaviour }, { pollTimeout: "1 second" })
      yield* TestClock.adjust("1 second")
      assert.strictEqual((yield* Fiber.join(known))._tag, "Failure")
      behaviours.set("one", list(["a"]))
      yield* TestClock.adjust("3 seconds")
      yield* ensemble.known
      assert.deepStrictEqual(moves, ["a:2181"])
    })
  )

  it.effect("are worth waiting for as long as one Exhibitor may answer yet", () =>
    Effect.gen(function* () {
      for (let seed = 0; seed < 10; seed++) {
        const mixed = { one: list([]), two: { raw: true, body: "<html>" }, three: { status: 401, body: "" } } as const
        const { known } = yield* following(mixed).pipe(Random.withSeed(String(seed)))
        yield* TestClock.adjust(1)
        const answer = yield* Fiber.join(known)
        assert.match(answer._tag === "Failure" ? answer.failure.message : "", /lists no ZooKeeper server/)
      }
    })
  )
})

it.effect("an operator is told of the move and of the first failure, and not of every look", () =>
  logged((lines) =>
    Effect.gen(function* () {
      const { behaviours } = yield* following({ one: list(["a"]) })
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual(lines, ["Info The ZooKeeper ensemble is a:2181"])
      behaviours.set("one", list([]))
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(lines.length, 2)
      assert.match(lines[1] ?? "", /^Warn .*http:\/\/one:8080.*lists no ZooKeeper server.*Going on with a:2181/)
      behaviours.set("one", list(["a"]))
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual(lines.slice(2), ["Info Exhibitor lists the servers again"])
      behaviours.set("one", list(["b"]))
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual(lines.slice(3), ["Info The ZooKeeper ensemble is b:2181, and no longer a:2181"])
    })
  )
)
