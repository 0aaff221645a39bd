/** Discovery: what is registered is found, comes back, and is gone when it ends. */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { Coordinator } from "../../Coordinator.ts"
import * as Discovery from "../../Discovery.ts"
import type { GroupView } from "../../Group.ts"
import {
  background,
  conform,
  eventually,
  expect,
  expectEqual,
  fault,
  forTtls,
  groupOf,
  holds,
  ids,
  latest
} from "./harness.ts"
import type { Case, TestProcess } from "./harness.ts"

const contract = "Discovery"

type Attributes = { readonly zone: string; readonly weight: number }

const Api = Discovery.make("api", {
  attributes: Schema.Struct({ zone: Schema.String, weight: Schema.FiniteFromString })
})

const instance = (port: number, weight = 1) => ({ address: "10.0.0.1", port, attributes: { zone: "a", weight } })

const shown = (view: GroupView<Discovery.Instance<Attributes>> | undefined) =>
  view?.members.map(({ id, value }) => `${id} ${value.address}:${value.port} ${value.attributes.weight}`).join()

const watched = (process: TestProcess) =>
  latest(Stream.provideService(Discovery.watch(Api), Coordinator, process.coordinator))

export const cases: ReadonlyArray<Case> = [
  conform(contract, "an instance is found by others with its attributes, and is gone after its scope", [], (harness) =>
    Effect.gen(function* () {
      const [server, client] = [yield* harness.process("server"), yield* harness.process("client")]
      const view = yield* watched(client)
      const scope = yield* Scope.make()
      const registration = yield* server.run(Discovery.register(Api, instance(8080, 3))).pipe(Scope.provide(scope))
      const sees = (wanted: string) =>
        eventually(
          harness,
          `the client sees "${wanted}"`,
          Effect.map(view, (now) => shown(now) === wanted)
        )
      yield* sees("server 10.0.0.1:8080 3")
      yield* registration.set({ zone: "a", weight: 5 })
      yield* sees("server 10.0.0.1:8080 5")
      yield* Scope.close(scope, Exit.void)
      yield* sees("")
      yield* expect(yield* holds(harness, [], "discovery/api"), "nothing is left in the store")
    })
  ),

  conform(
    contract,
    "an instance whose session was lost is there again with its latest attributes",
    ["partition", "heal"],
    (harness) =>
      Effect.gen(function* () {
        const [server, client] = [yield* harness.process("server"), yield* harness.process("client")]
        const view = yield* watched(client)
        const registration = yield* server.run(Discovery.register(Api, instance(8080)))
        yield* fault(harness, "partition")("server")
        yield* eventually(
          harness,
          "the client sees it go",
          Effect.map(view, (now) => now?.size === 0)
        )
        yield* Effect.forkScoped(Effect.ignore(registration.set({ zone: "a", weight: 9 })), { startImmediately: true })
        yield* forTtls(harness, 0.1)
        yield* fault(harness, "heal")("server")
        yield* eventually(
          harness,
          "the client sees it come back",
          Effect.map(view, (now) => shown(now) === "server 10.0.0.1:8080 9")
        )
      })
  ),

  conform(contract, "what does not decode is reported beside the others", ["put"], (harness) =>
    Effect.gen(function* () {
      const [server, client] = [yield* harness.process("server"), yield* harness.process("client")]
      yield* server.run(Discovery.register(Api, instance(8080)))
      const foreign = { kind: "discovery", name: "api" } as const
      yield* fault(harness, "put")(foreign, "garbage", "not json")
      yield* fault(harness, "put")(foreign, "old", JSON.stringify({ address: "10.0.0.2", port: 1, attributes: {} }))
      const view = yield* client.run(Discovery.list(Api))
      yield* expectEqual(ids(view), ["server"], "the members")
      yield* expectEqual(
        view.undecoded.map(({ member }) => member.id),
        ["garbage", "old"],
        "the undecoded"
      )
    })
  ),

  conform(contract, "what does not encode is refused before any write", [], (harness) =>
    Effect.gen(function* () {
      const server = yield* harness.process("server")
      for (const port of [0, 65536, 80.5, Number.NaN]) {
        const refused = yield* Effect.flip(Effect.scoped(server.run(Discovery.register(Api, instance(port)))))
        yield* expect(
          refused._tag === "PayloadRejected" || refused._tag === "CoordinatorError",
          `port ${port} is refused, not ${refused._tag}`
        )
      }
      yield* expect(yield* holds(harness, [], "discovery/api"), "nothing was written")
    })
  ),

  conform(contract, "awaitInstances returns when enough are there", [], (harness) =>
    Effect.gen(function* () {
      const [a, b, client] = [yield* harness.process("a"), yield* harness.process("b"), yield* harness.process("c")]
      const waiting = yield* background(client.run(Discovery.awaitInstances(Api, { minimum: 2 })))
      yield* a.run(Discovery.register(Api, instance(1)))
      yield* forTtls(harness, 0.5)
      yield* expect((yield* waiting) === undefined, "one is not enough")
      yield* b.run(Discovery.register(Api, instance(2)))
      yield* eventually(
        harness,
        "two are",
        Effect.map(waiting, (ended) => ended?.exit._tag === "Success")
      )
    })
  ),

  conform(contract, "a live foreign holder of the id is a conflict", ["discovery-conflict"], (harness) =>
    Effect.gen(function* () {
      const [a, b] = [yield* harness.process("a"), yield* harness.process("b")]
      yield* a.run(Discovery.register(Api, { ...instance(1), id: "same" }))
      const refused = yield* Effect.flip(
        Effect.scoped(b.run(Discovery.register(Api, { ...instance(2), id: "same" }, { onConflict: "fail" })))
      )
      yield* expectEqual(refused._tag, "MemberConflict", "the second registration")
      yield* expectEqual((yield* groupOf(a, Api.group).list).size, 1, "members")
    })
  )
]
