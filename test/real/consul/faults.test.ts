import { assert, describe, it, layer } from "@effect/vitest"
import ConsulClient from "consul"
import { Context, Effect, Fiber, Layer, Option, Redacted, Ref, Schema, Stream } from "effect"
import { Barrier, Coordinator, Discovery, Election, Lock } from "effect-ensemble"
import { Consul } from "effect-ensemble/consul"
import { createServer } from "node:http"
import { createServer as createTcpServer } from "node:net"
import * as Client from "../../../src/engines/consul/client.ts"
import * as Endpoints from "../../../src/engines/consul/endpoints.ts"
import * as Transport from "../../../src/engines/consul/transport.ts"
import * as Proxy from "../../faults/proxy.ts"
import * as Servers from "../../servers/consul.ts"
import { demand } from "../../servers/consul.ts"
import { freePorts } from "../../servers/ports.ts"
import { until } from "../../servers/until.ts"

class Server extends Context.Service<Server, Servers.Consul>()("test/Server") {}

const ttl = "5 seconds"
const fast = { ttl, minimumTtl: "1 second" } as const

/** A process of its own, which ends with the scope. */
const process = (options: Consul.Options) =>
  Effect.map(Layer.build(Consul.layer({ ...fast, ...options })), (context) => ({
    context,
    run: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.provideContext(effect, context)
  }))

const eventually = <E>(what: string, condition: Effect.Effect<boolean, E>, within = "30 seconds" as const) =>
  until(
    Effect.filterOrFail(
      condition,
      (holds) => holds,
      () => `${what}: not so in time`
    ),
    { within }
  )

/** The newest element of a stream. */
const newest = Effect.fnUntraced(function* <A, E, R>(stream: Stream.Stream<A, E, R>) {
  const ref = yield* Ref.make<Option.Option<A>>(Option.none())
  yield* stream.pipe(
    Stream.runForEach((element) => Ref.set(ref, Option.some(element))),
    Effect.forkScoped({ startImmediately: true })
  )
  return Ref.get(ref)
})

const reasonOf = (options: Consul.Options) =>
  Effect.map(Effect.flip(Effect.scoped(process({ connectTimeout: "3 seconds", ...options }))), (error) => error)

let names = 0
const fresh = (name: string) => `${name}-${++names}`

layer(Layer.effect(Server, Servers.single()), { excludeTestServices: true })("On one server,", (it) => {
  describe("a layer that cannot work says why:", () => {
    it.effect("nobody listens", () =>
      Effect.gen(function* () {
        const [port] = yield* freePorts(1)
        assert.strictEqual((yield* reasonOf({ endpoints: `http://127.0.0.1:${port}` })).reason._tag, "Unreachable")
      })
    )

    it.effect("another HTTP server listens", () =>
      Effect.gen(function* () {
        const other = createServer((_, answer) => answer.end("<html>hello</html>"))
        const [port] = yield* freePorts(1)
        yield* Effect.acquireRelease(
          Effect.sync(() => other.listen(port, "127.0.0.1")),
          () => Effect.sync(() => other.close())
        )
        assert.strictEqual((yield* reasonOf({ endpoints: `http://127.0.0.1:${port}` })).reason._tag, "NotThisServer")
      })
    )

    it.effect("something else than HTTP listens", () =>
      Effect.gen(function* () {
        const other = createTcpServer((socket) => void socket.end("220 mail\r\n"))
        const [port] = yield* freePorts(1)
        yield* Effect.acquireRelease(
          Effect.sync(() => other.listen(port, "127.0.0.1")),
          () => Effect.sync(() => other.close())
        )
        assert.strictEqual((yield* reasonOf({ endpoints: `http://127.0.0.1:${port}` })).reason._tag, "NotThisServer")
      })
    )

    it.effect("the server does not speak TLS", () =>
      Effect.gen(function* () {
        const [{ port }] = (yield* Server).members
        assert.strictEqual((yield* reasonOf({ endpoints: `https://127.0.0.1:${port}` })).reason._tag, "NotThisServer")
      })
    )

    it.effect("the TTL is below the floor", () =>
      Effect.gen(function* () {
        const [{ url }] = (yield* Server).members
        const error = yield* reasonOf({ endpoints: url, ttl: "9 seconds", minimumTtl: "10 seconds" })
        assert.strictEqual(error.reason._tag, "InvalidOptions")
        assert.include(error.message, "10000 ms")
        const refused = yield* reasonOf({ endpoints: url, ttl: "500 millis", minimumTtl: "100 millis" })
        assert.strictEqual(refused.reason._tag, "InvalidOptions", "the server's own floor")
      })
    )

    it.effect("the prefix is no key", () =>
      Effect.gen(function* () {
        assert.strictEqual((yield* reasonOf({ prefix: "/a" })).reason._tag, "InvalidOptions")
      })
    )
  })

  it.effect("a value above the limit is refused, and one at the limit is taken", () =>
    Effect.gen(function* () {
      const [{ url }] = (yield* Server).members
      const { run } = yield* process({ endpoints: url, prefix: fresh("p"), node: "a" })
      const group = (yield* run(Coordinator.Coordinator)).group({ kind: "election", name: "g" })
      yield* group.join({ id: "most", value: "x".repeat(390_000) })
      const error = yield* Effect.flip(group.join({ id: "more", value: "x".repeat(390_001) }))
      assert.strictEqual(error._tag === "CoordinatorError" ? error.reason._tag : error._tag, "TooLarge")
    })
  )

  it.effect("a guarded write is applied while the place is held, and refused by Consul when it is not", () =>
    Effect.gen(function* () {
      const { ask, members } = yield* Server
      const prefix = fresh("p")
      const { run } = yield* process({ endpoints: members[0].url, prefix, node: "a" })
      const cursor = fresh("cursor")
      const tenure = yield* run(Election.campaign(Election.make("guarded")))
      const first = yield* run(
        Consul.guarded(tenure, [Consul.get(cursor), Consul.put(cursor, "1"), Consul.get(cursor)])
      )
      assert.deepStrictEqual(first.values, [Option.none(), Option.some("1")])
      const second = yield* run(Consul.guarded(tenure, [Consul.get(cursor), Consul.remove(cursor)]))
      assert.deepStrictEqual(second.values, [Option.some("1")])
      // As an operator would: the session lives, and the process does not know yet.
      const key = `/kv/${prefix}/election/guarded/a`
      const claim = { ...tenure, ensure: Effect.succeed(yield* tenure.ensure) }
      yield* demand(ask)("PUT", key, "changed by hand")
      yield* run(Consul.guarded(claim, [Consul.put(cursor, "2")]))
      yield* demand(ask)("DELETE", key)
      const lost = yield* Effect.flip(run(Consul.guarded(claim, [Consul.put(cursor, "3")])))
      assert.strictEqual(lost._tag, "MembershipLost")
      assert.strictEqual((yield* demand(ask)("GET", `/kv/${cursor}?raw`)).text, "2")
    })
  )

  it.effect("who comes first is told so with the creation, and nobody else", () =>
    Effect.gen(function* () {
      const [{ url }] = (yield* Server).members
      const addresses = Endpoints.parse({ endpoints: url })
      if ("problem" in addresses) return yield* Effect.die(addresses.problem)
      const settings = { prefix: fresh("p"), endpoint: url, requestMillis: 5_000 }
      const store = yield* Client.make(yield* Transport.own(addresses), settings)
      const { id } = yield* store.open(5_000)
      const group = store.group({ kind: "lock", name: "g" })
      const join = (member: string) => group.create(id, member, "value")
      const first = yield* join("m")
      assert.deepInclude(first, { _tag: "Created", isFirst: true })
      assert.deepInclude(yield* join("a"), { _tag: "Created", isFirst: false })
      if (first._tag === "Created") yield* group.remove({ id: "m", owner: id, token: first.token })
      assert.deepInclude(yield* join("m"), { _tag: "Created", isFirst: false }, "who is back stands behind the other")
      yield* store.revoke(id)
    })
  )

  it.effect("of many own members each one that is deleted by hand is told", () =>
    Effect.gen(function* () {
      const { ask, members } = yield* Server
      const prefix = fresh("p")
      const { run } = yield* process({ endpoints: members[0].url, prefix, node: "a" })
      const group = (yield* run(Coordinator.Coordinator)).group({ kind: "sequence", name: "g" })
      const ids = Array.from({ length: 8 }, (_, index) => `m${index}`)
      const joined = yield* Effect.forEach(ids, (id) => group.join({ id, value: id }))
      yield* Effect.forEach(
        joined,
        ({ id, lost }) =>
          Effect.andThen(
            demand(ask)("DELETE", `/kv/${prefix}/sequence/g/${id}`),
            Effect.timeout(Effect.flip(lost), "20 seconds")
          ),
        { discard: true }
      )
    })
  )

  it.effect("a Waiter and a barrier stand at the same place", () =>
    Effect.gen(function* () {
      const { ask, members } = yield* Server
      const prefix = fresh("p")
      const { run } = yield* process({ endpoints: members[0].url, prefix, node: "a" })
      const Start = Barrier.make("start", {
        state: Schema.Literals(["busy", "ready"]),
        minimum: 2,
        isReady: (state) => state === "ready"
      })
      // As Waiter writes: the directory marker, and a raw state.
      yield* demand(ask)("PUT", `/kv/${prefix}/start/`, "")
      yield* demand(ask)("PUT", `/kv/${prefix}/start/go`, "busy")
      yield* run(Barrier.announce(Start, "ready"))
      assert.strictEqual((yield* demand(ask)("GET", `/kv/${prefix}/start/a?raw`)).text, "ready")
      const waiting = yield* Effect.forkScoped(run(Barrier.wait(Start, { timeout: "20 seconds" })), {
        startImmediately: true
      })
      yield* demand(ask)("PUT", `/kv/${prefix}/start/go`, "ready")
      yield* Fiber.join(waiting)
    })
  )

  it.effect("the given client is used, and stays open", () =>
    Effect.gen(function* () {
      const { members } = yield* Server
      const client = new ConsulClient({ host: "127.0.0.1", port: members[0].port })
      yield* Effect.gen(function* () {
        yield* Lock.withLock(Lock.make("given"))(Effect.void)
      }).pipe(Effect.provide(Consul.layerClient(client, { ...fast, prefix: fresh("p") })))
      const leader = yield* Effect.promise(() => client.status.leader())
      assert.include(leader, ":")
      client.destroy()
    })
  )
})

const Api = Discovery.make("api")

layer(Layer.effect(Server, Servers.single()), { excludeTestServices: true })("In the catalog,", (it) => {
  const service = Effect.gen(function* () {
    const { ask, members } = yield* Server
    const definition = Discovery.make(fresh("api"))
    const { run } = yield* process({ endpoints: members[0].url, node: "a" })
    const seen = Effect.map(run(Discovery.list(definition)), (view) => view.members.map(({ id }) => id))
    const health = Effect.map(demand(ask)("GET", `/health/service/${definition.name}`), ({ text }) =>
      (
        JSON.parse(text) as ReadonlyArray<{
          readonly Service: { readonly ID: string; readonly Tags: ReadonlyArray<string>; readonly Meta: object }
          readonly Checks: ReadonlyArray<{ readonly CheckID: string; readonly Status: string }>
        }>
      ).map(({ Checks, Service }) => ({
        ...Service,
        Status: Checks.find(({ CheckID }) => CheckID !== "serfHealth")?.Status
      }))
    )
    return { ask: demand(ask), definition, health, run, seen, url: members[0].url }
  })

  it.effect("an instance is a service with a passing check, its attributes in both places", () =>
    Effect.gen(function* () {
      const { definition, health, run } = yield* service
      const attributes = { zone: "a" }
      yield* run(Discovery.register(definition, { address: "10.0.0.1", port: 80, attributes }))
      const [one] = yield* health
      assert.strictEqual(one?.ID, `${definition.name}:a`)
      assert.strictEqual(one?.Status, "passing")
      assert.deepStrictEqual(one?.Tags, [JSON.stringify(attributes)])
      assert.deepInclude(one?.Meta, attributes)
    })
  )

  it.effect("one process can register for several services under one id", () =>
    Effect.gen(function* () {
      const { definition, run, seen } = yield* service
      const other = Discovery.make(fresh("other"))
      yield* run(Discovery.register(definition, { address: "a", port: 1 }))
      yield* run(Discovery.register(other, { address: "a", port: 2 }))
      assert.deepStrictEqual(yield* seen, ["a"])
      assert.strictEqual((yield* run(Discovery.list(other))).size, 1)
    })
  )

  it.effect("its check is renewed for as long as the session is", () =>
    Effect.gen(function* () {
      const { definition, health, run } = yield* service
      yield* run(Discovery.register(definition, { address: "a", port: 1 }))
      yield* Effect.sleep("7 seconds")
      assert.strictEqual((yield* health)[0]?.Status, "passing")
    })
  )

  it.effect("a crashed one leaves the views with its TTL, unless critical ones are asked for", () =>
    Effect.gen(function* () {
      const { definition, run, seen, url } = yield* service
      const { host, port } = { host: "127.0.0.1", port: Number(new URL(url).port) }
      const proxy = yield* Proxy.make({ upstream: { host, port } })
      const crashed = yield* process({ endpoints: proxy.url, node: "b" })
      yield* crashed.run(Discovery.register(definition, { address: "b", port: 1 }))
      const watched = yield* run(newest(Discovery.watch(definition)))
      yield* eventually(
        "it is seen",
        Effect.map(watched, (view) => Option.isSome(view) && view.value.size === 1)
      )
      yield* proxy.blackhole
      yield* eventually(
        "it is gone from the watch",
        Effect.map(watched, (view) => Option.isSome(view) && view.value.size === 0)
      )
      assert.deepStrictEqual(yield* seen, [])
      const all = yield* Layer.build(
        Consul.layer({ ...fast, endpoints: url, node: "c" }).pipe(
          Layer.provide(Layer.succeed(Consul.IncludeCritical, true))
        )
      )
      assert.strictEqual((yield* Effect.provideContext(Discovery.list(definition), all)).size, 1)
      yield* proxy.heal
      yield* eventually(
        "it is back",
        Effect.map(watched, (view) => Option.isSome(view) && view.value.size === 1)
      )
    })
  )

  it.effect("it is registered again when the agent has forgotten it", () =>
    Effect.gen(function* () {
      const { ask, definition, run, seen } = yield* service
      const { status } = yield* run(Discovery.register(definition, { address: "a", port: 1 }))
      const states = yield* newest(
        Stream.scan(
          status,
          () => 0,
          (held, state) => (state._tag === "Held" ? held + 1 : held)
        )
      )
      yield* ask("PUT", `/agent/service/deregister/${definition.name}:a`)
      yield* eventually(
        "it is held twice",
        Effect.map(states, (held) => Option.isSome(held) && held.value === 2)
      )
      assert.deepStrictEqual(yield* seen, ["a"])
    })
  )

  it.effect("the agent probes it where it is asked to", () =>
    Effect.gen(function* () {
      const { definition, health, run, seen } = yield* service
      const [port = 0] = yield* freePorts(1)
      const server = createServer((_, answer) => answer.end("{}"))
      yield* Effect.acquireRelease(
        Effect.sync(() => server.listen(port, "127.0.0.1")),
        () => Effect.sync(() => server.close())
      )
      yield* run(Discovery.register(definition, { address: "127.0.0.1", port })).pipe(
        Effect.provideService(Consul.Check, { _tag: "Http", interval: "200 millis", timeout: "1 second" })
      )
      assert.deepStrictEqual(yield* seen, ["a"])
      server.close()
      server.closeAllConnections()
      yield* eventually(
        "the probe fails",
        Effect.map(health, ([one]) => one?.Status === "critical")
      )
      assert.deepStrictEqual(yield* seen, [])
    })
  )

  it.effect("programs that use reception are found", () =>
    Effect.gen(function* () {
      const { ask, definition, run } = yield* service
      const body = { ID: "5f1", Name: definition.name, Address: "10.0.0.2", Port: 81, Tags: [`{"zone":"b"}`] }
      yield* ask("PUT", "/agent/service/register", JSON.stringify(body))
      const [one] = (yield* run(Discovery.list(definition))).members
      assert.deepStrictEqual(one?.value, { address: "10.0.0.2", port: 81, attributes: { zone: "b" } })
      assert.strictEqual(one?.mine, false)
    })
  )
})

describe("A server with ACLs", () => {
  it.live("refuses a token that it does not know, and keys that the token does not cover", () =>
    Effect.gen(function* () {
      const { ask, members } = yield* Servers.single({ masterToken: "5f1c9b7e-0b7c-4f6e-9a3e-0c6a4b1d2e3f" })
      const [{ url }] = members
      const known = demand(ask)
      const rules = `key_prefix "mine/" { policy = "write" } session_prefix "" { policy = "write" } node_prefix "" { policy = "read" }`
      yield* known("PUT", "/acl/policy", JSON.stringify({ Name: "mine", Rules: rules }))
      const made = yield* known("PUT", "/acl/token", JSON.stringify({ Policies: [{ Name: "mine" }] }))
      const token = Redacted.make((JSON.parse(made.text) as { readonly SecretID: string }).SecretID)
      const unknown = Redacted.make("11111111-2222-3333-4444-555555555555")
      assert.strictEqual(
        (yield* reasonOf({ endpoints: url, prefix: "mine", token: unknown })).reason._tag,
        "Unauthenticated"
      )
      assert.strictEqual((yield* reasonOf({ endpoints: url, prefix: "mine" })).reason._tag, "Forbidden")
      assert.strictEqual((yield* reasonOf({ endpoints: url, prefix: "other", token })).reason._tag, "Forbidden")
      const { run } = yield* process({ endpoints: url, prefix: "mine", token, node: "a" })
      yield* run(Lock.withLock(Lock.make("l"))(Effect.void))
      const denied = yield* Effect.flip(Effect.scoped(run(Discovery.register(Api, { address: "a", port: 1 }))))
      assert.strictEqual(denied._tag === "CoordinatorError" ? denied.reason._tag : denied._tag, "Forbidden")
    })
  )
})

describe("A server that dies", () => {
  it.live("and comes back keeps sessions, places and watches", () =>
    Effect.gen(function* () {
      const { members } = yield* Servers.single()
      const [server] = members
      const { run } = yield* process({ endpoints: server.url, node: "a", ttl: "10 seconds" })
      const tenure = yield* run(Election.campaign(Election.make("e")))
      const { group } = yield* run(Coordinator.Coordinator)
      const view = yield* newest(group({ kind: "election", name: "e" }).watch)
      yield* eventually("a view", Effect.map(view, Option.isSome))
      yield* server.kill
      yield* eventually(
        "the view is stale",
        Effect.map(view, (now) => Option.isSome(now) && now.value.freshness._tag === "Stale")
      )
      yield* server.start
      yield* eventually(
        "the view is fresh again",
        Effect.map(view, (now) => Option.isSome(now) && now.value.freshness._tag === "Fresh" && now.value.size === 1)
      )
      yield* tenure.ensure
    })
  )

  it.live("and loses its network has its members stop before it gives their places away", () =>
    Effect.gen(function* () {
      const { ask, members } = yield* Servers.single()
      const [{ host, port, url }] = members
      const proxy = yield* Proxy.make({ upstream: { host, port } })
      const { run } = yield* process({ endpoints: proxy.url, node: "a" })
      const tenure = yield* run(Election.campaign(Election.make("e")))
      yield* proxy.blackhole
      yield* Effect.flip(tenure.lost)
      const held = yield* demand(ask)("GET", "/kv/ensemble/election/e/a")
      assert.strictEqual(held.status, 200, "the place is still taken when the holder has stopped")
      const other = yield* process({ endpoints: url, node: "b" })
      yield* other.run(Election.campaign(Election.make("e"))).pipe(Effect.timeout("30 seconds"))
    })
  )
})

describe("A cluster of three", () => {
  it.live("goes on for clients that know all of it when its leader dies", () =>
    Effect.gen(function* () {
      const cluster = yield* Servers.cluster(3)
      const leader = yield* cluster.leader
      const endpoints = [leader.url, ...cluster.members.filter((one) => one !== leader).map(({ url }) => url)]
      const { run } = yield* process({ endpoints, node: "a", ttl: "15 seconds" })
      const tenure = yield* run(Election.campaign(Election.make("e")))
      yield* leader.kill
      yield* eventually(
        "a lock is had",
        Effect.as(Effect.timeout(run(Lock.withLock(Lock.make("l"))(Effect.void)), "10 seconds"), true).pipe(
          Effect.orElseSucceed(() => false)
        )
      )
      yield* tenure.ensure
    })
  )

  it.live("one of which is cut from the others has who is there stop before the others give the place away", () =>
    Effect.gen(function* () {
      const cluster = yield* Servers.cluster(3)
      // The one that leads: until it knows that it does not any more, it answers whoever asks it.
      const cut = yield* cluster.leader
      const others = cluster.members.filter((one) => one !== cut).map(({ url }) => url)
      const former = yield* process({ endpoints: cut.url, node: "a" })
      const tenure = yield* former.run(Election.campaign(Election.make("e")))
      const next = yield* process({ endpoints: others, node: "b" })
      const campaign = Effect.gen(function* () {
        // Until the others have elected one of them, nothing can be asked of them.
        const won = yield* until(next.run(Election.campaign(Election.make("e"))), { within: "90 seconds" })
        // In the turn of the grant: whether the former one believed in its place at that very moment.
        return { won, believed: Effect.runSync(Effect.isSuccess(tenure.ensure)) }
      })
      const campaigning = yield* Effect.forkScoped(campaign, { startImmediately: true })
      yield* tenure.ensure
      yield* cluster.isolate(cut)
      const { believed, won } = yield* Fiber.join(campaigning)
      assert.isFalse(believed)
      assert.isTrue((yield* won.ensure) > tenure.token)
      yield* cluster.heal
    })
  )

  it.live("whose others stand still has nobody believe in a place for longer than its TTL", () =>
    Effect.gen(function* () {
      const cluster = yield* Servers.cluster(3)
      const leader = yield* cluster.leader
      const followers = cluster.members.filter((one) => one !== leader)
      const { run } = yield* process({ endpoints: leader.url, node: "a" })
      yield* Effect.scoped(
        Effect.gen(function* () {
          const tenure = yield* run(Election.campaign(Election.make("e")))
          yield* Effect.forEach(followers, ({ pause }) => pause, { discard: true })
          yield* Effect.flip(tenure.lost).pipe(Effect.timeout("30 seconds"))
        })
      )
      yield* Effect.forEach(followers, ({ resume }) => resume, { discard: true })
      yield* eventually(
        "it leads again",
        Effect.as(Effect.scoped(Effect.timeout(run(Election.campaign(Election.make("e"))), "20 seconds")), true).pipe(
          Effect.orElseSucceed(() => false)
        ),
        "30 seconds"
      )
    })
  )
})
