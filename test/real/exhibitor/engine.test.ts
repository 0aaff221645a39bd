import { assert, describe, layer } from "@effect/vitest"
import { Context, Effect, Fiber, Layer, Redacted, Schedule, Stream } from "effect"
import { Coordinator, Election } from "effect-ensemble"
import type { CoordinatorError } from "effect-ensemble"
import { Exhibitor } from "effect-ensemble/exhibitor"
import { Conformance } from "effect-ensemble/testing"
import { ZooKeeper } from "effect-ensemble/zookeeper"
import { idOf } from "../../../src/engines/zookeeper/nodes.ts"
import { admin, connections, ensemble, eventually, exhibitor, inUse, start, statesOf, ttlMillis } from "./harness.ts"
import type { Ensemble, FakeExhibitor, Named } from "./harness.ts"

class Store extends Context.Service<Store, Ensemble>()("test/Store") {}

let prefixes = 0
const freshPrefix = () => `/exhibitor-${++prefixes}`

const coordinatorOf = (context: Context.Context<Coordinator.Coordinator>) =>
  Context.get(context, Coordinator.Coordinator)

/** A process with a member, and one that looks on and is told to connect elsewhere. */
const living = Effect.fnUntraced(function* (exhibitors: ReadonlyArray<FakeExhibitor>, prefix: string) {
  const context = yield* start(exhibitors, { prefix, node: "a" })
  const coordinator = coordinatorOf(context)
  const tags = yield* statesOf(coordinator)
  const membership = yield* coordinator.group({ kind: "sequence", name: "group" }).join({ value: "0" })
  const token = yield* membership.ensure
  return { context, coordinator, tags, membership, token }
})

const reasonOf = (error: CoordinatorError.CoordinatorError) => {
  const cause = "cause" in error.reason ? error.reason.cause : undefined
  const is = cause instanceof Exhibitor.BadAnswer || cause instanceof Exhibitor.EmptyList ? ` ${cause._tag}` : ""
  return `${error.engine} ${error.reason._tag}${is}`
}

layer(Layer.effect(Store, ensemble), { excludeTestServices: true })("the Exhibitor engine", (it) => {
  it.effect("grows, shrinks and moves with the ensemble, and a member and a leader keep their places", () =>
    Effect.gen(function* () {
      const store = yield* Store
      const [one, two, three] = store.servers
      const prefix = freshPrefix()
      const fake = yield* exhibitor
      fake.lists([one], store.port)
      const { context, coordinator, membership, tags, token } = yield* living([fake], prefix)
      const tenure = yield* Election.campaign(Election.make("leader")).pipe(Effect.provideContext(context))
      const term = yield* tenure.ensure
      const zk = yield* admin(store)
      yield* zk.create(`${prefix}-own`)
      const seen: Array<string> = []
      yield* coordinator.group({ kind: "sequence", name: "group" }).changes.pipe(
        Stream.runForEach(({ _tag, member }) => Effect.sync(() => void seen.push(`${_tag} ${member.value}`))),
        Effect.forkScoped({ startImmediately: true })
      )
      const owner = () => Effect.map(zk.getChildren(`${prefix}/sequence/group`), ({ children }) => children.join())
      const node = yield* owner()

      const steps: ReadonlyArray<readonly [string, ReadonlyArray<Named>]> = [
        ["grows", [three, one, two]],
        ["loses the one that is used", [two, three]],
        ["shrinks", [three]],
        ["moves", [one, two]],
        ["moves back", [three]]
      ]
      for (const [index, [step, servers]] of steps.entries()) {
        const before = inUse(store.servers)
        const accepted = connections(store.servers)
        fake.lists(servers, store.port)
        const names = servers.map(({ name }) => name)
        const stays = before.every((name) => names.includes(name))
        yield* fake.askedAgain(3)
        yield* eventually(
          `${step}: connected to one of ${names.join()}`,
          () => inUse(store.servers),
          (used) => used.length === 1 && names.includes(used[0] ?? "")
        )
        if (stays) assert.strictEqual(connections(store.servers), accepted, `${step}: nobody had to move`)
        // It works there, under the same session: the same nodes, the same tokens, and the store itself agrees.
        yield* membership.set(String(index + 1))
        yield* eventually(
          `${step}: the change is seen`,
          () => seen.at(-1),
          (last) => last === `Updated ${index + 1}`
        )
        assert.strictEqual(yield* membership.ensure, token, step)
        assert.strictEqual(yield* tenure.ensure, term, step)
        yield* Effect.provideContext(
          ZooKeeper.guarded(tenure, [ZooKeeper.create(`${prefix}-own/${index}`, "")]),
          context
        )
        assert.strictEqual(yield* owner(), node, step)
      }
      assert.notInclude(tags, "Lost")
      assert.deepStrictEqual(
        seen,
        ["Joined 0", ...steps.map((_, index) => `Updated ${index + 1}`)],
        "nobody saw anybody come or go"
      )
    })
  )

  it.effect("does not notice that a server dies which was taken from the list before", () =>
    Effect.gen(function* () {
      const store = yield* Store
      const fake = yield* exhibitor
      const followers = yield* store.cluster.followers
      const dying = store.servers.find(({ member }) => followers.includes(member)) ?? store.servers[0]
      const others = store.servers.filter((one) => one !== dying)
      fake.lists([dying], store.port)
      const { membership, tags, token } = yield* living([fake], freshPrefix())
      assert.deepStrictEqual(inUse(store.servers), [dying.name])
      fake.lists(others, store.port)
      yield* eventually(
        "left",
        () => inUse(store.servers),
        (used) => used.length === 1 && used[0] !== dying.name
      )
      const accepted = connections(store.servers)
      yield* dying.member.kill
      yield* fake.askedAgain(5)
      yield* membership.set("alive")
      assert.strictEqual(yield* membership.ensure, token)
      assert.strictEqual(connections(store.servers), accepted)
      assert.notInclude(tags, "Lost")
      yield* dying.member.start
    })
  )

  it.effect("goes on when all Exhibitors are down, and follows the list when they are back", () =>
    Effect.gen(function* () {
      const store = yield* Store
      const [one, two] = store.servers
      const fakes = [yield* exhibitor, yield* exhibitor] as const
      for (const fake of fakes) fake.lists([one], store.port)
      const { membership, tags, token } = yield* living(fakes, freshPrefix())
      const accepted = connections(store.servers)
      yield* Effect.forEach(fakes, ({ down }) => down, { discard: true })
      // The one who knows, and the one who does not know anything yet.
      const late = yield* Effect.forkScoped(start(fakes, { prefix: freshPrefix(), connectTimeout: "30 seconds" }), {
        startImmediately: true
      })
      const background = yield* start(fakes, { prefix: freshPrefix(), connect: "background", node: "b" })
      const states = yield* statesOf(coordinatorOf(background))
      // So long that a session without renewals would be over.
      yield* Effect.forEach(Array.from({ length: 12 }), (_, index) => membership.set(String(index)), {
        discard: true
      }).pipe(Effect.repeat(Schedule.max([Schedule.spaced("500 millis"), Schedule.recurs(12)])))
      assert.strictEqual(connections(store.servers), accepted)
      assert.deepStrictEqual(new Set(states), new Set(["Connecting"]))
      assert.isUndefined(late.pollUnsafe())

      for (const fake of fakes) fake.lists([two], store.port)
      yield* Effect.forEach(fakes, ({ up }) => up, { discard: true })
      yield* eventually(
        "moved",
        () => inUse(store.servers),
        (used) => used.join() === two.name
      )
      yield* Fiber.join(late)
      yield* eventually(
        "connected",
        () => states.at(-1),
        (state) => state === "Connected"
      )
      yield* membership.set("moved")
      assert.strictEqual(yield* membership.ensure, token)
      assert.notInclude(tags, "Lost")
    })
  )

  it.effect("keeps its servers through every kind of bad answer", () =>
    Effect.gen(function* () {
      const store = yield* Store
      const [one, two] = store.servers
      const fake = yield* exhibitor
      fake.lists([one], store.port)
      const { membership, tags, token } = yield* living([fake], freshPrefix())
      const accepted = connections(store.servers)
      const good = JSON.stringify({ servers: [two.name], port: store.port })
      for (const [status, body] of [
        [200, ""],
        [200, "<html>"],
        [200, good.slice(0, -4)],
        [200, `{"servers":[],"port":${store.port}}`],
        [200, `{"servers":["${two.name}",null],"port":${store.port}}`],
        [200, `{"servers":["${two.name}"],"port":0}`],
        [200, `{"servers":["${two.name}"]}`],
        [200, "x".repeat(1 << 20)],
        [401, good],
        [404, good],
        [500, good]
      ] as const) {
        fake.says(status, body)
        yield* fake.askedAgain()
        yield* membership.set(String(status))
        assert.strictEqual(connections(store.servers), accepted, `${status} ${body.slice(0, 50)}`)
      }
      fake.says(200, good)
      yield* eventually(
        "moved",
        () => inUse(store.servers),
        (used) => used.join() === two.name
      )
      yield* membership.set("moved")
      assert.strictEqual(yield* membership.ensure, token)
      assert.notInclude(tags, "Lost")
    })
  )

  it.effect("starts with the back-up, below the chroot, and goes where the list says once there is one", () =>
    Effect.gen(function* () {
      const store = yield* Store
      const [one, two] = store.servers
      const fake = yield* exhibitor
      yield* fake.down
      const chroot = freshPrefix()
      const context = yield* start([fake], { chroot, prefix: "/app", backup: `${one.name}:${store.port}`, node: "a" })
      const membership = yield* coordinatorOf(context).group({ kind: "election", name: "group" }).join({ value: "" })
      const token = yield* membership.ensure
      assert.deepStrictEqual(inUse(store.servers), [one.name])
      fake.lists([two], store.port)
      yield* fake.up
      yield* eventually(
        "moved",
        () => inUse(store.servers),
        (used) => used.join() === two.name
      )
      yield* membership.set("moved")
      assert.strictEqual(yield* membership.ensure, token)
      const zk = yield* admin(store)
      const { children } = yield* zk.getChildren(`${chroot}/app/election/group`)
      assert.deepStrictEqual(children.map(idOf), ["a"])
    })
  )

  it.effect("says at the start why there are no servers", () =>
    Effect.gen(function* () {
      const store = yield* Store
      const fake = yield* exhibitor
      const failure = (options: Exhibitor.Options = {}) =>
        Effect.map(
          Effect.flip(start([fake], { prefix: freshPrefix(), connectTimeout: "2 seconds", ...options })),
          reasonOf
        )
      fake.says(200, "<html>It works!</html>")
      assert.strictEqual(yield* failure(), "exhibitor NotThisServer BadAnswer")
      fake.lists([], store.port)
      assert.strictEqual(yield* failure(), "exhibitor Unreachable EmptyList")
      fake.lists(store.servers, store.port)
      assert.strictEqual(yield* failure({ path: "/list" }), "exhibitor NotThisServer BadAnswer")
      fake.wants("reader:secret")
      assert.strictEqual(yield* failure(), "exhibitor Unauthenticated")
      const basicAuth = { username: "reader", password: Redacted.make("secret") }
      yield* Effect.scoped(start([fake], { prefix: freshPrefix(), basicAuth }))
      // A good list of servers that are none.
      fake.lists([{ name: "127.0.0.9" } as Named], 1)
      assert.strictEqual(yield* failure({ basicAuth }), "zookeeper Unreachable")
      yield* fake.down
      assert.strictEqual(yield* failure({ basicAuth }), "exhibitor Unreachable")
    })
  )

  /** One of each contract; all of them run on ZooKeeper's own layer, which is the same but for who names the servers. */
  const selected = [
    "is in the store while its scope is open, and gone after",
    "a live foreign holder is a conflict when asked to fail, naming it",
    "emits the present view first, then later ones",
    "is granted in the order of joining",
    "an observer sees nobody, who leads, and who leads next",
    "one at a time, all in the end, nothing left",
    "opens for all when enough are present and every one is ready",
    "exclusive seats move up when one goes: it leaves"
  ]

  const makeHarness = Effect.gen(function* () {
    const store = yield* Store
    const [one, two, three] = store.servers
    const prefix = freshPrefix()
    const fake = yield* exhibitor
    const zk = yield* admin(store)
    fake.lists([one], store.port)
    yield* Effect.forkScoped(
      Effect.forever(
        Effect.forEach(
          [[two], [two, three], [three, one], [one]],
          (servers) =>
            Effect.andThen(
              Effect.sleep("300 millis"),
              Effect.sync(() => fake.lists(servers, store.port))
            ),
          { discard: true }
        )
      )
    )
    const childrenOf = (path: string) =>
      Effect.orElseSucceed(
        Effect.map(zk.getChildren(path), ({ children }) => children),
        (): ReadonlyArray<string> => []
      )
    const harness: Conformance.Harness = {
      ttlMillis,
      process: (node, options) =>
        Effect.map(start([fake], { ...options, prefix, node }), (context) => ({
          coordinator: coordinatorOf(context),
          run: (effect) => Effect.provideService(effect, Coordinator.Coordinator, coordinatorOf(context))
        })),
      advance: (time) => Effect.sleep(Math.max(20, time)),
      faults: {},
      truth: Effect.gen(function* () {
        const members: Array<string> = []
        for (const kind of yield* childrenOf(prefix)) {
          for (const group of yield* childrenOf(`${prefix}/${kind}`)) {
            const names = yield* childrenOf(`${prefix}/${kind}/${group}`)
            members.push(...names.map((name) => `${kind}/${group}/${idOf(name)}`))
          }
        }
        return { members, watches: 0 }
      })
    }
    return harness
  })

  const cases = Conformance.suite(makeHarness, []).filter(({ name }) => selected.includes(name))

  describe.concurrent("keeps the contract while the ensemble moves all the time", () => {
    it.effect("in as many cases as were chosen", () => Effect.sync(() => assert.lengthOf(cases, selected.length)))
    for (const { contract, name, run } of cases) it.effect(`${contract}: ${name}`, () => run)
  })
})
