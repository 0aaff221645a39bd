/** The sockets of NATS, so that each can be cut in whatever state it is. */
import { NodeTransport } from "@nats-io/transport-node/lib/node_transport.js"
// The package runs in Node only, and tells nobody of a socket until it is connected.
// oxlint-disable-next-line no-restricted-imports
import { once } from "node:events"
// oxlint-disable-next-line no-restricted-imports
import type { Socket } from "node:net"
// oxlint-disable-next-line no-restricted-imports
import { createConnection } from "node:net"

export class Transport extends NodeTransport {
  #dialled: Socket | undefined

  override dial({ hostname, port }: { readonly hostname: string; readonly port: number }): Promise<Socket> {
    const socket = createConnection(port, hostname)
    this.#dialled = socket
    socket.setNoDelay(true)
    return once(socket, "connect").then(() => socket)
  }

  override discard(): void {
    super.discard()
    this.#dialled?.destroy()
  }
}
