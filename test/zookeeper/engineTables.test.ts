import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Effect, Redacted } from "effect"
import { ZooKeeper } from "effect-ensemble/zookeeper"
import * as Errors from "../../src/engines/zookeeper/errors.ts"
import { failing } from "../../src/engines/zookeeper/failure.ts"
import * as Nodes from "../../src/engines/zookeeper/nodes.ts"
import type { Stat } from "../../src/engines/zookeeper/protocol.ts"
import * as P from "../../src/engines/zookeeper/protocol.ts"
import * as Settings from "../../src/engines/zookeeper/settings.ts"
import * as Turns from "../../src/engines/zookeeper/turns.ts"
import * as Utf8 from "../../src/engines/zookeeper/utf8.ts"

const guid = "0123456789abcdef0123456789abcdef"
const named = (id: string, sequence: string) => `_c_${guid}-${id}-${sequence}`

describe("the names of nodes", () => {
  const table: ReadonlyArray<readonly [string, string, number | undefined]> = [
    [named("web-1", "0000000007"), "web-1", 7],
    [named("a", "9000000000"), "a", 9_000_000_000],
    [named("with-1234567890", "0000000001"), "with-1234567890", 1],
    ["operator", "operator", undefined],
    ["web-0000000001", "web-0000000001", undefined],
    [named("web", "000000001"), named("web", "000000001"), undefined],
    // Curator's protection has dashes in its guid.
    [
      "_c_01234567-89ab-cdef-0123-456789abcdef-lock-0000000001",
      "_c_01234567-89ab-cdef-0123-456789abcdef-lock-0000000001",
      undefined
    ]
  ]
  it.each(table)("%s", (name, id, sequence) => {
    assert.deepStrictEqual(Nodes.parse(name), { id, sequence })
  })

  it("are read back as they were written", () => {
    assert.deepStrictEqual(Nodes.parse(`${Nodes.protectedName(guid, "a.b_c-1")}0000000042`), {
      id: "a.b_c-1",
      sequence: 42
    })
  })
})

describe("the layouts", () => {
  const at = (layout: Nodes.Layout, kind: "discovery" | "election" | "lock") =>
    Nodes.groupNode({ prefix: "/app", layout }, { kind, name: "api" })

  it("stand below the prefix", () => {
    assert.deepInclude(at("ensemble", "discovery"), { path: "/app/discovery/api", mode: "container" })
    assert.deepInclude(at("reception", "discovery"), { path: "/app/api", mode: "persistent" })
    assert.deepInclude(at("reception", "election"), { path: "/app/api", mode: "persistent" })
    assert.deepInclude(at("reception", "lock"), { path: "/app/_ensemble/lock/api", mode: "container" })
  })

  it("make a candidate in reception's form a service that its programs read", () => {
    const { decode, encode } = at("reception", "election")
    const of = { id: "a", registeredAt: 0 }
    assert.deepStrictEqual(JSON.parse(Utf8.decode(encode("mine", of))), {
      address: "",
      port: 0,
      attributes: { value: "mine" }
    })
    assert.strictEqual(decode(encode('with "quotes"', of)), 'with "quotes"')
    const service = '{"address":"10.0.0.1","port":80,"attributes":{}}'
    for (const foreign of [service, "not json", "null", "[]", "{}", '{"attributes":{"value":7}}']) {
      assert.strictEqual(decode(Utf8.encode(foreign)), foreign)
    }
  })
})

describe("a node as a member", () => {
  const group = Nodes.groupNode({ prefix: "/app", layout: "ensemble" }, { kind: "lock", name: "l" })
  const stat: Stat = {
    czxid: 5n,
    mzxid: 9n,
    ctime: 0,
    mtime: 0,
    version: 3,
    cversion: 0,
    aversion: 0,
    ephemeralOwner: 0x1000_0000_0001n,
    dataLength: 0,
    numChildren: 0,
    pzxid: 5n
  }
  const member = (name: string, more: Partial<Stat> = {}) =>
    Nodes.nodeOf(group, name, { data: Utf8.encode("x"), zxid: 9n, stat: { ...stat, ...more } })

  it("has the creating transaction as its token and the data's version as its version", () => {
    assert.deepInclude(member(named("a", "0000000001")), {
      id: "a",
      value: "x",
      token: 5n,
      version: 3n,
      owner: "0x100000000001"
    })
  })

  const owners: ReadonlyArray<readonly [string, bigint, string | undefined]> = [
    ["nobody", 0n, undefined],
    ["a container", -(2n ** 63n), undefined],
    ["a time to live", BigInt.asIntN(64, 0xff00_0000_0000_0005n), undefined],
    ["a session of server 1", 0x0100_0000_0000_0001n, "0x100000000000001"],
    [
      "a session of a server whose number makes it negative",
      BigInt.asIntN(64, 0x8100_0000_0000_0001n),
      "0x8100000000000001"
    ]
  ]
  it.each(owners)("owned by %s", (_, ephemeralOwner, owner) => {
    assert.strictEqual(member("m", { ephemeralOwner }).owner, owner)
  })

  it("is the oldest of its id", () => {
    const nodes = [
      member(named("a", "0000000003"), { czxid: 7n }),
      member(named("a", "0000000001"), { czxid: 5n }),
      member(named("b", "0000000002"), { czxid: 6n })
    ]
    assert.deepStrictEqual(
      Nodes.membersOf(nodes).map(({ id, token }) => `${id}@${token}`),
      ["a@5", "b@6"]
    )
    assert.isUndefined(Nodes.memberAmong([]))
  })
})

describe("who stands before a member", () => {
  it("is the nearest lower one, and of one id only the oldest", () => {
    const names = [
      named("c", "0000000004"),
      named("a", "0000000001"),
      named("b", "0000000002"),
      named("a", "0000000003"),
      "operator",
      named("d", "0000000009")
    ]
    assert.deepStrictEqual(Turns.before(names, 9), [names[0], names[2], names[1]])
    assert.deepStrictEqual(Turns.before(names, 1), [])
  })

  it("is over where all have higher numbers, and never where somebody has none", () => {
    const [first, second] = [named("a", "0000000004"), named("b", "0000000007")]
    assert.isTrue(Turns.isFirst([second, first], first))
    assert.isFalse(Turns.isFirst([second, first], second))
    assert.isFalse(Turns.isFirst([first, "operator"], first))
    assert.isFalse(Turns.isFirst(["operator"], "operator"))
  })
})

const fields = { operation: "create", path: "/a", zxid: 1n }

describe("failures", () => {
  const table: ReadonlyArray<readonly [Errors.RequestError | Errors.ConnectFailure, string, string]> = [
    [new Errors.NoAuth(fields), "Forbidden", "Forbidden"],
    [new Errors.AuthFailed({ scheme: "digest" }), "Unauthenticated", "Unauthenticated"],
    [new Errors.TooLarge({ operation: "create", bytes: 2, limit: 1 }), "TooLarge", "TooLarge"],
    [new Errors.InvalidAcl(fields), "InvalidOptions", "InvalidOptions"],
    [new Errors.ProtocolError({ detail: "garbage" }), "NotThisServer", "NotThisServer"],
    [new Errors.ConnectionLost({ sent: true, operation: "create", detail: "cut" }), "Unreachable", "OutcomeUnknown"],
    [new Errors.ConnectionLost({ sent: false, operation: "create", detail: "cut" }), "Unreachable", "Unreachable"],
    [new Errors.Refused({ endpoint: "a:1" }), "Unreachable", "Unreachable"],
    [new Errors.SessionExpired({}), "Unreachable", "Unreachable"],
    [
      new Errors.OtherRefusal({ ...fields, code: P.Code.NoChildrenForEphemerals, name: "NoChildrenForEphemerals" }),
      "InvalidOptions",
      "InvalidOptions"
    ],
    [new Errors.OtherRefusal({ ...fields, code: P.Code.QuotaExceeded, name: "QuotaExceeded" }), "TooLarge", "TooLarge"],
    [new Errors.OtherRefusal({ ...fields, code: -1, name: "SystemError" }), "Unreachable", "Unreachable"]
  ]
  it.each(table.map((row) => [row[0]._tag, ...row] as const))("%s", (_, error, read, write) => {
    assert.strictEqual(failing("a:1", "Group.list", "read")(error).reason._tag, read)
    assert.strictEqual(failing("a:1", "Group.create", "write")(error).reason._tag, write)
  })
})

describe("the settings", () => {
  const problemOf = (given: Settings.Given) =>
    Effect.map(Effect.flip(Settings.read(given)), ({ reason }) => `${reason._tag}: ${reason.message}`)

  const refused: ReadonlyArray<readonly [string, Settings.Given, RegExp]> = [
    ["no server", { endpoints: "" }, /host:port/],
    ["a port out of range", { endpoints: "a:70000" }, /host:port/],
    ["no list", { endpoints: [] }, /host:port/],
    ["a prefix without a slash", { prefix: "ensemble" }, /"ensemble".*\/ensemble/],
    ["a prefix with a slash at its end", { prefix: "/a/" }, /"\/a\/"/],
    ["an empty prefix", { prefix: "" }, /""/],
    ["a relative part", { prefix: "/a/../b" }, /\.\./],
    ["ZooKeeper's own nodes", { prefix: "/zookeeper/x" }, /\/zookeeper\/x/],
    ["a base path without a slash", { curatorBasePath: "services" }, /curatorBasePath.*\/services/],
    [
      "services among services of another form",
      { curatorBasePath: "/s", layout: "reception" },
      /reception.*one of them/
    ],
    ["groups among services", { curatorBasePath: "/ensemble" }, /Keep them apart/],
    ["groups below services", { curatorBasePath: "/a", prefix: "/a/b" }, /Keep them apart/],
    ["half a certificate", { tls: { certificate: "pem" } }, /both, or neither/],
    ["a creator without credentials", { acl: "creator" }, /credentials/]
  ]
  it.effect.each(refused)("refuse %s", ([, given, message]) =>
    Effect.map(problemOf(given), (problem) => {
      assert.match(problem, /^InvalidOptions/)
      assert.match(problem, message)
    })
  )

  it.effect("put the chroot before the prefix", () =>
    Effect.gen(function* () {
      const settings = yield* Settings.read({ endpoints: ["a:1", "b/services"], prefix: "/app" })
      assert.deepStrictEqual(settings.endpoints, [
        { host: "a", port: 1 },
        { host: "b", port: 2181 }
      ])
      assert.isUndefined(settings.curatorBasePath)
      const curator = yield* Settings.read({ endpoints: "a/in", prefix: "/app", curatorBasePath: "/app/services" })
      assert.deepInclude(curator, { prefix: "/in/app", curatorBasePath: "/in/app/services" })
      assert.deepInclude(settings, { prefix: "/services/app", chroot: "/services", label: "a:1,b/services" })
      assert.strictEqual((yield* Settings.read({ layout: "reception", prefix: "" })).prefix, "")
    })
  )

  it.effect("keep what is created with credentials to those who have them", () =>
    Effect.gen(function* () {
      const credentials = { username: "api", password: Redacted.make("secret") }
      const closed = yield* Settings.read({ credentials })
      assert.strictEqual(closed.acl, P.creatorAcl)
      assert.deepStrictEqual(closed.credentials, [{ scheme: "digest", secret: Utf8.encode("api:secret") }])
      assert.strictEqual((yield* Settings.read({ credentials, acl: "open" })).acl, P.openAcl)
      assert.strictEqual((yield* Settings.read({})).acl, P.openAcl)
    })
  )

  it.effect("are read from the environment", () =>
    Effect.gen(function* () {
      const env = ConfigProvider.fromEnvRecord({
        ZK_ENDPOINTS: "a,b",
        ZK_PREFIX: "/p",
        ZK_LAYOUT: "reception",
        ZK_CURATOR_BASE_PATH: "/services",
        ZK_USERNAME: "u",
        ZK_PASSWORD: "p",
        ZK_ACL: "open",
        ZK_TLS: "true"
      })
      const options = yield* ZooKeeper.config("ZK").parse(env)
      assert.deepInclude(options, {
        endpoints: "a,b",
        prefix: "/p",
        layout: "reception",
        acl: "open",
        curatorBasePath: "/services"
      })
      assert.strictEqual(options.credentials?.username, "u")
      assert.deepStrictEqual(options.tls, { ca: undefined, certificate: undefined, key: undefined })
      assert.isUndefined((yield* ZooKeeper.config("ZK").parse(ConfigProvider.fromEnvRecord({}))).tls)
    })
  )
})
