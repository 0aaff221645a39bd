import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect } from "effect"
import * as Connections from "../../../src/engines/etcd/connections.ts"
import * as Endpoints from "../../../src/engines/etcd/endpoints.ts"
import * as Grpc from "../../../src/engines/etcd/grpc.ts"
import * as Watches from "../../../src/engines/etcd/watches.ts"
import * as Servers from "../../servers/etcd.ts"

const rounds = 20
const backlog = 20

describe("watches on a real stream", () => {
  it.live(
    "are never told of progress beyond a backlog that is still to come, asked for just before they were made",
    () =>
      Effect.gen(function* () {
        const etcd = yield* Servers.single()
        const addresses = Endpoints.parse({ endpoints: etcd.endpoints })
        if ("problem" in addresses) return yield* Effect.die(addresses.problem)
        const transport = yield* Grpc.own(addresses)
        const connections = yield* Connections.make(transport, { credentials: undefined, requestMillis: 5_000 })
        const first = yield* etcd.gateway.put("/w/0", "")
        for (let n = 1; n < backlog; n++) yield* etcd.gateway.put(`/w/${n}`, "")
        const watches = Watches.make(yield* connections.current)
        const quiet = { progress: () => {}, events: () => {}, ended: () => {} }
        watches.watchUnsafe({ ...quiet, key: Buffer.from("/quiet"), from: first + BigInt(backlog) })
        for (let round = 0; round < rounds; round++) {
          const told: Array<bigint> = []
          const done = yield* Deferred.make<void>()
          // The question goes out first, and the watch with its backlog in the same breath.
          watches.tickUnsafe()
          const stop = watches.watchUnsafe({
            key: Buffer.from("/w/"),
            end: Buffer.from("/w0"),
            from: first,
            progress: (revision) => told.push(-revision),
            events: (events) => {
              for (const { kv } of events) told.push(BigInt(kv.mod_revision))
              if (told.filter((revision) => revision > 0n).length === backlog) Deferred.doneUnsafe(done, Effect.void)
            },
            ended: (error) => Deferred.doneUnsafe(done, Effect.die(error))
          })
          yield* Effect.timeout(Deferred.await(done), "30 seconds")
          stop()
          for (const [at, revision] of told.entries()) {
            const behind = told.slice(at).filter((later) => later > 0n && later <= -revision)
            assert.deepStrictEqual(behind, [], `round ${round}: progress ${-revision} before events it speaks of`)
          }
        }
      }).pipe(Effect.scoped)
  )
})
