/** What only several servers can do to a program, and what the death of a server does. */
import { assert, describe, it } from "@effect/vitest"
import { Context, Data, Effect, Layer, Stream } from "effect"
import { Coordinator } from "effect-ensemble"
import { ZooKeeper } from "effect-ensemble/zookeeper"
import * as Client from "../../../src/engines/zookeeper/client.ts"
import { tcp } from "../../../src/engines/zookeeper/transport.ts"
import { until } from "../../servers/until.ts"
import * as Servers from "../../servers/zookeeper.ts"

const ttlMillis = 6_000

const addressesOf = (members: ReadonlyArray<Servers.Member>) =>
  members.map(({ host, port }) => `${host}:${port}`).join(",")

const start = Effect.fnUntraced(function* (members: ReadonlyArray<Servers.Member>, node: string, ttl = ttlMillis) {
  const context = yield* Layer.build(ZooKeeper.layer({ endpoints: addressesOf(members), ttl, node }))
  const coordinator = Context.get(context, Coordinator.Coordinator)
  return { coordinator, group: coordinator.group({ kind: "election", name: "group" }) }
})

class NotYet extends Data.TaggedError("NotYet") {}

const eventually = (condition: Effect.Effect<boolean>) =>
  until(
    Effect.flatMap(condition, (holds) => (holds ? Effect.void : Effect.fail(new NotYet()))),
    { within: "40 seconds" }
  )

/** The tags of a session's states, as far as they have come. */
const statesOf = Effect.fnUntraced(function* (coordinator: Coordinator.Coordinator["Service"]) {
  const tags: Array<string> = []
  yield* coordinator.session.pipe(
    Stream.runForEach(({ _tag }) => Effect.sync(() => void tags.push(_tag))),
    Effect.forkScoped({ startImmediately: true })
  )
  return tags
})

describe("three servers", () => {
  it.live("a member behind a server that lost its quorum stops before its node is gone", () =>
    Effect.gen(function* () {
      // It would hang up on its clients after this many ticks, which is after their sessions have expired.
      const cluster = yield* Servers.cluster(3, { settings: ["syncLimit=30"] })
      const [cut] = yield* cluster.followers
      if (cut === undefined) return assert.fail("no member follows")
      const others = cluster.members.filter((member) => member !== cut)
      const { group } = yield* start([cut], "a")
      const membership = yield* group.join({ value: "" })
      const [head, ...tail] = others
      if (head === undefined) return assert.fail("nobody is left")
      const witness = yield* Client.make({
        endpoints: [head, ...tail],
        transport: tcp,
        timeoutMillis: 10_000,
        ping: 0.2
      })
      const names = yield* witness.getChildren("/ensemble/election/group").pipe(
        Effect.delay("10 millis"),
        Effect.retry({ times: 500 }),
        Effect.map(({ children }) => children)
      )
      const path = `/ensemble/election/group/${names[0]}`
      // Told in the turn in which the news arrives: whether the member believed in its place at that very moment.
      let believed: boolean | undefined
      yield* witness.exists(path, (notice) => {
        if (notice._tag === "Event") believed = Effect.runSync(Effect.isSuccess(membership.ensure))
      })
      yield* membership.ensure
      yield* cluster.isolate(cut)
      yield* eventually(Effect.sync(() => believed !== undefined))
      assert.isFalse(believed)
    })
  )

  it.live("a session moves to another server, and its members keep their places", () =>
    Effect.gen(function* () {
      const cluster = yield* Servers.cluster(3)
      const followers = yield* cluster.followers
      const { coordinator, group } = yield* start(followers, "a")
      const tags = yield* statesOf(coordinator)
      const membership = yield* group.join({ value: "" }, { rejoin: true })
      const token = yield* membership.ensure
      // One after the other, so that the session's own is among them. The leader goes on, and a majority is always there.
      for (const member of followers) {
        yield* member.pause
        yield* eventually(
          Effect.orElseSucceed(
            Effect.map(group.list, ({ size }) => size === 1),
            () => false
          )
        )
        yield* member.resume
        yield* until(member.ready, { within: "20 seconds" })
      }
      assert.strictEqual(yield* membership.ensure, token)
      assert.notInclude(tags, "Lost")
    })
  )
})

describe("one server", () => {
  it.live("is killed and started again: places stay, and no change is missed", () =>
    Effect.gen(function* () {
      // Half of the TTL is far more than a start takes, also on a busy machine.
      const { members } = yield* Servers.single({ tickMillis: 2_000 })
      const [writer, reader] = [yield* start(members, "writer", 30_000), yield* start(members, "reader", 30_000)]
      const membership = yield* writer.group.join({ value: "1" })
      const token = yield* membership.ensure
      let seen = ""
      let wasStale = false
      yield* reader.group.watch.pipe(
        Stream.runForEach(({ freshness, members: all }) =>
          Effect.sync(() => {
            if (freshness._tag === "Stale") wasStale = true
            else seen = all.map(({ id, value }) => `${id}=${value}`).join()
          })
        ),
        Effect.forkScoped({ startImmediately: true })
      )
      yield* eventually(Effect.sync(() => seen === "writer=1"))
      yield* members[0].restart
      yield* until(membership.set("2"), { within: "20 seconds" })
      yield* eventually(Effect.sync(() => seen === "writer=2"))
      assert.isTrue(wasStale)
      assert.strictEqual(yield* membership.ensure, token)
    })
  )
})
