import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Fiber, Random, Stream } from "effect"
import { CoordinatorError } from "effect-ensemble"
import { TestClock } from "effect/testing"
import { resync } from "../../src/internal/resync.ts"

const late = new CoordinatorError.CoordinatorError({
  engine: "test",
  operation: "Group.watch",
  endpoint: "test://",
  reason: new CoordinatorError.Unreachable({ detail: "late" })
})

describe("a watch that is resynced", () => {
  const ways: ReadonlyArray<readonly [string, (attempt: number) => Effect.Effect<Stream.Stream<string>>]> = [
    ["when its start throws", (attempt) => (attempt === 1 ? Effect.die("bug") : Effect.succeed(Stream.make("again")))],
    ["when it throws later", (attempt) => Effect.succeed(attempt === 1 ? Stream.die("bug") : Stream.make("again"))]
  ]
  for (const [name, start] of ways) {
    it.effect(`says that it is broken and starts again ${name}`, () =>
      Effect.gen(function* () {
        let attempts = 0
        const seen: Array<string> = []
        yield* resync<string>({
          label: "g",
          start: Effect.suspend(() => start(++attempts)),
          within: { millis: 1_000, orElse: late },
          disconnected: (cause) => [cause.message]
        }).pipe(
          Stream.take(2),
          Stream.runForEach((value) => Effect.sync(() => seen.push(value))),
          Effect.forkScoped
        )
        yield* TestClock.adjust(1_000)
        assert.match(seen[0] ?? "", /bug/)
        assert.strictEqual(seen[1], "again")
      })
    )
  }
})

const broken = (transient: boolean) =>
  new CoordinatorError.CoordinatorError({
    engine: "test",
    operation: "Group.watch",
    endpoint: "test://",
    reason: transient
      ? new CoordinatorError.Unreachable({ detail: "broken" })
      : new CoordinatorError.Forbidden({ detail: "forbidden" })
  })

/** What a reader sees of rounds, each by its number, and which of them are open. */
const follow = (round: (number: number) => Stream.Stream<string, CoordinatorError.CoordinatorError>) =>
  Effect.gen(function* () {
    const seen: Array<string> = []
    const began: Array<number> = []
    const open = new Set<number>()
    const watch = resync<string>({
      label: "g",
      start: Effect.gen(function* () {
        const number = began.push(yield* Clock.currentTimeMillis)
        yield* Effect.acquireRelease(
          Effect.sync(() => open.add(number)),
          () => Effect.sync(() => open.delete(number))
        )
        return round(number)
      }),
      within: { millis: 1_000, orElse: late },
      disconnected: () => [`broken while ${open.size} are open`]
    })
    const reader = yield* Stream.runForEach(watch, (value) => Effect.sync(() => seen.push(value))).pipe(
      Effect.provideService(Random.Random, { nextIntUnsafe: () => 0, nextDoubleUnsafe: () => 0.5 }),
      Effect.forkChild({ startImmediately: true })
    )
    const pauses = () => began.slice(1).map((at, index) => at - (began[index] ?? 0))
    return { seen, open, reader, pauses }
  })

const breaks = Stream.fail(broken(true))

describe("the rounds of a watch", () => {
  it.effect("each end before the next one begins, and with the reader", () =>
    Effect.gen(function* () {
      const { open, reader, seen } = yield* follow((number) =>
        number < 3 ? Stream.concat(Stream.make(`round ${number}`), breaks) : Stream.never
      )
      yield* TestClock.adjust(200)
      assert.deepStrictEqual(seen, ["round 1", "broken while 0 are open", "round 2", "broken while 0 are open"])
      assert.deepStrictEqual([...open], [3])
      yield* Fiber.interrupt(reader)
      assert.strictEqual(open.size, 0)
    })
  )

  it.effect("come after pauses that grow, until a watch has delivered more than what was read", () =>
    Effect.gen(function* () {
      const { pauses } = yield* follow((number) => {
        const read = Stream.make("read")
        return Stream.concat(number === 8 ? Stream.concat(read, Stream.make("told")) : read, breaks)
      })
      yield* TestClock.adjust(4_000)
      assert.deepStrictEqual(pauses().slice(0, 9), [50, 100, 200, 400, 800, 1_000, 1_000, 50, 100])
    })
  )

  it.effect("follow at once when a watch has ended that worked, and with pauses when it ends again and again", () =>
    Effect.gen(function* () {
      const { pauses, seen } = yield* follow(() => Stream.make("read"))
      yield* TestClock.adjust(300)
      assert.deepStrictEqual(pauses(), [0, 100, 200])
      assert.isFalse(
        seen.some((value) => value !== "read"),
        "nobody is told of a break that is none"
      )
    })
  )

  it.effect("end for good with an error that waiting does not cure", () =>
    Effect.gen(function* () {
      const { open, pauses, reader } = yield* follow((number) =>
        Stream.concat(Stream.make("read"), Stream.fail(broken(number < 2)))
      )
      yield* TestClock.adjust(1_000)
      assert.strictEqual((yield* Effect.flip(Fiber.join(reader))).reason._tag, "Forbidden")
      assert.deepStrictEqual(pauses(), [50])
      assert.strictEqual(open.size, 0)
    })
  )

  it.effect("that are not answered in time are given up", () =>
    Effect.gen(function* () {
      const told: Array<string> = []
      const watch = resync<string>({
        label: "g",
        start: Effect.never,
        within: { millis: 1_000, orElse: late },
        disconnected: ({ reason }) => [reason.message]
      })
      yield* Effect.forkChild(
        Stream.runForEach(watch, (value) => Effect.sync(() => told.push(value))),
        {
          startImmediately: true
        }
      )
      yield* TestClock.adjust(999)
      assert.lengthOf(told, 0)
      yield* TestClock.adjust(1)
      assert.match(told.join(), /late/)
    })
  )
})
