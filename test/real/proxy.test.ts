import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { Buffer } from "node:buffer"
import type { Socket } from "node:net"
import { connect, createServer } from "node:net"
import * as Proxy from "../faults/proxy.ts"
import { until } from "../servers/until.ts"

const eventually = (condition: () => boolean, what: () => string) =>
  until(
    Effect.suspend(() => (condition() ? Effect.void : Effect.fail(what()))),
    { within: "10 seconds" }
  ).pipe(Effect.catch((state) => Effect.die(new Error(state))))

/** What one end of a connection has seen. */
interface End {
  readonly socket: Socket
  /** "open", "ended" by the other side, or the code of the error that closed it. */
  readonly state: () => string
  readonly received: () => string
  readonly send: (text: string) => Effect.Effect<void>
  readonly sees: (text: string) => Effect.Effect<void>
  readonly becomes: (state: string) => Effect.Effect<void>
}

const endOf = (socket: Socket): End => {
  const chunks: Array<Buffer> = []
  let state = "open"
  socket.on("data", (chunk) => chunks.push(chunk))
  socket.once("end", () => (state = "ended"))
  socket.once("error", (error: NodeJS.ErrnoException) => (state = error.code ?? error.message))
  const received = () => Buffer.concat(chunks).toString()
  return {
    socket,
    state: () => state,
    received,
    send: (text) => Effect.sync(() => socket.write(text)),
    sees: (text) =>
      eventually(
        () => received() === text,
        () => `received "${received().slice(0, 100)}", expected "${text.slice(0, 100)}"`
      ),
    becomes: (wanted) =>
      eventually(
        () => state === wanted,
        () => `is ${state}, expected ${wanted}`
      )
  }
}

const open = Effect.fnUntraced(function* (port: number) {
  const socket = yield* Effect.acquireRelease(
    Effect.sync(() => connect({ port, host: "127.0.0.1", allowHalfOpen: true })),
    (socket) => Effect.sync(() => socket.destroy())
  )
  return endOf(socket)
})

/** A server that echoes, and remembers its ends of the connections. */
const setup = Effect.gen(function* () {
  const ends: Array<End> = []
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    ends.push(endOf(socket))
    socket.pipe(socket)
  })
  yield* Effect.acquireRelease(
    Effect.callback<void>((resume) => {
      server.listen(0, "127.0.0.1", () => resume(Effect.void))
    }),
    () =>
      Effect.callback<void>((resume) => {
        for (const { socket } of ends) socket.destroy()
        server.close(() => resume(Effect.void))
      })
  )
  const address = server.address()
  const port = typeof address === "object" && address !== null ? address.port : 0
  const proxy = yield* Proxy.make({ upstream: { host: "127.0.0.1", port } })
  const arrived = (count: number) =>
    eventually(
      () => ends.length === count,
      () => `${ends.length} connections`
    )
  const holds = (bytes: number) =>
    until(
      Effect.filterOrFail(proxy.counters, ({ held }) => held === bytes),
      { within: "10 seconds" }
    ).pipe(Effect.orDie, Effect.asVoid)
  return { proxy, open: open(proxy.port), ends, arrived, holds, server }
})

describe("a proxy", () => {
  it.live("passes bytes and closings in both directions, and counts", () =>
    Effect.gen(function* () {
      const { open, proxy } = yield* setup
      const client = yield* open
      // More than all buffers on the way hold.
      const text = "0123456789abcdef".repeat(1 << 20)
      yield* client.send(text)
      yield* Effect.sync(() => client.socket.end())
      yield* client.becomes("ended")
      assert.isTrue(client.received() === text)
      yield* eventually(
        () => client.socket.destroyed,
        () => "the client's socket is open"
      )
      yield* until(
        Effect.filterOrFail(proxy.counters, ({ open }) => open === 0),
        { within: "5 seconds" }
      )
      const size = text.length
      assert.deepStrictEqual(yield* proxy.counters, { open: 0, accepted: 1, up: size, down: size, held: 0 })
      assert.strictEqual(proxy.url, `http://127.0.0.1:${proxy.port}`)
    })
  )

  it.live("cut: resets what is open, accepts what comes", () =>
    Effect.gen(function* () {
      const { ends, open, proxy } = yield* setup
      const client = yield* open
      yield* client.send("a")
      yield* client.sees("a")
      yield* proxy.cut
      yield* client.becomes("ECONNRESET")
      yield* eventually(
        () => ends[0]?.state() === "ECONNRESET",
        () => `the server's end is ${ends[0]?.state()}`
      )
      const next = yield* open
      yield* next.send("b")
      yield* next.sees("b")
    })
  )

  it.live("refuse: nobody listens until it heals, at the same address", () =>
    Effect.gen(function* () {
      const { open, proxy } = yield* setup
      const client = yield* open
      yield* client.send("a")
      yield* client.sees("a")
      yield* proxy.refuse
      yield* client.becomes("ECONNRESET")
      yield* (yield* open).becomes("ECONNREFUSED")
      yield* proxy.heal
      const next = yield* open
      yield* next.send("b")
      yield* next.sees("b")
    })
  )

  it.live("blackhole: holds what is sent, and delivers it in order when it heals", () =>
    Effect.gen(function* () {
      const { arrived, ends, holds, open, proxy } = yield* setup
      const client = yield* open
      yield* client.send("a")
      yield* client.sees("a")
      yield* proxy.blackhole
      yield* client.send("b")
      yield* Effect.sync(() => ends[0]?.socket.write("c"))
      const late = yield* open
      yield* late.send("d")
      yield* holds(3)
      assert.deepStrictEqual([client.received(), late.received(), ends[0]?.received()], ["a", "", "a"])
      assert.deepStrictEqual([client.state(), late.state(), ends.length], ["open", "open", 1])
      yield* proxy.heal
      yield* client.sees("acb")
      yield* late.sees("d")
      yield* arrived(2)
    })
  )

  it.live("blackhole: keeps a closing to itself until it heals", () =>
    Effect.gen(function* () {
      const { ends, holds, open, proxy } = yield* setup
      const [ending, failing] = [yield* open, yield* open]
      for (const client of [ending, failing]) {
        yield* client.send("a")
        yield* client.sees("a")
      }
      yield* proxy.blackhole
      yield* Effect.sync(() => ending.socket.end("b"))
      yield* Effect.sync(() => failing.socket.resetAndDestroy())
      yield* holds(1)
      assert.deepStrictEqual(
        ends.map((end) => end.state()),
        ["open", "open"]
      )
      yield* proxy.heal
      yield* ending.sees("ab")
      yield* eventually(
        () => ends[0]?.state() === "ended" && ends[1]?.state() === "ECONNRESET",
        () => ends.map((end) => end.state()).join()
      )
    })
  )

  it.live("cut after blackhole: what was held is lost", () =>
    Effect.gen(function* () {
      const { ends, holds, open, proxy } = yield* setup
      const client = yield* open
      yield* client.send("a")
      yield* client.sees("a")
      yield* proxy.blackhole
      yield* client.send("b")
      yield* holds(1)
      yield* proxy.cut
      yield* proxy.heal
      yield* client.becomes("ECONNRESET")
      assert.deepStrictEqual([ends[0]?.received(), (yield* proxy.counters).held], ["a", 0])
    })
  )

  it.live("halfOpen: what is open stays silent for ever, what comes passes", () =>
    Effect.gen(function* () {
      const { ends, holds, open, proxy } = yield* setup
      const [client, closing] = [yield* open, yield* open]
      for (const one of [client, closing]) {
        yield* one.send("a")
        yield* one.sees("a")
      }
      yield* proxy.halfOpen
      yield* client.send("b")
      yield* Effect.sync(() => closing.socket.end("c"))
      yield* holds(2)
      const next = yield* open
      yield* next.send("d")
      yield* next.sees("d")
      yield* proxy.heal
      yield* next.send("e")
      yield* next.sees("de")
      assert.deepStrictEqual([client.received(), (yield* proxy.counters).held], ["a", 2])
      assert.deepStrictEqual(
        ends.map((end) => [end.received(), end.state()]),
        [
          ["a", "open"],
          ["a", "open"],
          ["de", "open"]
        ]
      )
    })
  )

  it.live("silence: one way only", () =>
    Effect.gen(function* () {
      const { ends, holds, open, proxy } = yield* setup
      const client = yield* open
      yield* client.send("a")
      yield* client.sees("a")
      yield* proxy.silence("up")
      yield* client.send("b")
      yield* holds(1)
      yield* Effect.sync(() => ends[0]?.socket.write("c"))
      yield* client.sees("ac")
      assert.strictEqual(ends[0]?.received(), "a")
      yield* proxy.heal
      yield* client.sees("acb")
      yield* proxy.silence("down")
      yield* client.send("d")
      yield* holds(1)
      assert.deepStrictEqual([client.received(), ends[0]?.received()], ["acb", "abd"])
      const next = yield* open
      yield* next.send("e")
      yield* holds(2)
      assert.deepStrictEqual([next.received(), ends[1]?.received()], ["", "e"])
    })
  )

  it.live("delay: keeps the order, not the time; one way or each way", () =>
    Effect.gen(function* () {
      const { open, proxy } = yield* setup
      const client = yield* open
      const elapsed = (text: string, seen: string) =>
        Effect.gen(function* () {
          const started = performance.now()
          for (const letter of text) yield* client.send(letter)
          yield* client.sees(seen)
          return performance.now() - started
        })
      yield* proxy.delay(60)
      assert.isAtLeast(yield* elapsed("abc", "abc"), 119)
      yield* proxy.heal
      yield* proxy.delay(60, "down")
      assert.isAtLeast(yield* elapsed("de", "abcde"), 59)
      // What is under way is not overtaken when the delay ends.
      yield* proxy.delay(60_000)
      yield* client.send("f")
      yield* proxy.delay(0)
      yield* client.send("g")
      yield* proxy.heal
      yield* client.sees("abcdefg")
    })
  )

  it.live("throttle: takes its time for the bytes", () =>
    Effect.gen(function* () {
      const { open, proxy } = yield* setup
      const client = yield* open
      yield* proxy.throttle(100_000, "down")
      const started = performance.now()
      yield* client.send("x".repeat(20_000))
      yield* client.sees("x".repeat(20_000))
      assert.isAtLeast(performance.now() - started, 199)
    })
  )

  it.live("cutMidFrame: this many bytes of the server's, then a reset", () =>
    Effect.gen(function* () {
      const { open, proxy } = yield* setup
      const [client, empty] = [yield* open, yield* open]
      for (const one of [client, empty]) {
        yield* one.send("a")
        yield* one.sees("a")
      }
      yield* proxy.cutMidFrame(3)
      yield* client.send("bc")
      yield* client.sees("abc")
      assert.strictEqual(client.state(), "open")
      yield* client.send("defg")
      yield* client.becomes("ECONNRESET")
      assert.strictEqual(client.received(), "abcd")
      yield* proxy.cutMidFrame(0)
      yield* empty.send("b")
      yield* empty.becomes("ECONNRESET")
      assert.strictEqual(empty.received(), "a")
      const next = yield* open
      yield* next.send("abcdefgh")
      yield* next.sees("abcdefgh")
    })
  )

  it.live("pushes back on a sender whom nobody reads, and swallows nothing", () =>
    Effect.gen(function* () {
      const { open, proxy } = yield* setup
      const client = yield* open
      yield* client.send("a")
      yield* client.sees("a")
      yield* proxy.blackhole
      const size = 64 << 20
      yield* client.send("x".repeat(size))
      yield* until(
        Effect.filterOrFail(proxy.counters, ({ held }) => held >= 1 << 20),
        { within: "5 seconds" }
      )
      assert.isAbove(client.socket.writableLength, 0)
      assert.isBelow((yield* proxy.counters).held, 2 << 20)
      yield* proxy.heal
      yield* eventually(
        () => client.socket.bytesRead === size + 1,
        () => `${client.socket.bytesRead} bytes came back`
      )
    })
  )

  it.live("pushes back on a server whose client does not read", () =>
    Effect.gen(function* () {
      const { ends, open, proxy } = yield* setup
      const [slow, other] = [yield* open, yield* open]
      yield* slow.send("a")
      yield* slow.sees("a")
      yield* Effect.sync(() => slow.socket.pause())
      const size = 64 << 20
      yield* Effect.sync(() => ends[0]?.socket.write("x".repeat(size)))
      // In so many turns of the event loop a proxy that did not care would have read all of it.
      const roundTrip = Effect.callback<void>((resume) => {
        other.socket.once("data", () => resume(Effect.void))
        other.socket.write("b")
      })
      yield* Effect.replicateEffect(roundTrip, 2000, { discard: true })
      assert.isBelow((yield* proxy.counters).down, size / 2)
      yield* Effect.sync(() => slow.socket.resume())
      yield* eventually(
        () => slow.socket.bytesRead === size + 1,
        () => `${slow.socket.bytesRead} bytes arrived`
      )
    })
  )

  it.live("resets where no server listens", () =>
    Effect.gen(function* () {
      const { server } = yield* setup
      const address = server.address()
      const port = typeof address === "object" && address !== null ? address.port : 0
      yield* Effect.callback<void>((resume) => {
        server.close(() => resume(Effect.void))
      })
      const proxy = yield* Proxy.make({ upstream: { host: "127.0.0.1", port } })
      yield* (yield* open(proxy.port)).becomes("ECONNRESET")
      assert.strictEqual((yield* proxy.counters).open, 0)
    })
  )
})
