/**
 * The store itself: what would be a server elsewhere. Synchronous data with a revision for every write; only the end
 * of sessions takes time. It knows nothing of processes and connections.
 */
import type * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as HashMap from "effect/HashMap"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import type { Entry } from "../../internal/store.ts"
import { seeded } from "./random.ts"

type Entries = HashMap.HashMap<string, Entry>

/** One write. `previous` is the revision of the write before it in the same group: a reader sees by it what it missed. */
export interface Write {
  readonly group: string
  readonly id: string
  readonly revision: bigint
  readonly previous: bigint
  readonly entry: Entry | undefined
  readonly removed: Entry | undefined
  readonly at: number
  readonly before: Entries
}

interface Session {
  readonly id: string
  readonly ttlMillis: number
  readonly keys: Set<string>
  expiresAt: number
}

/** Everything that a restore brings back. */
export interface Checkpoint {
  readonly revision: bigint
  readonly groups: ReadonlyMap<string, Entries>
  readonly lastWrites: ReadonlyMap<string, bigint>
  readonly sessions: ReadonlyArray<{ readonly id: string; readonly ttlMillis: number }>
}

export interface Watcher {
  readonly wrote: (write: Write) => void
  readonly broken: (why: "rewound") => void
}

/** Writes kept for watches that start in the past; half of them go when there are more. */
const keptWrites = 4096

export const keyOf = (group: string, id: string): string => `${group}/${id}`

export class MemoryServer {
  revision = 0n
  /** Changes when the store is rewound, like a cluster's id after a restore. */
  incarnation = 1
  private groups = new Map<string, Entries>()
  private lastWrites = new Map<string, bigint>()
  private sessions = new Map<string, Session>()
  private history: Array<Write> = []
  private compactedTo = 0n
  private readonly watchers = new Map<string, Set<Watcher>>()
  private readonly lowered = new Set<string>()
  private readonly observers = new Set<(write: Write) => void>()
  private readonly random: () => number
  private readonly clock: Clock.Clock
  private readonly scope: Scope.Scope
  private opened = 0

  constructor(options: { readonly seed: number; readonly clock: Clock.Clock; readonly scope: Scope.Scope }) {
    this.random = seeded(options.seed)
    this.clock = options.clock
    this.scope = options.scope
  }

  private now(): number {
    return this.clock.currentTimeMillisUnsafe()
  }

  private entriesOf(group: string): Entries {
    return this.groups.get(group) ?? HashMap.empty<string, Entry>()
  }

  private write(group: string, id: string, entry: Entry | undefined): void {
    const before = this.entriesOf(group)
    const removed = entry === undefined ? Option.getOrUndefined(HashMap.get(before, id)) : undefined
    const previous = this.lastWrites.get(group) ?? 0n
    this.groups.set(group, entry === undefined ? HashMap.remove(before, id) : HashMap.set(before, id, entry))
    this.lastWrites.set(group, this.revision)
    const write = { group, id, entry, removed, previous, before, revision: this.revision, at: this.now() }
    this.history.push(write)
    if (this.history.length > keptWrites) {
      const dropped = this.history.splice(0, keptWrites / 2)
      this.compactedTo = dropped[dropped.length - 1]?.revision ?? this.compactedTo
    }
    for (const observer of this.observers) observer(write)
    for (const watcher of this.watchers.get(group) ?? []) watcher.wrote(write)
    for (const watcher of this.watchers.get(keyOf(group, id)) ?? []) watcher.wrote(write)
  }

  /** A store may keep a session for up to twice its TTL; which moment it takes is drawn anew with each renewal. */
  private expiry(ttlMillis: number): number {
    return this.now() + ttlMillis * (1 + this.random())
  }

  private admit(id: string, ttlMillis: number): Effect.Effect<void> {
    return Effect.suspend(() => {
      const session: Session = { id, ttlMillis, keys: new Set(), expiresAt: this.expiry(ttlMillis) }
      this.sessions.set(id, session)
      return Effect.asVoid(Effect.forkIn(this.lapse(session), this.scope))
    })
  }

  private lapse(session: Session): Effect.Effect<void> {
    return Effect.suspend(() => {
      if (this.sessions.get(session.id) !== session) return Effect.void
      const remaining = session.expiresAt - this.now()
      // Whole milliseconds: a remainder below the clock's resolution would be slept in no time, again and again.
      if (remaining > 0) {
        return Effect.andThen(this.clock.sleep(Duration.millis(Math.ceil(remaining))), this.lapse(session))
      }
      this.endSession(session.id)
      return Effect.void
    })
  }

  openSession(ttlMillis: number): Effect.Effect<{ readonly id: string; readonly ttlMillis: number }> {
    return Effect.suspend(() => {
      const id = `s${++this.opened}`
      return Effect.as(this.admit(id, ttlMillis), { id, ttlMillis })
    })
  }

  renewSession(id: string): { readonly ttlMillis: number } | undefined {
    const session = this.sessions.get(id)
    if (session !== undefined) session.expiresAt = this.expiry(session.ttlMillis)
    return session
  }

  endSession(id: string): void {
    const session = this.sessions.get(id)
    if (session === undefined) return
    this.sessions.delete(id)
    for (const key of session.keys) {
      const at = key.lastIndexOf("/")
      this.delete(key.slice(0, at), key.slice(at + 1), (entry) => entry.owner === id)
    }
  }

  create(group: string, id: string, value: string, owner: string | undefined): Entry | "Occupied" | "SessionGone" {
    const session = owner === undefined ? undefined : this.sessions.get(owner)
    if (owner !== undefined && session === undefined) return "SessionGone"
    if (HashMap.has(this.entriesOf(group), id)) return "Occupied"
    this.revision++
    const entry: Entry = { id, value, owner, token: this.revision, version: this.revision }
    session?.keys.add(keyOf(group, id))
    this.write(group, id, entry)
    return entry
  }

  update(group: string, id: string, value: string, matches: (entry: Entry) => boolean): bigint | undefined {
    const found = this.read(group, id)
    if (Option.isNone(found) || !matches(found.value)) return undefined
    this.revision++
    this.write(group, id, { ...found.value, value, version: this.revision })
    return this.revision
  }

  delete(group: string, id: string, matches: (entry: Entry) => boolean): void {
    const found = this.read(group, id)
    if (Option.isNone(found) || !matches(found.value)) return
    this.revision++
    if (found.value.owner !== undefined) this.sessions.get(found.value.owner)?.keys.delete(keyOf(group, id))
    this.write(group, id, undefined)
  }

  read(group: string, id: string): Option.Option<Entry> {
    return HashMap.get(this.entriesOf(group), id)
  }

  /** The entry with the highest token below the given one. */
  ahead(group: string, token: bigint): Entry | undefined {
    let best: Entry | undefined
    for (const entry of HashMap.values(this.entriesOf(group))) {
      if (entry.token < token && (best === undefined || entry.token > best.token)) best = entry
    }
    return best
  }

  /** The group now, or as it was at a past moment for a replica that lags. `cursor` is where a watch goes on from. */
  list(group: string, asOf?: number): { readonly entries: ReadonlyArray<Entry>; revision: bigint; cursor: bigint } {
    const missing = asOf === undefined ? -1 : this.history.findIndex((write) => write.at > asOf)
    const unseen = missing < 0 ? undefined : this.history.slice(missing).find((write) => write.group === group)
    const entries = Array.from(HashMap.values(unseen?.before ?? this.entriesOf(group)))
    const cursor = unseen?.previous ?? this.lastWrites.get(group) ?? 0n
    const upTo = missing < 0 ? this.revision : (this.history[missing]?.revision ?? 1n) - 1n
    // A lowered index is what the newest of the present entries says, as Consul reports a prefix after its tombstones went.
    const revision = this.lowered.has(group)
      ? entries.reduce((highest, entry) => (entry.version > highest ? entry.version : highest), 0n)
      : upTo
    return { entries, revision, cursor }
  }

  lastWrite(group: string): bigint {
    return this.lastWrites.get(group) ?? 0n
  }

  /** Writes of a group after a cursor, or nothing where they are not all kept any more. */
  since(group: string, cursor: bigint): ReadonlyArray<Write> | undefined {
    if (cursor < this.compactedTo && this.lastWrite(group) > cursor) return undefined
    // Most watches start where their group is, and those that do not are little behind.
    if (this.lastWrite(group) <= cursor) return []
    const last = this.history.findLastIndex((write) => write.revision <= cursor)
    return this.history.slice(last + 1).filter((write) => write.group === group)
  }

  watch(key: string, watcher: Watcher): () => void {
    const set = this.watchers.get(key) ?? new Set()
    this.watchers.set(key, set)
    set.add(watcher)
    return () => {
      set.delete(watcher)
      if (set.size === 0 && this.watchers.get(key) === set) this.watchers.delete(key)
    }
  }

  /** Sees every write as it is made, with no network in between: for the judges of a test. */
  observe(observer: (write: Write) => void): () => void {
    this.observers.add(observer)
    return () => this.observers.delete(observer)
  }

  lowerIndex(group: string): void {
    this.lowered.add(group)
  }

  restoreIndex(): void {
    this.lowered.clear()
  }

  compact(): void {
    this.compactedTo = this.revision
    this.history = []
  }

  checkpoint(): Checkpoint {
    return {
      revision: this.revision,
      groups: new Map(this.groups),
      lastWrites: new Map(this.lastWrites),
      sessions: Array.from(this.sessions.values(), ({ id, ttlMillis }) => ({ id, ttlMillis }))
    }
  }

  /** Puts an earlier state back, as a restore from a backup does: revisions are given a second time. */
  rewind(to: Checkpoint): Effect.Effect<void> {
    return Effect.suspend(() => {
      this.incarnation++
      this.revision = to.revision
      this.groups = new Map(to.groups)
      this.lastWrites = new Map(to.lastWrites)
      this.history = []
      this.compactedTo = to.revision
      this.sessions = new Map()
      const broken = Array.from(this.watchers.values(), (set) => Array.from(set)).flat()
      this.watchers.clear()
      for (const watcher of broken) watcher.broken("rewound")
      return Effect.forEach(to.sessions, ({ id, ttlMillis }) =>
        Effect.tap(this.admit(id, ttlMillis), () =>
          Effect.sync(() => {
            const keys = this.sessions.get(id)?.keys
            for (const [group, entries] of this.groups) {
              for (const entry of HashMap.values(entries)) if (entry.owner === id) keys?.add(keyOf(group, entry.id))
            }
          })
        )
      ).pipe(Effect.asVoid)
    })
  }

  get watches(): number {
    return Array.from(this.watchers.values()).reduce((sum, set) => sum + set.size, 0)
  }

  get openSessions(): ReadonlyArray<string> {
    return Array.from(this.sessions.keys())
  }

  get allEntries(): ReadonlyArray<Entry & { readonly group: string }> {
    return Array.from(this.groups, ([group, entries]) =>
      Array.from(HashMap.values(entries), (entry) => ({ ...entry, group }))
    ).flat()
  }
}
