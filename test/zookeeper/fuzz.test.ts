import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Result } from "effect"
import { TestClock } from "effect/testing"
import * as Client from "../../src/engines/zookeeper/client.ts"
import type { RequestError } from "../../src/engines/zookeeper/errors.ts"
import { ProtocolError } from "../../src/engines/zookeeper/errors.ts"
import * as Frame from "../../src/engines/zookeeper/frame.ts"
import * as Jute from "../../src/engines/zookeeper/jute.ts"
import * as P from "../../src/engines/zookeeper/protocol.ts"
import type { FakeConnection } from "./fakeServer.ts"
import { make as fakeServer } from "./fakeServer.ts"
import { seeded } from "./random.ts"

/** More frames than the default, and another seed: `FUZZ_FRAMES=50000000 FUZZ_SEED=7`. */
const total = Number(process.env["FUZZ_FRAMES"] ?? 1_200_000)
const seed = Number(process.env["FUZZ_SEED"] ?? 1)

const body = (write: (writer: Jute.Writer) => void): Uint8Array => {
  const writer = new Jute.Writer()
  writer.frame(1 << 20, write)
  return writer.take().slice(4)
}

const stat = (writer: Jute.Writer): Jute.Writer =>
  writer.long(1n).long(2n).long(3n).long(4n).int(5).int(6).int(7).long(8n).int(9).int(10).long(11n)

type Read = (reader: Jute.Reader) => unknown

const answer = (operation: P.Operation<unknown>, write: (writer: Jute.Writer) => void): readonly [Uint8Array, Read] => [
  body((writer) => {
    writer.int(1).long(2n).int(0)
    write(writer)
  }),
  (reader) => {
    const header = P.readReplyHeader(reader)
    return header.err === 0 ? operation.read(reader, header.zxid) : header
  }
]

const transaction = [P.create("/a"), P.check("/b"), P.setData("/c", new Uint8Array(1)), P.remove("/d")]

/** Every record that a server sends, once well formed, with its reader. */
const records: ReadonlyArray<readonly [Uint8Array, Read]> = [
  [body((w) => w.int(0).int(4000).long(99n).buffer(new Uint8Array(16)).bool(false)), P.readConnectResponse],
  [
    body((w) => w.int(-1).long(5n).int(0).int(3).int(3).ustring("/group/é")),
    (r) => {
      const header = P.readReplyHeader(r)
      return P.readWatchEvent(r, header.zxid)
    }
  ],
  answer(P.create("/a"), (w) => stat(w.ustring("/a/_c_guid-name-0000000001"))),
  answer(P.setData("/a", new Uint8Array(1)), (w) => stat(w)),
  answer(P.getData("/a", true), (w) => stat(w.buffer(new Uint8Array(30)))),
  answer(P.getChildren("/a", true), (w) =>
    stat(w.vector(["one", "two", "three", "日本"], (writer, name) => writer.ustring(name)))
  ),
  answer(P.sync("/a"), (w) => w.ustring("/a")),
  answer(P.multi(transaction), (w) => {
    stat(w.int(15).bool(false).int(0).ustring("/a"))
    w.int(13).bool(false).int(0)
    stat(w.int(5).bool(false).int(0))
    w.int(2).bool(false).int(0).int(-1).bool(true).int(-1)
  }),
  answer(P.multi(transaction), (w) => {
    for (const code of [0, -103, -2, -2]) w.int(-1).bool(false).int(code).int(code)
    w.int(-1).bool(true).int(-1)
  })
]

/** Lengths and counts that break readers that trust them. */
const lengths = [-2147483648, -2, -1, 0, 1, 0x7fffffff, 0x7ffffffe, 0x01000000, 1 << 20, 65_536, 255]

describe("the decoder, given what no server sends,", () => {
  it("reads every record whole", () => {
    for (const [bytes, read] of records) assert.isTrue(Result.isSuccess(Jute.decode(bytes, read)))
  })

  it("answers a value or a ProtocolError, and holds nothing larger than the frame", { timeout: 3_600_000 }, () => {
    const random = seeded(seed)
    let problems = 0
    const check = (frame: Uint8Array, read: Read): void => {
      const result = Jute.decode(frame, read)
      if (Result.isFailure(result)) {
        problems++
        if (!(result.failure instanceof ProtocolError)) assert.fail(`failed with ${String(result.failure)}`)
        return
      }
      const value = result.success as { readonly data?: Uint8Array; readonly children?: ReadonlyArray<string> }
      if ((value.data?.length ?? 0) > frame.length) assert.fail("data longer than its frame")
      if ((value.children?.length ?? 0) * 4 > frame.length) assert.fail("more children than the frame holds")
    }
    // Only the bytes of the frame may be read: those after it belong to somebody else.
    const memory = new Uint8Array(4096).fill(0x41)
    for (let i = 0; i < total; i++) {
      const [good, read] = random.pick(records)
      const kind = random.below(4)
      const length = kind === 0 ? random.below(good.length) : kind === 1 ? random.below(200) : good.length
      const frame = memory.subarray(8, 8 + length)
      if (kind === 1) for (let at = 0; at < length; at++) frame[at] = random.below(256)
      else frame.set(good.subarray(0, length))
      if (kind === 2) {
        new DataView(frame.buffer, frame.byteOffset, length).setInt32(random.below(length - 3), random.pick(lengths))
      }
      if (kind === 3) for (let n = random.below(8); n >= 0; n--) frame[random.below(length)] = random.below(256)
      try {
        check(frame, read)
      } catch (cause) {
        assert.fail(`seed ${seed}, frame ${i}, ${Buffer.from(frame).toString("hex")}: ${String(cause)}`)
      }
    }
    // Most mutations must be noticed, or the frames are not what they claim to be.
    assert.isAbove(problems, total / 4)
  })

  it("cuts any stream into frames or ends it", () => {
    const random = seeded(seed)
    const limit = 4096
    for (let round = 0; round < 2000; round++) {
      let received = 0
      let handed = 0
      const splitter = Frame.make(limit, (frame) => {
        handed += frame.length + 4
        if (frame.length > limit) assert.fail("a frame over the limit")
        return true
      })
      for (let piece = 0; piece < 50; piece++) {
        const bytes = new Uint8Array(random.below(600))
        for (let at = 0; at < bytes.length; at++) bytes[at] = random.below(12) === 0 ? random.below(256) : 0
        received += bytes.length
        if (splitter.push(bytes) !== undefined) break
      }
      if (handed > received) assert.fail("more came out than went in")
    }
  })

  it.effect("costs a client the connection and nothing else", () =>
    Effect.gen(function* () {
      const random = seeded(seed)
      const server = yield* fakeServer
      const endpoints = [{ host: "one", port: 1 }] as const
      const client = yield* Client.make({ endpoints, transport: server.transport, timeoutMillis: 4000 })
      yield* Effect.addFinalizer(() => server.shutdown)
      let last: FakeConnection | undefined
      for (let round = 1; round <= 500; round++) {
        // Past the pause before the next attempt, however long the last connection held.
        yield* Effect.forkChild(TestClock.adjust("2 seconds"))
        const [connection] = yield* server.shake()
        const { attachments } = yield* client.attached
        assert.strictEqual(attachments, round)
        assert.isFalse(last?.isOpen() ?? false)
        const requests = yield* Effect.forkChild(
          Effect.all(
            [client.getData("/a"), client.getChildren("/a"), client.multi(transaction)].map(
              (one: Effect.Effect<unknown, RequestError>) => Effect.exit(one)
            ),
            { concurrency: "unbounded" }
          ),
          { startImmediately: true }
        )
        yield* connection.request
        const [good] = random.pick(records)
        const bytes = good.slice(0, random.below(good.length))
        if (bytes.length > 3) new DataView(bytes.buffer).setInt32(0, random.pick([1, 2, -1, -2, -4, -8, 0, 99]))
        const length = random.pick([bytes.length, bytes.length, random.pick(lengths)])
        const head = new Uint8Array(4)
        new DataView(head.buffer).setInt32(0, length)
        connection.send(head, bytes)
        connection.hangUp()
        for (const exit of yield* Fiber.join(requests)) {
          if (exit._tag === "Success") continue
          const tags = exit.cause.reasons.map((reason) => (reason._tag === "Fail" ? reason.error._tag : reason._tag))
          for (const tag of tags) assert.notInclude(["Die", "Interrupt"], tag)
        }
        last = connection
      }
    })
  )
})
