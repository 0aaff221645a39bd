import { jetstream, jetstreamManager } from "@nats-io/jetstream"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Scope } from "effect"
import { Nats } from "effect-ensemble/services/nats"
import { spawn } from "node:child_process"
import { mkdtempSync, rmSync } from "node:fs"
import { createServer } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import process from "node:process"
import { fileURLToPath } from "node:url"
import * as Proxy from "../../faults/proxy.ts"
import * as Servers from "../../servers/nats.ts"
import * as Tls from "../../servers/tls.ts"
import { until } from "../../servers/until.ts"
import * as Kit from "./kit.ts"
import { heldTowards } from "./sockets.ts"

const username = "ensemble"
const password = "right-secret"
const at = (port: number) => `nats://127.0.0.1:${port}`

/** Soon again: how long the client waits is not what is tested. */
const soon = { reconnectWait: "200 millis" } as const

describe("Nats", () => {
  Kit.cases<Nats.Nats>({
    name: "nats",
    serve: Kit.behind(Servers.single({ password })),
    layer: (port, bounds) =>
      Nats.layer({ addresses: [at(port)], username, password, jetstream: true, ...soon, ...bounds }),
    health: Nats.health,
    operate: Nats.Nats.use(({ use }) =>
      use((client) => {
        const inbox = `inbox.${client.stats().outMsgs}`
        const heard = client.subscribe(inbox, { max: 1 })
        client.publish(inbox, "message")
        return client.rtt().then(() => {
          assert.strictEqual(heard.getReceived(), 1)
          heard.unsubscribe()
        })
      })
    ),
    refused: (port, bounds) => Nats.layer({ addresses: [at(port)], username, password: "wrong-secret", ...bounds }),
    configured: (prefix) => Nats.layerConfig(Nats.config(prefix)),
    variables: (port, prefix) => ({
      [`${prefix}_ADDRS`]: at(port),
      [`${prefix}_USERNAME`]: username,
      [`${prefix}_PASSWORD`]: password,
      [`${prefix}_JETSTREAM`]: "yes",
      [`${prefix}_RECONNECT_WAIT`]: "200ms"
    }),
    unusable: (port, prefix) => ({
      [`${prefix}_ADDRS`]: `nats://user:wrong-secret@127.0.0.1:${port}`,
      [`${prefix}_MAX_RECONNECT`]: "often"
    }),
    program: "nats.ts"
  })
})

/** A server behind a proxy. */
const served = (options: Servers.Options = {}) =>
  Effect.gen(function* () {
    const server = yield* Servers.single(options)
    const proxy = yield* Proxy.make({ upstream: { host: server.host, port: server.port } })
    return { server, proxy, addresses: [at(proxy.port)] }
  })

describe("a start", () => {
  it.live("asks JetStream, where it is wanted", () =>
    Effect.gen(function* () {
      // It is enabled by its section, and the later of two settings counts.
      const { addresses } = yield* served({ settings: { jetstream: false } })
      yield* Effect.scoped(Nats.make({ addresses, ...Kit.bounds }))
      const error = yield* Effect.flip(Effect.scoped(Nats.make({ addresses, jetstream: true, ...Kit.bounds })))
      assert.include(error.message, "JetStream is not enabled")
    }).pipe(Effect.scoped)
  )

  it.live("gives a client that JetStream's own takes", () =>
    Effect.gen(function* () {
      const { addresses } = yield* served()
      const { client, use } = yield* Nats.make({ addresses, jetstream: true, ...Kit.bounds })
      const manager = yield* use(() => jetstreamManager(client))
      yield* use(() => manager.streams.add({ name: "orders", subjects: ["orders.*"] }))
      const { seq } = yield* use(() => jetstream(client).publish("orders.new", "42"))
      assert.strictEqual(seq, 1)
    }).pipe(Effect.scoped)
  )

  it.live("finds the one server of several that answers", () =>
    Effect.gen(function* () {
      const { proxy, server } = yield* served()
      yield* proxy.blackhole
      const { use } = yield* Nats.make({ addresses: [at(proxy.port), at(server.port)], ...Kit.bounds })
      yield* use((client) => client.rtt())
      assert.strictEqual(yield* heldTowards(proxy.port), 0)
    }).pipe(Effect.scoped)
  )

  it.live("that is given up while it looks for the host leaves nothing behind", () =>
    Effect.gen(function* () {
      const { server } = yield* served()
      for (const turns of [0, 1, 2, 5, 10]) {
        const starting = yield* Effect.forkChild(
          Effect.scoped(Nats.make({ addresses: [`localhost:${server.port}`], ...Kit.bounds })),
          { startImmediately: true }
        )
        yield* Effect.repeat(Effect.yieldNow, { times: turns })
        yield* Fiber.interrupt(starting)
      }
      // What was left would connect by the time that somebody else has.
      yield* Effect.scoped(Nats.make({ addresses: [`localhost:${server.port}`], ...Kit.bounds }))
      assert.strictEqual(yield* heldTowards(server.port), 0)
    }).pipe(Effect.scoped)
  )
})

describe("a connection that is lost", () => {
  it.live("keeps its subscriptions", () =>
    Effect.gen(function* () {
      const { addresses, proxy } = yield* served()
      const { client, use } = yield* Nats.make({ addresses, ...soon, ...Kit.bounds })
      const heard: Array<string> = []
      client.subscribe("subject", { callback: (_error, message) => void heard.push(message.string()) })
      yield* use((client) => client.rtt())
      yield* proxy.cut
      yield* until(
        Effect.flatMap(
          use((client) => {
            client.publish("subject", "message")
            return client.rtt()
          }),
          () => (heard.length > 0 ? Effect.void : Effect.fail("nothing was heard"))
        ),
        { within: "20 seconds" }
      )
    }).pipe(Effect.scoped)
  )

  it.live("is replaced also where it cannot be written to", () =>
    Effect.gen(function* () {
      const { addresses, proxy } = yield* served()
      const { client, use } = yield* Nats.make({ addresses, ...soon, ...Kit.bounds })
      yield* proxy.halfOpen
      // More than the kernel takes, so nothing that is sent after it is ever said to be sent.
      const mebibyte = new Uint8Array(1 << 20)
      for (let count = 0; count < 24; count++) client.publish("subject", mebibyte.subarray(1))
      yield* until(
        use((client) => client.rtt()),
        { within: "20 seconds" }
      )
    }).pipe(Effect.scoped)
  )
})

describe("a stop", () => {
  it.live("sends what was published, and lets requests have their answers", () =>
    Effect.gen(function* () {
      const { addresses, proxy, server } = yield* served()
      const other = yield* Nats.make({ addresses: [at(server.port)], ...Kit.bounds })
      const heard: Array<string> = []
      other.client.subscribe("subject", { callback: (_error, message) => void heard.push(message.string()) })
      other.client.subscribe("question", { callback: (_error, message) => void message.respond("answer") })
      yield* other.use((client) => client.rtt())

      const scope = yield* Scope.make()
      const { client, use } = yield* Nats.make({ addresses, ...Kit.bounds }).pipe(Scope.provide(scope))
      yield* proxy.delay(50)
      const asking = yield* Effect.forkChild(
        use((client) => client.request("question", "?", { timeout: 5000 })),
        { startImmediately: true }
      )
      for (let count = 0; count < 1000; count++) client.publish("subject", String(count))
      yield* Scope.close(scope, Exit.void)
      assert.strictEqual((yield* Fiber.join(asking)).string(), "answer")
      yield* other.use((client) => client.rtt())
      assert.strictEqual(heard.length, 1000)
      assert.strictEqual(yield* heldTowards(proxy.port), 0)
      assert.isTrue(client.isClosed())
    }).pipe(Effect.scoped)
  )

  it.live("leaves a client alone that was closed by hand", () =>
    Effect.gen(function* () {
      const { addresses, proxy } = yield* served()
      const { client, use } = yield* Effect.scoped(
        Effect.tap(Nats.make({ addresses, ...Kit.bounds }), ({ use }) => use((client) => client.drain()))
      )
      assert.isTrue(client.isClosed())
      assert.isTrue(Exit.isFailure(yield* Effect.exit(use((client) => client.rtt()))))
      assert.strictEqual(yield* heldTowards(proxy.port), 0)
    }).pipe(Effect.scoped)
  )
})

describe("encryption", () => {
  it.live("is used with a server that is trusted, and with no other", () =>
    Effect.gen(function* () {
      const folder = yield* Effect.acquireRelease(
        Effect.sync(() => mkdtempSync(join(tmpdir(), "ensemble-nats-"))),
        (folder) => Effect.sync(() => rmSync(folder, { recursive: true, force: true }))
      )
      const { caFile, serverCertFile, serverKeyFile } = yield* Tls.make(folder)
      const { addresses, proxy } = yield* served({
        settings: { tls: { cert_file: serverCertFile, key_file: serverKeyFile } }
      })
      const error = yield* Effect.flip(Effect.scoped(Nats.make({ addresses, tls: true, ...Kit.bounds })))
      assert.match(error.message, /certificate/)
      assert.strictEqual(yield* heldTowards(proxy.port), 0)

      // Node reads at its start whom it trusts.
      const child = yield* Effect.acquireRelease(
        Effect.sync(() =>
          spawn(process.execPath, [fileURLToPath(new URL("fixtures/nats.ts", import.meta.url))], {
            env: { ...process.env, SUT_ADDRS: addresses.join(), SUT_TLS: "yes", NODE_EXTRA_CA_CERTS: caFile }
          })
        ),
        (child) => Effect.sync(() => child.kill("SIGKILL"))
      )
      let printed = ""
      child.stdout.on("data", (chunk) => (printed += String(chunk)))
      child.stderr.on("data", (chunk) => (printed += String(chunk)))
      yield* until(
        Effect.suspend(() => (printed === "ready\n" ? Effect.void : Effect.fail(`it says "${printed}"`))),
        { within: "20 seconds" }
      )
    }).pipe(Effect.scoped)
  )
})

/** A server that says hello and nothing more, to a client that is cut off in the midst of it. */
const halfAServer = (hello: string) =>
  Effect.acquireRelease(
    Effect.callback<{ readonly port: number; readonly close: Effect.Effect<void> }>((resume) => {
      const server = createServer((socket) => {
        socket.on("error", () => {})
        socket.write(hello)
      })
      server.listen(0, "127.0.0.1", () => {
        const address = server.address()
        const port = typeof address === "object" && address !== null ? address.port : 0
        resume(Effect.succeed({ port, close: Effect.sync(() => void server.close()) }))
      })
    }),
    ({ close }) => close
  )

describe("a server that is none", () => {
  for (const [what, hello] of [
    ["says nothing", ""],
    ["says half a line", "INFO {"],
    ["stops after its first line", 'INFO {"version":"2.10.0","max_payload":1048576,"headers":true}\r\n'],
    ["speaks another protocol", "HTTP/1.1 400 Bad Request\r\n\r\n"]
  ] as const) {
    it.live(`and ${what} is given up in time, with nothing left open`, () =>
      Effect.gen(function* () {
        const { port } = yield* halfAServer(hello)
        const bounds = { ...Kit.bounds, connectTimeout: "500 millis" } as const
        const error = yield* Effect.flip(Effect.scoped(Nats.make({ addresses: [at(port)], ...bounds })))
        assert.strictEqual(error._tag, "ServiceUnavailable")
        yield* until(
          Effect.flatMap(heldTowards(port), (held) => (held === 0 ? Effect.void : Effect.fail("a socket is left"))),
          { within: "5 seconds" }
        )
      }).pipe(Effect.scoped)
    )
  }
})
