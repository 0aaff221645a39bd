/**
 * A connection of NATS that can be taken hold of before it is connected, and cut in whatever state it is.
 *
 * The package's `connect` gives nothing until it has connected: until then nobody can end it, and a server that accepts and says nothing
 * has its sockets for ever (seen with 3.4.0, where a dial that runs out of time leaves its socket open). So what `connect` makes is made
 * here, of the parts that the package exports for transports.
 */
import type { NatsConnection, NodeConnectionOptions, Server, Status } from "@nats-io/transport-node"
import { errors, NatsConnectionImpl, ProtocolHandler, setTransportFactory } from "@nats-io/transport-node"
import { nodeResolveHost } from "@nats-io/transport-node/lib/node_transport.js"
import { Transport } from "./transport.ts"

const useTransport = (): void => setTransportFactory({ factory: () => new Transport(), dnsResolveFn: nodeResolveHost })

export class Protocol extends ProtocolHandler {
  /** What the connection goes through, told at once: the package's own list of it grows while nobody reads it. */
  onStatus: (status: Status) => void = () => {}
  #isEnded = false

  override dispatchStatus(status: Status): void {
    this.onStatus(status)
    super.dispatchStatus(status)
  }

  override dial(server: Server): Promise<void> {
    // An address that is resolved after the end would be connected to.
    if (this.#isEnded) return Promise.reject(new errors.ClosedConnectionError())
    // The transport is one for the whole process, and others of the package's `connect` functions exchange it.
    useTransport()
    return super.dial(server)
  }

  /** Has it connect again, whatever the connection of now is doing. The package's `reconnect` waits until that has sent everything. */
  replace(cause: Error): Promise<void> {
    return this.connected ? this.transport.close(cause) : Promise.resolve()
  }

  /** Cuts the connection for good, and stops every timer. */
  end(): Promise<void> {
    this.#isEnded = true
    return (
      this.close()
        // Before the first dial there is no transport to close, and it says so.
        .catch(() => {})
        .then(() => {
          // A connection that was made at the very end has begun to beat.
          this.heartbeats.cancel()
          this.raceTimer?.cancel()
          // Closing leaves a socket alone that has not been heard of yet. The first dial may never have begun.
          const transport: typeof this.transport | undefined = this.transport
          transport?.discard()
        })
    )
  }
}

/** The package declares neither its constructor, which is for `connect`, nor that what it makes is what `connect` gives. */
const Connection = NatsConnectionImpl as unknown as new (
  options: NodeConnectionOptions
) => NatsConnection & Pick<NatsConnectionImpl, "options" | "protocol">

export const make = (
  options: NodeConnectionOptions
): { readonly client: NatsConnection; readonly protocol: Protocol } => {
  useTransport()
  const client = new Connection(options)
  const protocol = new Protocol(client.options, client)
  client.protocol = protocol
  return { client, protocol }
}
