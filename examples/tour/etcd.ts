/** etcd, for the tour. */
import { Effect } from "effect"
import { Etcd } from "effect-ensemble/etcd"
import * as Servers from "../../test/servers/etcd.ts"
import * as Gateway from "../../test/servers/etcdGateway.ts"
import type { Store } from "./processes.ts"

export const etcd: Store = {
  name: "etcd",
  ttl: 3,
  scheme: "http://",
  port: 2379,
  prefix: (name) => `/${name}`,
  coordinator: ({ endpoints, node, prefix, ttlMillis }) => Etcd.layer({ endpoints, prefix, node, ttl: ttlMillis }),
  serve: Effect.map(Servers.single({ elections: "standard", fsync: true }), ({ members }) => members[0].clientUrl),
  version: (endpoints) => Effect.map(Gateway.make(endpoints).status, ({ version }) => version),
  remains: (endpoints, prefix) =>
    Effect.map(Gateway.make(endpoints).range(`${prefix}/`), ({ entries }) => ({
      remains: entries.map(({ key }) => key.slice(prefix.length + 1)),
      dying: []
    }))
}
