/** The torture on etcd. */
import { Effect, Layer } from "effect"
import { Etcd } from "../../../src/etcd.ts"
import { label } from "../../../src/Group.ts"
import * as Servers from "../../servers/etcd.ts"
import type { Engine } from "../engine.ts"
import { draw, Guard } from "../engine.ts"
import type { Orders } from "../protocol.ts"
import * as Chronicle from "./etcdChronicle.ts"
import { guardedKey, guardedValue, membersOf, placeOf, prefixOf } from "./etcdChronicle.ts"

/** The least that survives a paused machine of two processors; its margin is a second. */
const ttlMillis = 5_000

const root = "/torture"

const start: Engine["start"] = Effect.fnUntraced(function* (size) {
  const cluster = yield* Servers.cluster(size)
  const { gateway, members } = cluster
  const chronicle = yield* Chronicle.make(cluster, root)
  const places = Effect.map(gateway.range(`${prefixOf(root)}/`), ({ entries }) => entries)
  return {
    servers: members,
    leader: cluster.leader,
    isolate: (server) => Effect.suspend(() => cluster.isolate(members.find((one) => one === server) ?? members[0])),
    heal: cluster.heal,
    chronicle,
    entries: Effect.map(places, (entries) => membersOf(root, entries)),
    left: Effect.gen(function* () {
      const leases = yield* gateway.leases
      return [...(yield* places).map(({ key }) => key), ...leases.map((lease) => `lease ${lease}`)]
    }),
    operate: Effect.fnUntraced(function* (fault, dice) {
      // What compaction forgets must have been told.
      if (fault === "compaction") return yield* gateway.compact(yield* chronicle.caughtUp)
      const held = (yield* places).filter(({ key, lease }) => lease !== 0n && placeOf(root, key) !== undefined)
      const entry = draw(held, dice)
      if (entry === undefined) return
      if (fault === "entry deleted") {
        yield* chronicle.operator(gateway.remove(entry.key))
      } else {
        chronicle.doomUnsafe(entry.lease)
        yield* gateway.revoke(entry.lease)
      }
    })
  }
})

const layer = ({ endpoints, node, requestMillis, root }: Orders) =>
  Layer.effect(
    Guard,
    Effect.map(Etcd.Transactions, (transactions) => ({
      write: (claim, token, nonce) =>
        transactions.guarded(claim, [Etcd.put(guardedKey(root, label(claim.group)), guardedValue(token, nonce))])
    }))
  ).pipe(
    Layer.provideMerge(
      Etcd.layer({
        node,
        endpoints: endpoints.map((address) => `http://${address}`),
        prefix: prefixOf(root),
        ttl: ttlMillis,
        connect: "background",
        requestTimeout: requestMillis
      })
    )
  )

export const engine: Engine = {
  name: "etcd",
  root,
  expiryMillis: ttlMillis,
  // Sessions of the dead end within two TTLs, and who was cut off comes back after some seconds of backing off.
  quietMillis: 30_000,
  goneMillis: 15_000,
  storeFaults: ["compaction", "session ended", "entry deleted"],
  start,
  layer
}
