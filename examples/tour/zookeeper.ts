/** ZooKeeper, for the tour. */
import { Effect } from "effect"
import { ZooKeeper } from "effect-ensemble/zookeeper"
import { connect } from "node:net"
import * as Client from "../../src/engines/zookeeper/client.ts"
import { tcp } from "../../src/engines/zookeeper/transport.ts"
import * as Servers from "../../test/servers/zookeeper.ts"
import type { Store } from "./processes.ts"

const portOf = (endpoint: string): number => Number(/:(\d+)$/.exec(endpoint)?.[1] ?? 2181)

const hostOf = (endpoint: string): string => endpoint.replace(/:\d+$/, "").replace(/^\[(.*)\]$/, "$1")

/** What a server says to `srvr`, which every one of them answers. */
const serverOf = (endpoint: string) =>
  Effect.callback<string, { readonly message: string }>((resume) => {
    let text = ""
    const socket = connect(portOf(endpoint), hostOf(endpoint), () => socket.write("srvr"))
    socket.on("data", (bytes) => {
      text += String(bytes)
    })
    socket.on("error", ({ message }) => resume(Effect.fail({ message: `${endpoint}: ${message}` })))
    socket.on("close", () => resume(Effect.succeed(text)))
    return Effect.sync(() => socket.destroy())
  }).pipe(
    Effect.timeoutOrElse({
      duration: "5 seconds",
      orElse: () => Effect.fail({ message: `${endpoint}: no answer` })
    }),
    Effect.flatMap((text) => {
      const version = /^Zookeeper version: ([\d.]+)/.exec(text)?.[1]
      return version === undefined
        ? Effect.fail({ message: `${endpoint}: no ZooKeeper answers there` })
        : Effect.succeed(version)
    })
  )

/** Everything at a depth below a node. What it is below of is left in place by the library, and removed here when it is empty. */
const below = (client: Client.Client, path: string, depth: number): Effect.Effect<ReadonlyArray<string>> =>
  depth === 0
    ? Effect.succeed([path])
    : client.getChildren(path).pipe(
        Effect.orElseSucceed(() => ({ children: [] })),
        Effect.flatMap(({ children }) =>
          Effect.forEach(children, (name) => below(client, `${path}/${name}`, depth - 1))
        ),
        Effect.map((found) => found.flat()),
        Effect.tap((found) => (found.length === 0 ? Effect.ignore(client.remove(path)) : Effect.void))
      )

export const zookeeper: Store = {
  name: "zookeeper",
  // Two ticks of a server with the standard settings, which are the least that it grants.
  ttl: 4,
  scheme: "",
  port: 2181,
  prefix: (name) => `/${name}`,
  coordinator: ({ endpoints, node, prefix, ttlMillis }) => ZooKeeper.layer({ endpoints, prefix, node, ttl: ttlMillis }),
  serve: Effect.map(Servers.single(), ({ members: [{ host, port }] }) => `${host}:${port}`),
  version: (endpoints) => endpoints.map(serverOf).reduce((first, next) => Effect.catch(first, () => next)),
  remains: Effect.fnUntraced(function* (endpoints, prefix) {
    const [first = "", ...others] = endpoints
    const addressOf = (endpoint: string) => ({ host: hostOf(endpoint), port: portOf(endpoint) })
    const client = yield* Client.make({
      endpoints: [addressOf(first), ...others.map(addressOf)],
      transport: tcp,
      timeoutMillis: 10_000
    })
    // `<prefix>/<kind>/<group>/<member>`
    const found = yield* below(client, prefix, 3)
    return { remains: found.map((path) => path.slice(prefix.length + 1)), dying: [] }
  }, Effect.scoped)
}
