import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, Layer, Scheduler, Stream } from "effect"
import { Maestro } from "effect-ensemble"
import { TestClock } from "effect/testing"
import { launch } from "./maestro/kit.ts"

/** Small numbers of steps in a turn put a yield between any two of them: each is a race of its own. */
const turns = Array.from({ length: 60 }, (_, index) => index + 3)

/** Until nothing is left to do but to wait, also where a fiber yields after every third step. */
const settled = Effect.repeat(Effect.yieldNow, { times: 200 })

describe("what happens in one moment", () => {
  for (const uninterruptible of [false, true]) {
    it.effect(
      `an acquisition${uninterruptible ? " without interruption" : ""} is in time or released, never both`,
      () =>
        Effect.gen(function* () {
          const ends = new Set<string>()
          // The time is up while the constructor goes from step to step, here and there between any two of them.
          for (let steps = 0; steps < 4; steps++) {
            for (const operations of turns) {
              let open = 0
              const pause = Effect.repeat(Effect.yieldNow, { times: steps })
              const cache = Layer.effectDiscard(
                Effect.gen(function* () {
                  const acquire = Effect.andThen(
                    uninterruptible ? pause : Effect.void,
                    Effect.sync(() => open++)
                  )
                  yield* Effect.acquireRelease(acquire, () => Effect.sync(() => open--))
                  if (!uninterruptible) yield* pause
                })
              ).pipe(Maestro.optional("cache", { startTimeout: 10 }))
              const run = yield* launch(cache).pipe(Effect.provideService(Scheduler.MaxOpsBeforeYield, operations))
              yield* Effect.andThen(TestClock.adjust(10), settled)
              yield* run.started
              const [state] = yield* run.maestro.states
              const at = `${steps} steps, ${operations} in a turn: ${state?.state}`
              assert.strictEqual(open, state?.state === "ready" ? 1 : 0, at)
              ends.add(`${state?.state}`)
              yield* run.close
              assert.strictEqual(open, 0, at)
            }
          }
          assert.sameMembers([...ends], ["ready", "failed"])
        })
    )
  }

  it.effect("is told to a subscriber once, however the present and the news meet", () =>
    Effect.gen(function* () {
      for (const operations of turns) {
        const stop = yield* Deferred.make<void>()
        const db = Layer.effectDiscard(
          Effect.gen(function* () {
            let count = 0
            const say = Effect.suspend(() => Maestro.degraded(`${count++}`))
            yield* say
            yield* Effect.forkScoped(
              Effect.andThen(Effect.yieldNow, say).pipe(Effect.forever, Effect.raceFirst(Deferred.await(stop)))
            )
          })
        ).pipe(Maestro.service("db"))
        const run = yield* launch(db)
        yield* run.started
        const seen: Array<number> = []
        const subscriber = yield* run.maestro.events.pipe(
          Stream.takeWhile(({ happening }) => happening._tag === "Degraded"),
          Stream.runForEach(({ status }) => Effect.sync(() => seen.push(Number(status.reason)))),
          Effect.provideService(Scheduler.MaxOpsBeforeYield, operations),
          Effect.forkChild
        )
        while (seen.length < 20) yield* Effect.yieldNow
        yield* Deferred.succeed(stop, undefined)
        yield* run.close
        yield* Fiber.join(subscriber)
        const [first = 0] = seen
        assert.deepStrictEqual(
          seen,
          seen.map((_, index) => first + index),
          `${operations} steps in a turn`
        )
      }
    })
  )
})
