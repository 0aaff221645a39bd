import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Result, Stream } from "effect"
import { TestClock } from "effect/testing"
import type { Client } from "../../src/engines/zookeeper/client.ts"
import { requestsOver } from "../../src/engines/zookeeper/client.ts"
import type { Current } from "../../src/engines/zookeeper/clients.ts"
import { groupNode } from "../../src/engines/zookeeper/nodes.ts"
import type { EventType } from "../../src/engines/zookeeper/protocol.ts"
import * as Upstream from "../../src/engines/zookeeper/upstream.ts"
import * as Utf8 from "../../src/engines/zookeeper/utf8.ts"
import type { Listener } from "../../src/engines/zookeeper/watches.ts"
import type { Feed } from "../../src/internal/store.ts"

const group = groupNode({ prefix: "/app", layout: "ensemble" }, { kind: "election", name: "g" })

const stat = { mzxid: 0n, ctime: 0, mtime: 0, cversion: 0, aversion: 0, dataLength: 0, numChildren: 0, pzxid: 0n }

/** A server whose answers the test gives, one by one. */
const makeServer = (names: ReadonlyArray<string>, zxid: bigint) => {
  let listener: Listener = () => {}
  const reads: Array<(answer: object) => void> = []
  const asked: Array<(answer: object) => void> = []
  const requestUnsafe: Client["requestUnsafe"] = (operation, answered) => {
    // What the test answers has the fields that are read of this operation's answer.
    const answer = (fields: object) => answered(Result.succeed(fields as never))
    if (operation.name === "sync") answer({ zxid })
    else if (operation.name === "getChildren") answer({ children: names, zxid })
    else if (operation.name === "exists") asked.push(answer)
    else reads.push(answer)
    return () => {}
  }
  const client: Partial<Client> = {
    watch: (_, to) => Effect.sync(() => void (listener = to)),
    requestUnsafe,
    ...requestsOver(requestUnsafe)
  }
  return {
    // The feed uses no more of a client than this.
    client: client as Client,
    event: (type: EventType, name: string) =>
      listener({ _tag: "Event", event: { type, path: `${group.path}/${name}`, zxid: -1n } }),
    /** Answers the oldest read that is due with a node that was created at the token and has this value. */
    answer: (at: bigint, token: bigint, value: string) =>
      Effect.sync(() => {
        const answer = reads.shift()
        if (answer === undefined) return assert.fail("no read is due")
        const data = Utf8.encode(value)
        answer({ data, zxid: at, stat: { ...stat, czxid: token, version: 0, ephemeralOwner: 1n } })
      }),
    answerGroup: (at: bigint) =>
      Effect.sync(() => {
        const answer = asked.shift()
        if (answer === undefined) return assert.fail("the group is not asked for")
        answer({ zxid: at })
      })
  }
}

type Server = ReturnType<typeof makeServer>

const current = (client: Client): Current => ({
  id: "0x1",
  client,
  epoch: 0,
  hints: new Map(),
  strays: new Set(),
  lists: new Map()
})

const show = (feed: Feed): string => {
  if (feed._tag !== "Snapshot" && feed._tag !== "Changes") return feed._tag
  const [revision, entries] =
    feed._tag === "Snapshot" ? [feed.snapshot.revision, feed.snapshot.entries] : ([feed.revision, feed.puts] as const)
  const all = entries.map(({ id, value }) => `${id}=${value}`).concat(feed._tag === "Changes" ? feed.removes : [])
  return `${feed.unsettled === undefined ? "" : "unsettled "}${feed._tag} ${revision}: ${all.sort().join()}`
}

/** What the feed of a group says, as far as it has come. */
const follow = Effect.fnUntraced(function* (server: Server) {
  const said: Array<string> = []
  const settings = { endpoint: "a:1", requestMillis: 60_000 }
  const feed = yield* Upstream.start(current(server.client), { recursive: true }, group, settings)
  const fiber = yield* feed.pipe(
    Stream.runForEach((one) => Effect.sync(() => void said.push(show(one)))),
    Effect.forkScoped({ startImmediately: true })
  )
  // What is read is asked for at the end of the turn.
  yield* Effect.yieldNow
  return { said, fiber }
})

const turn = TestClock.adjust("1 millis")

/** For so long a change comes before each answer to the one before: the node's value is the number of its reading. */
const churn = Effect.fnUntraced(function* (server: Server, name: string, token: bigint, from: bigint, millis: number) {
  for (let passed = 0; passed < millis; passed += 100) {
    server.event("dataChanged", name)
    yield* TestClock.adjust("100 millis")
    yield* server.answer(from + BigInt(passed), token, String(from + BigInt(passed)))
  }
})

describe("a group's feed from ZooKeeper", () => {
  it.effect("says nothing until the group is known exactly", () =>
    Effect.gen(function* () {
      const server = makeServer(["a", "b"], 10n)
      const { said } = yield* follow(server)
      yield* server.answer(10n, 1n, "1")
      yield* turn
      assert.deepStrictEqual(said, [])
      yield* server.answer(11n, 2n, "1")
      yield* turn
      server.event("dataChanged", "a")
      yield* turn
      assert.deepStrictEqual(said, ["Snapshot 11: a=1,b=1"])
      yield* server.answer(20n, 1n, "2")
      yield* turn
      assert.deepStrictEqual(said.slice(1), ["Changes 20: a=2"])
    })
  )

  it.effect("shows a group that does not stop changing as it is known, once a second and as not settled", () =>
    Effect.gen(function* () {
      const server = makeServer(["a"], 10n)
      const { said } = yield* follow(server)
      yield* server.answer(10n, 1n, "1")
      yield* turn
      server.event("dataChanged", "a")
      yield* churn(server, "a", 1n, 1_000n, 900)
      assert.deepStrictEqual(said, ["Snapshot 10: a=1"])
      yield* churn(server, "a", 1n, 2_000n, 1_100)
      // Up to where everything is known it says 10; the values are newer.
      assert.deepStrictEqual(said.slice(1), ["unsettled Changes 10: a=2000"])
      yield* churn(server, "a", 1n, 4_000n, 1_000)
      assert.deepStrictEqual(said.slice(2), ["unsettled Changes 10: a=3000"])
      // Nothing came after the last answer.
      yield* turn
      assert.deepStrictEqual(said.slice(3), ["Changes 4900: a=4900"])
    })
  )

  it.effect("loses nobody of the list, and brings nobody back, while it is not settled from the beginning on", () =>
    Effect.gen(function* () {
      const server = makeServer(["a", "b", "c"], 10n)
      const { said } = yield* follow(server)
      yield* server.answer(10n, 1n, "1")
      server.event("dataChanged", "a")
      yield* TestClock.adjust("3 seconds")
      server.event("dataChanged", "a")
      yield* turn
      // Not even the list is known, so that two members would be missing.
      assert.deepStrictEqual(said, [])
      yield* server.answer(11n, 2n, "1")
      server.event("deleted", "c")
      yield* turn
      assert.deepStrictEqual(said, ["unsettled Snapshot 10: a=1,b=1"])
      // The answer to a question that was asked before it went.
      yield* server.answer(11n, 3n, "1")
      yield* TestClock.adjust("1 seconds")
      server.event("dataChanged", "b")
      yield* turn
      assert.deepStrictEqual(said.slice(1), ["unsettled Changes 10: "])
      for (const [at, token] of [
        [20n, 1n],
        [21n, 1n],
        [22n, 2n]
      ] as const) {
        yield* server.answer(at, token, "2")
      }
      yield* server.answerGroup(23n)
      yield* turn
      assert.deepStrictEqual(said.slice(2), ["Changes 23: a=2,b=2"])
    })
  )

  it.effect("gives up a server that no longer answers what is due", () =>
    Effect.gen(function* () {
      const { fiber, said } = yield* follow(makeServer(["a"], 10n))
      yield* TestClock.adjust("1 minutes")
      const error = yield* Effect.flip(Fiber.join(fiber))
      assert.strictEqual(error.reason._tag, "Unreachable")
      assert.deepStrictEqual(said, [])
    })
  )
})
