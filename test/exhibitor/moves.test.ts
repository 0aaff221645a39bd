import { assert, describe, it } from "@effect/vitest"
import { Array as Arr, Effect, Fiber } from "effect"
import { TestClock } from "effect/testing"
import * as Client from "../../src/engines/zookeeper/client.ts"
import * as Clients from "../../src/engines/zookeeper/clients.ts"
import * as Jute from "../../src/engines/zookeeper/jute.ts"
import * as P from "../../src/engines/zookeeper/protocol.ts"
import type { Endpoint } from "../../src/engines/zookeeper/transport.ts"
import type { FakeConnection, FakeServer } from "../zookeeper/fakeServer.ts"
import { make as fakeServer, stat } from "../zookeeper/fakeServer.ts"

const named = (...hosts: Arr.NonEmptyReadonlyArray<string>): Clients.Endpoints =>
  Arr.map(hosts, (host): Endpoint => ({ host, port: 1 }))

const fork = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.forkChild(effect, { startImmediately: true })

const clientsOf = Effect.fnUntraced(function* (server: FakeServer, endpoints: Clients.Endpoints | undefined) {
  const clients = yield* Clients.make(
    ({ ttlMillis, ...rest }) => Client.make({ ...rest, timeoutMillis: ttlMillis, transport: server.transport }),
    { endpoint: "somewhere", prefix: "/ensemble", endpoints, requestMillis: 5_000 }
  )
  // Before the clients' own end, which would wait for an answer by a clock that stands still.
  yield* Effect.addFinalizer(() => server.shutdown)
  return clients
})

/** Answers what opening a session asks: a sync, and whether the prefix may be read. */
const welcome = Effect.fnUntraced(function* (connection: FakeConnection) {
  const sync = yield* connection.request
  connection.answer(sync.xid)
  const children = yield* connection.request
  connection.answer(children.xid, { body: (writer) => stat(writer.vector<string>([], (w, name) => w.ustring(name))) })
})

describe("when the ensemble moves", () => {
  it.effect("a session stays, under its id and password, on a server that is listed", () =>
    Effect.gen(function* () {
      const server = yield* fakeServer
      const clients = yield* clientsOf(server, named("one"))
      const opening = yield* fork(clients.open(4_000))
      const [first] = yield* server.shake({ sessionId: 77n, password: new Uint8Array(16).fill(5) })
      yield* welcome(first)
      const { id } = yield* Fiber.join(opening)
      yield* TestClock.adjust("1 second")

      yield* clients.moveTo(named("one", "two"))
      yield* TestClock.adjust("1 second")
      assert.isTrue(first.isOpen())

      yield* clients.moveTo(named("two"))
      const [second, request] = yield* server.shake({ sessionId: 77n })
      assert.isFalse(first.isOpen())
      assert.strictEqual(second.endpoint.host, "two")
      assert.strictEqual(request.sessionId, 77n)
      assert.deepStrictEqual(request.password, new Uint8Array(16).fill(5))
      assert.strictEqual(clients.nowUnsafe()?.id, id)
    })
  )

  it.effect("a session that is only being opened is opened where the ensemble is now", () =>
    Effect.gen(function* () {
      const server = yield* fakeServer
      server.network = "refuses"
      const clients = yield* clientsOf(server, named("one"))
      const opening = yield* fork(clients.open(4_000))
      yield* Effect.yieldNow
      assert.deepStrictEqual(server.tried, ["one:1"])
      server.network = "up"
      yield* clients.moveTo(named("two"))
      const [connection] = yield* server.shake()
      assert.strictEqual(connection.endpoint.host, "two")
      yield* welcome(connection)
      yield* Fiber.join(opening)

      // And it is told of the next move as any other.
      yield* TestClock.adjust("1 second")
      yield* clients.moveTo(named("three"))
      assert.strictEqual((yield* server.shake())[0].endpoint.host, "three")
    })
  )

  const attached = Effect.fnUntraced(function* () {
    const server = yield* fakeServer
    const client = yield* Client.make({ endpoints: named("one"), transport: server.transport, timeoutMillis: 8_000 })
    yield* Effect.addFinalizer(() => server.shutdown)
    const [former] = yield* server.shake({ timeoutMillis: 8_000 })
    yield* client.attached
    yield* TestClock.adjust("1 second")
    return { client, former, server }
  })

  it.effect("the former server answers what it was asked, and is asked nothing more", () =>
    Effect.gen(function* () {
      const { client, former, server } = yield* attached()
      const creating = yield* fork(client.create("/a"))
      yield* client.setEndpoints(named("two"))
      const create = yield* former.request
      const last = yield* former.request
      assert.deepInclude({ ...(yield* Effect.flip(client.create("/b"))) } as object, {
        _tag: "ConnectionLost",
        sent: false
      })
      assert.strictEqual(former.waiting(), 0)
      former.answer(create.xid, { zxid: 40n, body: (w) => stat(w.ustring("/a")) })
      assert.strictEqual((yield* Fiber.join(creating)).path, "/a")
      assert.isTrue(former.isOpen())
      assert.deepStrictEqual(server.tried, ["one:1"])
      former.answer(last.xid, { zxid: 41n })
      const [next, handshake] = yield* server.shake()
      assert.isFalse(former.isOpen())
      assert.deepStrictEqual([next.endpoint.host, handshake.sessionId, handshake.lastZxidSeen], ["two", 77n, 41n])
    })
  )

  it.effect("a former server that does not answer is not waited for", () =>
    Effect.gen(function* () {
      const { client, former, server } = yield* attached()
      const creating = yield* fork(client.create("/a"))
      yield* client.setEndpoints(named("two"))
      yield* TestClock.adjust("499 millis")
      assert.isUndefined(creating.pollUnsafe())
      yield* TestClock.adjust("1 millis")
      assert.deepInclude({ ...(yield* Effect.flip(Fiber.join(creating))) } as object, {
        _tag: "ConnectionLost",
        sent: true
      })
      assert.strictEqual((yield* server.shake())[0].endpoint.host, "two")
      assert.isFalse(former.isOpen())
    })
  )

  it.effect("a session that is closed just then is closed where it was", () =>
    Effect.gen(function* () {
      const { client, former } = yield* attached()
      yield* fork(Effect.ignore(client.create("/a")))
      yield* client.setEndpoints(named("two"))
      yield* former.request
      yield* former.request
      const closing = yield* fork(client.close)
      assert.strictEqual((yield* former.request).opCode, P.OpCode.closeSession)
      former.hangUp()
      yield* Fiber.join(closing)
    })
  )

  it.effect("it is tried at once, whatever the former servers did", () =>
    Effect.gen(function* () {
      const server = yield* fakeServer
      server.network = "refuses"
      const client = yield* Client.make({ endpoints: named("one"), transport: server.transport, timeoutMillis: 4_000 })
      yield* Effect.addFinalizer(() => server.shutdown)
      yield* TestClock.adjust("20 seconds")
      server.network = "up"
      const before = server.tried.length
      yield* client.setEndpoints(named("two"))
      yield* server.shake()
      yield* client.attached
      assert.deepStrictEqual(server.tried.slice(before), ["two:1"])
      // Nor is it a failure of anybody that the connection of a moment ago was given up: the pause is the first one's each time.
      for (const host of ["three", "two", "three", "two", "three"]) {
        yield* client.setEndpoints(named(host))
        const shaking = yield* fork(server.shake())
        yield* TestClock.adjust("60 millis")
        assert.isDefined(shaking.pollUnsafe(), host)
      }
    })
  )

  it.effect("no session is opened before a server is named, and who is asked says so", () =>
    Effect.gen(function* () {
      const server = yield* fakeServer
      const clients = yield* clientsOf(server, undefined)
      const error = yield* Effect.flip(clients.open(4_000))
      assert.strictEqual(error.reason._tag, "Unreachable")
      assert.match(error.message, /No server has been named/)
      yield* clients.moveTo(named("one"))
      const opening = yield* fork(clients.open(4_000))
      const [connection] = yield* server.shake()
      yield* welcome(connection)
      yield* Fiber.join(opening)
    })
  )

  it.effect("servers that are no longer in it do not count among those that refuse a session", () =>
    Effect.gen(function* () {
      const server = yield* fakeServer
      const clients = yield* clientsOf(server, named("one", "two"))
      const opening = yield* fork(clients.open(4_000))
      const [first] = yield* server.shake()
      yield* welcome(first)
      yield* Fiber.join(opening)
      yield* TestClock.adjust("1 second")

      const asked: Array<{ readonly host: string; readonly session: bigint }> = []
      yield* fork(
        Effect.gen(function* () {
          const connection = yield* server.accept
          const reader = new Jute.Reader(yield* connection.frame)
          reader.int()
          reader.long()
          reader.int()
          asked.push({ host: connection.endpoint.host, session: reader.long() })
          // A server that lags hangs up without its half of the handshake; the other one says nothing at all.
          if (connection.endpoint.host === "one") connection.hangUp()
        }).pipe(Effect.forever)
      )
      first.hangUp()
      yield* TestClock.adjust("3 seconds")
      assert.isTrue(asked.some(({ host }) => host === "one"))
      yield* clients.moveTo(named("two"))
      yield* TestClock.adjust("10 seconds")
      assert.isTrue(asked.slice(-3).every(({ host }) => host === "two"))
      // Believing that all have refused, it would ask them with a session that has seen nothing.
      assert.deepStrictEqual(new Set(asked.map(({ session }) => session)), new Set([77n]))
    })
  )
})
