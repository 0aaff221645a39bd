/** A blocking query asked again and again: the answers as a stream. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import * as Stream from "effect/Stream"
import { CoordinatorError, Unreachable } from "../../CoordinatorError.ts"
import { within } from "../../internal/within.ts"
import * as blocking from "./blocking.ts"

export interface Polling<A> {
  /** Asks at once for what is there, or, with an index, for what is there when there is more than that. */
  readonly ask: (index: bigint | undefined, waitMillis: number) => Effect.Effect<A, CoordinatorError>
  readonly indexOf: (answer: A) => bigint | undefined
  /** The index that is known already; 0 asks at once. */
  readonly from: bigint
  /** Runs before everything is asked for anew, because the index did not go on as it should. */
  readonly onReset: Effect.Effect<void, CoordinatorError>
  /** How many changes are asked for without a pause in between. Default 50. */
  readonly burst?: number
  readonly endpoint: string
  readonly requestMillis: number
}

/** Readers that were held back by the rate do not all come back at the same moment. */
const dither = 1.2

const nowMillis = Clock.clockWith((clock) => Effect.sync(() => Number(clock.monotonicTimeNanosUnsafe()) / 1_000_000))

/** Ends only with the error of a request: an index must not be waited for after one. */
export const make = <A>(polling: Polling<A>): Stream.Stream<A, CoordinatorError> =>
  Stream.suspend(() => {
    const { ask, burst, endpoint, from, indexOf, onReset, requestMillis } = polling
    const { waitMillis } = blocking
    const longest = blocking.longestMillis(waitMillis) + requestMillis
    let index = from
    let bucket: blocking.Bucket | undefined

    const late = Effect.suspend(() => {
      const reason = new Unreachable({ detail: `A blocking query had no answer within ${Math.round(longest)} ms` })
      return Effect.fail(new CoordinatorError({ engine: "consul", operation: "Group.watch", endpoint, reason }))
    })

    const pace = Effect.gen(function* () {
      const now = yield* nowMillis
      const taken = blocking.take(bucket ?? blocking.full(now, burst), now)
      bucket = taken.bucket
      if (taken.waitMillis > 0) yield* Effect.sleep(taken.waitMillis * (yield* Random.nextBetween(1, dither)))
    })

    const pull = Effect.gen(function* () {
      yield* pace
      const asked = index
      const sentAt = yield* nowMillis
      const answer = yield* within(ask(asked === 0n ? undefined : asked, waitMillis), {
        millis: asked === 0n ? requestMillis : longest,
        orElse: late
      })
      const early = (yield* nowMillis) - sentAt < waitMillis
      const { next, pause } = blocking.step(asked, indexOf(answer), early)
      index = next
      if (next === 0n) yield* onReset
      if (pause) yield* Effect.sleep(blocking.pauseMillis)
      return [answer] as const
    })
    return Stream.fromPull(Effect.succeed(pull))
  })
