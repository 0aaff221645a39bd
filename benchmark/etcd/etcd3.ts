/** The npm client `etcd3` with the least that is right, by hand: one lease, a create that compares, a watcher. */
import { Effect } from "effect"
import type { Lease, Watcher } from "etcd3"
import { Etcd3 } from "etcd3"
import type { Place, Seen, Way } from "../stores/way.ts"
import { forEachAtOnce, makeHeld, valueOf } from "../stores/way.ts"

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

/** Its own only: whoever holds the key under a later revision is left alone. */
const remove = (client: Etcd3, key: string, created: string) =>
  client.if(key, "Create", "==", Number(created)).then(client.delete().key(key)).commit()

export const etcd3: Way = {
  name: "etcd3",
  title: "`etcd3` by hand",
  pair: Effect.fnUntraced(function* (place) {
    const writer = yield* acquire(place)
    const reader = yield* acquire(place)
    let lease = yield* acquireLease(writer, place)
    const watcher = yield* Effect.acquireRelease(
      Effect.promise(() => reader.watch().prefix(`${place.prefix}/`).create()),
      (watcher) => Effect.promise(() => watcher.cancel().catch(() => {}))
    )
    const keyOf = (index: number) => `${place.prefix}/member-${index}`
    const held = makeHeld<string>()
    let seen: (what: Seen) => void = () => {}
    watcher.on("put", (kv) => {
      // As the library does: whoever reads members wants their value.
      kv.value.toString("utf8")
      seen(kv.version === "1" ? "Joined" : "Updated")
    })
    watcher.on("delete", () => seen("Left"))
    return {
      join: (from, count, atOnce) =>
        Effect.promise(() =>
          forEachAtOnce(from, count, atOnce, async (index) =>
            held.add(index, await create(writer, lease, keyOf(index), valueOf(index)))
          )
        ),
      set: (index, value) =>
        Effect.promise(async () => {
          const key = keyOf(index)
          const put = writer
            .put(key)
            .value(value)
            .lease(await lease.grant())
          await writer
            .if(key, "Create", "==", Number(held.get(index)))
            .then(put)
            .commit()
        }),
      leave: (index) => Effect.promise(() => remove(writer, keyOf(index), held.take(index))),
      clear: Effect.promise(async () => {
        held.takeAll()
        await lease.revoke()
        lease = writer.lease(place.ttlSeconds)
        await lease.grant()
      }),
      onSeen: (to) => {
        seen = to
      }
    }
  }),
  candidate: Effect.fnUntraced(function* (place, node) {
    const client = yield* acquire(place)
    const lease = yield* acquireLease(client, place)
    const line = `${place.prefix}/line/`
    const lock = `${place.prefix}/lock`
    return {
      lead: Effect.acquireRelease(
        Effect.promise(() => create(client, lease, `${line}${node}`, "")),
        (created) => Effect.promise(() => remove(client, `${line}${node}`, created))
      ).pipe(Effect.flatMap((created) => Effect.promise(() => awaitTurn(client, line, created)))),
      lock: Effect.promise(async () => {
        await remove(client, lock, await create(client, lease, lock, ""))
      })
    }
  })
}
