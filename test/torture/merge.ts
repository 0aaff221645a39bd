/** Makes one history of what the processes told and what the store told. */
import type { History } from "../../src/testing/index.ts"
import type { Chronicle, Write } from "./chronicle.ts"

const store = "the store"

/** `<prefix>/<kind>/<name>/<id>` of a key. Other keys are nobody's place. */
export const placeOf = (prefix: string, key: string): { readonly group: string; readonly id: string } | undefined => {
  if (!key.startsWith(`${prefix}/`)) return undefined
  const [kind, name, ...id] = key.slice(prefix.length + 1).split("/")
  return kind === undefined || name === undefined || id.length === 0
    ? undefined
    : { group: `${kind}/${name}`, id: id.join("/") }
}

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
  prefix: string,
  writes: ReadonlyArray<Write>,
  since: number
): ReadonlyArray<Evidence> => {
  const created = new Set(
    writes.flatMap(({ key, token }) => {
      const place = placeOf(prefix, key)
      return place === undefined ? [] : [`${place.group} ${place.id} ${token}`]
    })
  )
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

const timed = (prefix: string, told: ReadonlyArray<History.Event>, { restores, writes }: Chronicle) => {
  const inEpoch = (epoch: number) => writes.filter((write) => write.epoch === epoch)
  const [first] = restores
  const before = first === undefined ? told : told.filter(({ at }) => at < first.at)
  return [
    ...sooner(inEpoch(0), knowledge(before)),
    ...restores.flatMap(({ at, epoch }) => sooner(inEpoch(epoch), grants(told, prefix, inEpoch(epoch), at)))
  ]
}

export const merge = (
  prefix: string,
  told: ReadonlyArray<History.Event>,
  chronicle: Chronicle
): ReadonlyArray<History.Event> => {
  const writes = timed(prefix, told, chronicle)
  const events: Array<History.Event> = []
  for (const write of writes) {
    const { at, epoch, key, revision, token, value } = write
    const place = placeOf(prefix, key)
    if (place === undefined) continue
    const stamp = { process: store, at, order: 0, ...place, token, revision, epoch }
    events.push(
      value === undefined
        ? { _tag: "Removed", ...stamp, forced: chronicle.isForced(write) }
        : { _tag: "Stored", ...stamp, value }
    )
  }
  for (const { at, entries, epoch, revision } of chronicle.restores) {
    const kept = entries.flatMap(({ key, ...entry }) => {
      const place = placeOf(prefix, key)
      return place === undefined ? [] : [{ ...place, ...entry }]
    })
    events.push({ _tag: "Restored", process: store, at, order: 0, revision, epoch, entries: kept })
  }
  // Stable: what the store did comes before what a process told at the same instant.
  const all = [...events, ...told].sort((a, b) => a.at - b.at)
  const first = all[0]?.at ?? 0
  return all.map((event, order): History.Event => ({ ...event, at: event.at - first, order }))
}
