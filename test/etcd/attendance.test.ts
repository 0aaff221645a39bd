import { assert, describe, it } from "@effect/vitest"
import { Effect, Option } from "effect"
import * as Attendance from "../../src/engines/etcd/attendance.ts"
import * as Connections from "../../src/engines/etcd/connections.ts"
import { groupKeys } from "../../src/engines/etcd/keys.ts"
import * as Quorum from "../../src/engines/etcd/quorum.ts"
import type { WatchResponse } from "../../src/engines/etcd/rpc.ts"
import * as Upstream from "../../src/engines/etcd/upstream.ts"
import type { Followed } from "../../src/internal/store.ts"
import * as Fake from "./fake.ts"

type Event = WatchResponse["events"][number]

const keys = groupKeys("/p", { kind: "discovery", name: "api" })
const owner = "77"

const event = (type: Event["type"], id: string, revision: number, of: Partial<Event["kv"]> = {}): Event => ({
  type,
  kv: {
    key: keys.member(id),
    value: new Uint8Array(),
    create_revision: type === "Delete" ? "0" : String(revision),
    mod_revision: String(revision),
    lease: type === "Delete" ? "0" : owner,
    ...of
  }
})
const put = (id: string, revision: number, of?: Partial<Event["kv"]>) => event("Put", id, revision, of)
const removed = (id: string, revision: number) => event("Delete", id, revision)

interface Observed {
  readonly key: string
  readonly isShared: boolean
  readonly from: bigint
  readonly tell: (...events: ReadonlyArray<Event>) => void
  readonly end: () => void
  isOver: boolean
}

const alone = 8

const make = (isConnected = true) => {
  const observed: Array<Observed> = []
  const disturbed: Array<string> = []
  const found: Array<Followed | undefined> = []
  let idle = 0
  const attendance = Attendance.make(
    keys,
    ({ end, ended, events, from, key }) => {
      if (!isConnected) {
        ended()
        return () => {}
      }
      const one: Observed = {
        key: key.toString(),
        isShared: end !== undefined,
        from,
        tell: (...told) => {
          if (!one.isOver) events(told)
        },
        end: () => {
          one.isOver = true
          ended()
        },
        isOver: false
      }
      observed.push(one)
      return () => {
        one.isOver = true
      }
    },
    () => idle++
  )
  const attend = (id: string, token: number, known = token) =>
    attendance.attendUnsafe({ id, token: BigInt(token), owner }, BigInt(known), (loss) => {
      disturbed.push(id)
      found.push(loss)
    })
  /** So many that whoever comes next shares a watch. */
  const fill = () => Array.from({ length: alone }, (_, index) => attend(`alone-${index}`, index + 1))
  const shared = () => {
    const found = observed.findLast(({ isShared }) => isShared)
    assert(found !== undefined)
    return found
  }
  return { observed, disturbed, found, attend, fill, shared, idle: () => idle }
}

for (const isShared of [false, true]) {
  const prepare = () => {
    const made = make()
    if (isShared) made.fill()
    const stop = made.attend("a", 20)
    const watch = made.observed.at(-1)
    assert(watch?.isShared === isShared)
    return { ...made, stop, watch }
  }

  describe(isShared ? "an entry that shares a watch" : "an entry with a watch of its own", () => {
    it("is watched from the revision on that follows the known one", () => {
      assert.strictEqual(prepare().watch.from, 21n)
    })

    const table: ReadonlyArray<readonly [what: string, event: Event, disturbs: boolean]> = [
      ["its deletion", removed("a", 30), true],
      ["another entry under its key", put("a", 30), true],
      ["another owner", put("a", 30, { create_revision: "20", lease: "78" }), true],
      ["no owner", put("a", 30, { create_revision: "20", lease: "0" }), true],
      ["a new value", put("a", 30, { create_revision: "20" }), false],
      ["what had happened before", removed("a", 20), false]
    ]
    for (const [what, told, disturbs] of table) {
      it(`is ${disturbs ? "" : "not "}disturbed by ${what}`, () => {
        const { disturbed, found, watch } = prepare()
        watch.tell(told)
        assert.deepStrictEqual(disturbed, disturbs ? ["a"] : [])
        // A deletion is certain; of all else it is asked what became of it.
        const isCertain = disturbs && told.type === "Delete"
        assert.deepStrictEqual(found[0], isCertain ? { entry: Option.none(), revision: 30n } : undefined)
      })
    }

    it("is disturbed once", () => {
      const { disturbed, watch } = prepare()
      watch.tell(removed("a", 30), put("a", 31))
      watch.tell(removed("a", 32))
      watch.end()
      assert.deepStrictEqual(disturbed, ["a"])
    })

    it("is disturbed when its watch ends", () => {
      const { disturbed, watch } = prepare()
      watch.end()
      assert.deepStrictEqual(disturbed, ["a"])
    })

    it("hears nothing after it was given up, and its watch is ended", () => {
      const { disturbed, stop, watch } = prepare()
      stop()
      stop()
      assert.isTrue(watch.isOver)
      watch.tell(removed("a", 30))
      watch.end()
      assert.deepStrictEqual(disturbed, [])
    })
  })
}

describe("the entries of a group", () => {
  it("have a watch each while they are few, and one for all that come after", () => {
    const { attend, fill, observed } = make()
    fill()
    for (let index = 0; index < 50; index++) attend(`m-${index}`, 20 + index)
    assert.strictEqual(observed.length, alone + 1)
    assert.deepStrictEqual([observed[alone]?.isShared, observed[alone]?.from], [true, 21n])
  })

  it("are told apart on the one watch", () => {
    const { attend, disturbed, fill, shared } = make()
    fill()
    for (const [index, id] of ["a", "b", "c"].entries()) attend(id, 20 + index)
    shared().tell(put("foreign", 30), removed("b", 31), removed("foreign", 32))
    assert.deepStrictEqual(disturbed, ["b"])
  })

  it("are told what happened between their creation and their attendance", () => {
    const { attend, disturbed, fill, observed, shared } = make()
    fill()
    attend("first", 20)
    shared().tell(put("a", 21), put("b", 22), removed("a", 23), put("b", 24, { create_revision: "22" }))
    attend("a", 21)
    attend("b", 22)
    assert.deepStrictEqual(disturbed, ["a"])
    shared().tell(removed("b", 25))
    assert.deepStrictEqual(disturbed, ["a", "b"])
    assert.strictEqual(observed.length, alone + 1)
  })

  it("have a watch of their own where the one for all began later than what they know", () => {
    const { attend, fill, observed } = make()
    fill()
    attend("first", 20)
    attend("early", 19)
    assert.deepStrictEqual([observed.at(-1)?.isShared, observed.at(-1)?.from], [false, 20n])
  })

  it("have a watch of their own where too much has happened since to be remembered", () => {
    const { attend, disturbed, fill, observed, shared } = make()
    fill()
    attend("first", 20)
    shared().tell(put("a", 21), removed("a", 22))
    shared().tell(...Array.from({ length: 2_000 }, (_, index) => put(`foreign-${index}`, 100 + index)))
    attend("a", 21)
    assert.deepStrictEqual(disturbed, [])
    assert.deepStrictEqual([observed.at(-1)?.isShared, observed.at(-1)?.from], [false, 22n])
    attend("late", 5_000)
    assert.strictEqual(observed.length, alone + 2)
  })

  it("are all disturbed when the one watch ends, and the next begins another", () => {
    const { attend, disturbed, fill, observed, shared } = make()
    fill()
    for (const id of ["a", "b", "c"]) attend(id, 20)
    shared().end()
    assert.deepStrictEqual(disturbed, ["a", "b", "c"])
    attend("a", 30)
    assert.deepStrictEqual([observed.length, observed.at(-1)?.isShared, observed.at(-1)?.from], [alone + 2, true, 31n])
  })

  it("leave nothing behind", () => {
    const { attend, fill, idle, observed } = make()
    const stops = [...fill(), attend("a", 20), attend("b", 20)]
    for (const stop of stops) {
      assert.strictEqual(idle(), 0)
      stop()
    }
    assert.deepStrictEqual([idle(), observed.every(({ isOver }) => isOver)], [1, true])
  })

  it("are disturbed at once where there is no connection", () => {
    const { attend, disturbed, idle } = make(false)
    for (let index = 0; index <= alone; index++) attend(`m-${index}`, 20)()
    assert.deepStrictEqual([disturbed.length, idle()], [alone + 1, alone + 1])
  })
})

describe("an attended entry, over connections", () => {
  const range = { header: { cluster_id: "1", revision: "50", raft_term: "1" }, kvs: [] }
  const prepare = Effect.gen(function* () {
    const server = Fake.server("a", (method) => (method === "status" ? Fake.status() : range))
    const connections = yield* Connections.make(Fake.transport(server), {
      credentials: undefined,
      requestMillis: 1_000
    })
    const quorum = yield* Quorum.make(connections, "http://a")
    const upstream = yield* Upstream.make(connections, quorum, 1_000)
    let disturbed = 0
    const attend = () => upstream.attendUnsafe("api", keys, { id: "a", token: 20n, owner }, 20n, () => disturbed++)
    return { server, connections, quorum, attend, disturbed: () => disturbed }
  })

  it.effect("is disturbed at once where there is none", () =>
    Effect.gen(function* () {
      const { attend, disturbed, server } = yield* prepare
      attend()
      assert.deepStrictEqual([disturbed(), server.dialled], [1, 0])
    })
  )

  it.effect("is disturbed when it is lost, and not by another's end", () =>
    Effect.gen(function* () {
      const { attend, connections, disturbed, server } = yield* prepare
      yield* connections.current
      attend()()
      attend()
      assert.strictEqual(disturbed(), 0)
      server.streams[0]?.end(Fake.lost("a"))
      assert.deepStrictEqual([disturbed(), server.closed], [1, 1])
    })
  )

  it.effect("is disturbed when the store is found rewound", () =>
    Effect.gen(function* () {
      const { attend, disturbed, quorum } = yield* prepare
      yield* quorum.range("Group.list", { key: keys.start })
      attend()
      quorum.sawUnsafe(51n)
      yield* Effect.ignore(quorum.range("Group.list", { key: keys.start }))
      assert.strictEqual(disturbed(), 1)
    })
  )
})
