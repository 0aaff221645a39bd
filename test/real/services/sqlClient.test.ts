/** What is special to SQL: statements, transactions and listeners over the pool of a service. */
import { PgClient } from "@effect/sql-pg"
import { assert, describe, it, layer } from "@effect/vitest"
import { Cause, Context, Effect, Exit, Fiber, Layer, Option, Queue, Ref, Schedule, Scope, Stream } from "effect"
import { Sql } from "effect-ensemble/services/sql"
import { Reactivity } from "effect/reactivity"
import { SqlClient, SqlError } from "effect/sql"
import { readFileSync } from "node:fs"
import * as Proxy from "../../faults/proxy.ts"
import * as Servers from "../../servers/postgres.ts"
import { temporaryFolder } from "../../servers/process.ts"
import * as Tls from "../../servers/tls.ts"
import { until } from "../../servers/until.ts"
import { bounds } from "./kit.ts"
import { heldTowards } from "./sockets.ts"

class Server extends Context.Service<Server, { readonly server: Servers.Postgres; readonly proxy: Proxy.Proxy }>()(
  "test/Server"
) {
  static readonly layer = Layer.effect(
    Server,
    Effect.gen(function* () {
      const server = yield* Servers.single()
      return { server, proxy: yield* Proxy.make({ upstream: server }) }
    })
  )
}

const url = (port: number) => `postgres://postgres@127.0.0.1:${port}/postgres`

const holds = <E, R>(what: string, condition: Effect.Effect<boolean, E, R>) =>
  until(
    Effect.flatMap(condition, (it) => (it ? Effect.void : Effect.fail(what))),
    { within: "20 seconds" }
  )

/** A service in a scope that the test can close, and its client. */
const started = (options: Sql.Options = {}) =>
  Effect.gen(function* () {
    const { proxy, server } = yield* Server
    const scope = yield* Scope.make()
    yield* Effect.addFinalizer(() => Scope.close(scope, Exit.void))
    const services = yield* Layer.buildWithScope(
      Layer.provideMerge(Sql.layerClient(Sql.Sql), Sql.layer({ url: url(proxy.port), ...bounds, ...options })),
      scope
    )
    return {
      proxy,
      server,
      sql: Context.get(services, SqlClient.SqlClient),
      pg: Context.get(services, PgClient.PgClient),
      service: Context.get(services, Sql.Sql),
      stop: Scope.close(scope, Exit.void),
      open: heldTowards(proxy.port),
      /** Whether the server works on it. */
      works: (part: string) =>
        Effect.map(
          server.query(
            `SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND pid <> pg_backend_pid() AND query LIKE '%${part}%'`
          ),
          (count) => Number(count) > 0
        )
    }
  })

const failureOf = <A, E>(exit: Exit.Exit<A, E>): E => {
  assert(Exit.isFailure(exit), "it has to fail")
  return Option.getOrThrowWith(Cause.findErrorOption(exit.cause), () => new Error(Cause.pretty(exit.cause)))
}

const running = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.forkChild(Effect.exit(effect), { startImmediately: true })

layer(Server.layer, { excludeTestServices: true, timeout: "60 seconds" })("Sql, in use", (it) => {
  it.effect("statements and transactions go over the pool of the service", () =>
    Effect.gen(function* () {
      const { open, pg, service, sql } = yield* started({ maxConnections: 3 })
      yield* sql`CREATE TABLE things (name text)`
      yield* sql`INSERT INTO things ${sql.insert([{ name: "a" }, { name: "b" }])}`
      const undone = sql`DELETE FROM things`.pipe(Effect.andThen(Effect.fail("no")), sql.withTransaction)
      assert.strictEqual(yield* Effect.flip(undone), "no")
      yield* sql`INSERT INTO things VALUES ('c')`.pipe(sql.withTransaction)
      const rows = yield* sql<{ readonly name: string }>`SELECT name FROM things ORDER BY name`
      assert.deepStrictEqual(
        rows.map(({ name }) => name),
        ["a", "b", "c"]
      )
      assert.strictEqual(service.client, pg)
      yield* Effect.all(
        Array.from({ length: 30 }, () => sql`SELECT pg_sleep(0.01)`),
        { concurrency: "unbounded" }
      )
      assert.isAtMost(yield* open, 3)
    })
  )

  it.effect("what is in flight at a stop finishes", () =>
    Effect.gen(function* () {
      const { open, sql, stop, works } = yield* started({ closeTimeout: "15 seconds" })
      const fiber = yield* running(sql`SELECT pg_sleep(0.7), 'finishes' AS word`)
      yield* holds("the server works", works("finishes"))
      yield* stop
      assert(Exit.isSuccess(yield* Fiber.join(fiber)))
      assert.strictEqual(yield* open, 0)
    })
  )

  it.effect("what does not finish is cut with the stop, and a transaction is undone", () =>
    Effect.gen(function* () {
      const { open, server, sql, stop, works } = yield* started()
      yield* sql`CREATE TABLE kept (name text)`
      const long = sql`INSERT INTO kept VALUES ('half')`.pipe(
        Effect.andThen(sql`SELECT pg_sleep(60), 'cut'`),
        sql.withTransaction
      )
      const fiber = yield* running(long)
      yield* holds("the server works", works("cut"))
      yield* stop
      assert.strictEqual(yield* open, 0)
      const exit = yield* Fiber.join(fiber)
      // Effect's own transactions die of a connection over which they cannot be undone.
      assert(Exit.isFailure(exit) && Cause.squash(exit.cause) instanceof SqlError.SqlError)
      assert.strictEqual(yield* server.query("SELECT count(*) FROM kept"), "0")
    })
  )

  it.effect("a statement that nobody waits for is cancelled on the server", () =>
    Effect.gen(function* () {
      const { service, sql, works } = yield* started()
      const fiber = yield* Effect.forkChild(sql`SELECT pg_sleep(60), 'alone'`)
      yield* holds("the server works", works("alone"))
      yield* Fiber.interrupt(fiber)
      yield* holds(
        "the server stopped",
        Effect.map(works("alone"), (it) => !it)
      )
      const late = yield* Effect.exit(
        service.use((client, signal) => Effect.runPromise(client`SELECT pg_sleep(60), 'late'`, { signal }))
      )
      assert.include(failureOf(late).message, "No answer within 2s")
      yield* holds(
        "the server stopped",
        Effect.map(works("late"), (it) => !it)
      )
    })
  )

  it.effect("a pool that is all in use is no lost server, and what it does goes on", () =>
    Effect.gen(function* () {
      const { open, service, sql, works } = yield* started({ maxConnections: 1, connectTimeout: "10 seconds" })
      const fiber = yield* running(sql`SELECT pg_sleep(5), 'busy' AS word`)
      yield* holds("the server works", works("busy"))
      yield* service.health
      yield* service.health
      assert.isTrue(yield* works("busy"))
      assert.isAtMost(yield* open, 2, "the one of the pool and at most one of a probe")
      assert(Exit.isSuccess(yield* Fiber.join(fiber)))
      yield* holds(
        "only the one of the pool is left",
        Effect.map(open, (held) => held === 1)
      )
    })
  )

  it.effect("statements towards a server that fell silent fail, also without a deadline of their own", () =>
    Effect.gen(function* () {
      const { proxy, sql, works } = yield* started()
      const fiber = yield* running(sql`SELECT pg_sleep(60), 'unheard'`)
      yield* holds("the server works", works("unheard"))
      yield* Effect.ensuring(
        Effect.gen(function* () {
          yield* proxy.blackhole
          const exit = yield* Effect.timeout(Fiber.join(fiber), "20 seconds")
          assert.instanceOf(failureOf(exit), SqlError.SqlError)
        }),
        Effect.andThen(proxy.cut, proxy.heal)
      )
      yield* Effect.retry(sql`SELECT 1`, Schedule.spaced("100 millis").pipe(Schedule.upTo({ times: 100 })))
    })
  )

  it.effect("a probe ends in its time, though the driver waits longer for what it gave up", () =>
    Effect.gen(function* () {
      const { proxy, service } = yield* started({ probeTimeout: "500 millis", probeInterval: "1 minute" })
      yield* Effect.ensuring(
        Effect.andThen(proxy.blackhole, Effect.timeout(Effect.flip(service.health), "4 seconds")),
        Effect.andThen(proxy.cut, proxy.heal)
      )
    })
  )

  it.effect("listeners hear, and are told when their connection is lost", () =>
    Effect.gen(function* () {
      const { pg, proxy } = yield* started()
      const queue = yield* pg.listen("news")
      yield* pg.notify("news", "one")
      assert.strictEqual((yield* Queue.take(queue)).payload, "one")
      yield* proxy.cut
      assert.instanceOf(yield* Effect.flip(Queue.take(queue)), SqlError.SqlError)
    })
  )

  it.effect("the server gives up statements after their time, when it is told one", () =>
    Effect.gen(function* () {
      const { sql } = yield* started({ statementTimeout: "200 millis" })
      const error = yield* Effect.flip(sql`SELECT pg_sleep(60)`)
      assert.strictEqual(error.reason._tag, "StatementTimeoutError")
      yield* sql`SELECT 1`
    })
  )

  it.effect("what the rest of a program invalidates is read again", () =>
    Effect.gen(function* () {
      const { proxy } = yield* Server
      const services = yield* Layer.build(
        Layer.mergeAll(
          Layer.provideMerge(Sql.layerClient(Sql.Sql), Sql.layer({ url: url(proxy.port), ...bounds })),
          Reactivity.layer
        )
      )
      const sql = Context.get(services, SqlClient.SqlClient)
      const reads = yield* Ref.make(0)
      const read = Effect.andThen(
        sql`SELECT 1`,
        Ref.updateAndGet(reads, (n) => n + 1)
      )
      yield* Effect.forkScoped(Stream.runDrain(sql.reactive(["key"], read)))
      yield* holds(
        "it was read",
        Effect.map(Ref.get(reads), (n) => n === 1)
      )
      yield* Context.get(services, Reactivity.Reactivity).invalidate(["key"])
      yield* holds(
        "it was read again",
        Effect.map(Ref.get(reads), (n) => n === 2)
      )
    })
  )

  it.effect("two databases are two tags", () =>
    Effect.gen(function* () {
      class Orders extends Sql.Service<Orders>()("orders") {}
      class Archive extends Sql.Service<Archive>()("archive") {}
      const { proxy, server } = yield* Server
      yield* server.query("CREATE DATABASE archive")
      const both = Layer.mergeAll(
        Orders.layer({ url: url(proxy.port), ...bounds }),
        Archive.layer({ url: `postgres://postgres@127.0.0.1:${proxy.port}/archive`, ...bounds })
      )
      const name = SqlClient.SqlClient.use((sql) => sql<{ readonly name: string }>`SELECT current_database() AS name`)
      const names = yield* Effect.all([
        Effect.provide(name, Sql.layerClient(Orders)),
        Effect.provide(name, Sql.layerClient(Archive))
      ]).pipe(Effect.provide(both))
      assert.deepStrictEqual(names.flat(), [{ name: "postgres" }, { name: "archive" }])
    })
  )
})

describe("Sql, with TLS", () => {
  it.live("is checked against the authority, and cut like any other", () =>
    Effect.gen(function* () {
      const files = yield* Tls.make(yield* temporaryFolder("tls"))
      const server = yield* Servers.single({
        settings: { ssl: "on", ssl_cert_file: files.serverCertFile, ssl_key_file: files.serverKeyFile }
      })
      const proxy = yield* Proxy.make({ upstream: server })
      const ca = readFileSync(files.caFile, "utf8")
      const start = (mode: string, options: Sql.Options) =>
        Layer.build(Sql.layer({ url: `${url(proxy.port)}?sslmode=${mode}`, ...bounds, ...options }))
      const isSecure = ({ client }: Sql.Sql["Service"]) =>
        Effect.map(client`SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()`, ([row]) => row?.["ssl"])

      const unknown = failureOf(yield* Effect.exit(Effect.scoped(start("require", {}))))
      assert.match(unknown.message, /certificate/)
      assert.strictEqual(yield* heldTowards(proxy.port), 0)
      const plain = Effect.flatMap(start("disable", { ca }), (services) => isSecure(Context.get(services, Sql.Sql)))
      assert.isFalse(yield* Effect.scoped(plain))

      const scope = yield* Scope.make()
      const sql = Context.get(yield* Scope.provide(start("verify-full", { ca }), scope), Sql.Sql)
      assert.isTrue(yield* isSecure(sql))
      const fiber = yield* running(sql.client`SELECT pg_sleep(60)`)
      yield* proxy.blackhole
      assert.instanceOf(failureOf(yield* Effect.timeout(Fiber.join(fiber), "20 seconds")), SqlError.SqlError)
      yield* Scope.close(scope, Exit.void)
      assert.strictEqual(yield* heldTowards(proxy.port), 0)
    }).pipe(Effect.scoped)
  )
})
