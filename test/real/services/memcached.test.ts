import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Scope, Stream } from "effect"
import { Maestro } from "effect-ensemble"
import { Memcached } from "effect-ensemble/services/memcached"
import * as Proxy from "../../faults/proxy.ts"
import * as Servers from "../../servers/memcached.ts"
import { until } from "../../servers/until.ts"
import * as Kit from "./kit.ts"
import { heldTowards } from "./sockets.ts"

const username = "ensemble"
const password = "right-secret"
const at = (port: number) => `127.0.0.1:${port}`

describe("Memcached", () => {
  Kit.cases<Memcached.Memcached>({
    name: "memcached",
    serve: Kit.behind(Servers.single({ password })),
    layer: (port, bounds) => Memcached.layer({ addresses: [at(port)], username, password, ...bounds }),
    health: Memcached.health,
    operate: Memcached.Memcached.use(({ use }) =>
      Effect.andThen(
        use((client) => client.set("key", "value")),
        Effect.map(
          use((client) => client.get("key")),
          (value) => assert.strictEqual(value, "value")
        )
      )
    ),
    refused: (port, bounds) =>
      Memcached.layer({ addresses: [at(port)], username, password: "wrong-secret", ...bounds }),
    configured: (prefix) => Memcached.layerConfig(Memcached.config(prefix)),
    variables: (port, prefix) => ({
      [`${prefix}_ADDRS`]: at(port),
      [`${prefix}_USERNAME`]: username,
      [`${prefix}_PASSWORD`]: password
    }),
    unusable: (port, prefix) => ({
      [`${prefix}_ADDRS`]: `${at(port)},nowhere:0`,
      [`${prefix}_TIMEOUT_RW`]: "soon"
    }),
    program: "memcached.ts"
  })
})

/** Two servers, each behind a network of its own. */
const two = Effect.all([Kit.behind(Servers.single()), Kit.behind(Servers.single())])

/** The client's hash tells texts apart by their beginnings: those that end differently live together. */
const keys = Array.from({ length: 50 }, (_, index) => `${index}-key`)

describe("several addresses", () => {
  it.live("a start proves each of them", () =>
    Effect.gen(function* () {
      const [one, other] = yield* two
      const addresses = [at(one.proxy.port), at(other.proxy.port)]
      yield* other.proxy.refuse
      const error = yield* Effect.flip(Effect.scoped(Memcached.make({ addresses, ...Kit.bounds })))
      assert.strictEqual(error._tag, "ServiceUnavailable")
      assert.include(error.message, addresses.join())
      assert.strictEqual(yield* heldTowards(one.proxy.port), 0)
      yield* other.proxy.heal
      yield* Effect.scoped(Memcached.make({ addresses, ...Kit.bounds }))
    }).pipe(Effect.scoped)
  )

  it.live("one that is lost degrades the service, and the others' keys are served", () =>
    Effect.gen(function* () {
      const [one, other] = yield* two
      const addresses = [at(one.proxy.port), at(other.proxy.port)]
      const program = yield* Maestro.make(
        Maestro.service(Memcached.layer({ addresses, ...Kit.bounds }), "cache", { health: Memcached.health })
      )
      yield* Effect.addFinalizer(() => Effect.ignore(program.stop))
      const { use } = yield* Memcached.Memcached.pipe(Effect.provide(yield* program.start))
      const handle = yield* Effect.flatMap(program.current, Effect.fromOption)
      const seen: Array<string> = []
      yield* handle.events.pipe(
        Stream.runForEach(({ happening }) => Effect.sync(() => void seen.push(happening._tag))),
        Effect.forkScoped
      )
      const set = (key: string) => Effect.exit(use((client) => client.set(key, "value")))
      const has = (tag: string) =>
        until(
          Effect.suspend(() => (seen.includes(tag) ? Effect.void : Effect.fail(`no ${tag} in ${seen.join()}`))),
          { within: "20 seconds" }
        )

      assert.isTrue((yield* Effect.forEach(keys, set)).every(Exit.isSuccess))
      yield* other.server.kill
      yield* other.proxy.cut
      yield* has("Degraded")
      const calls = yield* Effect.forEach(keys, set)
      assert.isTrue(calls.some(Exit.isSuccess) && calls.some(Exit.isFailure), "some live there and some do not")
      yield* other.server.start
      yield* has("Recovered")
      assert.isTrue((yield* Effect.forEach(keys, set)).every(Exit.isSuccess))
    }).pipe(Effect.scoped)
  )
})

/** A server behind a proxy, and a client of it. */
const served = Effect.gen(function* () {
  const server = yield* Servers.single()
  const proxy = yield* Proxy.make({ upstream: { host: server.host, port: server.port } })
  return { server, proxy, addresses: [at(proxy.port)] }
})

describe("its connections", () => {
  it.live("are opened once for all who wait for one", () =>
    Effect.gen(function* () {
      const { addresses, proxy } = yield* served
      const { use } = yield* Memcached.make({ addresses, ...Kit.bounds, probeInterval: "1 minute" })
      yield* proxy.cut
      const calls = Effect.forEach(keys, (key) => Effect.exit(use((client) => client.set(key, key))), {
        concurrency: "unbounded"
      })
      // Those that find out that it was cut may fail.
      yield* calls
      assert.isTrue((yield* calls).every(Exit.isSuccess))
      // One that nobody closes stays; the one that was cut may be on its way out.
      yield* until(
        Effect.flatMap(heldTowards(proxy.port), (held) => (held === 1 ? Effect.void : Effect.fail(`${held} sockets`))),
        { within: "5 seconds" }
      )
    }).pipe(Effect.scoped)
  )

  it.live("begin anew: nothing of an answer that was cut short is left", () =>
    Effect.gen(function* () {
      const { addresses, proxy } = yield* served
      const { use } = yield* Memcached.make({ addresses, ...Kit.bounds, probeInterval: "1 minute" })
      yield* Effect.forEach(keys, (key) => use((client) => client.set(key, key.repeat(100))))
      for (const bytes of [1, 20, 200, 600]) {
        yield* proxy.cutMidFrame(bytes)
        yield* Effect.exit(use((client) => client.gets(keys)))
        const read = yield* Effect.retry(
          use((client) => client.get("7-key")),
          { times: 5 }
        )
        assert.strictEqual(read, "7-key".repeat(100))
      }
      const found = yield* use((client) => client.gets([...keys, "none"]))
      assert.deepStrictEqual(
        [...found],
        keys.map((key): [string, string] => [key, key.repeat(100)])
      )
    }).pipe(Effect.scoped)
  )

  it.live("are kept while they are idle", () =>
    Effect.gen(function* () {
      const { addresses, proxy } = yield* served
      const { use } = yield* Memcached.make({
        addresses,
        ...Kit.bounds,
        timeout: "200 millis",
        probeInterval: "3 seconds"
      })
      const before = (yield* proxy.counters).accepted
      // No condition to wait for: that nothing happens for ten times the limit is what is claimed.
      yield* Effect.sleep("2 seconds")
      yield* use((client) => client.get("key"))
      assert.strictEqual((yield* proxy.counters).accepted, before)
    }).pipe(Effect.scoped)
  )

  it.live("that do not answer in time are replaced, and a read that was not answered is no miss", () =>
    Effect.gen(function* () {
      const { addresses, proxy } = yield* served
      const { use } = yield* Memcached.make({
        addresses,
        ...Kit.bounds,
        timeout: "300 millis",
        probeInterval: "1 minute"
      })
      yield* use((client) => client.set("key", "value"))
      yield* proxy.halfOpen
      const error = yield* Effect.flip(use((client) => client.get("key")))
      assert.include(error.message, "did not answer within 300ms")
      assert.strictEqual(yield* use((client) => client.get("key")), "value")
      assert.strictEqual(yield* heldTowards(proxy.port), 1)
    }).pipe(Effect.scoped)
  )
})

describe("a stop", () => {
  it.live("finishes what is in flight", () =>
    Effect.gen(function* () {
      const { addresses, proxy } = yield* served
      const scope = yield* Scope.make()
      const { use } = yield* Memcached.make({ addresses, ...Kit.bounds }).pipe(Scope.provide(scope))
      yield* proxy.delay(100)
      const calls = yield* Effect.forkChild(
        Effect.forEach(keys, (key) => use((client) => client.set(key, key)), { concurrency: "unbounded" }),
        { startImmediately: true }
      )
      yield* Scope.close(scope, Exit.void)
      assert.deepStrictEqual(
        yield* Fiber.join(calls),
        keys.map(() => true)
      )
      assert.strictEqual(yield* heldTowards(proxy.port), 0)
      // And nobody who kept the client opens another.
      assert.isTrue(Exit.isFailure(yield* Effect.exit(use((client) => client.get("key")))))
      assert.strictEqual(yield* heldTowards(proxy.port), 0)
    }).pipe(Effect.scoped)
  )
})
