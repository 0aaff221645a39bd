import { assert, describe, layer } from "@effect/vitest"
import type { Scope } from "effect"
import { Context, Effect, Exit, Fiber, Layer, Option, Schema, Stream } from "effect"
import type { Coordinator } from "effect-ensemble"
import { Barrier, Discovery, Election, Lock, Sequence } from "effect-ensemble"
import { Etcd } from "effect-ensemble/etcd"
import type { Proxy } from "../../faults/proxy.ts"
import * as Servers from "../../servers/etcd.ts"
import type { Node } from "./kit.ts"
import { Api, Chief, eventually, makeNode, silent } from "./kit.ts"

class Server extends Context.Service<Server, Servers.Etcd>()("test/Server") {}

/** A request's deadline is a third of the TTL. A call is one or two of them, or waits for what is lost at 0.8 of the TTL. */
const deadline = "10 seconds"

const Gate = Barrier.make("gate", { state: Schema.String, minimum: 2, isReady: (state) => state === "ready" })
const Key = Lock.make("key")

type Services = Coordinator.Coordinator | Etcd.Transactions | Scope.Scope

/** What is made while all is well, and the call that is made, or given up, once nothing is answered. */
type Case = (node: Node) => Effect.Effect<Effect.Effect<unknown, unknown, Services>, unknown, Services>

const register = (id: string) => Discovery.register(Api, { id, address: "127.0.0.1", port: 1, attributes: { n: "0" } })

/** Something that goes on, given up. */
const givenUp = <A, E, R>(going: Effect.Effect<A, E, R>) =>
  Effect.map(Effect.forkChild(going, { startImmediately: true }), Fiber.interrupt)

const isFailure = (exit: Exit.Exit<unknown, unknown>) => Exit.isFailure(exit)

const failing = <A, E, R>(call: Effect.Effect<A, E, R>) =>
  Effect.tap(Effect.exit(call), (exit) => Effect.sync(() => assert.isTrue(isFailure(exit), "it failed")))

const cases: Readonly<Record<string, Case>> = {
  list: () => Effect.succeed(failing(Discovery.list(Api))),
  "join, by registering": () => Effect.succeed(failing(register("late"))),
  set: () => Effect.map(register("early"), ({ set }) => failing(set({ n: "1" }))),
  "a campaign": () => Effect.succeed(failing(Election.campaign(Chief))),
  tryLock: () => Effect.succeed(failing(Lock.tryLock(Key, Effect.void))),
  guarded: () =>
    Effect.map(Election.campaign(Chief), (tenure) => failing(Etcd.guarded(tenure, [Etcd.put("/guarded", "x")]))),
  "a barrier's wait": () =>
    Effect.map(Barrier.announce(Gate, "ready"), (participant) =>
      failing(participant.arrive("ready", { timeout: "1 second" }))
    ),
  "awaitTurn, given up": () =>
    Effect.andThen(Election.campaign(Chief), givenUp(Election.campaign(Chief, { id: "second" }))),
  "a lock waited for, given up": () =>
    Effect.andThen(givenUp(Lock.withLock(Key, Effect.never)), givenUp(Lock.withLock(Key, Effect.never))),
  "a lead, given up": () => givenUp(Election.lead(Chief, Effect.never)),
  "a sequence, given up": () =>
    givenUp(Sequence.run(Sequence.make("workers"), () => Effect.never, { exclusive: true })),
  "a watch, given up": () => givenUp(Stream.runDrain(Discovery.watch(Api))),
  "a scope with thirty memberships, closed": () =>
    Effect.gen(function* () {
      const all = Effect.forEach(
        Array.from({ length: 30 }, (_, n) => `m${n}`),
        register,
        { concurrency: "unbounded" }
      )
      const held = yield* Effect.forkChild(Effect.scoped(Effect.andThen(all, Effect.never)))
      yield* Discovery.awaitInstances(Api, { minimum: 30 })
      return Fiber.interrupt(held)
    }),
  "the engine's layer, released": (node) => Effect.as(register("early"), node.close)
}

let prefixes = 0

const returns = (make: Case, strike: (proxy: Proxy) => Effect.Effect<void>) =>
  Effect.gen(function* () {
    const node = yield* makeNode(yield* Server, "one", { prefix: `/silence-${++prefixes}` })
    yield* Effect.gen(function* () {
      const call = yield* make(node)
      yield* strike(node.proxy)
      const returned = yield* Effect.timeoutOption(call, deadline)
      assert.isTrue(Option.isSome(returned), "it returned by its deadline")
      // What is left to the end of the scope must not take for ever either.
      yield* node.proxy.heal
    }).pipe(node.run)
  }).pipe(Effect.scoped, Effect.provide(silent))

layer(Layer.effect(Server, Servers.single()), { excludeTestServices: true })(
  "every call returns by its deadline",
  (it) => {
    for (const [fault, strike] of [
      ["a server that is silent", (proxy: Proxy) => proxy.blackhole],
      ["a server whose answers are lost", (proxy: Proxy) => proxy.silence("down")]
    ] as const) {
      describe.concurrent(`on ${fault}`, () => {
        for (const [name, make] of Object.entries(cases)) it.effect(name, () => returns(make, strike))
      })
    }

    it.effect("and an engine that is built on a silent server fails by its connect deadline", () =>
      Effect.gen(function* () {
        const { members } = yield* Server
        const [member] = members
        yield* member.pause
        const built = Layer.build(Etcd.layer({ endpoints: member.clientUrl, connectTimeout: "1 second" }))
        const exit = yield* Effect.timeoutOption(Effect.exit(Effect.scoped(built)), deadline)
        yield* member.resume
        assert.isTrue(Option.exists(exit, Exit.isFailure))
        yield* eventually("it serves again", Effect.as((yield* Server).gateway.revision, true))
      }).pipe(Effect.provide(silent))
    )
  }
)
