/** One group of etcd's: its requests, its feed, and the following of single entries. */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import { CoordinatorError, Unreachable } from "../../CoordinatorError.ts"
import type { GroupName } from "../../Group.ts"
import { label } from "../../Group.ts"
import { resync } from "../../internal/resync.ts"
import type { Entry, Feed, Followed, GroupStore, Holding } from "../../internal/store.ts"
import { isLeaseGone } from "./failure.ts"
import type { GroupKeys } from "./keys.ts"
import { bytesOf, entryOf, groupKeys } from "./keys.ts"
import type { Quorum } from "./quorum.ts"
import { failing } from "./quorum.ts"
import type { Bytes, Compare, RangeResponse, WatchResponse } from "./rpc.ts"
import { RpcError } from "./rpc.ts"
import type { Upstream } from "./upstream.ts"

export interface Settings {
  readonly prefix: string
  readonly endpoint: string
  readonly requestMillis: number
}

const created = (key: Bytes, token: bigint): Compare => ({
  target: "Create",
  result: "Equal",
  key,
  create_revision: String(token)
})

/** The condition that an entry is still this holding. */
const holds = (key: Bytes, { owner, token }: Holding): ReadonlyArray<Compare> => [
  created(key, token),
  { target: "Lease", result: "Equal", key, lease: owner ?? "0" }
]

/** The events of one answer, one element for each revision: a view is the group as it was at a revision. */
const changesOf = (keys: GroupKeys, events: WatchResponse["events"]): ReadonlyArray<Feed> => {
  const feeds: Array<{ _tag: "Changes"; revision: bigint; puts: Array<Entry>; removes: Array<string> }> = []
  for (const { kv, type } of events) {
    const revision = BigInt(kv.mod_revision)
    let feed = feeds.at(-1)
    if (feed?.revision !== revision) {
      feed = { _tag: "Changes", revision, puts: [], removes: [] }
      feeds.push(feed)
    }
    if (type === "Delete") feed.removes.push(keys.idOf(kv.key))
    else feed.puts.push(entryOf(keys, kv))
  }
  return feeds
}

export const make = (
  { quorum, upstream }: { readonly quorum: Quorum; readonly upstream: Upstream },
  { endpoint, prefix, requestMillis }: Settings,
  name: GroupName
): GroupStore => {
  const path = label(name)
  const keys = groupKeys(prefix, name)
  const everyone = { key: keys.start, range_end: keys.end }
  /** Whoever enters these asks at once whether it is first. */
  const inTurns = name.kind === "election" || name.kind === "lock"
  /** Of whatever order: a second one besides the entry that was just made has been there before it. */
  const anyTwo = { ...everyone, limit: 2, keys_only: true }
  const find = (kvs: ReadonlyArray<Parameters<typeof entryOf>[1]> | undefined) =>
    Option.map(Option.fromNullishOr(kvs?.[0]), (kv) => entryOf(keys, kv))

  const list = (operation: string) =>
    Effect.map(quorum.range(operation, everyone), ({ header, kvs }) => ({
      entries: kvs.map((kv) => entryOf(keys, kv)),
      revision: BigInt(header.revision),
      epoch: quorum.epochUnsafe()
    }))

  const read = (operation: string, id: string) =>
    Effect.map(quorum.range(operation, { key: keys.member(id) }), ({ header, kvs }) => ({
      entry: find(kvs),
      revision: BigInt(header.revision)
    }))

  const patience = {
    millis: requestMillis,
    // Made when it is read: a group is made for each lock that is taken, and an error costs its stack trace.
    get orElse() {
      const detail = `No answer within ${Math.round(requestMillis)} ms`
      const reason = new Unreachable({ detail })
      return new CoordinatorError({ engine: "etcd", operation: "Group.watch", endpoint, reason })
    }
  }

  const feed = Stream.suspend(() => {
    /** How far this feed is known to have been told everything, once it has been read. */
    let reached: { revision: bigint; readonly epoch: number } | undefined

    const watch = (from: { revision: bigint; readonly epoch: number }) => {
      reached = from
      const reach = (revision: bigint) => {
        if (revision > from.revision) from.revision = revision
      }
      return upstream
        .watch<Feed>({
          key: keys.start,
          end: keys.end,
          from: from.revision + 1n,
          epoch: from.epoch,
          onEvents: (events) => {
            const changes = changesOf(keys, events)
            reach(BigInt(events.at(-1)?.kv.mod_revision ?? 0))
            return changes
          },
          onProgress: (revision) => {
            reach(revision)
            return [{ _tag: "Progress", revision }]
          }
        })
        .pipe(
          Stream.onError((cause) =>
            Effect.sync(() => {
              const broken = Cause.findErrorOption(cause)
              // Nothing can be gone on from: what lies in between is compacted, or of another epoch.
              if (Option.isSome(broken) && broken.value._tag === "WatchBroken" && broken.value.why !== "ended") {
                reached = undefined
              }
            })
          )
        )
    }

    const start = Effect.gen(function* () {
      const connection = yield* upstream.connection
      const before = reached
      if (before !== undefined && connection.progressIsTrustworthy) {
        // A store that was rewound would be silent until it has grown past this revision again: ask before waiting.
        yield* quorum.range("Group.watch.resume", { key: keys.start, count_only: true })
        if (before.epoch === quorum.epochUnsafe()) {
          const { epoch, revision } = before
          return Stream.concat(Stream.make<[Feed]>({ _tag: "Progress", revision }), watch({ epoch, revision }))
        }
      }
      const snapshot = yield* list("Group.watch.list")
      return Stream.concat(
        Stream.make<[Feed]>({ _tag: "Snapshot", snapshot }),
        watch({ revision: snapshot.revision, epoch: snapshot.epoch })
      )
    })

    return resync<Feed>({
      label: path,
      within: patience,
      start,
      disconnected: (cause) => [{ _tag: "Disconnected", cause }]
    })
  })

  const follow = (id: string, known?: bigint) =>
    Stream.suspend(() => {
      let from = known === undefined ? undefined : { revision: known, epoch: quorum.epochUnsafe() }
      const watch = (last: Followed | undefined, revision: bigint, of: number) =>
        upstream.watch<Followed>({
          key: keys.member(id),
          from: revision + 1n,
          epoch: of,
          onEvents: (events) =>
            events.map(({ kv, type }) => {
              const entry = type === "Delete" ? Option.none() : Option.some(entryOf(keys, kv))
              last = { entry, revision: BigInt(kv.mod_revision) }
              return last
            }),
          onProgress: (revision) => (last === undefined ? [] : [{ ...last, revision }])
        })
      const start = Effect.gen(function* () {
        const once = from
        from = undefined
        if (once !== undefined) return watch(undefined, once.revision, once.epoch)
        const found = yield* read("Group.follow.read", id)
        return Stream.concat(Stream.make(found), watch(found, found.revision, quorum.epochUnsafe()))
      })
      return resync<Followed>({ label: path, within: patience, start, disconnected: () => [] })
    })

  /**
   * Whether the entry that was made at a revision is the only one that its transaction found. All of a transaction is one entry of the
   * Raft log, so that its reading is linearizable (https://etcd.io/docs/v3.5/learning/api/#transaction), and what it reads after a
   * write it reads at the revision of that write (`storeTxnWrite.Range` in etcd's server/storage/mvcc/kvstore_txn.go). Nothing but this
   * transaction's own write has been created at it, so that its key, owner and token are shown.
   */
  const isAlone = (found: RangeResponse | undefined, revision: string): true | undefined =>
    found?.kvs.length === 1 && found.kvs[0]?.create_revision === revision ? true : undefined

  return {
    feed,
    follow,
    attendUnsafe: (...attending) => upstream.attendUnsafe(path, keys, ...attending),
    list: list("Group.list"),
    read: (id) => Effect.map(read("Group.read", id), ({ entry }) => entry),
    turn: (id, token) =>
      Effect.map(
        quorum.txn("Group.turn", "read", {
          compare: [],
          success: [
            { request_range: { key: keys.member(id) } },
            {
              request_range: {
                ...everyone,
                max_create_revision: String(token - 1n),
                sort_order: "Descend",
                sort_target: "Create",
                limit: 1
              }
            }
          ],
          failure: []
        }),
        ({ header, responses: [own, ahead] }) => ({
          own: find(own?.response_range?.kvs),
          ahead: find(ahead?.response_range?.kvs),
          revision: BigInt(header.revision)
        })
      ),
    create: (session, id, value) => {
      const key = keys.member(id)
      const put = { request_put: { key, value: bytesOf(value), lease: session } }
      return quorum
        .send("Group.create", "write", "txn", {
          compare: [created(key, 0n)],
          success: inTurns ? [put, { request_range: anyTwo }] : [put],
          failure: [{ request_range: { key } }]
        })
        .pipe(
          Effect.map(({ header, responses, succeeded }) => {
            const revision = BigInt(header.revision)
            if (succeeded) {
              const isFirst = isAlone(responses[1]?.response_range, header.revision)
              return { _tag: "Created", token: revision, version: revision, isFirst } as const
            }
            return { _tag: "Occupied", entry: Option.getOrThrow(find(responses[0]?.response_range?.kvs)) } as const
          }),
          Effect.catchIf(
            (error) => error instanceof RpcError && isLeaseGone(error),
            () => Effect.succeed({ _tag: "SessionGone" } as const)
          ),
          Effect.mapError(failing("Group.create", "write"))
        )
    },
    update: ({ version, ...holding }, value) => {
      const key = keys.member(holding.id)
      return Effect.map(
        quorum.txn("Group.update", "write", {
          compare: [...holds(key, holding), { target: "Mod", result: "Equal", key, mod_revision: String(version) }],
          success: [{ request_put: { key, value: bytesOf(value), lease: holding.owner ?? "0" } }],
          failure: []
        }),
        ({ header, succeeded }) =>
          succeeded ? ({ _tag: "Updated", version: BigInt(header.revision) } as const) : ({ _tag: "Refused" } as const)
      )
    },
    remove: (holding) => {
      const key = keys.member(holding.id)
      return Effect.asVoid(
        quorum.txn("Group.remove", "write", {
          compare: holds(key, holding),
          success: [{ request_delete_range: { key } }],
          failure: []
        })
      )
    }
  }
}
