import { assert, describe, it } from "@effect/vitest"
import { Effect, Stream } from "effect"
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
