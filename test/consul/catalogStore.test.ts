import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect } from "effect"
import * as CatalogStore from "../../src/engines/consul/catalogStore.ts"
import type { HttpRequest } from "../../src/engines/consul/http.ts"
import * as Kv from "../../src/engines/consul/kv.ts"
import * as Requests from "../../src/engines/consul/requests.ts"
import * as Servers from "../../src/engines/consul/servers.ts"
import type { Agent } from "./fake.ts"
import { agent, transport } from "./fake.ts"

const requestMillis = 1_000

const catalogOf = Effect.fnUntraced(function* (first: Agent, other: Agent) {
  const clock = yield* Clock.clockWith(Effect.succeed)
  const requests = Requests.make(Servers.make(transport(first, other), { clock, requestMillis }))
  const kv = yield* Kv.make(requests.any, "p")
  return CatalogStore.make(requests, kv, {
    endpoint: "e",
    requestMillis,
    includeCritical: false,
    serviceOf: (name) => name
  })
})

const deregistrations = (requests: ReadonlyArray<HttpRequest>) =>
  requests.filter(({ path }) => path.startsWith("/agent/service/deregister/")).length

describe("a registration", () => {
  it.effect("is removed only while it is this session's", () =>
    Effect.gen(function* () {
      const one = agent("a", () => ({ body: { Meta: { "ensemble-session": "theirs" }, ContentHash: "h" } }))
      const catalog = yield* catalogOf(
        one,
        agent("b", () => ({}))
      )
      const group = catalog.group({ kind: "discovery", name: "api" })
      yield* group.remove({ id: "x", token: 1n, owner: "mine" })
      assert.strictEqual(deregistrations(one.requests), 0)
      yield* group.remove({ id: "x", token: 1n, owner: "theirs" })
      assert.strictEqual(deregistrations(one.requests), 1)
    })
  )

  it.effect("that the agent does not know is removed already", () =>
    Effect.gen(function* () {
      const one = agent("a", () => ({ status: 404, body: "unknown service ID" }))
      const catalog = yield* catalogOf(
        one,
        agent("b", () => ({}))
      )
      yield* catalog.group({ kind: "discovery", name: "api" }).remove({ id: "x", token: 1n, owner: "mine" })
      assert.strictEqual(deregistrations(one.requests), 0)
    })
  )

  it.effect("that no catalog could hold is refused before any request", () =>
    Effect.gen(function* () {
      const one = agent("a", () => ({}))
      const catalog = yield* catalogOf(
        one,
        agent("b", () => ({}))
      )
      const error = yield* Effect.flip(catalog.group({ kind: "discovery", name: "api" }).create("s", "x", "text"))
      assert.strictEqual(error.reason._tag, "InvalidOptions")
      assert.strictEqual(one.requests.length, 0)
    })
  )
})
