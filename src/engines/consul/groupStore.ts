/** One group in the key-value store: its requests, its feed, and the following of single entries. */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import { CoordinatorError, InvalidOptions, Unreachable } from "../../CoordinatorError.ts"
import type { GroupKind, GroupName } from "../../Group.ts"
import { label } from "../../Group.ts"
import { resync, WatchBroken } from "../../internal/resync.ts"
import type { Creation, Entry, Feed, GroupStore, Holding } from "../../internal/store.ts"
import type { Follows } from "./follows.ts"
import type { Pair } from "./keys.ts"
import { base64Of, entryOf, isMember, pathOf, problemOf } from "./keys.ts"
import type { Found, Kv, TxnStep } from "./kv.ts"
import * as Polls from "./polls.ts"
import * as Told from "./told.ts"

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
 * The kinds whose members join to be the first. Their creation lists the group in the same transaction, which costs a reading and spares
 * the first one a request.
 */
const contested: ReadonlySet<GroupKind> = new Set<GroupKind>(["election", "lock"])

/** The condition that an entry is still what it was: of this session, and of this last write. */
export const unchanged = (key: string, owner: string | undefined, version: bigint): ReadonlyArray<TxnStep> => [
  ...(owner === undefined ? [] : [{ KV: { Verb: "check-session", Key: key, Session: owner } } as const]),
  { KV: { Verb: "check-index", Key: key, Index: Number(version) } }
]

const one = (feed: Feed): readonly [Feed] => [feed]

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

  const list = (operation: string) => permitted(operation, kv.read(operation, path, { recurse: true }))

  const listing: ReadonlyArray<TxnStep> = contested.has(name.kind) ? [{ KV: { Verb: "get-tree", Key: path } }] : []

  const entryIn = (pair: Pair | undefined): Option.Option<Entry> =>
    pair === undefined ? Option.none() : Option.some(entryOf(path, pair))

  const read = (operation: string, id: string) =>
    Effect.map(kv.read(operation, keyOf(id)), ({ pairs: [pair] }) => entryIn(pair))

  const patience = {
    millis: requestMillis,
    // Made when it is read: a group is made for each lock that is taken, and an error costs its stack trace.
    get orElse() {
      return failure("Group.watch", new Unreachable({ detail: `No answer within ${Math.round(requestMillis)} ms` }))
    }
  }

  const feed = Stream.suspend(() => {
    let told: Told.Told | undefined

    const tell = (to: Told.Told, found: Found): Effect.Effect<Feed, WatchBroken> => {
      const feed = found.epoch === to.epoch ? to.tell(found) : undefined
      if (feed !== undefined) return Effect.succeed(feed)
      if (found.epoch === to.epoch) kv.contradictedUnsafe(found)
      return Effect.fail(new WatchBroken({ why: "rewound" }))
    }

    const start = Effect.gen(function* () {
      // After a break, the store may have been put back to an earlier state meanwhile.
      if (told !== undefined) yield* kv.probe("Group.watch.resume")
      if (told?.epoch !== kv.epochUnsafe()) told = undefined
      const first = yield* list("Group.watch.list")
      if (told !== undefined) yield* tell(told, first)
      const telling = told ?? Told.make(path, first)
      told = telling
      const from = first.index ?? 0n
      const poll = kv.poll("Group.watch", path, { recurse: true, from, endpoint, requestMillis })
      let unread: Feed | undefined = { _tag: "Snapshot", snapshot: Told.snapshotOf(path, first) }
      const pull = Effect.suspend(() => {
        if (unread === undefined)
          return Effect.map(
            Effect.flatMap(Polls.next(poll), (found) => tell(telling, found)),
            one
          )
        const snapshot = unread
        unread = undefined
        return Effect.succeed(one(snapshot))
      })
      return Stream.fromPull(Effect.succeed(pull))
    })
    return resync<Feed>({
      label: text,
      within: patience,
      start,
      disconnected: (cause) => [{ _tag: "Disconnected", cause }]
    })
  })

  const noteUnsafe = (pair: Pair, owner: string) => {
    const noted = { token: BigInt(pair.CreateIndex), version: BigInt(pair.ModifyIndex), owner }
    written.set(pair.Key, noted)
    return noted
  }

  /**
   * The steps of a transaction are carried out in order, as one entry of the log of the quorum, and its results are what they found there
   * (https://developer.hashicorp.com/consul/api-docs/txn, and `txnDispatch` in Consul's `agent/consul/state/txn.go`): those of a step that
   * reads a tree are one for each key below, and one that checks an absence has none. So the reading is as linearizable as the writing, and
   * shows the entry that was written just before, which is looked for all the same.
   */
  const isFirst = ([made, ...tree]: ReadonlyArray<Pair>): boolean | undefined => {
    if (made === undefined || !tree.some(({ Key }) => Key === made.Key)) return undefined
    return tree.every((pair) => pair.CreateIndex >= made.CreateIndex || !isMember(path, pair))
  }

  const created = (pairs: ReadonlyArray<Pair>, session: string, key: string): Creation | undefined => {
    const [made] = pairs
    if (made === undefined || made.Key !== key) return undefined
    return { _tag: "Created", ...noteUnsafe(made, session), isFirst: isFirst(pairs) }
  }

  const create = (session: string, id: string, value: string): Effect.Effect<Creation, CoordinatorError> => {
    const key = keyOf(id)
    const steps: ReadonlyArray<TxnStep> = [
      { KV: { Verb: "check-not-exists", Key: key } },
      { KV: { Verb: "lock", Key: key, Value: base64Of(value), Session: session } },
      ...listing
    ]
    // Among the refusals is the delay that Consul puts between the end of a session and the next lock of the same key.
    const refuse = (what: string) =>
      Effect.suspend(() =>
        Effect.fail(failure("Group.create", new Unreachable({ detail: `Consul does not give the key: ${what}` })))
      )
    const attempt = (left: number): Effect.Effect<Creation, CoordinatorError> =>
      Effect.flatMap(kv.txn("Group.create", steps), (answer) => {
        const creation = answer._tag === "Applied" ? created(answer.pairs, session, key) : undefined
        if (creation !== undefined) return Effect.succeed(creation)
        const [refusal] = answer._tag === "Refused" ? answer.refusals : []
        const what = refusal?.What ?? ""
        if (refusal?.OpIndex === 1) {
          const isGone = /invalid session|session not found/i.test(what)
          return isGone ? Effect.succeed({ _tag: "SessionGone" }) : refuse(what)
        }
        return Effect.flatMap(read("Group.create", id), (found) => {
          if (Option.isSome(found)) return Effect.succeed({ _tag: "Occupied", entry: found.value })
          return left > 1 ? attempt(left - 1) : refuse(what)
        })
      })
    return attempt(tries)
  }

  /** Removes what is still this holding. What this process last wrote is tried without reading it first. */
  const remove = ({ id, owner, token }: Holding): Effect.Effect<void, CoordinatorError> => {
    const key = keyOf(id)
    const removeAt = (version: bigint, left: number): Effect.Effect<void, CoordinatorError> =>
      Effect.flatMap(
        kv.txn("Group.remove", [...unchanged(key, owner, version), { KV: { Verb: "delete", Key: key } }]),
        (answer) => (answer._tag === "Applied" ? Effect.void : lookAndRemove(left - 1))
      )
    const lookAndRemove = (left: number): Effect.Effect<void, CoordinatorError> => {
      if (left === 0) {
        const detail = "The entry is changed all the time by others"
        return Effect.suspend(() => Effect.fail(failure("Group.remove", new Unreachable({ detail }))))
      }
      return Effect.flatMap(read("Group.remove", id), (read) => {
        const found = Option.getOrUndefined(read)
        if (found === undefined || found.token !== token || found.owner !== owner) return Effect.void
        return removeAt(found.version, left)
      })
    }
    return Effect.suspend(() => {
      const noted = written.get(key)
      written.delete(key)
      return noted?.token === token && noted.owner === owner ? removeAt(noted.version, tries) : lookAndRemove(tries)
    })
  }

  return {
    feed,
    follow: (id, known) => follows.follow(path, id, known),
    attendUnsafe: (holding, known, disturbed) => {
      const noted = written.get(keyOf(holding.id))
      // What this process itself has written since is no disturbance.
      const isNewer = noted?.token === holding.token && noted.owner === holding.owner && noted.version > known
      return follows.attendUnsafe(path, holding, isNewer ? noted.version : known, disturbed)
    },
    list: Effect.map(list("Group.list"), (found) => Told.snapshotOf(path, found)),
    read: (id) => read("Group.read", id),
    turn: (id, token) => {
      const key = keyOf(id)
      return Effect.map(list("Group.turn"), (found) => {
        let own: Pair | undefined
        let ahead: Pair | undefined
        for (const pair of found.pairs) {
          if (!isMember(path, pair)) continue
          if (pair.Key === key) own = pair
          if (pair.CreateIndex < token && (ahead === undefined || pair.CreateIndex > ahead.CreateIndex)) ahead = pair
        }
        return { own: entryIn(own), ahead: entryIn(ahead), revision: found.revision }
      })
    },
    create: (session, id, value) => permitted("Group.create", create(session, id, value)),
    update: ({ id, owner, version }, value) => {
      const key = keyOf(id)
      // Locked again by the same session: a plain write would take the lock's number away, which others may check.
      const step = (session: string) =>
        ({ KV: { Verb: "lock", Key: key, Value: base64Of(value), Session: session } }) as const
      if (owner === undefined) return Effect.succeed({ _tag: "Refused" })
      return Effect.map(kv.txn("Group.update", [...unchanged(key, owner, version), step(owner)]), (answer) => {
        const pair = answer._tag === "Applied" ? answer.pairs.findLast(({ Key }) => Key === key) : undefined
        return pair === undefined ? { _tag: "Refused" } : { _tag: "Updated", version: noteUnsafe(pair, owner).version }
      })
    },
    remove
  }
}
