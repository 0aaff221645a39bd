/** How long a leader that is killed keeps its place, by what the next one sees. */
import { Effect, Fiber } from "effect"
import { spawn } from "node:child_process"
import { once } from "node:events"
import { fileURLToPath } from "node:url"
import { now } from "../harness.ts"
import * as Etcd3 from "./etcd3.ts"
import * as Library from "./library.ts"
import * as Rpc from "./rpc.ts"
import type { Place } from "./way.ts"

const script = fileURLToPath(new URL("candidate.ts", import.meta.url))

const startCandidate = (way: "etcd3" | "library", place: Place) =>
  Effect.acquireRelease(
    Effect.promise(async () => {
      const child = spawn(process.execPath, [script, way, JSON.stringify(place)], {
        stdio: ["pipe", "pipe", "inherit"]
      })
      await once(child.stdout, "data")
      return child
    }),
    (child) => Effect.sync(() => child.kill("SIGKILL"))
  )

/** So that the kill falls anywhere between two renewals, which are a third of the TTL apart or less. */
const anywhere = (place: Place) => Effect.sleep(`${Math.random() * place.ttlSeconds * 333 + 100} millis`)

/** Microseconds from the SIGKILL of the leader to the election of the next one, which is in this process. */
const killed = Effect.fnUntraced(function* <E, R>(
  way: "etcd3" | "library",
  place: Place,
  /** Gives the moment of its election. */
  next: Effect.Effect<number, E, R>
) {
  const child = yield* startCandidate(way, place)
  const elected = yield* Effect.forkScoped(next, { startImmediately: true })
  yield* anywhere(place)
  const started = now()
  child.kill("SIGKILL")
  return (yield* Fiber.join(elected)) - started
}, Effect.scoped)

export const withLibrary = (place: Place) =>
  killed(
    "library",
    place,
    Library.program(place, "next").pipe(
      Effect.flatMap(Library.campaign),
      Effect.map(() => now())
    )
  )

export const withEtcd3 = (place: Place) =>
  killed(
    "etcd3",
    place,
    Effect.gen(function* () {
      const client = yield* Effect.acquireRelease(
        Effect.sync(() => Etcd3.connect(place)),
        (client) => Effect.sync(() => client.close())
      )
      const lease = yield* Effect.acquireRelease(
        Effect.sync(() => client.lease(place.ttlSeconds)),
        (lease) => Effect.promise(() => lease.revoke().catch(() => {}))
      )
      return yield* Effect.promise(async () => {
        const key = `${place.prefix}/next`
        const created = await Etcd3.create(client, lease, key, "")
        await Etcd3.awaitTurn(client, `${place.prefix}/`, created)
        return now()
      })
    })
  )

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
