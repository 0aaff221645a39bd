/** The library on Consul, beside the npm client `consul` used by hand, in one run. */
import { Effect } from "effect"
import * as Consul from "../test/servers/consul.ts"
import { requests } from "./consul/traffic.ts"
import { byHand, ways } from "./consul/ways.ts"
import { benchmark } from "./stores/benchmark.ts"

export const consul = benchmark({
  name: "consul",
  setting: "one server, on the machine that measures",
  ways,
  byHand,
  start: Effect.gen(function* () {
    const { ask, members } = yield* Consul.single()
    const { text } = yield* ask("GET", "/agent/self")
    const { Config } = JSON.parse(text) as { readonly Config: { readonly Version: string } }
    return { version: Config.Version, endpoints: members.map(({ url }) => url), received: yield* requests }
  }),
  prefix: (number) => `bench-${number}`,
  // Who follows a group by the library is told of 20 changes in a second at most, once 50 are through: this is about the way of one.
  pace: "60 millis",
  requests: "Requests",
  groups: [1_000],
  failOver: {
    // The server keeps a session that is no longer renewed for up to twice its TTL.
    ttls: [2, 5],
    ways,
    bound: (ttl) => 2 * ttl + 0.6,
    rule: "twice the TTL and 0.6 s"
  },
  notes: [
    "A lock by hand is `kv.set` with `acquire` and one with `release`: no queue, and no token. The library joins the queue by a transaction that shows its place, and leaves by another",
    "By hand nothing is compared before a member is removed or changed, and readings are not `consistent`; the library's transactions compare the session and the last write, and are JSON both ways where `kv.set` is answered with one word"
  ]
})
