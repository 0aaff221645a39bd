import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber } from "effect"
import * as Lists from "../../src/engines/zookeeper/lists.ts"

describe("a shared list", () => {
  it.effect("is one for all who ask before it is sent, and another for who asks while it is under way", () =>
    Effect.gen(function* () {
      const answers: Array<Deferred.Deferred<Lists.Listed>> = []
      let idle = 0
      const list = Lists.shared(
        Effect.suspend(() => {
          const answer = Deferred.makeUnsafe<Lists.Listed>()
          answers.push(answer)
          return Deferred.await(answer)
        }),
        () => void idle++
      )
      const ask = Effect.forkChild(list, { startImmediately: true })
      const first = yield* ask
      assert.lengthOf(answers, 1)
      const [second, third] = [yield* ask, yield* ask]
      assert.lengthOf(answers, 1)
      // Whoever began it may give up: the others still get theirs.
      yield* Fiber.interrupt(first)
      yield* Deferred.succeed(answers[0] ?? Deferred.makeUnsafe(), Lists.listed([]))
      yield* Effect.yieldNow
      assert.lengthOf(answers, 2)
      yield* Deferred.succeed(answers[1] ?? Deferred.makeUnsafe(), Lists.listed(["a", "b"]))
      for (const fiber of [second, third]) {
        assert.deepStrictEqual(Array.from((yield* Fiber.join(fiber)).byId.keys()), ["a", "b"])
      }
      assert.strictEqual(idle, 1)
    })
  )
})
