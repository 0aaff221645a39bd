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
const own = Effect.flatMap(Servers.single(), (server) => makeHarness(server, { ttl: 10_000 }))

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

layer(Layer.effect(Server, Servers.single()), { excludeTestServices: true })("In Curator's form,", (it) => {
  describe.concurrent("services keep the contract", () => {
    const curator = Effect.flatMap(Server, (server) => makeHarness(server, { curator: true }))
    for (const { contract, name, run } of Conformance.suite(curator, withoutOwnServer)) {
      if (contract === "Discovery") it.effect(name, () => run)
    }
  })
})

/** What depends on how a server tells of changes, and takes seconds. */
const told = common.filter(({ contract }) => contract === "Watch" || contract === "Interruption")

for (const version of ["3.5", "3.8"] as const) {
  const server = Layer.effect(Server, Servers.single({ version }))
  layer(server, { excludeTestServices: true })(`ZooKeeper ${version} keeps the contract`, (it) => {
    describe.concurrent("on one server", () => {
      for (const { contract, name, run } of told) it.effect(`${contract}: ${name}`, () => run)
    })
  })
}

describe("ZooKeeper keeps the contract on a server that is restored", () => {
  for (const { contract, name, run } of disruptive) it.live(`${contract}: ${name}`, () => run)
})
