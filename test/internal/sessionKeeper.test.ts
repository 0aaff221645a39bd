import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Random, Stream } from "effect"
import type { CoordinatorError, Session } from "effect-ensemble"
import { TestClock } from "effect/testing"
import * as SessionKeeper from "../../src/internal/sessionKeeper.ts"
import type { GroupStore, Renewal } from "../../src/internal/store.ts"

const ttlMillis = 15_000
const requestMillis = 5_000
const facts = { engine: "test", endpoint: "test://", margin: 0.8, minimumTtlMillis: 1, maximumValueBytes: 1 }

/** A keeper over a store of which only renewals are told what to do; and what has come of it. */
const make = Effect.fnUntraced(function* (
  renew: (attempt: number) => Effect.Effect<Renewal, CoordinatorError.CoordinatorError>
) {
  const sent: Array<number> = []
  const surrendered: Array<readonly [number, Session.LossCause]> = []
  const clock = yield* Clock.clockWith(Effect.succeed)
  let opened = 0
  const keeper = yield* SessionKeeper.make(
    facts,
    {
      open: () => Effect.sync(() => ({ id: `s${++opened}`, ttlMillis })),
      renew: () => Effect.suspend(() => renew(sent.push(clock.currentTimeMillisUnsafe()))),
      revoke: () => Effect.void,
      rewinds: Stream.never,
      group: () => ({}) as unknown as GroupStore // never asked for
    },
    { ttlMillis, requestMillis, connect: "wait", connectMillis: 1_000 },
    {
      surrenderUnsafe: (_, cause) => surrendered.push([clock.currentTimeMillisUnsafe(), cause]),
      renewed: () => Effect.void
    }
  )
  return { keeper, sent, surrendered }
}, Random.withSeed("keeper"))

const renewed = Effect.succeed<Renewal>({ _tag: "Renewed", ttlMillis })

describe("renewals", () => {
  it.effect("go out at a third of the TTL counted from the one before, however slowly that was answered", () =>
    Effect.gen(function* () {
      const { sent } = yield* make(() => Effect.delay(renewed, 4_000))
      yield* TestClock.adjust(60_000)
      assert.isAtLeast(sent.length, 10)
      assert.isAtMost(sent.length, 13)
    })
  )

  it.effect("follow one that was left unanswered at once: it has cost the pause already", () =>
    Effect.gen(function* () {
      const { sent, surrendered } = yield* make((attempt) =>
        attempt === 1 ? Effect.never : Effect.delay(renewed, 1_000)
      )
      yield* TestClock.adjust(20_000)
      assert.isAtMost((sent[1] ?? Infinity) - (sent[0] ?? 0), requestMillis)
      assert.deepStrictEqual(surrendered, [])
    })
  )

  it.effect("that are refused at once are not sent again without a pause", () =>
    Effect.gen(function* () {
      const { sent } = yield* make(() => Effect.die("refused"))
      yield* TestClock.adjust(0.8 * ttlMillis)
      assert.isAtMost(sent.length, 10)
    })
  )

  it.effect("fail when the client throws, and the session is lost at its deadline", () =>
    Effect.gen(function* () {
      const { keeper, surrendered } = yield* make(() => Effect.die(new TypeError("a bug in the client")))
      yield* TestClock.adjust(0.6 * ttlMillis)
      assert.strictEqual(keeper.state.value._tag, "Suspended")
      assert.match(String(keeper.state.value._tag === "Suspended" && keeper.state.value.cause), /a bug in the client/)
      yield* TestClock.adjust(0.2 * ttlMillis)
      assert.deepStrictEqual(surrendered, [[0.8 * ttlMillis, "DeadlinePassed"]])
      assert.strictEqual(keeper.leaseUnsafe()?.id, "s2")
    })
  )
})
