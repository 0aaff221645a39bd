import { assert, describe, it } from "@effect/vitest"
import type { Connected } from "../../src/engines/etcd/connections.ts"
import type { RpcError, WatchRequest, WatchResponse } from "../../src/engines/etcd/rpc.ts"
import * as Watches from "../../src/engines/etcd/watches.ts"
import * as Fake from "./fake.ts"

const response = (of: Partial<WatchResponse> & { readonly revision?: string }): WatchResponse => ({
  header: { cluster_id: "1", revision: of.revision ?? "1", raft_term: "1" },
  watch_id: "1",
  created: false,
  canceled: false,
  compact_revision: "0",
  cancel_reason: "",
  events: [],
  ...of
})

const event = (revision: number, key = "k"): WatchResponse["events"][number] => ({
  type: "Put",
  kv: {
    key: Buffer.from(key),
    value: new Uint8Array(),
    create_revision: String(revision),
    mod_revision: String(revision),
    lease: "0"
  }
})

const make = (progressIsTrustworthy = true) => {
  const streams: Array<{
    readonly written: Array<WatchRequest>
    readonly message: (message: WatchResponse) => void
    readonly end: (error: RpcError) => void
    cancelled: boolean
  }> = []
  const connection = {
    endpoint: "a",
    progressIsTrustworthy,
    streamUnsafe: (_: "watch", on: { message: (message: WatchResponse) => void; end: (error: RpcError) => void }) => {
      const opened = { written: [] as Array<WatchRequest>, ...on, cancelled: false }
      streams.push(opened)
      return {
        _tag: "Duplex",
        writeUnsafe: (request: WatchRequest) => void opened.written.push(request),
        cancelUnsafe: () => {
          opened.cancelled = true
        }
      }
    }
  } as unknown as Connected
  const watches = Watches.make(connection)
  const told: Array<string> = []
  const watch = (from: bigint, name = "") =>
    watches.watchUnsafe({
      key: Buffer.from("k"),
      from,
      events: (events) => told.push(`${name}events ${events.map(({ kv }) => kv.mod_revision).join(" ")}`),
      progress: (revision) => told.push(`${name}progress ${revision}`),
      ended: (error) => told.push(`${name}ended ${error._tag === "RpcError" ? error.detail : error.why}`)
    })
  return { streams, told, watch, watches }
}

describe("the watches of a connection", () => {
  it("share one stream and are told apart by their ids", () => {
    const { streams, told, watch } = make()
    watch(2n, "a ")
    watch(3n, "b ")
    assert.strictEqual(streams.length, 1)
    streams[0]?.message(response({ watch_id: "2", events: [event(4)] }))
    streams[0]?.message(response({ watch_id: "1", events: [event(5)] }))
    assert.deepStrictEqual(told, ["b events 4", "a events 5"])
  })

  it("take a creation for no progress: its backlog comes after it", () => {
    const { streams, told, watch } = make()
    watch(2n)
    streams[0]?.message(response({ created: true, revision: "50" }))
    assert.deepStrictEqual(told, [])
  })

  it("drop what lies below where they began", () => {
    const { streams, told, watch } = make()
    watch(5n)
    streams[0]?.message(response({ events: [event(3), event(4), event(5), event(6)] }))
    streams[0]?.message(response({ events: [event(4)] }))
    assert.deepStrictEqual(told, ["events 5 6"])
  })

  it("take no progress for theirs that may be from before they were made: their backlog is still to come", () => {
    const { streams, told, watch } = make()
    watch(2n)
    streams[0]?.message(response({ watch_id: "-1", revision: "7" }))
    streams[0]?.message(response({ created: true, revision: "9" }))
    streams[0]?.message(response({ watch_id: "-1", revision: "9" }))
    assert.deepStrictEqual(told, [])
    streams[0]?.message(response({ events: [event(3), event(8)] }))
    streams[0]?.message(response({ watch_id: "-1", revision: "10" }))
    assert.deepStrictEqual(told, ["events 3 8", "progress 10"])
  })

  it("hear progress of the whole stream and of one", () => {
    const { streams, told, watch } = make()
    watch(2n, "a ")
    watch(2n, "b ")
    for (const watch_id of ["1", "2"]) streams[0]?.message(response({ watch_id, created: true, revision: "8" }))
    streams[0]?.message(response({ watch_id: "-1", revision: "9" }))
    streams[0]?.message(response({ watch_id: "2", revision: "10" }))
    assert.deepStrictEqual(told, ["a progress 9", "b progress 9", "b progress 10"])
  })

  it("do not believe the progress of old servers, and do not ask for it", () => {
    const { streams, told, watch, watches } = make(false)
    watch(2n)
    streams[0]?.message(response({ revision: "10" }))
    for (let tick = 0; tick < 10; tick++) watches.tickUnsafe()
    assert.deepStrictEqual(told, [])
    assert.strictEqual(streams[0]?.written.length, 1)
  })

  it("end with what a compaction has taken away", () => {
    const { streams, told, watch } = make()
    watch(2n, "a ")
    watch(9n, "b ")
    streams[0]?.message(response({ canceled: true, compact_revision: "5" }))
    streams[0]?.message(response({ watch_id: "2", events: [event(9)] }))
    assert.deepStrictEqual(told, ["a ended compacted", "b events 9"])
  })

  it("begin anew, all of them, when the server refuses one", () => {
    const { streams, told, watch } = make()
    watch(2n, "a ")
    watch(2n, "b ")
    streams[0]?.message(response({ canceled: true, cancel_reason: "etcdserver: permission denied" }))
    assert.deepStrictEqual(told, ["a ended ended", "b ended ended"])
    assert.isTrue(streams[0]?.cancelled)
    watch(2n, "c ")
    assert.strictEqual(streams.length, 2)
  })

  it("end with their stream, and the next opens another", () => {
    const { streams, told, watch } = make()
    watch(2n)
    streams[0]?.end(Fake.lost("a"))
    assert.deepStrictEqual(told, ["ended Connection dropped"])
    watch(2n)
    assert.strictEqual(streams.length, 2)
  })

  it("hear nothing after they were ended", () => {
    const { streams, told, watch } = make()
    const stop = watch(2n)
    stop()
    streams[0]?.message(response({ events: [event(4)] }))
    assert.deepStrictEqual(told, [])
    assert.deepStrictEqual(streams[0]?.written.at(-1), { cancel_request: { watch_id: 1 } })
  })

  it("ask a silent stream for its progress, and replace it when it does not answer", () => {
    const { streams, told, watch, watches } = make()
    watch(2n)
    watches.tickUnsafe()
    watches.tickUnsafe()
    assert.deepStrictEqual(streams[0]?.written.slice(1), [{ progress_request: {} }, { progress_request: {} }])
    assert.deepStrictEqual(told, [])
    watches.tickUnsafe()
    assert.deepStrictEqual(told, ["ended ended"])
    assert.isTrue(streams[0]?.cancelled)
  })

  it("leave a stream alone that was heard of", () => {
    const { streams, told, watch, watches } = make()
    watch(2n)
    for (let tick = 0; tick < 10; tick++) {
      streams[0]?.message(response({ events: [event(4 + tick)] }))
      watches.tickUnsafe()
    }
    assert.strictEqual(streams[0]?.written.length, 1)
    assert.strictEqual(told.length, 10)
  })

  it("take it for a server's manner when stream after stream gives no answer", () => {
    const { streams, watch, watches } = make()
    for (let tick = 0; tick < 30; tick++) {
      if (streams.length === 0 || streams.at(-1)?.cancelled === true) watch(2n)
      watches.tickUnsafe()
    }
    assert.strictEqual(streams.length, 3)
  })
})
