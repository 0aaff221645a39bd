/** A blocking query asked again and again. */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Stream from "effect/Stream"
import { CoordinatorError, Unreachable } from "../../CoordinatorError.ts"
import { unexpected } from "../../internal/unexpected.ts"
import * as blocking from "./blocking.ts"
import type { Timers } from "./timers.ts"

/** Gives an answer or a failure; returns the way to give it up, after which nothing is told. */
export type Question<A> = (told: (answer: A | CoordinatorError) => void) => () => void

export interface Polling<A> {
  /** Asks at once for what is there, or, with an index, for what is there when there is more than that. */
  readonly ask: (index: bigint | undefined, waitMillis: number) => Question<A>
  readonly indexOf: (answer: A) => bigint | undefined
  /** The index that is known already; 0 asks at once. */
  readonly from: bigint
  /** Runs before everything is asked for anew, because the index did not go on as it should. */
  readonly onReset: Effect.Effect<void, CoordinatorError>
  /** How many changes are asked for without a pause in between. Default 50. */
  readonly burst?: number
  readonly timers: Timers
  readonly endpoint: string
  readonly requestMillis: number
}

export interface Poll<A> {
  /** The next answer. One at a time, and none after a failure: an index must not be waited for after one. */
  readonly next: Question<A>
}

/** Readers that were held back by the rate do not all come back at the same moment. */
const dither = 1.2

export const isFailure = <A>(answer: A | CoordinatorError): answer is CoordinatorError =>
  answer instanceof CoordinatorError

/** An effect as a question. */
export const question =
  <A>(timers: Timers, endpoint: string, effect: Effect.Effect<A, CoordinatorError>): Question<A> =>
  (told) =>
    timers.run(
      Effect.match(effect, {
        onFailure: (error): A | CoordinatorError => error,
        onSuccess: (answer): A | CoordinatorError => answer
      }),
      (exit) => {
        const thrown = unexpected({ engine: "consul", endpoint }, "Group.watch")
        told(Exit.isSuccess(exit) ? exit.value : thrown(Cause.squash(exit.cause)))
      }
    )

export const make = <A>(polling: Polling<A>): Poll<A> => {
  const { ask, burst, endpoint, from, indexOf, onReset, requestMillis, timers } = polling
  const { waitMillis } = blocking
  const longest = blocking.longestMillis(waitMillis) + requestMillis
  const reset = question(timers, endpoint, onReset)
  let index = from
  let bucket: blocking.Bucket | undefined

  const late = () => {
    const reason = new Unreachable({ detail: `A blocking query had no answer within ${Math.round(longest)} ms` })
    return new CoordinatorError({ engine: "consul", operation: "Group.watch", endpoint, reason })
  }

  /** How long to hold the next query back. */
  const paceMillis = (): number => {
    const now = timers.nowMillis()
    const taken = blocking.take(bucket ?? blocking.full(now, burst), now)
    bucket = taken.bucket
    return taken.waitMillis === 0 ? 0 : taken.waitMillis * (1 + timers.random() * (dither - 1))
  }

  const next: Question<A> = (told) => {
    let steps = 0
    let giveUp = () => {}
    /** What a step begins may be done, and the next one begun, before it returns. */
    const begin = (step: () => () => void) => {
      const mine = ++steps
      const cancel = step()
      if (mine === steps) giveUp = cancel
    }
    const tell = (answer: A | CoordinatorError) => {
      steps++
      giveUp = () => {}
      told(answer)
    }

    const resetFirst = (answer: A, pause: boolean) => () =>
      reset((failure) => {
        if (isFailure(failure)) tell(failure)
        else if (pause) begin(() => timers.after(blocking.pauseMillis, () => tell(answer)))
        else tell(answer)
      })

    const send = () => {
      const asked = index
      const sentAt = timers.nowMillis()
      const stopWaiting = timers.after(asked === 0n ? requestMillis : longest, () => {
        stopAsking()
        tell(late())
      })
      const stopAsking = ask(
        asked === 0n ? undefined : asked,
        waitMillis
      )((answer) => {
        stopWaiting()
        if (isFailure(answer)) return tell(answer)
        const isEarly = timers.nowMillis() - sentAt < waitMillis
        const step = blocking.step(asked, indexOf(answer), isEarly)
        index = step.next
        if (index === 0n) begin(resetFirst(answer, step.pause))
        else tell(answer)
      })
      return () => {
        stopWaiting()
        stopAsking()
      }
    }

    const held = paceMillis()
    begin(held === 0 ? send : () => timers.after(held, () => begin(send)))
    return () => {
      steps++
      giveUp()
    }
  }

  return { next }
}

/** One answer of a poll. */
export const next = <A>(poll: Poll<A>): Effect.Effect<A, CoordinatorError> =>
  Effect.callback((resume) => {
    const giveUp = poll.next((answer) => resume(isFailure(answer) ? Effect.fail(answer) : Effect.succeed(answer)))
    return Effect.sync(giveUp)
  })

/** All answers of a poll. */
export const stream = <A>(poll: Poll<A>): Stream.Stream<A, CoordinatorError> =>
  Stream.fromPull(Effect.succeed(Effect.map(next(poll), (answer) => [answer] as const)))
