import { Client as Client8 } from "@elastic/elasticsearch-8"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { Elasticsearch } from "effect-ensemble/services/elasticsearch"
import type { Server } from "node:http"
import { createServer } from "node:http"
import * as Servers from "../../servers/elasticsearch.ts"
import * as Kit from "./kit.ts"

/** A server that has just begun takes seconds for its first index. */
const warm = Effect.tap(Servers.single(), ({ url }) => Effect.promise(() => fetch(`${url}/notes`, { method: "PUT" })))

const url = (port: number) => `http://127.0.0.1:${port}`

describe("Elasticsearch", () => {
  const test = Kit.cases<Elasticsearch.Elasticsearch>({
    name: "elasticsearch",
    serve: Kit.behind(warm),
    layer: (port, bounds) => Elasticsearch.layer({ nodes: url(port), ...bounds }),
    health: Elasticsearch.health,
    operate: Elasticsearch.Elasticsearch.use(({ use }) =>
      Effect.andThen(
        use((client) => client.index({ index: "notes", id: "1", document: { text: "hello" } })),
        use((client, signal) => client.get({ index: "notes", id: "1" }, { signal }))
      )
    ),
    configured: (prefix) => Elasticsearch.layerConfig(Elasticsearch.config(prefix)),
    variables: (port, prefix) => ({ [`${prefix}_ADDR`]: url(port) }),
    unusable: (port, prefix) => ({ [`${prefix}_ADDR`]: `127.0.0.1:${port}`, [`${prefix}_TIMEOUT_CONNECT`]: "soon" }),
    pooled: 4,
    program: "elasticsearch.ts"
  })

  class Archive extends Elasticsearch.serviceOf<Archive>()("archive", (settings) => new Client8(settings)) {}

  test("stands beside one of another version, each with a client of its own", ({ proxy }) =>
    Effect.gen(function* () {
      const eight = yield* Servers.single({ version: "8" })
      const both = Layer.mergeAll(
        Archive.layer({ nodes: eight.url, connectTimeout: "60 seconds" }),
        Elasticsearch.layer({ nodes: url(proxy.port), connectTimeout: "60 seconds" })
      )
      const versions = yield* Effect.provide(
        Effect.all([
          Archive.use(({ use }) => use((client) => client.info())),
          Elasticsearch.Elasticsearch.use(({ use }) => use((client) => client.info()))
        ]),
        both
      )
      assert.deepStrictEqual(
        versions.map(({ version }) => version.number.split(".")[0]),
        ["8", "9"]
      )
    }))

  it.live("refuses what is not Elasticsearch", () =>
    Effect.gen(function* () {
      const port = yield* answering({ "content-type": "application/json" }, 200, { version: { number: "9.9.9" } })
      const error = yield* Effect.flip(Effect.scoped(Elasticsearch.make({ nodes: url(port) })))
      assert.include(error.message, "not Elasticsearch")
    })
  )

  it.live("tells refused credentials, and never shows them", () =>
    Effect.gen(function* () {
      const elastic = { "content-type": "application/json", "x-elastic-product": "Elasticsearch" }
      const port = yield* answering(elastic, 401, {
        error: { type: "security_exception", reason: "unable to authenticate" }
      })
      const options = { nodes: `http://user:wrong-secret@127.0.0.1:${port}`, apiKey: "wrong-secret" }
      const error = yield* Effect.flip(Effect.scoped(Elasticsearch.make(options)))
      assert.include(error.message, "security_exception")
      assert.notInclude(`${error.message}${JSON.stringify(error)}`, "wrong-secret")
    })
  )
})

/** A server that gives the same answer to everybody. */
const answering = (headers: Record<string, string>, status: number, body: unknown) =>
  Effect.acquireRelease(
    Effect.callback<Server>((resume) => {
      const server = createServer((_, response) => response.writeHead(status, headers).end(JSON.stringify(body)))
      server.listen(0, "127.0.0.1", () => resume(Effect.succeed(server)))
    }),
    (server) =>
      Effect.sync(() => {
        server.closeAllConnections()
        server.close()
      })
  ).pipe(
    Effect.map((server) => {
      const address = server.address()
      return typeof address === "object" && address !== null ? address.port : 0
    })
  )
