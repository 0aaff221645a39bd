/** A value that synchronous code sets and that streams replay: a session's or a membership's status. */
import * as Effect from "effect/Effect"
import * as PubSub from "effect/PubSub"
import * as Stream from "effect/Stream"

export interface Cell<in out A> {
  value: A
  readonly pubsub: PubSub.PubSub<A>
}

/**
 * States kept for a reader that does not read: one that lags further is told the newest. Few, because each membership has a
 * cell and the room is taken from the start.
 */
const unread = 16

export const make = <A>(value: A): Effect.Effect<Cell<A>> =>
  Effect.map(PubSub.sliding<A>({ capacity: unread, replay: 1 }), (pubsub) => {
    PubSub.publishUnsafe(pubsub, value)
    return { value, pubsub }
  })

/** Sets the value in the same turn as whatever decided it, so that no fiber sees the old one afterwards. */
export const setUnsafe = <A>(self: Cell<A>, value: A): void => {
  self.value = value
  PubSub.publishUnsafe(self.pubsub, value)
}

/** The present value, then every later one. */
export const changes = <A>(self: Cell<A>): Stream.Stream<A> => Stream.fromPubSub(self.pubsub)
