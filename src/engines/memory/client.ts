/** The store as one simulated process reaches it over its link: what `internal/coordinator.ts` makes a coordinator of. */
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as PubSub from "effect/PubSub"
import * as Queue from "effect/Queue"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { CoordinatorError } from "../../CoordinatorError.ts"
import { OutcomeUnknown, Unreachable } from "../../CoordinatorError.ts"
import type { GroupName } from "../../Group.ts"
import { label } from "../../Group.ts"
import { resync, WatchBroken } from "../../internal/resync.ts"
import type { Disturbed, Entry, Facts, Feed, Followed, GroupStore, Holding, Store } from "../../internal/store.ts"
import type { MemoryLink, RequestKind } from "./link.ts"
import type { MemoryServer, Write } from "./server.ts"
import { keyOf } from "./server.ts"

/**
 * How often the store says on each connection which write was the last: a watch that lost the last event of a burst
 * would otherwise not know it until the next one.
 */
const beatMillis = 1_000

/** Beats missed before a connection counts as dead: one may be late, three are not. */
const silenceMillis = 3.5 * beatMillis

/** The smallest TTL at which renewals at a third of it still leave room for a timer's inaccuracy. */
const minimumTtlMillis = 100

/** As etcd's default limit for a request. */
const maximumValueBytes = 1_500_000

/** What is known of the embedded store before it is reached. */
export const facts = (node: string): Facts => ({
  engine: "memory",
  endpoint: `memory://${node}`,
  margin: 0.8,
  minimumTtlMillis,
  maximumValueBytes
})

interface OpenWatch {
  /** The incarnation of the store that it was opened on. */
  readonly of: number
  /** The newest write that the store has sent, as it says on each beat. */
  sent: bigint
  /** The newest write that has arrived. */
  cursor: bigint
  readonly accept: (write: Write) => void
  readonly progress: (revision: bigint) => void
  readonly fail: (error: CoordinatorError | WatchBroken) => void
}

export const make = Effect.fnUntraced(function* (
  server: MemoryServer,
  link: MemoryLink,
  settings: { readonly requestMillis: number }
): Effect.fn.Return<Store, never, Scope.Scope> {
  const rewinds = yield* PubSub.unbounded<void>()
  const watches = new Set<OpenWatch>()
  let incarnation = server.incarnation
  let epoch = 0
  const now = () => Number(link.clock.monotonicTimeNanosUnsafe()) / 1_000_000
  let lastHeard = now()

  /**
   * Every answer names the incarnation of the store that gave it; a newer one than before means that the store was
   * rewound. One of an older store says nothing of this one, however late it comes.
   */
  const meet = (of: number): boolean => {
    if (of <= incarnation) return of === incarnation
    incarnation = of
    epoch++
    PubSub.publishUnsafe(rewinds, undefined)
    return true
  }
  const outdated = (kind: RequestKind, operation: string) => {
    const detail = "The store was rewound before the answer came"
    return link.error(operation, kind === "read" ? new Unreachable({ detail }) : new OutcomeUnknown({ detail }))
  }

  const callWith = <A>(
    kind: RequestKind,
    operation: string,
    apply: Effect.Effect<A>
  ): Effect.Effect<A, CoordinatorError> =>
    link
      .call(
        kind,
        operation,
        Effect.map(apply, (answer) => ({ answer, of: server.incarnation }))
      )
      .pipe(
        Effect.flatMap(({ answer, of }) => (meet(of) ? Effect.succeed(answer) : Effect.fail(outdated(kind, operation))))
      )

  const call = <A>(kind: RequestKind, operation: string, apply: () => A): Effect.Effect<A, CoordinatorError> =>
    callWith(kind, operation, Effect.sync(apply))

  const silent = () => link.error("Group.watch", new Unreachable({ detail: "The connection has gone silent" }))
  const cut = () => link.error("Group.watch", new Unreachable({ detail: "The connection was reset" }))

  const patience = {
    millis: settings.requestMillis,
    orElse: link.error("Group.watch", new Unreachable({ detail: `No answer within ${settings.requestMillis} ms` }))
  }

  const resetUnsafe = (error: CoordinatorError) => {
    for (const watch of Array.from(watches)) watch.fail(error)
  }
  const onReset = () => resetUnsafe(cut())
  yield* Effect.acquireRelease(
    Effect.sync(() => link.onReset.add(onReset)),
    () => Effect.sync(() => link.onReset.delete(onReset))
  )

  /** The store's side: one message about all open watches, over the same link as their events. */
  const beat = Effect.sync(() => {
    if (watches.size === 0) return
    const { incarnation, revision } = server
    const open = Array.from(watches, (watch) => ({ watch, sent: watch.sent }))
    link.sendUnsafe(() => {
      lastHeard = now()
      for (const { sent, watch } of open) {
        // The message that told of a rewind may have been lost.
        if (watch.of !== incarnation) watch.fail(new WatchBroken({ why: "rewound" }))
        else if (sent > watch.cursor) watch.fail(new WatchBroken({ why: "gap" }))
        else watch.progress(revision)
      }
    })
  })
  yield* Effect.forever(Effect.andThen(link.base.sleep(Duration.millis(beatMillis)), beat)).pipe(Effect.forkScoped)

  /** The process's side: a connection that says nothing is dead, whatever the operating system believes. */
  const listen = Effect.sync(() => {
    const at = now()
    if (watches.size === 0) lastHeard = at
    else if (at - lastHeard > silenceMillis) {
      lastHeard = at
      resetUnsafe(silent())
    }
  })
  yield* Effect.forever(Effect.andThen(link.clock.sleep(Duration.millis(beatMillis)), listen)).pipe(Effect.forkScoped)

  interface Watching {
    readonly of: number
    readonly group: string
    readonly key: string
    readonly cursor: bigint
  }

  /**
   * Opens a watch of a group, or of one entry of it, from a cursor on; returns the way to close it, or why there can be none. Nobody is
   * told anything after its end.
   */
  const openUnsafe = (
    { cursor, group, key, of }: Watching,
    tell: {
      readonly wrote: (write: Write) => void
      readonly progress: (revision: bigint) => void
      readonly ended: (error: CoordinatorError | WatchBroken) => void
    }
  ): (() => void) | WatchBroken => {
    // Revisions before and after a rewind do not continue one another.
    if (of !== server.incarnation) return new WatchBroken({ why: "rewound" })
    const missed = server.since(group, cursor)
    if (missed === undefined) return new WatchBroken({ why: "compacted" })
    let reached: bigint | undefined
    const watch: OpenWatch = {
      of,
      sent: cursor,
      cursor,
      accept: (write) => {
        // What was still on its way when the watch ended belongs to a past that has been read anew since.
        if (!watches.has(watch) || write.revision <= watch.cursor) return
        // Every event of a group names the one before it; single entries are told only of their own writes.
        if (key === group && write.previous > watch.cursor) return watch.fail(new WatchBroken({ why: "gap" }))
        watch.cursor = write.revision
        tell.wrote(write)
      },
      progress: (revision) => {
        // The first shows that the watch works; after that, an idle store has nothing to wake anybody for.
        if (!watches.has(watch) || revision === reached) return
        reached = revision
        tell.progress(revision)
      },
      fail: (error) => {
        if (watches.delete(watch)) tell.ended(error)
      }
    }
    const sendUnsafe = (write: Write) => {
      watch.sent = write.revision
      link.sendEventUnsafe(() => watch.accept(write))
    }
    watches.add(watch)
    for (const write of missed) {
      if (key === group || key === keyOf(write.group, write.id)) sendUnsafe(write)
    }
    const stop = server.watch(key, {
      wrote: sendUnsafe,
      broken: (why) => link.sendUnsafe(() => watch.fail(new WatchBroken({ why })))
    })
    return () => {
      watches.delete(watch)
      stop()
    }
  }

  const watchFrom = <A>(
    options: Watching & {
      readonly onWrite: (write: Write) => A
      readonly onProgress: (revision: bigint) => A
    }
  ): Stream.Stream<A, CoordinatorError | WatchBroken> =>
    Stream.unwrap(
      Effect.gen(function* () {
        const queue = yield* Queue.unbounded<A, CoordinatorError | WatchBroken | Cause.Done>()
        const close = yield* Effect.acquireRelease(
          Effect.sync(() =>
            openUnsafe(options, {
              wrote: (write) => Queue.offerUnsafe(queue, options.onWrite(write)),
              progress: (revision) => Queue.offerUnsafe(queue, options.onProgress(revision)),
              ended: (error) => Queue.failCauseUnsafe(queue, Cause.fail(error))
            })
          ),
          (opened) => Effect.sync(() => (opened instanceof WatchBroken ? undefined : opened()))
        )
        return close instanceof WatchBroken ? yield* close : Stream.fromQueue(queue)
      })
    )

  const group = (name: GroupName): GroupStore => {
    const path = label(name)
    const isContested = name.kind === "election" || name.kind === "lock"
    const holds = (holding: Holding) => (entry: Entry) => entry.token === holding.token && entry.owner === holding.owner

    const feed = Stream.suspend(() => {
      let seen = { revision: 0n, epoch: -1 }
      const read = (linearizable: boolean) =>
        call("read", linearizable ? "Group.list" : "Group.watch.list", () => ({
          of: server.incarnation,
          ...(linearizable || link.lagMillis === 0
            ? server.list(path)
            : server.list(path, link.base.currentTimeMillisUnsafe() - link.lagMillis))
        }))
      const start = Effect.gen(function* () {
        let listed = yield* read(false)
        if (epoch === seen.epoch && listed.revision < seen.revision) {
          // A replica that lags, or an index that fell: the linearizable reading is the truth in both cases.
          listed = yield* read(true)
        }
        if (listed.of !== incarnation) return yield* new WatchBroken({ why: "rewound" })
        seen = { epoch, revision: listed.revision > seen.revision ? listed.revision : seen.revision }
        const snapshot = { entries: listed.entries, revision: listed.revision, epoch }
        return Stream.concat(
          Stream.make<[Feed]>({ _tag: "Snapshot", snapshot }),
          watchFrom<Feed>({
            of: listed.of,
            group: path,
            key: path,
            cursor: listed.cursor,
            onWrite: (write) => {
              seen = { epoch, revision: write.revision }
              return write.entry === undefined
                ? { _tag: "Changes", revision: write.revision, puts: [], removes: [write.id] }
                : { _tag: "Changes", revision: write.revision, puts: [write.entry], removes: [] }
            },
            onProgress: (revision) => ({ _tag: "Progress", revision })
          })
        )
      })
      return resync<Feed>({
        label: path,
        within: patience,
        start,
        disconnected: (cause) => [{ _tag: "Disconnected", cause }]
      })
    })

    const follow = (id: string) =>
      resync<Followed>({
        label: path,
        within: patience,
        start: Effect.gen(function* () {
          const found = yield* call("read", "Group.follow.read", () => ({
            of: server.incarnation,
            entry: server.read(path, id),
            revision: server.revision,
            cursor: server.lastWrite(path)
          }))
          let last: Followed = { entry: found.entry, revision: found.revision }
          return Stream.concat(
            Stream.make(last),
            watchFrom<Followed>({
              of: found.of,
              group: path,
              key: keyOf(path, id),
              cursor: found.cursor,
              onWrite: (write) => {
                last = { entry: Option.fromNullishOr(write.entry), revision: write.revision }
                return last
              },
              onProgress: (revision) => ({ ...last, revision })
            })
          )
        }),
        disconnected: () => []
      })

    const attendUnsafe: GroupStore["attendUnsafe"] = (holding, known, disturbed) => {
      let over = false
      let close = () => {}
      const end: Disturbed = (found) => {
        over = true
        close()
        disturbed(found)
      }
      const opened = openUnsafe(
        { of: incarnation, group: path, key: keyOf(path, holding.id), cursor: known },
        {
          wrote: ({ entry, revision }) => {
            if (entry === undefined || !holds(holding)(entry)) end({ entry: Option.fromNullishOr(entry), revision })
          },
          progress: () => {},
          ended: () => end()
        }
      )
      if (opened instanceof WatchBroken) disturbed()
      else close = opened
      // What it had missed may have ended it within the call.
      if (over) close()
      return () => close()
    }

    return {
      feed,
      follow,
      attendUnsafe,
      list: call("read", "Group.list", () => server.list(path)).pipe(
        Effect.map(({ entries, revision }) => ({ entries, revision, epoch }))
      ),
      read: (id) => call("read", "Group.read", () => server.read(path, id)),
      turn: (id, token) =>
        call("read", "Group.turn", () => ({
          own: server.read(path, id),
          ahead: Option.fromNullishOr(server.ahead(path, token)),
          revision: server.revision
        })),
      create: (session, id, value) =>
        call("write", "Group.create", () => {
          const created = server.create(path, id, value, session)
          if (created === "SessionGone") return { _tag: "SessionGone" } as const
          if (created === "Occupied") {
            return { _tag: "Occupied", entry: Option.getOrThrow(server.read(path, id)) } as const
          }
          const { token, version } = created
          // Only where somebody may ask: it is looked for among all entries.
          const isFirst = isContested && server.ahead(path, token) === undefined
          return { _tag: "Created", token, version, isFirst } as const
        }),
      update: (holding, value) =>
        call("write", "Group.update", () => {
          const matches = (entry: Entry) => holds(holding)(entry) && entry.version === holding.version
          const version = server.update(path, holding.id, value, matches)
          return version === undefined ? ({ _tag: "Refused" } as const) : ({ _tag: "Updated", version } as const)
        }),
      remove: (holding) => call("release", "Group.remove", () => server.delete(path, holding.id, holds(holding)))
    }
  }

  return {
    open: (ttlMillis) =>
      callWith(
        "write",
        "Session.open",
        Effect.tap(server.openSession(ttlMillis), ({ id }) => Effect.sync(() => link.sessions.add(id)))
      ),
    renew: (session) =>
      call("renew", "Session.renew", () => {
        if (server.incarnation !== incarnation) return { _tag: "Rewound" } as const
        const renewed = server.renewSession(session)
        return renewed === undefined
          ? ({ _tag: "Gone" } as const)
          : ({ _tag: "Renewed", ttlMillis: renewed.ttlMillis } as const)
      }),
    revoke: (session) => call("release", "Session.revoke", () => server.endSession(session)),
    rewinds: Stream.fromPubSub(rewinds),
    group
  }
})
