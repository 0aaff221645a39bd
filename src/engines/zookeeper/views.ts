/**
 * What a group's watch has told and what was read because of it, as one total function.
 *
 * A watch of ZooKeeper says that something changed and where, not what is there now, so each change is followed by a
 * read. The requests of a connection are answered in their order, and an event comes before every answer that
 * was given after it. So when the last read has been answered that was sent after the last event, nothing of what happened
 * up to that answer is unknown: the group is exactly as it was at the answer's transaction. A removal is followed
 * by a read as well, of the group itself: one transaction may remove many members, and tells of each by itself.
 *
 * A group that changes faster than it is read is never known exactly. What is known of it meanwhile only moves forward: the
 * answers to the reads of one name come in their order, and those that were asked for before a removal are not looked at.
 */
import type { Entry } from "../../internal/store.ts"
import type { Gap } from "./childWatch.ts"
import type { Node } from "./nodes.ts"
import { idOf, memberAmong } from "./nodes.ts"

/** The name under which the group itself is read. No node is called so. */
export const theGroup = ""

/** What a feed knows. It belongs to the feed alone: a step changes it, since thousands of them in a row would else copy it as often. */
export interface State {
  /** By id, since several nodes may have one. */
  readonly nodes: Map<string, ReadonlyArray<Node>>
  /** Reads whose answer is due, by the name that is read. */
  readonly due: Map<string, Due>
  /** How many watches have been used up and not set again: changes may go unnoticed meanwhile. */
  gaps: number
  /** Names of the list that nothing is known of yet. */
  readonly unread: Set<string>
  /** The list's transaction: once nothing is unread, everything up to it is known. Absent before the list. */
  listedAt: bigint | undefined
  /** Ids of which something may differ from what was last shown. */
  readonly touched: Set<string>
  reads: number
  /** The newest transaction that an answer has shown. */
  revision: bigint
}

/** The reads of one name since it was last seen removed: an answer counts from the first of them on, and the last settles it. */
interface Due {
  readonly first: number
  readonly last: number
}

export const make = (): State => ({
  nodes: new Map(),
  due: new Map(),
  gaps: 0,
  unread: new Set(),
  listedAt: undefined,
  touched: new Set(),
  reads: 0,
  revision: 0n
})

export type Event =
  | { readonly _tag: "Listed"; readonly names: ReadonlyArray<string>; readonly revision: bigint }
  | { readonly _tag: "Changed"; readonly name: string }
  | { readonly _tag: "Removed"; readonly name: string }
  | Gap
  /** `node` is absent when there is none of this name any more. */
  | {
      readonly _tag: "Read"
      readonly name: string
      readonly read: number
      readonly node: Node | undefined
      readonly revision: bigint
    }

/** A node to be read, or the group under the name of {@link theGroup}. */
export interface Read {
  readonly name: string
  readonly read: number
}

const nobody: ReadonlyArray<Node> = []

const ask = (state: State, name: string, reads: Array<Read>): void => {
  const read = ++state.reads
  state.due.set(name, { first: state.due.get(name)?.first ?? read, last: read })
  reads.push({ name, read })
}

const see = (state: State, revision: bigint): void => {
  if (revision > state.revision) state.revision = revision
}

/** Puts the node in the place of what had its name, or takes that away. */
const put = (state: State, name: string, node: Node | undefined): void => {
  const id = node?.id ?? idOf(name)
  const before = state.nodes.get(id) ?? nobody
  const others = before.length === 0 ? before : before.filter((one) => one.name !== name)
  if (node === undefined && others.length === before.length) return
  if (node !== undefined) state.nodes.set(id, others.length === 0 ? [node] : [...others, node])
  else if (others.length === 0) state.nodes.delete(id)
  else state.nodes.set(id, others)
  state.touched.add(id)
}

/** Takes the event in, and adds what is to be read because of it. */
export const step = (state: State, event: Event, reads: Array<Read>): void => {
  switch (event._tag) {
    case "Listed":
      see(state, event.revision)
      state.listedAt = event.revision
      state.unread.clear()
      for (const name of event.names) {
        state.unread.add(name)
        // A change that was told before the list was answered has asked for it already.
        if (!state.due.has(name)) ask(state, name, reads)
      }
      return
    case "Changed":
      return ask(state, event.name, reads)
    case "Removed":
      // Whatever is still to be answered of this name is of before the removal.
      state.due.delete(event.name)
      state.unread.delete(event.name)
      put(state, event.name, undefined)
      return ask(state, theGroup, reads)
    case "GapOpened":
      state.gaps++
      return
    case "GapClosed":
      state.gaps--
      return see(state, event.revision)
    case "Read": {
      const { name, node, read } = event
      see(state, event.revision)
      const due = state.due.get(name)
      if (due === undefined || read < due.first) return
      if (read === due.last) state.due.delete(name)
      state.unread.delete(name)
      if (name !== theGroup) put(state, name, node)
    }
  }
}

/** Several events at once, and what is to be read because of them: of what would be read more than once, only the last reading is needed. */
export const steps = (state: State, events: Iterable<Event>): ReadonlyArray<Read> => {
  const reads: Array<Read> = []
  for (const event of events) step(state, event, reads)
  return reads.length < 2 ? reads : reads.filter(({ name, read }) => state.due.get(name)?.last === read)
}

/** Whether the group is known exactly, as it was at `revision`. */
export const isSettled = (state: State): boolean =>
  state.listedAt !== undefined && state.gaps === 0 && state.due.size === 0

/** Whether nobody who was listed is missing: the least that may be shown. */
export const isComplete = (state: State): boolean => state.listedAt !== undefined && state.unread.size === 0

/** The members, of each id the oldest node. */
export const members = (state: State): ReadonlyArray<Entry> =>
  Array.from(state.nodes.values()).flatMap((nodes) => memberAmong(nodes) ?? [])

/** What differs from when it was last asked. */
export const differences = (
  state: State
): { readonly puts: ReadonlyArray<Entry>; readonly removes: ReadonlyArray<string> } => {
  const puts: Array<Entry> = []
  const removes: Array<string> = []
  for (const id of state.touched) {
    const member = memberAmong(state.nodes.get(id) ?? nobody)
    if (member === undefined) removes.push(id)
    else puts.push(member)
  }
  state.touched.clear()
  return { puts, removes }
}
