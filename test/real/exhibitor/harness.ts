/** Exhibitors that say what a test wants, and an ensemble whose servers have one client port, as those that Exhibitor keeps have. */
import { Data, Effect, Layer, References, Stream } from "effect"
import type { Coordinator } from "effect-ensemble"
import { Exhibitor } from "effect-ensemble/exhibitor"
import { FetchHttpClient } from "effect/http"
import { createServer as createHttpServer } from "node:http"
import type { Socket } from "node:net"
import { createServer } from "node:net"
import * as Client from "../../../src/engines/zookeeper/client.ts"
import { tcp } from "../../../src/engines/zookeeper/transport.ts"
import type { Link } from "../../faults/link.ts"
import { makeLink } from "../../faults/link.ts"
import { freePorts, onFreePort } from "../../servers/ports.ts"
import { until } from "../../servers/until.ts"
import * as Servers from "../../servers/zookeeper.ts"

/** Long enough that neither a pause of this process nor a new leader of the ensemble ends a session. */
export const ttlMillis = 8_000

/** A server of the ensemble under the name that Exhibitor lists, and what leads to it. */
export interface Named {
  readonly name: string
  readonly link: Link
  readonly member: Servers.Member
}

export interface Ensemble {
  readonly port: number
  readonly servers: readonly [Named, Named, Named]
  readonly cluster: Servers.Cluster
}

const listening = (server: ReturnType<typeof createServer>, host: string, port: number) =>
  Effect.callback<number, Error>((resume) => {
    const failed = (error: Error) => resume(Effect.fail(error))
    server.once("error", failed)
    server.listen({ host, port, exclusive: true }, () => {
      server.off("error", failed)
      resume(Effect.succeed(port))
    })
  })

/** Three servers on `127.0.0.2` and so on: whatever begins with 127 is this machine. */
export const ensemble = Effect.gen(function* () {
  const cluster = yield* Servers.cluster(3)
  const [port = 0] = yield* freePorts(1)
  const name = Effect.fnUntraced(function* (member: Servers.Member, host: string) {
    const link = makeLink({ host: member.host, port: member.port })
    const server = createServer({ allowHalfOpen: true }, (socket: Socket) => link.accept(socket))
    yield* Effect.acquireRelease(listening(server, host, port), () =>
      Effect.sync(() => {
        server.close()
        link.close()
      })
    )
    return { name: host, link, member }
  })
  const [one, two, three] = cluster.members
  if (two === undefined || three === undefined) return yield* Effect.die(new Error("three members"))
  const made: Ensemble = {
    port,
    cluster,
    servers: [yield* name(one, "127.0.0.2"), yield* name(two, "127.0.0.3"), yield* name(three, "127.0.0.4")]
  }
  return made
})

/** The servers that clients are connected to now. */
export const inUse = (servers: ReadonlyArray<Named>): ReadonlyArray<string> =>
  servers.filter(({ link }) => link.counters().open > 0).map(({ name }) => name)

/** How many connections there have been so far: as long as it stays, nobody has moved. */
export const connections = (servers: ReadonlyArray<Named>): number =>
  servers.reduce((sum, { link }) => sum + link.counters().accepted, 0)

export interface FakeExhibitor {
  readonly url: string
  readonly lists: (servers: ReadonlyArray<Named>, port: number) => void
  readonly says: (status: number, body: string) => void
  /** `user:password` that it asks for from now on. */
  readonly wants: (secret: string) => void
  readonly down: Effect.Effect<void>
  readonly up: Effect.Effect<void>
  /** Waits until it was asked so many times more. */
  readonly askedAgain: (times?: number) => Effect.Effect<void, NotYet>
}

export class NotYet extends Data.TaggedError("NotYet")<{ readonly what: string }> {
  override get message() {
    return `not yet: ${this.what}`
  }
}

export const eventually = <A>(what: string, ask: () => A, holds: (found: A) => boolean) =>
  until(
    Effect.suspend(() =>
      holds(ask()) ? Effect.void : Effect.fail(new NotYet({ what: `${what}, but ${String(ask())}` }))
    ),
    { within: "40 seconds" }
  )

/** An Exhibitor that nobody has configured yet. */
export const exhibitor = Effect.gen(function* () {
  let answer = { status: 500, body: "" }
  let secret: string | undefined
  let asked = 0
  const http = createHttpServer((request, response) => {
    asked++
    const given = (request.headers.authorization ?? "").replace(/^Basic /, "")
    const known = secret === undefined || Buffer.from(given, "base64").toString() === secret
    const isList = request.url === "/exhibitor/v1/cluster/list" && request.headers.accept === "application/json"
    const { body, status } = !known ? { status: 401, body: "" } : isList ? answer : { status: 404, body: "" }
    response.writeHead(status, { "content-type": "application/json" }).end(body)
  })
  const down = Effect.callback<void>((resume) => {
    http.close(() => resume(Effect.void))
    http.closeAllConnections()
  })
  const port = yield* Effect.acquireRelease(
    onFreePort((free) => listening(http, "127.0.0.1", free)),
    () => down
  )
  const made: FakeExhibitor = {
    url: `http://127.0.0.1:${port}`,
    lists: (servers, port) => {
      answer = { status: 200, body: JSON.stringify({ servers: servers.map(({ name }) => name), port }) }
    },
    says: (status, body) => {
      answer = { status, body }
    },
    wants: (given) => {
      secret = given
    },
    down,
    up: Effect.orDie(Effect.asVoid(listening(http, "127.0.0.1", port))),
    askedAgain: (times = 2) =>
      Effect.suspend(() => {
        const from = asked
        return eventually(
          `${times} more questions`,
          () => asked - from,
          (more) => more >= times
        )
      })
  }
  return made
})

/** A process's coordinator, for the scope. */
export const start = (exhibitors: ReadonlyArray<FakeExhibitor>, options: Exhibitor.Options = {}) =>
  Layer.build(
    Exhibitor.layer({
      endpoints: exhibitors.map(({ url }) => url),
      ttl: ttlMillis,
      pollInterval: "100 millis",
      pollTimeout: "1 second",
      ...options
    }).pipe(Layer.provide(FetchHttpClient.layer))
  ).pipe(Effect.provideService(References.MinimumLogLevel, "Warn"))

/** Somebody with `zkCli`, who reaches the ensemble by no name that Exhibitor lists. */
export const admin = ({ cluster }: Ensemble) =>
  Effect.tap(
    Client.make({ endpoints: cluster.members, transport: tcp, timeoutMillis: 10_000, ping: 0.2 }),
    ({ attached }) => attached
  )

/** The tags of a session's states, as far as they have come. */
export const statesOf = Effect.fnUntraced(function* (coordinator: Coordinator.Coordinator["Service"]) {
  const tags: Array<string> = []
  yield* coordinator.session.pipe(
    Stream.runForEach(({ _tag }) => Effect.sync(() => void tags.push(_tag))),
    Effect.forkScoped({ startImmediately: true })
  )
  return tags
})
