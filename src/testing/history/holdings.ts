/** Who held a place alone, from when to when, held against the store and against each other. */
import { moment } from "./describe.ts"
import type { Event, Of, Violation } from "./events.ts"
import type { Life, Running, Truth } from "./truth.ts"
import { wasForced } from "./truth.ts"

/** A tenure or a seat's body on its holder's side. */
interface Holding {
  readonly start: Of<"Granted"> | Of<"Began">
  readonly interrupted: Of<"Interrupted"> | undefined
  readonly stopped: Of<"Stopped"> | undefined
  /** The entry it stands on; unknown without events of the store. */
  readonly life: Life | undefined
}

/** Where it ends: after a loss when the interruption is issued, which is what a lease can promise; else when it has stopped. */
const endOf = ({ interrupted, stopped }: Holding): Of<"Interrupted"> | Of<"Stopped"> | undefined =>
  interrupted !== undefined && (interrupted.lost || stopped?.lost) ? interrupted : stopped

/** Until when it was to be counted on not to let anybody else start. */
const untilOf = (holding: Holding, last: number): number => {
  const { life, stopped } = holding
  const end = endOf(holding)
  if (end === undefined) return last
  // What was interrupted goes on stopping, and is still in its place until its entry is gone.
  const gone = Math.min(life?.to?.at ?? end.at, stopped?.at ?? last)
  return end._tag === "Interrupted" ? Math.max(end.at, gone) : end.at
}

const livesOf = (truth: Truth, place: { readonly group: string; readonly id: string; readonly token: bigint }) =>
  truth.lives(place.group).filter((life) => life.id === place.id && life.token === place.token)

const collect = (events: ReadonlyArray<Event>, truth: Truth): ReadonlyArray<Holding> => {
  const holdings: Array<{ -readonly [K in keyof Holding]: Holding[K] }> = []
  const open = new Map<string, (typeof holdings)[number]>()
  for (const event of events) {
    if (!("token" in event)) continue
    const key = `${event.process} ${event.group} ${event.id} ${event.token}`
    switch (event._tag) {
      case "Granted":
      case "Began": {
        const life = livesOf(truth, event).findLast(({ from }) => from.order < event.order)
        const holding = { start: event, interrupted: undefined, stopped: undefined, life }
        holdings.push(holding)
        open.set(key, holding)
        break
      }
      case "Interrupted":
      case "Stopped": {
        const holding = open.get(key)
        if (holding === undefined) break
        if (event._tag === "Interrupted") holding.interrupted ??= event
        else {
          holding.stopped = event
          open.delete(key)
        }
        break
      }
      default:
    }
  }
  return holdings
}

const nameOf = ({ start }: Holding): string => `${start.id} of ${start.process} (token ${start.token})`

const eventsOf = (holding: Holding): ReadonlyArray<Event> => [
  ...(holding.life === undefined ? [] : [holding.life.from]),
  holding.start,
  ...(holding.life?.to === undefined ? [] : [holding.life.to]),
  ...(holding.interrupted === undefined ? [] : [holding.interrupted]),
  ...(holding.stopped === undefined ? [] : [holding.stopped])
]

/** Nobody starts without an entry, or while another one is ahead. */
const checkStart = (holding: Holding, truth: Truth): ReadonlyArray<Violation> => {
  const { life, start } = holding
  if (life === undefined || (life.to !== undefined && life.to.order < start.order && !wasForced(life))) {
    return [
      {
        name: "GrantedWithoutEntry",
        message: `${nameOf(holding)} was given ${start.group} at ${moment(start)} and had no entry in the store`,
        events: eventsOf(holding)
      }
    ]
  }
  if (start._tag === "Began") return []
  const ahead = truth
    .lives(start.group)
    .find(
      (other) =>
        other.epoch === life.epoch &&
        other.token < start.token &&
        other.from.order < start.order &&
        (other.to === undefined || other.to.order > start.order)
    )
  return ahead === undefined
    ? []
    : [
        {
          name: "GrantedOutOfTurn",
          message:
            `${nameOf(holding)} was granted ${start.group} at ${moment(start)} while ${ahead.id} (token ${ahead.token}) ` +
            `was ahead in the store`,
          events: [ahead.from, ...eventsOf(holding)]
        }
      ]
}

/** The holder has ended before its entry has, unless somebody else removed the entry. */
const checkEnd = (holding: Holding, running: Running, last: number): ReadonlyArray<Violation> => {
  const { life, start } = holding
  const end = endOf(holding)
  if (life?.to === undefined || wasForced(life)) return []
  const { to } = life
  const stillRan = running(start.process, to.at, end?.at ?? last)
  if (stillRan.length > 0) {
    return [
      {
        name: "HeldAfterRemoval",
        message:
          `${nameOf(holding)} still held ${start.group} after ${moment(to)}, when its entry was gone from the store: ` +
          (end === undefined ? "it never ended" : `it ended at ${moment(end)}`),
        events: eventsOf(holding)
      }
    ]
  }
  // In one instant only the order tells; a process that is paused does nothing in any order.
  const wasPaused = running(start.process, to.at - 1, to.at + 1).length === 0
  return end !== undefined && end.order > to.order && !wasPaused
    ? [
        {
          name: "RemovedBeforeStopped",
          message:
            `The entry of ${nameOf(holding)} in ${start.group} was gone at ${moment(to)}, before its body ` +
            `${end._tag === "Stopped" ? "had stopped" : "was interrupted"} at ${moment(end)}`,
          events: eventsOf(holding)
        }
      ]
    : []
}

/** The stretches in which a holder could act and was still to be counted on. */
const stretches = (holding: Holding, running: Running, last: number) => {
  const { life, start } = holding
  const until = untilOf(holding, last)
  const forcedAt = life !== undefined && wasForced(life) ? (life.to?.at ?? until) : until
  return running(start.process, start.at, Math.min(until, forcedAt))
}

const overlap = (
  a: ReadonlyArray<readonly [number, number]>,
  b: ReadonlyArray<readonly [number, number]>
): readonly [number, number] | undefined => {
  for (const [from, to] of a) {
    for (const [otherFrom, otherTo] of b) {
      const start = Math.max(from, otherFrom)
      const end = Math.min(to, otherTo)
      if (start < end) return [start, end]
    }
  }
  return undefined
}

/** What of two holdings must not overlap: the whole group for tenures, the index for exclusive bodies. */
const subjectOf = ({ life, start }: Holding): string | undefined => {
  const epoch = life?.epoch ?? 0
  if (start._tag === "Granted") return `${start.group} ${epoch}`
  return start.exclusive ? `${start.group} ${epoch} index ${start.index}` : undefined
}

const checkPairs = (holdings: ReadonlyArray<Holding>, running: Running, last: number): ReadonlyArray<Violation> => {
  const violations: Array<Violation> = []
  const bySubject = new Map<string, Array<Holding>>()
  for (const holding of holdings) {
    const subject = subjectOf(holding)
    if (subject !== undefined) bySubject.set(subject, [...(bySubject.get(subject) ?? []), holding])
  }
  for (const list of bySubject.values()) {
    const times = list.map((holding) => stretches(holding, running, last))
    for (const [i, later] of list.entries()) {
      const previous = list[i - 1]
      if (previous?.start._tag === "Granted" && later.start.token <= previous.start.token) {
        violations.push({
          name: "TokenDidNotGrow",
          message:
            `${nameOf(later)} was granted ${later.start.group} at ${moment(later.start)} after ${nameOf(previous)}, ` +
            `whose token was not lower`,
          events: [previous.start, later.start]
        })
      }
      for (const [j, earlier] of list.slice(0, i).entries()) {
        const both = overlap(times[j] ?? [], times[i] ?? [])
        if (both === undefined) continue
        const isTenure = later.start._tag === "Granted"
        violations.push({
          name: isTenure ? "TenuresOverlap" : "BodiesOverlap",
          message:
            `${nameOf(earlier)} and ${nameOf(later)} both held ${later.start.group}` +
            `${later.start._tag === "Began" ? ` index ${later.start.index}` : ""} from ${both[0]} to ${both[1]} ms`,
          events: [...eventsOf(earlier), ...eventsOf(later)].toSorted((a, b) => a.order - b.order)
        })
      }
    }
  }
  return violations
}

const checkSettled = (events: ReadonlyArray<Event>, holdings: ReadonlyArray<Holding>): ReadonlyArray<Violation> =>
  events.flatMap((settled) =>
    settled._tag !== "Settled"
      ? []
      : holdings
          .filter(
            ({ interrupted, life, start, stopped }) =>
              start.order < settled.order &&
              life?.to !== undefined &&
              life.to.order < settled.order &&
              ((interrupted ?? stopped)?.order ?? Infinity) > settled.order
          )
          .map((holding) => ({
            name: "NeverInterrupted" as const,
            message:
              `At ${moment(settled)} all was quiet, and ${nameOf(holding)} still held ${holding.start.group} though its ` +
              `entry is gone`,
            events: [...eventsOf(holding), settled]
          }))
  )

/** Whoever was told by `ensure` that it holds its place had an entry then. */
const checkActs = (events: ReadonlyArray<Event>, truth: Truth): ReadonlyArray<Violation> =>
  events.flatMap((event) => {
    if (event._tag !== "Acted") return []
    const lives = livesOf(truth, event).filter(({ from }) => from.order < event.order)
    if (lives.some((life) => life.to === undefined || life.to.order > event.order || wasForced(life))) return []
    const last = lives.at(-1)
    return [
      {
        name: "ActedWithoutEntry" as const,
        message:
          `${event.id} of ${event.process} was told at ${moment(event)} that it holds ${event.group} with token ` +
          `${event.token}; ${last?.to === undefined ? "it never had that entry" : `its entry was gone since ${moment(last.to)}`}`,
        events: last?.to === undefined ? [event] : [last.from, last.to, event]
      }
    ]
  })

/** Tokens of entries grow with each creation within an epoch. */
const checkTokens = (truth: Truth): ReadonlyArray<Violation> =>
  truth.groups.flatMap((group) =>
    truth.lives(group).flatMap((life, index, lives) => {
      const higher = lives
        .slice(0, index)
        .find((before) => before.epoch === life.epoch && before.from !== life.from && before.token >= life.token)
      return higher === undefined
        ? []
        : [
            {
              name: "TokenDidNotGrow" as const,
              message: `${life.id} was created in ${group} with token ${life.token}, after token ${higher.token}`,
              events: [higher.from, life.from]
            }
          ]
    })
  )

/** Tenures and exclusive bodies. */
export const check = (events: ReadonlyArray<Event>, truth: Truth, running: Running): ReadonlyArray<Violation> => {
  const holdings = collect(events, truth)
  const last = events.at(-1)?.at ?? 0
  return [
    ...(truth.known
      ? [
          ...checkTokens(truth),
          ...holdings.flatMap((holding) => [...checkStart(holding, truth), ...checkEnd(holding, running, last)]),
          ...checkActs(events, truth)
        ]
      : []),
    ...checkPairs(holdings, running, last),
    ...checkSettled(events, holdings)
  ]
}
