import { assert, describe, it } from "@effect/vitest"
import { Redacted } from "effect"
import * as Endpoints from "../../src/engines/etcd/endpoints.ts"
import * as Failure from "../../src/engines/etcd/failure.ts"
import { entryOf, groupKeys, textOf } from "../../src/engines/etcd/keys.ts"
import { RpcError } from "../../src/engines/etcd/rpc.ts"
import * as Version from "../../src/engines/etcd/version.ts"

const failed = (code: number, detail: string, sent = true) =>
  new RpcError({ endpoint: "http://a:1", code, detail, sent })

describe("failures of etcd as reasons", () => {
  const table: ReadonlyArray<readonly [error: RpcError, read: string, write: string, condemns: boolean]> = [
    [failed(14, "No connection established. Last error: ECONNREFUSED", false), "Unreachable", "Unreachable", true],
    [failed(14, "Connection dropped"), "Unreachable", "OutcomeUnknown", true],
    [failed(14, "etcdserver: request timed out"), "Unreachable", "OutcomeUnknown", true],
    [failed(14, "etcdserver: no leader"), "Unreachable", "OutcomeUnknown", true],
    [failed(14, "etcdserver: leader changed"), "Unreachable", "OutcomeUnknown", false],
    [failed(14, "etcdserver: rpc not supported for learner"), "Unreachable", "OutcomeUnknown", true],
    [failed(1, "Cancelled on client"), "Unreachable", "OutcomeUnknown", true],
    [failed(8, "etcdserver: mvcc: database space exceeded"), "Unreachable", "Unreachable", false],
    [failed(8, "etcdserver: too many requests"), "Unreachable", "Unreachable", false],
    [failed(8, "grpc: received message larger than max (5 vs. 4)"), "TooLarge", "TooLarge", false],
    [failed(3, "etcdserver: request is too large"), "TooLarge", "TooLarge", false],
    [failed(3, "etcdserver: duplicate key given in txn request"), "InvalidOptions", "InvalidOptions", false],
    [
      failed(3, "etcdserver: authentication failed, invalid user ID or password"),
      "Unauthenticated",
      "Unauthenticated",
      false
    ],
    [failed(3, "etcdserver: user name is empty"), "Unauthenticated", "Unauthenticated", false],
    [failed(16, "etcdserver: invalid auth token"), "Unauthenticated", "Unauthenticated", false],
    [failed(7, "etcdserver: permission denied"), "Forbidden", "Forbidden", false],
    [failed(12, "unknown service etcdserverpb.KV"), "NotThisServer", "NotThisServer", true],
    [
      failed(14, "No connection established. Last error: Protocol error", false),
      "NotThisServer",
      "NotThisServer",
      true
    ],
    [failed(14, "Last error: self-signed certificate", false), "NotThisServer", "NotThisServer", true]
  ]
  for (const [error, read, write, condemns] of table) {
    it(error.detail, () => {
      assert.strictEqual(Failure.failureOf("read", "read", error).reason._tag, read)
      assert.strictEqual(Failure.failureOf("write", "write", error).reason._tag, write)
      assert.strictEqual(Failure.condemns(error), condemns)
    })
  }

  it("names the endpoint and the operation", () => {
    const { message } = Failure.failureOf("Group.list", "read", failed(14, "Connection dropped"))
    assert.include(message, "Group.list failed on etcd (http://a:1): Connection dropped")
  })
})

describe("endpoints", () => {
  const parsed = (options: Endpoints.Addresses) => {
    const result = Endpoints.parse(options)
    return "problem" in result ? result.problem : result.client
  }

  it("are one server of this machine by default", () =>
    assert.deepStrictEqual(parsed({}), { hosts: ["http://127.0.0.1:2379"] }))

  it("have etcd's port when they name none", () =>
    assert.deepStrictEqual(parsed({ endpoints: ["a", "http://b/", "http://[::1]:1"] }), {
      hosts: ["http://a:2379", "http://b:2379", "http://[::1]:1"]
    }))

  const secret = Redacted.make("key")
  const refused: ReadonlyArray<readonly [Endpoints.Addresses, string]> = [
    [{ endpoints: [] }, "No endpoint is given"],
    [{ endpoints: "" }, `"" is not an endpoint`],
    [{ endpoints: "etcd://a:1" }, `"etcd://a:1" is not an endpoint`],
    [{ endpoints: "http://a:1/path" }, "is not an endpoint"],
    [{ endpoints: "http://a:99999" }, "is not an endpoint"],
    [{ endpoints: "http://user:password@a:1" }, "is not an endpoint"],
    [{ endpoints: ["http://a:1", "https://b:1"] }, "Use one of the two for all"],
    [{ endpoints: "http://a:1", tls: { ca: "x" } }, "Write them with https"],
    [{ endpoints: "https://a:1", tls: { key: secret } }, "Give both, or neither"]
  ]
  for (const [options, problem] of refused) {
    it(`refuses ${JSON.stringify(options.endpoints)}: ${problem}`, () => assert.include(parsed(options), problem))
  }

  for (const prefix of ["", "/", "/a/", "a//b"]) {
    it(`refuses the prefix "${prefix}"`, () => assert.isDefined(Endpoints.prefixProblem(prefix)))
  }
  for (const prefix of ["/ensemble", "ensemble", "/a/b"]) {
    it(`takes the prefix "${prefix}"`, () => assert.isUndefined(Endpoints.prefixProblem(prefix)))
  }
})

describe("keys", () => {
  const keys = groupKeys("/ensemble", { kind: "discovery", name: "svc" })
  const within = (key: string) => {
    const bytes = Buffer.from(key)
    return Buffer.compare(bytes, keys.start) >= 0 && Buffer.compare(bytes, keys.end) < 0
  }

  it("are prefix, kind, group and member", () =>
    assert.strictEqual(textOf(keys.member("a")), "/ensemble/discovery/svc/a"))

  it("of one group never are another's", () => {
    assert.isTrue(within("/ensemble/discovery/svc/a"))
    assert.isTrue(within("/ensemble/discovery/svc/\u{10ffff}"))
    for (const other of ["svc-two/a", "svc0/a", "sv/a", "svc", "svc.x/a"]) {
      assert.isFalse(within(`/ensemble/discovery/${other}`), other)
    }
  })

  it("of programs that know no leases are members without an owner", () => {
    const kv = { create_revision: "7", mod_revision: "9", lease: "0" }
    const entry = entryOf(keys, { ...kv, key: keys.member("ä/ö"), value: Buffer.from([0xff, 0x61]) })
    assert.deepStrictEqual(entry, { id: "ä/ö", value: "\ufffda", token: 7n, version: 9n, owner: undefined })
  })
})

describe("versions", () => {
  const table: ReadonlyArray<readonly [version: string, supported: boolean, trustworthy: boolean]> = [
    ["3.3.27", false, false],
    ["3.4.0", true, false],
    ["3.4.30", true, false],
    ["3.4.31", true, true],
    ["3.5.12", true, false],
    ["3.5.13", true, true],
    ["3.6.0-rc.1", true, true],
    ["4.0.0", true, true]
  ]
  for (const [text, supported, trustworthy] of table) {
    it(`${text}: ${supported ? "served" : "refused"}, progress ${trustworthy ? "believed" : "ignored"}`, () => {
      const version = Version.parse(text)
      assert.isDefined(version)
      if (version === undefined) return
      assert.strictEqual(Version.isSupported(version), supported)
      assert.strictEqual(Version.isSupported(version) && Version.progressIsTrustworthy(version), trustworthy)
    })
  }
  it("that are none", () => assert.isUndefined(Version.parse("master")))
})
