import { assert, describe, layer } from "@effect/vitest"
import { Context, Effect, Layer } from "effect"
import { spawn } from "node:child_process"
import process from "node:process"
import { fileURLToPath } from "node:url"
import { Discovery } from "effect-ensemble"
import * as Proxy from "../../faults/proxy.ts"
import * as Servers from "../../servers/etcd.ts"
import { Api, eventually, makeNode, silent } from "./kit.ts"

class Server extends Context.Service<Server, Servers.Etcd>()("test/Server") {}

const fixture = fileURLToPath(new URL("fixtures/everything.ts", import.meta.url))

let prefixes = 0

/** A program of its own that uses everything; it is struck, told to give all back, and watched as it ends. */
const ending = (strike: (proxy: Proxy.Proxy) => Effect.Effect<void>) =>
  Effect.gen(function* () {
    const { gateway, members } = yield* Server
    const [member] = members
    const proxy = yield* Proxy.make({ upstream: member })
    const prefix = `/ending-${++prefixes}`
    const child = yield* Effect.acquireRelease(
      Effect.sync(() => spawn(process.execPath, [fixture, proxy.url, prefix], { stdio: ["pipe", "pipe", "pipe"] })),
      (child) => Effect.sync(() => child.kill("SIGKILL"))
    )
    let printed = ""
    let errors = ""
    child.stdout.on("data", (chunk) => (printed += String(chunk)))
    child.stderr.on("data", (chunk) => (errors += String(chunk)))
    yield* eventually(
      "the program is ready",
      Effect.sync(() => printed === "ready\n" || child.exitCode !== null)
    )
    assert.strictEqual(printed, "ready\n", errors)
    yield* strike(proxy)
    child.stdin.write("close\n")
    yield* eventually(
      "the program ends",
      Effect.sync(() => child.exitCode !== null || child.signalCode !== null)
    )
    // No error, no rejection that nobody handled, no socket; and no timer, or it would not have ended.
    assert.deepStrictEqual([child.exitCode, printed, errors], [0, "ready\nclosed Success \n", ""])
    // Those of a half-open connection would never hear of each other's end.
    yield* proxy.heal
    yield* proxy.cut
    yield* eventually(
      "no connection is left",
      Effect.map(proxy.counters, ({ open }) => open === 0)
    )
    yield* eventually(
      "nothing is left in the store",
      Effect.map(gateway.range(`${prefix}/`), ({ entries }) => entries.length === 0)
    )
  }).pipe(Effect.scoped)

layer(Layer.effect(Server, Servers.single()), { excludeTestServices: true })(
  "a program that gives everything back",
  (it) => {
    describe.concurrent("ends by itself and leaves nothing", () => {
      it.effect("when all is well", () => ending(() => Effect.void))
      it.effect("while the server is silent", () => ending((proxy) => proxy.blackhole))
      it.effect("while answers are lost", () => ending((proxy) => proxy.silence("down")))
      it.effect("while nobody listens", () => ending((proxy) => proxy.refuse))
      it.effect("with connections that are half-open", () => ending((proxy) => proxy.halfOpen))
    })

    it.effect("twenty engines in a row: no connection, no watch, no lease is left", () =>
      Effect.gen(function* () {
        const etcd = yield* Server
        const { gateway } = etcd
        for (let n = 0; n < 20; n++) {
          const node = yield* makeNode(etcd, "one", { prefix: "/row" })
          yield* Effect.scoped(
            Effect.gen(function* () {
              yield* Discovery.register(Api, { address: "127.0.0.1", port: 1, attributes: {} })
              yield* Discovery.view(Api)
            })
          ).pipe(node.run)
          yield* node.close
          yield* eventually(
            "no connection is left",
            Effect.map(node.proxy.counters, ({ accepted, open }) => accepted > 0 && open === 0)
          )
        }
        yield* eventually(
          "no watch and no lease is left",
          Effect.gen(function* () {
            return (yield* gateway.watchers) === 0 && (yield* gateway.leases).length === 0
          })
        )
      }).pipe(Effect.scoped, Effect.provide(silent))
    )
  }
)
