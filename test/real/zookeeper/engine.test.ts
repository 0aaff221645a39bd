import { assert, describe, layer } from "@effect/vitest"
import { Context, Data, Effect, Exit, Fiber, Layer, Option, Redacted, Scope, Stream } from "effect"
import { Coordinator, Discovery, Election, Lock } from "effect-ensemble"
import { ZooKeeper } from "effect-ensemble/zookeeper"
import { createServer } from "node:http"
import * as Client from "../../../src/engines/zookeeper/client.ts"
import type { RequestError } from "../../../src/engines/zookeeper/errors.ts"
import { idOf, sessionName } from "../../../src/engines/zookeeper/nodes.ts"
import * as P from "../../../src/engines/zookeeper/protocol.ts"
import * as Store from "../../../src/engines/zookeeper/store.ts"
import { tcp } from "../../../src/engines/zookeeper/transport.ts"
import * as Utf8 from "../../../src/engines/zookeeper/utf8.ts"
import * as Proxy from "../../faults/proxy.ts"
import { until } from "../../servers/until.ts"
import * as Servers from "../../servers/zookeeper.ts"
import { recorded } from "../../zookeeper/curatorRecorded.ts"
import * as Weather from "./weather.ts"

class Server extends Context.Service<Server, Servers.ZooKeeper>()("test/Server") {}

let prefixes = 0
const freshPrefix = () => `/engine-${++prefixes}`

const addressOf = ({ host, port }: { readonly host: string; readonly port: number }) => `${host}:${port}`

/** One process, for the scope. */
const start = Effect.fnUntraced(function* (options: ZooKeeper.Options) {
  const { members } = yield* Server
  return yield* Layer.build(ZooKeeper.layer({ endpoints: addressOf(members[0]), ttl: "6 seconds", ...options }))
})

const groupIn = (context: Context.Context<Coordinator.Coordinator>, kind: "election" | "discovery" = "election") =>
  Context.get(context, Coordinator.Coordinator).group({ kind, name: "group" })

/** Somebody with `zkCli`. */
const admin = Effect.gen(function* () {
  const { members } = yield* Server
  const client = yield* Client.make({ endpoints: members, transport: tcp, timeoutMillis: 5_000, ping: 0.3 })
  yield* client.attached
  return client
})

class NotYet extends Data.TaggedError("NotYet")<{ readonly found: unknown }> {}

const eventually = <A, E>(effect: Effect.Effect<A, E>, holds: (found: A) => boolean) =>
  until(
    Effect.flatMap(effect, (found) => (holds(found) ? Effect.succeed(found) : Effect.fail(new NotYet({ found })))),
    { within: "30 seconds" }
  )

const namesIn = (client: Client.Client, path: string) =>
  client.getChildren(path).pipe(
    Effect.map(({ children }) => children),
    Effect.catchTag("NoNode", () => Effect.succeed<ReadonlyArray<string>>([]))
  )

const makePath = (client: Client.Client, path: string): Effect.Effect<void, RequestError> => {
  const parts = path.split("/").slice(1)
  return Effect.forEach(
    parts,
    (_, index) =>
      Effect.catchTag(
        Effect.asVoid(client.create(`/${parts.slice(0, index + 1).join("/")}`)),
        "NodeExists",
        () => Effect.void
      ),
    { discard: true }
  )
}

const reasonOf = <A, R>(effect: Effect.Effect<A, { readonly reason: { readonly _tag: string } }, R>) =>
  Effect.map(Effect.flip(effect), ({ reason }) => reason._tag)

describe.each(["3.5", "3.8", "3.9"] as const)("on ZooKeeper %s", (version) => {
  const server = Layer.effect(Server, Servers.single({ version }))
  layer(server, { excludeTestServices: true })("the engine", (it) => {
    describe.concurrent("on one server", () => {
      it.effect("writes under guard as long as the place is held, and not after", () =>
        Effect.gen(function* () {
          const prefix = freshPrefix()
          const zk = yield* admin
          const context = yield* start({ prefix, node: "a" })
          yield* zk.create(`${prefix}-own`)
          const tenure = yield* Election.campaign(Election.make("group")).pipe(Effect.provideContext(context))
          const guarded = (...operations: ReadonlyArray<ZooKeeper.Operation>) =>
            Effect.provideContext(ZooKeeper.guarded(tenure, operations), context)
          const { revision } = yield* guarded(ZooKeeper.create(`${prefix}-own/cursor`, "1"))
          assert.isTrue(revision > (yield* tenure.ensure))
          yield* guarded(ZooKeeper.check(`${prefix}-own/cursor`, 0), ZooKeeper.set(`${prefix}-own/cursor`, "2", 0))
          assert.strictEqual(Utf8.decode((yield* zk.getData(`${prefix}-own/cursor`)).data), "2")

          const refused = yield* Effect.flip(
            guarded(ZooKeeper.set(`${prefix}-own/cursor`, "3"), ZooKeeper.create(`${prefix}-own/cursor`, ""))
          )
          assert.deepInclude(refused, {
            _tag: "OperationRefused",
            index: 1,
            path: `${prefix}-own/cursor`,
            problem: "NodeExists"
          })
          assert.strictEqual(Utf8.decode((yield* zk.getData(`${prefix}-own/cursor`)).data), "2")

          // Behind the holder's back: until it hears of that, its own clocks say that it leads.
          const [name = ""] = yield* namesIn(zk, `${prefix}/election/group`)
          const writes = Effect.flip(guarded(ZooKeeper.remove(`${prefix}-own/cursor`)))
          const [, lost] = yield* Effect.all([zk.remove(`${prefix}/election/group/${name}`), writes])
          assert.deepInclude(lost, { _tag: "MembershipLost", cause: "EntryGone" })
          assert.lengthOf(yield* namesIn(zk, `${prefix}-own`), 1)
        })
      )

      it.effect("gives the names that reception gives, and reads its services", () =>
        Effect.gen(function* () {
          const prefix = freshPrefix()
          const zk = yield* admin
          const context = yield* start({ prefix, node: "ours", layout: "reception" })
          const path = `${prefix}/group`
          const foreign = `{"address":"10.0.0.9","port":9000,"attributes":{"zone":"b"}}`
          yield* makePath(zk, path)
          yield* zk.create(`${path}/_c_${"f".repeat(32)}-5f3c-`, {
            mode: "ephemeralSequential",
            data: Utf8.encode(foreign)
          })
          const candidacy = yield* groupIn(context, "election").join({ value: "hello" })
          const names = [...(yield* namesIn(zk, path))].sort((a, b) => a.slice(-10).localeCompare(b.slice(-10)))
          assert.strictEqual(names.length, 2)
          for (const name of names) assert.match(name, /^_c_[0-9a-f]{32}-.+-\d{10}$/)
          const own = yield* zk.getData(`${path}/${names[1]}`)
          assert.deepStrictEqual(JSON.parse(Utf8.decode(own.data)), {
            address: "",
            port: 0,
            attributes: { value: "hello" }
          })
          assert.strictEqual(own.stat.czxid, yield* candidacy.ensure)
          const { members } = yield* groupIn(context, "election").list
          assert.deepStrictEqual(
            members.map(({ id, mine, value }) => [id, value, mine]),
            [
              ["5f3c", foreign, false],
              ["ours", "hello", true]
            ]
          )
          // Its programs create members without expecting the parent to go, so it is no container.
          assert.strictEqual((yield* zk.exists(path)).stat?.ephemeralOwner, 0n)
        })
      )

      it.effect("registers services as Apache Curator does, and finds those of its programs", () =>
        Effect.gen(function* () {
          const prefix = freshPrefix()
          const base = `${prefix}-services`
          const zk = yield* admin
          const context = yield* start({ prefix, curatorBasePath: base, node: "ours" })
          const Api = Discovery.make("api")
          const path = `${base}/api`
          const scope = yield* Scope.make()
          const attributes = { zone: "a" }
          const registration = yield* Discovery.register(Api, { address: "10.0.0.9", port: 90, attributes }).pipe(
            Scope.provide(scope),
            Effect.provideContext(context)
          )
          for (const [name, text] of Object.entries(recorded)) {
            yield* zk.create(`${path}/${name}`, { data: Utf8.encode(text) })
          }
          const ours = yield* zk.getData(`${path}/ours`)
          const written = JSON.parse(Utf8.decode(ours.data)) as Record<string, unknown>
          assert.deepInclude(written, { name: "api", id: "ours", address: "10.0.0.9", port: 90, payload: attributes })
          const view = yield* Effect.provideContext(Discovery.list(Api), context)
          const own = Option.getOrThrow(view.get("ours"))
          assert.deepStrictEqual([own.token, own.mine, own.value.attributes], [ours.stat.czxid, true, attributes])
          assert.notStrictEqual(ours.stat.ephemeralOwner, 0n)
          assert.deepStrictEqual(Option.getOrThrow(view.get("text")).value, {
            address: "10.0.0.4",
            port: 83,
            attributes: { payload: "a text" }
          })
          assert.deepStrictEqual(
            view.undecoded.map(({ member }) => member.id),
            ["disabled"]
          )
          assert.strictEqual(view.size, Object.keys(recorded).length + 1)
          yield* registration.set({ zone: "b" })
          const after = JSON.parse(Utf8.decode((yield* zk.getData(`${path}/ours`)).data)) as Record<string, unknown>
          assert.deepStrictEqual(after, { ...written, payload: { zone: "b" } })
          // Only services stand there: its programs would fail at anything else.
          yield* groupIn(context).join({ value: "" })
          assert.deepStrictEqual(yield* namesIn(zk, base), ["api"])
          yield* Scope.close(scope, Exit.void)
          assert.notInclude(yield* namesIn(zk, path), "ours")
        })
      )

      it.effect("leaves a node of Curator's form to the program that has taken its id", () =>
        Effect.gen(function* () {
          const prefix = freshPrefix()
          const base = `${prefix}-services`
          const zk = yield* admin
          const context = yield* start({ prefix, curatorBasePath: base, node: "same" })
          const group = groupIn(context, "discovery")
          const membership = yield* group.join({ value: "1" }, { rejoin: true })
          const path = `${base}/group/same`
          const first = yield* membership.ensure
          // As Curator registers: what is in the way is deleted.
          const foreign = yield* zk.multi([P.remove(path), P.create(path, { data: Utf8.encode("theirs") })])
          yield* eventually(Effect.flip(membership.ensure), () => true)
          const conflict = yield* Effect.flip(
            groupIn(yield* start({ prefix, curatorBasePath: base }), "discovery").join(
              { id: "same", value: "2" },
              { onConflict: "fail" }
            )
          )
          assert.strictEqual(conflict._tag, "MemberConflict")
          assert.deepInclude((yield* zk.getData(path)).stat, { czxid: foreign.zxid, version: 0 })
          yield* zk.remove(path)
          const second = yield* eventually(membership.ensure, (token) => token > first)
          assert.strictEqual((yield* zk.getData(path)).stat.czxid, second)
        })
      )

      it.effect("changes and takes back a node of Curator's form only while it is its own", () =>
        Effect.gen(function* () {
          const { members } = yield* Server
          const prefix = freshPrefix()
          const zk = yield* admin
          const { group, open } = yield* Store.make(
            ({ ttlMillis: timeoutMillis, ...rest }) => Client.make({ ...rest, timeoutMillis, transport: tcp }),
            {
              endpoint: "",
              prefix,
              curatorBasePath: prefix,
              layout: "ensemble",
              acl: P.openAcl,
              requestMillis: 2_000,
              endpoints: members
            }
          )
          const { id: owner } = yield* open(6_000)
          const services = group({ kind: "discovery", name: "api" })
          const path = `${prefix}/api/a`
          const created = yield* services.create(owner, "a", "1")
          if (created._tag !== "Created") return assert.fail(created._tag)
          const holding = { id: "a", owner, ...created }
          assert.deepStrictEqual(yield* services.update(holding, "2"), { _tag: "Updated", version: 1n })
          const again = yield* services.create(owner, "a", "3")
          assert.deepInclude(again._tag === "Occupied" ? again.entry : {}, { value: "2", owner, token: created.token })
          yield* zk.multi([P.remove(path), P.create(path, { data: Utf8.encode("theirs") })])
          assert.deepStrictEqual(yield* services.update(holding, "4"), { _tag: "Refused" })
          yield* services.remove(holding)
          assert.strictEqual(Utf8.decode((yield* zk.getData(path)).data), "theirs")
        })
      )

      it.effect("of two nodes with one id shows the older, and takes the younger back", () =>
        Effect.gen(function* () {
          const prefix = freshPrefix()
          const zk = yield* admin
          const [a, b] = [yield* start({ prefix, node: "a" }), yield* start({ prefix, node: "b" })]
          const path = `${prefix}/election/group`
          yield* groupIn(a).join({ id: "same", value: "first" })
          const seen = yield* Effect.forkScoped(
            groupIn(b).watch.pipe(
              Stream.takeUntil((view) => Option.isSome(view.get("last"))),
              Stream.runCollect
            ),
            { startImmediately: true }
          )
          // A program that knows nothing of the rule.
          const rival = yield* zk.create(`${path}/${"_c_"}${"0".repeat(32)}-same-`, {
            mode: "ephemeralSequential",
            data: Utf8.encode("rival")
          })
          const conflict = yield* Effect.flip(groupIn(b).join({ id: "same", value: "second" }, { onConflict: "fail" }))
          assert.strictEqual(conflict._tag, "MemberConflict")
          assert.deepStrictEqual((yield* namesIn(zk, path)).map(idOf), ["same", "same"])
          yield* zk.remove(rival.path)
          yield* groupIn(a).join({ id: "last", value: "" })
          for (const view of yield* Fiber.join(seen)) {
            assert.deepInclude(
              view.members.map(({ id, value }) => `${id}=${value}`),
              "same=first"
            )
          }
        })
      )

      it.effect("keeps what it creates to those with its credentials, and says who is refused", () =>
        Effect.gen(function* () {
          const prefix = freshPrefix()
          const zk = yield* admin
          const as = (username: string) => ({ prefix, credentials: { username, password: Redacted.make("secret") } })
          const context = yield* start({ ...as("api"), node: "a" })
          yield* groupIn(context).join({ value: "private" })
          assert.strictEqual(yield* Effect.map(Effect.flip(zk.getChildren(prefix)), ({ _tag }) => _tag), "NoAuth")
          assert.strictEqual(yield* reasonOf(start(as("other"))), "Forbidden")
          assert.strictEqual(yield* reasonOf(start({ prefix })), "Forbidden")
          const same = yield* start({ ...as("api"), node: "b" })
          assert.strictEqual((yield* groupIn(same).list).size, 1)
        })
      )

      it.effect("refuses a prefix below an ephemeral node, and joins in a chroot that is not there yet", () =>
        Effect.gen(function* () {
          const { members } = yield* Server
          const prefix = freshPrefix()
          const zk = yield* admin
          yield* zk.create(prefix, { mode: "ephemeral" })
          const context = yield* start({ prefix: `${prefix}/below` })
          assert.strictEqual(
            yield* Effect.map(Effect.flip(groupIn(context).join({ value: "" })), (error) =>
              error._tag === "CoordinatorError" ? error.reason._tag : error._tag
            ),
            "InvalidOptions"
          )
          const chroot = freshPrefix()
          const inside = yield* start({
            endpoints: `${addressOf(members[0])}${chroot}/deep`,
            prefix: "/app",
            node: "a"
          })
          yield* groupIn(inside).join({ value: "" })
          assert.deepStrictEqual((yield* namesIn(zk, `${chroot}/deep/app/election/group`)).map(idOf), ["a"])
        })
      )

      it.effect("says what answers that is not ZooKeeper, and what does not answer", () =>
        Effect.gen(function* () {
          const web = yield* Effect.acquireRelease(
            Effect.callback<number>((resume) => {
              const server = createServer((_, response) => response.end("hello"))
              // A web server answers what it cannot read with a page that says so.
              server.listen(0, "127.0.0.1", () => {
                const address = server.address()
                resume(Effect.succeed(typeof address === "object" && address !== null ? address.port : 0))
              })
              return Effect.sync(() => server.close())
            }),
            () => Effect.void
          )
          const quick = { connectTimeout: "3 seconds" } as const
          assert.strictEqual(yield* reasonOf(start({ ...quick, endpoints: `127.0.0.1:${web}` })), "NotThisServer")
          const closed = yield* Effect.flip(start({ ...quick, endpoints: "127.0.0.1:1" }))
          assert.strictEqual(closed.reason._tag, "Unreachable")
          assert.match(closed.message, /127\.0\.0\.1:1.*ECONNREFUSED/)
        })
      )

      it.effect("finds a creation whose answer was cut off by its guid, and makes no second", () =>
        Effect.gen(function* () {
          const { members } = yield* Server
          const prefix = freshPrefix()
          const zk = yield* admin
          yield* makePath(zk, `${prefix}/election/group`)
          const proxy = yield* Proxy.make({ upstream: members[0] })
          const context = yield* start({ prefix, node: "a", endpoints: proxy.address })
          yield* proxy.silence("down")
          const joining = yield* Effect.forkScoped(groupIn(context).join({ value: "once" }), { startImmediately: true })
          yield* eventually(namesIn(zk, `${prefix}/election/group`), ({ length }) => length === 1)
          // The answer is in the network, and stays there.
          yield* Effect.andThen(proxy.cut, proxy.heal)
          const membership = yield* Fiber.join(joining)
          const names = yield* namesIn(zk, `${prefix}/election/group`)
          assert.lengthOf(names, 1)
          const { stat } = yield* zk.getData(`${prefix}/election/group/${names[0]}`)
          assert.strictEqual(stat.czxid, yield* membership.ensure)
          assert.strictEqual(stat.version, 0)
        })
      )

      it.effect("knows at once what became of a creation whose answer was lost", () =>
        Effect.gen(function* () {
          const { members } = yield* Server
          const prefix = freshPrefix()
          const zk = yield* admin
          const path = `${prefix}/election/group`
          yield* makePath(zk, path)
          const weather = Weather.make()
          const { group, open } = yield* Store.make(
            ({ ttlMillis: timeoutMillis, ...rest }) =>
              Effect.map(Client.make({ ...rest, timeoutMillis, transport: tcp }), (client) =>
                weather.over(client, prefix)
              ),
            { endpoint: "", prefix, layout: "ensemble", acl: P.openAcl, requestMillis: 2_000, endpoints: members }
          )
          const { id: session } = yield* open(6_000)
          const election = group({ kind: "election", name: "group" })
          weather.lostWrites.push("applied")
          const created = yield* election.create(session, "a", "1")
          const [name = ""] = yield* namesIn(zk, path)
          const { stat } = yield* zk.getData(`${path}/${name}`)
          assert.deepStrictEqual(created, { _tag: "Created", token: stat.czxid, version: 0n, isFirst: true })
          weather.lostWrites.push("not-applied")
          assert.strictEqual(yield* reasonOf(election.create(session, "b", "1")), "OutcomeUnknown")
          assert.deepStrictEqual((yield* namesIn(zk, path)).map(idOf), ["a"])
          assert.deepStrictEqual(yield* election.create("0x1", "c", "1"), { _tag: "SessionGone" })
        })
      )

      it.effect("takes back a node behind another's that nobody answers for", () =>
        Effect.gen(function* () {
          const { members } = yield* Server
          const prefix = freshPrefix()
          const zk = yield* admin
          const path = `${prefix}/election/group`
          yield* makePath(zk, path)
          const held = yield* zk.create(`${path}/same`, { data: Utf8.encode("operator") })
          const proxy = yield* Proxy.make({ upstream: members[0] })
          const context = yield* start({ prefix, node: "a", endpoints: proxy.address })
          const scope = yield* Scope.make()
          yield* proxy.silence("down")
          const joining = yield* Effect.forkScoped(
            groupIn(context).join({ id: "same", value: "ghost" }).pipe(Scope.provide(scope)),
            { startImmediately: true }
          )
          yield* eventually(namesIn(zk, path), ({ length }) => length === 2)
          yield* Effect.forkScoped(
            Effect.andThen(
              Effect.sync(() => joining.interruptUnsafe()),
              Effect.void
            )
          )
          yield* Effect.andThen(proxy.cut, proxy.heal)
          yield* eventually(namesIn(zk, path), ({ length }) => length === 1)
          assert.strictEqual((yield* zk.exists(held.path)).stat?.czxid, held.stat?.czxid)
          // The session that made it has lived on.
          yield* groupIn(context).join({ id: "other", value: "" })
        })
      )

      it.effect("shows the group as it was at each revision, whatever happens to it", () =>
        Effect.gen(function* () {
          const prefix = freshPrefix()
          const zk = yield* admin
          const path = `${prefix}/election/group`
          yield* makePath(zk, path)
          const context = yield* start({ prefix, node: "reader" })
          const views: Array<{ readonly revision: bigint; readonly content: string }> = []
          yield* groupIn(context).watch.pipe(
            Stream.filter((view) => view.freshness._tag === "Fresh"),
            Stream.runForEach((view) =>
              Effect.sync(() => {
                const content = view.members
                  .map(({ id, value }) => `${id}=${value}`)
                  .sort()
                  .join()
                views.push({ revision: view.revision, content })
              })
            ),
            Effect.forkScoped({ startImmediately: true })
          )
          yield* eventually(
            Effect.sync(() => views.length),
            (length) => length > 0
          )
          // What the store was at each of its transactions.
          const history: Array<{ readonly zxid: bigint; readonly content: string }> = [{ zxid: 0n, content: "" }]
          const now = new Map<string, string>()
          const contentSeen = Effect.sync(() => views.at(-1)?.content)
          const did = (zxid: bigint) =>
            history.push({
              zxid,
              content: Array.from(now, ([id, value]) => `${id}=${value}`)
                .sort()
                .join()
            })
          for (let round = 0; round < 60; round++) {
            const paths: Array<string> = []
            for (const id of ["x", "y", "z"]) {
              const made = yield* zk.create(`${path}/_c_${"0".repeat(32)}-${id}-`, {
                mode: "ephemeralSequential",
                data: Utf8.encode(String(round))
              })
              paths.push(made.path)
              now.set(id, String(round))
              did(made.zxid)
            }
            const changed = yield* zk.setData(paths[1] ?? "", Utf8.encode(`${round}b`))
            now.set("y", `${round}b`)
            did(changed.zxid)
            // Long enough for any server to be known exactly, so that views come between the bursts as well.
            if (round % 3 === 0) yield* eventually(contentSeen, (content) => content === history.at(-1)?.content)
            // All at once, as a session's end does it.
            const gone = yield* zk.multi(paths.map((one) => P.remove(one)))
            now.clear()
            did(gone.zxid)
          }
          // Something to end with: a view that differs in nothing but its revision is not told.
          const end = yield* zk.create(`${path}/end`)
          now.set("end", "")
          did(end.zxid)
          yield* eventually(contentSeen, (content) => content === "end=")
          for (const { content, revision } of views) {
            const then = history.findLast(({ zxid }) => zxid <= revision)
            assert.strictEqual(content, then?.content, `at ${revision}`)
          }
          assert.isAtLeast(views.length, 20)
        })
      )

      it.effect("shows a group that never stands still as it is known, and exactly again when it does", () =>
        Effect.gen(function* () {
          const { members } = yield* Server
          const prefix = freshPrefix()
          const zk = yield* admin
          const path = `${prefix}/election/group`
          yield* makePath(zk, path)
          for (const id of ["still", "busy"]) yield* zk.create(`${path}/${id}`, { data: Utf8.encode("0") })
          const proxy = yield* Proxy.make({ upstream: members[0] })
          const context = yield* start({ prefix, node: "reader", endpoints: proxy.address })
          const views: Array<{ readonly fresh: boolean; readonly size: number; readonly value: number }> = []
          yield* groupIn(context).watch.pipe(
            Stream.runForEach((view) =>
              Effect.sync(() => {
                const busy = Option.getOrUndefined(view.get("busy"))
                views.push({ fresh: view.freshness._tag === "Fresh", size: view.size, value: Number(busy?.value) })
              })
            ),
            Effect.forkScoped({ startImmediately: true })
          )
          yield* eventually(
            Effect.sync(() => views.length),
            (length) => length === 1
          )
          // Every read takes longer than the next change.
          yield* proxy.delay(100)
          let value = 0
          const change = Effect.suspend(() => zk.setData(`${path}/busy`, Utf8.encode(String(++value))))
          const unsettled = () => views.filter(({ fresh }) => !fresh)
          const churning = yield* Effect.forkScoped(Effect.forever(Effect.delay(change, "5 millis")))
          yield* eventually(
            Effect.sync(() => unsettled().length),
            (length) => length >= 3
          )
          yield* Fiber.interrupt(churning)
          yield* eventually(
            Effect.sync(() => views.at(-1)),
            (last) => last?.fresh === true && last.value === value
          )
          const shown = unsettled().map((view) => view.value)
          assert.isAbove(shown.at(-1) ?? 0, shown[0] ?? 0)
          assert.deepStrictEqual(
            views.map((view) => view.value),
            views.map((view) => view.value).sort((a, b) => a - b)
          )
          assert.isTrue(views.every(({ size }) => size === 2))
        })
      )

      it.effect("has the session's name as its owner, as zkCli shows it", () =>
        Effect.gen(function* () {
          const prefix = freshPrefix()
          const zk = yield* admin
          const context = yield* start({ prefix, node: "a" })
          yield* Lock.withLock(Lock.make("l"))(
            Effect.gen(function* () {
              const [name = ""] = yield* namesIn(zk, `${prefix}/lock/l`)
              const { stat } = yield* zk.getData(`${prefix}/lock/l/${name}`)
              const session = yield* Context.get(context, Coordinator.Coordinator).session.pipe(Stream.runHead)
              const id = Option.isSome(session) && session.value._tag === "Connected" ? session.value.lease.id : ""
              assert.strictEqual(sessionName(stat.ephemeralOwner), id)
            })
          ).pipe(Effect.provideContext(context))
          assert.deepStrictEqual(yield* namesIn(zk, `${prefix}/lock/l`), [])
        })
      )
    })
  })
})
