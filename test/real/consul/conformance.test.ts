import { describe, it, layer } from "@effect/vitest"
import { Context, Effect, Layer } from "effect"
import { Conformance } from "effect-ensemble/testing"
import * as Servers from "../../servers/consul.ts"
import { makeHarness, withoutOwnServer } from "./harness.ts"

class Server extends Context.Service<Server, Servers.Consul>()("test/Server") {}

const shared = Effect.flatMap(Server, makeHarness)

/** A restore puts everybody's state back, so those who ask for one get a server of their own. */
const own = Effect.flatMap(Servers.single(), makeHarness)

const common = Conformance.suite(shared, withoutOwnServer)
const names = new Set(common.map(({ name }) => name))
const disruptive = Conformance.suite(own, [...withoutOwnServer, "backup", "rewind"]).filter(
  ({ name }) => !names.has(name)
)

layer(Layer.effect(Server, Servers.single()), { excludeTestServices: true })("Consul keeps the contract", (it) => {
  describe.concurrent("on one server", () => {
    for (const { contract, name, run } of common) it.effect(`${contract}: ${name}`, () => run)
  })
})

describe("Consul keeps the contract on a server that is restored", () => {
  for (const { contract, name, run } of disruptive) it.live(`${contract}: ${name}`, () => run)
})
