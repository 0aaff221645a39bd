import { assert, describe, layer } from "@effect/vitest"
import { Context, Effect, Layer } from "effect"
import { Group } from "effect-ensemble"
import { History } from "effect-ensemble/testing"
import * as Servers from "../../servers/etcd.ts"
import { now } from "../../torture/clock.ts"
import * as Chronicle from "../../torture/engines/etcdChronicle.ts"
import * as Fencing from "../../torture/fencing.ts"
import { merge } from "../../torture/merge.ts"
import * as Nodes from "../../torture/node.ts"
import * as Quiet from "../../torture/quiet.ts"
import { Chief, eventually } from "./kit.ts"

class Server extends Context.Service<Server, Servers.Etcd>()("test/Server") {}

const chief = Group.label(Chief.group)

let roots = 0

/** Three processes of their own that do everything at once, and the one that leads when they are at rest. */
const stage = Effect.gen(function* () {
  const etcd = yield* Server
  const root = `/client-${++roots}`
  const places = `${Chronicle.prefixOf(root)}/`
  const account = Nodes.makeAccount()
  const chronicle = yield* Chronicle.make(etcd, root)
  const nodes = yield* Effect.forEach(["a", "b", "c"], (name) =>
    Nodes.make({ engine: "etcd", name, root, seed: roots, servers: etcd.members }, account)
  )
  for (const node of nodes) {
    node.say("rest")
    yield* node.start
  }
  const atRest = eventually(
    "all is at rest",
    Effect.map(
      etcd.gateway.range(places),
      ({ entries }) => Quiet.problems(Chronicle.membersOf(root, entries), nodes, account).length === 0
    )
  )
  yield* atRest
  const granted = () => account.events.filter((event) => event._tag === "Granted" && event.group === chief)
  const leader = nodes.find((node) => node.label() === granted().at(-1)?.process)
  if (leader === undefined) return yield* Effect.die(new Error("nobody leads"))
  const others = nodes.filter((node) => node !== leader)
  return {
    account,
    leader,
    others,
    granted,
    anotherLeads: eventually(
      "another leads",
      Effect.sync(() => granted().at(-1)?.process !== leader.label())
    ),
    atRest,
    judge: Effect.gen(function* () {
      yield* chronicle.caughtUp
      account.events.push({ _tag: "Settled", process: "the test", at: now(), order: 0 })
      const pauses = account.stalls.flatMap(({ from, process, to }): ReadonlyArray<History.Event> => [
        { _tag: "Paused", process, at: from, order: 0 },
        { _tag: "Resumed", process, at: to, order: 0 }
      ])
      const told = yield* chronicle.told
      const problems = () => History.check(merge([...account.events, ...pauses], told)).map(History.format)
      // A process tells what it did before it tells the store, and is heard after it: what it says late was still said in time.
      for (let look = 0; look < 50 && problems().length > 0; look++) yield* Effect.sleep("100 millis")
      assert.deepStrictEqual(problems(), [])
      assert.deepStrictEqual(Fencing.check(told, account.attempts).violations, [])
      assert.deepStrictEqual(account.broken, [])
    }),
    /** Nothing that a program still holds keeps it from ending, and nothing is left of it. */
    end: Effect.gen(function* () {
      const endings = yield* Effect.forEach(nodes, (node) => node.end, { concurrency: "unbounded" })
      assert.deepStrictEqual(endings, ["ended", "ended", "ended"])
      yield* eventually(
        "nothing is left in the store",
        Effect.map(etcd.gateway.range(places), ({ entries }) => entries.length === 0)
      )
      assert.deepStrictEqual(account.broken, [])
    })
  }
})

layer(Layer.effect(Server, Servers.single()), { excludeTestServices: true })("a client that fails", (it) => {
  describe.concurrent("as a process of its own", () => {
    it.effect("stopped for longer than its lease: another leads; gone on, it is refused, and comes back", () =>
      Effect.gen(function* () {
        const { account, anotherLeads, atRest, end, judge, leader } = yield* stage
        yield* leader.pause
        yield* anotherLeads
        const before = account.events.length
        yield* leader.resume
        yield* eventually(
          "it knows that it has stood still",
          Effect.sync(() => account.stalls.some(({ process }) => process === leader.label()))
        )
        yield* atRest
        yield* judge
        const since = account.events.slice(before).filter(({ process }) => process === leader.label())
        assert.isTrue(since.some((event) => event._tag === "Interrupted" && event.group === chief && event.lost))
        yield* end
      }).pipe(Effect.scoped)
    )

    it.effect("killed: another leads when the lease ends, and the next process of that name takes part again", () =>
      Effect.gen(function* () {
        const { anotherLeads, atRest, end, judge, leader } = yield* stage
        yield* leader.kill
        yield* anotherLeads
        yield* leader.start
        yield* atRest
        yield* judge
        yield* end
      }).pipe(Effect.scoped)
    )

    it.effect("killed and started again at once: it waits for what it has left behind, and takes part again", () =>
      Effect.gen(function* () {
        const { atRest, end, judge, leader } = yield* stage
        yield* leader.kill
        yield* leader.start
        yield* atRest
        yield* judge
        yield* end
      }).pipe(Effect.scoped)
    )
  })
})
