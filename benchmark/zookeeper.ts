/** The library on ZooKeeper, beside the npm client `node-zookeeper-client` used by hand, in one run. */
import { Effect } from "effect"
import * as ZooKeeper from "../test/servers/zookeeper.ts"
import { benchmark } from "./stores/benchmark.ts"
import * as Traffic from "./zookeeper/traffic.ts"
import { measure } from "./stores/measure.ts"
import { watch } from "./zookeeper/watch.ts"
import { byHand, ways } from "./zookeeper/ways.ts"

export const zookeeper = benchmark({
  name: "zookeeper",
  setting: "one server with fsync, on the machine that measures",
  ways,
  byHand,
  start: Effect.gen(function* () {
    // A session lasts 20 ticks at most, and those of the measurements a minute.
    const { members } = yield* ZooKeeper.single({ fsync: true, settings: ["maxSessionTimeout=60000"] })
    const [member] = members
    return {
      version: yield* Traffic.version(member),
      endpoints: [`${member.host}:${member.port}`],
      received: Traffic.packets(member)
    }
  }),
  prefix: (number) => `/bench-${number}`,
  pace: "1 millis",
  requests: "Packets",
  groups: [1_000],
  own: { row: (places) => (ways, server) => measure(ways, server, watch(places)), bound: 1 },
  failOver: {
    ttls: [2, 5],
    ways,
    // Sessions are looked after once a tick, of half a second.
    bound: (ttl) => ttl + 0.5 + 0.6,
    rule: "the TTL, one tick of 0.5 s and 0.6 s"
  },
  notes: [
    "A join by hand is one request, `create`. The library's nodes have a sequence number and a name that is drawn for each, so that a lost answer is found again, and nothing in ZooKeeper refuses a second member of one id: it lists the group once after creating, which is a second request and, in a group of n, n names; those who join in one turn share it",
    "A change by hand is told by a watch that is over with it and is read again; the library's watch stays"
  ]
})
