/**
 * Everything that can go wrong between a process and its store, on demand.
 *
 * **When to use**
 *
 * Use it to test what your own service does when its coordinator is cut off, late, confused or restored: make a store
 * with `Memory.makeStore`, processes with `Memory.makeProcess`, and a controller with {@link make}.
 *
 * **Details**
 *
 * Faults are named by the node of the process they strike. Each stays until it is taken back; `heal` takes back all
 * faults of one node, `healAll` those of all. Durations are of the test's clock.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Memory from "../engines/Memory.ts"
import type { LostWrite, MemoryLink, Partition } from "../engines/memory/link.ts"
import type { GroupName } from "../Group.ts"
import { label } from "../Group.ts"

/**
 * What becomes of a write whose answer is lost.
 *
 * @category models
 * @since 0.1.0
 */
export type WriteOutcome = "applied" | "not-applied" | { readonly appliedAfter: Duration.Input }

/**
 * A store as it was at one moment, for {@link Faults.rewind}.
 *
 * @category models
 * @since 0.1.0
 */
export interface Backup {
  readonly restore: Effect.Effect<void>
}

/**
 * The fault controller of one store.
 *
 * **Details**
 *
 * Of one process:
 *
 * - `partition`: nothing is answered (`"silent"`, default), connections are refused, or requests arrive and answers do not.
 *   `partitionFromStart`: the next process of that node starts so.
 * - `freezeRenewals`: only renewals go unanswered. `hangReleases`: removals and revocations hang, against interruption too.
 * - `pause`, `resume`: the process stands still, its clocks go on.
 * - `skewClock`: its clocks run at a rate. `jumpClock`: its wall clock jumps.
 * - `delayRequests`, `delayEvents`, `lag`: requests, watch events, or a whole replica are behind.
 * - `duplicateEvents`, `dropEvents`: watch events arrive twice, or the next so many not at all.
 * - `loseAnswer`: the next write's answer is lost.
 *
 * Of the store: `expireSession` ends a process's session, `remove` deletes an entry as an operator would, `put` writes
 * an entry without a session as a foreign program would, `lowerIndex` lets a group's revision fall with its data unchanged, `compact`
 * forgets history, `backup` and `rewind` restore an earlier state.
 *
 * @category models
 * @since 0.1.0
 */
export interface Faults {
  readonly partition: (node: string, how?: Partition) => Effect.Effect<void>
  readonly partitionFromStart: (node: string) => Effect.Effect<void>
  readonly heal: (node: string) => Effect.Effect<void>
  readonly healAll: Effect.Effect<void>
  readonly freezeRenewals: (node: string) => Effect.Effect<void>
  readonly hangReleases: (node: string) => Effect.Effect<void>
  readonly pause: (node: string) => Effect.Effect<void>
  readonly resume: (node: string) => Effect.Effect<void>
  readonly skewClock: (node: string, rate: number) => Effect.Effect<void>
  readonly jumpClock: (node: string, by: Duration.Input) => Effect.Effect<void>
  readonly delayRequests: (node: string, by: Duration.Input) => Effect.Effect<void>
  readonly delayEvents: (node: string, by: Duration.Input) => Effect.Effect<void>
  readonly lag: (node: string, by: Duration.Input) => Effect.Effect<void>
  readonly duplicateEvents: (node: string) => Effect.Effect<void>
  readonly dropEvents: (node: string, count: number) => Effect.Effect<void>
  readonly loseAnswer: (node: string, outcome: WriteOutcome) => Effect.Effect<void>
  readonly expireSession: (node: string) => Effect.Effect<void>
  readonly remove: (group: GroupName, id: string) => Effect.Effect<void>
  readonly put: (group: GroupName, id: string, value: string) => Effect.Effect<void>
  readonly lowerIndex: (group: GroupName) => Effect.Effect<void>
  readonly compact: Effect.Effect<void>
  readonly backup: Effect.Effect<Backup>
  readonly rewind: (to: Backup) => Effect.Effect<void>
}

const lostWrite = (outcome: WriteOutcome): LostWrite =>
  outcome === "applied"
    ? { _tag: "Applied" }
    : outcome === "not-applied"
      ? { _tag: "NotApplied" }
      : { _tag: "AppliedAfter", millis: Duration.toMillis(Duration.fromInputUnsafe(outcome.appliedAfter)) }

const millis = (input: Duration.Input): number => Duration.toMillis(Duration.fromInputUnsafe(input))

/**
 * Makes the controller of a store.
 *
 * **Gotchas**
 *
 * Naming a node that no process of the store has ever had is a defect: the test is wrong.
 *
 * **Example** (A leader that is cut off)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Election, Memory } from "effect-ensemble"
 * import { Faults } from "effect-ensemble/testing"
 * import { TestClock } from "effect/testing"
 *
 * const Report = Election.make("report")
 *
 * const program = Effect.gen(function*() {
 *   const store = yield* Memory.makeStore()
 *   const faults = Faults.make(store)
 *   const one = yield* Memory.makeProcess(store, { node: "one", ttl: "10 seconds" })
 *   const tenure = yield* one.run(Election.campaign(Report))
 *   yield* faults.partition("one")
 *   yield* TestClock.adjust("8 seconds") // 0.8 of the TTL
 *   return yield* Effect.flip(tenure.ensure)
 * })
 * const error = await Effect.runPromise(program.pipe(Effect.scoped, Effect.provide(TestClock.layer())))
 * console.log(error.cause) // => DeadlinePassed
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (store: Memory.Store): Faults => {
  const { cutOff, links, server } = Memory.internals(store)
  const at = (node: string, strike: (link: MemoryLink) => void): Effect.Effect<void> =>
    Effect.sync(() => {
      const link = links.get(node)
      if (link === undefined) {
        throw new Error(`No process "${node}" on this store. There are: ${Array.from(links.keys()).join(", ")}`)
      }
      strike(link)
    })
  return {
    partition: (node, how = "silent") =>
      at(node, (link) => {
        link.partition = how
        if (how === "refused") link.resetUnsafe()
      }),
    partitionFromStart: (node) => Effect.sync(() => void cutOff.add(node)),
    heal: (node) => at(node, (link) => link.healUnsafe()),
    healAll: Effect.sync(() => {
      server.restoreIndex()
      for (const link of links.values()) link.healUnsafe()
    }),
    freezeRenewals: (node) =>
      at(node, (link) => {
        link.renewalsFrozen = true
      }),
    hangReleases: (node) => at(node, (link) => link.hangReleases(true)),
    pause: (node) =>
      at(node, (link) => {
        link.clock.running.closeUnsafe()
      }),
    resume: (node) =>
      at(node, (link) => {
        link.clock.running.openUnsafe()
      }),
    skewClock: (node, rate) => at(node, (link) => link.clock.setRateUnsafe(rate)),
    jumpClock: (node, by) => at(node, (link) => link.clock.jumpWallUnsafe(millis(by))),
    delayRequests: (node, by) =>
      at(node, (link) => {
        link.latencyMillis = millis(by)
      }),
    delayEvents: (node, by) =>
      at(node, (link) => {
        link.eventDelayMillis = millis(by)
      }),
    lag: (node, by) =>
      at(node, (link) => {
        link.lagMillis = millis(by)
      }),
    duplicateEvents: (node) =>
      at(node, (link) => {
        link.duplicating = true
      }),
    dropEvents: (node, count) =>
      at(node, (link) => {
        link.dropping = count
      }),
    loseAnswer: (node, outcome) => at(node, (link) => void link.lostWrites.push(lostWrite(outcome))),
    expireSession: (node) =>
      at(node, (link) => {
        for (const session of Array.from(link.sessions)) server.endSession(session)
      }),
    remove: (group, id) => Effect.sync(() => server.delete(label(group), id, () => true)),
    put: (group, id, value) =>
      Effect.sync(() => {
        server.delete(label(group), id, () => true)
        server.create(label(group), id, value, undefined)
      }),
    lowerIndex: (group) => Effect.sync(() => server.lowerIndex(label(group))),
    compact: Effect.sync(() => server.compact()),
    backup: Effect.sync(() => {
      const checkpoint = server.checkpoint()
      return { restore: server.rewind(checkpoint) }
    }),
    rewind: ({ restore }) => restore
  }
}

/**
 * An entry as the store itself holds it, whatever any process believes.
 *
 * @category models
 * @since 0.1.0
 */
export interface StoredEntry {
  readonly group: string
  readonly id: string
  readonly value: string
  readonly token: bigint
  readonly session: string | undefined
}

/**
 * What the store holds and has been asked: for tests that count what is left behind.
 *
 * **Details**
 *
 * `requests` counts the requests that reached the store, by operation, of all processes.
 *
 * @category models
 * @since 0.1.0
 */
export interface Inspection {
  readonly entries: ReadonlyArray<StoredEntry>
  readonly sessions: number
  readonly watches: number
  readonly revision: bigint
  readonly requests: Readonly<Record<string, number>>
}

/**
 * Looks into a store, past every network.
 *
 * @category accessors
 * @since 0.1.0
 */
export const inspect = (store: Memory.Store): Effect.Effect<Inspection> =>
  Effect.sync(() => {
    const { links, server } = Memory.internals(store)
    const requests: Record<string, number> = {}
    for (const link of links.values()) {
      for (const [operation, count] of link.requests) requests[operation] = (requests[operation] ?? 0) + count
    }
    return {
      entries: server.allEntries.map(({ group, id, owner, token, value }) => ({
        group,
        id,
        value,
        token,
        session: owner
      })),
      sessions: server.openSessions.length,
      watches: server.watches,
      revision: server.revision,
      requests
    }
  })
