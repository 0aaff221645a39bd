/** What a group's consumer reads, as a stream, and with its offsets committed behind what was processed. */
import type { MessagesStream } from "@platformatic/kafka"
import * as Arr from "effect/Array"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { Running } from "../kit/connection.ts"
import { ServiceCallFailed } from "../kit/errors.ts"
import type { Client, Message } from "./client.ts"

type Source = MessagesStream<Buffer, Buffer, Buffer, Buffer>

/** At its end a member tells the brokers what it has done, and that it goes. Without an answer they find out by themselves. */
const endWithin = "2 seconds"

/** One pull takes what has been fetched, up to so many: a stream's step costs more than a message. */
const atOnce = 64

const failed = ({ endpoint, name }: Running<Client>, cause: unknown) =>
  Effect.fail(new ServiceCallFailed({ service: name, endpoint, cause }))

/** Joins the group, for as long as the scope is open. Waiting for the other members can be given up at any moment. */
const subscribe = (kafka: Running<Client>): Effect.Effect<Source, ServiceCallFailed, Scope.Scope> =>
  Effect.gen(function* () {
    const { consumer, subscription } = kafka.client
    if (consumer === undefined) {
      return yield* failed(kafka, new Error("There is no consumer: it needs a group and topics in the settings"))
    }
    let wanted = true
    let source: Source | undefined
    const leave = Effect.callback<void>((resume) => {
      const others = consumer.streamsCount > (source === undefined ? 0 : 1)
      source?.destroy()
      if (others) return resume(Effect.void)
      consumer.leaveGroup(false, () => resume(Effect.void))
    })
    yield* Effect.addFinalizer(() => {
      wanted = false
      return source === undefined ? Effect.void : Effect.ignore(Effect.timeout(leave, endWithin))
    })
    return yield* Effect.callback<Source, ServiceCallFailed>((resume) => {
      consumer.consume({ ...subscription, autocommit: false }, (error, joined) => {
        if (joined === undefined) return resume(failed(kafka, error))
        source = joined
        if (wanted) return resume(Effect.succeed(joined))
        Effect.runFork(leave)
      })
    })
  })

/** Reads what is there, and otherwise waits until something is. The client fetches no more than it has room for. */
const pullFrom = (source: Source, kafka: Running<Client>) => {
  let wake = (): void => undefined
  const changed = () => wake()
  source.on("readable", changed)
  source.on("end", changed)
  source.on("close", changed)
  const read = (): Array<Message> => {
    const messages: Array<Message> = []
    while (messages.length < atOnce) {
      const message = source.read() as Message | null
      if (message === null) break
      messages.push(message)
    }
    return messages
  }
  const ended = () => source.readableEnded || source.destroyed
  const arrival = Effect.callback<void>((resume) => {
    wake = () => resume(Effect.void)
    if (source.readableLength > 0 || ended()) wake()
  })
  const next: Effect.Effect<Arr.NonEmptyReadonlyArray<Message>, ServiceCallFailed | Cause.Done> = Effect.suspend(() => {
    const messages = read()
    if (Arr.isArrayNonEmpty(messages)) return Effect.succeed(messages)
    const { errored } = source
    if (errored !== null) return failed(kafka, errored)
    return ended() ? Cause.done() : Effect.andThen(arrival, next)
  })
  return next
}

/**
 * The messages of the configured topics that the group gives to this member, in the order of each partition.
 *
 * **When to use**
 *
 * Use it to say yourself when an offset is committed, by `message.commit()` of the client. To have that done behind what was
 * processed, use {@link consume}.
 *
 * **Details**
 *
 * The member joins when the stream is run and leaves when it ends, with its scope. A slow reader makes the client fetch less. A group
 * that has committed nothing yet begins where `offsetInitial` says.
 *
 * **Gotchas**
 *
 * It fails when the brokers are away for longer than the client tries again, a few seconds: run it under `Stream.retry`, or in a
 * worker of a `Supervisor`. What was read and not committed is read again.
 *
 * @category consuming
 * @since 0.1.0
 */
export const messages = (kafka: Running<Client>): Stream.Stream<Message, ServiceCallFailed> =>
  Stream.unwrap(Effect.map(subscribe(kafka), (source) => Stream.fromPull(Effect.succeed(pullFrom(source, kafka)))))

/**
 * Processes the messages one after the other, and commits what was processed: each message at least once.
 *
 * **Details**
 *
 * Offsets are committed every `commitInterval`, and at the end, however it comes: only a program that dies leaves processed
 * messages to be processed again. A message that `process` fails on is not committed, and ends it with that failure.
 *
 * **Gotchas**
 *
 * It never ends by itself while the brokers are there. See {@link messages} for when they are not.
 *
 * **Example** (Orders, one at a time)
 *
 * ```ts
 * // no-run
 * import { Effect, Schedule } from "effect"
 * import { Kafka } from "effect-ensemble/services/kafka"
 *
 * // KAFKA_ADDRS, KAFKA_CONS_GROUP_ID=billing, KAFKA_CONS_TOPICS=orders
 * const program = Effect.gen(function*() {
 *   const kafka = yield* Kafka.Kafka
 *   yield* Kafka.consume(kafka, (message) => Effect.log(`order ${message.value}`)).pipe(
 *     Effect.retry(Schedule.spaced("1 second"))
 *   )
 * }).pipe(Effect.provide(Kafka.layerConfig(Kafka.config("KAFKA"))))
 * ```
 *
 * @category consuming
 * @since 0.1.0
 */
export const consume = <E, R>(
  kafka: Running<Client>,
  process: (message: Message) => Effect.Effect<unknown, E, R>
): Effect.Effect<void, E | ServiceCallFailed, R> =>
  Effect.scoped(
    Effect.gen(function* () {
      const source = yield* subscribe(kafka)
      const done = new Map<string, Message>()
      const commit = Effect.suspend(() => {
        const { consumer } = source
        const offsets = Array.from(done.values())
          // A partition that went to another member is where that one says.
          .filter(({ partition, topic }) =>
            consumer.assignments?.some((given) => given.topic === topic && given.partitions.includes(partition))
          )
          .map(({ leaderEpoch, offset, partition, topic }) => ({ topic, partition, offset: offset + 1n, leaderEpoch }))
        done.clear()
        return offsets.length === 0 ? Effect.void : kafka.use(() => consumer.commit({ offsets }))
      })
      const processing = Stream.runForEach(Stream.fromPull(Effect.succeed(pullFrom(source, kafka))), (message) =>
        Effect.andThen(
          process(message),
          Effect.sync(() => void done.set(`${message.topic}:${message.partition}`, message))
        )
      )
      const committing = Effect.forever(Effect.andThen(Effect.sleep(kafka.client.subscription.autocommit), commit))
      // The scope, and with it the membership, ends after this: only a member may commit.
      yield* Effect.ensuring(Effect.raceFirst(processing, committing), Effect.ignore(Effect.timeout(commit, endWithin)))
    })
  )
