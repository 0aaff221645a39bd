/** Nodes that lie, so that the tests can see the story being refused. Not part of what the tour teaches. */
import { Effect } from "effect"
import type { Event, Report } from "./events.ts"

/** What a lying node reports instead of an event. */
const reported = {
  /** Says that it has passed the barrier as soon as it is ready itself. */
  impatient: (event: Event): ReadonlyArray<Event> =>
    event._tag === "Ready" ? [event, { _tag: "Passed", node: event.node }] : event._tag === "Passed" ? [] : [event],
  /** Writes one more line after it has lost its place. */
  stubborn: (event: Event): ReadonlyArray<Event> =>
    event._tag === "StoppedLeading" && event.why !== null
      ? [event, { _tag: "Wrote", node: event.node, token: event.token, line: 99 }]
      : [event],
  /** Works on partition 0, whoever owns it. */
  greedy: (event: Event): ReadonlyArray<Event> =>
    event._tag === "Owns" && event.node.endsWith("02")
      ? [{ ...event, partitions: Array.from(new Set([0, ...event.partitions])) }]
      : [event],
  /** Never says that it has passed the barrier. */
  silent: (event: Event): ReadonlyArray<Event> => (event._tag === "Passed" ? [] : [event])
}

export type Lie = keyof typeof reported
export const lies: ReadonlyArray<Lie> = ["impatient", "stubborn", "greedy", "silent"]

/** What becomes of the nodes' reports. */
export const twist =
  (lie: Lie | undefined) =>
  (report: Report): Report =>
  (event) =>
    lie === undefined ? report(event) : Effect.forEach(reported[lie](event), report, { discard: true })
