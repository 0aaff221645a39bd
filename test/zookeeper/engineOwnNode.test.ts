import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Option, Scope, Stream } from "effect"
import { TestClock } from "effect/testing"
import { attendUnsafe } from "../../src/engines/zookeeper/attention.ts"
import * as Client from "../../src/engines/zookeeper/client.ts"
import type { Clients, Current } from "../../src/engines/zookeeper/clients.ts"
import * as GroupStore from "../../src/engines/zookeeper/groupStore.ts"
import type * as Jute from "../../src/engines/zookeeper/jute.ts"
import { groupNode } from "../../src/engines/zookeeper/nodes.ts"
import * as P from "../../src/engines/zookeeper/protocol.ts"
import type { Followed } from "../../src/internal/store.ts"
import type { FakeConnection } from "./fakeServer.ts"
import { make as fakeServer, stat } from "./fakeServer.ts"

const name = (id: string, sequence: number): string =>
  `_c_${"0".repeat(32)}-${id}-${String(sequence).padStart(10, "0")}`

const group = { kind: "election", name: "g" } as const
const path = "/app/election/g"
const mine = name("a", 3)

/** What the fake server's stat says: created by transaction 1, owned by session 8. */
const holding = { id: "a", token: 1n, owner: "0x8" }

/** A group's store over a client that is attached, and the server's end of its connection. */
const attached = Effect.gen(function* () {
  const server = yield* fakeServer
  const client = yield* Client.make({
    endpoints: [{ host: "one", port: 2181 }],
    transport: server.transport,
    timeoutMillis: 4000
  })
  yield* Effect.addFinalizer(() => server.shutdown)
  const [connection] = yield* server.shake({ sessionId: 8n })
  yield* client.attached
  yield* TestClock.adjust("1 second")
  const current: Current = { id: "0x8", client, epoch: 0, hints: new Map(), strays: new Set(), lists: new Map() }
  current.hints.set(`${path}/a`, { ...holding, name: mine, value: "1", version: 0n })
  const clients: Partial<Clients> = {
    attached: Effect.as(Effect.orDie(client.attached), current),
    nowUnsafe: () => current,
    ask: (_, __, request) => Effect.orDie(request(current)),
    write: (request) => request(current)
  }
  const settings = { endpoint: "", prefix: "/app", layout: "ensemble", acl: P.openAcl, requestMillis: 2_000 } as const
  // A group's store uses no more of the clients than this.
  const store = GroupStore.make(clients as Clients, { recursive: true }, settings, group)
  return { client, connection, current, server, store }
})

type Attached = Effect.Success<typeof attached>

const fork = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.forkChild(effect, { startImmediately: true })

const names = (connection: FakeConnection, xid: number, list: ReadonlyArray<string>) =>
  connection.answer(xid, { body: (w) => stat(w.vector(list, (v, one) => v.ustring(one))) })

/** Of a node that was created before {@link holding}. */
const olderStat = (w: Jute.Writer) =>
  w.long(0n).long(0n).long(3n).long(4n).int(5).int(6).int(7).long(9n).int(9).int(10).long(11n)

const deleted = 2
const dataChanged = 3
const childrenChanged = 4

/** Attends the own node, up to the server's answer. */
const attend = Effect.fnUntraced(function* (
  { connection, store }: Attached,
  answer: (connection: FakeConnection, xid: number) => void = (to, xid) => names(to, xid, [])
) {
  const losses: Array<Followed | undefined> = []
  const stop = store.attendUnsafe?.(holding, 1n, (found) => losses.push(found)) ?? assert.fail("nothing attends")
  const { body, opCode, xid } = yield* connection.request
  assert.deepStrictEqual([opCode, body.ustring(), body.bool()], [P.OpCode.getChildren2, `${path}/${mine}`, true])
  answer(connection, xid)
  yield* Effect.yieldNow
  return { stop, told: () => losses.length, losses }
})

describe("the watch over the own node", () => {
  it.effect("is told once of the deletion, by one request and no other, and of no new value", () =>
    Effect.gen(function* () {
      const made = yield* attached
      const { told } = yield* attend(made)
      made.connection.event(dataChanged, `${path}/${mine}`)
      yield* Effect.yieldNow
      assert.strictEqual(told(), 0)
      for (let i = 0; i < 2; i++) made.connection.event(deleted, `${path}/${mine}`)
      yield* Effect.yieldNow
      assert.strictEqual(told(), 1)
      assert.strictEqual(made.connection.waiting(), 0)
    })
  )

  it.effect("tells of a deletion for certain, as who stands next is told, and of another node not", () =>
    Effect.gen(function* () {
      const made = yield* attached
      const { losses } = yield* attend(made)
      made.connection.event(deleted, `${path}/${mine}`)
      yield* Effect.yieldNow
      const [loss] = losses
      assert(loss !== undefined && Option.isNone(loss.entry))
      assert.isTrue(loss.revision >= holding.token)
      assert.isFalse(made.current.hints.has(`${path}/a`))
      made.current.hints.set(`${path}/a`, { ...holding, name: mine, value: "1", version: 0n })
      const { losses: others } = yield* attend(made)
      made.connection.event(childrenChanged, `${path}/${mine}`)
      yield* Effect.yieldNow
      assert.deepStrictEqual(others, [undefined])
    })
  )

  it.effect("is set again on the next connection, which tells of what went meanwhile", () =>
    Effect.gen(function* () {
      const made = yield* attached
      const { told } = yield* attend(made)
      made.connection.reset()
      const [next] = yield* made.server.shake({ sessionId: 8n })
      yield* made.client.attached
      const { body, opCode } = yield* next.request
      assert.strictEqual(opCode, P.OpCode.setWatches)
      body.long()
      const lists = Array.from({ length: 3 }, () => body.vector(4, (r) => r.ustring()))
      assert.deepStrictEqual(lists, [[], [], [`${path}/${mine}`]])
      assert.strictEqual(told(), 0)
      next.event(deleted, `${path}/${mine}`)
      yield* Effect.yieldNow
      assert.strictEqual(told(), 1)
    })
  )

  it.effect("tells of another node under the name that came while nobody was connected", () =>
    Effect.gen(function* () {
      const made = yield* attached
      const { told } = yield* attend(made)
      made.connection.reset()
      const [next] = yield* made.server.shake({ sessionId: 8n })
      yield* made.client.attached
      yield* next.request
      next.event(childrenChanged, `${path}/${mine}`)
      yield* Effect.yieldNow
      assert.strictEqual(told(), 1)
    })
  )

  const disturbing: ReadonlyArray<readonly [string, (connection: FakeConnection, xid: number) => void]> = [
    ["the node is gone", (to, xid) => to.answer(xid, { err: P.Code.NoNode })],
    ["it may not be read", (to, xid) => to.answer(xid, { err: P.Code.NoAuth })],
    ["the connection ends before the answer", (to) => to.reset()]
  ]
  it.effect.each(disturbing)("is told at once where %s", ([_, answer]) =>
    Effect.gen(function* () {
      const { told } = yield* attend(yield* attached, answer)
      assert.strictEqual(told(), 1)
    })
  )

  it.effect("is told at once where the node is another one, or another session's", () =>
    Effect.gen(function* () {
      const node = groupNode({ prefix: "/app", layout: "ensemble" }, group)
      for (const other of [
        { ...holding, token: 2n },
        { ...holding, owner: "0x9" }
      ]) {
        const { connection, current } = yield* attached
        current.hints.set(`${path}/a`, { ...other, name: mine, value: "1", version: 0n })
        let told = 0
        attendUnsafe({ ...current, id: other.owner }, node, other, () => void told++)
        names(connection, (yield* connection.request).xid, [])
        yield* Effect.yieldNow
        assert.strictEqual(told, 1)
      }
    })
  )

  it.effect("is told within the call where the node is not known, or nobody is connected", () =>
    Effect.gen(function* () {
      const { client, connection, current, store } = yield* attached
      let told = 0
      const disturbed = () => void told++
      store.attendUnsafe?.({ ...holding, id: "b" }, 1n, disturbed)
      store.attendUnsafe?.({ ...holding, token: 2n }, 2n, disturbed)
      store.attendUnsafe?.({ ...holding, owner: "0x9" }, 1n, disturbed)
      assert.strictEqual(told, 3)
      connection.reset()
      yield* Effect.yieldNow
      assert.strictEqual(client.state()._tag, "Connecting")
      assert.isTrue(current.hints.has(`${path}/a`))
      store.attendUnsafe?.(holding, 1n, disturbed)
      assert.strictEqual(told, 4)
    })
  )

  it.effect("is told when the session is over", () =>
    Effect.gen(function* () {
      const made = yield* attached
      const { told } = yield* attend(made)
      made.connection.reset()
      yield* made.server.shake({ timeoutMillis: 0, sessionId: 0n })
      assert.strictEqual((yield* Effect.flip(made.client.attached))._tag, "SessionExpired")
      assert.strictEqual(told(), 1)
    })
  )

  it.effect("tells nothing once it was given up, sends nothing, and is not set again", () =>
    Effect.gen(function* () {
      const made = yield* attached
      const first = yield* attend(made)
      first.stop()
      let early = 0
      const stop = made.store.attendUnsafe?.(holding, 1n, () => void early++)
      stop?.()
      const { xid } = yield* made.connection.request
      made.connection.answer(xid, { err: P.Code.NoNode })
      made.connection.event(deleted, `${path}/${mine}`)
      yield* Effect.yieldNow
      assert.deepStrictEqual([first.told(), early], [0, 0])
      assert.strictEqual(made.connection.waiting(), 0)
      made.connection.reset()
      const [next] = yield* made.server.shake({ sessionId: 8n })
      yield* made.client.attached
      yield* fork(Effect.ignore(made.client.sync("/")))
      assert.strictEqual((yield* next.request).opCode, P.OpCode.sync)
    })
  )

  it.effect("is not taken away by another's end of watching the same node while the answer is due", () =>
    Effect.gen(function* () {
      const made = yield* attached
      const { client, connection } = made
      const scope = yield* Scope.make()
      const watch = yield* fork(
        Scope.provide(
          client.watch(`${path}/${mine}`, () => {}),
          scope
        )
      )
      connection.answer((yield* connection.request).xid, { body: (w) => w.int(0) })
      yield* Fiber.join(watch)
      yield* attend(made, () => {})
      yield* Scope.close(scope, Exit.void)
      assert.strictEqual(connection.waiting(), 0)
    })
  )
})

describe("a creation", () => {
  const created = (connection: FakeConnection, xid: number, as: string) =>
    connection.answer(xid, { body: (w) => stat(w.ustring(`${path}/${as}`)) })

  const lists: ReadonlyArray<readonly [string, ReadonlyArray<string>, boolean]> = [
    ["is first where nobody has a lower number", [name("c", 9), mine, name("d", 4)], true],
    ["is not first behind a lower number", [mine, name("c", 2)], false],
    ["is not first where somebody has none", [mine, "by hand"], false]
  ]
  it.effect.each(lists)("%s, by one list in the same write", ([_, list, isFirst]) =>
    Effect.gen(function* () {
      const { connection, current, store } = yield* attached
      const before = connection.writes()
      const creating = yield* fork(store.create("0x8", "a", "1"))
      const create = yield* connection.request
      const asked = yield* connection.request
      assert.deepStrictEqual([create.opCode, asked.opCode], [P.OpCode.create2, P.OpCode.getChildren2])
      assert.strictEqual(connection.writes() - before, 1)
      created(connection, create.xid, mine)
      names(connection, asked.xid, list)
      assert.deepStrictEqual(yield* Fiber.join(creating), { _tag: "Created", token: 1n, version: 0n, isFirst })
      assert.strictEqual(current.strays.size, 0)
      assert.strictEqual(connection.waiting(), 0)
    })
  )

  it.effect("asks for the list again where that does not show it", () =>
    Effect.gen(function* () {
      const { connection, store } = yield* attached
      const creating = yield* fork(store.create("0x8", "a", "1"))
      created(connection, (yield* connection.request).xid, mine)
      names(connection, (yield* connection.request).xid, [name("c", 2)])
      names(connection, (yield* connection.request).xid, [mine])
      const answer = yield* Fiber.join(creating)
      assert.deepInclude(answer, { _tag: "Created", isFirst: true })
    })
  )

  it.effect("whose answer is lost stays to be found, also when looking for it fails", () =>
    Effect.gen(function* () {
      const { connection, current, server, store } = yield* attached
      const creating = yield* fork(store.create("0x8", "a", "1"))
      yield* connection.request
      connection.reset()
      const [next] = yield* server.shake({ sessionId: 8n })
      yield* next.request
      yield* next.request
      next.reset()
      const error = yield* Effect.flip(Fiber.join(creating))
      assert.strictEqual(error.reason._tag, "OutcomeUnknown")
      assert.strictEqual(current.strays.size, 1)
    })
  )
})

describe("a turn", () => {
  it.effect("is seen by a sync and a list, where the own name is known", () =>
    Effect.gen(function* () {
      const { connection, store } = yield* attached
      const looking = yield* fork(store.turn("a", 1n))
      const [sync, list] = [yield* connection.request, yield* connection.request]
      assert.deepStrictEqual([sync.opCode, list.opCode], [P.OpCode.sync, P.OpCode.getChildren2])
      connection.answer(sync.xid)
      names(connection, list.xid, [mine, name("c", 9)])
      const { ahead, own } = yield* Fiber.join(looking)
      assert.deepInclude(Option.getOrThrow(own), holding)
      assert.isTrue(Option.isNone(ahead))
      assert.strictEqual(connection.waiting(), 0)
    })
  )

  it.effect("has not come while somebody has a lower number, who is read", () =>
    Effect.gen(function* () {
      const { connection, store } = yield* attached
      const looking = yield* fork(store.turn("a", 1n))
      connection.answer((yield* connection.request).xid)
      names(connection, (yield* connection.request).xid, [mine, name("c", 2)])
      const { body, opCode, xid } = yield* connection.request
      assert.deepStrictEqual([opCode, body.ustring()], [P.OpCode.getData, `${path}/${name("c", 2)}`])
      connection.answer(xid, { body: (w) => olderStat(w.buffer(new Uint8Array())) })
      assert.strictEqual(Option.getOrThrow((yield* Fiber.join(looking)).ahead).id, "c")
    })
  )

  it.effect("is nobody's where the list lacks the own name", () =>
    Effect.gen(function* () {
      const { connection, store } = yield* attached
      const looking = yield* fork(store.turn("a", 1n))
      connection.answer((yield* connection.request).xid)
      names(connection, (yield* connection.request).xid, [name("c", 9)])
      assert.isTrue(Option.isNone((yield* Fiber.join(looking)).own))
    })
  )
})

describe("a node that is followed", () => {
  it.effect("is read with a watch, again after each change, and its going is told without a question", () =>
    Effect.gen(function* () {
      const { connection, store } = yield* attached
      const told: Array<Followed> = []
      const following = yield* store.follow("a", 7n).pipe(
        Stream.take(3),
        Stream.runForEach((one) => Effect.sync(() => void told.push(one))),
        fork
      )
      const answer = Effect.fnUntraced(function* () {
        const { body, opCode, xid } = yield* connection.request
        assert.deepStrictEqual([opCode, body.ustring(), body.bool()], [P.OpCode.getData, `${path}/${mine}`, true])
        connection.answer(xid, { body: (w) => stat(w.buffer(new Uint8Array())) })
        yield* Effect.yieldNow
      })
      yield* answer()
      connection.event(dataChanged, `${path}/${mine}`)
      yield* answer()
      connection.event(deleted, `${path}/${mine}`)
      yield* Fiber.join(following)
      assert.deepStrictEqual(
        told.map(({ entry, revision }) => [Option.isSome(entry), revision]),
        [
          [true, 1n],
          [true, 1n],
          // Not older than what was known.
          [false, 7n]
        ]
      )
      assert.strictEqual(connection.waiting(), 0)
    })
  )

  it.effect("is told to have gone when it went while nobody was connected", () =>
    Effect.gen(function* () {
      const { client, connection, server, store } = yield* attached
      const gone = yield* store.follow("a", 7n).pipe(
        Stream.filter(({ entry }) => Option.isNone(entry)),
        Stream.runHead,
        fork
      )
      connection.answer((yield* connection.request).xid, { body: (w) => stat(w.buffer(new Uint8Array())) })
      yield* Effect.yieldNow
      connection.reset()
      const [next] = yield* server.shake({ sessionId: 8n })
      yield* client.attached
      assert.strictEqual((yield* next.request).opCode, P.OpCode.setWatches)
      next.event(deleted, `${path}/${mine}`)
      assert.isTrue(Option.isSome(yield* Fiber.join(gone)))
    })
  )
})
