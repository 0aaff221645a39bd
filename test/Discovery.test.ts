import { assert, describe, it } from "@effect/vitest"
import type { Duration } from "effect"
import { Clock, Context, Effect, Fiber, Layer, Option, Schema, Stream, SubscriptionRef } from "effect"
import { Coordinator, CoordinatorError, Discovery, Group, Memory } from "effect-ensemble"
import { Faults } from "effect-ensemble/testing"
import { TestClock } from "effect/testing"

const Api = Discovery.make("api", {
  attributes: Schema.Struct({ zone: Schema.NonEmptyString, weight: Schema.FiniteFromString })
})
const Plain = Discovery.make("plain")

const ttl = "10 seconds"

const setup = (...nodes: ReadonlyArray<string>) =>
  Effect.gen(function* () {
    const store = yield* Memory.makeStore()
    const processes = yield* Effect.forEach(nodes, (node) => Memory.makeProcess(store, { node, ttl }))
    const at = (node: string): Memory.Process => {
      const found = processes.find((process) => process.node === node)
      if (found === undefined) throw new Error(`no process ${node}`)
      return found
    }
    const entries = Effect.map(Faults.inspect(store), (inspection) => inspection.entries)
    const ids = Effect.map(entries, (all) => all.map((entry) => entry.id))
    return { store, faults: Faults.make(store), at, run: (node: string) => at(node).run, entries, ids }
  })

/** Lets everything happen that needs no time: a request takes turns of the scheduler, which the test clock cannot see. */
const settled = Effect.yieldNow.pipe(Effect.repeat({ times: 300 }), Effect.asVoid)

/** Moves time, with what it leads to. */
const pass = (by: Duration.Input) => settled.pipe(Effect.andThen(TestClock.adjust(by)), Effect.andThen(settled))

const seconds = Effect.map(Clock.currentTimeMillis, (millis) => Math.round(millis / 100) / 10)

const instance = { address: "10.0.0.1", port: 8080, attributes: { zone: "a", weight: 2 } }

const reasonOf = (error: { readonly _tag: string }): string =>
  CoordinatorError.isCoordinatorError(error) ? error.reason._tag : error._tag

describe("Discovery.register", () => {
  it.effect("writes the instance as JSON and reads it back with its types", () =>
    Effect.gen(function* () {
      const { entries, run } = yield* setup("one", "two")
      const { id } = yield* run("one")(Discovery.register(Api, instance))
      assert.strictEqual(id, "one")
      assert.deepStrictEqual(
        (yield* entries).map((entry) => entry.value),
        ['{"address":"10.0.0.1","port":8080,"attributes":{"zone":"a","weight":"2"}}']
      )
      const view = yield* run("two")(Discovery.list(Api))
      assert.deepStrictEqual(
        view.members.map(({ id, mine, value }) => ({ id, mine, value })),
        [{ id: "one", mine: false, value: instance }]
      )
    })
  )

  it.effect("takes no attributes for empty ones where the definition allows it", () =>
    Effect.gen(function* () {
      const { run } = yield* setup("one")
      yield* run("one")(Discovery.register(Plain, { id: "web-1", address: "host", port: 1 }))
      const view = yield* run("one")(Discovery.list(Plain))
      assert.deepStrictEqual(view.members[0]?.value, { address: "host", port: 1, attributes: {} })
    })
  )

  it.effect("refuses what cannot work with a message, and writes nothing", () =>
    Effect.gen(function* () {
      const { entries, run } = yield* setup("one")
      for (const wrong of [
        { address: "", port: 80 },
        { address: "  ", port: 80 },
        { address: "host", port: 0 },
        { address: "host", port: 65_536 },
        { address: "host", port: 80.5 },
        { address: "host", port: Number.NaN }
      ]) {
        const error = yield* Effect.flip(run("one")(Discovery.register(Plain, wrong)))
        assert.strictEqual(reasonOf(error), "InvalidOptions")
        assert.match(error.message, wrong.address.trim() === "" ? /address is empty/ : /whole number from 1 to 65535/)
      }
      const attributes = { zone: "", weight: 1 }
      const rejected = yield* Effect.flip(run("one")(Discovery.register(Api, { ...instance, attributes })))
      assert.strictEqual(rejected._tag, "PayloadRejected")
      assert.match(rejected.message, /discovery\/api was not written because it does not encode/)
      const drain = yield* Effect.flip(run("one")(Discovery.register(Api, instance, { drain: "Infinity" })))
      assert.strictEqual(reasonOf(drain), "InvalidOptions")
      const name = yield* Effect.flip(run("one")(Discovery.register(Discovery.make("a/b"), { address: "h", port: 1 })))
      assert.strictEqual(reasonOf(name), "InvalidOptions")
      assert.deepStrictEqual(yield* entries, [])
    }).pipe(Effect.scoped)
  )

  it.effect("publishes other attributes, and none that do not encode", () =>
    Effect.gen(function* () {
      const { run } = yield* setup("one")
      const stored = Effect.map(run("one")(Discovery.list(Api)), (view) => view.members[0]?.value)
      const registration = yield* run("one")(Discovery.register(Api, instance))
      const attributes = { zone: "b", weight: 7 }
      yield* registration.set(attributes)
      assert.deepStrictEqual(yield* stored, { ...instance, attributes })
      assert.strictEqual((yield* Effect.flip(registration.set({ zone: "", weight: 1 })))._tag, "PayloadRejected")
      assert.deepStrictEqual(yield* stored, { ...instance, attributes })
    })
  )

  it.effect("registers again after the loss of its session, with the newest attributes and a new token", () =>
    Effect.gen(function* () {
      const { entries, faults, run } = yield* setup("one", "two")
      const registration = yield* run("one")(Discovery.register(Api, instance))
      const statuses: Array<string> = []
      yield* registration.status.pipe(
        Stream.runForEach((status) => Effect.sync(() => statuses.push(status._tag))),
        Effect.forkChild
      )
      yield* registration.set({ zone: "b", weight: 1 })
      const before = yield* entries
      yield* faults.partition("one")
      yield* pass("25 seconds")
      assert.deepStrictEqual(yield* entries, [])
      const setting = yield* Effect.forkChild(Effect.exit(registration.set({ zone: "c", weight: 1 })))
      yield* faults.heal("one")
      yield* pass("20 seconds")
      yield* Fiber.join(setting)
      const after = yield* run("two")(Discovery.list(Api))
      assert.deepStrictEqual(after.members[0]?.value.attributes, { zone: "c", weight: 1 })
      assert.isTrue((after.members[0]?.token ?? 0n) > (before[0]?.token ?? 0n))
      assert.deepStrictEqual(statuses, ["Held", "Rejoining", "Held"])
    })
  )

  it.effect("withdraws first, then goes on answering for the drain, then releases what it stands on", () =>
    Effect.gen(function* () {
      const { ids, run } = yield* setup("one")
      const events: Array<string> = []
      const note = (what: string) =>
        Effect.gen(function* () {
          events.push(`${what} at ${yield* seconds} with ${(yield* ids).length}`)
        })
      const closing = yield* Effect.gen(function* () {
        yield* Effect.acquireRelease(note("server opened"), () => note("server closed"))
        yield* run("one")(Discovery.register(Api, instance, { drain: "5 seconds" }))
        yield* Effect.addFinalizer(() => note("releasing"))
      }).pipe(Effect.scoped, Effect.forkChild)
      yield* pass("1 second")
      assert.deepStrictEqual(yield* ids, [], "withdrawn at once")
      assert.isUndefined(closing.pollUnsafe())
      yield* pass("5 seconds")
      yield* Fiber.join(closing)
      assert.deepStrictEqual(events, [
        "server opened at 0 with 0",
        "releasing at 0 with 1",
        "server closed at 5 with 0"
      ])
    })
  )

  it.effect("does not drain what was never registered", () =>
    Effect.gen(function* () {
      const { run } = yield* setup("one", "two")
      yield* run("one")(Discovery.register(Api, { ...instance, id: "same" }))
      const error = yield* Discovery.register(
        Api,
        { ...instance, id: "same" },
        { drain: "1 hour", onConflict: "fail" }
      ).pipe(Effect.scoped, Effect.flip, run("two"))
      assert.strictEqual(error._tag, "MemberConflict")
    })
  )

  it.effect("fails when the store is down, or takes the wish where the engine connects in the background", () =>
    Effect.gen(function* () {
      const { faults, ids, run, store } = yield* setup("one")
      yield* faults.partition("one")
      const failing = yield* Discovery.register(Api, instance).pipe(Effect.flip, run("one"), Effect.forkChild)
      yield* pass("30 seconds")
      assert.isTrue(CoordinatorError.isCoordinatorError(yield* Fiber.join(failing)))
      const later = yield* Memory.makeProcess(store, { node: "later", ttl, connect: "background" })
      yield* faults.partition("later")
      yield* later.run(Discovery.register(Api, instance))
      yield* faults.heal("later")
      yield* pass("30 seconds")
      assert.include(yield* ids, "later")
    })
  )
})

describe("Discovery readers", () => {
  it.effect("tolerate what others write, and report what does not decode beside the rest", () =>
    Effect.gen(function* () {
      const { faults, run } = yield* setup("one")
      for (const [id, value] of [
        ["extra", '{"address":"h","port":1,"attributes":{"k":"v"},"weight":3}'],
        ["missing", '{"address":"h","port":2}'],
        ["null", '{"address":"","port":0,"attributes":null}'],
        ["text", "not json"],
        ["number", "7"],
        ["noport", '{"address":"h","attributes":{}}'],
        ["shape", '{"address":"h","port":1,"attributes":{"k":1}}']
      ] as const) {
        yield* faults.put(Plain.group, id, value)
      }
      const view = yield* run("one")(Discovery.list(Plain))
      assert.deepStrictEqual(
        view.members.map(({ id, value }) => [id, value.port, value.attributes]),
        [
          ["extra", 1, { k: "v" }],
          ["missing", 2, {}],
          ["null", 0, {}]
        ]
      )
      assert.deepStrictEqual(
        view.undecoded.map(({ member }) => member.id),
        ["text", "number", "noport", "shape"]
      )
      assert.match(view.undecoded[2]?.detail ?? "", /port/)
      assert.strictEqual(view.size, 7)
    })
  )

  it.effect("watch gives the present view first, then later ones", () =>
    Effect.gen(function* () {
      const { run } = yield* setup("one", "two")
      const seen: Array<string> = []
      yield* Discovery.watch(Api).pipe(
        Stream.map((view) => view.members.map(({ id, value }) => `${id}:${value.attributes.weight}`).join()),
        Stream.changes,
        Stream.runForEach((ids) => Effect.sync(() => seen.push(ids))),
        run("two"),
        Effect.forkChild
      )
      yield* settled
      yield* Effect.gen(function* () {
        const { set } = yield* run("one")(Discovery.register(Api, instance))
        yield* settled
        yield* set({ zone: "a", weight: 3 })
        yield* settled
      }).pipe(Effect.scoped)
      yield* settled
      assert.deepStrictEqual(seen, ["", "one:2", "one:3", ""])
    })
  )

  it.effect("changes folds to the present view, and does not know what does not decode", () =>
    Effect.gen(function* () {
      const { faults, run } = yield* setup("one", "two")
      let folded = Group.empty<Discovery.Instance<{ readonly zone: string; readonly weight: number }>>()
      const tags: Array<string> = []
      const { set } = yield* run("one")(Discovery.register(Api, instance))
      yield* Discovery.changes(Api).pipe(
        Stream.runForEach((change) =>
          Effect.sync(() => {
            tags.push(`${change._tag} ${change.member.id}`)
            folded = Group.applyChanges(folded, [change])
          })
        ),
        run("two"),
        Effect.forkChild
      )
      yield* settled
      yield* faults.put(Api.group, "bad", "nonsense")
      yield* set({ zone: "z", weight: 9 })
      yield* settled
      yield* faults.put(Api.group, "bad", '{"address":"h","port":1,"attributes":{"zone":"q","weight":"1"}}')
      yield* settled
      const view = yield* run("two")(Discovery.list(Api))
      assert.deepStrictEqual(folded.members, view.members)
      assert.deepStrictEqual(tags, ["Joined one", "Updated one", "Joined bad"])
    })
  )

  it.effect("view is read without I/O, follows the group, and says when it is stale", () =>
    Effect.gen(function* () {
      const { faults, run, store } = yield* setup("one", "two")
      yield* run("one")(Discovery.register(Api, instance))
      const view = yield* run("two")(Discovery.view(Api))
      const before = (yield* Faults.inspect(store)).requests
      assert.deepStrictEqual((yield* SubscriptionRef.get(view)).members[0]?.value, instance)
      yield* run("one")(Discovery.register(Api, { ...instance, id: "more" }))
      yield* settled
      const now = yield* SubscriptionRef.get(view)
      assert.deepStrictEqual(
        now.members.map((member) => member.id),
        ["one", "more"]
      )
      const reads = (requests: Readonly<Record<string, number>>) =>
        ["Group.list", "Group.watch.list", "Group.read"].map((operation) => requests[operation] ?? 0)
      assert.deepStrictEqual(reads((yield* Faults.inspect(store)).requests), reads(before))
      yield* faults.partition("two")
      yield* pass("10 seconds")
      const stale = yield* SubscriptionRef.get(view)
      assert.strictEqual(stale.freshness._tag, "Stale")
      assert.strictEqual(stale.size, 2)
    })
  )

  it.effect("view fails with a first error, and keeps the last view as stale after a later one", () =>
    Effect.gen(function* () {
      const { at, run } = yield* setup("one")
      const invalid = yield* Effect.flip(run("one")(Discovery.view(Discovery.make(""))))
      assert.strictEqual(invalid.reason._tag, "InvalidOptions")
      yield* run("one")(Discovery.register(Api, instance))
      const { coordinator } = at("one")
      const forbidden = new CoordinatorError.CoordinatorError({
        engine: "memory",
        operation: "Group.watch",
        endpoint: "one",
        reason: new CoordinatorError.Forbidden({ detail: "No read" })
      })
      const failing: Coordinator.Coordinator["Service"] = {
        ...coordinator,
        group: (name) => {
          const group = coordinator.group(name)
          return { ...group, watch: Stream.concat(Stream.take(group.watch, 1), Stream.fail(forbidden)) }
        }
      }
      const view = yield* Discovery.view(Api).pipe(Effect.provideService(Coordinator.Coordinator, failing))
      yield* settled
      const last = yield* SubscriptionRef.get(view)
      assert.strictEqual(last.size, 1)
      assert.isTrue(last.freshness._tag === "Stale" && last.freshness.cause === forbidden)
    })
  )

  it.effect("awaitInstances waits for enough that decode, in a fresh view", () =>
    Effect.gen(function* () {
      const { at, faults, run } = yield* setup("one", "two")
      for (const minimum of [0, -1, 1.5, Number.NaN]) {
        const error = yield* Effect.flip(run("one")(Discovery.awaitInstances(Api, { minimum })))
        assert.strictEqual(error.reason._tag, "InvalidOptions")
      }
      const waiting = yield* Discovery.awaitInstances(Api, { minimum: 2 }).pipe(run("two"), Effect.forkChild)
      yield* run("one")(Discovery.register(Api, { ...instance, id: "a" }))
      yield* faults.put(Api.group, "bad", "nonsense")
      yield* settled
      assert.isUndefined(waiting.pollUnsafe())
      yield* run("one")(Discovery.register(Api, { ...instance, id: "b" }))
      yield* settled
      assert.deepStrictEqual(
        (yield* Fiber.join(waiting)).members.map((member) => member.id),
        ["a", "b"]
      )
      const { coordinator } = at("one")
      const stale: Coordinator.Coordinator["Service"] = {
        ...coordinator,
        group: (name) => {
          const group = coordinator.group(name)
          const cause = new CoordinatorError.CoordinatorError({
            engine: "memory",
            operation: "Group.watch",
            endpoint: "one",
            reason: new CoordinatorError.Unreachable({ detail: "No answer" })
          })
          const freshness = { _tag: "Stale", since: 0, cause } as const
          return {
            ...group,
            watch: Stream.map(group.watch, ({ epoch, members, revision }) =>
              Group.makeView({ members, epoch, revision, freshness })
            )
          }
        }
      }
      const never = yield* Discovery.awaitInstances(Api, { minimum: 1 }).pipe(
        Effect.provideService(Coordinator.Coordinator, stale),
        Effect.forkChild
      )
      yield* settled
      assert.isUndefined(never.pollUnsafe())
    })
  )
})

describe("Discovery.layer", () => {
  class Server extends Context.Service<Server, { readonly port: number }>()("test/Server") {}

  it.effect("registers after the server listens and withdraws before it closes, with the drain between", () =>
    Effect.gen(function* () {
      const store = yield* Memory.makeStore()
      const ids = Effect.map(Faults.inspect(store), (inspection) => inspection.entries.map((entry) => entry.id))
      const events: Array<string> = []
      const server = Layer.effect(
        Server,
        Effect.acquireRelease(Effect.succeed({ port: 4242 }), () =>
          Effect.gen(function* () {
            events.push(`closed at ${yield* seconds} with ${(yield* ids).join()}`)
          })
        )
      )
      const live = Discovery.layer(
        Api,
        Server.useSync(({ port }) => ({ ...instance, port })),
        { drain: "3 seconds" }
      ).pipe(Layer.provide(server), Layer.provide(Memory.layerProcess(store, { node: "one" })))
      const running = yield* Effect.gen(function* () {
        events.push(`running with ${(yield* ids).join()}`)
      }).pipe(Effect.provide(live), Effect.forkChild)
      yield* pass("1 second")
      yield* pass("3 seconds")
      yield* Fiber.join(running)
      assert.deepStrictEqual(events, ["running with one", "closed at 3 with "])
    })
  )

  it.effect("takes an instance that is known before", () =>
    Effect.gen(function* () {
      const live = Discovery.layer(Api, instance).pipe(Layer.provideMerge(Memory.layer({ node: "one" })))
      const view = yield* Discovery.list(Api).pipe(Effect.provide(live))
      assert.isTrue(Option.isSome(view.get("one")))
    })
  )
})

describe("Discovery types", () => {
  it("wants the attributes of the definition", () => {
    const wrong = [
      // @ts-expect-error the attributes may not be left out
      Discovery.register(Api, { address: "h", port: 1 }),
      // @ts-expect-error the weight is a number
      Discovery.register(Api, { address: "h", port: 1, attributes: { zone: "a", weight: "1" } })
    ]
    assert.isTrue(wrong.every(Effect.isEffect))
    const Optional = Discovery.make("optional", {
      attributes: Schema.Struct({ zone: Schema.optionalKey(Schema.String) })
    })
    assert.isTrue(Effect.isEffect(Discovery.register(Optional, { address: "h", port: 1 })))
    const layer: Layer.Layer<never, unknown, Coordinator.Coordinator> = Discovery.layer(Plain, {
      address: "h",
      port: 1
    })
    assert.isTrue(Layer.isLayer(layer))
  })
})
