/** One group in the key-value store: its requests, its feed, and the following of single entries. */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import { CoordinatorError, InvalidOptions, Unreachable } from "../../CoordinatorError.ts"
import type { GroupName } from "../../Group.ts"
import { label } from "../../Group.ts"
import { resync, WatchBroken } from "../../internal/resync.ts"
import type { Creation, Entry, Feed, GroupStore, Holding, Snapshot } from "../../internal/store.ts"
import type { Follows } from "./follows.ts"
import type { Pair } from "./keys.ts"
import { base64Of, entryOf, isMember, pathOf, problemOf } from "./keys.ts"
import type { Found, Kv, TxnAnswer, TxnStep } from "./kv.ts"
import * as Polls from "./polls.ts"

export interface Settings {
  readonly prefix: string
  readonly endpoint: string
  readonly requestMillis: number
}

/** The entries that this process wrote last, by key: what is known of them need not be read before it is compared. */
export type Written = Map<string, { readonly token: bigint; readonly version: bigint; readonly owner: string }>

/** What the groups of one coordinator have in common. */
export interface Shared {
  readonly kv: Kv
  readonly follows: Follows
  readonly written: Written
}

/** How often a comparison is tried again whose key was changed in between, by whom should not change it. */
const tries = 3

/**
 * How long after its making a place of this process's own is not looked after. An interrupted query costs its connection: a lock
 * that is held for a moment would pay as much for it as for itself. What happens meanwhile is told when it is asked.
 */
const ownMillis = 100

/** The condition that an entry is still what it was: of this session, and of this last write. */
export const unchanged = (key: string, owner: string | undefined, version: bigint): ReadonlyArray<TxnStep> => [
  ...(owner === undefined ? [] : [{ KV: { Verb: "check-session", Key: key, Session: owner } } as const]),
  { KV: { Verb: "check-index", Key: key, Index: Number(version) } }
]

export const make = (
  { follows, kv, written }: Shared,
  { endpoint, prefix, requestMillis }: Settings,
  name: GroupName
): GroupStore => {
  const path = pathOf(prefix, name)
  const text = label(name)
  const keyOf = (id: string) => `${path}${id}`
  const failure = (operation: string, reason: Unreachable | InvalidOptions) =>
    new CoordinatorError({ engine: "consul", operation, endpoint, reason })
  const problem = problemOf(name)
  const permitted = <A>(operation: string, effect: Effect.Effect<A, CoordinatorError>) =>
    problem === undefined ? effect : Effect.fail(failure(operation, new InvalidOptions({ detail: problem })))

  const entriesOf = ({ pairs }: Found): ReadonlyArray<Entry> =>
    pairs.filter((pair) => isMember(path, pair)).map((pair) => entryOf(path, pair))

  const list = (operation: string, index?: bigint, waitMillis?: number) =>
    permitted(
      operation,
      kv.read(operation, path, {
        recurse: true,
        ...(index === undefined || waitMillis === undefined ? {} : { index, waitMillis })
      })
    )

  const find = ({ pairs: [pair] }: Found): Option.Option<Entry> =>
    Option.map(Option.fromNullishOr(pair), (found) => entryOf(path, found))

  const read = (operation: string, id: string) => Effect.map(kv.read(operation, keyOf(id)), find)

  const snapshotOf = (found: Found): Snapshot => ({
    entries: entriesOf(found),
    revision: found.revision,
    epoch: found.epoch
  })

  const patience = {
    millis: requestMillis,
    // Made when it is read: a group is made for each lock that is taken, and an error costs its stack trace.
    get orElse() {
      return failure("Group.watch", new Unreachable({ detail: `No answer within ${Math.round(requestMillis)} ms` }))
    }
  }

  /** The members as they were told last, as the index of each one's last write, and the revision at which that was all. */
  interface Told {
    readonly written: ReadonlyMap<string, number>
    readonly revision: bigint
    readonly epoch: number
  }

  const toldBy = (found: Found, before?: Told): Told => ({
    written: new Map(found.pairs.map((pair) => [pair.Key, pair.ModifyIndex])),
    revision: before !== undefined && before.revision > found.revision ? before.revision : found.revision,
    epoch: found.epoch
  })

  const isNews = (told: Told) => (pair: Pair) => told.written.get(pair.Key) !== pair.ModifyIndex

  /** News of a write that had been made before, when it was not there: only a store that was put back to an earlier state has it. */
  const credible = (told: Told | undefined, found: Found) => {
    if (told === undefined) return Effect.void
    const isOld = (pair: Pair) => isNews(told)(pair) && BigInt(pair.ModifyIndex) <= told.revision
    if (found.epoch === told.epoch) {
      if (!found.pairs.some(isOld)) return Effect.void
      kv.contradictedUnsafe(found)
    }
    return Effect.fail(new WatchBroken({ why: "rewound" }))
  }

  const differenceOf = (told: Told, found: Found): Feed => {
    const news = found.pairs.filter(isNews(told))
    const now = new Set(found.pairs.map((pair) => pair.Key))
    const gone = Array.from(told.written.keys()).filter((key) => !now.has(key))
    const { revision } = found
    if (news.length === 0 && gone.length === 0) return { _tag: "Progress", revision }
    // A lower index is not older data, since every reading is consistent: it is taken as it is.
    if (revision <= told.revision) return { _tag: "Snapshot", snapshot: snapshotOf(found) }
    const puts = news.filter((pair) => isMember(path, pair)).map((pair) => entryOf(path, pair))
    return { _tag: "Changes", revision, puts, removes: gone.map((key) => key.slice(path.length)) }
  }

  const polling = { indexOf: ({ index }: Found) => index, onReset: kv.probe("Group.watch"), endpoint, requestMillis }

  const feed = Stream.suspend(() => {
    let told: Told | undefined

    const tell = (found: Found): Effect.Effect<Feed, WatchBroken> =>
      Effect.map(credible(told, found), () => {
        const before = told
        told = toldBy(found, before)
        return before === undefined ? { _tag: "Snapshot", snapshot: snapshotOf(found) } : differenceOf(before, found)
      })

    const start = Effect.gen(function* () {
      // After a break, the store may have been put back to an earlier state meanwhile.
      if (told !== undefined) yield* kv.probe("Group.watch.resume")
      if (told?.epoch !== kv.epochUnsafe()) told = undefined
      const first = yield* list("Group.watch.list")
      yield* tell(first)
      const answers = Polls.make({
        ...polling,
        ask: (index, waitMillis) => list("Group.watch", index, waitMillis),
        from: first.index ?? 0n
      })
      return Stream.concat(
        Stream.make<[Feed]>({ _tag: "Snapshot", snapshot: snapshotOf(first) }),
        Stream.mapEffect(answers, tell)
      )
    })
    return resync<Feed>({
      label: text,
      within: patience,
      start,
      disconnected: (cause) => [{ _tag: "Disconnected", cause }]
    })
  })

  const note = (answer: TxnAnswer, key: string, owner: string) => {
    const pair = answer._tag === "Applied" ? answer.pairs.findLast(({ Key }) => Key === key) : undefined
    if (pair === undefined) return undefined
    const noted = { token: BigInt(pair.CreateIndex), version: BigInt(pair.ModifyIndex), owner }
    written.set(key, noted)
    return noted
  }

  const create = Effect.fnUntraced(function* (
    session: string,
    id: string,
    value: string
  ): Effect.fn.Return<Creation, CoordinatorError> {
    const key = keyOf(id)
    let refused = ""
    for (let left = tries; left > 0; left--) {
      const answer = yield* kv.txn("Group.create", [
        { KV: { Verb: "check-not-exists", Key: key } },
        { KV: { Verb: "lock", Key: key, Value: base64Of(value), Session: session } }
      ])
      const noted = note(answer, key, session)
      if (noted !== undefined) return { _tag: "Created", ...noted }
      if (answer._tag === "Refused") {
        const { OpIndex, What } = answer.refusals[0] ?? { OpIndex: 0, What: "" }
        refused = What
        if (OpIndex === 1 && /invalid session|session not found/i.test(What)) return { _tag: "SessionGone" }
        if (OpIndex === 1) break
      }
      const found = yield* read("Group.create", id)
      if (Option.isSome(found)) return { _tag: "Occupied", entry: found.value }
    }
    // Among them the delay that Consul puts between the end of a session and the next lock of the same key.
    return yield* failure("Group.create", new Unreachable({ detail: `Consul does not give the key: ${refused}` }))
  })

  /** Removes what is still this holding. What this process last wrote is tried without reading it first. */
  const remove = Effect.fnUntraced(function* ({ id, owner, token }: Holding) {
    const key = keyOf(id)
    const noted = written.get(key)
    let version = noted?.token === token && noted.owner === owner ? noted.version : undefined
    written.delete(key)
    for (let left = tries; left > 0; left--) {
      if (version === undefined) {
        const found = Option.getOrUndefined(yield* read("Group.remove", id))
        if (found === undefined || found.token !== token || found.owner !== owner) return
        version = found.version
      }
      const steps = [...unchanged(key, owner, version), { KV: { Verb: "delete", Key: key } } as const]
      const answer = yield* kv.txn("Group.remove", steps)
      if (answer._tag === "Applied") return
      version = undefined
    }
    return yield* failure("Group.remove", new Unreachable({ detail: "The entry is changed all the time by others" }))
  })

  return {
    feed,
    follow: (id, known) => {
      const followed = follows.follow(path, id, known)
      const isOwn = known !== undefined && written.get(keyOf(id))?.token === known
      return isOwn ? Stream.unwrap(Effect.as(Effect.sleep(ownMillis), followed)) : followed
    },
    list: Effect.map(list("Group.list"), snapshotOf),
    read: (id) => read("Group.read", id),
    turn: (id, token) =>
      Effect.map(list("Group.turn"), (found) => {
        const entries = entriesOf(found)
        let ahead: Entry | undefined
        for (const entry of entries) {
          if (entry.token < token && (ahead === undefined || entry.token > ahead.token)) ahead = entry
        }
        return {
          own: Option.fromNullishOr(entries.find((entry) => entry.id === id)),
          ahead: Option.fromNullishOr(ahead),
          revision: found.revision
        }
      }),
    create: (session, id, value) => permitted("Group.create", create(session, id, value)),
    update: ({ id, owner, version }, value) => {
      const key = keyOf(id)
      // Locked again by the same session: a plain write would take the lock's number away, which others may check.
      const step = (session: string) =>
        ({ KV: { Verb: "lock", Key: key, Value: base64Of(value), Session: session } }) as const
      if (owner === undefined) return Effect.succeed({ _tag: "Refused" })
      return Effect.map(kv.txn("Group.update", [...unchanged(key, owner, version), step(owner)]), (answer) => {
        const noted = note(answer, key, owner)
        return noted === undefined ? { _tag: "Refused" } : { _tag: "Updated", version: noted.version }
      })
    },
    remove
  }
}
