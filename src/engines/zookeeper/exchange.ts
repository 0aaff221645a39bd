/**
 * The order of requests, answers and events on one connection, and nothing about sockets or fibers.
 *
 * ZooKeeper answers the requests of a connection in the order in which they were sent, so an answer that is not the next
 * one due means that the two ends no longer agree on what the bytes are. Nothing can be concluded from such a connection;
 * it ends, and whoever waits on it learns whether his request can have left this process.
 *
 * Answers and events are handed on in the turn in which they arrive, in their order. So whoever sees an answer has
 * seen every event that the server sent before it.
 */
import type * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type { ApiError } from "./errors.ts"
import { AuthFailed, ConnectionLost, ProtocolError, refused, SessionExpired, TooLarge } from "./errors.ts"
import * as Jute from "./jute.ts"
import type { Operation, WatchEvent } from "./protocol.ts"
import { Code, readReplyHeader, readWatchEvent, Xid } from "./protocol.ts"

/** Why a connection is over. */
export type End =
  | { readonly _tag: "Dropped"; readonly detail: string }
  | { readonly _tag: "Violation"; readonly error: ProtocolError }
  | { readonly _tag: "Expired" }
  | { readonly _tag: "AuthFailed"; readonly error: AuthFailed }

/** What a request on a connection can fail with. */
export type ConnectionError = ApiError | ConnectionLost | SessionExpired | TooLarge

export type SpecialXid = (typeof Xid)["auth" | "setWatches" | "ping"]

/** Someone who waits for an answer. */
interface Waiting {
  readonly xid: number
  /** The place among all requests of this connection, to tell which of them were handed to the network. */
  readonly order: number
  readonly operation: Operation<unknown>
  readonly onAnswer: ((code: number) => void) | undefined
  /** Absent when nobody waits any more. */
  resume: ((effect: Effect.Effect<unknown, ConnectionError>) => void) | undefined
}

/** First in, first out, in constant time. */
const makeQueue = () => {
  let items: Array<Waiting | undefined> = []
  let head = 0
  return {
    push: (item: Waiting) => items.push(item),
    peek: () => items[head],
    shift: () => {
      items[head++] = undefined
      // Moves the rest down once for every as many that left.
      if (head > 1024 && head * 2 > items.length) {
        items = items.slice(head)
        head = 0
      }
    }
  }
}

/** Request numbers are positive ints, from 1. */
const highestXid = 0x7fffffff

export interface Options {
  /** The newest transaction that the session has seen. */
  readonly lastZxid: bigint
  readonly requestLimit: number
  readonly chroot: string
  readonly clock: Clock.Clock
  /** Where requests are written. */
  readonly writer: Jute.Writer
  /** Called when something was written. */
  readonly flush: () => void
  /** Called in the turn of the event's arrival. Must not block. */
  readonly onEvent: (event: WatchEvent) => void
  /** Called once, before those who wait learn of the end. Must not block. */
  readonly onEnd: (end: End) => void
}

export const make = (options: Options) => {
  const { clock, writer } = options
  const ordinary = makeQueue()
  const special = { [Xid.auth]: makeQueue(), [Xid.setWatches]: makeQueue(), [Xid.ping]: makeQueue() }
  const queues = [ordinary, ...Object.values(special)]
  let lastOrder = 0
  let sentOrder = 0
  let lastXid = 0
  let outstanding = 0
  let { lastZxid } = options
  /** When the silence began that the present requests wait through. */
  let quietSince = clock.monotonicTimeNanosUnsafe()
  let end: End | undefined

  const endUnsafe = (why: End): void => {
    if (end !== undefined) return
    end = why
    const detail =
      why._tag === "Dropped" ? why.detail : why._tag === "Expired" ? "the session expired" : why.error.message
    options.onEnd(why)
    for (const queue of queues) {
      for (let one = queue.peek(); one !== undefined; one = queue.peek()) {
        queue.shift()
        const sent = one.order <= sentOrder
        one.resume?.(Effect.fail(new ConnectionLost({ sent, operation: one.operation.name, detail })))
      }
    }
  }

  const violation = (detail: string): void => endUnsafe({ _tag: "Violation", error: new ProtocolError({ detail }) })

  const send = (queue: ReturnType<typeof makeQueue>, waiting: Omit<Waiting, "order">): TooLarge | Waiting => {
    const { operation } = waiting
    const bytes = writer.frame(options.requestLimit, (w) => {
      w.int(waiting.xid).int(operation.opCode)
      operation.write(w)
    })
    if (bytes > options.requestLimit) {
      return new TooLarge({ operation: `${operation.name} ${operation.path}`, bytes, limit: options.requestLimit })
    }
    const entry: Waiting = { ...waiting, order: ++lastOrder }
    if (outstanding++ === 0) quietSince = clock.monotonicTimeNanosUnsafe()
    queue.push(entry)
    options.flush()
    return entry
  }

  const refusal = (operation: Operation<unknown>, code: number, zxid: bigint): ConnectionError => {
    if (code === Code.SessionExpired) return new SessionExpired({})
    return refused(code, { operation: operation.name, path: operation.path, zxid })
  }

  const answer = (reader: Jute.Reader): void => {
    const { err, xid, zxid } = readReplyHeader(reader)
    if (reader.problem !== undefined) return violation(reader.problem)
    if (xid === Xid.notification) {
      const event = readWatchEvent(reader, zxid)
      return reader.problem === undefined ? options.onEvent(event) : violation(reader.problem)
    }
    const queue = xid === Xid.auth || xid === Xid.setWatches || xid === Xid.ping ? special[xid] : ordinary
    const due = queue.peek()
    if (due === undefined || due.xid !== xid) {
      return violation(`an answer to request ${xid} where ${due === undefined ? "none" : due.xid} is due`)
    }
    const value = err === 0 ? due.operation.read(reader, zxid) : undefined
    if (reader.problem !== undefined) return violation(`${reader.problem}, in the answer to ${due.operation.name}`)
    queue.shift()
    outstanding--
    if (zxid > lastZxid) lastZxid = zxid
    due.onAnswer?.(err)
    // Before the answer is handed on: whoever gets it finds the session as it now is.
    if (err === Code.SessionExpired) endUnsafe({ _tag: "Expired" })
    else if (err === Code.SessionMoved)
      endUnsafe({ _tag: "Dropped", detail: "the session has moved to another server" })
    else if (err === Code.SessionClosedRequireSaslAuth) {
      endUnsafe({ _tag: "AuthFailed", error: new AuthFailed({ scheme: "sasl" }) })
    } else if (xid === Xid.auth && err !== 0) {
      endUnsafe({ _tag: "AuthFailed", error: new AuthFailed({ scheme: due.operation.path }) })
    }
    due.resume?.(err === 0 ? Effect.succeed(value) : Effect.fail(refusal(due.operation, err, zxid)))
  }

  return {
    endUnsafe,
    violation,
    isOver: () => end !== undefined,
    lastZxid: () => lastZxid,
    /** Marks what was written so far as handed to the network. */
    sent: () => {
      sentOrder = lastOrder
    },
    heard: () => {
      quietSince = clock.monotonicTimeNanosUnsafe()
    },
    /** Milliseconds for which something has been waited for in silence. */
    quietMillis: (): number =>
      outstanding === 0 ? 0 : Number(clock.monotonicTimeNanosUnsafe() - quietSince) / 1_000_000,
    frame: (bytes: Uint8Array): boolean => {
      answer(new Jute.Reader(bytes, options.chroot))
      return end === undefined
    },
    request: <A>(operation: Operation<A>, onAnswer?: (code: number) => void): Effect.Effect<A, ConnectionError> =>
      Effect.callback<A, ConnectionError>((resume) => {
        if (end !== undefined) {
          const lost = { sent: false, operation: operation.name, detail: "the connection is over" }
          return resume(Effect.fail(new ConnectionLost(lost)))
        }
        const xid = (lastXid % highestXid) + 1
        // The answer has this type because the operation that reads it has; the queue holds operations of all types.
        const entry = send(ordinary, { xid, operation, onAnswer, resume: resume as Waiting["resume"] })
        if (entry instanceof TooLarge) return resume(Effect.fail(entry))
        lastXid = xid
        return Effect.sync(() => {
          entry.resume = undefined
        })
      }),
    sendUnsafe: (xid: SpecialXid, operation: Operation<unknown>, onAnswer?: (code: number) => void): void => {
      if (end !== undefined) return
      const entry = send(special[xid], { xid, operation, onAnswer, resume: undefined })
      if (entry instanceof TooLarge) endUnsafe({ _tag: "Dropped", detail: entry.message })
    }
  }
}
