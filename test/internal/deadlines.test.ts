import { assert, describe, it } from "@effect/vitest"
import { Clock, Deferred, Effect, Exit, Fiber, Scope } from "effect"
import { TestClock } from "effect/testing"
import * as Deadlines from "../../src/internal/deadlines.ts"

const millis = 1_000

const make = Effect.gen(function* () {
  const clock = yield* Clock.Clock
  return yield* Deadlines.make({ clock, millis })
})

const late = Effect.succeed("late")

/** Begins a request that never ends by itself; tells what its caller got. */
const begin = (deadlines: Deadlines.Deadlines, request: Effect.Effect<string> = Effect.never) =>
  Effect.forkChild(deadlines.bound(request, { orElse: late }), { startImmediately: true })

describe("deadlines", () => {
  it.effect("gives each request its whole time, whenever it began", () =>
    Effect.gen(function* () {
      const deadlines = yield* make
      const first = yield* begin(deadlines)
      yield* TestClock.adjust(600)
      const second = yield* begin(deadlines)
      yield* TestClock.adjust(399)
      assert.isUndefined(first.pollUnsafe())
      yield* TestClock.adjust(1)
      assert.strictEqual(yield* Fiber.join(first), "late")
      yield* TestClock.adjust(599)
      assert.isUndefined(second.pollUnsafe())
      yield* TestClock.adjust(1)
      assert.strictEqual(yield* Fiber.join(second), "late")
    })
  )

  it.effect("looks after those that began while an answered one was the oldest", () =>
    Effect.gen(function* () {
      const deadlines = yield* make
      const answer = yield* Deferred.make<string>()
      const first = yield* begin(deadlines, Deferred.await(answer))
      yield* TestClock.adjust(100)
      const second = yield* begin(deadlines)
      yield* Deferred.succeed(answer, "answered")
      assert.strictEqual(yield* Fiber.join(first), "answered")
      yield* TestClock.adjust(millis - 1)
      assert.isUndefined(second.pollUnsafe())
      yield* TestClock.adjust(1)
      assert.strictEqual(yield* Fiber.join(second), "late")
      const third = yield* begin(deadlines)
      yield* TestClock.adjust(millis)
      assert.strictEqual(yield* Fiber.join(third), "late")
    })
  )

  it.effect("lets a caller go on although what it asked does not end", () =>
    Effect.gen(function* () {
      const deadlines = yield* make
      const interrupted = yield* Deferred.make<void>()
      const slow = Effect.onInterrupt(Effect.never, () =>
        Effect.andThen(Deferred.succeed(interrupted, undefined), Effect.never)
      )
      const request = yield* begin(deadlines, slow)
      yield* TestClock.adjust(millis)
      assert.strictEqual(yield* Fiber.join(request), "late")
      yield* Deferred.await(interrupted)
    })
  )

  it.effect("interrupts the request with its caller", () =>
    Effect.gen(function* () {
      const deadlines = yield* make
      const interrupted = yield* Deferred.make<void>()
      const request = yield* begin(
        deadlines,
        Effect.onInterrupt(Effect.never, () => Deferred.succeed(interrupted, undefined))
      )
      yield* Fiber.interrupt(request)
      yield* Deferred.await(interrupted)
    })
  )

  it.effect("keeps the deadlines of requests that outlive the scope", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const deadlines = yield* Scope.provide(make, scope)
      const before = yield* begin(deadlines)
      yield* Scope.close(scope, Exit.void)
      yield* TestClock.adjust(millis)
      assert.strictEqual(yield* Fiber.join(before), "late")
      const after = yield* begin(deadlines)
      yield* TestClock.adjust(millis)
      assert.strictEqual(yield* Fiber.join(after), "late")
    })
  )
})
