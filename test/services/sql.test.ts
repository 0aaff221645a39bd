import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Exit, Layer, Option } from "effect"
import { Sql } from "effect-ensemble/services/sql"
import * as Net from "node:net"
import { make as makeSockets } from "../../src/services/sql/sockets.ts"
import { freePorts } from "../servers/ports.ts"
import { until } from "../servers/until.ts"

const failureOf = (options: Sql.Options) =>
  Effect.map(Effect.exit(Effect.scoped(Layer.build(Sql.layer(options)))), (exit) => {
    assert(Exit.isFailure(exit))
    return Option.getOrThrow(Cause.findErrorOption(exit.cause))
  })

describe("the address of a SQL service", () => {
  it.live.each([
    ["postgres://me:secret@127.0.0.1:PORT/shop?sslmode=disable", "postgres://127.0.0.1:PORT/shop"],
    ["postgresql://me:secret@[::1]:PORT", "postgres://[::1]:PORT/me"],
    ["postgres://127.0.0.1:PORT/a%20b?password=secret", "postgres://127.0.0.1:PORT/a b"],
    ["postgres://elsewhere:1/shop?host=127.0.0.1&port=PORT&user=me", "postgres://127.0.0.1:PORT/shop"],
    ["postgres://localhost/shop?host=/nowhere&port=PORT", "postgres:/nowhere/.s.PGSQL.PORT/shop"]
  ])("%s is shown as %s", ([url, shown]) =>
    Effect.gen(function* () {
      const [port = 0] = yield* freePorts(1)
      const error = yield* failureOf({ url: url.replace("PORT", String(port)), password: "other-secret" })
      assert(error._tag === "ServiceUnavailable")
      assert.strictEqual(error.endpoint, shown.replace("PORT", String(port)))
      assert.notInclude(`${error.message}${JSON.stringify(error)}`, "secret")
      assert.match(error.reason, /ECONNREFUSED|ENOENT/, "what the system said, not what the driver was about")
    })
  )

  it.live.each([
    "mysql://localhost/shop",
    "postgres://localhost/shop?sslmode=perhaps",
    "postgres://localhost/shop?port=http",
    "postgres://localhost/%zz",
    "postgres:///shop"
  ])("%s is refused before anything is opened", (url) =>
    Effect.gen(function* () {
      const error = yield* failureOf({ url, maxConnections: 0, statementTimeout: "never" as "1 second" })
      assert(error._tag === "ServiceMisconfigured")
      assert.deepStrictEqual(
        error.problems.map(({ source }) => source),
        ['the option "url"', 'the option "maxConnections"', 'the option "statementTimeout"']
      )
    })
  )
})

describe("the sockets of a SQL service", () => {
  /** A server that answers each byte, and what became of sockets towards it. */
  const setUp = Effect.gen(function* () {
    const server = Net.createServer((socket) => socket.on("error", () => {}).pipe(socket))
    yield* Effect.acquireRelease(
      Effect.callback<void>((resume) => void server.listen(0, "127.0.0.1", () => resume(Effect.void))),
      () => Effect.sync(() => server.close())
    )
    const { port } = server.address() as Net.AddressInfo
    let broken = 0
    const sockets = makeSockets(() => broken++)
    yield* Effect.addFinalizer(() => Effect.sync(sockets.cut))
    const open = Effect.sync(() => {
      const socket = sockets.open({ host: "127.0.0.1", port })
      socket.resume()
      return socket
    })
    const talk = (socket: Net.Socket) =>
      Effect.gen(function* () {
        const before = socket.bytesRead
        socket.write("x")
        yield* holds("an answer", () => socket.bytesRead > before)
      })
    return { sockets, open, talk, broken: () => broken }
  })

  const holds = (what: string, condition: () => boolean) =>
    until(
      Effect.suspend(() => (condition() ? Effect.void : Effect.fail(what))),
      { within: "10 seconds" }
    )

  it.live("are cut when they were silent between two probes that nobody answered", () =>
    Effect.gen(function* () {
      const { open, sockets, talk } = yield* setUp
      const [silent, talking] = [yield* open, yield* open]
      yield* talk(silent)
      yield* talk(talking)
      sockets.unanswered()
      assert.deepStrictEqual([silent.destroyed, talking.destroyed], [false, false])
      yield* talk(talking)
      sockets.unanswered()
      assert.deepStrictEqual([silent.destroyed, talking.destroyed], [true, false])
    })
  )

  it.live("outlive a probe that was not answered when the next one is", () =>
    Effect.gen(function* () {
      const { open, sockets, talk } = yield* setUp
      const silent = yield* open
      yield* talk(silent)
      sockets.unanswered()
      sockets.answered()
      sockets.unanswered()
      assert.isFalse(silent.destroyed)
    })
  )

  it.live("are told of when they break, if the server had said anything", () =>
    Effect.gen(function* () {
      const { broken, open, sockets, talk } = yield* setUp
      const [mute, talked] = [yield* open, yield* open]
      yield* talk(talked)
      mute.destroy()
      talked.destroy()
      yield* holds("told", () => broken() > 0)
      sockets.cut()
      assert.strictEqual(broken(), 1)
    })
  )

  it.live("are all cut at the end, whatever they are doing, and none is made after", () =>
    Effect.gen(function* () {
      const { open, sockets, talk } = yield* setUp
      const [connecting, talked, leaving] = [yield* open, yield* open, yield* open]
      yield* talk(talked)
      leaving.end("bye")
      sockets.cut()
      assert.deepStrictEqual([connecting.destroyed, talked.destroyed, leaving.destroyed], [true, true, true])
      assert.throws(() => sockets.open({ port: 1 }), "the service has stopped")
    })
  )
})
