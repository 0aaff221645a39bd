import { Socket } from "node:net"
import type { Lane, Traffic, Weather } from "./lane.ts"
import { calm, makeLane } from "./lane.ts"

/** `up` is from client to server, `down` from server to client. */
export type Direction = "up" | "down"

export interface Counters {
  /** Client connections that are open now, and that were accepted so far. */
  readonly open: number
  readonly accepted: number
  /** Bytes delivered so far. */
  readonly up: number
  readonly down: number
  /** Bytes read from one side and not yet written to the other. */
  readonly held: number
}

interface Connection {
  readonly client: Socket
  readonly server: Socket
  readonly up: Lane
  readonly down: Lane
  /** Silent for ever, whatever heals. */
  forsaken: boolean
}

/**
 * The connections that lead to one server, and what befalls them. Faults add up until `heal`; new connections meet the
 * same faults as those that are there.
 */
export interface Link {
  readonly accept: (client: Socket) => void
  /** Delivers what was held, late and in order; a half-open connection stays silent for ever. */
  readonly heal: () => void
  /** Resets every connection, with what it held. */
  readonly cut: () => void
  /** Resets every connection, and new ones at once. */
  readonly refuse: () => void
  /** Both ways silent: nothing is lost, nothing arrives. New connections are accepted and stay silent. */
  readonly blackhole: () => void
  /** The connections of now are silent for ever and never learn that the other side closed; new ones pass. */
  readonly halfOpen: () => void
  readonly silence: (direction: Direction) => void
  readonly delay: (millis: number, direction?: Direction) => void
  readonly throttle: (bytesPerSecond: number, direction?: Direction) => void
  /** Each connection of now is reset after this many more bytes of its server, within what the server sends next. */
  readonly cutMidFrame: (bytes: number) => void
  readonly counters: () => Counters
  readonly close: () => void
}

const both: ReadonlyArray<Direction> = ["up", "down"]

export const makeLink = (upstream: { readonly host: string; readonly port: number }): Link => {
  const connections = new Set<Connection>()
  const traffic: Record<Direction, Traffic> = { up: { delivered: 0, held: 0 }, down: { delivered: 0, held: 0 } }
  const weather: Record<Direction, Weather> = { up: calm(), down: calm() }
  let accepted = 0
  let refusing = false
  let unreachable = false

  const remove = (connection: Connection): void => {
    connections.delete(connection)
    connection.up.close()
    connection.down.close()
  }

  const reset = (connection: Connection): void => {
    remove(connection)
    connection.client.resetAndDestroy()
    if (connection.server.connecting || connection.server.pending) connection.server.destroy()
    else connection.server.resetAndDestroy()
  }

  const reach = ({ server }: Connection): void => {
    if (server.pending && !server.connecting && !server.destroyed) server.connect(upstream)
  }

  const change = (): void => {
    for (const connection of connections) {
      if (connection.forsaken) continue
      if (!unreachable) reach(connection)
      for (const direction of both) connection[direction].change(weather[direction])
    }
  }

  const strike = (direction: Direction | undefined, fault: Partial<Weather>): void => {
    for (const one of direction === undefined ? both : [direction]) Object.assign(weather[one], fault)
    change()
  }

  const cut = (): void => {
    for (const connection of connections) reset(connection)
  }

  return {
    accept: (client) => {
      accepted++
      // A socket that fails closes too, and its lane reports that; without a listener the error would end the process.
      client.on("error", () => {})
      if (refusing) {
        client.resetAndDestroy()
        return
      }
      const server = new Socket({ allowHalfOpen: true })
      server.on("error", () => {})
      client.setNoDelay(true)
      server.setNoDelay(true)
      const connection: Connection = {
        client,
        server,
        up: makeLane(client, server, traffic.up, { ...weather.up }),
        down: makeLane(server, client, traffic.down, { ...weather.down }),
        forsaken: false
      }
      connections.add(connection)
      const closed = () => {
        if (client.destroyed && server.destroyed) remove(connection)
      }
      client.once("close", closed)
      server.once("close", closed)
      if (!unreachable) reach(connection)
    },
    heal: () => {
      refusing = false
      unreachable = false
      strike(undefined, calm())
    },
    cut,
    refuse: () => {
      refusing = true
      cut()
    },
    blackhole: () => {
      unreachable = true
      strike(undefined, { silent: true })
    },
    halfOpen: () => {
      for (const connection of connections) {
        connection.forsaken = true
        for (const direction of both) connection[direction].change({ ...calm(), silent: true })
      }
    },
    silence: (direction) => strike(direction, { silent: true }),
    delay: (delayMillis, direction) => strike(direction, { delayMillis }),
    throttle: (bytesPerSecond, direction) => strike(direction, { bytesPerSecond }),
    cutMidFrame: (bytes) => {
      for (const connection of connections) connection.down.limit(bytes, () => reset(connection))
    },
    counters: () => ({
      open: connections.size,
      accepted,
      up: traffic.up.delivered,
      down: traffic.down.delivered,
      held: traffic.up.held + traffic.down.held
    }),
    close: () => {
      for (const connection of connections) {
        remove(connection)
        connection.client.destroy()
        connection.server.destroy()
      }
    }
  }
}
