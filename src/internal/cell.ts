/** A value that synchronous code sets and that streams replay: a session's or a membership's status. */
import * as Effect from "effect/Effect"
import * as PubSub from "effect/PubSub"
import * as Stream from "effect/Stream"

export interface Cell<in out A> {
  value: A
  /** Made for the first reader: each membership has a cell, and few are read. */
  pubsub: PubSub.PubSub<A> | undefined
}

/**
 * States kept for a reader that does not read: one that lags further is told the newest. Few, because the room is taken from the
 * start.
 */
const unread = 16

export const makeUnsafe = <A>(value: A): Cell<A> => ({ value, pubsub: undefined })

export const make = <A>(value: A): Effect.Effect<Cell<A>> => Effect.sync(() => makeUnsafe(value))

/** Sets the value in the same turn as whatever decided it, so that no fiber sees the old one afterwards. */
export const setUnsafe = <A>(self: Cell<A>, value: A): void => {
  self.value = value
  if (self.pubsub !== undefined) PubSub.publishUnsafe(self.pubsub, value)
}

/** It begins with the value of the turn in which it is entered, so that no state falls between the two. */
const pubsubOf = <A>(self: Cell<A>): Effect.Effect<PubSub.PubSub<A>> =>
  Effect.suspend(() => {
    if (self.pubsub !== undefined) return Effect.succeed(self.pubsub)
    return Effect.map(PubSub.sliding<A>({ capacity: unread, replay: 1 }), (made) => {
      if (self.pubsub !== undefined) return self.pubsub
      PubSub.publishUnsafe(made, self.value)
      self.pubsub = made
      return made
    })
  })

/** The present value, then every later one. */
export const changes = <A>(self: Cell<A>): Stream.Stream<A> =>
  Stream.unwrap(Effect.map(pubsubOf(self), (pubsub) => Stream.fromPubSub(pubsub)))
