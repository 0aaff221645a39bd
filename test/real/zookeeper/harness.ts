/** Processes on a real ZooKeeper, each behind a network of its own. */
import { Clock, Effect } from "effect"
import type { Conformance } from "effect-ensemble/testing"
import * as Client from "../../../src/engines/zookeeper/client.ts"
import type { Connect } from "../../../src/engines/zookeeper/clients.ts"
import * as Connection from "../../../src/engines/zookeeper/connection.ts"
import { idOf } from "../../../src/engines/zookeeper/nodes.ts"
import * as P from "../../../src/engines/zookeeper/protocol.ts"
import type { Identity } from "../../../src/engines/zookeeper/session.ts"
import * as Store from "../../../src/engines/zookeeper/store.ts"
import { tcp } from "../../../src/engines/zookeeper/transport.ts"
import * as Utf8 from "../../../src/engines/zookeeper/utf8.ts"
import * as Coordinators from "../../../src/internal/coordinator.ts"
import type { ZooKeeper } from "../../servers/zookeeper.ts"
import * as Nodes from "../nodes.ts"
import * as Weather from "./weather.ts"

/** Long enough that a pause of this process does not end a session by itself, and a multiple of the servers' tick. */
export const ttlMillis = 6_000

/** What can be struck on ZooKeeper. Its transactions only grow, no server is read that lags, and TCP loses no single event. */
export const withoutOwnServer = new Set<Conformance.Capability>([
  ...Nodes.usual,
  "duplicateEvents",
  // It keeps no history, so all of it is always forgotten.
  "compact",
  "discovery-conflict"
])

let cases = 0

export interface Options {
  /** Default {@link ttlMillis}. */
  readonly ttl?: number
  /** Services in Curator's form. They stand where they stand otherwise. */
  readonly curator?: boolean
}

/** A case of its own on a server that others may use at the same time: the prefix keeps them apart. */
export const makeHarness = (zookeeper: ZooKeeper, { curator = false, ttl = ttlMillis }: Options = {}) =>
  Effect.gen(function* () {
    const prefix = `/case-${++cases}`
    const [server] = zookeeper.members
    const address = { host: server.host, port: server.port }
    const nodes = yield* Nodes.make(address, Weather.make)

    /** Somebody with zkCli: no session is kept, since a case may end a server. */
    const admin = <A>(use: (client: Client.Client) => Effect.Effect<A, unknown>): Effect.Effect<A> =>
      Effect.scoped(
        Effect.gen(function* () {
          const client = yield* Client.make({ endpoints: [address], transport: tcp, timeoutMillis: 5_000 })
          yield* client.attached
          return yield* use(client)
        })
      ).pipe(Effect.provideService(Clock.Clock, nodes.base), Effect.orDie)

    const orNone = <A>(effect: Effect.Effect<A, unknown>) => Effect.orElseSucceed(effect, () => undefined)
    const childrenOf = (client: Client.Client, path: string) =>
      Effect.map(orNone(client.getChildren(path)), (answer) => answer?.children ?? [])

    const removeAll = (client: Client.Client, path: string, id: string) =>
      Effect.flatMap(childrenOf(client, path), (names) =>
        Effect.forEach(
          names.filter((name) => idOf(name) === id),
          (name) => orNone(client.remove(`${path}/${name}`)),
          { discard: true }
        )
      )

    const process = nodes.process((proxy, weather, node, options) => {
      const connect: Connect = ({ endpoints, lastZxid, onFailed, ttlMillis: timeoutMillis }) =>
        Effect.map(Client.make({ endpoints, transport: tcp, timeoutMillis, lastZxid, onFailed }), (client) =>
          weather.over(client, prefix)
        )
      return Coordinators.make(
        Store.facts(proxy.address),
        ({ requestMillis }) =>
          Store.make(connect, {
            endpoint: proxy.address,
            prefix,
            layout: "ensemble",
            curatorBasePath: curator ? `${prefix}/discovery` : undefined,
            acl: P.openAcl,
            requestMillis,
            endpoints: [{ host: proxy.host, port: proxy.port }]
          }),
        { ...options, node, ttl }
      )
    })

    const groupPath = (group: { readonly kind: string; readonly name: string }) =>
      `${prefix}/${group.kind}/${group.name}`
    /** Takes the session over and closes it, as `zkCli` cannot, and nobody else can who does not know its password. */
    const end = ({ password, sessionId, timeoutMillis }: Identity) =>
      Effect.scoped(
        Effect.flatMap(
          Connection.open({
            transport: tcp,
            endpoint: address,
            handshake: { lastZxidSeen: 0n, timeoutMillis, sessionId, password },
            connectMillis: 5_000,
            silence: 1,
            requestLimit: Connection.defaultRequestLimit,
            answerLimit: 1_000_000,
            chroot: "",
            onEvent: () => {},
            onEnd: () => {}
          }),
          (connection) => connection.request(P.closeSession)
        )
      ).pipe(Effect.ignore, Effect.provideService(Clock.Clock, nodes.base))

    const faults: Conformance.Harness["faults"] = {
      ...nodes.faults,
      duplicateEvents: (node) => nodes.strike(node, (weather) => void (weather.duplicating = true)),
      expireSession: (node) =>
        Effect.suspend(() =>
          Effect.forEach(Array.from(nodes.weather(node).identities.values()), end, { discard: true })
        ),
      remove: (group, id) => admin((client) => removeAll(client, groupPath(group), id)),
      put: (group, id, value) =>
        admin((client) =>
          Effect.gen(function* () {
            const path = groupPath(group)
            for (const above of [prefix, `${prefix}/${group.kind}`, path]) yield* orNone(client.create(above))
            yield* removeAll(client, path, id)
            yield* client.create(`${path}/${id}`, { data: Utf8.encode(value) })
          })
        ),
      compact: Effect.void,
      backup: Effect.gen(function* () {
        const backup = yield* Effect.orDie(zookeeper.backup)
        // A restored server is told apart by its transactions until it has caught up with those that were seen.
        yield* admin((client) =>
          Effect.andThen(
            client.create(`${prefix}/busy`),
            Effect.forEach(Array.from({ length: 1_000 }), () => client.setData(`${prefix}/busy`, new Uint8Array(0)), {
              concurrency: 100,
              discard: true
            })
          )
        )
        return { restore: Effect.orDie(zookeeper.restore(backup)) }
      }),
      rewind: ({ restore }) => restore
    }

    const truth = admin((client) =>
      Effect.gen(function* () {
        const members: Array<string> = []
        for (const kind of yield* childrenOf(client, prefix)) {
          for (const group of yield* childrenOf(client, `${prefix}/${kind}`)) {
            const names = yield* childrenOf(client, `${prefix}/${kind}/${group}`)
            members.push(...names.map((name) => `${kind}/${group}/${idOf(name)}`))
          }
        }
        return { members, watches: nodes.all.reduce((sum, weather) => sum + weather.watches, 0) }
      })
    )

    // A group that was used before: where there is none a creation finds no parent, and its fate is never in doubt.
    yield* admin((client) =>
      Effect.forEach(["", "/election", "/election/group"], (path) => client.create(`${prefix}${path}`), {
        discard: true
      })
    )

    const harness: Conformance.Harness = {
      ttlMillis: ttl,
      process,
      advance: (time) => Effect.sleep(Math.max(20, time)),
      faults,
      truth,
      requests: nodes.requests,
      // A point costs a fresh store's worth of requests here, and all of them are swept on the embedded engine.
      stride: 7
    }
    return harness
  })
