import { Client as ElasticsearchClient } from "@elastic/elasticsearch"
import { assert, describe, it } from "@effect/vitest"
import type { Scope } from "effect"
import { Effect, Fiber, Option } from "effect"
import { Consumer, Producer, stringDeserializers, stringSerializers } from "@platformatic/kafka"
import { Client as CassandraClient } from "cassandra-driver"
import { inspect } from "node:util"
import * as Cassandra from "../servers/cassandra.ts"
import * as Elasticsearch from "../servers/elasticsearch.ts"
import * as Kafka from "../servers/kafka.ts"
import type { Process } from "../servers/process.ts"
import { until } from "../servers/until.ts"

/** Besides the start of a server, that of its provision: whoever needs one first fetches it. */
const patiently = { timeout: 400_000 }

interface Refused {
  readonly message: string
}

/** The reason may be deep in what it caused. */
const promised = <A>(promise: () => Promise<A>): Effect.Effect<A, Refused> =>
  Effect.tryPromise({ try: promise, catch: (error) => ({ message: inspect(error, { depth: 8 }) }) })

/** A client as programs have one. */
interface Client {
  readonly write: (value: string) => Effect.Effect<unknown, Refused>
  /** All that was ever written. */
  readonly read: Effect.Effect<ReadonlyArray<string>, Refused>
}

type Connect = Effect.Effect<Client, Refused, Scope.Scope>

type Server = Process & { readonly connections: Effect.Effect<number> }

const connectionsAre = (server: Server, are: (count: number) => boolean) =>
  until(
    Effect.filterOrFail(server.connections, are, (count) => ({ message: `${count} connections` })),
    { within: "20 seconds" }
  )

/** What a server of a test must be able to do, seen by a client of its own. */
const verify = Effect.fnUntraced(function* (server: Server, connect: Connect) {
  const onItsOwn = <A>(use: (client: Client) => Effect.Effect<A, Refused>) =>
    Effect.scoped(Effect.flatMap(connect, use))
  yield* connectionsAre(server, (count) => count === 0)
  yield* Effect.scoped(
    Effect.gen(function* () {
      const client = yield* connect
      yield* client.write("a")
      assert.deepStrictEqual(yield* client.read, ["a"])
      yield* connectionsAre(server, (count) => count > 0)
    })
  )
  yield* connectionsAre(server, (count) => count === 0)

  yield* onItsOwn(({ write }) => write("b"))
  const first = server.pid()
  yield* server.kill
  assert.isFalse(server.isRunning())
  assert.strictEqual(yield* server.connections, 0)
  yield* server.start
  assert.notStrictEqual(server.pid(), first)
  assert.deepStrictEqual(yield* onItsOwn(({ read }) => read), ["a", "b"])

  yield* onItsOwn(({ read, write }) =>
    Effect.gen(function* () {
      yield* read
      yield* server.pause
      const writing = yield* Effect.forkChild(Effect.exit(write("c")), { startImmediately: true })
      // That nobody answers shows in nothing that can be waited for.
      assert.isTrue(Option.isNone(yield* Effect.timeoutOption(Fiber.join(writing), "300 millis")))
      assert.isTrue(server.isRunning())
      assert.isAbove(yield* server.connections, 0)
      yield* server.resume
      yield* server.ready
      yield* Fiber.join(writing)
    })
  )
  assert.deepStrictEqual((yield* onItsOwn(({ read }) => read)).slice(0, 3), ["a", "b", "c"])
})

const topic = "words"

const connectToKafka = ({ broker, username }: Kafka.Kafka, password?: string): Connect =>
  Effect.gen(function* () {
    const options = {
      clientId: "test",
      bootstrapBrokers: [broker],
      autocreateTopics: true,
      ...(password === undefined ? {} : { sasl: { mechanism: "PLAIN" as const, username, password } })
    }
    const producer = yield* Effect.acquireRelease(
      Effect.sync(() => new Producer({ ...options, serializers: stringSerializers })),
      (producer) => Effect.ignore(promised(() => producer.close(true)))
    )
    let groups = 0
    const consumer = Effect.acquireRelease(
      Effect.sync(() => new Consumer({ ...options, groupId: `group-${++groups}`, deserializers: stringDeserializers })),
      (consumer) => Effect.ignore(promised(() => consumer.close(true)))
    )
    const client: Client = {
      write: (value) => promised(() => producer.send({ messages: [{ topic, value }] })),
      read: Effect.scoped(
        Effect.gen(function* () {
          const one = yield* consumer
          const [end = 0n] = (yield* promised(() => one.listOffsets({ topics: [topic] }))).get(topic) ?? []
          const stream = yield* promised(() => one.consume({ topics: [topic], mode: "earliest", maxWaitTime: 100 }))
          return yield* Effect.callback<ReadonlyArray<string>, Refused>((resume) => {
            const values: Array<string> = []
            stream.on("error", ({ message }: Error) => resume(Effect.fail({ message })))
            stream.on("data", ({ value }: { readonly value: string }) => {
              if (values.push(value) === Number(end)) resume(Effect.succeed(values))
            })
          })
        })
      )
    }
    return client
  })

const connectToCassandra = (server: Cassandra.Cassandra, password = server.password): Connect =>
  Effect.gen(function* () {
    const client = yield* Effect.acquireRelease(
      Effect.sync(
        () =>
          new CassandraClient({
            contactPoints: [`${server.host}:${server.port}`],
            localDataCenter: server.datacenter,
            credentials: { username: server.username, password }
          })
      ),
      (client) => Effect.ignore(promised(() => client.shutdown()))
    )
    const execute = (query: string, values: ReadonlyArray<string> = []) =>
      promised(() => client.execute(query, [...values], { prepare: true }))
    yield* execute(
      `CREATE KEYSPACE IF NOT EXISTS test WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}`
    )
    yield* execute("CREATE TABLE IF NOT EXISTS test.words (part text, word text, PRIMARY KEY (part, word))")
    return {
      write: (value) => execute("INSERT INTO test.words (part, word) VALUES ('all', ?)", [value]),
      read: Effect.map(execute("SELECT word FROM test.words WHERE part = 'all'"), ({ rows }) =>
        rows.map((row) => String(row["word"]))
      )
    }
  })

const connectToElasticsearch = ({ url }: Elasticsearch.Elasticsearch, version: Elasticsearch.Version): Connect =>
  Effect.gen(function* () {
    // It asks for the API of its own version unless it is told not to ask for any.
    const json = "application/json"
    const headers = version === "9" ? {} : { headers: { accept: json, "content-type": json } }
    const client = yield* Effect.acquireRelease(
      Effect.sync(() => new ElasticsearchClient({ node: url, ...headers })),
      (client) => Effect.ignore(promised(() => client.close()))
    )
    assert.isTrue(yield* promised(() => client.ping()))
    return {
      write: (word) => promised(() => client.index({ index: "words", document: { word }, refresh: true })),
      read: Effect.map(
        promised(() => client.search<{ readonly word: string }>({ index: "words" })),
        ({ hits }) => hits.hits.flatMap(({ _source }) => (_source === undefined ? [] : [_source.word])).sort()
      )
    }
  })

describe("Kafka", () => {
  it.live(
    "serves, and keeps its data through SIGKILL",
    () =>
      Effect.gen(function* () {
        const server = yield* Kafka.single()
        yield* verify(server, connectToKafka(server))
      }),
    patiently
  )

  it.live(
    "asks for a password",
    () =>
      Effect.gen(function* () {
        const server = yield* Kafka.single({ password: "open sesame" })
        const client = yield* connectToKafka(server, "open sesame")
        yield* client.write("a")
        assert.deepStrictEqual(yield* client.read, ["a"])
        const other = yield* connectToKafka(server, "close sesame")
        assert.match((yield* Effect.flip(other.write("b"))).message, /authentication/i)
      }),
    patiently
  )
})

describe("Cassandra", () => {
  it.live(
    "serves, and keeps its data through SIGKILL",
    () =>
      Effect.gen(function* () {
        const server = yield* Cassandra.single()
        yield* verify(server, connectToCassandra(server))
      }),
    patiently
  )

  it.live(
    "asks for a password",
    () =>
      Effect.gen(function* () {
        const server = yield* Cassandra.single({ authenticated: true })
        yield* (yield* connectToCassandra(server)).write("a")
        const refused = yield* Effect.flip(Effect.scoped(connectToCassandra(server, "close sesame")))
        assert.match(refused.message, /credentials|password/i)
      }),
    patiently
  )
})

describe("Elasticsearch", () => {
  it.live.each(["8", "9"] as const)(
    "of version %s serves, and keeps its data through SIGKILL",
    (version) =>
      Effect.gen(function* () {
        const server = yield* Elasticsearch.single({ version })
        yield* verify(server, connectToElasticsearch(server, version))
      }),
    patiently
  )
})
