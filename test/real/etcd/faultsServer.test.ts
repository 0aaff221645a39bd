import { assert, describe, it } from "@effect/vitest"
import type { Scope } from "effect"
import { Effect, Fiber, Logger } from "effect"
import * as Servers from "../../servers/etcd.ts"
import type { World } from "./kit.ts"
import { Api, eventually, lost, makeWorld, recovered, silent, stage, suspended } from "./kit.ts"

/** A server of its own, which is struck under two that campaign. */
const onServer = (
  strike: (at: {
    readonly etcd: Servers.Etcd
    readonly world: World
    readonly staged: Effect.Success<ReturnType<typeof stage>>
  }) => Effect.Effect<void, Servers.ServerError | Servers.GatewayError, Scope.Scope>
) =>
  Effect.gen(function* () {
    const etcd = yield* Servers.single()
    const world = yield* makeWorld(etcd)
    const staged = yield* stage(world)
    yield* strike({ etcd, world, staged })
    yield* recovered(world, staged)
  }).pipe(Effect.scoped, Effect.provide(silent))

const setting = (staged: Effect.Success<ReturnType<typeof stage>>) =>
  Effect.forkScoped(staged.registered.set(1), { startImmediately: true })

/** Until both know that nothing holds any more. */
const bothLose = ({ other, struck }: Effect.Success<ReturnType<typeof stage>>) =>
  Effect.all([lost(struck), lost(other)], { concurrency: "unbounded", discard: true })

describe.concurrent("an old server (3.4), whose progress notifications cannot be trusted", () => {
  it.live("warns once, and nothing is missed after a cut and across a compaction", () => {
    const warnings: Array<string> = []
    const logger = Logger.make(({ logLevel, message }) => {
      if (logLevel === "Warn") warnings.push(String(message))
    })
    return Effect.gen(function* () {
      const etcd = yield* Servers.single({ version: "old" })
      const world = yield* makeWorld(etcd)
      const staged = yield* stage(world)
      const { struck } = staged
      yield* struck.proxy.cut
      yield* staged.churn
      yield* world.converged(staged.shown)
      const over = yield* Effect.forkChild(lost(struck), { startImmediately: true })
      yield* struck.proxy.blackhole
      yield* setting(staged)
      yield* etcd.gateway.compact(yield* world.chronicle.caughtUp)
      yield* Fiber.join(over)
      yield* eventually(
        "the other leads",
        Effect.sync(() => staged.second.tenures() === 1)
      )
      yield* struck.proxy.heal
      yield* recovered(world, staged)
      const told = warnings.filter((warning) => warning.includes("may send progress notifications too early or never"))
      // Once for each of the two engines.
      assert.lengthOf(told, 2)
    }).pipe(Effect.scoped, Effect.provide(Logger.layer([logger])))
  })
})

describe.concurrent("a server that fails", () => {
  it.live("killed and started again at once: nothing is missed", () =>
    onServer(({ etcd, staged }) =>
      Effect.gen(function* () {
        const [member] = etcd.members
        yield* member.kill
        yield* setting(staged)
        yield* member.start
        yield* staged.churn
      })
    )
  )

  it.live("killed for longer than the lease: who led stops in time, and everybody is back", () =>
    onServer(({ etcd, staged }) =>
      Effect.gen(function* () {
        const [member] = etcd.members
        const over = yield* Effect.forkChild(bothLose(staged), { startImmediately: true })
        yield* member.kill
        yield* setting(staged)
        yield* Fiber.join(over)
        yield* member.start
        yield* staged.churn
      })
    )
  )

  it.live("stopped for a moment: nothing is missed", () =>
    onServer(({ etcd, staged }) =>
      Effect.gen(function* () {
        const [member] = etcd.members
        const noticed = yield* Effect.forkChild(suspended(staged.struck), { startImmediately: true })
        yield* member.pause
        yield* setting(staged)
        yield* Fiber.join(noticed)
        yield* member.resume
        yield* staged.churn
      })
    )
  )

  it.live("stopped for longer than the lease: who led stops in time, and everybody is back", () =>
    onServer(({ etcd, staged }) =>
      Effect.gen(function* () {
        const [member] = etcd.members
        const over = yield* Effect.forkChild(bothLose(staged), { startImmediately: true })
        yield* member.pause
        yield* setting(staged)
        yield* Fiber.join(over)
        yield* member.resume
        yield* staged.churn
      })
    )
  )

  it.live("restored as another cluster: every session ends, everybody joins anew, watches follow", () =>
    onServer(({ etcd, staged, world }) =>
      Effect.gen(function* () {
        const backup = yield* Effect.orDie(etcd.backup)
        const over = yield* Effect.forkChild(bothLose(staged), { startImmediately: true })
        yield* setting(staged)
        yield* staged.churn
        yield* world.chronicle.restored(Effect.orDie(etcd.restore(backup, { newCluster: true })))
        yield* Fiber.join(over)
      })
    )
  )

  it.live("restored as the same cluster: every session ends, everybody joins anew, watches follow", () =>
    onServer(({ etcd, staged, world }) =>
      Effect.gen(function* () {
        const backup = yield* Effect.orDie(etcd.backup)
        const over = yield* Effect.forkChild(bothLose(staged), { startImmediately: true })
        yield* setting(staged)
        yield* staged.churn
        // Only a lower revision tells such a restore, so it must not be made up for before everybody has looked.
        const key = `${world.prefix}/${Api.group.kind}/${Api.group.name}/foreign`
        for (let n = 0; n < 400; n++) yield* etcd.gateway.put(key, `{"address":"f","port":${n + 1}}`)
        yield* world.converged(staged.shown)
        yield* world.chronicle.restored(Effect.orDie(etcd.restore(backup)))
        yield* Fiber.join(over)
      })
    )
  )

  it.live("restored, and grown past what a watch had seen before anybody looked again: it reads everything anew", () =>
    Effect.gen(function* () {
      const etcd = yield* Servers.single()
      const { gateway } = etcd
      const world = yield* makeWorld(etcd)
      const node = yield* world.node("reader")
      const shown = yield* world.watch(node)
      const put = (id: string) => gateway.put(`${world.prefix}/${Api.group.kind}/${Api.group.name}/${id}`, "{}")
      yield* put("old")
      const backup = yield* Effect.orDie(etcd.backup)
      for (const id of ["lost-1", "lost-2", "lost-3", "lost-4"]) yield* put(id)
      yield* world.converged(shown)
      yield* world.chronicle.restored(Effect.orDie(etcd.restore(backup)))
      yield* eventually(
        "both the chronicle and the node watch again",
        Effect.map(gateway.watchers, (count) => count >= 2)
      )
      for (let n = 0; n < 10; n++) yield* put(`new-${n}`)
      yield* world.converged(shown)
      yield* world.judge
    }).pipe(Effect.scoped, Effect.provide(silent))
  )
})
