import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { spawn } from "node:child_process"
import process from "node:process"
import { fileURLToPath } from "node:url"
import * as Cassandra from "../../servers/cassandra.ts"
import * as Elasticsearch from "../../servers/elasticsearch.ts"
import * as Kafka from "../../servers/kafka.ts"
import * as Memcached from "../../servers/memcached.ts"
import * as Nats from "../../servers/nats.ts"
import * as Postgres from "../../servers/postgres.ts"
import * as Redis from "../../servers/redis.ts"
import { until } from "../../servers/until.ts"

const example = fileURLToPath(new URL("../../../examples/stack.ts", import.meta.url))

const password = "right-secret"

const servers = Effect.all(
  {
    memcached: Memcached.single(),
    redis: Redis.single({ password }),
    cassandra: Cassandra.single(),
    nats: Nats.single(),
    kafka: Kafka.single(),
    nine: Elasticsearch.single(),
    eight: Elasticsearch.single({ version: "8" }),
    postgres: Postgres.single({ password })
  },
  { concurrency: "unbounded" }
)

/** The example as a process of its own, and what it has printed. */
const run = Effect.fnUntraced(function* (env: Readonly<Record<string, string>>, args: ReadonlyArray<string> = []) {
  const child = yield* Effect.acquireRelease(
    Effect.sync(() =>
      spawn(process.execPath, [example, ...args], {
        env: { ...process.env, ...env },
        stdio: ["ignore", "pipe", "pipe"]
      })
    ),
    (child) => Effect.sync(() => child.kill("SIGKILL"))
  )
  let printed = ""
  let errors = ""
  child.stdout.on("data", (chunk) => (printed += String(chunk)))
  child.stderr.on("data", (chunk) => (errors += String(chunk)))
  const wait = (what: string, condition: () => boolean) =>
    until(
      Effect.suspend(() => (condition() ? Effect.void : Effect.fail("not yet"))),
      { within: "100 seconds" }
    ).pipe(Effect.catch(() => Effect.die(new Error(`${what}:\n${printed}${errors}`))))
  return {
    /** Waits until it has said something that matches, after the last thing that was waited for. */
    says: (() => {
      let from = 0
      return (pattern: RegExp) =>
        Effect.andThen(
          wait(`it says ${pattern}`, () => pattern.test(printed.slice(from))),
          Effect.sync(() => {
            const found = pattern.exec(printed.slice(from))
            from += (found?.index ?? 0) + (found?.[0].length ?? 0)
          })
        )
    })(),
    signal: (signal: NodeJS.Signals) => Effect.sync(() => child.kill(signal)),
    ended: wait("it ends", () => child.exitCode !== null || child.signalCode !== null),
    exit: () => child.exitCode,
    printed: () => printed,
    errors: () => errors
  }
})

describe("the example of all services at once", () => {
  it.live("starts from variables alone, survives a server that is killed, and stops cleanly", () =>
    Effect.gen(function* () {
      const { cassandra, eight, kafka, memcached, nats, nine, postgres, redis } = yield* servers
      const { ended, errors, exit, printed, says, signal } = yield* run({
        MC_1_ADDRS: `127.0.0.1:${memcached.port}`,
        RD_1_URI: `redis://127.0.0.1:${redis.port}`,
        RD_1_PASSWORD: password,
        CQL_1_ADDRS: `127.0.0.1:${cassandra.port}`,
        NATS_1_ADDRS: `127.0.0.1:${nats.port}`,
        KAFKA_1_ADDRS: kafka.broker,
        ES_9_ADDR: nine.url,
        ES_8_ADDR: eight.url,
        PG_1_ADDR: `postgres://${postgres.user}@127.0.0.1:${postgres.port}/${postgres.database}`,
        PG_1_PASSWORD: password
      })
      yield* says(/work: ready/)
      yield* says(/all well/)
      yield* redis.kill
      yield* says(/redis: degraded/)
      yield* says(/without redis$/m)
      yield* redis.start
      yield* says(/redis: recovered/)
      yield* says(/all well/)
      yield* signal("SIGTERM")
      yield* ended
      assert.strictEqual(exit(), 143, `${printed()}${errors()}`)
      assert.strictEqual(errors(), "")
      // The report and the graph, with every service in them.
      for (const name of [
        "memcached",
        "redis",
        "cassandra",
        "nats",
        "kafka",
        "elasticsearch",
        "archive",
        "sql",
        "work"
      ]) {
        assert.match(printed(), new RegExp(`^\\s*${name}\\b.* stopped`, "m"))
      }
      assert.include(printed(), "flowchart")
      assert.notInclude(printed(), password)
    }).pipe(Effect.scoped)
  )

  it.live("tells all variables that it reads", () =>
    Effect.gen(function* () {
      const { ended, exit, printed } = yield* run({ RD_1_URI: "http://secret@host" }, ["--variables"])
      yield* ended
      assert.strictEqual(exit(), 0)
      for (const name of [
        "MC_1_ADDRS",
        "RD_1_URI",
        "CQL_1_ADDRS",
        "NATS_1_ADDRS",
        "KAFKA_1_ADDRS",
        "ES_8_ADDR",
        "PG_1_ADDR"
      ]) {
        assert.include(printed(), name)
      }
      assert.match(printed(), /^RD_1_URI .*yes, but RD_1_URI has to be an address/m)
      assert.notInclude(printed(), "secret@")
    }).pipe(Effect.scoped)
  )

  it.live("tells everything that is wrong with its variables, and starts nothing", () =>
    Effect.gen(function* () {
      const { ended, errors, exit, printed } = yield* run({ RD_1_URI: "nowhere", RD_1_TIMEOUT_CALL: "soon" })
      yield* ended
      assert.strictEqual(exit(), 1)
      const told = `${printed()}${errors()}`
      assert.include(told, "RD_1_URI")
      assert.include(told, "RD_1_TIMEOUT_CALL")
    }).pipe(Effect.scoped)
  )
})
