/** The calls alone, over the same connections and with the same codec as the library: nothing is decoded that is not needed. */
import { Effect } from "effect"
import * as Endpoints from "../../src/engines/etcd/endpoints.ts"
import * as Grpc from "../../src/engines/etcd/grpc.ts"
import type { Link, Unary, WatchResponse } from "../../src/engines/etcd/rpc.ts"
import { RpcError } from "../../src/engines/etcd/rpc.ts"
import type { Place, Seen, Way } from "../stores/way.ts"
import { forEachAtOnce, makeHeld, valueOf } from "../stores/way.ts"

export const dial = Effect.fnUntraced(function* (place: Place) {
  const endpoints = Endpoints.parse({ endpoints: place.endpoints })
  if ("problem" in endpoints) return yield* Effect.die(new Error(endpoints.problem))
  const transport = yield* Grpc.own(endpoints)
  return yield* transport.dial(undefined)
})

export const call = <M extends keyof Unary>(link: Link, method: M, request: Unary[M][0]): Promise<Unary[M][1]> =>
  new Promise((resolve, reject) => {
    link.unaryUnsafe(method, request, (answer) => (answer instanceof RpcError ? reject(answer) : resolve(answer)))
  })

const grant = (link: Link, place: Place) =>
  Effect.acquireRelease(
    Effect.promise(() => call(link, "leaseGrant", { TTL: place.ttlSeconds })),
    ({ ID }) => Effect.promise(() => call(link, "leaseRevoke", { ID }).catch(() => {}))
  )

/** All events of a range from a revision on. */
export const watch = (link: Link, on: (message: WatchResponse) => void) => {
  const stream = link.streamUnsafe("watch", { message: on, end: () => {} })
  if (stream._tag === "RpcError") throw stream
  return {
    add: (id: number, key: string, from: string, end?: string) =>
      stream.writeUnsafe({
        create_request: {
          watch_id: id,
          key: Buffer.from(key),
          ...(end === undefined ? {} : { range_end: Buffer.from(end) }),
          start_revision: from,
          progress_notify: true
        }
      }),
    close: () => stream.cancelUnsafe()
  }
}

export const create = async (link: Link, lease: string, name: string, value: string): Promise<string> => {
  const key = Buffer.from(name)
  const { header } = await call(link, "txn", {
    compare: [{ target: "Create", result: "Equal", key, create_revision: "0" }],
    success: [{ request_put: { key, value: Buffer.from(value), lease } }],
    failure: [{ request_range: { key } }]
  })
  return header.revision
}

const remove = (link: Link, name: string, created: string) => {
  const key = Buffer.from(name)
  return call(link, "txn", {
    compare: [{ target: "Create", result: "Equal", key, create_revision: created }],
    success: [{ request_delete_range: { key } }],
    failure: []
  })
}

export const rpc: Way = {
  name: "rpc",
  title: "bare call",
  pair: Effect.fnUntraced(function* (place) {
    const writer = yield* dial(place)
    const reader = yield* dial(place)
    let lease = yield* grant(writer, place)
    const keyOf = (index: number) => `${place.prefix}/member-${index}`
    const held = makeHeld<string>()
    let seen: (what: Seen) => void = () => {}
    const opened = watch(reader, ({ events }) => {
      for (const { kv, type } of events) {
        seen(type === "Delete" ? "Left" : kv.create_revision === kv.mod_revision ? "Joined" : "Updated")
      }
    })
    yield* Effect.addFinalizer(() => Effect.sync(opened.close))
    const renewals = writer.streamUnsafe("leaseKeepAlive", { message: () => {}, end: () => {} })
    if (renewals._tag === "RpcError") return yield* Effect.die(renewals)
    yield* Effect.sync(() => renewals.writeUnsafe({ ID: lease.ID })).pipe(
      Effect.delay(`${place.ttlSeconds / 3} seconds`),
      Effect.forever,
      Effect.forkScoped
    )
    opened.add(1, `${place.prefix}/`, String(BigInt(lease.header.revision) + 1n), `${place.prefix}0`)
    return {
      join: (from, count, atOnce) =>
        Effect.promise(() =>
          forEachAtOnce(from, count, atOnce, async (index) =>
            held.add(index, await create(writer, lease.ID, keyOf(index), valueOf(index)))
          )
        ),
      set: (index, value) =>
        Effect.promise(() => {
          const key = Buffer.from(keyOf(index))
          return call(writer, "txn", {
            compare: [{ target: "Create", result: "Equal", key, create_revision: held.get(index) }],
            success: [{ request_put: { key, value: Buffer.from(value), lease: lease.ID } }],
            failure: []
          })
        }),
      leave: (index) => Effect.promise(() => remove(writer, keyOf(index), held.take(index))),
      clear: Effect.promise(async () => {
        held.takeAll()
        await call(writer, "leaseRevoke", { ID: lease.ID })
        lease = await call(writer, "leaseGrant", { TTL: place.ttlSeconds })
      }),
      onSeen: (to) => {
        seen = to
      }
    }
  }),
  candidate: Effect.fnUntraced(function* (place, node) {
    const link = yield* dial(place)
    const { ID: lease } = yield* grant(link, place)
    const line = `${place.prefix}/line/`
    const lock = `${place.prefix}/lock`
    let gone = () => {}
    const watched = watch(link, ({ events }) => {
      if (events.some(({ type }) => type === "Delete")) gone()
    })
    yield* Effect.addFinalizer(() => Effect.sync(watched.close))
    let watches = 0
    const awaitTurn = async (created: string) => {
      while (true) {
        const { header, kvs } = await call(link, "range", {
          key: Buffer.from(line),
          range_end: Buffer.from(`${place.prefix}/line0`),
          max_create_revision: String(BigInt(created) - 1n),
          sort_order: "Descend",
          sort_target: "Create",
          limit: 1
        })
        const ahead = kvs[0]
        if (ahead === undefined) return
        await new Promise<void>((resolve) => {
          gone = resolve
          watched.add(++watches, Buffer.from(ahead.key).toString(), String(BigInt(header.revision) + 1n))
        })
      }
    }
    return {
      lead: Effect.acquireRelease(
        Effect.promise(() => create(link, lease, `${line}${node}`, "")),
        (created) => Effect.promise(() => remove(link, `${line}${node}`, created))
      ).pipe(Effect.flatMap((created) => Effect.promise(() => awaitTurn(created)))),
      lock: Effect.promise(async () => {
        await remove(link, lock, await create(link, lease, lock, ""))
      })
    }
  })
}
