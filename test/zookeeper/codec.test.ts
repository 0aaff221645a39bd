import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import { ProtocolError } from "../../src/engines/zookeeper/errors.ts"
import * as Frame from "../../src/engines/zookeeper/frame.ts"
import * as Jute from "../../src/engines/zookeeper/jute.ts"
import * as P from "../../src/engines/zookeeper/protocol.ts"
import * as Utf8 from "../../src/engines/zookeeper/utf8.ts"

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex")
const bytes = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text.replaceAll(/\s/g, ""), "hex"))

const written = (write: (writer: Jute.Writer) => void): string => {
  const writer = new Jute.Writer("", 1)
  writer.frame(1 << 20, write)
  return hex(writer.take().subarray(4))
}

/** Bytes are written with spaces between the fields, to be read. */
const plain = (text: string): string => text.replaceAll(/\s/g, "")

const assertBytes = (actual: string, expected: string): void => assert.strictEqual(actual, plain(expected))

const problemOf = <A>(result: Result.Result<A, ProtocolError>): string => {
  assert.isTrue(Result.isFailure(result))
  const problem = Result.isFailure(result) ? result.failure : undefined
  assert.instanceOf(problem, ProtocolError)
  return problem.detail
}

describe("utf8", () => {
  const texts = ["", "/a/b", "grüße", "日本語", "𝒳 😀", "\u0000\u007f\u0080\u07ff\u0800\uffff\u{10000}\u{10ffff}"]

  it("encodes and decodes as the platform does", () => {
    for (const text of texts) {
      assert.strictEqual(hex(Utf8.encode(text)), hex(new TextEncoder().encode(text)))
      assert.strictEqual(Utf8.decode(Utf8.encode(text)), text)
    }
    for (const lone of ["a\ud800b", "\udc00", "\ud800\ud800", "\ud83d"]) {
      assert.strictEqual(hex(Utf8.encode(lone)), hex(new TextEncoder().encode(lone)))
    }
  })

  it("answers U+FFFD for overlong, cut, stray and surrogate sequences", () => {
    for (const bad of [
      "c0 80",
      "e0 80 80",
      "f0 80 80 80",
      "ed a0 80",
      "80",
      "ff",
      "f4 90 80 80",
      "f5 80 80 80",
      "c3",
      "e2 82"
    ]) {
      assert.match(Utf8.decode(bytes(bad)), /^\ufffd+$/, bad)
    }
    assert.strictEqual(Utf8.decode(bytes("c3 41")), "\ufffdA")
  })
})

describe("jute", () => {
  it("writes and reads every kind of value", () => {
    const hexed = written((writer) =>
      writer
        .int(-2)
        .long(-3n)
        .long(1_700_000_000_123n)
        .bool(true)
        .buffer(Uint8Array.of(1, 2))
        .ustring("é")
        .vector(["a", ""], (w, text) => w.ustring(text))
    )
    assertBytes(
      hexed,
      "fffffffe fffffffffffffffd 0000018bcfe5687b 01 000000020102 00000002c3a9 00000002 0000000161 00000000"
    )
    const reader = new Jute.Reader(bytes(hexed))
    assert.strictEqual(reader.int(), -2)
    assert.strictEqual(reader.long(), -3n)
    assert.strictEqual(reader.millis(), 1_700_000_000_123)
    assert.isTrue(reader.bool())
    assert.deepStrictEqual([...reader.buffer()], [1, 2])
    assert.strictEqual(reader.ustring(), "é")
    assert.deepStrictEqual(
      reader.vector(4, (r) => r.ustring()),
      ["a", ""]
    )
    assert.strictEqual(reader.remaining, 0)
    assert.isUndefined(reader.problem)
  })

  it("reads the length -1 as none", () => {
    const none = bytes("ffffffff")
    assert.deepStrictEqual(
      Jute.decode(none, (r) => r.buffer().length),
      Result.succeed(0)
    )
    assert.deepStrictEqual(
      Jute.decode(none, (r) => r.ustring()),
      Result.succeed("")
    )
    assert.deepStrictEqual(
      Jute.decode(none, (r) => r.vector(4, (r) => r.int())),
      Result.succeed([])
    )
  })

  it.each([
    ["a short int", "000000", (r: Jute.Reader) => r.int()],
    ["a short long", "00000000000000", (r: Jute.Reader) => r.long()],
    ["no bool", "", (r: Jute.Reader) => r.bool()],
    ["a buffer over the end", "0000000500", (r: Jute.Reader) => r.buffer()],
    ["a buffer of length -2", "fffffffe", (r: Jute.Reader) => r.buffer()],
    ["a text of length -2147483648", "80000000", (r: Jute.Reader) => r.ustring()],
    ["a text over the end", "7fffffff6161", (r: Jute.Reader) => r.ustring()],
    ["a vector that cannot fit", "7fffffff00000000", (r: Jute.Reader) => r.vector(4, (r) => r.int())],
    ["a vector of length -2", "fffffffe", (r: Jute.Reader) => r.vector(4, (r) => r.int())]
  ])("answers a ProtocolError for %s", (_, text, read) => {
    assert.isNotEmpty(problemOf(Jute.decode(bytes(text), read as (r: Jute.Reader) => unknown)))
  })

  it("reads nothing more after the first problem, and keeps that one", () => {
    const reader = new Jute.Reader(bytes("00000009 00000001 00000002"))
    assert.strictEqual(reader.buffer().length, 0)
    const { problem } = reader
    assert.match(problem ?? "", /a buffer of 9 bytes where 8 are left at byte 4 of 12/)
    assert.deepStrictEqual([reader.int(), reader.ustring(), reader.remaining], [0, "", 0])
    assert.strictEqual(reader.problem, problem)
  })

  it("refuses a vector's count before reading an element", () => {
    let reads = 0
    Jute.decode(bytes("00000003 00000000"), (r) => r.vector(4, () => reads++))
    assert.strictEqual(reads, 0)
  })

  it("keeps what was taken while it writes on", () => {
    const writer = new Jute.Writer("", 8)
    const taken: Array<Uint8Array> = []
    for (let i = 0; i < 2000; i++) {
      writer.frame(1 << 20, (w) => w.int(i).ustring("x".repeat(i % 50)))
      if (i % 7 === 0) taken.push(writer.take())
    }
    taken.push(writer.take())
    const reader = new Jute.Reader(Uint8Array.from(Buffer.concat(taken)))
    for (let i = 0; i < 2000; i++) {
      assert.strictEqual(reader.int(), 8 + (i % 50))
      assert.strictEqual(reader.int(), i)
      assert.strictEqual(reader.ustring(), "x".repeat(i % 50))
    }
    assert.strictEqual(reader.remaining, 0)
  })

  it("takes back a frame over the limit and leaves those before it", () => {
    const writer = new Jute.Writer()
    writer.frame(100, (w) => w.int(1))
    assert.strictEqual(
      writer.frame(100, (w) => w.buffer(new Uint8Array(100_000))),
      100_004
    )
    writer.frame(100, (w) => w.int(2))
    assertBytes(hex(writer.take()), "0000000400000001 0000000400000002")
  })
})

const statBytes = [
  "0000000100000002 0000000100000003 0000018bcfe5687b 0000018bcfe5687c",
  "00000004 00000005 00000006 0100000000000007 00000008 00000009 000000010000000a"
].join("")

const stat: P.Stat = {
  czxid: 0x1_0000_0002n,
  mzxid: 0x1_0000_0003n,
  ctime: 1_700_000_000_123,
  mtime: 1_700_000_000_124,
  version: 4,
  cversion: 5,
  aversion: 6,
  ephemeralOwner: 0x0100_0000_0000_0007n,
  dataLength: 8,
  numChildren: 9,
  pzxid: 0x1_0000_000an
}

const worldAcl = "00000001 0000001f 00000005 776f726c64 00000006 616e796f6e65"
const read = <A>(operation: P.Operation<A>, text: string) => Jute.decode(bytes(text), (r) => operation.read(r, 9n))

describe("protocol", () => {
  it.each([
    [
      "create",
      P.create("/a", { data: Uint8Array.of(7), mode: "ephemeralSequential" }),
      15,
      "000000022f61 0000000107" + worldAcl + "00000003"
    ],
    ["container", P.create("/a", { mode: "container" }), 19, "000000022f61 00000000" + worldAcl + "00000004"],
    [
      "own acl",
      P.create("/a", { acl: P.creatorAcl }),
      15,
      "000000022f61 00000000 00000001 0000001f 0000000461757468 00000000 00000000"
    ],
    ["delete", P.remove("/a", 3), 2, "000000022f61 00000003"],
    ["setData", P.setData("/a", Uint8Array.of(7)), 5, "000000022f61 0000000107 ffffffff"],
    ["exists", P.exists("/a", true), 3, "000000022f61 01"],
    ["getData", P.getData("/a", false), 4, "000000022f61 00"],
    ["getChildren", P.getChildren("/a", true), 12, "000000022f61 01"],
    ["sync", P.sync("/a"), 9, "000000022f61"],
    ["addWatch", P.addWatch("/a", "persistentRecursive"), 106, "000000022f61 00000001"],
    ["removeWatches", P.removeWatches("/a"), 18, "000000022f61 00000003"],
    ["auth", P.auth("digest", Uint8Array.of(7)), 100, "00000000 00000006646967657374 0000000107"],
    [
      "multi",
      P.multi([P.check("/a", 2), P.remove("/b")]),
      14,
      "0000000d00ffffffff 000000022f61 00000002 0000000200ffffffff 000000022f62 ffffffff ffffffff01ffffffff"
    ]
  ] as const)("writes %s as zookeeper.jute has it", (_, operation, opCode, expected) => {
    assert.strictEqual(operation.opCode, opCode)
    assertBytes(written(operation.write), expected)
  })

  it("writes setWatches, and setWatches2 only where there are persistent ones", () => {
    const none = { data: [], exist: [], child: [], persistent: [], persistentRecursive: [] }
    const old = P.setWatches(5n, { ...none, data: ["/d"], exist: ["/e"], child: ["/c"] })
    assert.strictEqual(old.opCode, 101)
    assertBytes(written(old.write), "0000000000000005 00000001000000022f64 00000001000000022f65 00000001000000022f63")
    const both = P.setWatches(5n, { ...none, persistent: ["/p"], persistentRecursive: ["/r"] })
    assert.strictEqual(both.opCode, 105)
    assertBytes(
      written(both.write),
      "0000000000000005" + "00000000".repeat(3) + "00000001000000022f70 00000001000000022f72"
    )
  })

  it("reads every answer", () => {
    assert.deepStrictEqual(
      read(P.create("/a-"), "000000032f612d" + statBytes),
      Result.succeed({ path: "/a-", stat, zxid: 9n })
    )
    assert.deepStrictEqual(read(P.setData("/a", bytes("")), statBytes), Result.succeed({ path: "/a", stat, zxid: 9n }))
    assert.deepStrictEqual(read(P.exists("/a", false), statBytes), Result.succeed({ stat, zxid: 9n }))
    assert.deepStrictEqual(
      read(P.getData("/a", false), "0000000107" + statBytes),
      Result.succeed({ data: Uint8Array.of(7), stat, zxid: 9n })
    )
    assert.deepStrictEqual(
      read(P.getChildren("/a", false), "00000002 0000000178 0000000179" + statBytes),
      Result.succeed({ children: ["x", "y"], stat, zxid: 9n })
    )
    assert.deepStrictEqual(read(P.sync("/a"), "000000022f61"), Result.succeed({ zxid: 9n }))
  })

  it("reads a transaction that was carried out", () => {
    const operation = P.multi([P.create("/a"), P.check("/b"), P.create("/c", { mode: "container" })])
    const answer =
      "0000000f0000000000 000000022f61" +
      statBytes +
      "0000000d0000000000 0000000f0000000000 000000022f63" +
      statBytes +
      "ffffffff01ffffffff"
    assert.deepStrictEqual(
      read(operation, answer),
      Result.succeed({
        zxid: 9n,
        outcomes: [
          { code: 0, written: { path: "/a", stat, zxid: 9n } },
          { code: 0, written: { path: "/b", stat: undefined, zxid: 9n } },
          { code: 0, written: { path: "/c", stat, zxid: 9n } }
        ]
      })
    )
  })

  it("reads a creation's result in a transaction as older servers answer it", () => {
    assert.deepStrictEqual(
      read(P.multi([P.create("/a")]), "000000010000000000 000000022f61 ffffffff01ffffffff"),
      Result.succeed({ zxid: 9n, outcomes: [{ code: 0, written: { path: "/a", stat: undefined, zxid: 9n } }] })
    )
  })

  it("reads a transaction that was refused", () => {
    const operation = P.multi([P.create("/a"), P.check("/b"), P.remove("/c")])
    const answer =
      "ffffffff0000000000 00000000 ffffffff00ffffff99 ffffff99 ffffffff00fffffffe fffffffe ffffffff01ffffffff"
    assert.deepStrictEqual(
      read(operation, answer),
      Result.succeed({
        zxid: 9n,
        outcomes: [0, P.Code.BadVersion, P.Code.RuntimeInconsistency].map((code) => ({ code, written: undefined }))
      })
    )
  })

  it.each([
    ["too few results", "ffffffff01ffffffff"],
    ["too many results", "0000000d0000000000".repeat(2) + "ffffffff01ffffffff"],
    ["another kind of result", "000000020000000000 ffffffff01ffffffff"],
    ["no end", "0000000d0000000000"]
  ])("answers a ProtocolError for a transaction's answer with %s", (_, answer) => {
    assert.isNotEmpty(problemOf(read(P.multi([P.check("/a")]), answer)))
  })

  it("writes and reads the handshake", () => {
    const request = { lastZxidSeen: 1n, timeoutMillis: 2, sessionId: 3n, password: Uint8Array.of(4) }
    assertBytes(
      written((writer) => P.writeConnectRequest(writer, request)),
      "00000000 0000000000000001 00000002 0000000000000003 0000000104 00"
    )
    const response = { timeoutMillis: 2, sessionId: 3n, password: Uint8Array.of(4), readOnly: true }
    const answer = "00000000 00000002 0000000000000003 0000000104"
    assert.deepStrictEqual(Jute.decode(bytes(`${answer}01`), P.readConnectResponse), Result.succeed(response))
    const old = { ...response, readOnly: false }
    assert.deepStrictEqual(Jute.decode(bytes(answer), P.readConnectResponse), Result.succeed(old))
    assert.isNotEmpty(problemOf(Jute.decode(bytes(`00000001${answer.slice(8)}`), P.readConnectResponse)))
  })

  it("puts every path below the chroot and takes the chroot off every path", () => {
    const writer = new Jute.Writer("/r")
    writer.frame(1 << 20, (w) => {
      for (const operation of [P.remove("/"), P.sync("/a"), P.multi([P.check("/b")])]) operation.write(w)
      P.setWatches(0n, { data: ["/c"], exist: [], child: [], persistent: [], persistentRecursive: ["/"] }).write(w)
    })
    assertBytes(
      hex(writer.take().subarray(4)),
      `000000022f72 ffffffff  000000042f722f61
       0000000d00ffffffff 000000042f722f62 ffffffff ffffffff01ffffffff
       0000000000000000 00000001 000000042f722f63 00000000 00000000 00000000 00000001 000000022f72`
    )
    const pathOf = (text: string) => {
      const reader = new Jute.Reader(bytes(text), "/r")
      return [reader.path(), reader.problem === undefined]
    }
    assert.deepStrictEqual(pathOf("000000022f72"), ["/", true])
    assert.deepStrictEqual(pathOf("000000042f722f61"), ["/a", true])
    assert.isFalse(pathOf("000000042f72 6161")[1])
    assert.isFalse(pathOf("000000022f61")[1])
  })

  it("reads headers and events", () => {
    assert.deepStrictEqual(
      Jute.decode(bytes("ffffffff 0000000000000005 ffffff9b"), P.readReplyHeader),
      Result.succeed({ xid: P.Xid.notification, zxid: 5n, err: P.Code.NoNode })
    )
    const event = (type: string) => Jute.decode(bytes(`${type}00000003000000022f61`), (r) => P.readWatchEvent(r, 5n))
    assert.deepStrictEqual(event("00000003"), Result.succeed({ type: "dataChanged" as const, path: "/a", zxid: 5n }))
    assert.deepStrictEqual(event("ffffffff"), Result.succeed({ type: "none" as const, path: "/a", zxid: 5n }))
    assert.match(problemOf(event("00000063")), /type 99/)
  })
})

describe("frames", () => {
  const frames = ["", "61", "6263".repeat(40), "64".repeat(300)]
  const stream = bytes(frames.map((frame) => (frame.length / 2).toString(16).padStart(8, "0") + frame).join(""))

  const cut = (limit: number, pieces: Iterable<Uint8Array>) => {
    const seen: Array<string> = []
    const splitter = Frame.make(limit, (frame) => seen.push(hex(frame)) > 0)
    for (const piece of pieces) {
      const problem = splitter.push(piece)
      if (problem !== undefined) return { seen, problem }
    }
    return { seen, problem: undefined }
  }

  it("come out whole wherever the stream is cut", () => {
    for (let size = 1; size <= stream.length; size++) {
      const pieces: Array<Uint8Array> = []
      for (let at = 0; at < stream.length; at += size) pieces.push(stream.slice(at, at + size))
      assert.deepStrictEqual(cut(1000, pieces), { seen: frames, problem: undefined }, `pieces of ${size}`)
    }
  })

  it("are views of the piece that holds them whole", () => {
    const seen: Array<Uint8Array> = []
    Frame.make(1000, (frame) => seen.push(frame) > 0).push(stream)
    for (const frame of seen) assert.strictEqual(frame.buffer, stream.buffer)
  })

  it("over the limit, or of a negative length, end the stream", () => {
    for (const head of ["00000065", "ffffffff", "80000000", "48545450"]) {
      assert.match(cut(100, [bytes(head)]).problem?.detail ?? "", /a frame of/, head)
      assert.match(
        cut(
          100,
          [...bytes(head)].map((byte) => Uint8Array.of(byte))
        ).problem?.detail ?? "",
        /a frame of/
      )
    }
    assert.isUndefined(cut(100, [bytes("00000064")]).problem)
  })

  it("stop coming when the reader says so", () => {
    let seen = 0
    const splitter = Frame.make(1000, () => ++seen < 2)
    assert.isUndefined(splitter.push(stream))
    assert.strictEqual(seen, 2)
  })

  it("that are announced and never come take no more memory than what came", () => {
    const splitters = Array.from({ length: 200 }, () => Frame.make(Frame.defaultLimit, () => true))
    const before = process.memoryUsage().arrayBuffers
    for (const splitter of splitters) splitter.push(bytes("007fffff 00".repeat(100)))
    assert.isBelow(process.memoryUsage().arrayBuffers - before, 1024 * 1024)
  })

  it("in single bytes cost a bounded number of copies", () => {
    // A megabyte in single bytes: quadratic copying would move half a terabyte and run into the test's time limit.
    const length = 1 << 20
    const splitter = Frame.make(length, (frame) => frame.length === length)
    splitter.push(bytes("00100000"))
    const one = Uint8Array.of(1)
    for (let i = 0; i < length; i++) if (splitter.push(one) !== undefined) assert.fail("refused")
  })
})
