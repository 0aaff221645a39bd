/**
 * Work on a schedule that one process of several does, with a resource that compares fencing tokens: a leader that was
 * paused and wakes up when another leads is refused there, which no lease could have done.
 */
import { NodeRuntime } from "@effect/platform-node"
import { Console, Data, Effect, Fiber, Schedule, Stream, SubscriptionRef } from "effect"
import { Election, Memory } from "effect-ensemble"
import { Faults } from "effect-ensemble/testing"

const Report = Election.make("report")

class Refused extends Data.TaggedError("Refused")<{ readonly message: string }> {}

/** The protected resource: a table with a column for the token, for example. It refuses lower ones than it has seen. */
const makeLedger = Effect.gen(function* () {
  const last = yield* SubscriptionRef.make({ who: "nobody", token: 0n, lines: 0 })
  const write = Effect.fnUntraced(function* (who: string, token: bigint) {
    const { lines, token: highest } = yield* SubscriptionRef.get(last)
    if (token < highest) return yield* new Refused({ message: `token ${token} is lower than ${highest}` })
    yield* Console.log(`${who} wrote line ${lines + 1} with token ${token}`)
    yield* SubscriptionRef.set(last, { who, token, lines: lines + 1 })
  })
  /** Waits for the next line of one writer. */
  const written = (who: string) =>
    SubscriptionRef.changes(last).pipe(
      Stream.drop(1),
      Stream.filter((line) => line.who === who),
      Stream.runHead
    )
  return { write, written }
})
type Ledger = Effect.Success<typeof makeLedger>

/** The cron job of one process. `between` stands for what may happen between asking and acting: a pause, for example. */
const cron = (who: string, ledger: Ledger, between: Effect.Effect<void> = Effect.void) =>
  Election.lead(Report, (tenure) =>
    Effect.gen(function* () {
      const token = yield* tenure.ensure
      yield* between
      yield* ledger.write(who, token)
    }).pipe(
      // What has been sent to the resource cannot be called back, whatever becomes of the lease meanwhile.
      Effect.uninterruptible,
      // Every second; "0 3 * * *" would be every night at three.
      Effect.schedule(Schedule.cron("* * * * * *"))
    )
  )

const program = Effect.gen(function* () {
  const store = yield* Memory.makeStore()
  const faults = Faults.make(store)
  const one = yield* Memory.makeProcess(store, { node: "one", ttl: "2 seconds" })
  const two = yield* Memory.makeProcess(store, { node: "two", ttl: "2 seconds" })
  const ledger = yield* makeLedger

  // The second time, the whole process stands still right after it was told that it leads.
  let run = 0
  const between = Effect.suspend(() =>
    ++run === 2
      ? Console.log("one is paused between asking and writing").pipe(
          Effect.andThen(faults.pause("one")),
          Effect.andThen(Effect.sleep(1))
        )
      : Effect.void
  )
  const paused = yield* one.run(cron("one", ledger, between)).pipe(Effect.forkChild({ startImmediately: true }))
  yield* two.run(cron("two", ledger)).pipe(Effect.forkScoped)

  yield* ledger.written("two")
  yield* faults.resume("one")
  const refused = yield* Effect.flip(Fiber.join(paused))
  yield* Console.log(`one wakes up and is refused: ${refused.message}`)
  yield* ledger.written("two")
})

program.pipe(Effect.scoped, NodeRuntime.runMain)
