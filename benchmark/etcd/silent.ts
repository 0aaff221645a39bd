/** How long etcd itself keeps what nobody renews. */
import { Effect } from "effect"
import { now } from "../harness.ts"
import type { Place } from "../stores/way.ts"
import * as Rpc from "./rpc.ts"

/** Microseconds from the sending of a lease's last renewal to the news that the server has dropped its key. */
export const ofServer = Effect.fnUntraced(function* (place: Place) {
  const link = yield* Rpc.dial(place)
  const { header, ID } = yield* Effect.promise(() => Rpc.call(link, "leaseGrant", { TTL: place.ttlSeconds }))
  const key = `${place.prefix}/silent`
  yield* Effect.promise(() => Rpc.create(link, ID, key, ""))
  return yield* Effect.callback<number>((resume) => {
    let sentAt = 0
    const watching = Rpc.watch(link, ({ events }) => {
      if (events.some(({ type }) => type === "Delete")) resume(Effect.sync(() => now() - sentAt))
    })
    watching.add(1, key, header.revision)
    const renewal = link.streamUnsafe("leaseKeepAlive", { message: () => {}, end: () => {} })
    if (renewal._tag === "RpcError") return resume(Effect.die(renewal))
    sentAt = now()
    renewal.writeUnsafe({ ID })
    return Effect.sync(watching.close)
  })
}, Effect.scoped)
