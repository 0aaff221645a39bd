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
import * as Result from "effect/Result"
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

/** Told the answer to a request, once and in the turn of its arrival, before anything that arrives later. Must not block. */
export type Answered<in A, in E> = (answer: Result.Result<A, E>) => void

/** Gives a request up: it stays sent, and its answer is not told. */
export type GiveUp = () => void

export type SpecialXid = (typeof Xid)["auth" | "setWatches" | "ping"]

/** Someone who waits for an answer. */
interface Waiting {
  readonly xid: number
  /** The place among all requests of this connection, to tell which of them were handed to the network. */
  readonly order: number
  readonly operation: Operation<unknown>
  /** Told the code also when nobody waits for the answer any more. */
  readonly onCode: ((code: number) => void) | undefined
  /** Absent when nobody waits any more. */
  answered: Answered<unknown, ConnectionError> | undefined
}

/** First in, first out, in constant time. */
const makeQueue = () => {
  let items: Array<Waiting | undefined> = []
  let head = 0
  return {
    push: (item: Waiting) => items.push(item),
    peek: () => items[head],
    size: () => items.length - head,
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

const nothing = (): void => {}

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
    if (end === undefined) {
      end = why
      options.onEnd(why)
    }
    const detail =
      end._tag === "Dropped" ? end.detail : end._tag === "Expired" ? "the session expired" : end.error.message
    // Also when it had ended: should one of those who are told throw, the others are told by the next who ends it.
    for (const queue of queues) {
      for (let one = queue.peek(); one !== undefined; one = queue.peek()) {
        queue.shift()
        const sent = one.order <= sentOrder
        one.answered?.(Result.fail(new ConnectionLost({ sent, operation: one.operation.name, detail })))
      }
    }
  }

  const violation = (detail: string): void => endUnsafe({ _tag: "Violation", error: new ProtocolError({ detail }) })

  const send = (
    queue: ReturnType<typeof makeQueue>,
    xid: number,
    operation: Operation<unknown>,
    onCode: Waiting["onCode"],
    answered: Waiting["answered"]
  ): TooLarge | Waiting => {
    const bytes = writer.frame(options.requestLimit, (w) => {
      w.int(xid).int(operation.opCode)
      operation.write(w)
    })
    if (bytes > options.requestLimit) {
      return new TooLarge({ operation: `${operation.name} ${operation.path}`, bytes, limit: options.requestLimit })
    }
    const entry: Waiting = { xid, order: ++lastOrder, operation, onCode, answered }
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
    due.onCode?.(err)
    // Before the answer is handed on: whoever gets it finds the session as it now is.
    if (err === Code.SessionExpired) endUnsafe({ _tag: "Expired" })
    else if (err === Code.SessionMoved)
      endUnsafe({ _tag: "Dropped", detail: "the session has moved to another server" })
    else if (err === Code.SessionClosedRequireSaslAuth) {
      endUnsafe({ _tag: "AuthFailed", error: new AuthFailed({ scheme: "sasl" }) })
    } else if (xid === Xid.auth && err !== 0) {
      endUnsafe({ _tag: "AuthFailed", error: new AuthFailed({ scheme: due.operation.path }) })
    }
    due.answered?.(err === 0 ? Result.succeed(value) : Result.fail(refusal(due.operation, err, zxid)))
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
    /** How many requests wait for their answer. */
    waiting: ordinary.size,
    requestUnsafe: <A>(
      operation: Operation<A>,
      answered: Answered<A, ConnectionError>,
      onCode?: (code: number) => void
    ): GiveUp => {
      if (end !== undefined) {
        const lost = { sent: false, operation: operation.name, detail: "the connection is over" }
        answered(Result.fail(new ConnectionLost(lost)))
        return nothing
      }
      const xid = (lastXid % highestXid) + 1
      // The answer has this type because the operation that reads it has; the queue holds operations of all types.
      const entry = send(ordinary, xid, operation, onCode, answered as Answered<unknown, ConnectionError>)
      if (entry instanceof TooLarge) {
        answered(Result.fail(entry))
        return nothing
      }
      lastXid = xid
      return () => {
        entry.answered = undefined
      }
    },
    sendUnsafe: (xid: SpecialXid, operation: Operation<unknown>, onCode?: (code: number) => void): void => {
      if (end !== undefined) return
      const entry = send(special[xid], xid, operation, onCode, undefined)
      if (entry instanceof TooLarge) endUnsafe({ _tag: "Dropped", detail: entry.message })
    }
  }
}
