import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Redacted, Scope } from "effect"
import { TestClock } from "effect/testing"
import * as Connections from "../../src/engines/etcd/connections.ts"
import * as Fake from "./fake.ts"

const requestMillis = 1_000
const range = { header: { cluster_id: "1", revision: "5", raft_term: "1" }, kvs: [] }
const healthy: Fake.Server["answer"] = (method) => (method === "status" ? Fake.status() : range)
const ask = { key: new Uint8Array() }

const make = (...servers: ReadonlyArray<Fake.Server>) =>
  Connections.make(Fake.transport(...servers), { credentials: undefined, requestMillis })

describe("the connection to etcd", () => {
  it.effect("is opened once, however many ask at the same time", () =>
    Effect.gen(function* () {
      const a = Fake.server("a", healthy)
      const { call } = yield* make(a)
      yield* Effect.all(
        Array.from({ length: 50 }, () => call("range", ask)),
        { concurrency: "unbounded" }
      )
      assert.deepStrictEqual([a.dialled, a.requests.filter((method) => method === "range").length], [1, 50])
    })
  )

  it.effect("stays when a server refuses a request", () =>
    Effect.gen(function* () {
      const a = Fake.server("a", healthy)
      const { call } = yield* make(a)
      yield* call("range", ask)
      a.answer = () => Fake.lost("a", "etcdserver: leader changed")
      yield* Effect.flip(call("range", ask))
      assert.deepStrictEqual([a.dialled, a.closed], [1, 0])
    })
  )

  for (const detail of ["Connection dropped", "etcdserver: no leader", "etcdserver: request timed out"]) {
    it.effect(`goes to the next server after "${detail}"`, () =>
      Effect.gen(function* () {
        const a = Fake.server("a", healthy)
        const b = Fake.server("b", healthy)
        const { call, current } = yield* make(a, b)
        yield* call("range", ask)
        a.answer = () => Fake.lost("a", detail)
        yield* Effect.flip(call("range", ask))
        yield* call("range", ask)
        assert.strictEqual((yield* current).endpoint, "b")
        assert.strictEqual(a.closed, 1)
      })
    )
  }

  it.effect("is given up when a request that was silent for long is given up", () =>
    Effect.gen(function* () {
      const a = Fake.server("a", healthy)
      const b = Fake.server("b", healthy)
      const { call, current } = yield* make(a, b)
      yield* call("range", ask)
      a.answer = () => undefined
      const fiber = yield* Effect.forkChild(call("range", ask), { startImmediately: true })
      yield* TestClock.adjust(600)
      yield* Fiber.interrupt(fiber)
      assert.strictEqual((yield* current).endpoint, "b")
    })
  )

  it.effect("stays when a request is given up at once, or while others are answered", () =>
    Effect.gen(function* () {
      const a = Fake.server("a", healthy)
      const { call } = yield* make(a)
      yield* call("range", ask)
      let silent = true
      a.answer = (method) => (silent && method === "txn" ? undefined : range)
      const txn = call("txn", { compare: [], success: [], failure: [] })
      yield* Fiber.interrupt(yield* Effect.forkChild(txn, { startImmediately: true }))
      const slow = yield* Effect.forkChild(txn, { startImmediately: true })
      yield* TestClock.adjust(500)
      yield* call("range", ask)
      yield* TestClock.adjust(500)
      yield* Fiber.interrupt(slow)
      silent = false
      yield* txn
      assert.deepStrictEqual([a.dialled, a.closed], [1, 0])
    })
  )

  it.effect("fails everything that runs over it when it is given up", () =>
    Effect.gen(function* () {
      const a = Fake.server("a", healthy)
      const { call, current } = yield* make(a)
      const connection = yield* current
      a.answer = () => undefined
      const waiting = yield* Effect.forkChild(Effect.exit(call("range", ask)), { startImmediately: true })
      const ends: Array<string> = []
      connection.streamUnsafe("watch", { message: () => {}, end: (error) => ends.push(error.detail) })
      connection.condemnUnsafe(Fake.lost("a", "gone"))
      assert.isTrue(Exit.isFailure(yield* Fiber.join(waiting)))
      assert.deepStrictEqual(ends, ["gone"])
      assert.isTrue(a.streams[0]?.cancelled)
    })
  )

  it.effect("ends with the scope, and so does what waits for it", () =>
    Effect.gen(function* () {
      const a = Fake.server("a", healthy)
      const scope = yield* Scope.make()
      const { call } = yield* Scope.provide(make(a), scope)
      yield* call("range", ask)
      yield* Scope.close(scope, Exit.void)
      assert.strictEqual(a.closed, 1)

      const silent = Fake.server("silent", () => undefined)
      const other = yield* Scope.make()
      const connections = yield* Scope.provide(make(silent), other)
      const waiting = yield* Effect.forkChild(Effect.exit(connections.call("range", ask)), { startImmediately: true })
      yield* Effect.yieldNow
      yield* Scope.close(other, Exit.void)
      yield* Fiber.await(waiting)
      assert.strictEqual(silent.closed, 1)
    })
  )

  it.effect("tries every server once before it fails, and each within a request's time", () =>
    Effect.gen(function* () {
      const a = Fake.server("a", () => undefined)
      const b = Fake.server("b", () => Fake.lost("b"))
      const c = Fake.server("c", healthy)
      const { current } = yield* make(a, b, c)
      const fiber = yield* Effect.forkChild(current, { startImmediately: true })
      yield* TestClock.adjust(requestMillis)
      assert.strictEqual((yield* Fiber.join(fiber)).endpoint, "c")

      c.answer = () => Fake.lost("c", "the last word")
      const all = yield* make(a, b, c)
      const failing = yield* Effect.forkChild(Effect.flip(all.current), { startImmediately: true })
      yield* TestClock.adjust(requestMillis)
      assert.strictEqual((yield* Fiber.join(failing)).endpoint, "c")
    })
  )

  it.effect("asks no second server whether a wrong password is right", () =>
    Effect.gen(function* () {
      const wrong = () => Fake.lost("a", "etcdserver: authentication failed, invalid user ID or password", 3)
      const a = Fake.server("a", wrong)
      const b = Fake.server("b", wrong)
      const credentials = { username: "me", password: Redacted.make("secret") }
      const { current } = yield* Connections.make(Fake.transport(a, b), { credentials, requestMillis })
      const error = yield* Effect.flip(current)
      assert.include(error.detail, "authentication failed")
      assert.deepStrictEqual([a.dialled, b.dialled], [1, 0])
    })
  )

  it.effect("logs in anew, once for all requests that an expired login has failed", () =>
    Effect.gen(function* () {
      let token = 0
      let valid = true
      const a = Fake.server("a", (method) => {
        if (method === "authenticate") {
          valid = true
          return { token: `token-${++token}` }
        }
        if (method === "status") return Fake.status()
        return valid ? range : Fake.lost("a", "etcdserver: invalid auth token", 16)
      })
      const credentials = { username: "me", password: Redacted.make("secret") }
      const { call } = yield* Connections.make(Fake.transport(a), { credentials, requestMillis })
      yield* call("range", ask)
      valid = false
      yield* Effect.all(
        Array.from({ length: 20 }, () => call("range", ask)),
        { concurrency: "unbounded" }
      )
      assert.deepStrictEqual(a.tokens, ["token-1", "token-2"])
      assert.strictEqual(a.dialled, 1)
    })
  )

  it.effect("is refused by a server that is too old, and by one that is none", () =>
    Effect.gen(function* () {
      const old = yield* make(Fake.server("a", () => Fake.status("3.3.9")))
      assert.include((yield* Effect.flip(old.current)).detail, "too old")
      const none = yield* make(Fake.server("a", () => Fake.lost("a", "unknown service etcdserverpb.Maintenance", 12)))
      assert.strictEqual((yield* Effect.flip(none.current)).code, 12)
    })
  )

  it.effect("believes progress only of servers whose word is good", () =>
    Effect.gen(function* () {
      const trusted = (version: string) =>
        Effect.gen(function* () {
          const { current } = yield* make(Fake.server("a", () => Fake.status(version)))
          return (yield* current).progressIsTrustworthy
        })
      assert.deepStrictEqual([yield* trusted("3.5.12"), yield* trusted("3.5.13")], [false, true])
    })
  )
})
