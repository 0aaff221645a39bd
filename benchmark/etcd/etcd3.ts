/** The npm client `etcd3` with the least that is right, by hand: one lease, a create that compares, a watcher. */
import { Effect } from "effect"
import type { Lease, Watcher } from "etcd3"
import { Etcd3 } from "etcd3"
import { now } from "../harness.ts"
import type { Place, Way } from "./way.ts"
import { forEachAtOnce, valueOf } from "./way.ts"

export const connect = (place: Place): Etcd3 => new Etcd3({ hosts: [...place.endpoints] })

const acquire = (place: Place) =>
  Effect.acquireRelease(
    Effect.sync(() => connect(place)),
    (client) => Effect.sync(() => client.close())
  )

const acquireLease = (client: Etcd3, place: Place) =>
  Effect.acquireRelease(
    Effect.promise(async () => {
      const lease = client.lease(place.ttlSeconds)
      await lease.grant()
      return lease
    }),
    (lease) => Effect.promise(() => lease.revoke().catch(() => {}))
  )

/** Writes a key that must not be there yet; returns the revision of its creation. */
export const create = async (client: Etcd3, lease: Lease, key: string, value: string): Promise<string> => {
  const put = client
    .put(key)
    .value(value)
    .lease(await lease.grant())
  const { header, succeeded } = await client.if(key, "Create", "==", 0).then(put).commit()
  if (!succeeded) throw new Error(`${key} is taken`)
  return header.revision
}

/** Waits until nobody stands before the key: watches the one before it, and looks again when that is gone. */
export const awaitTurn = async (client: Etcd3, prefix: string, created: string): Promise<void> => {
  while (true) {
    const { header, kvs } = await client.kv.range({
      key: Buffer.from(prefix),
      range_end: Buffer.from(`${prefix.slice(0, -1)}0`),
      max_create_revision: String(BigInt(created) - 1n),
      sort_order: "Descend",
      sort_target: "Create",
      limit: 1
    })
    const ahead = kvs[0]
    if (ahead === undefined) return
    let watcher: Watcher | undefined
    await new Promise<void>((resolve, reject) => {
      void client
        .watch()
        .key(ahead.key)
        .startRevision(String(BigInt(header.revision) + 1n))
        .create()
        .then((made) => {
          watcher = made
          made.on("delete", () => resolve())
        }, reject)
    })
    void watcher?.cancel()
  }
}

export const etcd3: Way = {
  name: "etcd3",
  pair: Effect.fnUntraced(function* (place) {
    const writer = yield* acquire(place)
    const reader = yield* acquire(place)
    let lease = yield* acquireLease(writer, place)
    const watcher = yield* Effect.acquireRelease(
      Effect.promise(() => reader.watch().prefix(`${place.prefix}/`).create()),
      (watcher) => Effect.promise(() => watcher.cancel().catch(() => {}))
    )
    let seen = () => {}
    watcher.on("put", (kv) => {
      // As the library does: whoever reads members wants their value.
      kv.value.toString("utf8")
      seen()
    })
    return {
      join: (from, count, atOnce) =>
        Effect.promise(() =>
          forEachAtOnce(from, count, atOnce, (index) =>
            create(writer, lease, `${place.prefix}/member-${index}`, valueOf(index))
          )
        ),
      leave: Effect.promise(async () => {
        await lease.revoke()
        lease = writer.lease(place.ttlSeconds)
        await lease.grant()
      }),
      onSeen: (to) => {
        seen = to
      }
    }
  }),
  rivals: Effect.fnUntraced(function* (place) {
    const clients = [yield* acquire(place), yield* acquire(place)] as const
    const leases = [yield* acquireLease(clients[0], place), yield* acquireLease(clients[1], place)] as const
    const prefix = `${place.prefix}/`
    const keys = [`${prefix}one`, `${prefix}two`] as const
    const created = ["", ""]
    let leader: 0 | 1 = 0
    let elected: (at: number) => void = () => {}
    const run = async (index: 0 | 1) => {
      const token = await create(clients[index], leases[index], keys[index], "")
      created[index] = token
      await awaitTurn(clients[index], prefix, token)
      leader = index
      elected(now())
    }
    yield* Effect.promise(() => run(0))
    void run(1)
    yield* Effect.sleep("50 millis")
    return {
      handOver: Effect.promise(async () => {
        const index = leader
        const won = new Promise<number>((resolve) => {
          elected = resolve
        })
        const started = now()
        // Its own only: whoever holds the key under a later revision is left alone.
        await clients[index]
          .if(keys[index], "Create", "==", Number(created[index]))
          .then(clients[index].delete().key(keys[index]))
          .commit()
        const taken = (await won) - started
        void run(index)
        await new Promise((resolve) => setTimeout(resolve, 20))
        return taken
      })
    }
  })
}
