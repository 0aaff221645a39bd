/**
 * All sockets of a driver, since only who made a socket can cut it in whatever state it is.
 *
 * A driver that says goodbye to a server forgets the socket, and a server that is frozen never answers the goodbye: the socket would
 * be left open.
 */
// Drivers that can be given a socket at all are Node's own.
// oxlint-disable-next-line no-restricted-imports
import * as Net from "node:net"

export interface Sockets {
  /** Begins to connect a socket, which is cut with the others. */
  readonly open: (to: Net.NetConnectOpts) => Net.Socket
  /**
   * A probe was not answered. Sockets that have been silent since the one before, which was not answered either, are cut: two in a
   * row, so that a server that stalls for a moment costs nobody a long statement.
   */
  readonly unanswered: () => void
  readonly answered: () => void
  /** Cuts all, and makes no more. */
  readonly cut: () => void
}

/** `broken` is called when a socket is gone that has heard from the server. */
export const make = (broken: () => void): Sockets => {
  const held = new Set<Net.Socket>()
  /** What had been heard on a socket when a probe was not answered. Bytes are counted below TLS, where events are not seen. */
  const heard = new Map<Net.Socket, number>()
  let isCut = false

  return {
    open: (to) => {
      if (isCut) throw new Error("the service has stopped")
      const socket = Net.connect(to)
      held.add(socket)
      // Whatever else the driver listens for, and for how long: an error that nobody hears ends the process.
      socket.on("error", () => {})
      socket.once("close", () => {
        held.delete(socket)
        heard.delete(socket)
        if (socket.bytesRead > 0) broken()
      })
      return socket
    },
    unanswered: () => {
      for (const socket of held) {
        if (heard.get(socket) === socket.bytesRead) socket.destroy(new Error("the server has fallen silent"))
        else heard.set(socket, socket.bytesRead)
      }
    },
    answered: () => heard.clear(),
    cut: () => {
      isCut = true
      for (const socket of held) socket.destroy()
    }
  }
}
