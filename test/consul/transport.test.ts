import { assert, describe, it } from "@effect/vitest"
import ConsulClient from "consul"
import { Effect, Redacted } from "effect"
import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from "node:http"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import * as Endpoints from "../../src/engines/consul/endpoints.ts"
import type { HttpAnswer, HttpRequest, Link } from "../../src/engines/consul/http.ts"
import { HttpError } from "../../src/engines/consul/http.ts"
import * as Transport from "../../src/engines/consul/transport.ts"
import { until } from "../servers/until.ts"

interface Seen {
  readonly method: string | undefined
  readonly url: string | undefined
  readonly headers: IncomingHttpHeaders
  readonly body: string
}

/** A server of HTTP that is not Consul, as long as the scope is open. */
const serve = (answer: (request: IncomingMessage, response: ServerResponse) => void) =>
  Effect.gen(function* () {
    const seen: Array<Seen> = []
    let open = 0
    const server = createServer((request, response) => {
      let body = ""
      request.on("data", (chunk) => (body += String(chunk)))
      request.on("end", () => {
        const { headers, method, url } = request
        seen.push({ method, url, headers, body })
        answer(request, response)
      })
    })
    server.on("connection", (socket) => {
      open++
      socket.on("error", () => {})
      socket.on("close", () => open--)
    })
    yield* Effect.acquireRelease(
      Effect.callback<void>((resume) => void server.listen(0, "127.0.0.1", () => resume(Effect.void))),
      () =>
        Effect.sync(() => {
          server.closeAllConnections()
          server.close()
        })
    )
    const { port } = server.address() as AddressInfo
    return { port, url: `http://127.0.0.1:${port}`, seen, open: () => open }
  })

const linkTo = Effect.fnUntraced(function* (options: Endpoints.Addresses) {
  const parsed = Endpoints.parse(options)
  if ("problem" in parsed) return yield* Effect.die(parsed.problem)
  return (yield* Transport.own(parsed)).links[0]
})

const send = (link: Link, request: HttpRequest) =>
  Effect.callback<HttpAnswer | HttpError>((resume) => {
    const abort = link.requestUnsafe(request, (answer) => resume(Effect.succeed(answer)))
    return Effect.sync(abort)
  })

const read: HttpRequest = { method: "GET", path: "/kv/a%20b", query: { consistent: "" }, effects: "read" }

const eventually = (condition: () => boolean) =>
  until(
    Effect.filterOrFail(Effect.sync(condition), (holds) => holds),
    { within: "5 seconds" }
  )

describe("the transport", () => {
  it.live("names the length of a body, sends the token, and reads index and body", () =>
    Effect.gen(function* () {
      const { seen, url } = yield* serve((_, response) => {
        response.setHeader("content-type", "application/json")
        response.setHeader("x-consul-index", "18446744073709551615")
        response.end(`{"ID":"é"}`)
      })
      const link = yield* linkTo({ endpoints: url, token: Redacted.make("t") })
      const body = { TTL: "15s", Name: "é" }
      const answer = yield* send(link, { method: "PUT", path: "/session/create", body, effects: "write" })
      assert.deepInclude(answer, { status: 200, index: 18_446_744_073_709_551_615n, body: { ID: "é" } })
      const [request] = seen
      assert.strictEqual(request?.headers["content-length"], String(Buffer.byteLength(JSON.stringify(body))))
      assert.notProperty(request?.headers, "transfer-encoding")
      assert.strictEqual(request?.headers["x-consul-token"], "t")
      assert.strictEqual(request?.body, JSON.stringify(body))
    })
  )

  it.live("asks what it is told to, and gives every status as an answer", () =>
    Effect.gen(function* () {
      const { seen, url } = yield* serve((_, response) => {
        response.statusCode = 500
        response.setHeader("content-type", "text/plain; charset=utf-8")
        response.end("No cluster leader")
      })
      const link = yield* linkTo({ endpoints: url })
      const answer = yield* send(link, { ...read, waitMillis: 10_000 })
      assert.deepInclude(answer, { status: 500, index: undefined, body: "No cluster leader" })
      assert.strictEqual(seen[0]?.url, "/v1/kv/a%20b?consistent=&wait=10000ms")
    })
  )

  it.live("closes the connection of a request that is aborted, and answers it no more", () =>
    Effect.gen(function* () {
      const { open, seen, url } = yield* serve(() => {})
      const link = yield* linkTo({ endpoints: url })
      let answers = 0
      const aborts = [1, 2, 3].map(() => link.requestUnsafe(read, () => void answers++))
      yield* eventually(() => seen.length === 3)
      assert.strictEqual(open(), 3)
      for (const abort of aborts) abort()
      yield* eventually(() => open() === 0)
      assert.strictEqual(answers, 0)
    })
  )

  it.live("fails when the connection is cut in the middle of an answer", () =>
    Effect.gen(function* () {
      const { url } = yield* serve((request, response) => {
        response.setHeader("content-length", "100")
        response.write("half", () => request.socket.destroy())
      })
      const link = yield* linkTo({ endpoints: url })
      const answer = yield* send(link, read).pipe(Effect.timeout("5 seconds"))
      assert.instanceOf(answer, HttpError)
      assert.isTrue(answer instanceof HttpError && answer.sent)
    })
  )

  it.live("knows what was never sent", () =>
    Effect.gen(function* () {
      const { port } = yield* Effect.scoped(serve(() => {}))
      const link = yield* linkTo({ endpoints: `http://127.0.0.1:${port}` })
      const answer = yield* send(link, read)
      assert.isTrue(answer instanceof HttpError && !answer.sent)
    })
  )

  it.live("closes what is kept open when it is told to", () =>
    Effect.gen(function* () {
      const { open, url } = yield* serve((_, response) => void response.end("x"))
      const link = yield* linkTo({ endpoints: url })
      yield* send(link, read)
      yield* send(link, read)
      assert.strictEqual(open(), 1, "one connection serves requests in turn")
      link.closeIdleUnsafe()
      yield* eventually(() => open() === 0)
    })
  )

  it.live("uses a given client with its token, and leaves it open", () =>
    Effect.gen(function* () {
      const { port, seen } = yield* serve((_, response) => void response.end("x"))
      const client = new ConsulClient({ host: "127.0.0.1", port, defaults: { token: "mine", dc: "dc2" } })
      const [link] = Transport.fromClient(client).links
      assert.strictEqual(link.endpoint, `http://127.0.0.1:${port}`)
      yield* send(link, read)
      assert.strictEqual(seen[0]?.headers["x-consul-token"], "mine")
      assert.include(seen[0]?.url, "dc=dc2")
      client.destroy()
    })
  )
})
