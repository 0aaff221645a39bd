/**
 * One TCP connection to one server: the handshake, then an exchange of requests and answers until something ends it. It is
 * ended by the server, by bytes that are not the protocol, by a silence in which something is due, and by its owner.
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import * as Socket from "effect/socket/Socket"
import type { ConnectFailure } from "./errors.ts"
import { ProtocolError, Refused, SessionExpired, Unreachable } from "./errors.ts"
import type { Answered, ConnectionError, End, GiveUp, SpecialXid } from "./exchange.ts"
import * as Exchange from "./exchange.ts"
import * as Frame from "./frame.ts"
import * as Jute from "./jute.ts"
import type { ConnectRequest, ConnectResponse, Operation, WatchEvent } from "./protocol.ts"
import { readConnectResponse, writeConnectRequest } from "./protocol.ts"
import type { Endpoint, Transport } from "./transport.ts"
import { destroy, show } from "./transport.ts"

/** What the servers read at most unless their `jute.maxbuffer` says otherwise (`BinaryInputArchive.maxBuffer`). */
export const defaultRequestLimit = 0xfffff

export interface Options {
  readonly transport: Transport
  readonly endpoint: Endpoint
  readonly handshake: ConnectRequest
  /** Bounds everything up to the end of the handshake. */
  readonly connectMillis: number
  /** For which part of the negotiated timeout a request may wait while nothing at all arrives. */
  readonly silence: number
  readonly requestLimit: number
  readonly answerLimit: number
  /** Every path is below it: empty, or a path without a slash at its end. */
  readonly chroot: string
  /** Called in the turn of the event's arrival. Must not block. */
  readonly onEvent: (event: WatchEvent) => void
  /**
   * Called once when the connection ends, before those who wait on it learn it. That may be before {@link open} has
   * answered: a server may hang up right after the handshake. Must not block.
   */
  readonly onEnd: (end: End) => void
}

export interface Connection {
  readonly endpoint: Endpoint
  readonly handshake: ConnectResponse
  /** The newest transaction that an answer has shown. */
  readonly lastZxid: () => bigint
  /**
   * Sends a request in its place in the order, in this very turn. `answered` may be called within the call; `onCode` is told also when
   * the request was given up.
   */
  readonly requestUnsafe: <A>(
    operation: Operation<A>,
    answered: Answered<A, ConnectionError>,
    onCode?: (code: number) => void
  ) => GiveUp
  /** The same as an effect; interruption gives it up. */
  readonly request: <A>(operation: Operation<A>) => Effect.Effect<A, ConnectionError>
  /** How many requests wait for their answer. */
  readonly waiting: () => number
  /** Sends a request that has no place in the order: `Xid.auth`, `Xid.setWatches`, `Xid.ping`. Sent in this very turn. */
  readonly sendUnsafe: (xid: SpecialXid, operation: Operation<unknown>, onCode?: (code: number) => void) => void
  /** Ends the connection from this side. The first reason stands. */
  readonly endUnsafe: (end: End) => void
}

/** The sockets' error as one line. */
const describe = (error: Socket.SocketError): string => {
  const { reason } = error
  if (reason._tag === "SocketCloseError") return "the server closed the connection"
  const cause = "cause" in reason ? reason.cause : undefined
  return cause instanceof Error ? cause.message : error.message
}

const isHangUp = (error: Socket.SocketError): boolean =>
  error.reason._tag === "SocketCloseError" && error.reason.code === 1000

/** Requests as effects. */
export const asked =
  <E>(requestUnsafe: <A>(operation: Operation<A>, answered: Answered<A, E>) => GiveUp) =>
  <A>(operation: Operation<A>): Effect.Effect<A, E> =>
    Effect.callback<A, E>((resume) =>
      Effect.sync(requestUnsafe(operation, (answer) => resume(Effect.fromResult(answer))))
    )

/** What the server's half of the handshake means. */
const judge = (
  bytes: Uint8Array,
  asked: ConnectRequest,
  endpoint: string
): Result.Result<ConnectResponse, ConnectFailure> =>
  Result.flatMap(
    Jute.decode(bytes, readConnectResponse),
    (response): Result.Result<ConnectResponse, ConnectFailure> => {
      const isNew = asked.sessionId === 0n
      if (response.timeoutMillis <= 0) return Result.fail(isNew ? new Refused({ endpoint }) : new SessionExpired({}))
      if (!isNew && response.sessionId !== asked.sessionId) {
        return Result.fail(new ProtocolError({ detail: `another session than the one asked for` }))
      }
      return response.readOnly ? Result.fail(new Refused({ endpoint })) : Result.succeed(response)
    }
  )

/** Connects and shakes hands. The connection lives as long as the scope; it may end earlier. */
export const open = Effect.fnUntraced(function* (
  options: Options
): Effect.fn.Return<Connection, ConnectFailure, Scope.Scope> {
  const endpoint = show(options.endpoint)
  const clock = yield* Clock.Clock
  const out = new Jute.Writer(options.chroot)

  let wake: (() => void) | undefined
  let waking = false
  const leave = (): void => {
    waking = false
    wake?.()
  }
  /**
   * Wakes the writing fiber once this turn is over, so that all requests of one turn leave in one write, and with them those that are
   * made at its end.
   */
  const flush = (): void => {
    if (waking) return
    waking = true
    void Promise.resolve()
      .then(() => {})
      .then(leave)
  }
  const { chroot, onEnd, onEvent, requestLimit } = options
  const lastZxid = options.handshake.lastZxidSeen
  const exchange = Exchange.make({ lastZxid, requestLimit, chroot, clock, writer: out, flush, onEvent, onEnd })
  const somethingToWrite = Effect.callback<void>((resume) => {
    if (out.pending > 0) return resume(Effect.void)
    wake = () => {
      if (out.pending > 0) resume(Effect.void)
    }
    return undefined
  })

  const shaken = yield* Deferred.make<ConnectResponse, ConnectFailure>()
  let shaking = true
  const shake = (bytes: Uint8Array): boolean => {
    const outcome = judge(bytes, options.handshake, endpoint)
    shaking = false
    Deferred.doneUnsafe(shaken, Effect.fromResult(outcome))
    return Result.isSuccess(outcome)
  }
  const splitter = Frame.make(options.answerLimit, (bytes) => (shaking ? shake(bytes) : exchange.frame(bytes)))

  /** Ends the connection, or the attempt at one. */
  const fail = (end: End, failure: ConnectFailure): void => {
    Deferred.doneUnsafe(shaken, Effect.fail(failure))
    exchange.endUnsafe(end)
  }

  const read = (pull: Effect.Effect<ReadonlyArray<Uint8Array>, Socket.SocketError>) =>
    pull.pipe(
      Effect.map((pieces) => {
        exchange.heard()
        for (const piece of pieces) {
          if (exchange.isOver()) return
          const error = splitter.push(piece)
          if (error !== undefined) fail({ _tag: "Violation", error }, error)
        }
      }),
      Effect.forever({ disableYield: true }),
      Effect.catch((error: Socket.SocketError) =>
        Effect.sync(() => {
          const detail = describe(error)
          const failure = isHangUp(error)
            ? new Refused({ endpoint })
            : new Unreachable({ endpoint, detail, cause: error })
          fail({ _tag: "Dropped", detail }, failure)
        })
      ),
      // A listener that throws must not leave behind a connection that nobody reads.
      Effect.onError((cause) =>
        Effect.sync(() => exchange.endUnsafe({ _tag: "Dropped", detail: `reading failed: ${Cause.pretty(cause)}` }))
      )
    )

  const write = (writer: Socket.Writer) =>
    somethingToWrite.pipe(
      Effect.andThen(
        Effect.suspend(() => {
          exchange.sent()
          return writer.write(out.take())
        })
      ),
      Effect.forever({ disableYield: true }),
      Effect.catch((error: Socket.SocketError) =>
        Effect.sync(() => exchange.endUnsafe({ _tag: "Dropped", detail: describe(error) }))
      )
    )

  let connected = false
  const connect = Effect.gen(function* () {
    const socket = yield* options.transport(options.endpoint)
    const pull = yield* Socket.readerBytes(socket).pipe(
      Effect.mapError((error) => new Unreachable({ endpoint, detail: describe(error), cause: error })),
      // A port out of range or a key that is none is thrown by the platform before it tries to connect.
      Effect.catchDefect((cause) => Effect.fail(new Unreachable({ endpoint, detail: String(cause), cause })))
    )
    connected = true
    const writer = yield* socket.writer
    yield* Effect.addFinalizer(() => destroy(writer))
    // Whatever the reason, nobody waits on a connection whose scope is closed.
    yield* Effect.addFinalizer(() =>
      Effect.sync(() => exchange.endUnsafe({ _tag: "Dropped", detail: "the connection was closed here" }))
    )
    out.frame(options.requestLimit, (w) => writeConnectRequest(w, options.handshake))
    yield* Effect.forkScoped(write(writer), { startImmediately: true })
    yield* Effect.forkScoped(read(pull), { startImmediately: true })
    return yield* Deferred.await(shaken)
  })

  const handshake = yield* Effect.timeoutOrElse(connect, {
    duration: options.connectMillis,
    orElse: () => {
      const what = connected ? "no answer to the handshake" : "no connection"
      return Effect.fail(new Unreachable({ endpoint, detail: `${what} within ${options.connectMillis} ms` }))
    }
  })

  const patience = handshake.timeoutMillis * options.silence
  const listen = Effect.gen(function* () {
    // A request that is sent while this sleeps is younger than the sleep, so no silence is noticed late.
    while (exchange.quietMillis() < patience) yield* Effect.sleep(Math.max(1, patience - exchange.quietMillis()))
    // After a pause of this process the timer comes before the bytes that have arrived meanwhile. They go first.
    yield* Effect.yieldNow
    return exchange.quietMillis() >= patience
  })
  yield* listen.pipe(
    Effect.repeat({ until: (silent) => silent }),
    Effect.tap(
      Effect.sync(() => exchange.endUnsafe({ _tag: "Dropped", detail: `no answer within ${Math.round(patience)} ms` }))
    ),
    Effect.forkScoped
  )

  return {
    endpoint: options.endpoint,
    handshake,
    lastZxid: exchange.lastZxid,
    requestUnsafe: exchange.requestUnsafe,
    request: asked(exchange.requestUnsafe),
    waiting: exchange.waiting,
    sendUnsafe: exchange.sendUnsafe,
    endUnsafe: exchange.endUnsafe
  }
})
