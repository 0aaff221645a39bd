import { Cause, Effect, Queue } from "effect"
import { Socket } from "effect/socket"
import * as Frame from "../../src/engines/zookeeper/frame.ts"
import * as Jute from "../../src/engines/zookeeper/jute.ts"
import type { ConnectRequest } from "../../src/engines/zookeeper/protocol.ts"
import type { Endpoint, Transport } from "../../src/engines/zookeeper/transport.ts"

export interface Request {
  readonly xid: number
  readonly opCode: number
  /** What follows the header. */
  readonly body: Jute.Reader
}

/** The server's end of one connection, moved by the test. */
export interface FakeConnection {
  readonly endpoint: Endpoint
  /** The next frame from the client. */
  readonly frame: Effect.Effect<Uint8Array>
  /** The next request from the client. */
  readonly request: Effect.Effect<Request>
  /** How many requests nobody has taken. */
  readonly waiting: () => number
  /** How many times the client wrote to the network. */
  readonly writes: () => number
  /** Keeps the network from taking any further bytes. */
  readonly jam: () => void
  readonly isOpen: () => boolean
  readonly send: (...pieces: ReadonlyArray<Uint8Array>) => void
  readonly answer: (xid: number, options?: Answer) => void
  readonly event: (type: number, path: string, zxid?: bigint) => void
  readonly hangUp: () => void
  readonly reset: () => void
}

export interface Answer {
  readonly zxid?: bigint
  readonly err?: number
  readonly body?: (writer: Jute.Writer) => void
}

export interface Handshake {
  readonly sessionId?: bigint
  readonly timeoutMillis?: number
  readonly password?: Uint8Array
}

export interface FakeServer {
  readonly transport: Transport
  /** The next connection that a client opens. */
  readonly accept: Effect.Effect<FakeConnection>
  /** Accepts, reads the client's half of the handshake and answers the other. */
  readonly shake: (handshake?: Handshake) => Effect.Effect<readonly [FakeConnection, ConnectRequest]>
  /** Whether attempts to connect fail, hang, or succeed. */
  network: "up" | "refuses" | "silent"
  /** The servers that were tried, in order. */
  readonly tried: Array<string>
  /** Ends every connection and takes no further one. */
  readonly shutdown: Effect.Effect<void>
}

export const frame = (body: (writer: Jute.Writer) => void): Uint8Array => {
  const writer = new Jute.Writer()
  writer.frame(1 << 24, body)
  return writer.take().slice()
}

export const stat = (writer: Jute.Writer): Jute.Writer =>
  writer.long(1n).long(2n).long(3n).long(4n).int(5).int(6).int(7).long(8n).int(9).int(10).long(11n)

const readHandshake = (bytes: Uint8Array): ConnectRequest => {
  const reader = new Jute.Reader(bytes)
  reader.int()
  const lastZxidSeen = reader.long()
  const timeoutMillis = reader.int()
  return { lastZxidSeen, timeoutMillis, sessionId: reader.long(), password: reader.buffer() }
}

const closed = (code: number) => new Socket.SocketError({ reason: new Socket.SocketCloseError({ code }) })

const connectionOf = Effect.fnUntraced(function* (endpoint: Endpoint) {
  const toClient = yield* Queue.unbounded<Uint8Array, Socket.SocketError>()
  const toServer = yield* Queue.unbounded<Uint8Array>()
  let writes = 0
  let jammed = false
  let open = true
  const splitter = Frame.make(1 << 24, (bytes) => Queue.offerUnsafe(toServer, bytes.slice()))
  const take = (bytes: Uint8Array | string | Socket.CloseEvent) =>
    Effect.suspend(() => {
      if (Socket.isCloseEvent(bytes)) {
        open = false
        return Effect.void
      }
      if (jammed) return Effect.never
      writes++
      splitter.push(bytes as Uint8Array)
      return Effect.void
    })
  const end = (code: number) => Queue.failCauseUnsafe(toClient, Cause.fail(closed(code)))
  const send: FakeConnection["send"] = (...pieces) => {
    for (const piece of pieces) Queue.offerUnsafe(toClient, piece)
  }
  const connection: FakeConnection = {
    endpoint,
    frame: Queue.take(toServer),
    request: Effect.map(Queue.take(toServer), (bytes) => {
      const body = new Jute.Reader(bytes)
      return { xid: body.int(), opCode: body.int(), body }
    }),
    waiting: () => Queue.sizeUnsafe(toServer),
    writes: () => writes,
    jam: () => {
      jammed = true
    },
    isOpen: () => open,
    send,
    answer: (xid, { body, err = 0, zxid = 1n } = {}) =>
      send(
        frame((writer) => {
          writer.int(xid).long(zxid).int(err)
          body?.(writer)
        })
      ),
    event: (type, path, zxid = -1n) =>
      send(frame((writer) => writer.int(-1).long(zxid).int(0).int(type).int(3).ustring(path))),
    hangUp: () => end(1000),
    reset: () => end(1006)
  }
  const socket = Socket.make({
    reader: Effect.succeed({
      pull: Effect.map(Queue.take(toClient), (bytes): readonly [Uint8Array] => [bytes]),
      upgrade: Socket.SocketUpgradeError.unsupported
    }),
    writer: Effect.succeed({ write: take, writeAll: (chunks) => Effect.forEach(chunks, take, { discard: true }) })
  })
  return { connection, socket }
})

export const make = Effect.gen(function* () {
  const connections = yield* Queue.unbounded<FakeConnection>()
  const tried: Array<string> = []
  const all: Array<FakeConnection> = []
  const server: FakeServer = {
    network: "up",
    tried,
    transport: (endpoint) =>
      Effect.map(connectionOf(endpoint), ({ connection, socket }) =>
        Socket.make({
          writer: socket.writer,
          reader: Effect.suspend(() => {
            tried.push(`${endpoint.host}:${endpoint.port}`)
            if (server.network === "silent") return Effect.never
            if (server.network === "refuses") {
              const reason = new Socket.SocketOpenError({ kind: "Unknown", cause: new Error("ECONNREFUSED") })
              return Effect.fail(new Socket.SocketError({ reason }))
            }
            all.push(connection)
            Queue.offerUnsafe(connections, connection)
            return socket.reader
          })
        })
      ),
    shutdown: Effect.suspend(() => {
      server.network = "silent"
      for (const connection of all) connection.hangUp()
      return Effect.yieldNow
    }),
    accept: Queue.take(connections),
    shake: Effect.fnUntraced(function* (handshake = {}) {
      const connection = yield* server.accept
      const request = readHandshake(yield* connection.frame)
      const { password = new Uint8Array(16).fill(9), sessionId = 77n, timeoutMillis = 4000 } = handshake
      connection.send(frame((writer) => writer.int(0).int(timeoutMillis).long(sessionId).buffer(password).bool(false)))
      return [connection, request] as const
    })
  }
  return server
})
