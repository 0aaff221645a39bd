/** What only several servers can do to a program, and what the death of a server does. */
import { assert, describe, it } from "@effect/vitest"
import { Context, Data, Effect, Layer, Option, Stream } from "effect"
import type { Group } from "effect-ensemble"
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

/** The newest view of a group. */
const newestOf = Effect.fnUntraced(function* (group: Group.Group) {
  let newest: Group.GroupView<string> | undefined
  yield* group.watch.pipe(
    Stream.runForEach((view) => Effect.sync(() => void (newest = view))),
    Effect.forkScoped({ startImmediately: true })
  )
  return () => newest
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

  it.live("the leader is killed: places stay, no change is missed, and its clients go on with the others", () =>
    Effect.gen(function* () {
      const cluster = yield* Servers.cluster(3, { settings: ["maxSessionTimeout=40000"] })
      const leader = yield* cluster.leader
      // Half of the TTL is far more than an election takes, also on a busy machine.
      const process = (node: string) => start(cluster.members, node, 40_000)
      const at = yield* start([leader], "behind")
      const [writer, reader] = [yield* process("writer"), yield* process("reader")]
      const own = yield* writer.group.join({ value: "1" })
      const behind = yield* at.group.join({ value: "" })
      const token = yield* own.ensure
      const seen = yield* newestOf(reader.group)
      yield* eventually(Effect.sync(() => seen()?.size === 2))
      const sessions = yield* statesOf(writer.coordinator)
      yield* leader.kill
      yield* until(own.set("2"), { within: "30 seconds" })
      yield* eventually(
        Effect.sync(() => {
          const view = seen()
          return view?.freshness._tag === "Fresh" && Option.getOrUndefined(view.get("writer"))?.value === "2"
        })
      )
      assert.strictEqual(yield* own.ensure, token)
      assert.notInclude(sessions, "Lost")
      // A session that nobody renews ends, and who had it has stopped by then.
      yield* eventually(
        Effect.gen(function* () {
          if (seen()?.size !== 1) return false
          assert.isTrue(yield* Effect.isFailure(behind.ensure))
          return true
        })
      )
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
