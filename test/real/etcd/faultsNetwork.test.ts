import { assert, describe, layer } from "@effect/vitest"
import type { Scope } from "effect"
import { Context, Effect, Layer } from "effect"
import type * as Proxy from "../../faults/proxy.ts"
import * as Servers from "../../servers/etcd.ts"
import type { NodeOptions, World } from "./kit.ts"
import { eventually, makeWorld, recovered, silent, stage } from "./kit.ts"

class Server extends Context.Service<Server, Servers.Etcd>()("test/Server") {}

const world = Effect.flatMap(Server, makeWorld)

/** The fault lasts until the other one leads. */
const outlasting = (
  strike: (proxy: Proxy.Proxy) => Effect.Effect<void>,
  meanwhile: (world: World) => Effect.Effect<void, Servers.GatewayError, Server> = () => Effect.void,
  options: NodeOptions = {}
) =>
  Effect.gen(function* () {
    const here = yield* world
    const struckNode = yield* here.node("struck", options)
    const staged = yield* stage(here, { struck: struckNode, other: yield* here.node("other") })
    const { churn, registered, second, struck } = staged
    yield* strike(struck.proxy)
    yield* Effect.forkScoped(registered.set(1), { startImmediately: true })
    yield* churn
    yield* meanwhile(here)
    yield* eventually(
      "the other leads",
      Effect.sync(() => second.tenures() === 1)
    )
    yield* struck.proxy.heal
    yield* recovered(here, staged)
  }).pipe(Effect.scoped, Effect.provide(silent))

/** The fault is over before anybody's lease is: the leader stays the leader. */
const passing = (strike: (proxy: Proxy.Proxy) => Effect.Effect<void, never, Scope.Scope>) =>
  Effect.gen(function* () {
    const here = yield* world
    const staged = yield* stage(here)
    const { churn, first, registered, second, struck } = staged
    yield* strike(struck.proxy)
    yield* Effect.forkScoped(registered.set(1), { startImmediately: true })
    yield* churn
    yield* recovered(here, staged)
    assert.deepStrictEqual([first.tenures(), second.tenures()], [1, 0])
  }).pipe(Effect.scoped, Effect.provide(silent))

layer(Layer.effect(Server, Servers.single()), { excludeTestServices: true })("a network that fails", (it) => {
  describe.concurrent("for longer than the lease: one leader at a time, registrations back, nothing missed", () => {
    it.effect("black hole", () => outlasting((proxy) => proxy.blackhole))
    it.effect("black hole, with a compaction during it", () =>
      outlasting(
        (proxy) => proxy.blackhole,
        ({ chronicle }) =>
          Effect.gen(function* () {
            const { gateway } = yield* Server
            yield* gateway.compact(yield* chronicle.caughtUp)
          })
      )
    )
    it.effect("connections refused", () => outlasting((proxy) => proxy.refuse))
    it.effect("requests lost", () => outlasting((proxy) => proxy.silence("up")))
    it.effect("answers lost", () => outlasting((proxy) => proxy.silence("down")))
    it.effect("late answers, then none", () =>
      outlasting(
        (proxy) =>
          Effect.gen(function* () {
            // One renewal reaches the store in this time. Its answer comes two seconds later, just before the session is lost:
            // whoever counted from the answer would go on for longer than the store does.
            yield* proxy.delay(2_050, "down")
            yield* Effect.sleep("1900 millis")
            yield* proxy.silence("up")
          }),
        () => Effect.void,
        { requestTimeout: "3 seconds" }
      )
    )
  })

  describe.concurrent("and is back before the lease ends: the leader stays, nothing is missed", () => {
    it.effect("cut", () => passing((proxy) => proxy.cut))
    it.effect("cut in the middle of a frame", () => passing((proxy) => proxy.cutMidFrame(5)))
    it.effect("half-open", () => passing((proxy) => proxy.halfOpen))
    it.effect("slow", () => passing((proxy) => proxy.delay(150)))
    it.effect("black hole", () =>
      passing((proxy) =>
        Effect.gen(function* () {
          yield* proxy.blackhole
          yield* Effect.forkScoped(Effect.andThen(Effect.sleep("2 seconds"), proxy.heal))
        })
      )
    )
  })
})
