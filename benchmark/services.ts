/** What `use` adds to a call of a client, and what it takes to start all services at once. */
import { Context, Effect, Layer } from "effect"
import { Maestro } from "effect-ensemble"
import type { Services } from "effect-ensemble"
import { Cassandra } from "effect-ensemble/services/cassandra"
import { Elasticsearch } from "effect-ensemble/services/elasticsearch"
import { Kafka } from "effect-ensemble/services/kafka"
import { Memcached } from "effect-ensemble/services/memcached"
import { Nats } from "effect-ensemble/services/nats"
import { Redis } from "effect-ensemble/services/redis"
import { Sql } from "effect-ensemble/services/sql"
import * as CassandraServer from "../test/servers/cassandra.ts"
import * as ElasticsearchServer from "../test/servers/elasticsearch.ts"
import * as KafkaServer from "../test/servers/kafka.ts"
import * as MemcachedServer from "../test/servers/memcached.ts"
import * as NatsServer from "../test/servers/nats.ts"
import * as PostgresServer from "../test/servers/postgres.ts"
import * as RedisServer from "../test/servers/redis.ts"
import * as Proxy from "../test/faults/proxy.ts"
import type { Case, Measured as Rounds } from "./harness.ts"
import { interleaved, median, now, ratio } from "./harness.ts"
import type { Report } from "./report.ts"
import { digits, timesOf, verdict } from "./report.ts"

const servers = Effect.all(
  {
    memcached: MemcachedServer.single(),
    redis: RedisServer.single(),
    cassandra: CassandraServer.single(),
    nats: NatsServer.single(),
    kafka: KafkaServer.single(),
    elasticsearch: ElasticsearchServer.single(),
    postgres: PostgresServer.single()
  },
  { concurrency: 2 }
)

/** A network between the services and their servers, as between two data centers of a region. */
const oneWayMillis = 20

const far = (port: number) =>
  Effect.gen(function* () {
    const proxy = yield* Proxy.make({ upstream: { host: "127.0.0.1", port } })
    yield* proxy.delay(oneWayMillis)
    return proxy.port
  })

const portsOf = ({ cassandra, elasticsearch, memcached, nats, postgres, redis }: Effect.Success<typeof servers>) => ({
  cassandra: cassandra.port,
  elasticsearch: elasticsearch.port,
  memcached: memcached.port,
  nats: nats.port,
  postgres: postgres.port,
  redis: redis.port
})

type Failure = Services.ServiceUnavailable | Services.ServiceMisconfigured

/** One service, and a call of its client that the server answers. */
interface Measured {
  readonly name: string
  readonly layer: Layer.Layer<never, Failure>
  readonly cases: (context: Context.Context<never>) => ReadonlyArray<Case>
}

/** Calls in one round of one case. */
const calls = 200

const bare = (name: string) => `${name}, the client alone`
const through = (name: string) => `${name}, through use`

const measure = <Self, Client>(
  name: string,
  tag: Context.Key<Self, Services.Running<Client>>,
  layer: Layer.Layer<Self, Failure>,
  call: (client: Client) => Promise<unknown>
): Measured => ({
  name,
  // Only its cases look into what it provides, and they are given nothing else.
  layer: layer as Layer.Layer<never, Failure>,
  cases: (context) => {
    const { client, use } = Context.get(context as Context.Context<Self>, tag)
    return [
      {
        name: bare(name),
        round: Effect.promise(async () => {
          const taken: Array<number> = []
          for (let index = 0; index < calls; index++) {
            const start = now()
            await call(client)
            taken.push(now() - start)
          }
          return taken
        })
      },
      {
        name: through(name),
        round: Effect.gen(function* () {
          const taken: Array<number> = []
          for (let index = 0; index < calls; index++) {
            const start = now()
            yield* Effect.orDie(use(call))
            taken.push(now() - start)
          }
          return taken
        })
      }
    ]
  }
})

const measured = (ports: ReturnType<typeof portsOf>, kafka: string): ReadonlyArray<Measured> => [
  measure(
    "memcached",
    Memcached.Memcached,
    Memcached.layer({ addresses: [`127.0.0.1:${ports.memcached}`] }),
    (client) => client.get("key")
  ),
  measure("redis", Redis.Redis, Redis.layer({ url: `redis://127.0.0.1:${ports.redis}` }), (client) =>
    client.get("key")
  ),
  measure(
    "cassandra",
    Cassandra.Cassandra,
    Cassandra.layer({ addresses: [`127.0.0.1:${ports.cassandra}`] }),
    (client) => client.execute("select release_version from system.local")
  ),
  measure("nats", Nats.Nats, Nats.layer({ addresses: [`127.0.0.1:${ports.nats}`] }), (client) => client.flush()),
  measure("kafka", Kafka.Kafka, Kafka.layer({ addresses: [kafka] }), ({ admin }) => admin.listTopics()),
  measure(
    "elasticsearch",
    Elasticsearch.Elasticsearch,
    Elasticsearch.layer({ nodes: `http://127.0.0.1:${ports.elasticsearch}` }),
    (client) => client.cluster.health()
  ),
  measure("sql", Sql.Sql, Sql.layer({ url: `postgres://postgres@127.0.0.1:${ports.postgres}/postgres` }), (client) =>
    Effect.runPromise(client`select 1`)
  )
]

/** The time of a start that is stopped again. */
const startOf = <E>(layer: Layer.Layer<never, E>): Effect.Effect<number> =>
  Effect.gen(function* () {
    const start = now()
    const took = yield* Effect.scoped(Effect.map(Layer.build(layer), () => now() - start))
    return took
  }).pipe(Effect.orDie)

const everything = "all at once, in a Maestro"

const starts = (each: ReadonlyArray<Measured>): ReadonlyArray<Case> => {
  const wrapped = each.map(({ layer, name }) => Layer.orDie(Maestro.service(layer, name)))
  const all = Layer.mergeAll(Layer.empty, ...wrapped)
  return [
    ...each.map(({ layer, name }) => ({ name, round: Effect.map(startOf(layer), (took) => [took]) })),
    {
      name: everything,
      round: Effect.map(startOf(Layer.orDie(Maestro.boot(all).pipe(Layer.provide(Maestro.layer())))), (took) => [took])
    }
  ]
}

/** All at once, to the slowest alone. */
const togetherOf = (each: ReadonlyArray<Measured>, started: (name: string) => Rounds): number => {
  const alone = each.map(({ name }) => started(name))
  return ratio(
    started(everything),
    alone.reduce((one, other) => (other.p50 > one.p50 ? other : one))
  )
}

export const services: Effect.Effect<Report, unknown> = Effect.scoped(
  Effect.gen(function* () {
    const running = yield* servers
    const near = portsOf(running)
    const each = measured(near, running.kafka.broker)
    const started = yield* interleaved(starts(each), { rounds: 15 })
    const away = {
      cassandra: yield* far(near.cassandra),
      elasticsearch: yield* far(near.elasticsearch),
      memcached: yield* far(near.memcached),
      nats: yield* far(near.nats),
      postgres: yield* far(near.postgres),
      redis: yield* far(near.redis)
    }
    // Its brokers send clients on to their own address, so it stays near.
    const startedAway = yield* interleaved(starts(measured(away, running.kafka.broker)), { rounds: 9 })

    const context = yield* Effect.map(Effect.all(each.map(({ layer }) => Layer.build(layer))), (contexts) =>
      Context.mergeAll(...contexts)
    )
    const called = yield* interleaved(each.flatMap(({ cases }) => cases(context)))

    const together = togetherOf(each, started)
    const togetherAway = togetherOf(each, startedAway)
    const added = each.map(({ name }) => ratio(called(through(name)), called(bare(name))))
    return {
      name: "services",
      title: "Services",
      tables: [
        {
          title: `One call, the median of ${calls} in each round`,
          columns: ["service", "the client alone, µs", "through `use`, µs", "ratio"],
          rows: each.map(({ name }, index) => [
            name,
            digits(called(bare(name)).p50),
            digits(called(through(name)).p50),
            timesOf(added[index] ?? Number.NaN)
          ])
        },
        {
          title: "A start, until the server has answered, ms",
          columns: ["what", "on this machine", `${oneWayMillis} ms away (kafka here)`],
          rows: [...each.map(({ name }) => name), everything].map((name) => [
            name,
            digits(started(name).p50 / 1000),
            digits(startedAway(name).p50 / 1000)
          ])
        }
      ],
      verdicts: [
        verdict(
          "a call through `use` takes at most 1.1 x of the bare one",
          `${timesOf(Math.max(...added))} at the most, ${timesOf(median(added))} in the median`,
          Math.max(...added) <= 1.1
        ),
        verdict(
          "all at once take the time of the slowest plus 5 %",
          `${timesOf(togetherAway)} over a network, ${timesOf(together)} on this machine, where starting is work for one processor`,
          togetherAway <= 1.05
        )
      ]
    }
  })
)
