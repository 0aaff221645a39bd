/** The library on etcd, beside the npm client `etcd3` used by hand and beside the bare calls: three ways in one run. */
import { Effect } from "effect"
import * as Etcd from "../test/servers/etcd.ts"
import { ofServer } from "./etcd/silent.ts"
import * as Traffic from "./etcd/traffic.ts"
import { etcd3, ways } from "./etcd/ways.ts"
import { benchmark } from "./stores/benchmark.ts"

export const etcd = benchmark({
  name: "etcd",
  setting: "one server with fsync, on the machine that measures",
  ways,
  byHand: etcd3,
  start: Effect.gen(function* () {
    const server = yield* Etcd.single({ elections: "standard", fsync: true })
    const { version } = yield* server.gateway.status
    const [endpoint = ""] = server.endpoints
    return {
      version,
      endpoints: server.endpoints,
      received: Effect.map(Traffic.messages(endpoint), Traffic.total)
    }
  }),
  prefix: (number) => `/bench-${number}`,
  pace: "1 millis",
  requests: "Messages",
  groups: [1_000, 10_000],
  failOver: {
    ttls: [2, 5],
    ways: ways.slice(1),
    bound: (ttl) => ttl + 0.6,
    rule: "the TTL and 0.6 s",
    alone: ofServer
  },
  notes: [
    "A lock by hand is a transaction that creates and one that deletes; the library's reads its place in the first"
  ]
})
