import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Exit, Layer, Option } from "effect"
import { Cassandra } from "effect-ensemble/services/cassandra"
import { mend } from "../../src/services/cassandra/control.ts"
import * as Sockets from "../../src/services/cassandra/sockets.ts"
import { freePorts } from "../servers/ports.ts"

const failureOf = (options: Cassandra.Options) =>
  Effect.map(Effect.exit(Effect.scoped(Layer.build(Cassandra.layer(options)))), (exit) => {
    assert(Exit.isFailure(exit))
    return Option.getOrThrow(Cause.findErrorOption(exit.cause))
  })

describe("the settings of a Cassandra service", () => {
  it.live("are shown as addresses and keyspace, and nothing secret", () =>
    Effect.gen(function* () {
      const [port = 0] = yield* freePorts(1)
      const error = yield* failureOf({
        addresses: [`127.0.0.1:${port}`, `[::1]:${port}`],
        keyspace: "shop",
        username: "me",
        password: "my-secret"
      })
      assert(error._tag === "ServiceUnavailable")
      assert.strictEqual(error.endpoint, `127.0.0.1:${port},[::1]:${port}/shop`)
      assert.include(error.message, "ECONNREFUSED")
      assert.notInclude(`${error.message}${JSON.stringify(error)}`, "my-secret")
    })
  )

  it.live("are refused before anything is opened, all at once", () =>
    Effect.gen(function* () {
      const error = yield* failureOf({
        addresses: [],
        datacenter: "",
        consistency: "MOST" as "ALL",
        connections: 0,
        keyspace: ""
      })
      assert(error._tag === "ServiceMisconfigured")
      assert.sameMembers(
        error.problems.map(({ source }) => source),
        ["addresses", "datacenter", "consistency", "connections", "keyspace"].map((name) => `the option "${name}"`)
      )
    })
  )
})

/** A socket that is destroyed as the driver's connections see it. */
class FakeSocket {
  bytesRead = 0
  bytesWritten = 0
  destroyed = false
  cause: unknown
  destroy(cause: unknown) {
    this.destroyed = true
    this.cause = cause
  }
}

/** A connection that says what it does before it does it. */
class FakeConnection {
  netClient: FakeSocket | undefined
  readonly #log: Sockets.Sockets["logEmitter"]

  constructor({ logEmitter }: Sockets.Sockets) {
    this.#log = logEmitter
  }

  open() {
    this.#log("log", "info", "Connection", "Connecting")
    const socket = new FakeSocket()
    this.netClient = socket
    return socket
  }
}

const setUp = () => {
  const sockets = Sockets.make(() => {})
  return { sockets, open: () => new FakeConnection(sockets).open() }
}

describe("the sockets of a Cassandra service", () => {
  it("are cut when they were asked twice and have said nothing, whatever others said meanwhile", () => {
    const { open, sockets } = setUp()
    const [silent, idle, talking] = [open(), open(), open()]
    for (const round of [1, 2]) {
      silent.bytesWritten += 10
      talking.bytesWritten += 10
      talking.bytesRead += round
      assert.isFalse(silent.destroyed, `before round ${round}`)
      sockets.unanswered()
    }
    assert.deepStrictEqual([silent.destroyed, idle.destroyed, talking.destroyed], [true, false, false])
  })

  it("are all cut at the end, with an error that ends what waits for them", () => {
    const { open, sockets } = setUp()
    const all = [open(), open()]
    sockets.cut()
    for (const socket of all) assert.instanceOf(socket.cause, Error)
  })

  it.effect("are cut as soon as they are opened after the end, also for a second time by the same connection", () =>
    Effect.gen(function* () {
      const { sockets } = setUp()
      const connection = new FakeConnection(sockets)
      const before = connection.open()
      sockets.cut()
      assert.isTrue(before.destroyed)
      const after = connection.open()
      yield* Effect.promise(() => Promise.resolve())
      assert.isTrue(after.destroyed)
    })
  )

  it("may be of a driver that is built otherwise", () => {
    const sockets = Sockets.make(() => {})
    for (const stranger of [undefined, {}, { netClient: 1 }, { netClient: { destroy: "no" } }]) {
      sockets.logEmitter.call(stranger, "log", "info", "Connection")
    }
    sockets.unanswered()
    sockets.cut()
  })

  it("leave the driver's log to its listeners", () => {
    const heard: Array<unknown> = []
    const sockets = Sockets.make((...event) => void heard.push(event))
    sockets.logEmitter.call({}, "log", "info", "Host", "up", "")
    assert.deepStrictEqual(heard, [["log", "info", "Host", "up", ""]])
  })
})

/** A control connection whose refreshes end when they are told to. */
const control = () => {
  const tried: Array<ReadonlyArray<string>> = []
  const plans: Array<unknown> = []
  const ends: Array<(error?: Error) => void> = []
  const made = {
    initialized: true,
    hosts: new Map([["10.0.0.1:9042", {}]]),
    _contactPoints: new Set(["10.0.0.1:9042", "10.0.0.2:9042"]),
    _initializeConnection() {
      tried.push([...made._contactPoints])
      return Promise.resolve()
    },
    _refresh(plan?: unknown) {
      plans.push(plan)
      return new Promise<void>((resolve, reject) => {
        ends.push((error) => (error === undefined ? resolve() : reject(error)))
      })
    }
  }
  mend({ controlConnection: made })
  return { made, tried, plans, ends }
}

const settled = Effect.promise(() => new Promise<void>((resolve) => setImmediate(resolve)))

describe("the control connection of a Cassandra service", () => {
  it("tries all addresses at first, and only new ones later", () => {
    const { made, tried } = control()
    made.initialized = false
    void made._initializeConnection()
    made.initialized = true
    void made._initializeConnection()
    assert.deepStrictEqual(tried, [["10.0.0.1:9042", "10.0.0.2:9042"], ["10.0.0.2:9042"]])
  })

  it.live("is made anew once at a time, and again after that", () =>
    Effect.gen(function* () {
      const { ends, made, plans } = control()
      void made._refresh()
      void made._refresh()
      assert.strictEqual(plans.length, 1)
      // It goes on with the nodes that are left of its plan.
      void made._refresh("plan")
      assert.deepStrictEqual(plans, [undefined, "plan"])
      ends[0]?.(new Error("an error that nobody listens for"))
      yield* settled
      void made._refresh()
      assert.strictEqual(plans.length, 3)
    })
  )

  it("stays as it is in a driver that is built otherwise", () => {
    for (const stranger of [{}, { controlConnection: null }, { controlConnection: { _refresh: 1, hosts: {} } }]) {
      mend(stranger)
    }
  })
})
