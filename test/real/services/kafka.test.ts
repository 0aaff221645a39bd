import { assert, describe, it } from "@effect/vitest"
import type { Services } from "effect-ensemble"
import { Clock, Effect, Exit, Fiber, Queue, Schedule, Scope, Stream } from "effect"
import { Kafka } from "effect-ensemble/services/kafka"
import { Buffer } from "node:buffer"
import * as Proxy from "../../faults/proxy.ts"
import * as Servers from "../../servers/kafka.ts"
import { freePorts } from "../../servers/ports.ts"
import { until } from "../../servers/until.ts"
import * as Kit from "./kit.ts"
import { heldTowards } from "./sockets.ts"

type Running = Services.Running<Kafka.Client>

const password = "right-secret"
const topic = "values"
const address = (port: number) => `127.0.0.1:${port}`
const login = { username: "ensemble", password }
const reader = { groupId: "readers", topics: [topic] }

const consumerOf = ({ consumer }: Kafka.Client) => {
  assert(consumer !== undefined)
  return consumer
}

/** Clients go to the address that a broker names, so it names that of the network in front of it. */
const serve: Effect.Effect<Kit.Served, unknown, Scope.Scope> = Effect.gen(function* () {
  let proxy: Proxy.Proxy | undefined
  const server = yield* Servers.single({
    password,
    advertise: (port) =>
      Effect.map(Proxy.make({ upstream: { host: "127.0.0.1", port } }), (made) => {
        proxy = made
        return made.port
      })
  })
  assert(proxy !== undefined)
  yield* Effect.scoped(
    Effect.flatMap(Kafka.make({ addresses: [address(proxy.port)], ...login }), ({ use }) =>
      use(({ admin }) => admin.createTopics({ topics: [topic], partitions: 2, replicas: 1 }))
    )
  )
  return { server, proxy }
})

describe("Kafka", () => {
  // One server for all: it takes long to start.
  const scope = Effect.runSync(Scope.make())
  const served = Effect.runSync(Effect.cached(Scope.provide(serve, scope)))

  Kit.cases<Kafka.Kafka>({
    name: "kafka",
    // It says who it is while it is still choosing who leads which partition.
    answersBeforeItServes: true,
    serve: served,
    layer: (port, bounds) => Kafka.layer({ addresses: [address(port)], ...login, ...reader, ...bounds }),
    health: Kafka.health,
    operate: Kafka.Kafka.use(({ use }) =>
      Effect.andThen(
        use(({ producer }) => producer.send({ messages: [{ topic, value: Buffer.from("value") }] })),
        use((client) => consumerOf(client).listOffsets({ topics: [topic] }))
      )
    ),
    refused: (port, bounds) =>
      Kafka.layer({ addresses: [address(port)], username: "ensemble", password: "wrong-secret", ...bounds }),
    configured: (prefix) => Kafka.layerConfig(Kafka.config(prefix)),
    variables: (port, prefix) => ({
      [`${prefix}_ADDRS`]: address(port),
      [`${prefix}_USERNAME`]: "ensemble",
      [`${prefix}_PASSWORD`]: password,
      [`${prefix}_CONS_GROUP_ID`]: "readers",
      [`${prefix}_CONS_TOPICS`]: topic
    }),
    unusable: (port, prefix) => ({
      [`${prefix}_ADDRS`]: `127.0.0.1:${port}:1`,
      [`${prefix}_PROD_COMPRESSION`]: "rar",
      [`${prefix}_TIMEOUT_CONNECT`]: "soon"
    }),
    program: "kafka.ts"
  })

  const test = (name: string, run: (served: Kit.Served) => Effect.Effect<void, unknown, Scope.Scope>): void =>
    it.live(name, () =>
      Effect.gen(function* () {
        const given = yield* served
        yield* Effect.ensuring(
          Effect.scoped(run(given)),
          Effect.gen(function* () {
            yield* given.proxy.heal
            if (!given.server.isRunning()) yield* Effect.orDie(given.server.start)
          })
        )
        assert.strictEqual(yield* heldTowards(given.proxy.port), 0, "no socket is left")
      })
    )

  const started = (port: number, more: Kafka.Options = {}) =>
    Kafka.make({ addresses: [address(port)], ...login, ...Kit.bounds, ...more })

  /** A topic that nobody else uses, and the settings of somebody who reads it from its beginning. */
  const fresh = (kafka: Running, name: string) =>
    Effect.as(
      kafka.use(({ admin }) => admin.createTopics({ topics: [name], partitions: 1, replicas: 1 })),
      { groupId: name, topics: [name], offsetInitial: "earliest" } as const
    )
  const send = (kafka: Running, to: string, values: Iterable<string>) =>
    kafka.use(({ producer }) =>
      producer.send({ messages: Array.from(values, (value) => ({ topic: to, value: Buffer.from(value) })) })
    )
  const textOf = ({ value }: Kafka.Message) => value.toString()
  const numbers = (from: number, to: number) =>
    Array.from({ length: to - from + 1 }, (_, index) => String(from + index))
  const members = (kafka: Running, group: string) =>
    Effect.map(
      kafka.use(({ admin }) => admin.describeGroups({ groups: [group] })),
      (groups) => groups.get(group)?.members.size ?? 0
    )
  const eventually = (what: string, condition: Effect.Effect<boolean, unknown>) =>
    until(
      Effect.filterOrFail(
        condition,
        (holds) => holds,
        () => what
      ),
      { within: "20 seconds" }
    )

  test("messages that are being sent at a stop are sent", ({ proxy }) =>
    Effect.gen(function* () {
      const own = yield* Scope.make()
      const kafka = yield* Scope.provide(
        started(proxy.port, { callTimeout: "5 seconds", closeTimeout: "5 seconds" }),
        own
      )
      const { topics } = yield* fresh(kafka, "in-flight")
      yield* send(kafka, topics[0], ["first"])
      yield* proxy.delay(100)
      const sending = yield* Effect.forEach(numbers(1, 5), (value) =>
        Effect.forkChild(Effect.exit(send(kafka, topics[0], [value])), { startImmediately: true })
      )
      yield* Scope.close(own, Exit.void)
      const exits = yield* Effect.forEach(sending, Fiber.join)
      assert.deepStrictEqual(exits.filter(Exit.isFailure), [])
      yield* proxy.heal
      const { use } = yield* started(proxy.port, { groupId: "any", topics })
      const ends = yield* use((client) => consumerOf(client).listOffsets({ topics: [...topics] }))
      assert.deepStrictEqual(ends.get(topics[0]), [6n])
    }))

  test("what a producer's stream holds at a stop is sent", ({ proxy }) =>
    Effect.gen(function* () {
      const observer = yield* started(proxy.port, { groupId: "any", topics: ["held"] })
      yield* fresh(observer, "held")
      yield* Effect.scoped(
        Effect.map(started(proxy.port, { closeTimeout: "5 seconds" }), ({ client }) =>
          client.producer.asStream({ batchTime: 60_000 }).write({ topic: "held", value: Buffer.from("value") })
        )
      )
      const ends = yield* observer.use((client) => consumerOf(client).listOffsets({ topics: ["held"] }))
      assert.deepStrictEqual(ends.get("held"), [1n])
    }))

  test("a member reads, commits behind what it has processed, and leaves when it ends", ({ proxy }) =>
    Effect.gen(function* () {
      const observer = yield* started(proxy.port)
      const reads = yield* fresh(observer, "orders")
      yield* send(observer, "orders", numbers(1, 20))
      const first: Array<string> = []
      const failure = yield* Effect.scoped(
        Effect.flatMap(started(proxy.port, reads), (kafka) =>
          Effect.flip(
            Kafka.consume(kafka, (message) =>
              textOf(message) === "11"
                ? Effect.fail("enough" as const)
                : Effect.sync(() => void first.push(textOf(message)))
            )
          )
        )
      )
      assert.strictEqual(failure, "enough")
      assert.deepStrictEqual(first, numbers(1, 10))
      assert.strictEqual(yield* members(observer, "orders"), 0)

      const kafka = yield* started(proxy.port, reads)
      const rest = yield* Kafka.messages(kafka).pipe(Stream.take(10), Stream.runCollect)
      assert.deepStrictEqual(rest.map(textOf), numbers(11, 20))
      // The service goes on, and others of the group are not kept waiting for a member that reads nothing.
      assert.strictEqual(yield* members(observer, "orders"), 0)
      const again = yield* Kafka.messages(kafka).pipe(Stream.take(1), Stream.runCollect)
      assert.deepStrictEqual(again.map(textOf), ["11"], "what was not committed comes again")
    }))

  test("what is processed is committed while it goes on", ({ proxy }) =>
    Effect.gen(function* () {
      const observer = yield* started(proxy.port)
      const reads = yield* fresh(observer, "ticks")
      yield* send(observer, "ticks", numbers(1, 3))
      const kafka = yield* started(proxy.port, { ...reads, commitInterval: "100 millis" })
      yield* Effect.forkChild(Kafka.consume(kafka, () => Effect.void))
      yield* eventually(
        "the group's offset is 3",
        Effect.map(
          observer.use(({ admin }) => admin.listConsumerGroupOffsets({ groups: ["ticks"] })),
          (groups) =>
            JSON.stringify(groups, (_, value) => (typeof value === "bigint" ? `${value}n` : value)).includes('"3n"')
        )
      )
    }))

  test("a slow reader makes the client fetch no more", ({ proxy }) =>
    Effect.gen(function* () {
      const observer = yield* started(proxy.port)
      const reads = yield* fresh(observer, "flood")
      const large = "x".repeat(10_000)
      const flood = Effect.repeat(
        send(
          observer,
          "flood",
          Array.from({ length: 100 }, () => large)
        ),
        { times: 19 }
      )
      yield* flood
      const kafka = yield* started(proxy.port, reads)
      const arrived = yield* Queue.make<Kafka.Message>()
      yield* Kafka.messages(kafka).pipe(
        Stream.runForEach((message) => Effect.andThen(Queue.offer(arrived, message), Effect.never)),
        Effect.forkChild
      )
      yield* Queue.take(arrived)
      const before = (yield* proxy.counters).down
      yield* flood
      assert.isBelow((yield* proxy.counters).down - before, 1_000_000, "of 20 megabytes")
    }))

  test("a reader whose brokers die fails, and reads on when they are back", ({ proxy, server }) =>
    Effect.gen(function* () {
      const kafka = yield* started(proxy.port, {
        groupId: "survivors",
        topics: ["survivors"],
        offsetInitial: "earliest"
      })
      yield* fresh(kafka, "survivors")
      const seen = new Set<string>()
      let failures = 0
      yield* Kafka.consume(kafka, (message) => Effect.sync(() => void seen.add(textOf(message)))).pipe(
        Effect.tapError(() => Effect.sync(() => void failures++)),
        Effect.retry(Schedule.spaced("200 millis")),
        Effect.forkChild
      )
      yield* send(kafka, "survivors", ["before"])
      yield* eventually(
        "the first message comes",
        Effect.sync(() => seen.has("before"))
      )
      yield* server.kill
      yield* proxy.cut
      yield* eventually(
        "it fails",
        Effect.sync(() => failures > 0)
      )
      yield* server.start
      yield* until(send(kafka, "survivors", ["after"]), { within: "20 seconds" })
      yield* eventually(
        "the second message comes",
        Effect.sync(() => seen.has("after"))
      )
    }))

  test("a member that waits for its group ends at once when nobody wants it any more", ({ proxy }) =>
    Effect.gen(function* () {
      const kafka = yield* started(proxy.port, { ...reader, groupId: "impatient" })
      yield* proxy.blackhole
      const reading = yield* Effect.forkChild(
        Kafka.consume(kafka, () => Effect.void),
        { startImmediately: true }
      )
      const before = yield* Clock.currentTimeMillis
      yield* Fiber.interrupt(reading)
      assert.isBelow((yield* Clock.currentTimeMillis) - before, 1000)
    }))

  test("a member of a group that is frozen does not hold up the stop", ({ proxy, server }) =>
    Effect.gen(function* () {
      const own = yield* Scope.make()
      const { use } = yield* Scope.provide(started(proxy.port, { ...reader, groupId: "native" }), own)
      const source = yield* use((client) => consumerOf(client).consume(client.subscription))
      source.on("data", () => undefined)
      yield* server.pause
      yield* Scope.close(own, Exit.void)
      assert.strictEqual(yield* heldTowards(proxy.port), 0)
      yield* server.resume
      assert.isTrue(source.destroyed)
    }))

  test("a stream of the client that fails unheard of ends nothing else", ({ proxy, server }) =>
    Effect.gen(function* () {
      const { use } = yield* started(proxy.port, { ...reader, groupId: "unheard" })
      const source = yield* use((client) => consumerOf(client).consume(client.subscription))
      source.on("data", () => undefined)
      yield* server.kill
      yield* proxy.cut
      yield* eventually(
        "it fails",
        Effect.sync(() => source.errored !== null)
      )
    }))

  test("a broker that does not answer is passed over", ({ proxy }) =>
    Effect.gen(function* () {
      const [port = 0] = yield* freePorts(1)
      const silent = yield* Proxy.make({ upstream: { host: "127.0.0.1", port } })
      yield* silent.blackhole
      const { health } = yield* started(proxy.port, { addresses: [address(silent.port), address(proxy.port)] })
      yield* health
    }))

  test("settings without a group have no consumer, and reading says so", ({ proxy }) =>
    Effect.gen(function* () {
      const kafka = yield* started(proxy.port)
      assert.isUndefined(kafka.client.consumer)
      const error = yield* Effect.flip(Stream.runDrain(Kafka.messages(kafka)))
      assert.include(error.message, "group")
    }))

  it.live("the broker ends", () => Scope.close(scope, Exit.void))
})
