import { Effect } from "effect"
import { createServer } from "node:net"
import { pid } from "node:process"

/**
 * Below the ephemeral range (Linux: 32768 and up), from which the kernel takes the local ports of clients. A client that
 * keeps trying to reach a server that is down would otherwise be given that server's own port some day, and either be
 * connected to itself or keep the server from coming back.
 */
const lowest = 20_000
const highest = 32_767

// Each process begins elsewhere and hands out a port once, so that two at work at the same time rarely meet.
let last = (pid * 97) % (highest - lowest)

const next = (): number => lowest + (last = (last + 1) % (highest - lowest))

/** Tries one port after the other until `bind` succeeds with one. */
export const onFreePort = <A>(bind: (port: number) => Effect.Effect<A, unknown>): Effect.Effect<A> =>
  Effect.suspend(() => bind(next())).pipe(Effect.retry({ times: 200 }), Effect.orDie)

const probe = (port: number): Effect.Effect<number, Error> =>
  Effect.callback((resume) => {
    const server = createServer()
    server.once("error", (error) => resume(Effect.fail(error)))
    server.listen({ port, host: "127.0.0.1", exclusive: true }, () => server.close(() => resume(Effect.succeed(port))))
  })

/** Ports that nobody listens on now. Somebody may by the time that they are used: see `onFreePorts` of process.ts. */
export const freePorts = (count: number): Effect.Effect<ReadonlyArray<number>> =>
  Effect.replicateEffect(onFreePort(probe), count)
