import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { Buffer } from "node:buffer"
import { appendFileSync, mkdirSync, truncateSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { temporaryFolder } from "../servers/process.ts"
import type { State } from "./engines/consulStates.ts"
import { isVague, writesOf } from "./engines/consulStates.ts"
import type { Change, Transaction } from "./engines/zookeeperLog.ts"
import * as Log from "./engines/zookeeperLog.ts"
import { replay } from "./engines/zookeeperReplay.ts"

const int = (value: number) => {
  const bytes = Buffer.alloc(4)
  bytes.writeInt32BE(value)
  return bytes
}

const long = (value: bigint) => {
  const bytes = Buffer.alloc(8)
  bytes.writeBigInt64BE(value)
  return bytes
}

const buffer = (bytes: Buffer) => Buffer.concat([int(bytes.length), bytes])

const text = (value: string) => buffer(Buffer.from(value))

/** As `FileTxnLog` has it: the header of a file, and records. */
const fileHeader = Buffer.alloc(16)

const record = (zxid: bigint, type: number, body: Buffer) => {
  const header = [long(9n), int(1), long(zxid), long(1_000n), int(type)]
  const bytes = Buffer.concat([...header, body])
  return Buffer.concat([long(77n), int(bytes.length), bytes, Buffer.from("B")])
}

const created = (path: string, data: string) => Buffer.concat([text(path), text(data), int(0), Buffer.of(1), int(0)])

const multi = (...parts: ReadonlyArray<readonly [type: number, body: Buffer]>) =>
  Buffer.concat([int(parts.length), ...parts.map(([type, body]) => Buffer.concat([int(type), buffer(body)]))])

describe("ZooKeeper's logs", () => {
  const logIn = (folder: string, name: string) => {
    mkdirSync(join(folder, "version-2"), { recursive: true })
    const file = join(folder, "version-2", name)
    writeFileSync(file, fileHeader)
    return file
  }

  it.effect("are read on while they grow, up to what is not finished", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder("log")
      const file = logIn(folder, "log.1")
      const read = Log.make([folder])
      assert.deepStrictEqual(read(), [])
      const second = record(2n, 14, multi([5, Buffer.concat([text("/b"), text("2"), int(1)])], [2, text("/a")]))
      appendFileSync(file, Buffer.concat([record(1n, 15, created("/a", "1")), second.subarray(0, 40)]))
      assert.deepStrictEqual(
        read().map(({ changes }) => changes),
        [[{ _tag: "Put", path: "/a", data: "1", isNew: true }]]
      )
      appendFileSync(file, Buffer.concat([second.subarray(40), record(3n, -11, int(0)), Buffer.alloc(100)]))
      assert.deepStrictEqual(
        read().map(({ changes, session, wallMillis, zxid }) => ({ changes, session, wallMillis, zxid })),
        [
          {
            zxid: 1n,
            changes: [{ _tag: "Put", path: "/a", data: "1", isNew: true }]
          },
          {
            zxid: 2n,
            changes: [
              { _tag: "Put", path: "/b", data: "2", isNew: false },
              { _tag: "Delete", path: "/a" }
            ]
          },
          { zxid: 3n, changes: [{ _tag: "Closed" }] }
        ].map((one) => ({ session: 9n, wallMillis: 1_000, ...one }) as Transaction)
      )
    })
  )

  it.effect("count where a majority has them, and no longer where they were cut back", () =>
    Effect.gen(function* () {
      const folders = [yield* temporaryFolder("log"), yield* temporaryFolder("log"), yield* temporaryFolder("log")]
      const files = folders.map((folder) => logIn(folder, "log.1"))
      const read = Log.make(folders)
      const [one, two] = [record(1n, 15, created("/a", "1")), record(2n, 2, text("/a"))]
      const zxids = () => read().map(({ zxid }) => zxid)
      for (const file of files) appendFileSync(file, one)
      appendFileSync(files[0] ?? "", two)
      assert.deepStrictEqual(zxids(), [1n])
      appendFileSync(files[1] ?? "", two)
      assert.deepStrictEqual(zxids(), [1n, 2n])
      truncateSync(files[0] ?? "", fileHeader.length + one.length)
      assert.deepStrictEqual(zxids(), [1n])
    })
  )

  const member = (id: string, sequence: number) =>
    `/torture/engine/election/chief/_c_${"0".repeat(32)}-${id}-${String(sequence).padStart(10, "0")}`

  const at = (zxid: bigint, session: bigint, ...changes: ReadonlyArray<Change>): Transaction => ({
    zxid,
    session,
    wallMillis: 0,
    changes
  })

  it("show of one id the oldest node, and the next one when that has gone with its session", () => {
    const put = (path: string): Change => ({ _tag: "Put", path, data: "", isNew: true })
    const { revealed, writes } = replay(
      [
        at(1n, 7n, put(member("a", 0))),
        at(2n, 8n, put(member("a", 1))),
        at(3n, 8n, put(member("b", 2))),
        at(4n, 7n, { _tag: "Closed" })
      ],
      0
    )
    assert.deepStrictEqual(
      writes.map(({ id, revision, token, value }) => [revision, id, token, value]),
      [
        [1n, "a", 1n, ""],
        [3n, "b", 3n, ""],
        [4n, "a", 1n, undefined],
        [4n, "a", 2n, ""]
      ]
    )
    assert.deepStrictEqual(Array.from(revealed), [2n])
  })

  it("tell of guarded writes what they say of themselves", () => {
    const path = "/torture/guarded/lock/red"
    const { writes } = replay([at(5n, 7n, { _tag: "Put", path, data: "3 n0.1-4", isNew: false })], 0)
    assert.deepInclude(writes[0], { of: "guarded", group: "lock/red", id: "n0.1-4", token: 3n, revision: 5n })
  })
})

describe("states of Consul", () => {
  const group = "election/chief"
  const stateOf = (
    index: bigint,
    ...held: ReadonlyArray<readonly [id: string, token: bigint, session?: string]>
  ): State => ({
    index,
    at: Number(index),
    held: new Map(
      held.map(([id, token, session = id]) => [id, { group, id, token, value: "", session, modified: token }])
    )
  })

  it("leave nothing open where one write explains what differs", () => {
    const states = [
      stateOf(5n, ["a", 5n]),
      stateOf(9n, ["a", 5n], ["b", 9n]),
      stateOf(12n, ["b", 9n]),
      stateOf(20n, ["b", 9n], ["d", 20n, "s"], ["c", 14n, "s"]),
      stateOf(30n, ["b", 9n])
    ]
    assert.isFalse(isVague(states, 7n))
    assert.isFalse(isVague(states, 10n))
    assert.isTrue(isVague(states, 16n), "two came")
    assert.isFalse(isVague(states, 20n), "it was seen")
    assert.isFalse(isVague(states, 25n), "one session took two away")
    assert.isFalse(isVague(states, 31n))
    assert.isTrue(isVague([stateOf(5n), stateOf(9n)], 7n), "one came and went")
    const untold = { ...stateOf(9n), held: new Map([["a", { group, id: "a", token: 9n, value: "", session: "a" }]]) }
    assert.isTrue(isVague([untold, stateOf(12n)], 10n), "its changes are not told")
    assert.isTrue(isVague([stateOf(5n, ["a", 5n]), stateOf(9n, ["b", 9n])], 7n), "one went before or after one came")
  })

  it("become writes in the order of their indexes", () => {
    const states = [stateOf(5n, ["a", 5n], ["b", 3n]), stateOf(20n, ["a", 14n], ["c", 17n])]
    assert.deepStrictEqual(
      writesOf(states).map(({ id, revision, token, value }) => [revision, id, token, value]),
      [
        [3n, "b", 3n, ""],
        [5n, "a", 5n, ""],
        [14n, "a", 5n, undefined],
        [14n, "a", 14n, ""],
        [17n, "c", 17n, ""],
        [20n, "b", 3n, undefined]
      ]
    )
  })
})
