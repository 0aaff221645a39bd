import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Effect, Redacted } from "effect"
import { Consul } from "effect-ensemble/consul"
import * as blocking from "../../src/engines/consul/blocking.ts"
import type { Listed } from "../../src/engines/consul/catalog.ts"
import * as Catalog from "../../src/engines/consul/catalog.ts"
import { definitionOf } from "../../src/engines/consul/checks.ts"
import * as Endpoints from "../../src/engines/consul/endpoints.ts"
import { failureOf } from "../../src/engines/consul/failure.ts"
import { HttpError } from "../../src/engines/consul/http.ts"
import * as keys from "../../src/engines/consul/keys.ts"
import * as Sessions from "../../src/engines/consul/sessions.ts"

describe("a blocking query's index", () => {
  it.each([
    { asked: 5n, answered: 9n, early: true, next: 9n, pause: false, why: "goes on" },
    {
      asked: 5n,
      answered: 5n,
      early: false,
      next: 5n,
      pause: false,
      why: "is waited for again when the wait was over"
    },
    { asked: 5n, answered: 5n, early: true, next: 0n, pause: false, why: "is doubted when it came back at once" },
    { asked: 5n, answered: 4n, early: true, next: 0n, pause: false, why: "starts anew when it went backwards" },
    { asked: 5n, answered: 4n, early: false, next: 0n, pause: false, why: "starts anew when it went backwards late" },
    { asked: 5n, answered: 0n, early: true, next: 0n, pause: true, why: "is never waited for when it is zero" },
    {
      asked: 0n,
      answered: undefined,
      early: true,
      next: 0n,
      pause: true,
      why: "is never waited for when it is absent"
    },
    { asked: 0n, answered: 1n, early: true, next: 1n, pause: false, why: "of an empty store can be waited for" },
    {
      asked: 18_446_744_073_709_551_614n,
      answered: 18_446_744_073_709_551_615n,
      early: true,
      next: 18_446_744_073_709_551_615n,
      pause: false,
      why: "is compared beyond what a number holds"
    }
  ])("$why", ({ answered, asked, early, next, pause }) => {
    assert.deepStrictEqual(blocking.step(asked, answered, early), { next, pause })
  })
})

describe("the rate of a blocking query", () => {
  const run = (count: number, everyMillis: number) => {
    let bucket = blocking.full(0)
    const waits: Array<number> = []
    let now = 0
    for (let index = 0; index < count; index++) {
      const taken = blocking.take(bucket, now)
      bucket = taken.bucket
      waits.push(taken.waitMillis)
      now += Math.max(everyMillis, taken.waitMillis)
    }
    return waits
  }

  it("lets a burst of fifty through, and then twenty in a second", () => {
    const waits = run(60, 0)
    assert.deepStrictEqual(new Set(waits.slice(0, 50)), new Set([0]))
    for (const wait of waits.slice(51)) assert.closeTo(wait, 50, 1e-6)
  })

  it("holds nobody back who stays below it", () => {
    assert.deepStrictEqual(new Set(run(500, 50)), new Set([0]))
  })
})

describe("the reasons of failures", () => {
  const at = "http://a:8500"
  const answer = (status: number, body: unknown) => ({ endpoint: at, status, index: undefined, body })
  it.each([
    {
      effects: "read",
      failure: new HttpError({ endpoint: at, detail: "socket hang up", sent: true }),
      reason: "Unreachable"
    },
    {
      effects: "write",
      failure: new HttpError({ endpoint: at, detail: "socket hang up", sent: true }),
      reason: "OutcomeUnknown"
    },
    {
      effects: "write",
      failure: new HttpError({ endpoint: at, detail: "connect ECONNREFUSED", sent: false }),
      reason: "Unreachable"
    },
    {
      effects: "read",
      failure: new HttpError({ endpoint: at, detail: "Parse Error: Expected HTTP/", sent: true }),
      reason: "NotThisServer"
    },
    {
      effects: "read",
      failure: new HttpError({ endpoint: at, detail: "EPROTO: wrong version number", sent: true }),
      reason: "NotThisServer"
    },
    {
      effects: "read",
      failure: new HttpError({ endpoint: at, detail: "self-signed certificate", sent: true }),
      reason: "NotThisServer"
    },
    {
      effects: "read",
      failure: answer(400, "Client sent an HTTP request to an HTTPS server."),
      reason: "NotThisServer"
    },
    { effects: "read", failure: answer(403, "Permission denied"), reason: "Forbidden" },
    { effects: "write", failure: answer(500, "rpc error: Permission denied"), reason: "Forbidden" },
    { effects: "read", failure: answer(403, "ACL not found"), reason: "Unauthenticated" },
    { effects: "read", failure: answer(401, "ACL support disabled"), reason: "Unauthenticated" },
    { effects: "write", failure: answer(413, "Request body(533386 bytes) too large"), reason: "TooLarge" },
    {
      effects: "write",
      failure: answer(500, "Invalid Session TTL '1', must be between [10s=24h0m0s]"),
      reason: "InvalidOptions"
    },
    { effects: "write", failure: answer(500, "No cluster leader"), reason: "Unreachable" },
    { effects: "write", failure: answer(429, ""), reason: "Unreachable" },
    { effects: "write", failure: answer(500, "leadership lost while committing log"), reason: "OutcomeUnknown" },
    { effects: "read", failure: answer(500, "rpc error making call"), reason: "Unreachable" },
    { effects: "read", failure: answer(404, "<html>"), reason: "NotThisServer" },
    { effects: "read", failure: answer(302, ""), reason: "NotThisServer" }
  ] as const)("$reason for $failure", ({ effects, failure, reason }) => {
    assert.strictEqual(failureOf("Group.read", effects, failure).reason._tag, reason)
  })
})

describe("keys", () => {
  it("have their kind, barriers aside", () => {
    assert.strictEqual(keys.pathOf("ensemble", { kind: "election", name: "svc" }), "ensemble/election/svc/")
    assert.strictEqual(keys.pathOf("ensemble", { kind: "barrier", name: "svc" }), "ensemble/svc/")
    assert.strictEqual(
      keys.pathOf("ensemble", { kind: "barrier-opening", name: "svc" }),
      "ensemble/barrier-opening/svc/"
    )
  })

  it("refuse a barrier that would take another kind's groups for its members", () => {
    assert.include(keys.problemOf({ kind: "barrier", name: "lock" }) ?? "", `"lock"`)
    assert.isUndefined(keys.problemOf({ kind: "lock", name: "lock" }))
    assert.isUndefined(keys.problemOf({ kind: "barrier", name: "migration" }))
  })

  it("count every key below as a member, and never the directory marker", () => {
    const found = (Key: string) => ({ Key, Value: null, CreateIndex: 7, ModifyIndex: 9 })
    assert.isFalse(keys.isMember("ensemble/svc/", found("ensemble/svc/")))
    assert.isTrue(keys.isMember("ensemble/svc/", found("ensemble/svc/a")))
    assert.deepStrictEqual(keys.entryOf("ensemble/svc/", found("ensemble/svc/a/b")), {
      id: "a/b",
      value: "",
      token: 7n,
      version: 9n,
      owner: undefined
    })
  })

  it("carry any text", () => {
    const value = "Übung 🎻"
    const found = { Key: "p/a", Value: keys.base64Of(value), Session: "s", CreateIndex: 1, ModifyIndex: 1 }
    assert.strictEqual(keys.valueOf(found), value)
    assert.strictEqual(keys.encode("a b/c?d"), "a%20b/c%3Fd")
  })
})

describe("addresses and prefixes", () => {
  it.each([
    { endpoints: undefined, urls: ["http://127.0.0.1:8500"] },
    { endpoints: "consul-1", urls: ["http://consul-1:8500"] },
    { endpoints: ["https://a", "http://[::1]:1/"], urls: ["https://a:8500", "http://[::1]:1"] }
  ])("$endpoints", ({ endpoints, urls }) => {
    const parsed = Endpoints.parse({ endpoints })
    assert.deepStrictEqual("problem" in parsed ? [parsed.problem] : Array.from(parsed.urls), urls)
  })

  it.each([[[]], ["http://a:99999"], ["ftp://a"], ["http://a/path"], ["http://user@a"]])("refuses %s", (endpoints) => {
    assert.property(Endpoints.parse({ endpoints }), "problem")
  })

  it("refuses certificates without https, and half a pair", () => {
    assert.property(Endpoints.parse({ endpoints: "http://a", tls: { ca: "x" } }), "problem")
    assert.property(Endpoints.parse({ endpoints: "https://a", tls: { certificate: "x" } }), "problem")
  })

  it("refuses prefixes that are no keys", () => {
    for (const prefix of ["", "/a", "a/", "a//b"]) assert.isDefined(Endpoints.prefixProblem(prefix), prefix)
    for (const prefix of ["a", "a/b"]) assert.isUndefined(Endpoints.prefixProblem(prefix), prefix)
  })
})

describe("a new session", () => {
  const good = { ID: "s", Behavior: "delete", LockDelay: 1_000_000, TTL: "15s", NodeChecks: [], ServiceChecks: null }

  it("is taken when it is what was asked for", () => {
    assert.isUndefined(Sessions.differenceOf(good, 15_000))
    assert.isUndefined(Sessions.differenceOf({ ...good, TTL: "15000ms" }, 15_000))
  })

  it.each([
    { TTL: "" },
    { TTL: "30s" },
    { Behavior: "release" },
    { LockDelay: 15_000_000_000 },
    { NodeChecks: ["serfHealth"] },
    { ServiceChecks: [{}] }
  ])("is refused when it is not: %o", (different) => {
    assert.isDefined(Sessions.differenceOf({ ...good, ...different }, 15_000))
  })

  it("has durations as Go writes them", () => {
    assert.deepStrictEqual(["1h2m3s", "1.5s", "250ms", "", "5", "x"].map(Sessions.millisOf), [
      3_723_000,
      1_500,
      250,
      undefined,
      undefined,
      undefined
    ])
  })
})

describe("an instance in the catalog", () => {
  const listed = (
    id: string,
    created: number,
    more: Partial<Listed["Service"]> & { readonly node?: string; readonly statuses?: ReadonlyArray<string> } = {}
  ): Listed => ({
    Node: { Node: more.node ?? "n", Address: "10.0.0.9" },
    Service: {
      ID: id,
      Address: "10.0.0.1",
      Port: 80,
      Tags: null,
      Meta: null,
      CreateIndex: created,
      ModifyIndex: created,
      ...more
    },
    Checks: (more.statuses ?? ["passing"]).map((Status) => ({ Status }))
  })
  const attributes = (service: Listed) => Catalog.instanceOf(Catalog.entriesOf([service])[0]?.value ?? "")?.attributes

  it("is written with its attributes in the metadata and in reception's tag, and read back", () => {
    const instance = { address: "10.0.0.1", port: 80, attributes: { zone: "a", "not a key": "b", "ensemble-id": "c" } }
    const { ID, Meta, Tags } = Catalog.registrationOf("api", "web-1", "s", instance) as unknown as Listed["Service"]
    assert.strictEqual(ID, "api:web-1")
    assert.deepStrictEqual(Meta, { zone: "a", "ensemble-id": "web-1", "ensemble-session": "s" })
    assert.deepStrictEqual(Tags, [JSON.stringify(instance.attributes)])
    assert.deepStrictEqual(Catalog.entriesOf([listed(ID, 7, { Meta, Tags })]), [
      { id: "web-1", value: JSON.stringify(instance), token: 7n, version: 7n, owner: "s" }
    ])
  })

  it("keeps within Consul's limits for metadata", () => {
    const many = Object.fromEntries(Array.from({ length: 80 }, (_, index) => [`k${index}`, "v"]))
    const { Meta } = Catalog.registrationOf("api", "a", "s", {
      address: "a",
      port: 1,
      attributes: { long: "x".repeat(600), "consul-x": "y", ...many }
    }) as unknown as Listed["Service"]
    assert.strictEqual(Object.keys(Meta ?? {}).length, 64)
    assert.notProperty(Meta, "long")
    assert.notProperty(Meta, "consul-x")
  })

  it("of another program is read from reception's tag, or from its metadata", () => {
    assert.deepStrictEqual(attributes(listed("a", 1, { Tags: [`{"zone":"a"}`] })), { zone: "a" })
    assert.deepStrictEqual(attributes(listed("a", 1, { Tags: ["null"] })), {})
    assert.deepStrictEqual(attributes(listed("a", 1, { Tags: ["v1"], Meta: { zone: "b" } })), { zone: "b" })
    assert.deepStrictEqual(attributes(listed("a", 1)), {})
    const [entry] = Catalog.entriesOf([listed("a", 1, { Address: "" })])
    assert.strictEqual(Catalog.instanceOf(entry?.value ?? "")?.address, "10.0.0.9")
  })

  it("stands in the order of creation, ties by node and id, and ids that repeat are told apart", () => {
    const all = [
      listed("x", 3, { node: "b" }),
      listed("x", 3, { node: "a" }),
      listed("y", 1),
      listed("b", 3, { node: "a" })
    ]
    assert.deepStrictEqual(
      Catalog.entriesOf(all).map(({ id }) => id),
      ["y", "b", "x", "x@b"]
    )
  })

  it("is critical when any of its checks is", () => {
    assert.isFalse(Catalog.isCritical(listed("a", 1, { statuses: ["passing", "warning"] })))
    assert.isTrue(Catalog.isCritical(listed("a", 1, { statuses: ["passing", "critical"] })))
  })

  it("is nothing else than what Discovery writes", () => {
    for (const value of ["", "1", "null", "[]", `{"address":"a"}`, `{"address":"","port":1,"attributes":{}}`]) {
      assert.isUndefined(Catalog.instanceOf(value), value)
    }
  })

  it("is checked as its options say", () => {
    const instance = { address: "::1", port: 80 }
    const ttl = definitionOf({ _tag: "Ttl" }, instance, 15_000)
    assert.deepInclude(ttl, { TTL: "15000ms", Status: "passing", DeregisterCriticalServiceAfter: "60000ms" })
    const http = definitionOf({ _tag: "Http", path: "/live", interval: "2 seconds" }, instance, 1)
    assert.deepInclude(http, { HTTP: "http://[::1]:80/live", Interval: "2000ms", Timeout: "10000ms" })
    assert.deepInclude(definitionOf({ _tag: "Tcp" }, instance, 1), { TCP: "[::1]:80", Interval: "5000ms" })
    assert.deepInclude(definitionOf({ _tag: "Http", url: "http://x/y" }, instance, 1), { HTTP: "http://x/y" })
  })
})

describe("settings from the configuration", () => {
  it.effect("are read under their prefix", () =>
    Effect.gen(function* () {
      const env = ConfigProvider.fromEnvRecord({
        C_ENDPOINTS: "http://a:1, http://b:2",
        C_PREFIX: "p",
        C_TOKEN: "secret",
        C_MINIMUM_TTL: "1 second",
        C_NODE: "web-1",
        C_TLS_CA: "pem"
      })
      const options = yield* Consul.config("C").parse(env)
      assert.deepStrictEqual(options.endpoints, ["http://a:1", "http://b:2"])
      assert.strictEqual(options.prefix, "p")
      assert.strictEqual(options.node, "web-1")
      assert.strictEqual(options.token === undefined ? "" : Redacted.value(options.token), "secret")
      assert.strictEqual(options.tls?.ca, "pem")
    })
  )
})
