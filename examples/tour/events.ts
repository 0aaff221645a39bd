/** What happens on the tour, as data: drawn for a person, printed as JSON, and judged at the end. */
import type { Effect } from "effect"
import { Schema } from "effect"

const Node = Schema.String
const Nodes = Schema.Array(Node)
const Partitions = Schema.Array(Schema.Int)
const Token = Schema.BigInt

export const Owner = Schema.Struct({ node: Node, partitions: Partitions })
export type Owner = typeof Owner.Type

export const Event = Schema.TaggedUnion({
  // Told by the story itself.
  Began: { engine: Schema.String, nodes: Nodes, partitions: Schema.Int, ttlMillis: Schema.Finite },
  Providing: { store: Schema.String },
  Provided: { store: Schema.String, endpoints: Schema.Array(Schema.String) },
  Started: { node: Node, pid: Schema.Int },
  Chapter: { number: Schema.Int, title: Schema.String },
  /** For ever: to the others it has crashed. */
  CutOff: { node: Node },
  Killed: { node: Node, pid: Schema.Int },
  /** Until it is `Reachable` again. */
  Unreachable: { node: Node },
  Reachable: { node: Node },
  ConnectionsReset: { nodes: Nodes },
  ConnectionsBack: { nodes: Nodes },
  AskedToLeave: { node: Node },
  Divided: { owners: Schema.Array(Owner) },
  /** `dying`: what other programs are not shown any more, and what the store itself removes later. */
  LookedInside: { remains: Schema.Array(Schema.String), dying: Nodes },
  Checked: { claim: Schema.String, problems: Schema.Array(Schema.String) },
  Ended: { ok: Schema.Boolean, reason: Schema.String },

  // Seen by the watcher, a process of its own that takes no part.
  Joined: { node: Node, listens: Schema.String, zone: Schema.String },
  Changed: { node: Node, phase: Schema.String },
  Left: { node: Node },
  Gathered: { minimum: Schema.Int, present: Schema.Int, ready: Schema.Int, open: Schema.Boolean },

  // Reported by the nodes.
  Ready: { node: Node },
  Passed: { node: Node },
  Leads: { node: Node, token: Token },
  Wrote: { node: Node, token: Token, line: Schema.Int },
  StoppedLeading: { node: Node, token: Token, why: Schema.NullOr(Schema.String) },
  Owns: { node: Node, partitions: Partitions, of: Schema.Int },
  GaveUp: { node: Node, partitions: Partitions },
  Failed: { node: Node, reason: Schema.String }
})
export type Event = typeof Event.Type
export type EventOf<Tag extends Event["_tag"]> = Extract<Event, { readonly _tag: Tag }>

/** An event and the milliseconds since the beginning. */
export interface Stamped {
  readonly at: number
  readonly event: Event
}
export type History = ReadonlyArray<Stamped>

export type Report = (event: Event) => Effect.Effect<void>

const Json = Schema.toCodecJson(Event)
const encode = Schema.encodeSync(Json)
const decode = Schema.decodeUnknownSync(Json)

export const toJson = ({ at, event }: Stamped): string => JSON.stringify({ at, ...(encode(event) as object) })

export const fromJson = (line: string): Stamped => {
  const { at, ...event } = JSON.parse(line) as { readonly at: number }
  return { at, event: decode(event) }
}

/** All events of one kind, in order. */
export const all = <Tag extends Event["_tag"]>(history: History, tag: Tag): ReadonlyArray<EventOf<Tag>> =>
  history.flatMap(({ event }) => (event._tag === tag ? [event as EventOf<Tag>] : []))

/** Who owns what at the end of the history, as the nodes have reported it. The dead own nothing. */
export const ownersAt = (history: History): ReadonlyMap<string, EventOf<"Owns">> => {
  const owners = new Map<string, EventOf<"Owns">>()
  for (const { event } of history) {
    if (event._tag === "Owns") owners.set(event.node, event)
    if (event._tag === "GaveUp" || event._tag === "Killed") owners.delete(event.node)
  }
  return owners
}

/** Who has been seen joining, and has not left since. */
export const presentAt = (history: History): ReadonlySet<string> => {
  const present = new Set<string>()
  for (const { event } of history) {
    if (event._tag === "Joined") present.add(event.node)
    if (event._tag === "Left") present.delete(event.node)
  }
  return present
}

/** Who cannot reach the store, being dead or without a network. */
export const awayAt = (history: History): ReadonlySet<string> => {
  const away = new Set<string>()
  for (const { event } of history) {
    if (isTrouble(event)) away.add(event.node)
    if (event._tag === "Reachable") away.delete(event.node)
  }
  return away
}

/** What the story does to a leader. */
export const isTrouble = (event: Event): event is EventOf<"CutOff" | "Killed" | "Unreachable"> =>
  event._tag === "CutOff" || event._tag === "Killed" || event._tag === "Unreachable"
