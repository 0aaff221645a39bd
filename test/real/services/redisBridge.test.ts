/** Effect's own Redis service over a service of ours: what it opens beside the client, and what becomes of that. */
import { assert, layer } from "@effect/vitest"
import { Cause, Context, Effect, Exit, Fiber, Layer, Option, Queue, Schedule, Schema, Scope } from "effect"
import { Redis } from "effect-ensemble/services/redis"
import { Persistable, Persistence, Redis as Effects } from "effect/persistence"
import * as Proxy from "../../faults/proxy.ts"
import * as Servers from "../../servers/redis.ts"
import { until } from "../../servers/until.ts"
import { bounds } from "./kit.ts"
import { heldTowards } from "./sockets.ts"

const password = "right-secret"

class Server extends Context.Service<Server, { readonly server: Servers.Redis; readonly proxy: Proxy.Proxy }>()(
  "test/Server"
) {
  static readonly layer = Layer.effect(
    Server,
    Effect.gen(function* () {
      const server = yield* Servers.single({ password })
      return { server, proxy: yield* Proxy.make({ upstream: server }) }
    })
  )
}

const holds = <E, R>(what: string, condition: Effect.Effect<boolean, E, R>) =>
  until(
    Effect.flatMap(condition, (it) => (it ? Effect.void : Effect.fail(what))),
    { within: "20 seconds" }
  )

class Jobs extends Redis.Service<Jobs>()("jobs") {}

/** A service in one scope, and the bridge in another that is closed before. */
const started = (pool: Effects.PoolOptions = {}) =>
  Effect.gen(function* () {
    const { proxy, server } = yield* Server
    yield* Effect.addFinalizer(() =>
      holds(
        "nothing is left",
        Effect.map(open, (held) => held === 0)
      ).pipe(Effect.orDie)
    )
    const open = heldTowards(proxy.port)
    const services = yield* Layer.build(Jobs.layer({ url: `redis://127.0.0.1:${proxy.port}/3`, password, ...bounds }))
    const scope = yield* Scope.make()
    yield* Effect.addFinalizer(() => Scope.close(scope, Exit.void))
    const own = yield* Layer.buildWithScope(Redis.layerPersistence(Jobs, pool), scope).pipe(Effect.provide(services))
    return {
      proxy,
      server,
      open,
      services,
      redis: Context.get(own, Effects.Redis),
      service: Context.get(services, Jobs),
      close: Scope.close(scope, Exit.void)
    }
  })

const failureOf = <A, E>(exit: Exit.Exit<A, E>): E => {
  assert(Exit.isFailure(exit), "it has to fail")
  return Option.getOrThrowWith(Cause.findErrorOption(exit.cause), () => new Error(Cause.pretty(exit.cause)))
}

const running = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.forkChild(Effect.exit(effect), { startImmediately: true })

/** Whether somebody waits for this list. */
const isAwaited = (redis: Effects.Redis["Service"]) =>
  Effect.map(redis.send<string>("CLIENT", "LIST"), (clients) => String(clients).includes("cmd=blpop"))

layer(Server.layer, { excludeTestServices: true, timeout: "60 seconds" })("Redis, as Effect's own", (it) => {
  it.effect("commands go over the client of the service, into its database", () =>
    Effect.gen(function* () {
      const { open, redis, service } = yield* started()
      assert.strictEqual(yield* redis.send("SET", "key", "value"), "OK")
      assert.strictEqual(yield* service.use((client) => client.get("key")), "value")
      assert.strictEqual(yield* open, 1)
      const error = yield* Effect.flip(redis.send("NONSENSE"))
      assert.instanceOf(error, Effects.RedisError)
      assert.include(String(error.cause), "unknown command")
    })
  )

  it.effect("scripts run, also when the server has forgotten them", () =>
    Effect.gen(function* () {
      const { redis } = yield* started()
      const script = Effects.script((key: string, value: number) => [key, value], {
        lua: `redis.call("SET", KEYS[1], ARGV[1]) return redis.call("INCR", KEYS[1])`,
        numberOfKeys: 1
      }).withReturnType<number>()
      assert.strictEqual(yield* redis.eval(script)("counter", 1), 2)
      yield* redis.send("SCRIPT", "FLUSH")
      assert.strictEqual(yield* redis.eval(script)("counter", 5), 6)
    })
  )

  it.effect("a blocking command has a connection of its own, which is closed when nobody waits for it", () =>
    Effect.gen(function* () {
      const { open, redis } = yield* started()
      const fiber = yield* Effect.forkChild(
        Effect.scoped(Effect.flatMap(redis.reserve, (own) => own.send("BLPOP", "nothing", "0")))
      )
      yield* holds("it waits", isAwaited(redis))
      assert.strictEqual(yield* open, 2)
      yield* Fiber.interrupt(fiber)
      yield* holds(
        "its connection is closed",
        Effect.map(open, (held) => held === 1)
      )
      yield* holds(
        "nobody waits",
        Effect.map(isAwaited(redis), (it) => !it)
      )
    })
  )

  it.effect("a connection that is given back is used again, and one that broke is not", () =>
    Effect.gen(function* () {
      const { open, redis } = yield* started({ maxConnections: 1 })
      const id = Effect.scoped(Effect.flatMap(redis.reserve, (own) => own.send<number>("CLIENT", "ID")))
      const first = yield* id
      assert.strictEqual(yield* id, first)
      yield* redis.send("CLIENT", "KILL", "ID", String(first))
      const second = yield* Effect.retry(id, Schedule.spaced("50 millis").pipe(Schedule.upTo({ times: 50 })))
      assert.notStrictEqual(second, first)
      assert.strictEqual(yield* open, 2)
    })
  )

  it.effect("all that is open ends with the layer, and what runs over it fails", () =>
    Effect.gen(function* () {
      const { close, open, redis } = yield* started()
      const scope = yield* Scope.make()
      const queue = yield* Scope.provide(redis.subscribe("news"), scope)
      const own = yield* Scope.provide(redis.reserve, scope)
      const waiting = yield* running(own.send("BLPOP", "nothing", "0"))
      const hearing = yield* running(Queue.take(queue))
      yield* holds("it waits", isAwaited(redis))
      assert.strictEqual(yield* open, 3)
      const closing = yield* Effect.forkChild(close)
      assert.instanceOf(failureOf(yield* Fiber.join(waiting)), Effects.RedisError)
      yield* holds(
        "only the service's own is left",
        Effect.map(open, (held) => held === 1)
      )
      assert.instanceOf(failureOf(yield* Effect.timeout(Fiber.join(hearing), "20 seconds")), Effects.RedisError)
      yield* Scope.close(scope, Exit.void)
      yield* Fiber.join(closing)
    })
  )

  it.effect("a connection that is being made is cut with the layer", () =>
    Effect.gen(function* () {
      const { close, open, proxy, redis } = yield* started()
      yield* Effect.ensuring(
        Effect.gen(function* () {
          yield* proxy.blackhole
          const reserving = yield* running(Effect.scoped(redis.reserve))
          const scope = yield* Scope.make()
          const subscribing = yield* running(Scope.provide(redis.subscribe("news"), scope))
          yield* holds(
            "they connect",
            Effect.map(open, (held) => held >= 3)
          )
          const closing = yield* Effect.forkChild(close)
          assert.isTrue(Exit.isFailure(yield* Effect.timeout(Fiber.join(reserving), "2 seconds")))
          yield* Scope.close(scope, Exit.void)
          yield* Effect.timeout(Fiber.join(subscribing), "2 seconds")
          yield* Effect.timeout(Fiber.join(closing), "2 seconds")
          yield* holds(
            "only the service's own are left",
            Effect.map(open, (held) => held <= 1)
          )
        }),
        Effect.andThen(proxy.cut, proxy.heal)
      )
    })
  )

  it.effect("a connection that has only begun is cut as well, at whatever point", () =>
    Effect.gen(function* () {
      const { open, services } = yield* started()
      for (let steps = 0; steps < 20; steps++) {
        const scope = yield* Scope.make()
        const bridge = yield* Layer.buildWithScope(Redis.layerPersistence(Jobs), scope).pipe(Effect.provide(services))
        const { reserve, subscribe } = Context.get(bridge, Effects.Redis)
        const reserving = yield* running(Effect.scoped(reserve))
        const subscribing = yield* running(Effect.scoped(Effect.flatMap(subscribe("news"), Queue.take)))
        yield* Effect.repeat(Effect.yieldNow, { times: steps })
        yield* Fiber.interrupt(subscribing)
        yield* Scope.close(scope, Exit.void)
        yield* Effect.timeout(Fiber.join(reserving), "10 seconds")
      }
      yield* holds(
        "only the service's own is left",
        Effect.map(open, (held) => held === 1)
      )
    })
  )

  it.effect("a subscriber hears, and hears again after its connection broke", () =>
    Effect.gen(function* () {
      const { open, proxy, redis } = yield* started()
      const again = Effect.retry(redis.send<number>("PUBLISH", "news", "more"), Schedule.spaced("50 millis"))
      const scope = yield* Scope.make()
      const queue = yield* Scope.provide(redis.subscribe("news"), scope)
      yield* redis.send("PUBLISH", "news", "one")
      assert.deepStrictEqual(yield* Queue.take(queue), { channel: "news", message: "one" })
      yield* proxy.cut
      yield* holds(
        "somebody hears",
        Effect.map(again, (heard) => heard === 1)
      )
      assert.strictEqual((yield* Queue.take(queue)).message, "more")
      assert.strictEqual(yield* open, 2)
      yield* Scope.close(scope, Exit.void)
      assert.strictEqual(yield* open, 1)
    })
  )

  it.effect("a subscriber whose connection has fallen silent gets another", () =>
    Effect.gen(function* () {
      const { proxy, redis } = yield* started()
      const queue = yield* redis.subscribe("news")
      for (const word of ["one", "two"]) {
        yield* redis.send("PUBLISH", "news", word)
        assert.strictEqual((yield* Queue.take(queue)).message, word)
      }
      yield* proxy.halfOpen
      const publish = Effect.retry(redis.send("PUBLISH", "news", "heard"), Schedule.spaced("50 millis"))
      const hearing = Effect.timeoutOption(Queue.take(queue), "200 millis")
      yield* holds("it hears", Effect.map(Effect.andThen(publish, hearing), Option.isSome))
    })
  )

  it.effect("a subscription that cannot begin is told, and leaves nothing", () =>
    Effect.gen(function* () {
      const { open, proxy, redis } = yield* started()
      yield* proxy.refuse
      const queue = yield* redis.subscribe("news")
      assert.instanceOf(yield* Effect.flip(Queue.take(queue)), Effects.RedisError)
      yield* proxy.heal
      yield* holds(
        "only the service's own is left",
        Effect.map(open, (held) => held === 1)
      )
    })
  )

  it.effect("Effect's persistence runs on it", () =>
    Effect.gen(function* () {
      class Name extends Persistable.Class<{ readonly payload: { readonly id: number } }>()("Name", {
        primaryKey: ({ id }) => String(id),
        success: Schema.String
      }) {}
      const { redis } = yield* started()
      const stored = yield* Persistence.Persistence.use((all) =>
        Effect.gen(function* () {
          const store = yield* all.make({ storeId: "names" })
          yield* store.set(new Name({ id: 1 }), Exit.succeed("one"))
          return yield* store.get(new Name({ id: 1 }))
        })
      ).pipe(Effect.provide(Persistence.layerRedis), Effect.provideService(Effects.Redis, redis))
      assert.deepStrictEqual(stored, Exit.succeed("one"))
    })
  )
})
