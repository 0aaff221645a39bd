/** Processes on a real etcd, each behind a network of its own. */
import { Effect } from "effect"
import type { Conformance } from "effect-ensemble/testing"
import * as Client from "../../../src/engines/etcd/client.ts"
import * as Connections from "../../../src/engines/etcd/connections.ts"
import * as Endpoints from "../../../src/engines/etcd/endpoints.ts"
import * as Grpc from "../../../src/engines/etcd/grpc.ts"
import * as Coordinators from "../../../src/internal/coordinator.ts"
import * as Weather from "../../faults/weather.ts"
import type { Etcd } from "../../servers/etcd.ts"
import * as Nodes from "../nodes.ts"

/** Long enough that a pause of this process does not end a session by itself. */
export const ttlMillis = 5_000

/** What can be struck on etcd. It has no index to fall, no replica is read, and TCP loses no single event. */
export const withoutOwnServer = new Set<Conformance.Capability>([
  ...Nodes.usual,
  "duplicateEvents",
  "compact",
  "discovery-conflict"
])

let cases = 0

/** A case of its own on a server that others may use at the same time: the prefix keeps them apart. */
export const makeHarness = (etcd: Etcd) =>
  Effect.gen(function* () {
    const prefix = `/case-${++cases}`
    const { gateway } = etcd
    const nodes = yield* Nodes.make(etcd.members[0], Weather.make)

    const process = nodes.process((proxy, weather, node, options) => {
      const addresses = Endpoints.parse({ endpoints: proxy.url })
      if ("problem" in addresses) return Effect.die(addresses.problem)
      const connect = Effect.fnUntraced(function* ({ requestMillis }: { readonly requestMillis: number }) {
        const transport = weather.over(yield* Grpc.own(addresses))
        const connections = yield* Connections.make(transport, { credentials: undefined, requestMillis })
        return yield* Client.make(connections, { prefix, endpoint: proxy.url, requestMillis })
      })
      return Coordinators.make(Client.facts(proxy.url), connect, { ...options, node, ttl: ttlMillis })
    })

    const key = (group: { readonly kind: string; readonly name: string }, id: string) =>
      `${prefix}/${group.kind}/${group.name}/${id}`

    const faults: Conformance.Harness["faults"] = {
      ...nodes.faults,
      duplicateEvents: (node) => nodes.strike(node, (weather) => void (weather.duplicating = true)),
      expireSession: (node) =>
        Effect.suspend(() =>
          Effect.forEach(
            Array.from(nodes.weather(node).leases),
            (lease) => Effect.ignore(gateway.revoke(BigInt(lease))),
            { discard: true }
          )
        ),
      remove: (group, id) => Effect.orDie(Effect.asVoid(gateway.remove(key(group, id)))),
      put: (group, id, value) =>
        Effect.orDie(Effect.asVoid(Effect.andThen(gateway.remove(key(group, id)), gateway.put(key(group, id), value)))),
      compact: Effect.orDie(Effect.flatMap(gateway.revision, gateway.compact)),
      backup: Effect.orDie(
        Effect.map(etcd.backup, (backup) => ({ restore: Effect.orDie(etcd.restore(backup, { newCluster: true })) }))
      ),
      rewind: ({ restore }) => restore
    }

    const harness: Conformance.Harness = {
      ttlMillis,
      process,
      advance: (time) => Effect.sleep(Math.max(20, time)),
      faults,
      truth: Effect.orDie(
        Effect.map(gateway.range(`${prefix}/`), ({ entries }) => ({
          members: entries.map((entry) => entry.key.slice(prefix.length + 1)),
          watches: nodes.all.reduce((sum, weather) => sum + weather.watches.size, 0)
        }))
      ),
      requests: nodes.requests,
      // A point costs a fresh store's worth of requests here, and all of them are swept on the embedded engine.
      stride: 2
    }
    return harness
  })
