/** Barriers: when they opened, and whom they let pass. */
import * as HashMap from "effect/HashMap"
import { describe, moment } from "./describe.ts"
import type { Event, Of, Place, Violation } from "./events.ts"
import type { Truth, Version } from "./truth.ts"

/**
 * What a barrier opens by.
 *
 * @category models
 * @since 0.1.0
 */
export interface BarrierRule {
  readonly minimum: number
  readonly isReady: (value: string) => boolean
}

/** How long a record may take to reach one who is not cut off. */
const reachMillis = 5_000

interface Wait {
  readonly start: Of<"Waiting">
  end: Of<"Passed"> | Of<"GaveUp"> | undefined
}

const isOpening = (version: Version, passed: Of<"Passed">, rule: BarrierRule | undefined): boolean => {
  const { members } = version
  return (
    HashMap.size(members) === passed.members.length &&
    passed.members.every(({ id, token }) => {
      const found = HashMap.get(members, id)
      return found._tag === "Some" && found.value.token === token && (rule?.isReady(found.value.value) ?? true)
    }) &&
    HashMap.size(members) >= (rule?.minimum ?? 1)
  )
}

/** Each opening is of a revision at which every member was ready, and there were enough. */
const checkOpening = (passed: Of<"Passed">, truth: Truth, rule: BarrierRule | undefined): ReadonlyArray<Violation> => {
  const known = truth.versions(passed.group).filter((version) => version.order < passed.order)
  const candidates = truth.isLowered(passed.group, passed.order)
    ? known
    : Array.from({ length: truth.epochAt(passed.order) + 1 }, (_, epoch) =>
        known.findLast((version) => version.epoch === epoch && version.revision <= passed.revision)
      ).filter((version) => version !== undefined)
  return candidates.some((version) => isOpening(version, passed, rule))
    ? []
    : [
        {
          name: "OpenedTooEarly",
          message:
            `${passed.process} passed ${passed.group} by revision ${passed.revision} with ${describe(passed.members)}; ` +
            `the store had ` +
            (candidates.length === 0
              ? "nothing there"
              : candidates
                  .map(({ members }) =>
                    describe(Array.from(HashMap.entries(members), ([id, held]) => ({ id, ...held })))
                  )
                  .join(" or ")),
          events: [passed]
        }
      ]
}

const names = (passed: Of<"Passed">, mine: typeof Place.Type): boolean =>
  passed.members.some(({ id, token }) => id === mine.id && token === mine.token)

/** A wait of a process that takes part passes by an opening that names one of its members. */
const checkNamed = ({ end, start }: Wait, truth: Truth): ReadonlyArray<Violation> => {
  if (end?._tag !== "Passed" || start.mine.some((mine) => names(end, mine))) return []
  const stayed = start.mine.filter((mine) =>
    truth
      .lives(start.group)
      .some(
        (life) =>
          life.id === mine.id &&
          life.token === mine.token &&
          life.from.order < start.order &&
          (life.to === undefined || life.to.order > end.order)
      )
  )
  return stayed.length > 0
    ? [
        {
          name: "PassedUnnamed",
          message: `${start.process} passed ${start.group} at ${moment(end)} by an opening that does not name ${describe(stayed)}`,
          events: [start, end]
        }
      ]
    : []
}

const isStruck = (events: ReadonlyArray<Event>, process: string, from: number, until: number): boolean => {
  const since = new Map<string, number>()
  for (const event of events) {
    if (event.process !== process) continue
    if (event._tag === "Paused" || event._tag === "Cut") since.set(event._tag, since.get(event._tag) ?? event.at)
    if (event._tag !== "Resumed" && event._tag !== "Healed") continue
    const what = event._tag === "Resumed" ? "Paused" : "Cut"
    if ((since.get(what) ?? Infinity) <= until && event.at >= from) return true
    since.delete(what)
  }
  return Array.from(since.values()).some((at) => at <= until)
}

/** Whether anything kept a process from hearing of an opening, or may have taken its place from it meanwhile. */
const isExcused = (
  events: ReadonlyArray<Event>,
  truth: Truth,
  { start }: Wait,
  mine: typeof Place.Type,
  until: number
): boolean =>
  isStruck(events, start.process, start.at, until) ||
  events.some(
    (event) =>
      event.order > start.order &&
      event.at <= until &&
      (event._tag === "Restored" || (event._tag === "Removed" && event.forced))
  ) ||
  !truth
    .lives(start.group)
    .some((life) => life.id === mine.id && life.token === mine.token && (life.to === undefined || life.to.at > until))

/** What this process has passed with before a wait: an opening is not for those a second time. */
const spentBefore = (waits: ReadonlyArray<Wait>, { group, order, process }: Of<"Waiting">): ReadonlySet<bigint> =>
  new Set(
    waits
      .filter(
        ({ end, start }) => start.process === process && start.group === group && (end?.order ?? Infinity) < order
      )
      .flatMap(({ end, start }) => (end?._tag === "Passed" ? [...start.mine, ...end.members] : []))
      .map(({ token }) => token)
  )

const keyOf = ({ group, members, revision }: Of<"Passed">): string => `${group} ${revision} ${describe(members)}`

/** Nobody passes twice by one opening, unless it is still what the store has when the second wait begins. */
const checkTwice = (events: ReadonlyArray<Event>, waits: ReadonlyArray<Wait>): ReadonlyArray<Violation> =>
  waits.flatMap(({ end, start }) => {
    if (end?._tag !== "Passed") return []
    const before = waits.find(
      (other) =>
        other.start.process === start.process &&
        other.end?._tag === "Passed" &&
        other.end.order < start.order &&
        keyOf(other.end) === keyOf(end)
    )
    const isOld = events.some(
      (event) =>
        event.order < start.order &&
        (event._tag === "Stored" || event._tag === "Removed") &&
        event.revision > end.revision
    )
    const wasRestored = events.some((event) => event._tag === "Restored" && event.order < end.order)
    return before?.end === undefined || !isOld || wasRestored
      ? []
      : [
          {
            name: "PassedTwice" as const,
            message:
              `${start.process} passed ${start.group} at ${moment(end)} by revision ${end.revision}, by which it had ` +
              `passed at ${moment(before.end)} already`,
            events: [before.end, start, end]
          }
        ]
  })

/** Everybody named in an opening whose wait was in progress passes. */
const checkLeftBehind = (
  events: ReadonlyArray<Event>,
  truth: Truth,
  waits: ReadonlyArray<Wait>,
  passed: Of<"Passed">
): ReadonlyArray<Violation> =>
  waits.flatMap((wait) => {
    const { end, start } = wait
    // One that began in the same moment was not yet in progress: the store had not confirmed it.
    if (start.group !== passed.group || start.at >= passed.at || end?._tag === "Passed") return []
    const spent = spentBefore(waits, start)
    const mine = start.mine.find((place) => names(passed, place) && !spent.has(place.token))
    if (mine === undefined) return []
    const until = passed.at + reachMillis
    const stuck = end ?? events.findLast((event) => event._tag === "Settled")
    if (stuck === undefined || stuck.at < until || (stuck._tag === "GaveUp" && !stuck.timedOut)) return []
    if (isExcused(events, truth, wait, mine, until)) return []
    return [
      {
        name: "LeftBehindBarrier" as const,
        message:
          `${start.process} was waiting at ${start.group} when ${passed.process} passed at ${moment(passed)} by an opening ` +
          `that names ${mine.id}#${mine.token}, and did not pass itself until ${moment(stuck)}`,
        events: [start, passed, stuck]
      }
    ]
  })

export const check = (
  events: ReadonlyArray<Event>,
  truth: Truth,
  rules: Readonly<Record<string, BarrierRule>>
): ReadonlyArray<Violation> => {
  const waits = new Map<number, Wait>()
  const firsts = new Map<string, Of<"Passed">>()
  for (const event of events) {
    if (event._tag === "Waiting") waits.set(event.wait, { start: event, end: undefined })
    if (event._tag !== "Passed" && event._tag !== "GaveUp") continue
    const wait = waits.get(event.wait)
    if (wait !== undefined) wait.end = event
    if (event._tag !== "Passed") continue
    const key = keyOf(event)
    if (!firsts.has(key)) firsts.set(key, event)
  }
  const all = Array.from(waits.values())
  const openings = Array.from(firsts.values())
  return [
    ...(truth.known ? openings.flatMap((passed) => checkOpening(passed, truth, rules[passed.group])) : []),
    ...all.flatMap((wait) => checkNamed(wait, truth)),
    ...checkTwice(events, all),
    ...openings.flatMap((passed) => checkLeftBehind(events, truth, all, passed))
  ]
}
