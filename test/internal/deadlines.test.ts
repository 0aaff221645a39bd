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

  it.effect("ends a request that is cut, and keeps nothing of one that is over", () =>
    Effect.gen(function* () {
      const deadlines = yield* make
      const cuts = new Set<(failure: Effect.Effect<never, string>) => void>()
      const cut: Deadlines.Cut<string> = (end) => {
        cuts.add(end)
        return () => cuts.delete(end)
      }
      const ask = (request: Effect.Effect<string>) =>
        Effect.forkChild(deadlines.bound(request, { orElse: late, cut }), { startImmediately: true })
      const interrupted = yield* Deferred.make<void>()
      const first = yield* ask(Effect.onInterrupt(Effect.never, () => Deferred.succeed(interrupted, undefined)))
      for (const end of cuts) end(Effect.fail("cut"))
      assert.strictEqual(yield* Effect.flip(Fiber.join(first)), "cut")
      yield* Deferred.await(interrupted)
      assert.strictEqual(cuts.size, 0)
      const answer = yield* Deferred.make<string>()
      const answered = yield* ask(Deferred.await(answer))
      const tooLate = yield* ask(Effect.never)
      const unwanted = yield* ask(Effect.never)
      assert.strictEqual(cuts.size, 3)
      yield* Deferred.succeed(answer, "answered")
      assert.strictEqual(yield* Fiber.join(answered), "answered")
      yield* Fiber.interrupt(unwanted)
      assert.strictEqual(cuts.size, 1)
      yield* TestClock.adjust(millis)
      assert.strictEqual(yield* Fiber.join(tooLate), "late")
      assert.strictEqual(cuts.size, 0)
    })
  )

  it.effect("fails where what was asked dies", () =>
    Effect.gen(function* () {
      const deadlines = yield* make
      const dies = (request: Effect.Effect<string>) =>
        Effect.flip(deadlines.bound(request, { orElse: late, onDefect: (defect) => `died: ${String(defect)}` }))
      assert.strictEqual(yield* dies(Effect.die("at once")), "died: at once")
      assert.strictEqual(yield* dies(Effect.andThen(Effect.yieldNow, Effect.die("later"))), "died: later")
    })
  )
})
