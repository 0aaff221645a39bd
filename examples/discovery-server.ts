/**
 * A server that takes any free port and registers itself there. When it stops it withdraws first, goes on answering
 * until the clients have seen that, and only then stops listening.
 */
import { NodeHttpServer, NodeRuntime } from "@effect/platform-node"
import { Console, Effect, Layer, Schema } from "effect"
import { Discovery, Memory } from "effect-ensemble"
import { FetchHttpClient, HttpClient, HttpRouter, HttpServer, HttpServerResponse } from "effect/http"
import { NetAddress } from "effect/net"
import { createServer } from "node:http"

// Server and clients import this from one file.
const Api = Discovery.make("api", { attributes: Schema.Struct({ version: Schema.String }) })

const Routes = HttpRouter.use((router) => router.add("GET", "/hello", HttpServerResponse.text("hello")))

const Server = HttpRouter.serve(Routes, { disableListenLog: true, disableLogger: true }).pipe(
  Layer.provideMerge(NodeHttpServer.layer(createServer, { host: "127.0.0.1", port: 0 }))
)

const instance = Effect.gen(function* () {
  const { address } = yield* HttpServer.HttpServer
  if (NetAddress.isUnixPathAddress(address)) return yield* Effect.die(new Error("Clients cannot reach a Unix socket"))
  return { address: "127.0.0.1", port: address.port, attributes: { version: "1.2.0" } }
})

const Registered = Discovery.layer(Api, instance, { drain: "300 millis" }).pipe(
  Layer.provideMerge(Server),
  Layer.provideMerge(Memory.layer({ node: "api-1" }))
)

// A real server would be `Layer.launch(Registered)`. This one is called once, the way a client would, and stops.
const call = Effect.gen(function* () {
  const { members } = yield* Discovery.list(Api)
  for (const { id, value } of members) {
    const response = yield* HttpClient.get(`http://${value.address}:${value.port}/hello`)
    yield* Console.log(`${id}, version ${value.attributes.version}, says: ${yield* response.text}`)
  }
})

call.pipe(Effect.provide([Registered, FetchHttpClient.layer]), NodeRuntime.runMain)
