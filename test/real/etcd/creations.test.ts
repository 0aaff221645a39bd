import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Client from "../../../src/engines/etcd/client.ts"
import * as Connections from "../../../src/engines/etcd/connections.ts"
import * as Endpoints from "../../../src/engines/etcd/endpoints.ts"
import * as Grpc from "../../../src/engines/etcd/grpc.ts"
import * as Servers from "../../servers/etcd.ts"

const prefix = "/creations"

const prepare = Effect.gen(function* () {
  const etcd = yield* Servers.single()
  const addresses = Endpoints.parse({ endpoints: etcd.endpoints })
  if ("problem" in addresses) return yield* Effect.die(addresses.problem)
  const transport = yield* Grpc.own(addresses)
  const connections = yield* Connections.make(transport, { credentials: undefined, requestMillis: 5_000 })
  const store = yield* Client.make(connections, { prefix, endpoint: addresses.label, requestMillis: 5_000 })
  const { id: session } = yield* store.open(60_000)
  const enter = (kind: "election" | "lock" | "discovery", name: string, id: string) =>
    Effect.map(store.group({ kind, name }).create(session, id, "a value"), (creation) => {
      assert(creation._tag === "Created")
      return creation
    })
  return { etcd, store, session, enter }
})

describe("a creation in etcd", () => {
  it.live("says who is first, from a reading that shows the new entry as well", () =>
    Effect.gen(function* () {
      const { enter, etcd, session, store } = yield* prepare
      for (const kind of ["election", "lock"] as const) {
        const first = yield* enter(kind, "g", "z")
        assert.strictEqual(first.isFirst, true)
        assert.isUndefined((yield* enter(kind, "g", "a")).isFirst)
        yield* store.group({ kind, name: "g" }).remove({ id: "z", token: first.token, owner: session })
        assert.isUndefined((yield* enter(kind, "g", "b")).isFirst, "a stands before b")
        assert.strictEqual((yield* enter(kind, "g-2", "a")).isFirst, true, "another group of a similar name")
        // An entry that nobody has a session for counts as a member.
        yield* etcd.gateway.put(`${prefix}/${kind}/foreign/somebody`, "")
        assert.isUndefined((yield* enter(kind, "foreign", "a")).isFirst)
      }
    }).pipe(Effect.scoped)
  )

  it.live("does not look where nobody asks", () =>
    Effect.gen(function* () {
      const { enter } = yield* prepare
      assert.isUndefined((yield* enter("discovery", "g", "a")).isFirst)
    }).pipe(Effect.scoped)
  )
})
