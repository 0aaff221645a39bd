/**
 * Eight services at once, from environment variables alone: memcached, Redis, Cassandra, NATS, Kafka, two versions of
 * Elasticsearch, and PostgreSQL. They start side by side; each round does one real operation on each of them, also while one
 * is away; at the end it shows what started, how long that took and what depends on what, and stops cleanly.
 *
 *     docker compose --profile services up --detach --wait
 *     node examples/stack.ts                  # until Ctrl-C
 *     STACK_ROUNDS=3 node examples/stack.ts   # ends by itself
 *     node examples/stack.ts --variables      # what it reads
 */
import { Client as Client8 } from "@elastic/elasticsearch-8"
import { Config, Console, Effect, Exit, Layer, Schedule, Stream } from "effect"
import { Maestro, Services } from "effect-ensemble"
import { Cassandra } from "effect-ensemble/services/cassandra"
import { Elasticsearch } from "effect-ensemble/services/elasticsearch"
import { Kafka } from "effect-ensemble/services/kafka"
import { Memcached } from "effect-ensemble/services/memcached"
import { Nats } from "effect-ensemble/services/nats"
import { Redis } from "effect-ensemble/services/redis"
import { Sql } from "effect-ensemble/services/sql"
import { Buffer } from "node:buffer"
import process from "node:process"

/** An older cluster beside the current one: a tag of its own, with a client of its own version. */
class Archive extends Elasticsearch.serviceOf<Archive>()("archive", (settings) => new Client8(settings)) {}

const configs = {
  memcached: Memcached.config("MC_1"),
  redis: Redis.config("RD_1"),
  cassandra: Cassandra.config("CQL_1"),
  nats: Nats.config("NATS_1"),
  kafka: Kafka.config("KAFKA_1"),
  elasticsearch: Elasticsearch.config("ES_9"),
  archive: Elasticsearch.config("ES_8"),
  sql: Sql.config("PG_1")
}

/** Politely, for about half a minute: the machine may have been started together with its servers. */
const retry = Services.whileUnavailable(Schedule.max([Schedule.exponential("200 millis", 1.5), Schedule.recurs(10)]))

const memcached = Memcached.layerConfig(configs.memcached).pipe(
  Maestro.service("memcached", { retry, health: Memcached.health })
)
const redis = Redis.layerConfig(configs.redis).pipe(Maestro.service("redis", { retry, health: Redis.health }))
const cassandra = Cassandra.layerConfig(configs.cassandra).pipe(
  Maestro.service("cassandra", { retry, health: Cassandra.health })
)
const nats = Nats.layerConfig(configs.nats).pipe(Maestro.service("nats", { retry, health: Nats.health }))
const kafka = Kafka.layerConfig(configs.kafka).pipe(Maestro.service("kafka", { retry, health: Kafka.health }))
const elasticsearch = Elasticsearch.layerConfig(configs.elasticsearch).pipe(
  Maestro.service("elasticsearch", { retry, health: Elasticsearch.health })
)
const archive = Archive.layerConfig(configs.archive).pipe(Maestro.service("archive", { retry, health: Archive.health }))
const sql = Sql.layerConfig(configs.sql).pipe(Maestro.service("sql", { retry, health: Sql.health }))

const topic = "stack"

/** One real operation on each: what was written is read, where the service can do that. */
const operations = Effect.gen(function* () {
  const memcached = yield* Memcached.Memcached
  const redis = yield* Redis.Redis
  const cassandra = yield* Cassandra.Cassandra
  const nats = yield* Nats.Nats
  const kafka = yield* Kafka.Kafka
  const elasticsearch = yield* Elasticsearch.Elasticsearch
  const archive = yield* Archive
  const { client: sql } = yield* Sql.Sql

  yield* Effect.ignore(kafka.use(({ admin }) => admin.createTopics({ topics: [topic] })))

  return {
    memcached: Effect.andThen(
      memcached.use((client) => client.set("stack", "1")),
      memcached.use((client) => client.get("stack"))
    ),
    redis: redis.use((client) => client.incr("stack")),
    cassandra: cassandra.use((client) => client.execute("select release_version from system.local")),
    nats: nats.use((client) => {
      client.publish("stack", "round")
      return client.flush()
    }),
    kafka: kafka.use(({ producer }) => producer.send({ messages: [{ topic, value: Buffer.from("round") }] })),
    elasticsearch: elasticsearch.use((client) => client.index({ index: "stack", id: "1", document: { round: true } })),
    archive: archive.use((client) => client.index({ index: "stack", id: "1", document: { round: true } })),
    sql: sql`select 1`
  }
})

/** Says of each service whether its operation has gone well. */
const round = (n: number, each: Effect.Success<typeof operations>) =>
  Effect.forEach(
    Object.entries<Effect.Effect<unknown, unknown>>(each),
    ([name, operation]) => Effect.map(Effect.exit(operation), (exit) => (Exit.isSuccess(exit) ? [] : [name])),
    { concurrency: "unbounded" }
  ).pipe(
    Effect.map((failed) => failed.flat()),
    Effect.flatMap((failed) =>
      Console.log(`round ${n}: ${failed.length === 0 ? "all well" : `without ${failed.join()}`}`)
    )
  )

const work = Layer.effectDiscard(
  Effect.gen(function* () {
    const rounds = yield* Config.Int("STACK_ROUNDS").pipe(Config.withDefault(Number.POSITIVE_INFINITY))
    const maestro = yield* Maestro.Maestro
    const each = yield* operations
    const working = Effect.gen(function* () {
      for (let n = 1; n <= rounds; n++) {
        yield* round(n, each)
        yield* Effect.sleep("1 second")
      }
      // Not waited for: it ends this very fiber.
      yield* Effect.forkDetach(maestro.stop)
    })
    yield* Effect.forkScoped(working)
  })
).pipe(Layer.provide([memcached, redis, cassandra, nats, kafka, elasticsearch, archive, sql]), Maestro.service("work"))

/** Outlives the services: tells what becomes of them, and draws and reports it at the end. */
const telling = Layer.effectDiscard(
  Effect.gen(function* () {
    const maestro = yield* Maestro.Maestro
    yield* Effect.addFinalizer(() =>
      Effect.gen(function* () {
        yield* Console.log(`\n${Maestro.toText(yield* maestro.report)}`)
        yield* Console.log(`\n${Maestro.toMermaid(yield* maestro.graph)}`)
      })
    )
    yield* maestro.events.pipe(
      Stream.filter(({ happening }) => happening._tag !== "Waiting" && happening._tag !== "Starting"),
      Stream.runForEach(({ happening, service, status }) =>
        Console.log(
          `${service}: ${happening._tag.toLowerCase()}${status.reason === undefined ? "" : `, ${status.reason}`}`
        )
      ),
      Effect.forkScoped({ startImmediately: true })
    )
  })
)

if (process.argv.includes("--variables")) {
  await Effect.runPromise(Effect.flatMap(Services.describeConfig(Object.values(configs)), Console.log))
} else {
  Maestro.runMain(work, { around: telling, stopTimeout: "15 seconds" })
}
