import { assert, describe, it } from "@effect/vitest"
import { Array as Arr, ConfigProvider, Duration, Effect, Fiber, Layer, Redacted } from "effect"
import type { CoordinatorError } from "effect-ensemble"
import { Exhibitor } from "effect-ensemble/exhibitor"
import { HttpClient, HttpClientError, HttpClientRequest } from "effect/http"
import { TestClock } from "effect/testing"
import * as Ensemble from "../../src/engines/exhibitor/ensemble.ts"
import { unanswered } from "../../src/engines/exhibitor/failure.ts"
import * as List from "../../src/engines/exhibitor/list.ts"
import * as Settings from "../../src/engines/exhibitor/settings.ts"
import { show } from "../../src/engines/zookeeper/transport.ts"
import type { Behaviour } from "./fakeHttp.ts"
import { list, make as fakeHttp } from "./fakeHttp.ts"

const question: List.Question = { path: "/list", basicAuth: undefined, millis: 1_000 }

const ask = (behaviour: Behaviour) => List.ask(fakeHttp({ one: behaviour }).client, "http://one:8080", question)

const tagOf = ({ reason }: CoordinatorError.CoordinatorError) => {
  const cause = "cause" in reason ? reason.cause : undefined
  const inner = cause instanceof Exhibitor.BadAnswer || cause instanceof Exhibitor.EmptyList ? ` ${cause._tag}` : ""
  return `${reason._tag}${inner}`
}

describe("an answer of Exhibitor", () => {
  it.effect.each([
    ["names", list(["zk-1", "10.0.0.2", "zk_3.example.org"], 2181), "zk-1:2181 10.0.0.2:2181 zk_3.example.org:2181"],
    ["an IPv6 address", list(["fe80::1"], 5), "[fe80::1]:5"],
    ["one server twice", list(["a", "b", "a"], 1), "a:1 b:1"],
    ["more than is needed", { body: { servers: ["a"], port: 1, count: 1 } }, "a:1"]
  ] as const)("with %s is read", ([, behaviour, servers]) =>
    Effect.map(ask(behaviour), (found) => assert.strictEqual(found.map(show).join(" "), servers))
  )

  const bad = "NotThisServer BadAnswer"
  it.effect.each([
    ["no server", list([]), "Unreachable EmptyList", /lists no ZooKeeper server/],
    ["a server without a name", list(["a", ""]), bad, /servers/],
    ["a server with a port", list(["a", "b:2182"]), bad, /servers/],
    ["a chroot", list(["a/b"]), bad, /servers/],
    ["two servers in one", list(["a,b"]), bad, /servers/],
    ["a server that is no text", { body: { servers: ["a", 3], port: 1 } }, bad, /servers/],
    ["a port out of range", list(["a"], 65_536), bad, /port/],
    ["no port yet", list(["a"], 0), bad, /port/],
    ["half a port", list(["a"], 1.5), bad, /port/],
    ["a text as its port", { body: { servers: ["a"], port: "2181" } }, bad, /port/],
    ["no port", { body: { servers: ["a"] } }, bad, /port/],
    ["null", { body: null }, bad, /Exhibitor's list/],
    ["another form", { raw: true, body: "count=1&server0=a&port=2181" }, bad, /not JSON/],
    ["a page", { raw: true, body: "<html>It works!</html>" }, bad, /not JSON/],
    ["nothing", { raw: true, body: "" }, bad, /Exhibitor's list/],
    ["half of a list", { raw: true, body: '{"servers":["a"],"po' }, bad, /not JSON/],
    ["an unknown path", { status: 404, body: {} }, bad, /404/],
    ["a good list under another status", { status: 203, body: { servers: ["a"], port: 1 } }, bad, /203/],
    ["no access", { status: 401, body: {} }, "Unauthenticated", /401.*password/],
    ["no right", { status: 403, body: {} }, "Unauthenticated", /403/],
    ["a fault", { status: 500, body: { servers: ["a"], port: 1 } }, "Unreachable", /500/],
    ["a busy proxy", { status: 503, body: "" }, "Unreachable", /503/],
    ["a defect of the client", "broken", "Unreachable", /no such thing/]
  ] as const)("with %s is refused", ([, behaviour, tag, message]) =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(ask(behaviour))
      assert.strictEqual(tagOf(error), tag)
      assert.match(error.message, message)
      // Only what may pass by itself is asked again while the layer is built.
      assert.strictEqual(error.isTransient, tag.startsWith("Unreachable"))
      assert.deepInclude({ ...error }, { engine: "exhibitor", endpoint: "http://one:8080" })
    })
  )

  it.effect.each(["silent", "endless"] as const)(
    "that is %s ends at the deadline, and so does the request",
    (behaviour) =>
      Effect.gen(function* () {
        const { aborted, client } = fakeHttp({ one: behaviour })
        const asking = yield* Effect.forkChild(Effect.flip(List.ask(client, "http://one:8080", question)), {
          startImmediately: true
        })
        yield* TestClock.adjust("999 millis")
        assert.isUndefined(asking.pollUnsafe())
        yield* TestClock.adjust("1 millis")
        const error = yield* Fiber.join(asking)
        assert.strictEqual(tagOf(error), "Unreachable")
        assert.match(error.message, /No answer within 1000 ms/)
        if (behaviour === "silent") assert.strictEqual(aborted(), 1)
      })
  )

  it.effect("is asked for as JSON, with the credentials", () =>
    Effect.gen(function* () {
      const { asked, client } = fakeHttp({ one: list(["a"]) })
      const basicAuth = { username: "reader", password: Redacted.make("gehéim:x") }
      yield* List.ask(client, "http://one:8080", { ...question, basicAuth })
      assert.strictEqual(asked[0]?.url, "http://one:8080/list")
      assert.strictEqual(asked[0]?.headers["accept"], "application/json")
      const [scheme, secret = ""] = asked[0]?.headers["authorization"]?.split(" ") ?? []
      assert.deepStrictEqual([scheme, Buffer.from(secret, "base64").toString()], ["Basic", "reader:gehéim:x"])
    })
  )

  it.effect("that never left says why", () =>
    Effect.gen(function* () {
      const request = HttpClientRequest.get("http://one")
      const cause = new Error("ECONNREFUSED 127.0.0.1:1")
      const client = HttpClient.make(() =>
        Effect.fail(
          new HttpClientError.HttpClientError({ reason: new HttpClientError.TransportError({ request, cause }) })
        )
      )
      const error = yield* Effect.flip(List.ask(client, "http://one:8080", question))
      assert.strictEqual(tagOf(error), "Unreachable")
      assert.match(error.message, /ECONNREFUSED/)
    })
  )
})

describe("what is known of the ensemble", () => {
  const of = (...hosts: Arr.NonEmptyReadonlyArray<string>) => Arr.map(hosts, (host) => ({ host, port: 2181 }))
  const [ab, c, spare] = [of("a", "b"), of("c"), of("spare")]
  const listed = (servers: Arr.NonEmptyReadonlyArray<{ readonly host: string; readonly port: number }>) =>
    ({ _tag: "Listed", servers }) as const
  const problem = unanswered("http://one", "nobody")
  const failed = { _tag: "Failed", problem } as const
  const nothing = Ensemble.initial
  const bad = { ...nothing, problem }

  it.each<readonly [string, Ensemble.State, Ensemble.Event, typeof spare | undefined, Ensemble.State]>([
    ["is a first list", nothing, listed(ab), spare, { servers: ab, problem: undefined }],
    ["is the back-up where there is no list", nothing, failed, spare, { servers: spare, problem }],
    ["is nothing without one", nothing, failed, undefined, bad],
    ["is a list that comes late", bad, listed(ab), undefined, { servers: ab, problem: undefined }],
    ["stays when no list comes", { servers: ab, problem: undefined }, failed, spare, { servers: ab, problem }],
    ["is the newer list", { servers: ab, problem: undefined }, listed(c), spare, { servers: c, problem: undefined }],
    [
      "is a list rather than the back-up",
      { servers: spare, problem },
      listed(c),
      spare,
      { servers: c, problem: undefined }
    ],
    ["is never the back-up again", { servers: c, problem }, failed, spare, { servers: c, problem }]
  ])("%s", (_, state, event, backup, expected) => {
    assert.deepStrictEqual(Ensemble.transition(state, event, backup), expected)
  })

  it("is the same object when the list has the same servers in another order", () => {
    const state = { servers: ab, problem: undefined }
    assert.strictEqual(Ensemble.transition(state, listed(of("b", "a")), spare).servers, ab)
    assert.notStrictEqual(Ensemble.transition(state, listed(of("a")), spare).servers, ab)
    assert.notStrictEqual(Ensemble.transition(state, listed(of("a", "b", "c")), spare).servers, ab)
  })
})

describe("the settings", () => {
  const given: Exhibitor.Options = { endpoints: "a" }
  it.effect.each<readonly [string, Exhibitor.Options, RegExp]>([
    ["no endpoint", { endpoints: [] }, /Name at least one/],
    ["an empty endpoint", { endpoints: "" }, /http:\/\/127\.0\.0\.1:8080/],
    ["an endpoint with a path", { endpoints: "http://a:8080/exhibitor" }, /not an endpoint/],
    ["a password in an endpoint", { endpoints: "http://u:p@a:8080" }, /not an endpoint/],
    ["another protocol", { endpoints: "ftp://a" }, /not an endpoint/],
    ["a port out of range", { endpoints: "http://a:70000" }, /not an endpoint/],
    ["a path that is relative", { ...given, path: "list" }, /"list"/],
    ["a back-up that is none", { ...given, backup: "" }, /host:port/],
    ["a chroot in the back-up", { ...given, backup: "a:1/services" }, /`chroot`/],
    ["a relative chroot", { ...given, chroot: "services" }, /"services"/],
    ["an interval of nothing", { ...given, pollInterval: 0 }, /pollInterval/],
    ["an interval without an end", { ...given, pollInterval: Duration.infinity }, /pollInterval/],
    ["no time to answer", { ...given, pollTimeout: 0 }, /pollTimeout/],
    ["what ZooKeeper's engine refuses", { ...given, prefix: "ensemble" }, /"ensemble"/]
  ])("refuse %s", ([, options, message]) =>
    Effect.gen(function* () {
      const layer = Exhibitor.layer(options).pipe(
        Layer.provide(Layer.succeed(HttpClient.HttpClient, fakeHttp().client))
      )
      const error = yield* Effect.flip(Layer.build(layer))
      assert.strictEqual(error.reason._tag, "InvalidOptions")
      assert.match(error.message, message)
      assert.match(error.message, /^Exhibitor\.layer failed on exhibitor/)
    })
  )

  it.effect("have what Exhibitor has by default, and give each Exhibitor its share of the time", () =>
    Effect.gen(function* () {
      const standard = yield* Settings.read({})
      assert.deepStrictEqual(standard.urls, ["http://127.0.0.1:8080"])
      assert.strictEqual(standard.question.path, "/exhibitor/v1/cluster/list")
      const endpoints = "a, https://b:1/ ,http://a:8080,[::1]:9"
      const read = yield* Settings.read({ endpoints, pollTimeout: "3 seconds", chroot: "/x/", backup: ["p", "q:1"] })
      assert.deepStrictEqual(read.urls, ["http://a:8080", "https://b:1", "http://[::1]:9"])
      assert.strictEqual(read.question.millis, 1_000)
      assert.strictEqual(read.chroot, "/x")
      assert.deepStrictEqual(read.backup?.map(show), ["p:2181", "q:1"])
    })
  )

  it.effect("are read from the environment, ZooKeeper's among them", () =>
    Effect.gen(function* () {
      const env = ConfigProvider.fromEnvRecord({
        EX_ENDPOINTS: "http://a, http://b:1",
        EX_PATH: "/list",
        EX_BASIC_AUTH_USERNAME: "reader",
        EX_BASIC_AUTH_PASSWORD: "secret",
        EX_BACKUP: "p,q",
        EX_CHROOT: "/services",
        EX_POLL_INTERVAL: "30 seconds",
        EX_POLL_TIMEOUT: "2 seconds",
        EX_PREFIX: "/p",
        EX_USERNAME: "digest",
        EX_PASSWORD: "d",
        EX_TTL: "20 seconds"
      })
      const options = yield* Exhibitor.config("EX").parse(env)
      assert.deepInclude(options, { path: "/list", backup: "p,q", chroot: "/services", prefix: "/p" })
      assert.deepStrictEqual(options.endpoints, ["http://a", "http://b:1"])
      assert.strictEqual(options.basicAuth?.username, "reader")
      assert.strictEqual(Redacted.value(options.basicAuth?.password ?? Redacted.make("")), "secret")
      assert.strictEqual(options.credentials?.username, "digest")
      for (const [input, millis] of [
        [options.pollInterval, 30_000],
        [options.pollTimeout, 2_000],
        [options.ttl, 20_000]
      ] as const) {
        assert.strictEqual(input === undefined ? 0 : Duration.toMillis(Duration.fromInputUnsafe(input)), millis)
      }
      assert.isUndefined((yield* Exhibitor.config("EX").parse(ConfigProvider.fromEnvRecord({}))).basicAuth)
    })
  )
})
