/** A queue with six partitions, whose consumers divide them among themselves, and anew whenever one comes or goes. */
import { NodeRuntime } from "@effect/platform-node"
import { Console, Deferred, Effect, Exit, Scope, Stream, SubscriptionRef } from "effect"
import { Memory, Sequence } from "effect-ensemble"

const Orders = Sequence.make("orders")
const partitions = 6
const messages = 30

/** Stands for the queue: it knows for each partition how many messages have been handled. */
const makeQueue = Effect.gen(function* () {
  const empty = yield* Deferred.make<void>()
  const committed = Array.from({ length: partitions }, () => 0)
  const handled: Array<string> = []
  const consumers = yield* SubscriptionRef.make(0)
  const fetch = (partition: number): number | undefined => {
    const next = committed[partition] ?? messages
    return next < messages ? next : undefined
  }
  const commit = Effect.fnUntraced(function* (partition: number, message: number) {
    handled.push(`${partition}/${message}`)
    committed[partition] = message + 1
    if (handled.length >= partitions * messages) yield* Deferred.succeed(empty, undefined)
  })
  /** Waits until the partitions are divided among so many. */
  const dividedAmong = (count: number) =>
    SubscriptionRef.changes(consumers).pipe(
      Stream.filter((now) => now === count),
      Stream.runHead
    )
  return { fetch, commit, handled, consumers, dividedAmong, empty: Deferred.await(empty) }
})
type Queue = Effect.Success<typeof makeQueue>

/** Handles one partition, message by message: interrupted between two of them, never within one. */
const consume = Effect.fnUntraced(function* (queue: Queue, partition: number) {
  for (let next = queue.fetch(partition); next !== undefined; next = queue.fetch(partition)) {
    yield* Effect.sleep("50 millis").pipe(Effect.andThen(queue.commit(partition, next)), Effect.uninterruptible)
  }
})

/**
 * With `exclusive`, nobody starts on a partition before its former consumer has stopped. With `settle`, several that
 * come at once cost one new division instead of one each.
 */
const consumer = (queue: Queue) =>
  Sequence.run(
    Orders,
    Effect.fnUntraced(function* (seat) {
      const mine = Sequence.assign(seat, partitions)
      yield* Console.log(`${seat.id}, ${seat.index + 1} of ${seat.count}, takes ${mine.join(" ") || "nothing"}`)
      yield* SubscriptionRef.set(queue.consumers, seat.count)
      yield* Effect.forEach(mine, (partition) => consume(queue, partition), { concurrency: "unbounded", discard: true })
    }),
    { exclusive: true, settle: "100 millis" }
  )

const program = Effect.gen(function* () {
  const store = yield* Memory.makeStore()
  const queue = yield* makeQueue
  const start = Effect.fnUntraced(function* (node: string) {
    const scope = yield* Scope.fork(yield* Effect.scope)
    const process = yield* Memory.makeProcess(store, { node }).pipe(Scope.provide(scope))
    yield* process.run(consumer(queue)).pipe(Effect.forkIn(scope))
    return { stop: Scope.close(scope, Exit.void) }
  })

  yield* start("consumer-01")
  const second = yield* start("consumer-02")
  yield* queue.dividedAmong(2)
  yield* Effect.sleep("500 millis")
  yield* Console.log("consumer-03 comes")
  yield* start("consumer-03")
  yield* queue.dividedAmong(3)
  yield* Effect.sleep("500 millis")
  yield* Console.log("consumer-02 goes")
  yield* second.stop

  yield* queue.empty
  const distinct = new Set(queue.handled).size
  yield* Console.log(`handled ${queue.handled.length} messages, ${queue.handled.length - distinct} of them twice`)
})

program.pipe(Effect.scoped, NodeRuntime.runMain)
