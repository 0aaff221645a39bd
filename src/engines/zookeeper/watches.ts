/**
 * Who is told of what: the watches of a session, which outlive its connections.
 *
 * A server forgets the watches of a connection with the connection, so they are set again on the next one. One-shot watches
 * fire at once for what changed in between; recursive ones tell nothing of it, hence `Interrupted` and `Restored`.
 *
 * Of the persistent kinds only the recursive one is kept here: on servers before 3.9 a second kind of watch at the same
 * path silently replaces the first.
 */
import { byteLength } from "../../internal/utf8.ts"
import type { SessionOver, Unimplemented } from "./errors.ts"
import type { WatchEvent, WatchLists } from "./protocol.ts"

/** What a listener is told, in the order in which it came over the network. */
export type Notice =
  | { readonly _tag: "Event"; readonly event: WatchEvent }
  /** The connection is gone: from here on changes are missed. */
  | { readonly _tag: "Interrupted" }
  /** The watch is set again; whatever is read from now on is followed by its changes. Read everything again. */
  | { readonly _tag: "Restored" }
  /** The last notice: the session is over, or the servers do not know recursive watches. */
  | { readonly _tag: "Over"; readonly reason: SessionOver | Unimplemented }

/** Called in the turn in which the notice arrives, before any answer that arrives later. Must not block. */
export type Listener = (notice: Notice) => void

/** One-shot watches by what set them: they fire for different events (`DataTree.setWatches`). */
export type Kind = "data" | "exist" | "child"

type Table = Map<string, Set<Listener>>

const add = (table: Table, path: string, listener: Listener): void => {
  const listeners = table.get(path)
  if (listeners === undefined) table.set(path, new Set([listener]))
  else listeners.add(listener)
}

/** The path right above. */
const above = (path: string): string | undefined =>
  path === "/" ? undefined : path.slice(0, path.lastIndexOf("/")) || "/"

/** Which one-shot watches an event uses up. */
const usedUp: Readonly<Record<string, ReadonlyArray<Kind>>> = {
  created: ["data", "exist"],
  dataChanged: ["data", "exist"],
  deleted: ["data", "exist", "child"],
  childrenChanged: ["child"]
}

const none: ReadonlyArray<Kind> = []

const hasRecursive: ReadonlySet<string> = new Set(["created", "dataChanged", "deleted"])

export interface Registry {
  /** Answers a function that takes the listener out again and says whether nobody watches the path any more. */
  readonly addRecursive: (path: string, listener: Listener) => () => boolean
  /** For the next event only; the session keeps it until then. Answers a function that takes the listener out again. */
  readonly addOnce: (kind: Kind, path: string, listener: Listener) => () => void
  /** Tells the listener of the connection and of the end, and of no events. Answers a function that takes it out again. */
  readonly addFollower: (listener: Listener) => () => void
  readonly dispatch: (event: WatchEvent) => void
  /** Tells the followers and those with recursive watches: what one-shot watches miss is told to them later. */
  readonly tellConnection: (notice: Notice) => void
  /** Tells all for the last time and forgets them; with `recursive` only those with recursive watches. */
  readonly end: (reason: SessionOver | Unimplemented, which: "recursive" | "all") => void
  readonly lists: () => WatchLists
}

export const make = (): Registry => {
  const recursive: Table = new Map()
  const followers = new Set<Listener>()
  const once: Readonly<Record<Kind, Table>> = { data: new Map(), exist: new Map(), child: new Map() }
  /** A copy, since a listener may add and remove others. */
  const listenersOf = (tables: Iterable<Table>): Set<Listener> => {
    const all = new Set<Listener>()
    for (const table of tables) for (const listeners of table.values()) for (const one of listeners) all.add(one)
    return all
  }

  return {
    addRecursive: (path, listener) => {
      // A wrapper of its own for each call: the same function may watch twice.
      const own: Listener = (notice) => listener(notice)
      add(recursive, path, own)
      return () => {
        const listeners = recursive.get(path)
        if (listeners === undefined || !listeners.delete(own) || listeners.size > 0) return false
        recursive.delete(path)
        return !Object.values(once).some((table) => table.has(path))
      }
    },
    addFollower: (listener) => {
      const own: Listener = (notice) => listener(notice)
      followers.add(own)
      return () => void followers.delete(own)
    },
    addOnce: (kind, path, listener) => {
      const table = once[kind]
      add(table, path, listener)
      return () => {
        const listeners = table.get(path)
        if (listeners?.delete(listener) === true && listeners.size === 0) table.delete(path)
      }
    },
    dispatch: (event) => {
      const { path, type } = event
      // Mostly there is one.
      let told: Listener | Set<Listener> | undefined
      const add = (listener: Listener): void => {
        if (told === undefined) told = listener
        else if (typeof told !== "function") told.add(listener)
        else if (told !== listener) told = new Set([told, listener])
      }
      for (const kind of usedUp[type] ?? none) {
        const listeners = once[kind].get(path)
        if (listeners === undefined) continue
        once[kind].delete(path)
        for (const listener of listeners) add(listener)
      }
      if (recursive.size > 0 && hasRecursive.has(type)) {
        for (let at: string | undefined = path; at !== undefined; at = above(at)) {
          const listeners = recursive.get(at)
          if (listeners !== undefined) for (const listener of listeners) add(listener)
        }
      }
      if (told === undefined) return
      const notice: Notice = { _tag: "Event", event }
      if (typeof told === "function") told(notice)
      else for (const listener of told) listener(notice)
    },
    tellConnection: (notice) => {
      for (const listener of [...listenersOf([recursive]), ...followers]) listener(notice)
    },
    end: (reason, which) => {
      const tables = which === "all" ? [recursive, ...Object.values(once)] : [recursive]
      const told = listenersOf(tables)
      for (const table of tables) table.clear()
      if (which === "all") {
        for (const follower of followers) told.add(follower)
        followers.clear()
      }
      for (const listener of told) listener({ _tag: "Over", reason })
    },
    lists: () => ({
      data: [...once.data.keys()],
      exist: [...once.exist.keys()],
      child: [...once.child.keys()],
      persistent: [],
      persistentRecursive: [...recursive.keys()]
    })
  }
}

/**
 * The most bytes of paths in one request to set watches again. The servers' limit is 1 MiB by default, and a request over
 * it ends the connection, for ever again; ZooKeeper's own client splits here (`ClientCnxn.SET_WATCHES_MAX_LENGTH`).
 */
export const chunkLimit = 128 * 1024

/** Splits the lists so that each part stays below the limit. A single path that is longer goes alone. */
export const chunks = (lists: WatchLists, chroot: string, limit = chunkLimit): ReadonlyArray<WatchLists> => {
  const parts: Array<{ readonly [K in keyof WatchLists]: Array<string> }> = []
  let bytes = limit
  for (const kind of ["data", "exist", "child", "persistent", "persistentRecursive"] as const) {
    for (const path of lists[kind]) {
      const length = 4 + byteLength(chroot + path)
      let part = parts.at(-1)
      if (part === undefined || bytes + length > limit) {
        part = { data: [], exist: [], child: [], persistent: [], persistentRecursive: [] }
        parts.push(part)
        bytes = 0
      }
      part[kind].push(path)
      bytes += length
    }
  }
  return parts
}
