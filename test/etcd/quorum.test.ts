import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import * as Connections from "../../src/engines/etcd/connections.ts"
import * as Quorum from "../../src/engines/etcd/quorum.ts"
import * as Fake from "./fake.ts"

const ask = { key: new Uint8Array() }
const txn = { compare: [], success: [], failure: [] }

const make = Effect.gen(function* () {
  const now = { cluster_id: "1", revision: "10", raft_term: "5" }
  const server = Fake.server("a", (method) =>
    method === "status" ? Fake.status() : { header: { ...now }, kvs: [], responses: [], succeeded: true }
  )
  const connections = yield* Connections.make(Fake.transport(server), { credentials: undefined, requestMillis: 1_000 })
  const quorum = yield* Quorum.make(connections, "http://a")
  let rewinds = 0
  quorum.onRewindUnsafe(() => rewinds++)
  const read = Effect.result(quorum.range("Group.list", ask))
  const write = Effect.result(quorum.txn("Group.create", "write", txn))
  return { now, server, quorum, read, write, rewinds: () => rewinds }
})

const reason = (result: Effect.Success<ReturnType<typeof Effect.result<unknown, unknown, never>>>) =>
  result._tag === "Failure" ? (result.failure as { reason: { _tag: string } }).reason._tag : "Success"

describe("the quorum's answers", () => {
  it.effect("go on in one epoch while revisions grow or stand still", () =>
    Effect.gen(function* () {
      const { now, quorum, read, rewinds, write } = yield* make
      for (const revision of ["10", "10", "11", "50"]) {
        now.revision = revision
        assert.strictEqual(reason(yield* read), "Success")
        assert.strictEqual(reason(yield* write), "Success")
      }
      assert.deepStrictEqual([quorum.epochUnsafe(), rewinds()], [0, 0])
    })
  )

  it.effect("below what an answer has shown begin a new epoch", () =>
    Effect.gen(function* () {
      const { now, quorum, read, rewinds } = yield* make
      yield* read
      now.revision = "9"
      assert.strictEqual(reason(yield* read), "Unreachable")
      assert.deepStrictEqual([quorum.epochUnsafe(), rewinds()], [1, 1])
      assert.strictEqual(reason(yield* read), "Success")
      assert.strictEqual(quorum.epochUnsafe(), 1)
    })
  )

  it.effect("below what an event has shown begin a new epoch", () =>
    Effect.gen(function* () {
      const { quorum, read } = yield* make
      yield* read
      quorum.sawUnsafe(11n)
      yield* read
      assert.strictEqual(quorum.epochUnsafe(), 1)
    })
  )

  it.effect("of another cluster begin a new epoch, also at a higher revision", () =>
    Effect.gen(function* () {
      const { now, quorum, read } = yield* make
      yield* read
      now.cluster_id = "2"
      now.revision = "1000"
      yield* read
      assert.strictEqual(quorum.epochUnsafe(), 1)
    })
  )

  it.effect("of an earlier term begin a new epoch, also at a higher revision", () =>
    Effect.gen(function* () {
      const { now, quorum, read } = yield* make
      yield* read
      now.raft_term = "6"
      yield* read
      assert.strictEqual(quorum.epochUnsafe(), 0)
      now.raft_term = "2"
      now.revision = "1000"
      yield* read
      assert.strictEqual(quorum.epochUnsafe(), 1)
      assert.strictEqual(reason(yield* read), "Success")
    })
  )

  it.effect("leave a write in doubt that was answered in a new epoch", () =>
    Effect.gen(function* () {
      const { now, read, write } = yield* make
      yield* read
      now.revision = "3"
      assert.strictEqual(reason(yield* write), "OutcomeUnknown")
    })
  )

  it.effect("are measured by what was known when they were asked", () =>
    Effect.gen(function* () {
      const { quorum, read } = yield* make
      yield* read
      const asked = yield* Effect.forkChild(read, { startImmediately: true })
      // Told by a watch while the question was under way: the answer may be older than this.
      quorum.sawUnsafe(20n)
      assert.strictEqual(reason(yield* Fiber.join(asked)), "Success")
      assert.strictEqual(quorum.epochUnsafe(), 0)
    })
  )

  it.effect("from before a rewind tell nothing after it", () =>
    Effect.gen(function* () {
      const { now, quorum, read, server } = yield* make
      yield* read
      const late = yield* Effect.forkChild(read, { startImmediately: true })
      const other = yield* Effect.forkChild(
        Effect.forEach([1, 2], () => read),
        { startImmediately: true }
      )
      now.revision = "2"
      yield* Fiber.join(other)
      yield* Fiber.join(late)
      assert.strictEqual(quorum.epochUnsafe(), 1)
      assert.isTrue(server.requests.length > 3)
      assert.strictEqual(quorum.highestUnsafe(), 2n)
    })
  )

  it.effect("and a single member's word is only a doubt", () =>
    Effect.gen(function* () {
      const { quorum, read } = yield* make
      yield* read
      assert.isTrue(quorum.doubtsUnsafe({ cluster_id: "1", revision: "9", raft_term: "5" }, 10n))
      assert.isTrue(quorum.doubtsUnsafe({ cluster_id: "2", revision: "10", raft_term: "5" }, 10n))
      assert.isTrue(quorum.doubtsUnsafe({ cluster_id: "1", revision: "10", raft_term: "4" }, 10n))
      assert.isFalse(quorum.doubtsUnsafe({ cluster_id: "1", revision: "10", raft_term: "5" }, 10n))
      assert.strictEqual(quorum.epochUnsafe(), 0)
    })
  )
})
