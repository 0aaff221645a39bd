import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Option } from "effect"
import { TestClock } from "effect/testing"
import * as blocking from "../../src/engines/consul/blocking.ts"
import * as Follows from "../../src/engines/consul/follows.ts"
import * as GroupStore from "../../src/engines/consul/groupStore.ts"
import type { HttpAnswer, HttpError, HttpRequest } from "../../src/engines/consul/http.ts"
import * as Kv from "../../src/engines/consul/kv.ts"
import * as Requests from "../../src/engines/consul/requests.ts"
import * as Servers from "../../src/engines/consul/servers.ts"
import type { Followed } from "../../src/internal/store.ts"
import { agent, lost, pair, transport } from "./fake.ts"

const requestMillis = 1_000

const g = (id: string, created: number, modified = created, session = "s") =>
  pair(`p/lock/g/${id}`, created, modified, "", session)

type Answer = Partial<HttpAnswer> | HttpError

/** A group on an agent whose answers to each reading the test gives; everything else is answered with `other`. */
const attending = Effect.gen(function* () {
  const clock = yield* Clock.clockWith(Effect.succeed)
  const waiting: Array<{ readonly request: HttpRequest; readonly answer: (answer: Answer) => void }> = []
  const other: { answer: (request: HttpRequest) => Partial<HttpAnswer> } = { answer: () => ({}) }
  const one = agent("a", (request) => {
    if (request.method === "PUT" || request.path === "/kv/p/") return other.answer(request)
    const { promise, resolve } = Promise.withResolvers<Answer>()
    waiting.push({ request, answer: resolve })
    return promise
  })
  const requests = Requests.make(Servers.make(transport(one), { clock, requestMillis }))
  const kv = yield* Kv.make(requests.any, "p")
  const settings = { prefix: "p", endpoint: "e", requestMillis }
  const follows = yield* Follows.make(kv, settings)
  const group = GroupStore.make({ kv, follows, written: new Map() }, settings, { kind: "lock", name: "g" })
  const disturbed: Array<string> = []
  const found: Array<Followed | undefined> = []
  const attend = (id: string, token: bigint, known = token) => {
    const { attendUnsafe = () => assert.fail("it attends nothing") } = group
    return attendUnsafe({ id, token, owner: "s" }, known, (loss) => {
      disturbed.push(id)
      found.push(loss)
    })
  }
  /** Answers a reading that waits. */
  const answer = (answer: Answer, which = 0) =>
    Effect.suspend(() => {
      for (const { answer: tell } of waiting.splice(which, 1)) tell(answer)
      return TestClock.adjust(1)
    })
  const asked = () =>
    waiting.map(({ request: { path, query } }) => `${path.slice("/kv/p/lock/g/".length)}@${query?.["index"] ?? "now"}`)
  return { kv, one, group, other, attend, answer, asked, disturbed, found }
})

describe("an own entry", () => {
  it.effect("is attended by its key alone, from what is known of it", () =>
    Effect.gen(function* () {
      const { answer, asked, attend, disturbed } = yield* attending
      attend("m", 7n)
      assert.deepStrictEqual(asked(), ["m@7"])
      yield* answer({ status: 404, index: 12n })
      assert.deepStrictEqual(disturbed, ["m"])
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual(asked(), [], "and then not attended any more")
    })
  )

  it.effect("that is somebody else's, or another holding, is lost", () =>
    Effect.gen(function* () {
      const { answer, attend, disturbed } = yield* attending
      attend("a", 7n)
      yield* answer({ index: 12n, body: [g("a", 7, 12, "other")] })
      attend("b", 7n)
      yield* answer({ index: 12n, body: [g("b", 12)] })
      assert.deepStrictEqual(disturbed, ["a", "b"])
    })
  )

  it.effect("that is written is looked at no more than once in a second, and nothing in between is missed", () =>
    Effect.gen(function* () {
      const { answer, asked, attend, disturbed } = yield* attending
      attend("m", 7n)
      yield* answer({ index: 9n, body: [g("m", 7, 9)] })
      assert.deepStrictEqual([asked(), disturbed], [[], []])
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(asked(), ["m@9"], "it goes on from there")
      yield* answer({ status: 404, index: 12n })
      assert.deepStrictEqual(disturbed, ["m"])
    })
  )

  it.effect("is waited for from this process's own last write", () =>
    Effect.gen(function* () {
      const { asked, attend, group, other } = yield* attending
      other.answer = () => ({ body: { Results: [{ KV: g("m", 7, 9) }], Errors: null } })
      yield* group.update({ id: "m", token: 7n, owner: "s", version: 7n }, "w")
      attend("m", 7n)
      assert.deepStrictEqual(asked(), ["m@9"])
    })
  )

  it.effect("is told nothing of after it is left, and its query is aborted", () =>
    Effect.gen(function* () {
      const { answer, attend, disturbed, one } = yield* attending
      const leave = attend("m", 7n)
      leave()
      assert.strictEqual(one.aborted, 1)
      yield* answer({ status: 404, index: 12n })
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual(disturbed, [])
      assert.strictEqual(one.requests.length, 1)
    })
  )

  it.effect("is asked for at once after a failure, and without the index", () =>
    Effect.gen(function* () {
      const { answer, asked, attend, disturbed } = yield* attending
      attend("m", 7n)
      yield* answer(lost("a"))
      yield* answer(lost("a"))
      yield* TestClock.adjust("50 millis")
      assert.deepStrictEqual([asked(), disturbed], [["m@now"], []])
      yield* answer({ status: 404, index: 5n })
      assert.deepStrictEqual(disturbed, ["m"], "whatever the index: it was asked for after what is known")
    })
  )

  it.effect("is asked for anew when its query is silent beyond its wait", () =>
    Effect.gen(function* () {
      const { attend, disturbed, one } = yield* attending
      attend("m", 7n)
      yield* TestClock.adjust(blocking.longestMillis(blocking.waitMillis) + requestMillis - 10)
      assert.deepStrictEqual([one.requests.length, one.aborted], [1, 0])
      yield* TestClock.adjust("100 millis")
      assert.deepStrictEqual([one.requests.length, one.aborted, disturbed], [2, 1, []])
    })
  )

  it.effect("of which nothing can be told any more disturbs its holder", () =>
    Effect.gen(function* () {
      const { answer, asked, attend, disturbed } = yield* attending
      attend("m", 7n)
      yield* answer({ status: 403, body: "Permission denied" })
      assert.deepStrictEqual(disturbed, ["m"])
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual(asked(), [])
    })
  )

  it.effect("in a store that was put back is to be looked at", () =>
    Effect.gen(function* () {
      const { answer, attend, disturbed, kv, other } = yield* attending
      yield* Effect.forkScoped(kv.read("r", "p/x"), { startImmediately: true })
      yield* answer({ status: 404, index: 50n })
      attend("m", 7n)
      other.answer = () => ({ status: 404, index: 10n })
      yield* kv.probe("r")
      assert.strictEqual(kv.epochUnsafe(), 1)
      yield* answer({ index: 9n, body: [g("m", 7, 9)] })
      yield* TestClock.adjust("50 millis")
      yield* answer({ index: 9n, body: [g("m", 7)] })
      assert.deepStrictEqual(disturbed, ["m"])
    })
  )

  it.effect("that another has taken is told with what is there", () =>
    Effect.gen(function* () {
      const { answer, attend, found } = yield* attending
      attend("m", 7n)
      yield* answer({ index: 12n, body: [g("m", 11, 11, "other")] })
      const entry = found[0] === undefined ? undefined : Option.getOrUndefined(found[0].entry)
      assert.deepStrictEqual([entry?.token, entry?.owner, entry?.id], [11n, "other", "m"])
    })
  )

  it.effect("that was found gone need not be asked for by whoever is told", () =>
    Effect.gen(function* () {
      const { answer, attend, found } = yield* attending
      attend("m", 7n)
      yield* answer({ status: 404, index: 12n })
      assert.deepStrictEqual(found, [{ entry: Option.none(), revision: 12n }])
    })
  )
})

describe("own entries that are many", () => {
  /** With all that are attended by a query each: those wait. */
  const crowd = Effect.gen(function* () {
    const made = yield* attending
    for (const token of [1n, 2n, 3n, 4n]) made.attend(`s${token}`, token)
    assert.deepStrictEqual(made.asked(), ["s1@1", "s2@2", "s3@3", "s4@4"])
    return { ...made, shared: () => made.asked().slice(4), answer: (answer: Answer) => made.answer(answer, 4) }
  })

  it.effect("share one query of their group, which rests a second after each answer", () =>
    Effect.gen(function* () {
      const { answer, attend, disturbed, shared } = yield* crowd
      attend("x", 7n)
      attend("y", 9n)
      assert.deepStrictEqual(shared(), ["@now"])
      yield* answer({ index: 9n, body: [g("x", 7), g("y", 9)] })
      assert.deepStrictEqual(shared(), [])
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual([shared(), disturbed], [["@9"], []])
      yield* answer({ index: 12n, body: [g("y", 9), g("z", 12)] })
      assert.deepStrictEqual(disturbed, ["x"])
    })
  )

  it.effect("are not missed in what is older than themselves", () =>
    Effect.gen(function* () {
      const { answer, attend, disturbed } = yield* crowd
      attend("x", 7n)
      attend("late", 20n)
      yield* answer({ index: 9n, body: [g("x", 7)] })
      assert.deepStrictEqual(disturbed, [])
      yield* TestClock.adjust("1 second")
      yield* answer({ index: 21n, body: [g("x", 7)] })
      assert.deepStrictEqual(disturbed, ["late"])
    })
  )

  it.effect("that were lost before they came are told so by the answer that was there already", () =>
    Effect.gen(function* () {
      const { answer, attend, disturbed } = yield* crowd
      attend("x", 7n)
      yield* answer({ index: 15n, body: [g("x", 7)] })
      attend("y", 9n)
      assert.deepStrictEqual(disturbed, ["y"])
      attend("z", 16n)
      assert.deepStrictEqual(disturbed, ["y"], "one that came after the answer is not in it yet")
    })
  )

  it.effect("are judged by what was asked for after they came, whatever its index", () =>
    Effect.gen(function* () {
      const { answer, attend, disturbed, other } = yield* crowd
      other.answer = () => ({ status: 404, index: 30n })
      attend("x", 7n)
      yield* answer({ index: 30n, body: [g("x", 7)] })
      attend("y", 30n)
      yield* TestClock.adjust("1 second")
      yield* answer({ index: 8n, body: [g("x", 7)] })
      assert.deepStrictEqual(disturbed, ["y"])
    })
  )

  it.effect("leave no query behind", () =>
    Effect.gen(function* () {
      const { attend, one } = yield* crowd
      const leaves = [attend("x", 7n), attend("y", 9n)]
      for (const leave of leaves) leave()
      assert.strictEqual(one.aborted, 1)
      attend("x", 7n)
      assert.strictEqual(one.requests.length, 6, "and begin anew")
    })
  )
})
