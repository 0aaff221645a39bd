import { assert, describe, it, layer } from "@effect/vitest"
import type { Scope } from "effect"
import { Context, Data, Effect, Exit, Fiber, Layer, Redacted, Stream } from "effect"
import { readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { watchChildren } from "../../../src/engines/zookeeper/childWatch.ts"
import * as Client from "../../../src/engines/zookeeper/client.ts"
import type { RequestError } from "../../../src/engines/zookeeper/errors.ts"
import * as P from "../../../src/engines/zookeeper/protocol.ts"
import type { State } from "../../../src/engines/zookeeper/session.ts"
import type { Transport } from "../../../src/engines/zookeeper/transport.ts"
import { tcp, tls } from "../../../src/engines/zookeeper/transport.ts"
import * as Utf8 from "../../../src/engines/zookeeper/utf8.ts"
import type * as Watches from "../../../src/engines/zookeeper/watches.ts"
import * as Proxy from "../../faults/proxy.ts"
import { temporaryFolder } from "../../servers/process.ts"
import * as Tls from "../../servers/tls.ts"
import { until } from "../../servers/until.ts"
import * as ZooKeeper from "../../servers/zookeeper.ts"

interface Address {
  readonly host: string
  readonly port: number
}

type Addresses = readonly [Address, ...ReadonlyArray<Address>]

const open = (endpoints: Addresses, options: Partial<Client.Options> = {}) =>
  Client.make({ endpoints, transport: tcp, timeoutMillis: 5000, ...options })

const attach = (endpoints: Addresses, options: Partial<Client.Options> = {}) =>
  Effect.tap(open(endpoints, options), (client) => client.attached)

class NotYet extends Data.TaggedError("NotYet") {}

const waitFor = (condition: () => boolean) =>
  until(
    Effect.suspend(() => (condition() ? Effect.void : Effect.fail(new NotYet()))),
    { within: "20 seconds" }
  )

const reaches = (client: Client.Client, tag: State["_tag"]) =>
  client.states.pipe(
    Stream.filter((state) => state._tag === tag),
    Stream.runHead,
    Effect.timeout("20 seconds")
  )

const attachmentsOf = (client: Client.Client): number => {
  const state = client.state()
  return state._tag === "Attached" ? state.attachments : 0
}

const tagOf = <A>(effect: Effect.Effect<A, RequestError>) => Effect.map(Effect.flip(effect), ({ _tag }) => _tag)

const recorder = () => {
  const notices: Array<Watches.Notice> = []
  return {
    listener: (notice: Watches.Notice) => void notices.push(notice),
    names: () =>
      notices.map((notice) => (notice._tag === "Event" ? `${notice.event.type} ${notice.event.path}` : notice._tag))
  }
}

class Server extends Context.Service<Server, ZooKeeper.ZooKeeper>()("test/Server") {}

let places = 0

/** A part of a server that others use at the same time: clients are in it unless they say otherwise. */
const place = Effect.gen(function* () {
  const { members } = yield* Server
  const chroot = `/case-${++places}`
  yield* Effect.scoped(Effect.flatMap(attach(members), (client) => client.create(chroot)))
  const options = { chroot }
  return {
    chroot,
    server: members[0],
    members,
    open: (endpoints: Addresses, more: Partial<Client.Options> = {}) => open(endpoints, { ...options, ...more }),
    attach: (endpoints: Addresses, more: Partial<Client.Options> = {}) => attach(endpoints, { ...options, ...more })
  }
})

const behindProxy = Effect.gen(function* () {
  const here = yield* place
  const proxy = yield* Proxy.make({ upstream: here.server })
  return { ...here, proxy }
})

const shared = (version: ZooKeeper.Version) => Layer.effect(Server, ZooKeeper.single({ version }))

for (const version of ["3.8", "3.9"] as const) {
  layer(shared(version), { excludeTestServices: true })(`a server of ${version}`, (it) => {
    describe.concurrent("for all", () => {
      it.effect("does every operation", () =>
        Effect.gen(function* () {
          const { attach, chroot, members } = yield* place
          const root = yield* attach(members)
          assert.deepInclude(root.state(), { _tag: "Attached" })
          yield* root.create("/app")
          const client = yield* attach(members, { chroot: `${chroot}/app` })

          const container = yield* client.create("/group", { mode: "container" })
          const one = yield* client.create("/group/m-", { mode: "ephemeralSequential", data: Utf8.encode("é") })
          const two = yield* client.create("/group/m-", { mode: "ephemeralSequential" })
          assert.strictEqual(one.path, "/group/m-0000000000")
          assert.strictEqual(two.path, "/group/m-0000000001")
          assert.isAbove(Number(two.zxid), Number(one.zxid))
          assert.strictEqual(one.stat?.czxid, one.zxid)
          const state = client.state()
          assert.strictEqual(one.stat?.ephemeralOwner, state._tag === "Attached" ? state.identity.sessionId : undefined)
          assert.strictEqual(container.stat?.ephemeralOwner, 0n)

          const data = yield* client.getData(one.path)
          assert.strictEqual(Utf8.decode(data.data), "é")
          assert.deepStrictEqual(data.stat, one.stat)
          const children = yield* client.getChildren("/group")
          assert.deepStrictEqual(children.children.toSorted(), ["m-0000000000", "m-0000000001"])
          assert.isAtLeast(Number(children.zxid), Number(two.zxid))
          assert.strictEqual((yield* root.getChildren("/app/group")).children.length, 2)

          const set = yield* client.setData(one.path, Utf8.encode("2"), 0)
          assert.deepInclude(set.stat, { version: 1, czxid: one.zxid, mzxid: set.zxid })
          assert.strictEqual(yield* tagOf(client.setData(one.path, Utf8.encode("3"), 0)), "BadVersion")
          assert.strictEqual(yield* tagOf(client.remove("/group")), "NotEmpty")
          assert.strictEqual(yield* tagOf(client.create("/group")), "NodeExists")
          assert.strictEqual(yield* tagOf(client.create("/no/where")), "NoNode")
          assert.strictEqual(yield* tagOf(client.getData("/no")), "NoNode")
          assert.strictEqual(yield* tagOf(client.create("/x", { acl: [] })), "InvalidAcl")
          assert.strictEqual(yield* tagOf(client.create("/x", { acl: P.creatorAcl })), "InvalidAcl")
          assert.strictEqual(yield* tagOf(client.create(`${one.path}/child`)), "OtherRefusal")

          const removed = yield* client.remove(two.path)
          const gone = yield* client.exists(two.path)
          assert.isUndefined(gone.stat)
          assert.isAtLeast(Number(gone.zxid), Number(removed.zxid))
          const there = yield* client.exists(one.path)
          assert.strictEqual(there.stat?.version, 1)
          assert.isAtLeast(Number((yield* client.sync("/")).zxid), Number(removed.zxid))

          const refused = yield* Effect.flip(client.multi([P.check(one.path, 1), P.check(one.path, 9), P.create("/y")]))
          assert.deepInclude({ ...refused } as object, { _tag: "BadVersion", index: 1, path: one.path })
          assert.isUndefined((yield* client.exists("/y")).stat)
          const done = yield* client.multi([
            P.check(one.path, 1),
            P.create("/y", { data: Utf8.encode("y") }),
            P.setData("/group", Utf8.encode("g")),
            P.remove(one.path, 1)
          ])
          assert.deepStrictEqual(
            done.written.map(({ path, zxid }) => [path, zxid === done.zxid]),
            [
              [one.path, true],
              ["/y", true],
              ["/group", true],
              [one.path, true]
            ]
          )
          assert.strictEqual((yield* client.exists("/y")).stat?.czxid, done.zxid)
          assert.isAtLeast(Number(client.lastZxid()), Number(done.zxid))
        }).pipe(Effect.scoped)
      )

      it.effect("ends the session with the client, and keeps it over a cut", () =>
        Effect.gen(function* () {
          const { attach, members } = yield* place
          const proxy = yield* Proxy.make({ upstream: members[0] })
          const observer = yield* attach(members)
          const client = yield* attach([proxy])
          yield* client.create("/e", { mode: "ephemeral" })
          for (let round = 2; round < 5; round++) {
            yield* proxy.cut
            yield* waitFor(() => attachmentsOf(client) === round)
            assert.strictEqual((yield* client.exists("/e")).stat?.czxid, (yield* observer.exists("/e")).stat?.czxid)
          }
          yield* client.close
          assert.isUndefined((yield* observer.exists("/e")).stat)
          assert.strictEqual(yield* tagOf(client.sync("/")), "SessionClosed")
        }).pipe(Effect.scoped)
      )

      it.effect("tells watches of everything below, and again after a cut", () =>
        Effect.gen(function* () {
          const { attach, members } = yield* place
          const proxy = yield* Proxy.make({ upstream: members[0] })
          const writer = yield* attach(members)
          const client = yield* attach([proxy])
          const { listener, names } = recorder()
          yield* writer.create("/g")
          yield* client.watch("/g", listener)
          const once = recorder()
          yield* writer.create("/once")
          yield* client.getData("/once", once.listener)
          yield* client.getChildren("/once", once.listener)
          yield* client.exists("/none", once.listener)
          yield* writer.create("/g/a")
          yield* writer.setData("/g/a", Utf8.encode("1"))
          yield* waitFor(() => names().length === 2)
          yield* proxy.cut
          yield* waitFor(() => names().includes("Interrupted"))
          yield* writer.setData("/once", Utf8.encode("changed while nobody was told"))
          yield* writer.create("/once/a")
          yield* client.attached
          yield* client.sync("/")
          yield* writer.remove("/g/a")
          yield* writer.create("/none")
          yield* waitFor(() => names().includes("deleted /g/a") && once.names().length === 3)
          assert.deepStrictEqual(names(), [
            "created /g/a",
            "dataChanged /g/a",
            "Interrupted",
            "Restored",
            "deleted /g/a"
          ])
          assert.deepStrictEqual(once.names().toSorted(), [
            "childrenChanged /once",
            "created /none",
            "dataChanged /once"
          ])
        }).pipe(Effect.scoped)
      )

      it.effect("tells the same of children by one-shot watches, for servers that know no other", () =>
        Effect.gen(function* () {
          const { attach, members } = yield* place
          const proxy = yield* Proxy.make({ upstream: members[0] })
          const writer = yield* attach(members)
          const client = yield* attach([proxy])
          const { listener, names } = recorder()
          let seen = 0
          const next = Effect.fnUntraced(function* (...expected: ReadonlyArray<string>) {
            yield* waitFor(() => names().length >= seen + expected.length)
            assert.deepStrictEqual(names().slice(seen), expected)
            seen += expected.length
          })
          yield* watchChildren(client, "/g", listener)
          yield* writer.create("/g")
          yield* next("created /g")
          yield* writer.create("/g/a", { data: Utf8.encode("1") })
          yield* next("created /g/a")
          for (let i = 0; i < 3; i++) {
            yield* writer.setData("/g/a", Utf8.encode(String(i)))
            yield* next("dataChanged /g/a")
          }
          yield* writer.create("/g/b")
          yield* next("created /g/b")
          yield* writer.remove("/g/b")
          yield* next("deleted /g/b")
          yield* writer.multi([P.remove("/g/a"), P.create("/g/a")])
          yield* next("deleted /g/a", "created /g/a")
          // Gone and there again before anybody can look: the two may be told as one, and the second is watched.
          yield* writer.remove("/g/a")
          yield* writer.create("/g/a")
          yield* next("deleted /g/a", "created /g/a")
          yield* writer.setData("/g/a", Utf8.encode("second"))
          yield* next("dataChanged /g/a")
          yield* proxy.cut
          yield* next("Interrupted", "Restored")
          yield* writer.setData("/g/a", Utf8.encode("again"))
          yield* next("dataChanged /g/a")
          yield* writer.remove("/g/a")
          yield* next("deleted /g/a")
          yield* writer.remove("/g")
          yield* next("deleted /g")
          yield* writer.create("/g")
          yield* next("created /g")
        }).pipe(Effect.scoped)
      )

      it.effect("removes a watch, and only that one", () =>
        Effect.gen(function* () {
          const { attach, chroot, members, server } = yield* place
          const client = yield* attach(members)
          const [kept, dropped] = [recorder(), recorder()]
          yield* client.create("/g")
          yield* client.watch("/", kept.listener)
          yield* Effect.scoped(client.watch("/g", dropped.listener))
          yield* client.create("/g/a")
          yield* waitFor(() => kept.names().length === 1)
          assert.deepStrictEqual(dropped.names(), [])
          const watched = (yield* server.ask("wchp")).split("\n").filter((line) => line.startsWith(chroot))
          assert.deepStrictEqual(watched, [chroot])
        }).pipe(Effect.scoped)
      )

      it.effect("lets in who gives credentials, also after a cut", () =>
        Effect.gen(function* () {
          const { attach, members } = yield* place
          const proxy = yield* Proxy.make({ upstream: members[0] })
          const credentials = [{ scheme: "digest", secret: Utf8.encode("user:password") }]
          const client = yield* attach([proxy], { credentials })
          const stranger = yield* attach(members)
          yield* client.create("/secret", { acl: P.creatorAcl, data: Utf8.encode("s") })
          assert.strictEqual(yield* tagOf(stranger.getData("/secret")), "NoAuth")
          yield* proxy.cut
          yield* waitFor(() => attachmentsOf(client) === 2)
          assert.strictEqual(Utf8.decode((yield* client.getData("/secret")).data), "s")
          yield* stranger.authenticate({ scheme: "digest", secret: Utf8.encode("user:password") })
          assert.strictEqual(Utf8.decode((yield* stranger.getData("/secret")).data), "s")
          yield* stranger.authenticate({ scheme: "nonsense", secret: Utf8.encode("x") })
          yield* reaches(stranger, "Over")
          assert.strictEqual(yield* tagOf(stranger.sync("/")), "AuthFailed")
        }).pipe(Effect.scoped)
      )
    })
  })
}

describe.each(["3.8", "3.9"] as const)("a server of its own, of %s,", (version) => {
  const server = (options: ZooKeeper.Options) => ZooKeeper.single({ version, ...options })

  it.live("grants the timeout that it can, and expires a silent session", () =>
    Effect.gen(function* () {
      const { members } = yield* server({ tickMillis: 200 })
      const proxy = yield* Proxy.make({ upstream: members[0] })
      const observer = yield* attach(members, { timeoutMillis: 60_000, ping: 0.3 })
      const client = yield* attach([proxy], { timeoutMillis: 1 })
      const granted = (one: Client.Client) => {
        const state = one.state()
        return state._tag === "Attached" ? state.identity.timeoutMillis : 0
      }
      assert.deepStrictEqual([granted(client), granted(observer)], [400, 4000])
      yield* client.create("/e", { mode: "ephemeral" })
      yield* proxy.blackhole
      const { listener, names } = recorder()
      yield* observer.exists("/e", listener)
      const lost = yield* tagOf(client.sync("/"))
      assert.strictEqual(lost, "ConnectionLost")
      yield* waitFor(() => names().includes("deleted /e"))
      yield* proxy.heal
      yield* reaches(client, "Over")
      assert.strictEqual(yield* tagOf(client.sync("/")), "SessionExpired")
    }).pipe(Effect.scoped)
  )

  it.live("speaks over TLS, with certificates of both sides", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder("zookeeper-tls")
      const files = yield* Tls.make(folder)
      const keyAndCertificateFile = join(folder, "server-both.pem")
      writeFileSync(
        keyAndCertificateFile,
        readFileSync(files.serverKeyFile, "utf8") + readFileSync(files.serverCertFile, "utf8")
      )
      const { members } = yield* server({ tls: { keyAndCertificateFile, caFile: files.caFile, clients: true } })
      const endpoints = [{ host: "127.0.0.1", port: members[0].securePort }] as const
      const { ca, cert = "", key = "" } = { cert: "", key: "", ...Tls.credentialsOf(files, true) }
      const client = yield* attach(endpoints, { transport: tls({ ca, cert, key: Redacted.make(key) }) })
      yield* client.create("/a", { data: new Uint8Array(500_000).fill(7) })
      assert.strictEqual((yield* client.getData("/a")).data.length, 500_000)
      const wrong: ReadonlyArray<Transport> = [
        tls({ cert, key: Redacted.make(key) }),
        tls({ ca }),
        tls({ ca, cert, key: Redacted.make("no key") }),
        tcp
      ]
      for (const transport of wrong) {
        const stranger = yield* open(endpoints, { transport })
        yield* waitFor(() => {
          const state = stranger.state()
          return state._tag === "Connecting" && state.problem !== undefined
        })
      }
    }).pipe(Effect.scoped)
  )
})

layer(shared("3.9"), { excludeTestServices: true })("faults of the network", (it) => {
  describe.concurrent("between clients and one server:", () => {
    it.effect("a half-open connection is replaced, whatever it was doing", () =>
      Effect.gen(function* () {
        const { attach, proxy } = yield* behindProxy
        const client = yield* attach([proxy])
        yield* client.create("/a")
        yield* proxy.halfOpen
        const failure = yield* Effect.flip(client.setData("/a", Utf8.encode("1")))
        assert.deepInclude({ ...failure } as object, { _tag: "ConnectionLost", sent: true })
        yield* client.attached
        yield* client.sync("/")
      }).pipe(Effect.scoped)
    )

    it.effect("a connection cut in the middle of an answer is replaced within a moment", () =>
      Effect.gen(function* () {
        const { attach, proxy, server } = yield* behindProxy
        const writer = yield* attach([server])
        const client = yield* attach([proxy])
        yield* writer.create("/a", { data: new Uint8Array(200_000).fill(5) })
        for (const bytes of [1, 3, 19, 20, 100, 70_000]) {
          yield* proxy.cutMidFrame(bytes)
          assert.strictEqual(yield* tagOf(client.getData("/a")), "ConnectionLost")
          yield* until(client.sync("/"), { within: "20 seconds" })
          assert.strictEqual((yield* client.getData("/a")).data.length, 200_000)
        }
      }).pipe(Effect.scoped)
    )

    it.effect("servers behind what the session has seen refuse it, and the state says so", () =>
      Effect.gen(function* () {
        const { members } = yield* Server
        const client = yield* open(members, { lastZxid: 1n << 40n })
        yield* waitFor(() => {
          const state = client.state()
          return state._tag === "Connecting" && state.refusedBy.length === 1
        })
      }).pipe(Effect.scoped)
    )

    it.effect("a thousand members are made, seen, and gone with their session", () =>
      Effect.gen(function* () {
        const { attach, members } = yield* place
        const observer = yield* attach(members)
        const { listener, names } = recorder()
        yield* observer.create("/g")
        yield* observer.watch("/g", listener)
        const scope: Effect.Effect<void, RequestError, Scope.Scope> = Effect.gen(function* () {
          const client = yield* attach(members)
          yield* Effect.forEach(
            Array.from({ length: 1000 }),
            () => client.create("/g/m-", { mode: "ephemeralSequential" }),
            { concurrency: "unbounded", discard: true }
          )
          assert.strictEqual((yield* observer.getChildren("/g")).children.length, 1000)
        })
        yield* Effect.scoped(scope)
        assert.strictEqual((yield* observer.getChildren("/g")).children.length, 0)
        yield* waitFor(() => names().length === 2000)
      }).pipe(Effect.scoped)
    )

    it.effect("an interrupted request leaves nothing in the way of others", () =>
      Effect.gen(function* () {
        const { attach, proxy } = yield* behindProxy
        const client = yield* attach([proxy])
        yield* client.create("/a", { data: Utf8.encode("a") })
        yield* proxy.delay(50)
        for (let i = 0; i < 20; i++) {
          const fiber = yield* Effect.forkChild(client.getChildren("/"), { startImmediately: true })
          yield* Fiber.interrupt(fiber)
          assert.isTrue(Exit.hasInterrupts(yield* Fiber.await(fiber)))
        }
        assert.strictEqual(Utf8.decode((yield* client.getData("/a")).data), "a")
      }).pipe(Effect.scoped)
    )
  })
})

describe("faults of servers", () => {
  it.live("a frozen server is left behind, and its answers come too late to matter", () =>
    Effect.gen(function* () {
      const { members } = yield* ZooKeeper.cluster(3)
      const client = yield* attach(members, { timeoutMillis: 6000 })
      yield* client.create("/a")
      const state = client.state()
      const at = members.find((one) => state._tag === "Attached" && state.endpoint.endsWith(`:${one.port}`))
      assert.isDefined(at)
      yield* at.pause
      const began = performance.now()
      assert.strictEqual(yield* tagOf(client.sync("/")), "ConnectionLost")
      yield* client.attached
      yield* until(client.sync("/"), { within: "20 seconds" })
      const took = performance.now() - began
      yield* at.resume
      const after = client.state()
      assert.deepInclude(after, { _tag: "Attached" })
      assert.strictEqual(
        after._tag === "Attached" && state._tag === "Attached" && after.identity.sessionId,
        state._tag === "Attached" && state.identity.sessionId
      )
      process.stderr.write(`[zookeeper] left a frozen server after ${Math.round(took)} ms\n`)
    }).pipe(Effect.scoped)
  )

  it.live("a server that is restarted takes the session back, and nothing is queued meanwhile", () =>
    Effect.gen(function* () {
      const { members } = yield* ZooKeeper.single()
      const client = yield* attach(members)
      yield* client.create("/e", { mode: "ephemeral" })
      yield* members[0].kill
      yield* reaches(client, "Connecting")
      assert.deepInclude({ ...(yield* Effect.flip(client.sync("/"))) } as object, {
        _tag: "ConnectionLost",
        sent: false
      })
      yield* members[0].start
      yield* client.attached
      assert.isDefined((yield* client.exists("/e")).stat)
    }).pipe(Effect.scoped)
  )

  it.live("a member cut from its quorum answers no sync, and the session moves to another", () =>
    Effect.gen(function* () {
      const ensemble = yield* ZooKeeper.cluster(3)
      const client = yield* attach(ensemble.members, { timeoutMillis: 10_000 })
      const leader = yield* ensemble.leader
      const follower = ensemble.members.find((one) => one.port !== leader.port)
      assert.isDefined(follower)
      yield* client.setEndpoints([follower])
      yield* waitFor(() => {
        const state = client.state()
        return state._tag === "Attached" && state.endpoint.endsWith(`:${follower.port}`)
      })
      yield* client.create("/e", { mode: "ephemeral" })
      yield* ensemble.isolate(follower)
      assert.strictEqual(yield* tagOf(client.sync("/")), "ConnectionLost")
      yield* client.setEndpoints(ensemble.members)
      yield* until(client.sync("/"), { within: "20 seconds" })
      assert.isDefined((yield* client.exists("/e")).stat)
      yield* ensemble.heal
    }).pipe(Effect.scoped)
  )
})
