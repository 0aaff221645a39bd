import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Fiber, Option, Stream } from "effect"
import { TestClock } from "effect/testing"
import * as blocking from "../../src/engines/consul/blocking.ts"
import * as Follows from "../../src/engines/consul/follows.ts"
import * as GroupStore from "../../src/engines/consul/groupStore.ts"
import type { HttpAnswer, HttpRequest } from "../../src/engines/consul/http.ts"
import * as Kv from "../../src/engines/consul/kv.ts"
import * as Requests from "../../src/engines/consul/requests.ts"
import * as Servers from "../../src/engines/consul/servers.ts"
import type { GroupKind } from "../../src/Group.ts"
import type { Feed } from "../../src/internal/store.ts"
import type { Agent } from "./fake.ts"
import { agent, lost, pair, transport } from "./fake.ts"

const requestMillis = 1_000

const serversOf = (first: Agent, ...others: ReadonlyArray<Agent>) =>
  Clock.clockWith((clock) => Effect.sync(() => Servers.make(transport(first, ...others), { clock, requestMillis })))

const kvOf = (one: Agent) => Effect.flatMap(serversOf(one), (servers) => Kv.make(Requests.make(servers).any, "p"))

const groupOf = (one: Agent, kind: GroupKind = "lock") =>
  Effect.gen(function* () {
    const kv = yield* kvOf(one)
    const settings = { prefix: "p", endpoint: "e", requestMillis }
    const follows = yield* Follows.make(kv, settings)
    const shared = { kv, follows, written: new Map() }
    return { kv, group: GroupStore.make(shared, settings, { kind, name: "g" }) }
  })

const read: HttpRequest = { method: "GET", path: "/kv/x", effects: "read" }
const write: HttpRequest = { method: "PUT", path: "/txn", effects: "write" }

describe("servers", () => {
  it.effect("reads, and what was never sent, go to the next one; a write that may have been applied does not", () =>
    Effect.gen(function* () {
      const down = agent("a", () => lost("a"))
      const up = agent("b", () => ({ status: 200 }))
      const first = yield* serversOf(down, up)
      assert.strictEqual((yield* first.send(read)).endpoint, "b")
      const second = yield* serversOf(down, up)
      assert.isTrue((yield* Effect.flip(second.send(write))).sent)
      assert.strictEqual(up.requests.length, 1, "the write was not sent again")
      assert.strictEqual((yield* second.send(write)).endpoint, "b", "the next one goes to the other")
      down.answer = () => lost("a", false)
      const third = yield* serversOf(down, up)
      assert.strictEqual((yield* third.send(write)).endpoint, "b")
    })
  )

  it.effect("a server without a leader is left for another", () =>
    Effect.gen(function* () {
      const cut = agent("a", () => ({ status: 500, body: "No cluster leader" }))
      const servers = yield* serversOf(
        cut,
        agent("b", () => ({ status: 200 }))
      )
      assert.strictEqual((yield* servers.send(read)).endpoint, "b")
    })
  )

  it.effect("what is pinned never leaves the first", () =>
    Effect.gen(function* () {
      const other = agent("b", () => ({ status: 200 }))
      const servers = yield* serversOf(
        agent("a", () => lost("a", false)),
        other
      )
      yield* Effect.flip(servers.pinned(write))
      assert.strictEqual(other.requests.length, 0)
    })
  )

  it.effect("a request that is given up after long silence aborts everything on that address and leaves it", () =>
    Effect.gen(function* () {
      const silent = agent("a", () => undefined)
      const servers = yield* serversOf(
        silent,
        agent("b", () => ({ status: 200 }))
      )
      const watch = yield* Effect.forkScoped(Effect.flip(servers.pinned({ ...read, waitMillis: 10_000 })))
      const asked = yield* Effect.forkScoped(servers.send(read))
      yield* TestClock.adjust(requestMillis * 0.6)
      yield* Fiber.interrupt(asked)
      assert.include((yield* Fiber.join(watch)).detail, "Nothing was heard")
      assert.strictEqual(silent.aborted, 2, "both requests are aborted")
      assert.strictEqual(silent.idleClosed, 1, "and what was kept open is closed")
      assert.strictEqual((yield* servers.send(read)).endpoint, "b")
    })
  )

  it.effect("one that is given up soon speaks against nobody", () =>
    Effect.gen(function* () {
      const silent = agent("a", () => undefined)
      const servers = yield* serversOf(
        silent,
        agent("b", () => ({ status: 200 }))
      )
      const asked = yield* Effect.forkScoped(servers.send(read))
      yield* TestClock.adjust(requestMillis * 0.4)
      yield* Fiber.interrupt(asked)
      assert.strictEqual(silent.aborted, 1)
      assert.strictEqual(silent.idleClosed, 0)
    })
  )

  it.effect("one that is given up speaks against nobody when something else was heard meanwhile", () =>
    Effect.gen(function* () {
      const slow = agent("a", ({ path }) => (path === "/kv/heard" ? { status: 200 } : undefined))
      const servers = yield* serversOf(slow)
      const asked = yield* Effect.forkScoped(servers.send(read))
      yield* TestClock.adjust(requestMillis * 0.3)
      yield* servers.send({ ...read, path: "/kv/heard" })
      yield* TestClock.adjust(requestMillis * 0.4)
      yield* Fiber.interrupt(asked)
      assert.strictEqual(slow.aborted, 1)
      assert.strictEqual(slow.idleClosed, 0)
    })
  )

  it.effect("a blocking query may be silent for as long as it waits", () =>
    Effect.gen(function* () {
      const silent = agent("a", () => undefined)
      const servers = yield* serversOf(silent)
      const watch = yield* Effect.forkScoped(servers.send({ ...read, waitMillis: 10_000 }))
      yield* TestClock.adjust("10 seconds")
      yield* Fiber.interrupt(watch)
      assert.strictEqual(silent.idleClosed, 0)
    })
  )
})

describe("the key-value store", () => {
  it.effect("every reading is consistent, and its revision is no lower than what was known when it was asked", () =>
    Effect.gen(function* () {
      const one = agent("a", () => ({ index: 9n, body: [pair("p/x", 9)] }))
      const kv = yield* kvOf(one)
      assert.strictEqual((yield* kv.read("r", "p/x")).revision, 9n)
      one.answer = () => ({ status: 404, index: 4n })
      const lower = yield* kv.read("r", "p/y")
      assert.deepStrictEqual([lower.index, lower.revision, lower.pairs], [4n, 9n, []])
      assert.isTrue(one.requests.every(({ query }) => query?.["consistent"] === ""))
    })
  )

  it.effect("what has no index is not Consul", () =>
    Effect.gen(function* () {
      const strange: ReadonlyArray<Partial<HttpAnswer>> = [
        { status: 404, body: "<html>" },
        { status: 200, body: [] },
        { status: 200, index: 3n, body: { hello: 1 } }
      ]
      for (const answer of strange) {
        const kv = yield* kvOf(agent("a", () => answer))
        assert.strictEqual((yield* Effect.flip(kv.read("r", "p/x"))).reason._tag, "NotThisServer")
      }
    })
  )

  it.effect("a whole store below what was seen was put back: a new epoch; a group's lower index is none", () =>
    Effect.gen(function* () {
      const one = agent("a", () => ({ index: 50n, body: [pair("p/x", 50)] }))
      const kv = yield* kvOf(one)
      yield* kv.read("r", "p/x")
      one.answer = () => ({ index: 30n, body: [pair("p/x", 30)] })
      yield* kv.read("r", "p/x")
      assert.strictEqual(kv.epochUnsafe(), 0, "a lower index of some keys says nothing")
      one.answer = () => ({ status: 404, index: 50n })
      yield* kv.probe("r")
      assert.strictEqual(kv.epochUnsafe(), 0)
      one.answer = () => ({ status: 404, index: 49n })
      yield* kv.probe("r")
      assert.strictEqual(kv.epochUnsafe(), 1)
      yield* kv.probe("r")
      assert.strictEqual(kv.epochUnsafe(), 1, "and once only")
    })
  )

  it.effect("an answer to what was asked before a rewind tells nothing", () =>
    Effect.gen(function* () {
      const one = agent("a", () => ({ index: 50n, body: [] }))
      const kv = yield* kvOf(one)
      yield* kv.read("r", "p/x")
      const late = Promise.withResolvers<Partial<HttpAnswer>>()
      one.answer = ({ path }) => (path === "/kv/p/" ? { status: 404, index: 10n } : late.promise)
      const reading = yield* Effect.forkScoped(Effect.flip(kv.read("r", "p/x")), { startImmediately: true })
      const writing = yield* Effect.forkScoped(Effect.flip(kv.txn("r", [])), { startImmediately: true })
      yield* kv.probe("r")
      assert.strictEqual(kv.epochUnsafe(), 1)
      late.resolve({ status: 200, index: 60n, body: [] })
      assert.strictEqual((yield* Fiber.join(reading)).reason._tag, "Unreachable")
      assert.strictEqual((yield* Fiber.join(writing)).reason._tag, "OutcomeUnknown")
    })
  )

  it.effect("a refusal for want of a permission is a failure, any other is an answer", () =>
    Effect.gen(function* () {
      const refuse = (What: string) => () => ({ status: 409, body: { Results: null, Errors: [{ OpIndex: 0, What }] } })
      const denied = yield* kvOf(agent("a", refuse("Permission denied")))
      assert.strictEqual((yield* Effect.flip(denied.txn("r", []))).reason._tag, "Forbidden")
      const refused = yield* kvOf(agent("a", refuse("key exists")))
      assert.strictEqual((yield* refused.txn("r", []))._tag, "Refused")
    })
  )
})

interface Step {
  readonly Verb: string
  readonly Session?: string
  readonly Index?: number
}

const verbs = ({ body }: HttpRequest): ReadonlyArray<Step> =>
  (body as ReadonlyArray<{ readonly KV: Step }>).map(({ KV }) => KV)

const applied = (...pairs: ReadonlyArray<ReturnType<typeof pair>>) => ({
  status: 200,
  body: { Results: pairs.map((KV) => ({ KV })), Errors: null }
})

const refused = (OpIndex: number, What: string) => ({
  status: 409,
  body: { Results: null, Errors: [{ OpIndex, What }] }
})

describe("entries", () => {
  it.effect("are created only where there is none, and locked by the session", () =>
    Effect.gen(function* () {
      const one = agent("a", () => applied(pair("p/lock/g/m", 7)))
      const { group } = yield* groupOf(one)
      const created = yield* group.create("s", "m", "v")
      assert.deepInclude(created, { _tag: "Created", token: 7n, version: 7n })
      const [request] = one.requests
      assert.deepStrictEqual(request === undefined ? [] : verbs(request).map(({ Verb }) => Verb), [
        "check-not-exists",
        "lock",
        "get-tree"
      ])
    })
  )

  it.effect("are first where the tree that was read with them shows nobody before them", () =>
    Effect.gen(function* () {
      const made = pair("p/lock/g/m", 7)
      const firstAmong = (...tree: ReadonlyArray<ReturnType<typeof pair>>) =>
        Effect.gen(function* () {
          const { group } = yield* groupOf(agent("a", () => applied(made, ...tree)))
          const creation = yield* group.create("s", "m", "v")
          return creation._tag === "Created" ? creation.isFirst : creation._tag
        })
      assert.isTrue(yield* firstAmong(made))
      assert.isTrue(yield* firstAmong(pair("p/lock/g/", 1), made), "a directory marker is no member")
      assert.isFalse(yield* firstAmong(pair("p/lock/g/a", 3, 9), made))
      assert.isUndefined(yield* firstAmong(), "nothing was read")
      assert.isUndefined(yield* firstAmong(pair("p/lock/g/a", 9)), "what was read does not show it")
    })
  )

  it.effect("are listed with their creation only where they are to be the first", () =>
    Effect.gen(function* () {
      for (const [kind, reads] of [
        ["election", true],
        ["lock", true],
        ["sequence", false],
        ["barrier", false]
      ] as const) {
        const key = kind === "barrier" ? "p/g/m" : `p/${kind}/g/m`
        const one = agent("a", () => applied(pair(key, 7)))
        const { group } = yield* groupOf(one, kind)
        assert.propertyVal(yield* group.create("s", "m", "v"), "isFirst", undefined)
        const [request] = one.requests
        assert.strictEqual(request !== undefined && verbs(request).some(({ Verb }) => Verb === "get-tree"), reads, kind)
      }
    })
  )

  it.effect("a session that is gone, and a lock that is delayed, are told apart", () =>
    Effect.gen(function* () {
      const gone = yield* groupOf(agent("a", () => refused(1, `invalid session "s"`)))
      assert.strictEqual((yield* gone.group.create("s", "m", "v"))._tag, "SessionGone")
      const one = agent("a", () => refused(1, `failed to lock key "p/lock/g/m" due to lock delay`))
      const { group } = yield* groupOf(one)
      const error = yield* Effect.flip(group.create("s", "m", "v"))
      assert.strictEqual(error.reason._tag, "Unreachable")
      assert.include(error.message, "lock delay")
      assert.strictEqual(one.requests.length, 1, "and it is not asked for again at once")
    })
  )

  it.effect("are removed and set only by their session and as they were last written", () =>
    Effect.gen(function* () {
      const one = agent("a", () => applied(pair("p/lock/g/m", 7, 9)))
      const { group } = yield* groupOf(one)
      yield* group.update({ id: "m", token: 7n, owner: "s", version: 7n }, "w")
      yield* group.remove({ id: "m", token: 7n, owner: "s" })
      assert.deepStrictEqual(
        one.requests.map((request) => verbs(request).map(({ Index, Session, Verb }) => [Verb, Session ?? Index])),
        [
          [
            ["check-session", "s"],
            ["check-index", 7],
            ["lock", "s"]
          ],
          [
            ["check-session", "s"],
            ["check-index", 9],
            ["delete", undefined]
          ]
        ]
      )
    })
  )

  it.effect("what is not known is read first, and one that is another holding is left alone", () =>
    Effect.gen(function* () {
      const deletes: Array<HttpRequest> = []
      const one = agent("a", (request) => {
        if (request.method === "GET") return { index: 20n, body: [pair("p/lock/g/m", 7, 20)] }
        deletes.push(request)
        return applied()
      })
      const { group } = yield* groupOf(one)
      yield* group.remove({ id: "m", token: 6n, owner: "s" })
      yield* group.remove({ id: "m", token: 7n, owner: "other" })
      assert.strictEqual(deletes.length, 0)
      yield* group.remove({ id: "m", token: 7n, owner: "s" })
      assert.strictEqual(deletes.length, 1)
    })
  )

  it.effect("a turn shows the next lower token of the whole group", () =>
    Effect.gen(function* () {
      const all = [pair("p/lock/g/a", 3), pair("p/lock/g/b", 5), pair("p/lock/g/m", 7), pair("p/lock/g/z", 9)]
      const { group } = yield* groupOf(agent("a", () => ({ index: 9n, body: all })))
      const { ahead, own } = yield* group.turn("m", 7n)
      assert.strictEqual(Option.getOrThrow(own).token, 7n)
      assert.strictEqual(Option.getOrThrow(ahead).id, "b")
    })
  )
})

/** Runs a feed over scripted answers to its blocking queries. */
const scripted = Effect.fnUntraced(function* (answers: ReadonlyArray<Partial<HttpAnswer>>, probe = 1_000n) {
  const left = [...answers]
  const indexes: Array<string | undefined> = []
  const one = agent("a", ({ path, query }) => {
    if (path === "/kv/p/") return { status: 404, index: probe }
    indexes.push(query?.["index"])
    return left.shift()
  })
  const { group, kv } = yield* groupOf(one)
  const feeds: Array<Feed> = []
  yield* group.feed.pipe(
    Stream.runForEach((feed) => Effect.sync(() => feeds.push(feed))),
    Effect.forkScoped({ startImmediately: true })
  )
  yield* TestClock.adjust(1)
  return { feeds, indexes, kv, shown: () => feeds.map((feed) => feed._tag) }
})

const g = (id: string, created: number, modified = created) => pair(`p/lock/g/${id}`, created, modified)

describe("a feed", () => {
  it.effect("begins with everything and goes on with what has changed", () =>
    Effect.gen(function* () {
      const { feeds, indexes } = yield* scripted([
        { index: 7n, body: [g("a", 5), g("b", 7)] },
        { index: 9n, body: [g("a", 5, 9), g("b", 7)] },
        { index: 11n, body: [g("a", 5, 9), g("c", 11)] }
      ])
      assert.deepStrictEqual(indexes, [undefined, "7", "9", "11"])
      assert.deepStrictEqual(
        feeds.map((feed) => (feed._tag === "Changes" ? [feed.puts.map(({ id }) => id), feed.removes] : feed._tag)),
        ["Snapshot", [["a"], []], [["c"], ["b"]]]
      )
    })
  )

  it.effect("a query that returned although nothing changed is no change", () =>
    Effect.gen(function* () {
      const { shown } = yield* scripted([
        { index: 7n, body: [g("a", 5)] },
        { index: 8n, body: [g("a", 5)] }
      ])
      assert.deepStrictEqual(shown(), ["Snapshot", "Progress"])
    })
  )

  it.effect("an index that falls is asked for anew, and the members stay", () =>
    Effect.gen(function* () {
      const { feeds, indexes, kv } = yield* scripted(
        [
          { index: 52n, body: [g("a", 30)] },
          { index: 30n, body: [g("a", 30)] },
          { index: 30n, body: [g("a", 30)] }
        ],
        52n
      )
      assert.deepStrictEqual(indexes, [undefined, "52", undefined, "30"])
      assert.deepStrictEqual(
        feeds.slice(1).map((feed) => (feed._tag === "Progress" ? feed.revision : feed._tag)),
        [52n, 52n]
      )
      assert.strictEqual(kv.epochUnsafe(), 0)
    })
  )

  it.effect("an answer that came at once and unchanged is doubted: the store may have been put back", () =>
    Effect.gen(function* () {
      const { indexes, kv } = yield* scripted(
        [
          { index: 52n, body: [g("a", 30)] },
          { index: 52n, body: [g("a", 30)] },
          { index: 20n, body: [g("a", 20)] }
        ],
        20n
      )
      assert.strictEqual(kv.epochUnsafe(), 1)
      assert.strictEqual(indexes[2], undefined)
    })
  )

  it.effect("a store that was put back to before anybody came is noticed by its index", () =>
    Effect.gen(function* () {
      const answers = [
        { index: 52n, body: [g("a", 30)] },
        { index: 52n, body: [g("a", 30)] },
        { status: 404, index: 20n }
      ]
      assert.strictEqual((yield* scripted(answers, 20n)).kv.epochUnsafe(), 1)
    })
  )

  it.effect("news that is older than what was told shows a store that was put back", () =>
    Effect.gen(function* () {
      const { kv } = yield* scripted([
        { index: 52n, body: [g("a", 30, 52)] },
        // The store has grown past the revision since, so its own index says nothing.
        { index: 60n, body: [g("a", 30, 31), g("b", 60)] }
      ])
      assert.strictEqual(kv.epochUnsafe(), 1)
    })
  )

  it.effect("a zero is not waited for, and a server that says it is not asked without end", () =>
    Effect.gen(function* () {
      const { indexes } = yield* scripted([
        { index: 7n, body: [g("a", 7)] },
        { index: 0n, body: [g("a", 7)] }
      ])
      assert.deepStrictEqual(indexes, [undefined, "7"])
      yield* TestClock.adjust(blocking.pauseMillis + 1)
      assert.deepStrictEqual(indexes, [undefined, "7", undefined])
    })
  )

  it.effect("a failure forgets the index, says that the link is broken, and reads everything anew", () =>
    Effect.gen(function* () {
      let asked = 0
      const indexes: Array<string | undefined> = []
      const one = agent("a", ({ path, query }) => {
        if (path === "/kv/p/") return { status: 404, index: 100n }
        indexes.push(query?.["index"])
        asked++
        if (asked === 1) return { index: 7n, body: [g("a", 7)] }
        if (asked <= 3) return lost("a")
        return asked === 4 ? { index: 7n, body: [g("a", 7)] } : undefined
      })
      const { group } = yield* groupOf(one)
      const tags: Array<string> = []
      yield* group.feed.pipe(
        Stream.runForEach((feed) => Effect.sync(() => tags.push(feed._tag))),
        Effect.forkScoped({ startImmediately: true })
      )
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(tags, ["Snapshot", "Disconnected", "Snapshot"])
      // The failed one is asked twice, because a connection that was kept open may have been closed meanwhile.
      assert.deepStrictEqual(indexes, [undefined, "7", "7", undefined, "7"])
    })
  )

  it.effect("a query that is silent beyond its wait is given up", () =>
    Effect.gen(function* () {
      const { shown } = yield* scripted([{ index: 7n, body: [g("a", 7)] }])
      yield* TestClock.adjust(blocking.longestMillis(blocking.waitMillis) + requestMillis - 10)
      assert.deepStrictEqual(shown(), ["Snapshot"])
      yield* TestClock.adjust(20)
      assert.deepStrictEqual(shown().slice(0, 2), ["Snapshot", "Disconnected"])
    })
  )
})

describe("following one entry", () => {
  it.effect("waits from what is known, on that key alone", () =>
    Effect.gen(function* () {
      const one = agent("a", ({ query }) => (query?.["index"] === "7" ? { status: 404, index: 12n } : undefined))
      const { group } = yield* groupOf(one)
      const first = yield* group.follow("m", 7n).pipe(Stream.runHead)
      assert.deepStrictEqual(Option.getOrThrow(first), { entry: Option.none(), revision: 12n })
      const [request] = one.requests
      assert.strictEqual(request?.path, "/kv/p/lock/g/m")
      assert.notProperty(request?.query, "recurse")
    })
  )

  it.effect("after a failure asks at once, and does not wait for what it knew", () =>
    Effect.gen(function* () {
      const one = agent("a", ({ query }) => (query?.["index"] === "7" ? lost("a") : { index: 7n, body: [g("m", 7)] }))
      const { group } = yield* groupOf(one)
      const first = yield* Effect.forkScoped(group.follow("m", 7n).pipe(Stream.runHead))
      yield* TestClock.adjust("1 second")
      assert.strictEqual(Option.getOrThrow(yield* Fiber.join(first)).revision, 7n)
    })
  )

  /** Follows that are more than have a query each, on a store whose answers the test gives. */
  const crowd = Effect.fnUntraced(function* (known: bigint | undefined) {
    const list: Array<PromiseWithResolvers<Partial<HttpAnswer>>> = []
    const one = agent("a", ({ query }) => {
      if (query?.["recurse"] === undefined) return undefined
      const asked = Promise.withResolvers<Partial<HttpAnswer>>()
      list.push(asked)
      return asked.promise
    })
    const { group } = yield* groupOf(one)
    const seen = new Map<string, Array<string>>()
    const ids = ["s1", "s2", "s3", "s4", "x", "y"]
    for (const id of ids) {
      const mine: Array<string> = []
      seen.set(id, mine)
      yield* group.follow(id, known).pipe(
        Stream.runForEach(({ entry, revision }) =>
          Effect.sync(() => mine.push(`${Option.isSome(entry) ? entry.value.version : "none"}@${revision}`))
        ),
        Effect.forkScoped({ startImmediately: true })
      )
    }
    const answer = (index: bigint, ...body: ReadonlyArray<ReturnType<typeof g>>) =>
      Effect.suspend(() => {
        list.shift()?.resolve({ index, body })
        return TestClock.adjust(1)
      })
    return { answer, requests: one.requests, seen: (id: string) => seen.get(id) }
  })

  it.effect("takes one query for a few of a group, and one more for all the others", () =>
    Effect.gen(function* () {
      const { answer, requests, seen } = yield* crowd(undefined)
      assert.strictEqual(requests.length, 5)
      yield* answer(9n, g("x", 7), g("y", 9))
      assert.deepStrictEqual([seen("x"), seen("y")], [["7@9"], ["9@9"]])
      yield* answer(12n, g("x", 7), g("y", 9, 12))
      assert.deepStrictEqual([seen("x"), seen("y")], [["7@9"], ["9@9", "12@12"]])
      yield* answer(15n, g("y", 9, 12))
      assert.deepStrictEqual(
        [seen("x"), seen("y")],
        [
          ["7@9", "none@15"],
          ["9@9", "12@12"]
        ]
      )
    })
  )

  it.effect("is told nothing of before what it knows", () =>
    Effect.gen(function* () {
      const { answer, seen } = yield* crowd(10n)
      yield* answer(9n, g("y", 9))
      assert.deepStrictEqual(seen("x"), [])
      yield* answer(12n, g("x", 10), g("y", 9, 12))
      assert.deepStrictEqual(seen("x"), ["10@12"])
    })
  )
})
