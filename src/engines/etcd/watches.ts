/** All watches of one connection, on one gRPC stream. */
import { WatchBroken } from "../../internal/resync.ts"
import type { Connected } from "./connections.ts"
import type { Bytes, Duplex, RpcError, WatchRequest, WatchResponse } from "./rpc.ts"

type Event = WatchResponse["events"][number]

/** What is watched, from which revision on, and who is told. */
export interface Watch {
  readonly key: Bytes
  readonly end?: Bytes
  readonly from: bigint
  /** The events of one answer, in the order of their revisions, none below `from`. */
  readonly events: (events: ReadonlyArray<Event>) => void
  /** Everything up to this revision has been told. */
  readonly progress: (revision: bigint) => void
  readonly ended: (error: RpcError | WatchBroken) => void
}

export interface Watches {
  /** Starts a watch; returns the way to end it. */
  readonly watchUnsafe: (watch: Watch) => () => void
  /** Called at a steady pace, at most as long apart as a request may take: asks a silent stream how far it is. */
  readonly tickUnsafe: () => void
}

interface Open {
  readonly watch: Watch
  /** The store's revision when the server had made it; nothing until it says so. */
  madeAt: bigint | undefined
}

/** The id under which etcd answers a request for the progress of the whole stream. */
const everyWatch = "-1"

/**
 * Ticks without a word after which a stream that was asked for its progress is replaced. Counted in ticks and not in time: after
 * a stall of this process what has arrived meanwhile is read before the next tick.
 */
const patienceTicks = 2

/**
 * Replacements in a row after which a server's silence is its manner: some versions give no notification while one watch of the
 * stream waits for a revision to come (etcd-io/etcd#20242). The connection itself is proved by every renewal.
 */
const patienceStreams = 2

export const make = (connection: Connected): Watches => {
  const open = new Map<number, Open>()
  let stream: Duplex<WatchRequest> | undefined
  let lastId = 0
  let heard = false
  let ticksAsked = 0
  let silentStreams = 0

  const endAllUnsafe = (error: RpcError | WatchBroken): void => {
    stream = undefined
    ticksAsked = 0
    const ended = Array.from(open.values())
    open.clear()
    for (const { watch } of ended) watch.ended(error)
  }

  const replaceUnsafe = (error: RpcError | WatchBroken): void => {
    stream?.cancelUnsafe()
    endAllUnsafe(error)
  }

  const canceled = (watch: Watch, message: WatchResponse): void => {
    if (message.compact_revision !== "0") return watch.ended(new WatchBroken({ why: "compacted" }))
    // What the reason says is not to be believed: an expired login may show as a lack of permission. The reading with which the
    // next attempt begins renews the one and fails for the other. And after refusing one watch, some servers leave later
    // requests of the same stream unanswered (etcd-io/etcd#11708).
    watch.ended(new WatchBroken({ why: "ended" }))
    replaceUnsafe(new WatchBroken({ why: "ended" }))
  }

  const onMessage = (message: WatchResponse): void => {
    heard = true
    ticksAsked = 0
    silentStreams = 0
    if (message.watch_id === everyWatch) {
      const revision = BigInt(message.header.revision)
      for (const { madeAt, watch } of open.values()) {
        // The answer may be to a question from before this watch was made, whose backlog is still to come. The server takes
        // requests one after another, so a revision above that of the making is surely from after it.
        if (madeAt !== undefined && revision > madeAt) watch.progress(revision)
      }
      return
    }
    const id = Number(message.watch_id)
    const found = open.get(id)
    if (found === undefined) return
    const { watch } = found
    if (message.canceled) {
      open.delete(id)
      return canceled(watch, message)
    }
    // What a creation says of the revision is not progress: the backlog comes after it.
    if (message.created) {
      found.madeAt = BigInt(message.header.revision)
      return
    }
    if (message.events.length > 0) {
      const isDue = (event: Event | undefined) => event !== undefined && BigInt(event.kv.mod_revision) >= watch.from
      // They come in the order of their revisions, so that one which is due has none before it that is not.
      const events = isDue(message.events[0]) ? message.events : message.events.filter(isDue)
      if (events.length > 0) watch.events(events)
    } else if (connection.progressIsTrustworthy) {
      watch.progress(BigInt(message.header.revision))
    }
  }

  const streamUnsafe = (): Duplex<WatchRequest> | RpcError => {
    if (stream !== undefined) return stream
    heard = false
    const opened = connection.streamUnsafe("watch", { message: onMessage, end: endAllUnsafe })
    if (opened._tag === "Duplex") stream = opened
    return opened
  }

  return {
    watchUnsafe: (watch) => {
      const on = streamUnsafe()
      if (on._tag === "RpcError") {
        watch.ended(on)
        return () => {}
      }
      const id = ++lastId
      open.set(id, { watch, madeAt: undefined })
      on.writeUnsafe({
        create_request: {
          watch_id: id,
          key: watch.key,
          ...(watch.end === undefined ? {} : { range_end: watch.end }),
          start_revision: String(watch.from),
          progress_notify: true
        }
      })
      return () => {
        if (open.delete(id)) stream?.writeUnsafe({ cancel_request: { watch_id: id } })
      }
    },
    tickUnsafe: () => {
      if (stream === undefined || open.size === 0 || !connection.progressIsTrustworthy) return
      if (heard) {
        heard = false
      } else if (ticksAsked >= patienceTicks) {
        if (silentStreams < patienceStreams) {
          silentStreams++
          replaceUnsafe(new WatchBroken({ why: "ended" }))
        }
      } else {
        ticksAsked++
        stream.writeUnsafe({ progress_request: {} })
      }
    }
  }
}
