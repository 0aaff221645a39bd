import { assert, describe, it } from "@effect/vitest"
import { Array as Arr, Effect, Exit, Fiber, Scope, Stream } from "effect"
import { Socket } from "effect/socket"
import { TestClock } from "effect/testing"
import * as Client from "../../src/engines/zookeeper/client.ts"
import type { RequestError } from "../../src/engines/zookeeper/errors.ts"
import * as Jute from "../../src/engines/zookeeper/jute.ts"
import * as P from "../../src/engines/zookeeper/protocol.ts"
import * as Utf8 from "../../src/engines/zookeeper/utf8.ts"
import type * as Watches from "../../src/engines/zookeeper/watches.ts"
import type { FakeConnection, FakeServer, Handshake } from "./fakeServer.ts"
import { frame, make as fakeServer, stat } from "./fakeServer.ts"

const endpoint = { host: "one", port: 2181 }

const clientOf = (server: FakeServer, options: Partial<Client.Options> = {}) =>
  Effect.tap(
    Client.make({ endpoints: [endpoint], transport: server.transport, timeoutMillis: 4000, ...options }),
    // Before the client's own end, which would wait for an answer by a clock that stands still.
    () => Effect.addFinalizer(() => server.shutdown)
  )

/** A client that is attached, and the server's end of its connection. */
const attached = Effect.fnUntraced(function* (options: Partial<Client.Options> = {}, handshake?: Handshake) {
  const server = yield* fakeServer
  const client = yield* clientOf(server, options)
  const [connection, request] = yield* server.shake(handshake)
  yield* client.attached
  // A connection that holds so long is a success, and the next one is tried at once when it ends.
  yield* TestClock.adjust("1 second")
  return { server, client, connection, request }
})

const fork = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.forkChild(effect, { startImmediately: true })

const failureOf = (fiber: Fiber.Fiber<unknown, RequestError>) => Effect.flip(Fiber.join(fiber))

const assertShows = (value: object, part: Record<string, unknown>): void =>
  assert.deepInclude({ ...value } as Record<string, unknown>, part)

const names = (notices: ReadonlyArray<Watches.Notice>) =>
  notices.map((notice) => (notice._tag === "Event" ? `${notice.event.type} ${notice.event.path}` : notice._tag))

const body = (bytes: Uint8Array) => new Jute.Reader(bytes)

describe("requests", () => {
  it.effect("of one turn leave in one write and are answered in order", () =>
    Effect.gen(function* () {
      const { client, connection } = yield* attached()
      const before = connection.writes()
      const all = yield* fork(
        Effect.all(
          Array.from({ length: 50 }, (_, i) => client.sync(`/${i}`)),
          { concurrency: "unbounded" }
        )
      )
      for (let i = 0; i < 50; i++) {
        const { body, opCode, xid } = yield* connection.request
        assert.deepStrictEqual([opCode, xid, body.ustring()], [P.OpCode.sync, i + 1, `/${i}`])
        connection.answer(xid, { zxid: BigInt(i + 10) })
      }
      assert.strictEqual(connection.writes() - before, 1)
      assert.deepStrictEqual(
        (yield* Fiber.join(all)).map(({ zxid }) => zxid),
        Array.from({ length: 50 }, (_, i) => BigInt(i + 10))
      )
      assert.strictEqual(client.lastZxid(), 59n)
    })
  )

  it.effect("that were interrupted leave their place in the order", () =>
    Effect.gen(function* () {
      const { client, connection } = yield* attached()
      const gone = yield* fork(client.getData("/gone"))
      const stays = yield* fork(client.getChildren("/stays"))
      yield* Fiber.interrupt(gone)
      const first = yield* connection.request
      const second = yield* connection.request
      connection.answer(first.xid, { body: (w) => stat(w.buffer(Uint8Array.of(1))) })
      connection.answer(second.xid, { body: (w) => stat(w.vector(["a"], (w, name) => w.ustring(name))) })
      assert.deepStrictEqual((yield* Fiber.join(stays)).children, ["a"])
    })
  )

  it.effect("fail with what the server refused, at which transaction", () =>
    Effect.gen(function* () {
      const { client, connection } = yield* attached()
      const codes = { NodeExists: -110, NoNode: -101, BadVersion: -103, NotEmpty: -111, NoAuth: -102, InvalidAcl: -114 }
      for (const [tag, code] of Object.entries(codes)) {
        const fiber = yield* fork(client.setData("/a", new Uint8Array()))
        connection.answer((yield* connection.request).xid, { err: code, zxid: 99n })
        const failure = yield* failureOf(fiber)
        assertShows(failure, { _tag: tag, operation: "setData", path: "/a", zxid: 99n })
      }
      const other = yield* fork(client.setData("/a", new Uint8Array()))
      connection.answer((yield* connection.request).xid, { err: -127 })
      assert.match((yield* failureOf(other)).message, /ThrottledOp \(-127\)/)
    })
  )

  it.effect("of a transaction name the operation that was refused", () =>
    Effect.gen(function* () {
      const { client, connection } = yield* attached()
      const fiber = yield* fork(client.multi([P.remove("/a"), P.check("/b", 3), P.create("/c")]))
      connection.answer((yield* connection.request).xid, {
        zxid: 5n,
        body: (w) => {
          for (const code of [0, -103, -2]) w.int(-1).bool(false).int(code).int(code)
          w.int(-1).bool(true).int(-1)
        }
      })
      const failure = yield* failureOf(fiber)
      assertShows(failure, { _tag: "BadVersion", operation: "multi[1] check", path: "/b", index: 1, zxid: 5n })
    })
  )

  it.effect("find no node without failing, where that is the question", () =>
    Effect.gen(function* () {
      const { client, connection } = yield* attached()
      const fiber = yield* fork(client.exists("/a"))
      connection.answer((yield* connection.request).xid, { err: P.Code.NoNode, zxid: 8n })
      assert.deepStrictEqual(yield* Fiber.join(fiber), { zxid: 8n, stat: undefined })
    })
  )

  it.effect("that the servers would not read are not sent, and those after them are", () =>
    Effect.gen(function* () {
      const { client, connection } = yield* attached({ requestLimit: 100 })
      const failure = yield* Effect.flip(client.create("/a", { data: new Uint8Array(100) }))
      assertShows(failure, { _tag: "TooLarge", limit: 100 })
      const fiber = yield* fork(client.sync("/"))
      const { xid } = yield* connection.request
      assert.strictEqual(xid, 1)
      connection.answer(xid)
      yield* Fiber.join(fiber)
    })
  )

  it.effect("with what is not a path are refused here, before the chroot", () =>
    Effect.gen(function* () {
      const { client, connection } = yield* attached({ chroot: "/root" })
      for (const path of ["", "a", "a/b", "/a/"]) {
        assert.match((yield* Effect.flip(client.create(path))).message, /BadArguments/, path)
        assert.match((yield* Effect.flip(client.multi([P.check("/"), P.remove(path)]))).message, /BadArguments/)
      }
      assert.strictEqual(connection.waiting(), 0)
    })
  )

  it.effect("are below the chroot, and their answers are not", () =>
    Effect.gen(function* () {
      const { client, connection } = yield* attached({ chroot: "/root" })
      const fiber = yield* fork(client.create("/a-", { mode: "ephemeralSequential" }))
      const { body, xid } = yield* connection.request
      assert.strictEqual(body.ustring(), "/root/a-")
      connection.answer(xid, { body: (w) => stat(w.ustring("/root/a-1")) })
      assert.strictEqual((yield* Fiber.join(fiber)).path, "/a-1")
    })
  )
})

describe("a connection that ends", () => {
  it.effect("tells each request whether it can have been carried out", () =>
    Effect.gen(function* () {
      const { client, connection } = yield* attached()
      const sent = yield* fork(client.create("/sent"))
      yield* connection.request
      connection.jam()
      // Handed to a network that takes nothing: nobody can tell. What comes after it never left.
      const handed = yield* fork(client.create("/handed"))
      yield* Effect.yieldNow
      const unsent = yield* fork(client.create("/unsent"))
      connection.hangUp()
      for (const [fiber, outcome] of [
        [sent, true],
        [handed, true],
        [unsent, false]
      ] as const) {
        assertShows(yield* failureOf(fiber), { _tag: "ConnectionLost", sent: outcome })
      }
      assert.isFalse(connection.isOpen())
      const failure = yield* Effect.flip(client.sync("/"))
      assertShows(failure, { _tag: "ConnectionLost", sent: false })
    })
  )

  it.effect("is followed by one that shows the session, with its credentials and watches before anything else", () =>
    Effect.gen(function* () {
      const password = new Uint8Array(16).fill(3)
      const credentials = [{ scheme: "digest", secret: Utf8.encode("user:password") }]
      const { client, connection, request, server } = yield* attached(
        { chroot: "/root", credentials, lastZxid: 40n },
        { password, sessionId: 5n, timeoutMillis: 6000 }
      )
      assert.deepStrictEqual(request, {
        lastZxidSeen: 40n,
        timeoutMillis: 4000,
        sessionId: 0n,
        password: new Uint8Array(16)
      })
      const auth = yield* connection.request
      assert.deepStrictEqual([auth.xid, auth.opCode], [-4, 100])
      connection.answer(-4, { zxid: 0n })

      const notices: Array<Watches.Notice> = []
      const watch = yield* fork(client.watch("/group", (notice) => notices.push(notice)))
      const data = yield* fork(client.getData("/data", (notice) => notices.push(notice)))
      const none = yield* fork(client.exists("/none", () => {}))
      const list = yield* fork(client.getChildren("/list", () => {}))
      connection.answer((yield* connection.request).xid, { body: (w) => w.int(0) })
      connection.answer((yield* connection.request).xid, { zxid: 50n, body: (w) => stat(w.buffer(new Uint8Array())) })
      connection.answer((yield* connection.request).xid, { zxid: 49n, err: P.Code.NoNode })
      connection.answer((yield* connection.request).xid, { body: (w) => stat(w.int(0)) })
      yield* Fiber.joinAll([watch, data, none, list])

      yield* client.authenticate({ scheme: "other", secret: Utf8.encode("x") })
      yield* connection.request
      connection.reset()
      const [next, again] = yield* server.shake({ sessionId: 5n, password, timeoutMillis: 6000 })
      assert.deepStrictEqual(again, { lastZxidSeen: 50n, timeoutMillis: 4000, sessionId: 5n, password })
      yield* client.attached
      const first = yield* fork(client.sync("/"))
      const digest = yield* next.request
      assert.deepStrictEqual([digest.xid, digest.body.int(), digest.body.ustring()], [-4, 0, "digest"])
      const other = yield* next.request
      assert.deepStrictEqual([other.xid, other.body.int(), other.body.ustring()], [-4, 0, "other"])
      const set = yield* next.request
      assert.deepStrictEqual([set.xid, set.opCode, set.body.long()], [-8, 105, 50n])
      const lists = Array.from({ length: 5 }, () => set.body.vector(4, (r) => r.ustring()))
      assert.deepStrictEqual(lists, [["/root/data"], ["/root/none"], ["/root/list"], [], ["/root/group"]])
      const { opCode, xid } = yield* next.request
      assert.deepStrictEqual([opCode, xid], [P.OpCode.sync, 1])
      next.answer(xid)
      yield* Fiber.join(first)
      assert.deepStrictEqual(names(notices), ["Interrupted", "Restored"])
      const state = client.state()
      assertShows(state, { _tag: "Attached", attachments: 2 })
    })
  )

  it.effect("in the middle of an answer leaves nothing behind for the next one", () =>
    Effect.gen(function* () {
      const { client, connection, server } = yield* attached()
      const half = yield* fork(client.getData("/a"))
      const { xid } = yield* connection.request
      connection.send(frame((w) => stat(w.int(xid).long(1n).int(0).buffer(new Uint8Array(100)))).subarray(0, 60))
      connection.reset()
      assertShows(yield* failureOf(half), { _tag: "ConnectionLost", sent: true })
      const [next] = yield* server.shake()
      yield* client.attached
      const fiber = yield* fork(client.sync("/"))
      next.answer((yield* next.request).xid)
      yield* Fiber.join(fiber)
    })
  )

  const violations: ReadonlyArray<readonly [string, (connection: FakeConnection, xid: number) => void, RegExp]> = [
    ["an answer to another request", (connection, xid) => connection.answer(xid + 1), /request 2 where 1 is due/],
    [
      "an answer to nothing",
      (connection, xid) => [xid, xid + 1].forEach((one) => connection.answer(one)),
      /none is due/
    ],
    ["an answer to no ping", (connection) => connection.answer(-2), /request -2 where none is due/],
    ["a cut header", (connection) => connection.send(frame((w) => w.int(1).int(0))), /a long of 8 bytes/],
    ["a cut event", (connection) => connection.send(frame((w) => w.int(-1).long(1n).int(0).int(3))), /an int of 4/],
    ["an event of no known kind", (connection) => connection.event(99, "/a"), /type 99/],
    ["a frame over the limit", (connection) => connection.send(Utf8.encode("HTTP/1.1 400")), /a frame of 1213486160/],
    ["a frame of a negative length", (connection) => connection.send(new Uint8Array(8).fill(255)), /a frame of -1/]
  ]

  it.effect.each(violations)("because of %s is replaced", ([_, violate, message]) =>
    Effect.gen(function* () {
      const { client, connection, server } = yield* attached()
      const fiber = yield* fork(client.sync("/"))
      violate(connection, (yield* connection.request).xid)
      const [next] = yield* server.shake()
      const exit = yield* Fiber.await(fiber)
      if (Exit.isFailure(exit)) assert.match((yield* failureOf(fiber)).message, /not known/)
      const attachedAgain = yield* client.attached
      assert.strictEqual(attachedAgain.attachments, 2)
      assert.isFalse(connection.isOpen())
      assert.isTrue(next.isOpen())
    }).pipe(Effect.andThen(problemIs(violate, message)))
  )

  /** The problem stands in the state until the next connection. */
  const problemIs = (violate: (connection: FakeConnection, xid: number) => void, message: RegExp) =>
    Effect.gen(function* () {
      const { client, connection, server } = yield* attached()
      yield* fork(Effect.ignore(client.sync("/")))
      const { xid } = yield* connection.request
      server.network = "silent"
      violate(connection, xid)
      const state = yield* client.states.pipe(
        Stream.filter((state) => state._tag === "Connecting"),
        Stream.runHead
      )
      const problem = state._tag === "Some" && state.value._tag === "Connecting" ? state.value.problem : undefined
      assert.match(problem ?? "", message)
    })

  it.effect("because a listener throws is replaced too", () =>
    Effect.gen(function* () {
      const { client, connection, server } = yield* attached()
      const watch = yield* fork(
        client.watch("/a", (notice) => {
          if (notice._tag === "Event") throw new Error("a listener's fault")
        })
      )
      connection.answer((yield* connection.request).xid, { body: (w) => w.int(0) })
      yield* Fiber.join(watch)
      connection.event(1, "/a")
      yield* server.shake()
      assert.strictEqual((yield* client.attached).attachments, 2)
    })
  )
})

describe("silence", () => {
  it.effect("ends a connection when a request has waited for a quarter of the timeout", () =>
    Effect.gen(function* () {
      const { client, connection, server } = yield* attached({}, { timeoutMillis: 8000 })
      // An idle connection is not a silent one.
      yield* TestClock.adjust("1 hour")
      assert.isTrue(connection.isOpen())
      const fiber = yield* fork(client.create("/a"))
      yield* connection.request
      yield* TestClock.adjust(1999)
      assert.isTrue(connection.isOpen())
      yield* TestClock.adjust(1)
      const failure = yield* failureOf(fiber)
      assertShows(failure, { _tag: "ConnectionLost", sent: true })
      assert.match(failure.message, /no answer within 2000 ms/)
      assert.isFalse(connection.isOpen())
      yield* server.shake()
    })
  )

  it.effect("counts from the last bytes, whatever they were", () =>
    Effect.gen(function* () {
      const { client, connection } = yield* attached()
      const fiber = yield* fork(client.sync("/"))
      const { xid } = yield* connection.request
      for (let i = 0; i < 10; i++) {
        yield* TestClock.adjust(900)
        connection.event(1, "/a")
        yield* Effect.yieldNow
      }
      connection.answer(xid)
      yield* Fiber.join(fiber)
    })
  )

  it.effect("at the handshake is bounded, and the next server is tried", () =>
    Effect.gen(function* () {
      const server = yield* fakeServer
      const endpoints = [endpoint, { host: "two", port: 1 }] as const
      const client = yield* clientOf(server, { endpoints })
      const first = yield* server.accept
      yield* TestClock.adjust(499)
      assert.isTrue(first.isOpen())
      yield* TestClock.adjust(1)
      const [second] = yield* server.shake()
      yield* client.attached
      assert.isFalse(first.isOpen())
      assert.notStrictEqual(first.endpoint.host, second.endpoint.host)
    })
  )

  it.effect("of the network while it connects is bounded too", () =>
    Effect.gen(function* () {
      const server = yield* fakeServer
      server.network = "silent"
      const client = yield* clientOf(server)
      yield* TestClock.adjust(1000)
      const state = client.state()
      assert.match(state._tag === "Connecting" ? (state.problem ?? "") : "", /no connection within 1000 ms/)
    })
  )

  it.effect("is broken by pings where they are asked for, and only by their answers", () =>
    Effect.gen(function* () {
      const { connection, server } = yield* attached({ ping: 0.25 })
      for (let i = 0; i < 4; i++) {
        if (i > 0) yield* TestClock.adjust(1000)
        const { opCode, xid } = yield* connection.request
        assert.deepStrictEqual([opCode, xid], [P.OpCode.ping, -2])
        connection.answer(-2)
        yield* Effect.yieldNow
      }
      yield* TestClock.adjust(2000)
      yield* server.accept
      assert.isFalse(connection.isOpen())
    })
  )
})

describe("the session", () => {
  it.effect("is over when a server says so at the handshake, and stays so", () =>
    Effect.gen(function* () {
      const { client, connection, server } = yield* attached()
      const notices: Array<Watches.Notice> = []
      const watch = yield* fork(client.watch("/a", (notice) => notices.push(notice)))
      connection.answer((yield* connection.request).xid, { body: (w) => w.int(0) })
      yield* Fiber.join(watch)
      connection.hangUp()
      yield* server.shake({ timeoutMillis: 0, sessionId: 0n })
      assert.strictEqual((yield* Effect.flip(client.attached))._tag, "SessionExpired")
      assert.strictEqual((yield* Effect.flip(client.sync("/")))._tag, "SessionExpired")
      assert.deepStrictEqual(names(notices), ["Interrupted", "Over"])
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(server.tried.length, 2)
    })
  )

  it.effect("is over when an answer says so", () =>
    Effect.gen(function* () {
      const { client, connection } = yield* attached()
      const fiber = yield* fork(client.sync("/"))
      connection.answer((yield* connection.request).xid, { err: P.Code.SessionExpired })
      assert.strictEqual((yield* failureOf(fiber))._tag, "SessionExpired")
      assert.strictEqual((yield* Effect.flip(client.attached))._tag, "SessionExpired")
    })
  )

  it.effect("is over when the credentials are refused", () =>
    Effect.gen(function* () {
      const credentials = [{ scheme: "digest", secret: Utf8.encode("nonsense") }]
      const server = yield* fakeServer
      const client = yield* clientOf(server, { credentials })
      const [connection] = yield* server.shake()
      yield* connection.request
      connection.answer(-4, { err: P.Code.AuthFailed })
      yield* client.states.pipe(
        Stream.takeUntil((state) => state._tag === "Over"),
        Stream.runDrain
      )
      assertShows(yield* Effect.flip(client.attached), { _tag: "AuthFailed", scheme: "digest" })
    })
  )

  it.effect("is tried elsewhere when a connection ends in the piece that holds its handshake", () =>
    Effect.gen(function* () {
      const server = yield* fakeServer
      const client = yield* clientOf(server)
      const first = yield* server.accept
      yield* first.frame
      const handshake = frame((w) => w.int(0).int(4000).long(77n).buffer(new Uint8Array(16)).bool(false))
      first.send(Uint8Array.from([...handshake, ...new Uint8Array(4).fill(255)]))
      yield* TestClock.adjust("1 second")
      yield* server.shake()
      yield* TestClock.adjust("1 second")
      assert.strictEqual(client.state()._tag, "Attached")
      assert.isFalse(first.isOpen())
    })
  )

  it.effect("moves on when it has moved to another server", () =>
    Effect.gen(function* () {
      const { client, connection, server } = yield* attached()
      const fiber = yield* fork(client.create("/a"))
      connection.answer((yield* connection.request).xid, { err: P.Code.SessionMoved })
      assert.match((yield* failureOf(fiber)).message, /SessionMoved/)
      yield* server.shake()
      assert.strictEqual((yield* client.attached).attachments, 2)
    })
  )

  it.effect("does not take another session for its own", () =>
    Effect.gen(function* () {
      const { client, connection, server } = yield* attached()
      connection.hangUp()
      yield* server.shake({ sessionId: 78n })
      yield* TestClock.adjust("1 second")
      assert.strictEqual(client.state()._tag, "Connecting")
      yield* server.shake()
      assertShows((yield* client.attached).identity, { sessionId: 77n })
    })
  )

  it.effect("remembers which servers hang up at the handshake", () =>
    Effect.gen(function* () {
      const server = yield* fakeServer
      const endpoints = Arr.map(["one", "two", "three"] as const, (host) => ({ host, port: 1 }))
      const client = yield* clientOf(server, { endpoints })
      for (let i = 0; i < 3; i++) {
        const connection = yield* server.accept
        yield* connection.frame
        connection.hangUp()
      }
      yield* Effect.yieldNow
      const state = client.state()
      assert.deepStrictEqual(state._tag === "Connecting" ? state.refusedBy.toSorted() : [], [
        "one:1",
        "three:1",
        "two:1"
      ])
    })
  )

  it.effect("tries all servers in turn, with longer pauses after each round", () =>
    Effect.gen(function* () {
      const server = yield* fakeServer
      server.network = "refuses"
      const endpoints = Arr.map(["one", "two", "three"] as const, (host) => ({ host, port: 1 }))
      yield* clientOf(server, { endpoints })
      const counts: Array<number> = []
      for (let second = 0; second < 10; second++) {
        yield* TestClock.adjust("1 second")
        counts.push(server.tried.length)
      }
      assert.deepStrictEqual(server.tried.slice(0, 3).toSorted(), ["one:1", "three:1", "two:1"])
      for (let i = 3; i < server.tried.length; i++) assert.strictEqual(server.tried[i], server.tried[i - 3])
      // Three per round at most; at least one round in each second and a half.
      assert.isAtLeast(server.tried.length, 18)
      assert.isAtMost(server.tried.length, 60)
    })
  )

  it.effect("does not spin on a server that hangs up after each handshake", () =>
    Effect.gen(function* () {
      const server = yield* fakeServer
      yield* clientOf(server)
      yield* fork(Effect.forever(Effect.map(server.shake(), ([connection]) => connection.hangUp())))
      yield* TestClock.adjust("10 seconds")
      assert.isBelow(server.tried.length, 40)
      assert.isAbove(server.tried.length, 5)
    })
  )

  it.effect("leaves a server that was taken from the ensemble while it connected", () =>
    Effect.gen(function* () {
      const server = yield* fakeServer
      const client = yield* clientOf(server)
      const connection = yield* server.accept
      yield* client.setEndpoints([{ host: "two", port: 1 }])
      yield* connection.frame
      connection.send(frame((w) => w.int(0).int(4000).long(77n).buffer(new Uint8Array(16)).bool(false)))
      yield* Effect.yieldNow
      yield* TestClock.adjust("1 second")
      const [next] = yield* server.shake()
      assert.strictEqual(next.endpoint.host, "two")
      assert.isFalse(connection.isOpen())
    })
  )

  it.effect("tries on when the platform throws", () =>
    Effect.gen(function* () {
      const server = yield* fakeServer
      let broken = true
      const transport: Client.Options["transport"] = (endpoint) =>
        Effect.suspend(() => {
          if (!broken) return server.transport(endpoint)
          const thrown = Effect.die(new RangeError("no such port"))
          return Effect.succeed(Socket.make({ reader: thrown, writer: thrown }))
        })
      const client = yield* clientOf(server, { transport })
      yield* Effect.yieldNow
      const state = client.state()
      assert.match(state._tag === "Connecting" ? (state.problem ?? "") : "", /no such port/)
      broken = false
      yield* TestClock.adjust("1 second")
      yield* server.shake()
      yield* client.attached
    })
  )

  it.effect("moves when the ensemble does, and stays where it can", () =>
    Effect.gen(function* () {
      const { client, connection, server } = yield* attached()
      yield* client.setEndpoints([{ host: "two", port: 1 }, endpoint])
      yield* Effect.yieldNow
      assert.isTrue(connection.isOpen())
      yield* client.setEndpoints([{ host: "two", port: 1 }])
      const [next, request] = yield* server.shake()
      assert.strictEqual(next.endpoint.host, "two")
      assert.strictEqual(request.sessionId, 77n)
      assert.isFalse(connection.isOpen())
    })
  )
})

describe("watches", () => {
  it.effect("are told of events before any answer that comes later", () =>
    Effect.gen(function* () {
      const { client, connection } = yield* attached()
      const order: Array<string> = []
      const watch = yield* fork(
        client.watch("/a", (notice) => {
          if (notice._tag === "Event") order.push(`${notice.event.type} ${notice.event.path}`)
        })
      )
      connection.answer((yield* connection.request).xid, { body: (w) => w.int(0) })
      yield* Fiber.join(watch)
      const read = yield* fork(Effect.tap(client.sync("/"), () => Effect.sync(() => order.push("answer"))))
      const { xid } = yield* connection.request
      // In one piece: event, answer, event.
      connection.send(
        Uint8Array.from(
          Buffer.concat([
            frame((w) => w.int(-1).long(-1n).int(0).int(1).int(3).ustring("/a/1")),
            frame((w) => w.int(xid).long(1n).int(0)),
            frame((w) => w.int(-1).long(-1n).int(0).int(2).int(3).ustring("/a/1"))
          ])
        )
      )
      yield* Fiber.join(read)
      yield* Effect.yieldNow
      assert.deepStrictEqual(order, ["created /a/1", "answer", "deleted /a/1"])
    })
  )

  it.effect("end with their scope, at the server once nobody watches the path", () =>
    Effect.gen(function* () {
      const { client, connection } = yield* attached()
      const notices: Array<Watches.Notice> = []
      const scopes = [yield* Scope.make(), yield* Scope.make()]
      for (const scope of scopes) {
        const watch = yield* fork(
          Scope.provide(
            client.watch("/a", (notice) => notices.push(notice)),
            scope
          )
        )
        connection.answer((yield* connection.request).xid, { body: (w) => w.int(0) })
        yield* Fiber.join(watch)
      }
      connection.event(1, "/a")
      yield* Effect.yieldNow
      for (const scope of scopes) {
        assert.strictEqual(connection.waiting(), 0)
        yield* Scope.close(scope, Exit.void)
      }
      assert.strictEqual((yield* connection.request).opCode, P.OpCode.removeWatches)
      connection.event(2, "/a")
      yield* Effect.yieldNow
      assert.deepStrictEqual(names(notices), ["created /a", "created /a"])
    })
  )

  it.effect("that were refused are not kept", () =>
    Effect.gen(function* () {
      const { client, connection, server } = yield* attached()
      const fiber = yield* fork(client.watch("/a", () => {}))
      connection.answer((yield* connection.request).xid, { err: P.Code.Unimplemented })
      assert.strictEqual((yield* failureOf(fiber))._tag, "Unimplemented")
      connection.hangUp()
      const [next] = yield* server.shake()
      yield* client.attached
      yield* fork(Effect.ignore(client.sync("/")))
      assert.strictEqual((yield* next.request).opCode, P.OpCode.sync)
    })
  )

  it.effect("that another server does not know end, one-shot ones are set without them", () =>
    Effect.gen(function* () {
      const { client, connection, server } = yield* attached()
      const notices: Array<Watches.Notice> = []
      const watch = yield* fork(client.watch("/a", (notice) => notices.push(notice)))
      connection.answer((yield* connection.request).xid, { body: (w) => w.int(0) })
      yield* Fiber.join(watch)
      const read = yield* fork(client.exists("/b", () => {}))
      connection.answer((yield* connection.request).xid, { err: P.Code.NoNode })
      yield* Fiber.join(read)
      connection.hangUp()
      const [old] = yield* server.shake()
      yield* client.attached
      assert.strictEqual((yield* old.request).opCode, P.OpCode.setWatches2)
      old.answer(-8, { err: P.Code.Unimplemented })
      old.hangUp()
      yield* Effect.yieldNow
      yield* TestClock.adjust("1 second")
      const [next] = yield* server.shake()
      yield* client.attached
      assert.strictEqual((yield* next.request).opCode, P.OpCode.setWatches)
      assert.deepStrictEqual(names(notices), ["Interrupted", "Restored", "Over"])
    })
  )

  it.effect("in their thousands are set again in requests below the limit", () =>
    Effect.gen(function* () {
      const { client, connection, server } = yield* attached()
      const count = 4000
      const reads = yield* fork(
        Effect.forEach(
          Array.from({ length: count }, (_, i) => `/group/${"x".repeat(80)}${i}`),
          (path) => client.exists(path, () => {}),
          { concurrency: "unbounded", discard: true }
        )
      )
      for (let i = 0; i < count; i++) connection.answer((yield* connection.request).xid, { err: P.Code.NoNode })
      yield* Fiber.join(reads)
      connection.hangUp()
      const [next] = yield* server.shake()
      yield* client.attached
      let found = 0
      while (found < count) {
        const bytes = yield* next.frame
        assert.isBelow(bytes.length, 129 * 1024)
        const reader = body(bytes)
        assert.deepStrictEqual([reader.int(), reader.int()], [-8, P.OpCode.setWatches])
        reader.long()
        for (let list = 0; list < 3; list++) found += reader.vector(4, (r) => r.ustring()).length
      }
      assert.strictEqual(found, count)
    })
  )
})

describe("closing", () => {
  it.effect("tells the server and waits for its answer", () =>
    Effect.gen(function* () {
      const { client, connection, server } = yield* attached()
      const closing = yield* fork(client.close)
      const { opCode, xid } = yield* connection.request
      assert.strictEqual(opCode, P.OpCode.closeSession)
      assert.strictEqual((yield* Effect.flip(client.sync("/")))._tag, "SessionClosed")
      assert.isTrue(connection.isOpen())
      connection.answer(xid)
      yield* Fiber.join(closing)
      yield* Effect.yieldNow
      assert.isFalse(connection.isOpen())
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(server.tried.length, 1)
    })
  )

  it.effect("is bounded when no answer comes, and so is the scope's end", () =>
    Effect.gen(function* () {
      const server = yield* fakeServer
      const scope = yield* Scope.make()
      const client = yield* Scope.provide(
        Client.make({ endpoints: [endpoint], transport: server.transport, timeoutMillis: 4000, closeMillis: 300 }),
        scope
      )
      const [connection] = yield* server.shake()
      yield* client.attached
      const closing = yield* fork(Scope.close(scope, Exit.void))
      assert.strictEqual((yield* connection.request).opCode, P.OpCode.closeSession)
      yield* TestClock.adjust(300)
      yield* Fiber.join(closing)
      assert.isFalse(connection.isOpen())
    })
  )

  it.effect("during the handshake gives the new session back", () =>
    Effect.gen(function* () {
      const server = yield* fakeServer
      const client = yield* clientOf(server)
      const connection = yield* server.accept
      yield* client.close
      yield* connection.frame
      connection.send(frame((w) => w.int(0).int(4000).long(77n).buffer(new Uint8Array(16)).bool(false)))
      assert.strictEqual((yield* connection.request).opCode, P.OpCode.closeSession)
      connection.answer(1)
      yield* Effect.yieldNow
      assert.strictEqual(client.state()._tag, "Over")
    })
  )
})
