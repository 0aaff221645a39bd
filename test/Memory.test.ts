import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Exit, Layer, Logger, Metric, Stream, Tracer } from "effect"
import { Coordinator, Memory, Session } from "effect-ensemble"
import { Faults } from "effect-ensemble/testing"
import { TestClock } from "effect/testing"

const group = { kind: "election", name: "group" } as const

const build = (options: Coordinator.Options) => Effect.scoped(Layer.build(Memory.layer(options)))

describe("the layer", () => {
  it.effect("makes a node name when none is given, a different one each time", () =>
    Effect.gen(function* () {
      const name = Coordinator.Coordinator.useSync((coordinator) => coordinator.node)
      const one = yield* Effect.provide(name, Memory.layer())
      const two = yield* Effect.provide(name, Memory.layer())
      assert.match(one, /^node-[0-9a-f]{8}$/)
      assert.notStrictEqual(one, two)
    })
  )

  const bad: ReadonlyArray<readonly [string, Coordinator.Options, RegExp]> = [
    ["a ttl below the floor", { ttl: 99 }, /at least 100 ms/],
    ["a ttl that is not finite", { ttl: Duration.infinity }, /ttl is not a finite/],
    ["a negative ttl", { ttl: -1 }, /ttl/],
    ["a text that is no duration", { requestTimeout: "soon" as Duration.Input }, /requestTimeout is not a finite/],
    ["a request timeout of zero", { requestTimeout: 0 }, /requestTimeout is zero/],
    ["a connect timeout that is not finite", { connectTimeout: Duration.infinity }, /connectTimeout/],
    ["a node that no store can hold", { node: "a/b" }, /node "a\/b"/]
  ]
  for (const [name, options, message] of bad) {
    it.effect(`refuses ${name}, saying what would do`, () =>
      Effect.gen(function* () {
        const error = yield* Effect.flip(build(options))
        assert.strictEqual(error.reason._tag, "InvalidOptions")
        assert.match(error.message, message)
        assert.match(error.message, /memory:\/\//)
      })
    )
  }
})

const renewedLease = (process: Memory.Process) =>
  process.coordinator.session.pipe(
    Stream.filter((state) => state._tag === "Connected" && state.lease.sentAt.wall > 0),
    Stream.map((state) => (state._tag === "Connected" ? state.lease : undefined)),
    Stream.runHead
  )

describe("a session", () => {
  it.effect("counts its deadline from the sending of the renewal, not from the answer", () =>
    Effect.gen(function* () {
      const store = yield* Memory.makeStore()
      const faults = Faults.make(store)
      const a = yield* Memory.makeProcess(store, { node: "a", ttl: 12_000, requestTimeout: 6000 })
      yield* faults.delayRequests("a", 1500)
      const lease = yield* Effect.forkChild(renewedLease(a), { startImmediately: true })
      yield* TestClock.adjust(9000)
      yield* faults.heal("a")
      const exit = lease.pollUnsafe()
      assert(exit !== undefined && Exit.isSuccess(exit) && exit.value._tag === "Some" && exit.value.value !== undefined)
      // Sent at about a third of the TTL, answered three seconds later.
      assert.isBelow(exit.value.value.sentAt.wall, 4500)
    })
  )

  it.effect("ends in the store at a seeded moment between once and twice its TTL", () =>
    Effect.gen(function* () {
      const expiry = (seed: number) =>
        Effect.scoped(
          Effect.gen(function* () {
            const store = yield* Memory.makeStore({ seed })
            const faults = Faults.make(store)
            const a = yield* Memory.makeProcess(store, { node: "a", ttl: 10_000 })
            yield* a.coordinator.group(group).join({ value: "" })
            yield* faults.partition("a")
            let waited = 0
            while ((yield* Faults.inspect(store)).entries.length > 0) {
              yield* TestClock.adjust(100)
              waited += 100
            }
            return waited
          })
        )
      const moments = yield* Effect.forEach([1, 2, 3, 4, 5, 1], expiry)
      for (const moment of moments) {
        assert.isAtLeast(moment, 9900)
        assert.isAtMost(moment, 20_100)
      }
      assert.strictEqual(moments[0], moments[5])
      assert.isAbove(new Set(moments).size, 3)
    })
  )
})

describe("the fault controller", () => {
  it.effect("names the processes there are when a test names another", () =>
    Effect.gen(function* () {
      const store = yield* Memory.makeStore()
      yield* Memory.makeProcess(store, { node: "a" })
      const exit = yield* Effect.exit(Faults.make(store).partition("b"))
      assert.match(String(exit), /No process "b".*There are: a/)
    })
  )

  it.effect("a skewed clock runs at its rate, a paused process sleeps on, a jump moves the wall clock only", () =>
    Effect.gen(function* () {
      const store = yield* Memory.makeStore()
      const faults = Faults.make(store)
      const a = yield* Memory.makeProcess(store, { node: "a" })
      const instant = a.run(Session.instant)
      const before = yield* instant
      yield* faults.skewClock("a", 2)
      yield* TestClock.adjust(1000)
      assert.strictEqual(Session.elapsedMillis(before, yield* instant), 2000)
      yield* faults.jumpClock("a", 60_000)
      const jumped = yield* instant
      assert.strictEqual(jumped.wall - before.wall, 62_000)
      assert.strictEqual(Number(jumped.monotonic - before.monotonic) / 1_000_000, 2000)
      yield* faults.heal("a")
      yield* faults.pause("a")
      let woken = false
      yield* Effect.forkChild(
        a.run(
          Effect.andThen(
            Effect.sleep(1000),
            Effect.sync(() => (woken = true))
          )
        )
      )
      yield* TestClock.adjust(5000)
      assert.isFalse(woken)
      yield* faults.resume("a")
      yield* Effect.yieldNow
      yield* TestClock.adjust(0)
      assert.isTrue(woken)
    })
  )
})

describe("observability", () => {
  it.effect("joins are spans with their group; members, changes and renewals are metrics", () =>
    Effect.gen(function* () {
      const spans: Array<string> = []
      const tracer = Tracer.make({
        span: (options) => {
          const span = new Tracer.NativeSpan(options)
          spans.push(options.name)
          return span
        }
      })
      const store = yield* Memory.makeStore()
      const a = yield* Memory.makeProcess(store, { node: "a", ttl: 10_000 })
      yield* Stream.runDrain(a.coordinator.group(group).watch).pipe(Effect.forkChild({ startImmediately: true }))
      yield* TestClock.adjust(100)
      yield* a.coordinator.group(group).join({ value: "" }).pipe(Effect.withTracer(tracer))
      yield* TestClock.adjust(5000)
      assert.include(spans, "Group.join")
      const state = (id: string, attributes: Readonly<Record<string, string>>) =>
        Effect.map(
          Metric.snapshot,
          (all) =>
            all.find(
              (metric) =>
                metric.id === id &&
                Object.entries(attributes).every(([key, value]) => metric.attributes?.[key] === value)
            )?.state
        )
      assert.deepStrictEqual(yield* state("ensemble_group_members", { group: "election/group" }), { value: 1 })
      assert.deepInclude(yield* state("ensemble_group_changes", { group: "election/group", change: "joined" }), {
        count: 1
      })
      assert.deepInclude(yield* state("ensemble_session_renewals", { outcome: "acknowledged" }), { count: 1 })
    }).pipe(Effect.provideService(Metric.MetricRegistry, new Map()))
  )

  it.effect("says in the log what happened, to whom, and what the program does about it", () =>
    Effect.gen(function* () {
      const lines: Array<string> = []
      const logger = Logger.make(({ logLevel, message }) => {
        lines.push(`${logLevel} ${String(message)}`)
      })
      yield* Effect.gen(function* () {
        const store = yield* Memory.makeStore()
        const faults = Faults.make(store)
        const a = yield* Memory.makeProcess(store, { node: "a", ttl: 10_000 })
        yield* a.coordinator.group(group).join({ value: "" }, { rejoin: true })
        yield* faults.partition("a")
        yield* TestClock.adjust(12_000)
        yield* faults.heal("a")
        yield* TestClock.adjust(20_000)
      }).pipe(Effect.provide(Logger.layer([logger])))
      const all = lines.join("\n")
      assert.match(all, /Warn The session with memory is suspended: .*given up in \d+\.\d s unless/)
      assert.match(all, /Error The session with memory is lost because .* a new session is being opened/)
      assert.match(all, /Warn a has lost its place in election\/group and joins again/)
      assert.match(all, /Info Session 2 with memory is open/)
    })
  )
})
