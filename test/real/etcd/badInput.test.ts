import { assert, describe, layer } from "@effect/vitest"
import type { Scope } from "effect"
import { Context, Effect, Layer, Logger, Redacted, SubscriptionRef } from "effect"
import type { Coordinator, CoordinatorError } from "effect-ensemble"
import { Discovery } from "effect-ensemble"
import { Etcd } from "effect-ensemble/etcd"
import { Buffer } from "node:buffer"
import { createServer as createHttpServer } from "node:http"
import type { Server as NetServer, Socket } from "node:net"
import { createServer } from "node:net"
import * as Servers from "../../servers/etcd.ts"
import * as Tls from "../../servers/tls.ts"
import { onFreePort } from "../../servers/ports.ts"
import * as Process from "../../servers/process.ts"
import { Api, eventually, silent } from "./kit.ts"

type Reason = CoordinatorError.Reason["_tag"]

const connectTimeout = 2_000

/** Building answers by its deadline; twice that is for a machine that is busy. */
const building = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.timeoutOrElse(effect, {
    duration: 2 * connectTimeout,
    orElse: () => Effect.die(new Error("neither built nor failed by its deadline"))
  })

/** The error with which a layer is not built. */
const refusal = (options: Etcd.Options) =>
  Layer.build(Etcd.layer({ connectTimeout, ttl: "5 seconds", ...options })).pipe(
    Effect.flip,
    Effect.catch(() => Effect.die(new Error("the layer was built"))),
    building,
    Effect.scoped,
    Effect.provide(silent)
  )

const isRefused = Effect.fnUntraced(function* (
  options: Etcd.Options,
  expected: { readonly reason: Reason; readonly endpoint: string; readonly says: RegExp }
) {
  const error = yield* refusal(options)
  assert.strictEqual(error._tag, "CoordinatorError")
  assert.strictEqual(error.reason._tag, expected.reason, error.message)
  assert.include(error.message, expected.endpoint)
  assert.match(error.message, expected.says)
})

/** Something that listens and is not etcd. */
const listening = (server: NetServer) =>
  Effect.gen(function* () {
    const sockets = new Set<Socket>()
    server.on("connection", (socket: Socket) => {
      sockets.add(socket)
      socket.on("error", () => {})
    })
    const bind = (port: number) =>
      Effect.callback<number, Error>((resume) => {
        server.once("error", (error) => resume(Effect.fail(error)))
        server.listen(port, "127.0.0.1", () => resume(Effect.succeed(port)))
      })
    const port = yield* Effect.acquireRelease(onFreePort(bind), () =>
      Effect.callback<void>((resume) => {
        for (const socket of sockets) socket.destroy()
        server.close(() => resume(Effect.void))
      })
    )
    return `http://127.0.0.1:${port}`
  })

const strangers: ReadonlyArray<readonly [string, () => NetServer, Reason, RegExp]> = [
  [
    "an HTTP/1 server",
    () => createHttpServer((_, response) => response.end("hello")),
    "NotThisServer",
    /not etcd|port/
  ],
  ["a server that says nothing", () => createServer(), "Unreachable", /Check that the store runs/],
  ["a server that hangs up at once", () => createServer((socket) => socket.end()), "Unreachable", /ended at once/],
  [
    "an SSH server",
    () => createServer((socket) => socket.write("SSH-2.0-OpenSSH_9.2\r\n")),
    "NotThisServer",
    /not etcd|port/
  ]
]

class Plain extends Context.Service<Plain, Servers.Etcd>()("test/Plain") {}
class Guarded extends Context.Service<Guarded, Servers.Etcd>()("test/Guarded") {}
class Secure extends Context.Service<Secure, Servers.Etcd>()("test/Secure") {}
class Mutual extends Context.Service<Mutual, Servers.Etcd>()("test/Mutual") {}

const servers = Layer.mergeAll(
  Layer.effect(Plain, Servers.single({ maxRequestBytes: 100_000 })),
  Layer.effect(
    Guarded,
    Effect.gen(function* () {
      const etcd = yield* Servers.single({ rootPassword: "root" })
      const { gateway } = etcd
      const range = (prefix: string) => ({
        key: Buffer.from(`${prefix}/`).toString("base64"),
        range_end: Buffer.from(`${prefix}0`).toString("base64")
      })
      for (const [user, permission] of [
        ["reader", "READ"],
        ["writer", "READWRITE"],
        ["nobody", undefined]
      ] as const) {
        yield* gateway.call("/v3/auth/user/add", { name: user, password: "secret" })
        yield* gateway.call("/v3/auth/role/add", { name: user })
        yield* gateway.call("/v3/auth/user/grant", { user, role: user })
        if (permission === undefined) continue
        yield* gateway.call("/v3/auth/role/grant", {
          name: user,
          perm: { permType: permission, ...range("/ensemble") }
        })
      }
      return etcd
    })
  ),
  Layer.effect(Secure, Servers.single({ tls: "server" })),
  Layer.effect(Mutual, Servers.single({ tls: "mutual" }))
)

const credentials = (username: string, password = "secret") => ({ username, password: Redacted.make(password) })

const endpointOf = ({ endpoints: [endpoint = ""] }: Servers.Etcd) => endpoint

layer(servers, { excludeTestServices: true })("settings that cannot work", (it) => {
  describe.concurrent("are refused when the layer is built, by what is wrong with them", () => {
    it.effect("nobody listens", () =>
      isRefused(
        { endpoints: "http://127.0.0.1:1" },
        { reason: "Unreachable", endpoint: "127.0.0.1:1", says: /Check that the store runs/ }
      )
    )

    it.effect("a name that cannot be resolved", () =>
      isRefused(
        { endpoints: "http://etcd.invalid:2379" },
        { reason: "Unreachable", endpoint: "etcd.invalid:2379", says: /Check that the store runs/ }
      )
    )

    for (const [name, make, reason, says] of strangers) {
      it.effect(name, () =>
        Effect.gen(function* () {
          const endpoint = yield* listening(make())
          yield* isRefused({ endpoints: endpoint }, { reason, endpoint, says })
        }).pipe(Effect.scoped)
      )
    }

    it.effect("a wrong password", () =>
      Effect.gen(function* () {
        const endpoint = endpointOf(yield* Guarded)
        yield* isRefused(
          { endpoints: endpoint, credentials: credentials("writer", "wrong") },
          { reason: "Unauthenticated", endpoint, says: /Check the user name, the password/ }
        )
      })
    )

    it.effect("a user that does not exist", () =>
      Effect.gen(function* () {
        const endpoint = endpointOf(yield* Guarded)
        yield* isRefused(
          { endpoints: endpoint, credentials: credentials("stranger") },
          { reason: "Unauthenticated", endpoint, says: /Check the user name, the password/ }
        )
      })
    )

    it.effect("no login where one is asked for", () =>
      Effect.gen(function* () {
        const endpoint = endpointOf(yield* Guarded)
        yield* isRefused({ endpoints: endpoint }, { reason: "Unauthenticated", endpoint, says: /Check the user name/ })
      })
    )

    it.effect("a user without permission on the prefix", () =>
      Effect.gen(function* () {
        const endpoint = endpointOf(yield* Guarded)
        for (const options of [
          { credentials: credentials("nobody") },
          { credentials: credentials("writer"), prefix: "/elsewhere" }
        ]) {
          yield* isRefused(
            { endpoints: endpoint, ...options },
            { reason: "Forbidden", endpoint, says: /Grant this user read and write/ }
          )
        }
      })
    )

    it.effect("http to a server of https", () =>
      Effect.gen(function* () {
        const endpoint = endpointOf(yield* Secure).replace("https", "http")
        yield* isRefused({ endpoints: endpoint }, { reason: "Unreachable", endpoint, says: /A server with TLS/ })
      })
    )

    it.effect("https to a server of http", () =>
      Effect.gen(function* () {
        const endpoint = endpointOf(yield* Plain).replace("http", "https")
        yield* isRefused({ endpoints: endpoint }, { reason: "NotThisServer", endpoint, says: /TLS|protocol/ })
      })
    )

    it.effect("a certificate that nobody trusts", () =>
      Effect.gen(function* () {
        const endpoint = endpointOf(yield* Secure)
        yield* isRefused({ endpoints: endpoint }, { reason: "NotThisServer", endpoint, says: /certificate/ })
      })
    )

    it.effect("a certificate of another authority", () =>
      Effect.gen(function* () {
        const endpoint = endpointOf(yield* Secure)
        const other = Tls.credentialsOf(yield* Tls.make(yield* Process.temporaryFolder("tls")), false)
        yield* isRefused(
          { endpoints: endpoint, tls: { ca: other.ca } },
          { reason: "NotThisServer", endpoint, says: /certificate/ }
        )
      }).pipe(Effect.scoped)
    )

    it.effect("no certificate where the server asks for one", () =>
      Effect.gen(function* () {
        const etcd = yield* Mutual
        const endpoint = endpointOf(etcd)
        yield* isRefused(
          { endpoints: endpoint, tls: { ca: etcd.credentials.ca } },
          { reason: "NotThisServer", endpoint, says: /certificate/ }
        )
      })
    )

    it.effect("a TTL below what the server grants", () =>
      isRefused(
        { endpoints: "http://127.0.0.1:1", ttl: "1 second" },
        { reason: "InvalidOptions", endpoint: "127.0.0.1:1", says: /at least 2000 ms/ }
      )
    )
  })

  describe.concurrent("are refused where they show", () => {
    const using = <A, E>(
      options: Etcd.Options,
      effect: Effect.Effect<A, E, Coordinator.Coordinator | Etcd.Transactions | Scope.Scope>
    ) => effect.pipe(Effect.scoped, Effect.provide(Etcd.layer({ connectTimeout, ttl: "5 seconds", ...options })))
    const register = (attributes: Readonly<Record<string, string>> = {}) =>
      Discovery.register(Api, { id: "a", address: "127.0.0.1", port: 1, attributes })

    it.effect("a user who may only read", () =>
      Effect.gen(function* () {
        const endpoint = endpointOf(yield* Guarded)
        const error = yield* using({ endpoints: endpoint, credentials: credentials("reader") }, Effect.flip(register()))
        assert.strictEqual(error._tag === "CoordinatorError" && error.reason._tag, "Forbidden", error.message)
        assert.match(error.message, /Grant this user read and write/)
        assert.include(error.message, endpoint.replace("http://", ""))
      }).pipe(Effect.provide(silent))
    )

    it.effect("a value above our limit, and one above the server's", () =>
      Effect.gen(function* () {
        const etcd = yield* Plain
        const endpoint = endpointOf(etcd)
        for (const size of [2_000_000, 200_000]) {
          const error = yield* using(
            { endpoints: endpoint, prefix: `/large-${size}` },
            Effect.flip(register({ text: "x".repeat(size) }))
          )
          assert.strictEqual(error._tag === "CoordinatorError" && error.reason._tag, "TooLarge", error.message)
          assert.match(error.message, /Publish less/)
          assert.deepStrictEqual((yield* etcd.gateway.range(`/large-${size}/`)).entries, [])
        }
      }).pipe(Effect.provide(silent))
    )

    it.effect("a login where none is asked for: it works, with a warning", () =>
      Effect.gen(function* () {
        const endpoint = endpointOf(yield* Plain)
        const warnings: Array<string> = []
        const logger = Logger.make(({ logLevel, message }) => {
          if (logLevel === "Warn") warnings.push(String(message))
        })
        yield* using({ endpoints: endpoint, prefix: "/login", credentials: credentials("writer") }, register()).pipe(
          Effect.provide(Logger.layer([logger]))
        )
        assert.lengthOf(
          warnings.filter((warning) => warning.includes("authentication switched off")),
          1
        )
      })
    )

    it.effect("foreign keys under the prefix that are no instances: they are shown as such, and harm nobody", () =>
      Effect.gen(function* () {
        const { gateway, ...etcd } = yield* Plain
        const put = (key: Uint8Array, value: Uint8Array) =>
          gateway.call("/v3/kv/put", {
            key: Buffer.from(key).toString("base64"),
            value: Buffer.from(value).toString("base64")
          })
        const start = Buffer.from("/garbage/discovery/api/")
        yield* put(Buffer.concat([start, Buffer.of(0xff, 0xfe, 0x2f, 0x00)]), Buffer.of(0xc3, 0x28, 0x00))
        yield* put(Buffer.concat([start, Buffer.from("text")]), Buffer.from("no JSON"))
        yield* put(Buffer.concat([start, Buffer.from("empty")]), Buffer.of())
        yield* put(Buffer.from("/garbage/discovery/api"), Buffer.from("the group itself"))
        yield* using(
          { endpoints: endpointOf(etcd as Servers.Etcd), prefix: "/garbage" },
          Effect.gen(function* () {
            const view = yield* Discovery.view(Api)
            yield* register()
            yield* eventually(
              "the instance is seen beside them",
              Effect.map(
                SubscriptionRef.get(view),
                ({ members, undecoded }) => members.length === 1 && undecoded.length === 3
              )
            )
            // A foreign key changes under the eyes of those who watch.
            yield* put(Buffer.concat([start, Buffer.from("text")]), Buffer.of(0x80))
            yield* gateway.put("/garbage/discovery/api/late", JSON.stringify({ address: "b", port: 2 }))
            yield* eventually(
              "and so is one that comes later",
              Effect.map(
                SubscriptionRef.get(view),
                ({ members, undecoded }) => members.length === 2 && undecoded.length === 3
              )
            )
          })
        )
      }).pipe(Effect.provide(silent))
    )
  })
})
