import { describe, it, layer } from "@effect/vitest"
import { Context, Effect, Layer } from "effect"
import { Conformance } from "effect-ensemble/testing"
import * as Servers from "../../servers/zookeeper.ts"
import { makeHarness, withoutOwnServer } from "./harness.ts"

class Server extends Context.Service<Server, Servers.ZooKeeper>()("test/Server") {}

const shared = Effect.flatMap(Server, (server) => makeHarness(server))

/**
 * A restore stops the server under everybody, so those who ask for one get a server of their own. Starting it takes a second or
 * two, which must be less than half of the TTL: then the session is still there to be lost.
 */
const own = Effect.flatMap(Servers.single(), (server) => makeHarness(server, 10_000))

const common = Conformance.suite(shared, withoutOwnServer)
const names = new Set(common.map(({ name }) => name))
const disruptive = Conformance.suite(own, [...withoutOwnServer, "backup", "rewind"]).filter(
  ({ name }) => !names.has(name)
)

layer(Layer.effect(Server, Servers.single()), { excludeTestServices: true })("ZooKeeper keeps the contract", (it) => {
  describe.concurrent("on one server", () => {
    for (const { contract, name, run } of common) it.effect(`${contract}: ${name}`, () => run)
  })
})

describe("ZooKeeper keeps the contract on a server that is restored", () => {
  for (const { contract, name, run } of disruptive) it.live(`${contract}: ${name}`, () => run)
})
