import { assert, describe, it } from "@effect/vitest"
import { Context, Data, Effect, Exit, Layer } from "effect"
import { ServiceConformance } from "effect-ensemble/testing"
import { TestClock } from "effect/testing"

class Refused extends Data.TaggedError("Refused")<{}> {}

/** A server that counts its connections and can be told to misbehave. */
class Server {
  readonly connections = new Set<Connection>()
  isRefusing = false
  isStalled = false

  /** An answer takes a moment; while it stalls there is none. */
  readonly answer: Effect.Effect<void> = Effect.suspend(() =>
    Effect.sleep(5).pipe(Effect.andThen(Effect.suspend(() => (this.isStalled ? this.answer : Effect.void))))
  )

  readonly faults: ServiceConformance.Faults = {
    refuse: Effect.sync(() => void (this.isRefusing = true)),
    stall: Effect.sync(() => void (this.isStalled = true)),
    heal: Effect.sync(() => {
      this.isRefusing = false
      this.isStalled = false
    })
  }
}

class Connection {
  readonly server: Server
  constructor(server: Server) {
    this.server = server
    server.connections.add(this)
  }
  readonly ping: Effect.Effect<void, Refused> = Effect.suspend(() =>
    Effect.andThen(
      this.server.answer,
      this.server.isRefusing || !this.server.connections.has(this) ? Effect.fail(new Refused()) : Effect.void
    )
  )
  /** Says goodbye, and is gone at the latest when nobody waits for that any longer. */
  readonly quit: Effect.Effect<void> = Effect.suspend(() => this.server.answer).pipe(
    Effect.ensuring(Effect.sync(() => this.server.connections.delete(this)))
  )
}

class Client extends Context.Service<Client, Connection>()("test/Client") {}

const open = (server: Server) => Effect.sync(() => new Connection(server))

/** Connects, asks whether anybody is there, and takes its leave. */
const good = (server: Server) =>
  Layer.effect(
    Client,
    Effect.tap(
      Effect.acquireRelease(open(server), (connection) => connection.quit),
      (connection) => connection.ping
    )
  )

/** Layers that break one promise, each with a case that tells. */
const broken: ReadonlyArray<
  readonly [what: string, layer: (server: Server) => Layer.Layer<Client, unknown>, told: string]
> = [
  [
    "opens before the start",
    (server) => {
      const connection = new Connection(server)
      return Layer.effect(
        Client,
        Effect.acquireRelease(Effect.succeed(connection), ({ quit }) => quit)
      )
    },
    "opens nothing before it"
  ],
  [
    "leaves a refused connection open",
    (server) =>
      Layer.effect(
        Client,
        Effect.acquireRelease(
          Effect.tap(open(server), ({ ping }) => ping),
          ({ quit }) => quit
        )
      ),
    "that is refused fails with a typed failure and leaves nothing open"
  ],
  [
    "leaves a cancelled connection open",
    (server) =>
      Layer.effect(
        Client,
        Effect.tap(
          Effect.tap(open(server), ({ ping }) => ping),
          ({ quit }) => Effect.addFinalizer(() => quit)
        )
      ),
    "cancelled at every point leaves nothing open, and can be done again"
  ],
  [
    "dies of a server that refuses",
    (server) => Layer.orDie(good(server)),
    "that is refused fails with a typed failure and leaves nothing open"
  ],
  [
    "starts without a server",
    (server) =>
      Layer.effect(
        Client,
        Effect.tap(
          Effect.acquireRelease(open(server), ({ quit }) => quit),
          ({ ping }) => Effect.ignore(ping)
        )
      ),
    "that is refused fails with a typed failure and leaves nothing open"
  ],
  [
    "never closes",
    (server) =>
      Layer.effect(
        Client,
        Effect.tap(open(server), ({ ping }) => ping)
      ),
    "closes everything, without a failure"
  ],
  [
    "dies of closing",
    (server) =>
      Layer.effect(
        Client,
        Effect.acquireRelease(open(server), ({ quit }) => Effect.andThen(quit, Effect.die("twice")))
      ),
    "closes everything, without a failure"
  ],
  [
    "keeps its client in a global",
    (server) => {
      let shared: Connection | undefined
      return Layer.effect(
        Client,
        Effect.acquireRelease(
          Effect.sync(() => (shared ??= new Connection(server))),
          ({ quit }) =>
            Effect.andThen(
              quit,
              Effect.sync(() => (shared = undefined))
            )
        )
      )
    },
    "two of them at once do not know each other"
  ],
  [
    "gives the closed client again",
    (server) => {
      let former: Connection | undefined
      return Layer.effect(
        Client,
        Effect.acquireRelease(
          Effect.sync(() => (former ??= new Connection(server))),
          ({ quit }) => quit
        )
      )
    },
    "and start again give a service that works as before, any number of times"
  ],
  [
    "leaves one more open each time",
    (server) =>
      Layer.effect(
        Client,
        Effect.tap(
          Effect.acquireRelease(open(server), ({ quit }) => quit),
          (connection) => Effect.andThen(connection.ping, open(server))
        )
      ),
    "twice is once, also at once"
  ],
  [
    "forgets to close what it could not take leave of",
    (server) =>
      Layer.effect(
        Client,
        Effect.acquireRelease(open(server), (connection) =>
          Effect.suspend(() => (server.isStalled ? Effect.void : connection.quit))
        )
      ),
    "ends with its bound while the server does not answer, and closes what it can"
  ]
]

const settle = Effect.repeat(Effect.yieldNow, { times: 20 })
const advance = (millis: number) =>
  settle.pipe(Effect.andThen(TestClock.adjust(millis)), Effect.andThen(settle), Effect.asVoid)

const suiteOf = (
  make: (server: Server) => Layer.Layer<Client, unknown>,
  health: Effect.Effect<unknown, unknown, Client> = Client.use(({ ping }) => ping)
) =>
  ServiceConformance.suite(
    Effect.sync((): ServiceConformance.Harness<Client> => {
      const server = new Server()
      return {
        layer: make(server),
        probe: Client.use(({ ping }) => ping),
        advance,
        patienceMillis: 1_000,
        open: Effect.sync(() => server.connections.size),
        health,
        faults: server.faults
      }
    }),
    ServiceConformance.capabilities
  )

describe("a good layer passes", () => {
  for (const { contract, name, run } of suiteOf(good)) it.effect(`${contract}: ${name}`, () => run)
})

/** What the suite says of it: the names of the cases that fail. */
const failures = (cases: ReturnType<typeof suiteOf>) =>
  Effect.map(
    Effect.forEach(cases, ({ name, run }) =>
      Effect.map(Effect.exit(run), (exit) => (Exit.isFailure(exit) ? [name] : []))
    ),
    (names) => names.flat()
  )

describe("a layer is found out that", () => {
  for (const [what, layer, told] of broken) {
    it.effect(what, () =>
      Effect.gen(function* () {
        assert.include(yield* failures(suiteOf(layer)), told)
      })
    )
  }

  it.effect("calls itself healthy whatever is", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* failures(suiteOf(good, Effect.void)), [
        "is well while the server is, and says so when it is not"
      ])
    })
  )
})

describe("the suite", () => {
  it("leaves out what was not declared, and no more", () => {
    const all = suiteOf(good).length
    const harness = Effect.sync((): ServiceConformance.Harness<Client> => ({
      layer: good(new Server()),
      probe: Effect.void,
      advance
    }))
    const some = ServiceConformance.suite(harness, []).map(({ name }) => name)
    assert.isBelow(some.length, all)
    assert.include(some, "and start again give a service that works as before, any number of times")
    assert.notInclude(some, "opens nothing before it")
  })
})
