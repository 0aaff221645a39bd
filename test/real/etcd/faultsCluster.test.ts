import { assert, layer } from "@effect/vitest"
import { Context, Effect, Fiber, Layer, Scope } from "effect"
import * as Proxy from "../../faults/proxy.ts"
import * as Servers from "../../servers/etcd.ts"
import type { World } from "./kit.ts"
import { eventually, lost, makeWorld, recovered, silent, stage } from "./kit.ts"

class Cluster extends Context.Service<Cluster, Servers.Cluster>()("test/Cluster") {}

/** A node that knows all members, each behind a proxy of its own, and the member that it has chosen. */
const everywhere = Effect.fnUntraced(function* (world: World, name: string, members: ReadonlyArray<Servers.Member>) {
  const proxies = yield* Effect.forEach(members, (member) => Proxy.make({ upstream: member }))
  const node = yield* world.node(name, { endpoints: proxies.map(({ url }) => url) })
  const chosen = Effect.gen(function* () {
    const counters = yield* Effect.forEach(proxies, (proxy) => proxy.counters)
    return members.filter((_, index) => (counters[index]?.open ?? 0) > 0).map(({ name }) => name)
  })
  return { node, chosen }
})

/** Which member a node takes is chance; it takes the wanted one sooner or later. */
const at = Effect.fnUntraced(function* (
  world: World,
  name: string,
  members: ReadonlyArray<Servers.Member>,
  wanted: Servers.Member
) {
  const outer = yield* Effect.scope
  while (true) {
    const scope = yield* Scope.fork(outer)
    const made = yield* everywhere(world, name, members).pipe(Scope.provide(scope))
    const chosen = yield* made.chosen
    if (chosen.length === 1 && chosen[0] === wanted.name) return made
    yield* made.node.close
    yield* Scope.close(scope, yield* Effect.exit(Effect.void))
  }
})

layer(Layer.effect(Cluster, Servers.cluster(3)), { excludeTestServices: true })("a cluster of three", (it) => {
  it.effect("a follower cut from the quorum: who knows the others moves there and keeps its lease", () =>
    Effect.gen(function* () {
      const cluster = yield* Cluster
      const leader = yield* cluster.leader
      const [follower, third] = yield* cluster.followers
      assert.isDefined(follower)
      assert.isDefined(third)
      if (follower === undefined || third === undefined) return
      const world = yield* makeWorld({ ...cluster, gateway: leader.gateway })
      const { chosen, node: struck } = yield* at(world, "struck", cluster.members, follower)
      const other = yield* world.node("other", { member: leader })
      const staged = yield* stage(world, { struck, other })
      yield* cluster.isolate(follower)
      yield* Effect.forkScoped(staged.registered.set(1), { startImmediately: true })
      yield* staged.churn
      yield* recovered(world, staged)
      const now = yield* chosen
      assert.isFalse(now.includes(follower.name))
      assert.deepStrictEqual([staged.first.tenures(), staged.second.tenures()], [1, 0])
      yield* cluster.heal
    }).pipe(Effect.scoped, Effect.provide(silent))
  )

  it.effect("a follower cut from the quorum: who knows only that one stops in time, and is back when it heals", () =>
    Effect.gen(function* () {
      const cluster = yield* Cluster
      const leader = yield* cluster.leader
      const [follower] = yield* cluster.followers
      if (follower === undefined) return assert.fail("no follower")
      const world = yield* makeWorld({ ...cluster, gateway: leader.gateway })
      const struck = yield* world.node("struck", { member: follower })
      const other = yield* world.node("other", { member: leader })
      const staged = yield* stage(world, { struck, other })
      const over = yield* Effect.forkChild(lost(struck), { startImmediately: true })
      yield* cluster.isolate(follower)
      yield* Effect.forkScoped(staged.registered.set(1), { startImmediately: true })
      yield* staged.churn
      yield* Fiber.join(over)
      yield* eventually(
        "the other leads",
        Effect.sync(() => staged.second.tenures() === 1)
      )
      yield* cluster.heal
      yield* recovered(world, staged)
    }).pipe(Effect.scoped, Effect.provide(silent))
  )

  it.effect("the leader killed: everybody moves, and nothing is missed", () =>
    Effect.gen(function* () {
      const cluster = yield* Cluster
      const leader = yield* cluster.leader
      const [follower] = yield* cluster.followers
      if (follower === undefined) return assert.fail("no follower")
      const world = yield* makeWorld({ ...cluster, gateway: follower.gateway })
      const { node: struck } = yield* at(world, "struck", cluster.members, leader)
      const other = yield* world.node("other", { member: follower })
      const staged = yield* stage(world, { struck, other })
      yield* leader.kill
      yield* Effect.forkScoped(staged.registered.set(1), { startImmediately: true })
      yield* staged.churn
      yield* recovered(world, staged)
      yield* leader.start
    }).pipe(Effect.scoped, Effect.provide(silent))
  )
})
