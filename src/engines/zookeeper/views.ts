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
import * as HashMap from "effect/HashMap"
import * as HashSet from "effect/HashSet"
import * as Option from "effect/Option"
import type { Entry } from "../../internal/store.ts"
import type { Gap } from "./childWatch.ts"
import type { Node } from "./nodes.ts"
import { idOf, memberAmong } from "./nodes.ts"

/** The name under which the group itself is read. No node is called so. */
export const theGroup = ""

export interface State {
  /** By id, since several nodes may have one. */
  readonly nodes: HashMap.HashMap<string, ReadonlyArray<Node>>
  /** Reads whose answer is due, by the name that is read. */
  readonly due: HashMap.HashMap<string, Due>
  /** How many watches have been used up and not set again: changes may go unnoticed meanwhile. */
  readonly gaps: number
  /** Names of the list that nothing is known of yet. */
  readonly unread: HashSet.HashSet<string>
  /** The list's transaction: once nothing is unread, everything up to it is known. Absent before the list. */
  readonly listedAt: bigint | undefined
  /** Ids of which something may differ from what was last shown. */
  readonly touched: HashSet.HashSet<string>
  readonly reads: number
  /** The newest transaction that an answer has shown. */
  readonly revision: bigint
}

/** The reads of one name since it was last seen removed: an answer counts from the first of them on, and the last settles it. */
interface Due {
  readonly first: number
  readonly last: number
}

export const initial: State = {
  nodes: HashMap.empty(),
  due: HashMap.empty(),
  gaps: 0,
  unread: HashSet.empty(),
  listedAt: undefined,
  touched: HashSet.empty(),
  reads: 0,
  revision: 0n
}

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

export interface Step {
  readonly state: State
  readonly reads: ReadonlyArray<Read>
}

const ask = (state: State, name: string): Step => {
  const read = state.reads + 1
  const { first } = Option.getOrElse(HashMap.get(state.due, name), () => ({ first: read }))
  const due = HashMap.set(state.due, name, { first, last: read })
  return { state: { ...state, reads: read, due }, reads: [{ name, read }] }
}

const max = (a: bigint, b: bigint): bigint => (a > b ? a : b)

/** Puts the node in the place of what had its name, or takes that away. */
const put = (state: State, name: string, node: Node | undefined): State => {
  const id = idOf(name)
  const before = Option.getOrElse(HashMap.get(state.nodes, id), (): ReadonlyArray<Node> => [])
  const others = before.filter((one) => one.name !== name)
  if (node === undefined && others.length === before.length) return state
  const after = node === undefined ? others : [...others, node]
  const nodes = after.length === 0 ? HashMap.remove(state.nodes, id) : HashMap.set(state.nodes, id, after)
  return { ...state, nodes, touched: HashSet.add(state.touched, id) }
}

export const step = (state: State, event: Event): Step => {
  switch (event._tag) {
    case "Listed": {
      let listed: State = {
        ...state,
        revision: max(state.revision, event.revision),
        listedAt: event.revision,
        unread: HashSet.fromIterable(event.names)
      }
      const reads: Array<Read> = []
      for (const name of event.names) {
        // A change that was told before the list was answered has asked for it already.
        if (HashMap.has(listed.due, name)) continue
        const next = ask(listed, name)
        listed = next.state
        reads.push(...next.reads)
      }
      return { state: listed, reads }
    }
    case "Changed":
      return ask(state, event.name)
    case "Removed": {
      // Whatever is still to be answered of this name is of before the removal.
      const removed = {
        ...state,
        due: HashMap.remove(state.due, event.name),
        unread: HashSet.remove(state.unread, event.name)
      }
      return ask(put(removed, event.name, undefined), theGroup)
    }
    case "GapOpened":
      return { state: { ...state, gaps: state.gaps + 1 }, reads: [] }
    case "GapClosed":
      return {
        state: { ...state, gaps: state.gaps - 1, revision: max(state.revision, event.revision) },
        reads: []
      }
    case "Read": {
      const { name, node, read } = event
      const answered = { ...state, revision: max(state.revision, event.revision) }
      const due = Option.getOrUndefined(HashMap.get(state.due, name))
      if (due === undefined || read < due.first) return { state: answered, reads: [] }
      const paid = {
        ...answered,
        due: read === due.last ? HashMap.remove(answered.due, name) : answered.due,
        unread: HashSet.remove(answered.unread, name)
      }
      return { state: name === theGroup ? paid : put(paid, name, node), reads: [] }
    }
  }
}

/** Several events at once: of what is read more than once, only the last reading is needed. */
export const steps = (state: State, events: Iterable<Event>): Step => {
  let after = state
  const reads: Array<Read> = []
  for (const event of events) {
    const next = step(after, event)
    after = next.state
    reads.push(...next.reads)
  }
  return {
    state: after,
    reads: reads.filter(({ name, read }) => Option.getOrUndefined(HashMap.get(after.due, name))?.last === read)
  }
}

/** Whether the group is known exactly, as it was at `revision`. */
export const isSettled = (state: State): boolean =>
  state.listedAt !== undefined && state.gaps === 0 && HashMap.isEmpty(state.due)

/** Whether nobody who was listed is missing: the least that may be shown. */
export const isComplete = (state: State): boolean => state.listedAt !== undefined && HashSet.isEmpty(state.unread)

/** The members, of each id the oldest node. */
export const members = (state: State): ReadonlyArray<Entry> =>
  Array.from(HashMap.values(state.nodes)).flatMap((nodes) => memberAmong(nodes) ?? [])

/** What differs from when it was last asked, and the state in which that is told. */
export const differences = (
  state: State
): { readonly state: State; readonly puts: ReadonlyArray<Entry>; readonly removes: ReadonlyArray<string> } => {
  const puts: Array<Entry> = []
  const removes: Array<string> = []
  for (const id of state.touched) {
    const member = memberAmong(Option.getOrElse(HashMap.get(state.nodes, id), (): ReadonlyArray<Node> => []))
    if (member === undefined) removes.push(id)
    else puts.push(member)
  }
  return { state: { ...state, touched: HashSet.empty() }, puts, removes }
}
