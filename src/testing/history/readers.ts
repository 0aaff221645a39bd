/** What readers were shown, held against what the store had. */
import * as HashMap from "effect/HashMap"
import type { Event, Of, Violation } from "./events.ts"
import { describe, moment } from "./describe.ts"
import type { Held, Truth, Version } from "./truth.ts"

type Shown = ReadonlyArray<{ readonly id: string; readonly token: bigint; readonly value: string }>

const isSame = (members: Shown, held: Held): boolean =>
  members.length === HashMap.size(held) &&
  members.every(({ id, token, value }) => {
    const found = HashMap.get(held, id)
    return found._tag === "Some" && found.value.token === token && found.value.value === value
  })

const shownOf = (held: Held): Shown =>
  Array.from(HashMap.entries(held), ([id, { token, value }]) => ({ id, token, value }))

/** The version of an epoch that stood at a revision. */
const indexAt = (versions: ReadonlyArray<Version>, epoch: number, revision: bigint): number =>
  versions.findLastIndex((version) => version.epoch === epoch && version.revision <= revision)

/** Whether a view is what the store had at its revision in one epoch. */
const fits = (truth: Truth, view: Of<"Viewed">, epoch: number): boolean => {
  const all = truth.versions(view.group)
  const index = indexAt(all, epoch, view.revision)
  const isLowered = truth.isLowered(view.group, view.order)
  if (index < 0 && !isLowered) {
    const first = all.find((version) => version.epoch === epoch)
    // Before its first write a group is empty; a restored one is known from the restore on.
    return view.members.length === 0 && (first === undefined || first.revision > view.revision)
  }
  if (!isLowered) {
    const version = all[index]
    return version !== undefined && isSame(view.members, version.members)
  }
  // A lowered index names an older revision than the data's.
  const later = all.slice(Math.max(0, index)).filter((one) => one.epoch === epoch && one.order < view.order)
  // Below the first write stands the empty group, which a replica that lags may still show.
  return (index < 0 && view.members.length === 0) || later.some((one) => isSame(view.members, one.members))
}

const inStore = (truth: Truth, view: Of<"Viewed">): string => {
  const epoch = truth.epochAt(view.order)
  const version = truth.versions(view.group)[indexAt(truth.versions(view.group), epoch, view.revision)]
  return version === undefined ? "nothing" : describe(shownOf(version.members))
}

/** Views of one reader: never backwards, and each Fresh one exact. */
export const checkViews = (events: ReadonlyArray<Event>, truth: Truth): ReadonlyArray<Violation> => {
  const violations: Array<Violation> = []
  const before = new Map<string, Of<"Viewed">>()
  /** The store's epochs that a reader's own epoch may stand for: readers count the restores that they notice. */
  const epochs = new Map<string, ReadonlyArray<number>>()
  for (const view of events) {
    if (view._tag !== "Viewed") continue
    const last = before.get(view.reader)
    before.set(view.reader, view)
    if (
      last !== undefined &&
      (view.epoch < last.epoch || (view.epoch === last.epoch && view.revision < last.revision))
    ) {
      violations.push({
        name: "ViewWentBack",
        message:
          `${view.reader} was shown revision ${view.revision} (epoch ${view.epoch}) of ${view.group} after revision ` +
          `${last.revision} (epoch ${last.epoch})`,
        events: [last, view]
      })
    }
    if (!truth.known || !view.fresh) continue
    const key = `${view.reader} ${view.epoch}`
    const possible = epochs.get(key) ?? Array.from({ length: truth.epochAt(view.order) + 1 }, (_, epoch) => epoch)
    const fitting = possible.filter((epoch) => fits(truth, view, epoch))
    if (fitting.length > 0) {
      epochs.set(key, fitting)
      continue
    }
    violations.push({
      name: "ViewIsWrong",
      message:
        `${view.reader} was shown ${describe(view.members)} in ${view.group} as fresh at revision ${view.revision}; ` +
        `the store had ${inStore(truth, view)} there`,
      events: [view]
    })
  }
  return violations
}

const apply = (fold: Held, change: Of<"Changed">): Held =>
  change.change === "Left"
    ? HashMap.remove(fold, change.member.id)
    : HashMap.set(fold, change.member.id, { token: change.member.token, value: change.member.value })

/** Whether a change can be applied to what was folded so far. */
const isPossible = (fold: Held, { change, member }: Of<"Changed">): boolean => {
  const found = HashMap.get(fold, member.id)
  const token = found._tag === "Some" ? found.value.token : undefined
  return change === "Joined" ? token === undefined : token === member.token
}

interface Reading {
  readonly view: Of<"Viewed"> | undefined
  readonly fold: Held | undefined
  readonly last: Of<"Changed"> | undefined
}

const nothing: Reading = { view: undefined, fold: undefined, last: undefined }

/** Folding the changes of a reader gives its latest view, and once all is quiet both are what the store has. */
export const checkFolds = (events: ReadonlyArray<Event>, truth: Truth): ReadonlyArray<Violation> => {
  const violations: Array<Violation> = []
  const readings = new Map<string, Reading>()
  for (const event of events) {
    switch (event._tag) {
      case "Viewed":
        readings.set(event.reader, { ...(readings.get(event.reader) ?? nothing), view: event })
        break
      case "Changed": {
        const reading = readings.get(event.reader) ?? nothing
        const fold = reading.fold ?? HashMap.empty()
        if (!isPossible(fold, event)) {
          violations.push({
            name: "ChangeDoesNotFit",
            message:
              `${event.reader} was told that ${event.member.id} (token ${event.member.token}) has ` +
              `${event.change.toLowerCase()} in ${event.group}, and had ${describe(shownOf(fold))}`,
            events: reading.last === undefined ? [event] : [reading.last, event]
          })
        }
        readings.set(event.reader, { ...reading, fold: apply(fold, event), last: event })
        break
      }
      case "Detached":
        readings.delete(event.reader)
        break
      case "Settled":
        for (const [reader, reading] of readings) violations.push(...judge(truth, reader, reading, event))
        break
      default:
    }
  }
  return violations
}

const judge = (truth: Truth, reader: string, reading: Reading, settled: Of<"Settled">): ReadonlyArray<Violation> => {
  const { fold, last, view } = reading
  const group = view?.group ?? last?.group
  if (group === undefined) return []
  const violations: Array<Violation> = []
  const shown = [view, last].filter((event) => event !== undefined)
  if (truth.known && view !== undefined) {
    const held = truth.membersAt(group, settled.order)
    if (!view.fresh || !isSame(view.members, held)) {
      violations.push({
        name: "ViewIsBehind",
        message:
          `At ${moment(settled)} all was quiet, and the latest view of ${reader} was still ` +
          `${view.fresh ? "" : "stale, "}${describe(view.members)}; the store had ${describe(shownOf(held))}`,
        events: [view, settled]
      })
    }
  }
  const wanted = view !== undefined ? view.members : truth.known ? shownOf(truth.membersAt(group, settled.order)) : []
  if (fold !== undefined && !isSame(wanted, fold)) {
    violations.push({
      name: "FoldIsWrong",
      message:
        `At ${moment(settled)} all was quiet, and folding the changes of ${reader} gave ${describe(shownOf(fold))} ` +
        `instead of ${describe(wanted)}`,
      events: [...shown, settled]
    })
  }
  return violations
}
