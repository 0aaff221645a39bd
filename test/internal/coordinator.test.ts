import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Option, Stream } from "effect"
import { CoordinatorError } from "effect-ensemble"
import { TestClock } from "effect/testing"
import type { Feed } from "../../src/internal/store.ts"
import { make } from "./fakeStore.ts"

const name = { kind: "discovery", name: "api" } as const

const forbidden = new CoordinatorError.CoordinatorError({
  engine: "test",
  operation: "Group.watch",
  endpoint: "test://",
  reason: new CoordinatorError.Forbidden({ detail: "no" })
})

describe("a watch that the store refuses", () => {
  it.effect("is asked for anew by the next reader, though another has not read the refusal yet", () =>
    Effect.gen(function* () {
      let asked = 0
      const first: Feed = { _tag: "Snapshot", snapshot: { entries: [], revision: 1n, epoch: 0 } }
      const coordinator = yield* make({
        feed: Stream.suspend(() =>
          asked++ === 0
            ? Stream.concat(Stream.make(first), Stream.fromEffect(Effect.delay(Effect.fail(forbidden), 1_000)))
            : Stream.concat(Stream.make(first), Stream.never)
        )
      })
      const { watch } = coordinator.group(name)
      // Reads the first view and is busy with it for ever.
      yield* Effect.forkScoped(Stream.runForEach(watch, () => Effect.never))
      const reader = yield* Effect.forkScoped(Effect.exit(Stream.runDrain(watch)))
      yield* TestClock.adjust(2_000)
      const told = reader.pollUnsafe()
      assert(told !== undefined && Exit.isSuccess(told) && Exit.isFailure(told.value))
      assert.isTrue(Option.isSome(yield* Stream.runHead(watch)))
      assert.strictEqual(asked, 2)
    })
  )
})

describe("a client that throws", () => {
  it.effect("fails the operation as a store that cannot be reached does", () =>
    Effect.gen(function* () {
      const coordinator = yield* make({ list: Effect.die(new TypeError("a bug")) })
      const error = yield* Effect.flip(coordinator.group(name).list)
      assert.strictEqual(error.reason._tag, "Unreachable")
      assert.match(error.message, /a bug/)
    })
  )

  it.effect("leaves the outcome of a join unknown, which is read", () =>
    Effect.gen(function* () {
      let created = 0
      const coordinator = yield* make({
        create: () =>
          created++ === 0
            ? Effect.die(new TypeError("a bug"))
            : Effect.succeed({ _tag: "Created", token: 1n, version: 1n })
      })
      const mine = yield* coordinator.group(name).join({ value: "" })
      assert.strictEqual(yield* mine.ensure, 1n)
    })
  )
})
