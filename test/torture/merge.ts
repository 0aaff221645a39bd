/** Makes one history of what the processes told and what the store told. */
import type { History } from "../../src/testing/index.ts"
import type { Told, Write } from "./chronicle.ts"

const theStore = "the store"

/** The revision that certainly existed when a process told of something. */
const knew = (event: History.Event): bigint => {
  const token = "token" in event ? event.token : 0n
  const revision = "revision" in event ? event.revision : 0n
  return token > revision ? token : revision
}

interface Evidence {
  readonly at: number
  readonly revision: bigint
}

/** Before a restore: whoever names a revision shows that the store had it by then. */
const knowledge = (told: ReadonlyArray<History.Event>): ReadonlyArray<Evidence> =>
  told.map((event) => ({ at: event.at, revision: knew(event) }))

/**
 * After one: revisions repeat, and who has not noticed speaks of the former ones. Only the grant of a place that was created
 * since then is no former one's.
 */
const grants = (
  told: ReadonlyArray<History.Event>,
  writes: ReadonlyArray<Write>,
  since: number
): ReadonlyArray<Evidence> => {
  const created = new Set(writes.map(({ group, id, token }) => `${group} ${id} ${token}`))
  return told.flatMap((event) =>
    event._tag === "Granted" && event.at > since && created.has(`${event.group} ${event.id} ${event.token}`)
      ? [{ at: event.at, revision: event.token }]
      : []
  )
}

/**
 * A watch tells of a write some time after it was made. It was made before anybody knew of it, and before all later ones
 * were: with that, what nobody did wrong never looks wrong, and what looks wrong was.
 */
const sooner = (writes: ReadonlyArray<Write>, evidence: ReadonlyArray<Evidence>): ReadonlyArray<Write> => {
  const known = evidence.toSorted((a, b) => (a.revision < b.revision ? 1 : a.revision > b.revision ? -1 : 0))
  let earliest = Infinity
  let next = 0
  return writes
    .toReversed()
    .map((write) => {
      while (next < known.length && (known[next]?.revision ?? -1n) >= write.revision) {
        earliest = Math.min(earliest, known[next++]?.at ?? Infinity)
      }
      earliest = Math.min(earliest, write.at)
      return { ...write, at: earliest }
    })
    .toReversed()
}

const timed = (told: ReadonlyArray<History.Event>, { restores = [], writes }: Told) => {
  const inEpoch = (epoch: number) => writes.filter((write) => write.epoch === epoch)
  const [first] = restores
  const before = first === undefined ? told : told.filter(({ at }) => at < first.at)
  return [
    ...sooner(inEpoch(0), knowledge(before)),
    ...restores.flatMap(({ at, epoch }) => sooner(inEpoch(epoch), grants(told, inEpoch(epoch), at)))
  ]
}

export const merge = (told: ReadonlyArray<History.Event>, store: Told): ReadonlyArray<History.Event> => {
  const events: Array<History.Event> = []
  for (const { at, epoch, forced, group, id, of, revision, token, value } of timed(told, store)) {
    if (of !== "entry") continue
    const stamp = { process: theStore, at, order: 0, group, id, token, revision, epoch }
    events.push(value === undefined ? { _tag: "Removed", ...stamp, forced } : { _tag: "Stored", ...stamp, value })
  }
  for (const restore of store.restores ?? []) {
    events.push({ _tag: "Restored", process: theStore, order: 0, ...restore })
  }
  // Stable: what the store did comes before what a process told at the same instant.
  const all = [...events, ...told].sort((a, b) => a.at - b.at)
  const first = all[0]?.at ?? 0
  return all.map((event, order): History.Event => ({ ...event, at: event.at - first, order }))
}
