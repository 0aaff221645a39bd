/**
 * The sockets of the driver, so that each can be cut in whatever state it is.
 *
 * The driver hands nobody a connection that is being opened, forgets one that was of no use (a node of another data center), and
 * waits for servers that it says goodbye to, which may be frozen.
 *
 * What is reached for here is no part of the driver's interface (cassandra-driver 4.10), so every step is checked: under a driver
 * that is built otherwise, its own timeouts end what is left, later.
 */

/** What is needed of a socket of Node. */
interface Socket {
  readonly bytesRead: number
  readonly bytesWritten: number
  readonly destroyed: boolean
  readonly destroy: (cause: Error) => unknown
}

const isSocket = (value: unknown): value is Socket =>
  typeof value === "object" && value !== null && "destroy" in value && typeof value.destroy === "function"

/** The socket that one of the driver's connections has now: it takes another when the server knows a lower version only. */
const socketOf = (connection: object): Socket | undefined => {
  const socket: unknown = Reflect.get(connection, "netClient")
  return isSocket(socket) && !socket.destroyed ? socket : undefined
}

type Log = (this: unknown, event: "log", level: string, source: string, ...rest: ReadonlyArray<unknown>) => void

export interface Sockets {
  /**
   * For the client's options. Whatever the driver makes writes to the client's log as a method of its own, and a connection does so
   * before it makes a socket.
   */
  readonly logEmitter: Log
  /**
   * A probe was not answered. Sockets that were asked something since the one before, which was not answered either, and have
   * said nothing, are cut: two in a row, so that a server that stalls for a moment costs nobody a long statement.
   */
  readonly unanswered: () => void
  /** Cuts all, and each that is opened later. */
  readonly cut: () => void
}

/** `log` is where the driver's own log goes. */
export const make = (log: Log): Sockets => {
  const connections = new Set<object>()
  const counted = new WeakMap<Socket, { readonly read: number; readonly written: number }>()
  let isCut = false

  // With an error, or the driver would wait for the connection that was being opened for ever.
  const cutOne = (connection: object, reason: string): void => void socketOf(connection)?.destroy(new Error(reason))

  const remember = (connection: object): void => {
    for (const one of connections) if (socketOf(one) === undefined) connections.delete(one)
    connections.add(connection)
  }

  return {
    logEmitter(event, level, source, ...rest) {
      if (source === "Connection" && typeof this === "object" && this !== null) {
        if (!connections.has(this)) remember(this)
        // What it says first comes right before its socket.
        if (isCut) queueMicrotask(() => cutOne(this, "The service has stopped"))
      }
      log.call(this, event, level, source, ...rest)
    },
    unanswered: () => {
      for (const connection of connections) {
        const socket = socketOf(connection)
        if (socket === undefined) continue
        const { bytesRead: read, bytesWritten: written } = socket
        const before = counted.get(socket)
        counted.set(socket, { read, written })
        if (before?.read === read && before.written < written) cutOne(connection, "The server has fallen silent")
      }
    },
    cut: () => {
      isCut = true
      for (const connection of connections) cutOne(connection, "The service has stopped")
    }
  }
}
