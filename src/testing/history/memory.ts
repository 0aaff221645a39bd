/** The embedded store's own account of itself, and of what the fault controller does to it. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Memory from "../../engines/Memory.ts"
import { label } from "../../Group.ts"
import type { Faults } from "../Faults.ts"
import type { Recorder } from "./recorder.ts"
import { forced, penOf, record } from "./recorder.ts"

const process = "the store"

/** A delay above this counts as being cut off. */
const slowMillis = 1_000

/**
 * Records every write of an embedded store, as the store makes it, for as long as the scope is open.
 *
 * **Gotchas**
 *
 * Restores are seen only when they run within {@link forced}, as the faults of {@link recordFaults} do.
 *
 * @category recording
 * @since 0.1.0
 */
export const recordStore = (self: Recorder, store: Memory.Store): Effect.Effect<void, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const { server } = Memory.internals(store)
      const { incarnation: first } = server
      let incarnation = first
      const look = () => {
        if (server.incarnation === incarnation) return
        incarnation = server.incarnation
        const entries = server.allEntries.map(({ group, id, token, value }) => ({ group, id, token, value }))
        penOf(self).recordUnsafe({
          _tag: "Restored",
          process,
          revision: server.revision,
          epoch: incarnation - first,
          entries
        })
      }
      const stop = server.observe(({ entry, group, id, removed, revision }) => {
        const at = { process, group, id, revision, epoch: server.incarnation - first }
        if (entry !== undefined)
          penOf(self).recordUnsafe({ _tag: "Stored", ...at, token: entry.token, value: entry.value })
        else if (removed !== undefined) {
          penOf(self).recordUnsafe({ _tag: "Removed", ...at, token: removed.token, forced: penOf(self).isForcing })
        }
      })
      penOf(self).afterForced.add(look)
      return () => {
        stop()
        penOf(self).afterForced.delete(look)
      }
    }),
    (stop) => Effect.sync(stop)
  ).pipe(Effect.asVoid)

/**
 * The fault controller, each of whose faults is recorded as it strikes: what an operator removes is no fault of a holder, and
 * a paused or cut-off process cannot do what others must. Clocks that run fast or slow, short delays, and events and answers that
 * are lost or doubled excuse nobody.
 *
 * @category recording
 * @since 0.1.0
 */
export const recordFaults = (self: Recorder, faults: Faults): Faults => {
  const struck = new Set<string>()
  const cut = (node: string, effect: Effect.Effect<void>) =>
    Effect.andThen(
      Effect.sync(() => {
        struck.add(node)
        penOf(self).recordUnsafe({ _tag: "Cut", process: node })
      }),
      effect
    )
  /** What is merely slow must not keep anybody from what the others can do. */
  const slowed = (node: string, by: Duration.Input, effect: Effect.Effect<void>) =>
    Duration.toMillis(Duration.fromInputUnsafe(by)) > slowMillis ? cut(node, effect) : effect
  const resumed = (node: string) => record(self, { _tag: "Resumed", process: node })
  const healed = (node: string) => record(self, { _tag: "Healed", process: node })
  return {
    partition: (node, how) => cut(node, faults.partition(node, how)),
    partitionFromStart: (node) => cut(node, faults.partitionFromStart(node)),
    heal: (node) => Effect.all([resumed(node), faults.heal(node), healed(node)], { discard: true }),
    healAll: Effect.suspend(() =>
      Effect.all([Effect.forEach(struck, resumed), faults.healAll, Effect.forEach(struck, healed)], { discard: true })
    ),
    freezeRenewals: (node) => cut(node, faults.freezeRenewals(node)),
    hangReleases: (node) => cut(node, faults.hangReleases(node)),
    pause: (node) => {
      struck.add(node)
      return Effect.andThen(faults.pause(node), record(self, { _tag: "Paused", process: node }))
    },
    resume: (node) => Effect.andThen(resumed(node), faults.resume(node)),
    skewClock: faults.skewClock,
    jumpClock: (node, by) => cut(node, faults.jumpClock(node, by)),
    delayRequests: (node, by) => slowed(node, by, faults.delayRequests(node, by)),
    delayEvents: (node, by) => slowed(node, by, faults.delayEvents(node, by)),
    lag: (node, by) => slowed(node, by, faults.lag(node, by)),
    duplicateEvents: faults.duplicateEvents,
    dropEvents: faults.dropEvents,
    loseAnswer: faults.loseAnswer,
    expireSession: (node) => cut(node, forced(self, faults.expireSession(node))),
    remove: (group, id) => forced(self, faults.remove(group, id)),
    put: (group, id, value) => forced(self, faults.put(group, id, value)),
    lowerIndex: (group) =>
      Effect.andThen(record(self, { _tag: "IndexLowered", process, group: label(group) }), faults.lowerIndex(group)),
    compact: faults.compact,
    backup: faults.backup,
    rewind: (to) => forced(self, faults.rewind(to))
  }
}
