/**
 * A migration that begins only when every process has stopped writing in the old way, is carried out by one of them,
 * and lets all of them go on.
 */
import { NodeRuntime } from "@effect/platform-node"
import { Console, Effect, Random, Schema } from "effect"
import { Barrier, Lock, Memory } from "effect-ensemble"

const processes = ["app-1", "app-2", "app-3"]

/** Everybody is ready when nobody writes in the old way any more. */
const Stopped = Barrier.make("old-writers-stopped", {
  state: Schema.Literals(["writing", "stopped"]),
  minimum: processes.length,
  isReady: (state) => state === "stopped"
})

const Migration = Lock.make("migration")

/** What is migrated. It knows by itself whether that has been done: whoever gets the lock later finds it so. */
const makeTable = () => {
  let version = 1
  return {
    version: Effect.sync(() => version),
    migrate: Effect.sync(() => void version++).pipe(Effect.delay("200 millis"))
  }
}
type Table = ReturnType<typeof makeTable>

const application = Effect.fnUntraced(function* (who: string, table: Table) {
  // The place stays open until this process ends, so that those who wait a little longer still find everybody there.
  const place = yield* Barrier.announce(Stopped, "writing")
  yield* Effect.sleep(yield* Random.nextIntBetween(100, 500))
  yield* Console.log(`${who} has stopped writing`)
  yield* place.set("stopped")
  yield* Barrier.wait(Stopped, { timeout: "10 seconds", expected: processes })

  yield* Lock.withLock(
    Migration,
    Effect.gen(function* () {
      if ((yield* table.version) === 2) return
      yield* Console.log(`${who} migrates the table`)
      yield* table.migrate
    })
  )
  yield* Console.log(`${who} goes on with version ${yield* table.version}`)
})

const program = Effect.gen(function* () {
  const store = yield* Memory.makeStore()
  const table = makeTable()
  const start = Effect.fnUntraced(function* (who: string) {
    const process = yield* Memory.makeProcess(store, { node: who })
    yield* process.run(application(who, table))
  })

  // One that is missing is named, in time.
  const alone = yield* Memory.makeProcess(store, { node: "early" })
  const error = yield* alone
    .run(Barrier.wait(Stopped, { timeout: "200 millis", expected: processes }))
    .pipe(Effect.flip)
  yield* Console.log(error.message)

  yield* Effect.forEach(processes, start, { concurrency: "unbounded", discard: true })
})

program.pipe(Effect.scoped, NodeRuntime.runMain)
