/** The calls alone, over the same connections and with the same codec as the library: nothing is decoded that is not needed. */
import { Effect } from "effect"
import * as Endpoints from "../../src/engines/etcd/endpoints.ts"
import * as Grpc from "../../src/engines/etcd/grpc.ts"
import type { Link, Unary, WatchResponse } from "../../src/engines/etcd/rpc.ts"
import { RpcError } from "../../src/engines/etcd/rpc.ts"
import { now } from "../harness.ts"
import type { Place, Way } from "./way.ts"
import { forEachAtOnce, valueOf } from "./way.ts"

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

export const rpc: Way = {
  name: "rpc",
  pair: Effect.fnUntraced(function* (place) {
    const writer = yield* dial(place)
    const reader = yield* dial(place)
    let lease = yield* grant(writer, place)
    let seen = () => {}
    const opened = watch(reader, ({ events }) => {
      for (const { type } of events) if (type !== "Delete") seen()
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
          forEachAtOnce(from, count, atOnce, (index) =>
            create(writer, lease.ID, `${place.prefix}/member-${index}`, valueOf(index))
          )
        ),
      leave: Effect.promise(async () => {
        await call(writer, "leaseRevoke", { ID: lease.ID })
        lease = await call(writer, "leaseGrant", { TTL: place.ttlSeconds })
      }),
      onSeen: (to) => {
        seen = to
      }
    }
  }),
  rivals: Effect.fnUntraced(function* (place) {
    const links = [yield* dial(place), yield* dial(place)] as const
    const leases = [yield* grant(links[0], place), yield* grant(links[1], place)] as const
    const keys = [`${place.prefix}/one`, `${place.prefix}/two`] as const
    const created = ["", ""]
    let leader: 0 | 1 = 0
    let gone = () => {}
    const onMessage = ({ events }: WatchResponse) => {
      if (events.some(({ type }) => type === "Delete")) gone()
    }
    const watches = [watch(links[0], onMessage), watch(links[1], onMessage)] as const
    yield* Effect.addFinalizer(() => Effect.sync(() => watches.forEach(({ close }) => close())))
    let id = 0
    const wait = async (index: 0 | 1) => {
      const revision = await create(links[index], leases[index].ID, keys[index], "")
      created[index] = revision
      watches[index].add(++id, keys[index === 0 ? 1 : 0], String(BigInt(revision) + 1n))
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
    created[0] = yield* Effect.promise(() => create(links[0], leases[0].ID, keys[0], ""))
    yield* Effect.promise(() => wait(1))
    return {
      handOver: Effect.promise(async () => {
        const index = leader
        const other = index === 0 ? 1 : 0
        const woken = new Promise<void>((resolve) => {
          gone = resolve
        })
        const key = Buffer.from(keys[index])
        const started = now()
        void call(links[index], "txn", {
          compare: [{ target: "Create", result: "Equal", key, create_revision: created[index] ?? "" }],
          success: [{ request_delete_range: { key } }],
          failure: []
        })
        await woken
        await call(links[other], "range", {
          key: Buffer.from(`${place.prefix}/`),
          range_end: Buffer.from(`${place.prefix}0`),
          max_create_revision: created[other] ?? "",
          sort_order: "Descend",
          sort_target: "Create",
          limit: 1
        })
        const taken = now() - started
        leader = other
        await wait(index)
        return taken
      })
    }
  })
}
