import { assert, describe } from "@effect/vitest"
import { Client } from "cassandra-driver"
import { Effect, Exit, Fiber, Layer, Scope } from "effect"
import { Cassandra } from "effect-ensemble/services/cassandra"
import { readFileSync } from "node:fs"
import * as Servers from "../../servers/cassandra.ts"
import { temporaryFolder } from "../../servers/process.ts"
import * as Tls from "../../servers/tls.ts"
import { until } from "../../servers/until.ts"
import * as Kit from "./kit.ts"
import { heldTowards } from "./sockets.ts"

const username = "cassandra"
const password = "cassandra"
const keyspace = "shop"
const addresses = (port: number) => `127.0.0.1:${port}`

/** A certificate authority for TLS on the server's one port. */
const authority = Effect.gen(function* () {
  const { caFile, serverCertFile, serverKeyFile } = yield* Tls.make(yield* temporaryFolder("tls"))
  const [ca, key, certificate] = [caFile, serverKeyFile, serverCertFile].map((file) => readFileSync(file, "utf8"))
  return {
    ca,
    settings: {
      client_encryption_options: {
        enabled: true,
        optional: true,
        ssl_context_factory: {
          class_name: "org.apache.cassandra.security.PEMBasedSslContextFactory",
          parameters: { private_key: `${key}${certificate}`, trusted_certificates: ca }
        }
      }
    }
  }
})

let ca: string | undefined

/** A server with a table of its own. */
const furnished = Effect.gen(function* () {
  const tls = yield* authority
  const server = yield* Servers.single({ authenticated: true, settings: tls.settings })
  yield* Effect.acquireUseRelease(
    Effect.sync(
      () =>
        new Client({
          contactPoints: [addresses(server.port)],
          localDataCenter: server.datacenter,
          credentials: { username, password },
          // It takes seconds for its first table.
          socketOptions: { readTimeout: 60_000 }
        })
    ),
    (client) =>
      Effect.promise(() =>
        client
          .execute(
            `CREATE KEYSPACE ${keyspace} WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}`
          )
          .then(() => client.execute(`CREATE TABLE ${keyspace}.notes (id int PRIMARY KEY, text text)`))
      ),
    (client) => Effect.promise(() => client.shutdown())
  )
  ca = tls.ca
  return server
})

/** So the kit's restarts are about prepared statements, too. */
const prepare = true
const write = (id: number, text: string) =>
  Cassandra.Cassandra.use(({ use }) =>
    use((client) => client.execute("INSERT INTO notes (id, text) VALUES (?, ?)", [id, text], { prepare }))
  )
const read = (id: number) =>
  Cassandra.Cassandra.use(({ use }) =>
    use((client) => client.execute("SELECT text FROM notes WHERE id = ?", [id], { prepare }))
  ).pipe(Effect.map((found): unknown => found.rows[0]?.get("text")))

describe("Cassandra", () => {
  const test = Kit.cases<Cassandra.Cassandra>({
    name: "cassandra",
    serve: Kit.behind(furnished),
    layer: (port, bounds) => Cassandra.layer({ addresses: addresses(port), keyspace, username, password, ...bounds }),
    health: Cassandra.health,
    operate: Effect.andThen(write(1, "hello"), read(1)),
    refused: (port, bounds) =>
      Cassandra.layer({ addresses: addresses(port), username, password: "wrong-secret", ...bounds }),
    configured: (prefix) => Cassandra.layerConfig(Cassandra.config(prefix)),
    variables: (port, prefix) => ({
      [`${prefix}_ADDRS`]: addresses(port),
      [`${prefix}_KEYSPACE`]: keyspace,
      [`${prefix}_USERNAME`]: username,
      [`${prefix}_PASSWORD`]: password
    }),
    unusable: (port, prefix) => ({
      [`${prefix}_ADDRS`]: `cql://127.0.0.1:${port}`,
      [`${prefix}_CONSISTENCY`]: "MOST",
      [`${prefix}_NB_CONNS`]: "0",
      [`${prefix}_TIMEOUT_CONNECT`]: "soon"
    }),
    program: "cassandra.ts"
  })

  const servedBy = (port: number, options: Cassandra.Options = {}) =>
    Cassandra.layer({ addresses: addresses(port), keyspace, username, password, ...Kit.bounds, ...options })
  const failureOf = (port: number, options: Cassandra.Options) =>
    Effect.flip(Effect.scoped(Layer.build(servedBy(port, options))))

  test("work in flight at a stop is finished", ({ proxy }) =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const context = yield* Layer.buildWithScope(servedBy(proxy.port, { closeTimeout: "20 seconds" }), scope)
      yield* Effect.provide(write(2, "in time"), context)
      yield* proxy.delay(200)
      const writing = yield* Effect.forkChild(Effect.provide(write(2, "late"), context), { startImmediately: true })
      yield* Scope.close(scope, Exit.void)
      yield* Fiber.join(writing)
      yield* proxy.heal
      assert.strictEqual(yield* Effect.provide(read(2), servedBy(proxy.port)), "late")
    }))

  test("a cancelled start and a stop leave no socket from that moment on, also where nobody answers", ({ proxy }) =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      yield* Layer.buildWithScope(servedBy(proxy.port, { probeInterval: "1 hour" }), scope)
      yield* proxy.blackhole
      const starting = yield* Effect.forkChild(Effect.scoped(Layer.build(servedBy(proxy.port))))
      yield* holds(proxy.port, 2)
      yield* Fiber.interrupt(starting)
      assert.strictEqual(yield* heldTowards(proxy.port), 1)
      yield* Scope.close(scope, Exit.void)
      assert.strictEqual(yield* heldTowards(proxy.port), 0)
    }))

  test("a keyspace that does not exist is told, and so is a data center", ({ proxy }) =>
    Effect.gen(function* () {
      const noKeyspace = yield* failureOf(proxy.port, { keyspace: "nowhere" })
      assert.strictEqual(noKeyspace._tag, "ServiceUnavailable")
      assert.include(noKeyspace.message, "Keyspace 'nowhere' does not exist")
      const noDatacenter = yield* failureOf(proxy.port, { datacenter: "nowhere" })
      assert.strictEqual(noDatacenter._tag, "ServiceUnavailable")
      assert.include(noDatacenter.message, "localDataCenter was configured as 'nowhere'")
    }))

  test("speaks TLS with who is signed by the given authority, and with nobody else", ({ proxy }) =>
    Effect.gen(function* () {
      assert.strictEqual(
        yield* Effect.provide(Effect.andThen(write(3, "secret"), read(3)), servedBy(proxy.port, { ca })),
        "secret"
      )
      const stranger = yield* failureOf(proxy.port, { ca: (yield* authority).ca })
      assert.strictEqual(stranger._tag, "ServiceUnavailable")
      assert.include(stranger.message, "certificate")
      // Where the handshake has no answer.
      yield* proxy.blackhole
      yield* failureOf(proxy.port, { ca, connectTimeout: "1 second" })
    }))

  test("has as many connections after outages as before", ({ proxy }) =>
    Effect.gen(function* () {
      const context = yield* Layer.build(servedBy(proxy.port, { connections: 2 }))
      const works = until(Effect.provide(read(1), context), { within: "20 seconds" })
      const full = holds(proxy.port, 2)
      yield* full
      for (const outage of [proxy.cut, proxy.refuse, proxy.cut, proxy.halfOpen, proxy.refuse, proxy.cut]) {
        yield* outage
        yield* Effect.exit(Effect.provide(read(1), context))
        yield* proxy.heal
        yield* works
        yield* full
      }
    }))

  test("connections that are silent are replaced as soon as two probes have shown it", ({ proxy }) =>
    Effect.gen(function* () {
      // The driver itself gives what it asked 12 seconds.
      const bounds = { connectTimeout: "60 seconds", callTimeout: "500 millis", probeTimeout: "500 millis" } as const
      const context = yield* Layer.build(servedBy(proxy.port, bounds))
      yield* proxy.halfOpen
      yield* until(Effect.provide(read(1), context), { within: "10 seconds" })
      yield* proxy.cut
    }))
})

/** There are so many sockets, sooner or later. */
const holds = (port: number, sockets: number) =>
  until(
    Effect.flatMap(heldTowards(port), (held) => (held === sockets ? Effect.void : Effect.fail(`${held} sockets`))),
    { within: "20 seconds" }
  )
