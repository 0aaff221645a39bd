/** What the store held, when: read from a history once, asked by every check. */
import * as HashMap from "effect/HashMap"
import type { Event, Of } from "./events.ts"

/** A moment: virtual or real milliseconds, and the place in the order of all events. */
export interface Moment {
  readonly at: number
  readonly order: number
}

/** One entry from its creation to its removal. */
export interface Life {
  readonly group: string
  readonly id: string
  readonly token: bigint
  readonly epoch: number
  readonly from: Of<"Stored"> | Of<"Restored">
  to: Of<"Removed"> | Of<"Stored"> | Of<"Restored"> | undefined
}

export type Held = HashMap.HashMap<string, { readonly token: bigint; readonly value: string }>

/** A group as the store had it from one write to the next. */
export interface Version {
  readonly epoch: number
  readonly revision: bigint
  readonly order: number
  readonly members: Held
}

export interface Truth {
  /** Without events of the store only what readers and holders say can be held against each other. */
  readonly known: boolean
  readonly groups: ReadonlyArray<string>
  readonly lives: (group: string) => ReadonlyArray<Life>
  /** All versions of a group, in order. The first of each epoch is what the epoch began with. */
  readonly versions: (group: string) => ReadonlyArray<Version>
  /** The store's epoch at a moment. */
  readonly epochAt: (order: number) => number
  readonly membersAt: (group: string, order: number) => Held
  /** Whether the group's revisions say nothing exact from that moment on. */
  readonly isLowered: (group: string, order: number) => boolean
}

const none: Held = HashMap.empty()

/** An end that nobody's lease could foresee: an operator's deletion, a restored store. */
export const wasForced = (life: Life): boolean =>
  life.to !== undefined && (life.to._tag === "Restored" || (life.to._tag === "Removed" && life.to.forced))

export const make = (events: ReadonlyArray<Event>): Truth => {
  const lives = new Map<string, Array<Life>>()
  const versions = new Map<string, Array<Version>>()
  const lowered = new Map<string, number>()
  const restores: Array<{ readonly order: number; readonly epoch: number }> = []
  const open = new Map<string, Life>()
  let known = false
  let firstEpoch: number | undefined

  const listOf = <A>(map: Map<string, Array<A>>, group: string): Array<A> => {
    const list = map.get(group) ?? []
    map.set(group, list)
    return list
  }
  const keyOf = (group: string, id: string) => `${group}/${id}`
  const begin = (life: Life) => {
    open.set(keyOf(life.group, life.id), life)
    listOf(lives, life.group).push(life)
  }
  const end = (group: string, id: string, to: Life["to"]) => {
    const life = open.get(keyOf(group, id))
    if (life !== undefined) life.to = to
    open.delete(keyOf(group, id))
  }
  const write = (event: Of<"Stored"> | Of<"Removed">, change: (members: Held) => Held) => {
    const list = listOf(versions, event.group)
    const last = list.at(-1)
    const before = last !== undefined && last.epoch === event.epoch ? last.members : none
    list.push({ epoch: event.epoch, revision: event.revision, order: event.order, members: change(before) })
  }

  for (const event of events) {
    switch (event._tag) {
      case "Stored": {
        known = true
        firstEpoch ??= event.epoch
        const { epoch, group, id, token, value } = event
        const life = open.get(keyOf(group, id))
        if (life === undefined || life.token !== token || life.epoch !== epoch) {
          end(group, id, event)
          begin({ group, id, token, epoch, from: event, to: undefined })
        }
        write(event, HashMap.set(id, { token, value }))
        break
      }
      case "Removed":
        known = true
        end(event.group, event.id, event)
        write(event, HashMap.remove(event.id))
        break
      case "Restored": {
        known = true
        firstEpoch ??= event.epoch - 1
        restores.push(event)
        for (const life of open.values()) life.to = event
        open.clear()
        const groups = new Map<string, Held>(Array.from(versions.keys(), (group) => [group, none]))
        for (const { group, id, token, value } of event.entries) {
          groups.set(group, HashMap.set(groups.get(group) ?? none, id, { token, value }))
          begin({ group, id, token, epoch: event.epoch, from: event, to: undefined })
        }
        for (const [group, members] of groups) {
          listOf(versions, group).push({ epoch: event.epoch, revision: event.revision, order: event.order, members })
        }
        break
      }
      case "IndexLowered":
        if (!lowered.has(event.group)) lowered.set(event.group, event.order)
        break
      default:
    }
  }

  return {
    known,
    groups: Array.from(lives.keys()),
    lives: (group) => lives.get(group) ?? [],
    versions: (group) => versions.get(group) ?? [],
    epochAt: (order) => restores.findLast((restore) => restore.order < order)?.epoch ?? firstEpoch ?? 0,
    membersAt: (group, order) =>
      (versions.get(group) ?? []).findLast((version) => version.order < order)?.members ?? none,
    isLowered: (group, order) => (lowered.get(group) ?? Infinity) < order
  }
}

/** The stretches of a time in which a process was not paused. */
export type Running = (process: string, from: number, to: number) => ReadonlyArray<readonly [number, number]>

export const makeRunning = (events: ReadonlyArray<Event>): Running => {
  const pauses = new Map<string, Array<{ readonly from: number; to: number }>>()
  for (const event of events) {
    if (event._tag !== "Paused" && event._tag !== "Resumed") continue
    const list = pauses.get(event.process) ?? []
    pauses.set(event.process, list)
    const last = list.at(-1)
    const isPaused = last !== undefined && last.to === Infinity
    if (event._tag === "Paused" && !isPaused) list.push({ from: event.at, to: Infinity })
    if (event._tag === "Resumed" && isPaused) last.to = event.at
  }
  return (process, from, to) => {
    const pieces: Array<readonly [number, number]> = []
    let start = from
    for (const pause of pauses.get(process) ?? []) {
      if (pause.to <= start) continue
      if (pause.from >= to) break
      if (pause.from > start) pieces.push([start, pause.from])
      start = pause.to
    }
    if (start < to) pieces.push([start, to])
    return pieces
  }
}
