import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Effect, Exit, Fiber, Option, Scope } from "effect"
import { spawn } from "node:child_process"
import { readdirSync, existsSync, readFileSync } from "node:fs"
import { connect, createServer } from "node:net"
import process from "node:process"
import { fileURLToPath } from "node:url"
import * as Etcd from "../servers/etcd.ts"
import * as Process from "../servers/process.ts"
import { until } from "../servers/until.ts"

/** A process that has ended but that nobody has asked about yet ("Z") still has its id. */
const isAlive = (pid: number): boolean => {
  try {
    return !/ Z /.test(readFileSync(`/proc/${pid}/stat`, "utf8"))
  } catch {
    return false
  }
}

const eventually = (condition: () => boolean) =>
  until(
    Effect.suspend(() => (condition() ? Effect.void : Effect.fail("not yet"))),
    { within: "20 seconds" }
  ).pipe(Effect.orDie)

const connects = (port: number): Effect.Effect<void, { readonly message: string }> =>
  Effect.callback((resume) => {
    const socket = connect(port, "127.0.0.1", () => resume(Effect.void))
    socket.once("error", ({ message }) => resume(Effect.fail({ message })))
    return Effect.sync(() => socket.destroy())
  })

describe("a private etcd", () => {
  it.live("keeps its data and its address through SIGKILL and SIGTERM", () =>
    Effect.gen(function* () {
      const { endpoints, gateway, members } = yield* Etcd.single()
      const [member] = members
      const revision = yield* gateway.put("k", "v")
      const expected = [
        { key: "k", value: "v", createRevision: revision, modRevision: revision, version: 1n, lease: 0n }
      ]
      const first = member.pid()
      yield* member.kill
      assert.deepStrictEqual([member.isRunning(), isAlive(first)], [false, false])
      assert.strictEqual((yield* Effect.flip(gateway.revision)).status, 0)
      yield* member.start
      assert.deepStrictEqual((yield* gateway.range("k")).entries, expected)
      const second = member.pid()
      yield* member.stop
      assert.deepStrictEqual([second === first, isAlive(second)], [false, false])
      yield* member.start
      yield* member.restart
      assert.deepStrictEqual((yield* gateway.range("k")).entries, expected)
      assert.deepStrictEqual(endpoints, [member.clientUrl])
    })
  )

  it.live("answers nothing while it is paused, and goes on afterwards", () =>
    Effect.gen(function* () {
      const { gateway, members } = yield* Etcd.single()
      const [member] = members
      yield* member.pause
      const write = yield* Effect.forkChild(gateway.put("k", "v"), { startImmediately: true })
      // The kernel accepts connections for a stopped process; that nobody answers shows in nothing that can be waited for.
      assert.isTrue(Option.isNone(yield* Effect.timeoutOption(Fiber.join(write), "300 millis")))
      assert.isTrue(member.isRunning())
      yield* member.resume
      // It has arrived while the server stood still, and may be carried out at any moment from now on.
      yield* Fiber.await(write)
      const revision = yield* gateway.put("k", "w")
      assert.isTrue((yield* gateway.get("k")).pipe(Option.exists(({ modRevision }) => modRevision === revision)))
    })
  )

  it.live("tells the truth by its gateway", () =>
    Effect.gen(function* () {
      const { gateway } = yield* Etcd.single()
      const lease = yield* gateway.grant(60)
      const created = yield* gateway.put("a/1", "x", lease)
      yield* gateway.put("a/2", "ü")
      yield* gateway.put("b", "y")
      const { entries, revision } = yield* gateway.range("a/")
      assert.deepStrictEqual(
        entries.map(({ key, lease, value }) => [key, value, lease]),
        [
          ["a/1", "x", lease],
          ["a/2", "ü", 0n]
        ]
      )
      assert.deepStrictEqual([entries[0]?.createRevision, revision], [created, created + 2n])
      assert.strictEqual((yield* gateway.range("")).entries.length, 3)
      assert.deepStrictEqual(yield* gateway.leases, [lease])
      const { granted, keys, seconds } = yield* gateway.timeToLive(lease)
      assert.deepStrictEqual([granted, keys, seconds > 0], [60, ["a/1"], true])
      yield* gateway.revoke(lease)
      assert.deepStrictEqual(yield* gateway.leases, [])
      assert.strictEqual((yield* gateway.timeToLive(lease)).seconds, -1)
      assert.isTrue(Option.isNone(yield* gateway.get("a/1")))
      yield* gateway.remove("a/2")
      yield* gateway.removePrefix("")
      const last = yield* gateway.revision
      yield* gateway.compact(last)
      const past = yield* Effect.flip(gateway.call("/v3/kv/range", { key: "YQ==", revision: String(created) }))
      assert.match(past.message, /compacted/)
      assert.strictEqual(yield* gateway.watchers, 0)
      const status = yield* gateway.status
      assert.deepStrictEqual([status.leader, status.revision], [status.memberId, last])
      assert.match(status.version, /^3\.[56]\./)
    })
  )

  it.live("grants leases of one second with fast elections, of two with etcd's own", () =>
    Effect.gen(function* () {
      const [fast, standard] = [yield* Etcd.single(), yield* Etcd.single({ elections: "standard", fsync: true })]
      const grantedBy = ({ gateway }: Etcd.Etcd) =>
        Effect.map(
          Effect.flatMap(gateway.grant(1), (lease) => gateway.timeToLive(lease)),
          ({ granted }) => granted
        )
      assert.deepStrictEqual([yield* grantedBy(fast), yield* grantedBy(standard)], [1, 2])
    })
  )

  it.live("goes back to a backup: a lower revision, and another cluster id when wanted", () =>
    Effect.gen(function* () {
      const { backup, gateway, restore } = yield* Etcd.single()
      const kept = yield* gateway.put("k", "kept")
      const saved = yield* backup
      yield* gateway.put("k", "lost")
      const before = yield* gateway.status
      yield* restore(saved)
      const after = yield* gateway.status
      assert.isTrue(after.revision < before.revision)
      assert.deepStrictEqual([after.revision, after.clusterId], [kept, before.clusterId])
      assert.isTrue(Option.exists(yield* gateway.get("k"), ({ value }) => value === "kept"))
      yield* restore(saved, { newCluster: true })
      assert.notStrictEqual((yield* gateway.status).clusterId, before.clusterId)
    })
  )

  it.live("obeys its options: requests, quota, compaction, further arguments", () =>
    Effect.gen(function* () {
      const { gateway, members } = yield* Etcd.single({
        maxRequestBytes: 2000,
        quotaBytes: 16 << 20,
        autoCompaction: { revisions: 10 },
        args: ["--max-txn-ops", "1"]
      })
      assert.match((yield* Effect.flip(gateway.put("k", "x".repeat(3000)))).message, /too large/)
      const get = { request_range: { key: "YQ==" } }
      assert.match((yield* Effect.flip(gateway.call("/v3/kv/txn", { success: [get, get] }))).message, /too many/)
      assert.strictEqual(yield* gateway.metric("etcd_server_quota_backend_bytes"), 16 << 20)
      const periodic = yield* Etcd.single({ autoCompaction: { period: "2 minutes" } })
      assert.isTrue(periodic.members[0].isRunning() && members[0].isRunning())
    })
  )

  it.live("asks for a password, over TLS, with certificates of both sides", () =>
    Effect.gen(function* () {
      const options = { tls: "mutual", rootPassword: "secret" } as const
      const { backup, credentials, endpoints, gateway, members, restore } = yield* Etcd.single(options)
      yield* gateway.put("k", "v")
      const saved = yield* backup
      yield* members[0].restart
      yield* restore(saved)
      assert.isTrue(Option.isSome(yield* gateway.get("k")))
      assert.match(members[0].clientUrl, /^https:/)
      const { ca, cert, key, ...user } = credentials
      assert.deepStrictEqual(user, { username: "root", password: "secret" })
      const asking = (credentials: Etcd.Credentials) => Effect.flip(Etcd.gateway(endpoints, credentials).get("k"))
      assert.match((yield* asking({ ca: ca ?? "", cert: cert ?? "", key: key ?? "" })).message, /permission denied/)
      assert.match((yield* asking({ ...credentials, password: "wrong" })).message, /invalid user ID or password/)
      assert.strictEqual((yield* asking({ ca: ca ?? "", ...user })).status, 0)
      assert.strictEqual((yield* asking({ ...user })).status, 0)
    })
  )

  it.live("can be a version whose progress notifications are not to be trusted", () =>
    Effect.gen(function* () {
      const { backup, gateway, restore } = yield* Etcd.single({ version: "old" })
      assert.match((yield* gateway.status).version, /^3\.4\./)
      yield* gateway.put("k", "v")
      const saved = yield* backup
      const last = yield* gateway.put("k", "w")
      yield* restore(saved)
      assert.isTrue((yield* gateway.revision) < last)
    })
  )
})

describe("a given etcd", () => {
  it.live("is the one whose address the environment names, or a private one", () =>
    Effect.gen(function* () {
      const [one, other] = [yield* Etcd.single(), yield* Etcd.given]
      const named = (endpoints: string) =>
        ConfigProvider.layer(ConfigProvider.fromEnvRecord({ ENSEMBLE_ETCD_ENDPOINTS: endpoints }))
      const given = yield* Effect.provide(Etcd.given, named(`${one.endpoints[0]}, http://127.0.0.1:1`))
      assert.deepStrictEqual(given.endpoints, [one.endpoints[0], "http://127.0.0.1:1"])
      assert.notDeepEqual(other.endpoints, one.endpoints)
      yield* given.gateway.put("k", "v")
      assert.isTrue(Option.isSome(yield* one.gateway.get("k")))
      assert.isTrue(Option.isNone(yield* other.gateway.get("k")))
      const nobody = yield* Effect.flip(Effect.provide(Etcd.given, named("http://127.0.0.1:1")))
      assert.match(nobody.message, /^http:\/\/127\.0\.0\.1:1\/v3\/maintenance\/status: no answer/)
    })
  )
})

describe("a private cluster", () => {
  it.live("elects another leader after SIGKILL, and takes the old one back", () =>
    Effect.gen(function* () {
      const { gateway, leader, members } = yield* Etcd.cluster(3)
      const revision = yield* gateway.put("k", "v")
      const first = yield* leader
      yield* first.kill
      const second = yield* leader
      assert.notStrictEqual(second.name, first.name)
      assert.strictEqual(yield* gateway.put("k", "w"), revision + 1n)
      yield* first.start
      assert.strictEqual(yield* first.gateway.revision, revision + 1n)
      // Without a quorum none of them serves, so they must be launched before any is waited for.
      for (const member of members) yield* member.kill
      for (const member of members) yield* member.launch
      for (const member of members) yield* member.ready
      assert.strictEqual(yield* gateway.revision, revision + 1n)
    })
  )

  it.live("elects another leader while one is paused", () =>
    Effect.gen(function* () {
      const { leader } = yield* Etcd.cluster(3)
      const first = yield* leader
      yield* first.pause
      assert.notStrictEqual((yield* leader).name, first.name)
      yield* first.resume
      yield* first.ready
    })
  )

  it.live("a follower cut from the quorum answers no linearizable read and forwards no renewal, and catches up", () =>
    Effect.gen(function* () {
      const { followers, gateway, heal, isolate, leader } = yield* Etcd.cluster(3)
      const [cut] = yield* followers
      if (cut === undefined) return assert.fail("no follower")
      const lease = yield* gateway.grant(3)
      yield* gateway.put("k", "v", lease)
      const renew = (member: Etcd.Member) => member.gateway.call("/v3/lease/keepalive", { ID: String(lease) })
      assert.strictEqual((yield* renew(cut))["result"].TTL, "3")
      yield* isolate(cut)
      // Its clients still reach it: it answers what it knows by itself.
      const stale = yield* cut.gateway.call("/v3/kv/range", { key: "aw==", serializable: true })
      assert.strictEqual(stale["count"], "1")
      const [read, renewal] = yield* Effect.all([Effect.exit(cut.gateway.get("k")), Effect.exit(renew(cut))], {
        concurrency: "unbounded"
      })
      assert.deepStrictEqual([Exit.isFailure(read), Exit.isFailure(renewal)], [true, true])
      yield* until(
        Effect.filterOrFail((yield* leader).gateway.leases, (leases) => leases.length === 0),
        { within: "20 seconds" }
      )
      yield* heal
      yield* cut.ready
      assert.isTrue(Option.isNone(yield* cut.gateway.get("k")))
    })
  )

  it.live("a leader cut from the quorum is replaced, and follows afterwards", () =>
    Effect.gen(function* () {
      const { heal, isolate, leader } = yield* Etcd.cluster(3)
      const first = yield* leader
      yield* isolate(first)
      const second = yield* leader
      assert.notStrictEqual(second.name, first.name)
      const revision = yield* second.gateway.put("k", "v")
      yield* heal
      yield* first.ready
      assert.strictEqual(yield* first.gateway.revision, revision)
    })
  )

  it.live("restores all members from a backup", () =>
    Effect.gen(function* () {
      const { backup, gateway, members, restore } = yield* Etcd.cluster(3)
      const kept = yield* gateway.put("k", "v")
      const saved = yield* backup
      yield* gateway.put("k", "w")
      yield* restore(saved)
      const revisions = yield* Effect.forEach(members, (member) => member.gateway.revision)
      assert.deepStrictEqual(revisions, [kept, kept, kept])
    })
  )
})

describe("a server's process", () => {
  it.live("is gone with its scope, and its folder too, also when it is paused", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const { members } = yield* Scope.provide(Etcd.cluster(2), scope)
      yield* members[0].pause
      const pids = members.map((member) => member.pid())
      assert.deepStrictEqual(pids.map(isAlive), [true, true])
      yield* Scope.close(scope, Exit.void)
      assert.deepStrictEqual(pids.map(isAlive), [false, false])
      assert.isFalse(members.some(({ folder }) => existsSync(folder)))
    })
  )

  it.live("that cannot start says why, with the end of its log", () =>
    Effect.gen(function* () {
      const wrong = yield* Effect.flip(Etcd.single({ args: ["--no-such-flag"] }))
      assert.match(wrong.message, /etcd-n0: ended before it served, with \d+\n[\s\S]*no-such-flag/)
      const missing = Process.make({
        name: "nothing",
        command: () => ({ program: "/nowhere/nothing", args: [] }),
        ports: [],
        ready: Effect.never
      })
      const error = yield* Effect.flip(Effect.flatMap(missing, (process) => process.start))
      assert.match(error.message, /nothing: [\s\S]*\/nowhere\/nothing/)
    })
  )

  it.live("takes other ports when somebody was faster", () =>
    Effect.gen(function* () {
      const attempts: Array<ReadonlyArray<number>> = []
      const listening = yield* Process.onFreePorts(1, (ports) =>
        Effect.gen(function* () {
          const [port = 0] = ports
          if (attempts.push(ports) === 1) {
            yield* Effect.acquireRelease(
              Effect.callback<ReturnType<typeof createServer>>((resume) => {
                const server = createServer().listen(port, "127.0.0.1", () => resume(Effect.succeed(server)))
              }),
              (server) => Effect.sync(() => server.close())
            )
          }
          const process = yield* Process.make({
            name: "listener",
            command: () => ({
              program: globalThis.process.execPath,
              args: ["-e", `require("node:net").createServer().listen(${port}, "127.0.0.1")`]
            }),
            ports,
            // At the first port somebody else answers.
            ready: connects(port)
          })
          yield* process.start
          return port
        })
      )
      assert.strictEqual(attempts.length, 2)
      assert.deepStrictEqual([listening], attempts[1])
    })
  )

  const endings = [
    { ending: "return", says: "when its scope closes, and nothing keeps the process" },
    { ending: "pause", says: "when its scope closes while it is paused" },
    { ending: "exit", says: "when the process exits" },
    { ending: "SIGTERM", says: "when the process is terminated" },
    { ending: "SIGKILL", says: "when the process is killed" }
  ] as const

  for (const { ending, says } of endings) {
    it.live(`ends ${says}`, () =>
      Effect.gen(function* () {
        const fixture = fileURLToPath(new URL("./fixtures/serve.ts", import.meta.url))
        const env = { ...process.env, TMPDIR: yield* Process.temporaryFolder("fixture") }
        const child = yield* Effect.acquireRelease(
          Effect.sync(() => spawn(process.execPath, [fixture, ending], { env, stdio: ["ignore", "pipe", "inherit"] })),
          (child) => Effect.sync(() => child.kill("SIGKILL"))
        )
        let printed = ""
        child.stdout.on("data", (chunk) => (printed += String(chunk)))
        yield* eventually(() => printed.endsWith("\n"))
        const [pid] = printed.trim().split(" ")
        const signalled = ending === "SIGTERM" || ending === "SIGKILL"
        if (signalled) {
          assert.isTrue(isAlive(Number(pid)))
          child.kill(ending)
        }
        yield* eventually(() => child.exitCode !== null || child.signalCode !== null)
        assert.deepStrictEqual([child.exitCode, child.signalCode], signalled ? [null, ending] : [0, null])
        yield* eventually(() => !isAlive(Number(pid)))
        // Only a process that is signalled leaves its files behind.
        assert.strictEqual(readdirSync(env.TMPDIR).length > 0, signalled)
      })
    )
  }
})
