/** One node: a process of its own that plays all roles, and tells what it does. */
import { Clock, Effect, Exit, Fiber, Logger, Option, Random, Schedule } from "effect"
import process from "node:process"
import { createInterface } from "node:readline"
import type { GroupName } from "../../src/Group.ts"
import { Coordinator, Discovery, Election, Group, Lock, Sequence } from "../../src/index.ts"
import { History } from "../../src/testing/index.ts"
import { now, shared } from "./clock.ts"
import { Guard } from "./engine.ts"
import { load } from "./engines.ts"
import type { Orders, Told } from "./protocol.ts"
import { encode } from "./protocol.ts"
import { Api, Chief, Keys, marginMillis, Workers } from "./roles.ts"

const orders = JSON.parse(process.argv[2] ?? "") as Orders

const engine = await load(orders.engine)
if (engine === undefined) throw new Error(`There is no engine "${orders.engine}"`)

const tell = (told: Told): void => void process.stdout.write(`${encode(told)}\n`)

/** A pipe whose reader is gone has nobody left to be told anything. */
process.stdout.on("error", () => process.exit(1))
process.on("unhandledRejection", (reason) => tell({ _tag: "Broken", detail: `unhandled rejection: ${String(reason)}` }))

let resting = false

/** Beats, and tells when one came late. What was due meanwhile runs in the same turn or the next, so the end is a beat later. */
const beatMillis = 20
const watchStalls = () => {
  let last = now()
  let since: number | undefined
  const beat = () => {
    const at = now()
    if (since !== undefined) tell({ _tag: "Stalled", from: since, to: at })
    since = at - last > marginMillis ? last : undefined
    last = at
  }
  const timer = setInterval(beat, beatMillis)
  return () => clearInterval(timer)
}

/** For so long after the end of a tenure is `ensure` still asked: longer than the store could keep the entry. */
const askedAfter = 2 * engine.expiryMillis

const program = Effect.gen(function* () {
  const recorder = yield* Effect.provideServiceEffect(History.make, Clock.Clock, shared)
  const scope = yield* Effect.scope
  let sent = 0
  const flush = Effect.map(recorder.events, (events) => {
    for (const event of events.slice(sent)) tell({ _tag: "Event", event })
    sent = events.length
  })
  yield* Effect.addFinalizer(() => flush)
  yield* Effect.forkScoped(Effect.repeat(flush, Schedule.spaced("25 millis")))

  const coordinator = yield* Coordinator.Coordinator
  const guard = yield* Guard
  const holderOf = (group: GroupName) => ({ process: orders.label, group })
  let nonces = 0

  const write = Effect.fnUntraced(function* (tenure: Election.Tenure) {
    const nonce = `${orders.label}-${++nonces}`
    const exit = yield* Effect.exit(guard.write(tenure, tenure.token, nonce))
    const error = Exit.isFailure(exit) ? Option.getOrUndefined(Exit.findErrorOption(exit)) : undefined
    const refused = error?._tag === "MembershipLost"
    tell({ _tag: "Attempted", nonce, outcome: Exit.isSuccess(exit) ? "done" : refused ? "refused" : "unknown" })
  })

  /**
   * Asks for as long as it is told yes, and for a while after. By then it also writes as a process does that was paused between
   * asking and acting: only the store can refuse that.
   */
  const ask = Effect.fnUntraced(function* (tenure: Election.Tenure) {
    let refusedSince: number | undefined
    while (refusedSince === undefined || now() - refusedSince < askedAfter) {
      const told = yield* Effect.result(History.recordEnsure(recorder, holderOf(tenure.group), tenure))
      if (told._tag === "Success") refusedSince = undefined
      else refusedSince ??= now()
      if (refusedSince !== undefined && (yield* Random.next) < 0.05) {
        yield* write({ ...tenure, ensure: Effect.succeed(tenure.token) })
      }
      yield* Effect.sleep("30 millis")
    }
  })

  /** Acts for some time, or for as long as all others rest. */
  const act = (tenure: Election.Tenure, leastMillis: number, mostMillis: number) =>
    Effect.gen(function* () {
      yield* Effect.forkIn(ask(tenure), scope)
      const end = now() + (yield* Random.nextIntBetween(leastMillis, mostMillis))
      while (now() < end || (resting && tenure.group.kind === "election")) {
        yield* write(tenure)
        yield* Effect.sleep("40 millis")
      }
    }).pipe((body) => History.recordTenure(recorder, holderOf(tenure.group), tenure, body))

  const pause = (least: number, most: number) => Effect.flatMap(Random.nextIntBetween(least, most), Effect.sleep)

  const awake = Effect.suspend(() => (resting ? Effect.fail("resting") : Effect.void)).pipe(
    Effect.retry(Schedule.spaced("20 millis"))
  )

  const leading = Election.lead(Chief, (tenure) => act(tenure, 500, 6_000)).pipe(
    Effect.ignore,
    Effect.andThen(pause(0, 300)),
    Effect.forever
  )

  const locking = (key: Lock.Definition) =>
    awake.pipe(
      Effect.andThen(Lock.withLock(key, (tenure) => act(tenure, 50, 1_500))),
      Effect.ignore,
      Effect.andThen(pause(50, 500)),
      Effect.forever
    )

  const registering = Effect.gen(function* () {
    let n = 0
    const place = { address: "127.0.0.1", port: 1 }
    tell({ _tag: "Wants", n })
    const registration = yield* Discovery.register(Api, { ...place, attributes: { n: String(n) } })
    while (true) {
      yield* pause(100, 800)
      yield* awake
      tell({ _tag: "Wants", n: ++n })
      yield* Effect.ignore(registration.set({ n: String(n) }))
    }
  })

  const sitting = Sequence.run(
    Workers,
    (seat) =>
      History.recordSeat(recorder, { ...holderOf(Workers.group), coordinator, exclusive: true }, seat, Effect.never),
    { exclusive: true, settle: "50 millis" }
  )

  const reading = (name: GroupName) => {
    const reader = { process: orders.label, reader: `${orders.label} ${Group.label(name)}` }
    const group = coordinator.group(name)
    return Effect.all([History.recordViews(recorder, reader, group), History.recordChanges(recorder, reader, group)], {
      concurrency: "unbounded"
    })
  }

  const roles = [leading, ...Keys.map(locking), registering, sitting, reading(Api.group), reading(Chief.group)]
  return yield* Effect.all(roles, { concurrency: "unbounded", discard: true })
}).pipe(Effect.scoped)

/** Only what nobody should see is worth a reader's time. */
const log = Logger.make(({ logLevel, message }) => {
  if (logLevel === "Fatal" || logLevel === "Error") process.stderr.write(`${orders.label}: ${String(message)}\n`)
})

const stopWatching = watchStalls()
const running = Effect.runFork(
  program.pipe(Effect.provide(engine.layer(orders)), Random.withSeed(orders.seed), Effect.provide(Logger.layer([log])))
)
running.addObserver((exit) => {
  stopWatching()
  lines.close()
  process.stdin.destroy()
  if (Exit.isFailure(exit) && !Exit.hasInterrupts(exit)) {
    tell({ _tag: "Broken", detail: `the program ended: ${String(exit.cause)}` })
  }
})

const lines = createInterface({ input: process.stdin })
lines.on("line", (word) => {
  resting = word === "rest"
  if (word === "end") Effect.runFork(Fiber.interrupt(running))
})
// Nobody is left to be told anything.
lines.on("close", () => void Effect.runFork(Fiber.interrupt(running)))
