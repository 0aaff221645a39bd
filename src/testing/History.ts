/**
 * The judge of histories: what happened among several processes and their store, recorded while it happened, and held
 * against what the contracts promise.
 *
 * **When to use**
 *
 * Use it in tests where asserting one outcome is not enough: where processes come and go, faults strike in between, and
 * the question is whether *anything* went wrong. Record a run with the functions of this module, let it come to rest, and
 * give the events to {@link check}.
 *
 * **Details**
 *
 * - Readers: revisions never go backwards, each fresh view is what the store had at its revision, and folding `changes` gives
 *   the latest view; once all is quiet both are what the store has.
 * - Holders: tenures never overlap, neither by their holders' clocks nor in the store; tokens only grow; whoever
 *   is told by `ensure` that it holds a place has an entry then.
 * - Barriers: one opens only by a revision at which every member was ready and enough were there, and everybody named who was
 *   waiting passes.
 * - Sequences: once all is quiet the indices are 0 to count - 1; exclusive bodies of one index never overlap.
 * - After everything has closed nothing is left.
 *
 * A process that is paused does not act: for those stretches it is judged by the store's comparison of tokens alone, which
 * is what leases promise. So is one whose entry an operator removes, from that moment on.
 *
 * **Gotchas**
 *
 * What was not recorded is not judged. The indices of a sequence are held against all members in the store, so record all
 * of its members or none.
 *
 * @since 0.1.0
 */
import type { Event, Violation } from "./history/events.ts"
import * as holdings from "./history/holdings.ts"
import * as readers from "./history/readers.ts"
import type { BarrierRule } from "./history/rounds.ts"
import * as rounds from "./history/rounds.ts"
import * as seats from "./history/seats.ts"
import * as truth from "./history/truth.ts"

/** @since 0.1.0 */
export { Event, Place, Valued } from "./history/events.ts"

/** @since 0.1.0 */
export type { Of, Tag, Violation, ViolationName } from "./history/events.ts"

/** @since 0.1.0 */
export { recordFaults, recordStore } from "./history/memory.ts"

/** @since 0.1.0 */
export {
  forced,
  make,
  record,
  recordChanges,
  recordEnsure,
  recordSeat,
  recordSeats,
  recordTenure,
  recordViews,
  recordWait
} from "./history/recorder.ts"

/** @since 0.1.0 */
export type { Holder, Reader, Recorder, Report } from "./history/recorder.ts"

/** @since 0.1.0 */
export type { BarrierRule } from "./history/rounds.ts"

/**
 * What a history alone does not tell.
 *
 * **Details**
 *
 * `barriers` are the rules of the barriers by their group, as in `"barrier/migration"`. Without its rule a barrier may open
 * at any revision at which exactly the named members were there.
 *
 * @category models
 * @since 0.1.0
 */
export interface CheckOptions {
  readonly barriers?: Readonly<Record<string, BarrierRule>> | undefined
}

/**
 * Judges a history: what it breaks, and the events that show it. Nothing when all is well.
 *
 * **Details**
 *
 * It is a pure function of the events, whatever engine they come from. Without events of the store, as {@link recordStore} or a
 * watch of the test's own gives them, only what readers and holders say is held against each other.
 *
 * **Example** (Two that lead at once)
 *
 * ```ts
 * import { History } from "effect-ensemble/testing"
 *
 * const events: Array<History.Event> = [
 *   { _tag: "Granted", process: "a", at: 0, order: 0, group: "election/report", id: "a", token: 1n },
 *   { _tag: "Granted", process: "b", at: 500, order: 1, group: "election/report", id: "b", token: 2n },
 *   { _tag: "Stopped", process: "a", at: 700, order: 2, group: "election/report", id: "a", token: 1n, lost: false }
 * ]
 * for (const { message, name } of History.check(events)) console.log(name, message)
 * // => TenuresOverlap a of a (token 1) and b of b (token 2) both held election/report from 500 to 700 ms
 * ```
 *
 * **Example** (Judging a run)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Election, Memory } from "effect-ensemble"
 * import { Faults, History } from "effect-ensemble/testing"
 * import { TestClock } from "effect/testing"
 *
 * const Report = Election.make("report")
 *
 * const program = Effect.gen(function*() {
 *   const history = yield* History.make
 *   const store = yield* Memory.makeStore()
 *   yield* History.recordStore(history, store)
 *   const faults = History.recordFaults(history, Faults.make(store))
 *   for (const node of ["one", "two"]) {
 *     const process = yield* Memory.makeProcess(store, { node, ttl: "10 seconds" })
 *     const holder = { process: node, group: Report.group }
 *     yield* Effect.forkScoped(process.run(
 *       Election.lead(Report, (tenure) => History.recordTenure(history, holder, tenure, Effect.never))
 *     ))
 *   }
 *   yield* TestClock.adjust("1 second")
 *   yield* faults.partition("one")
 *   yield* TestClock.adjust("1 minute")
 *   const events = yield* history.events
 *   return [events.filter((event) => event._tag === "Granted").length, History.check(events)]
 * })
 * console.log(await Effect.runPromise(program.pipe(Effect.scoped, Effect.provide(TestClock.layer())))) // => [ 2, [] ]
 * ```
 *
 * @category checking
 * @since 0.1.0
 */
export const check = (events: Iterable<Event>, options: CheckOptions = {}): ReadonlyArray<Violation> => {
  const ordered = Array.from(events).sort((a, b) => a.order - b.order)
  const known = truth.make(ordered)
  const running = truth.makeRunning(ordered)
  return [
    ...readers.checkViews(ordered, known),
    ...readers.checkFolds(ordered, known),
    ...holdings.check(ordered, known, running),
    ...rounds.check(ordered, known, options.barriers ?? {}),
    ...seats.checkSeats(ordered, known),
    ...seats.checkCounts(ordered)
  ]
}

/**
 * A violation in a few lines: its name and message, then the events that show it.
 *
 * @category formatting
 * @since 0.1.0
 */
export const format = ({ events, message, name }: Violation): string =>
  [`${name}: ${message}`, ...events.map((event) => `  ${formatEvent(event)}`)].join("\n")

/**
 * An event in one line.
 *
 * @category formatting
 * @since 0.1.0
 */
export const formatEvent = ({ _tag, at, order, process, ...rest }: Event): string =>
  `${order} at ${at} ms ${process} ${_tag} ${JSON.stringify(rest, (_, value: unknown) => (typeof value === "bigint" ? `${value}` : value))}`
