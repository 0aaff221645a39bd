/** Sequences and what is left behind: what is judged at the marks that a test sets. */
import * as HashMap from "effect/HashMap"
import { describe, moment } from "./describe.ts"
import type { Event, Of, Violation } from "./events.ts"
import type { Truth } from "./truth.ts"

type Seat = Of<"Seated"> | Of<"Began">

const judge = (
  truth: Truth,
  group: string,
  seats: ReadonlyArray<Seat>,
  settled: Of<"Settled">
): ReadonlyArray<Violation> => {
  const held = truth.membersAt(group, settled.order)
  const size = truth.known ? HashMap.size(held) : seats.length
  const indices = seats.map((seat) => seat.index).toSorted((a, b) => a - b)
  const areRight = indices.length === size && indices.every((index, at) => index === at)
  if (areRight && seats.every((seat) => seat.count === size)) return []
  const said = seats.map(
    ({ count, id, index, process, token }) => `${id}#${token} of ${process} has ${index} of ${count}`
  )
  return [
    {
      name: "IndicesDoNotFit",
      message:
        `At ${moment(settled)} all was quiet, and the seats of ${group} were ${said.join(", ") || "none"}` +
        (truth.known
          ? `; the store had ${describe(Array.from(HashMap.entries(held), ([id, { token }]) => ({ id, token })))}`
          : ""),
      events: [...seats, settled]
    }
  ]
}

/** Once settled, the seats of a sequence are 0..count-1, each held once. */
export const checkSeats = (events: ReadonlyArray<Event>, truth: Truth): ReadonlyArray<Violation> => {
  const violations: Array<Violation> = []
  const seats = new Map<string, Seat>()
  const groups = new Set<string>()
  for (const event of events) {
    switch (event._tag) {
      case "Seated":
        groups.add(event.group)
        seats.set(event.reader, event)
        break
      case "Began":
        groups.add(event.group)
        seats.set(`${event.process} ${event.group} ${event.id}`, event)
        break
      case "Unseated":
      case "Detached":
        seats.delete(event.reader)
        break
      case "Stopped":
        seats.delete(`${event.process} ${event.group} ${event.id}`)
        break
      case "Settled":
        for (const group of groups) {
          const here = Array.from(seats.values()).filter((seat) => seat.group === group)
          violations.push(...judge(truth, group, here, event))
        }
        break
      default:
    }
  }
  return violations
}

/** Nothing is left once everything was closed. */
export const checkCounts = (events: ReadonlyArray<Event>): ReadonlyArray<Violation> =>
  events.flatMap((event) => {
    if (event._tag !== "Counted") return []
    const { entries, sessions, watches } = event
    if (entries.length === 0 && sessions === 0 && watches === 0) return []
    const left = entries.map(({ group, id, token }) => `${group}/${id}#${token}`)
    if (sessions > 0) left.push(`${sessions} sessions`)
    if (watches > 0) left.push(`${watches} watches`)
    return [
      {
        name: "LeftInStore" as const,
        message: `At ${moment(event)} everything had been closed, and the store still had ${left.join(", ")}`,
        events: [...events.filter((one) => one._tag === "Stored" && isLeft(one, event)), event]
      }
    ]
  })

const isLeft = (stored: Of<"Stored">, { entries }: Of<"Counted">): boolean =>
  entries.some(({ group, id, token }) => stored.group === group && stored.id === id && stored.token === token)
