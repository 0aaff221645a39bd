import { assert, describe, it } from "@effect/vitest"
import { Cause, Deferred, Effect, Exit, Fiber, Layer, Metric, Option, Random, Schema, Stream } from "effect"
import { CoordinatorError, Group, Memory } from "effect-ensemble"
import type { Membership } from "effect-ensemble"
import * as Acks from "effect-ensemble/internal/sequenceAcks"
import { fingerprint } from "effect-ensemble/internal/rendezvous"
import { placeOf, sameSeat } from "effect-ensemble/internal/sequencePlace"
import * as Sequence from "effect-ensemble/Sequence"
import { Faults } from "effect-ensemble/testing"
import { TestClock } from "effect/testing"

const ttl = "10 seconds"

const Shards = Sequence.make("shards")

const setup = (...nodes: ReadonlyArray<string>) =>
  Effect.gen(function* () {
    const store = yield* Memory.makeStore()
    const processes = yield* Effect.forEach(nodes, (node) => Memory.makeProcess(store, { node, ttl }))
    const at = (node: string): Memory.Process => {
      const found = processes.find((process) => process.node === node)
      if (found === undefined) throw new Error(`no process ${node}`)
      return found
    }
    const faults = Faults.make(store)
    return {
      store,
      faults,
      run: (node: string) => at(node).run,
      healAll: Effect.forEach(nodes, (node) => faults.heal(node)),
      entries: Effect.map(Faults.inspect(store), ({ entries }) => entries.map(({ group, id }) => `${group}/${id}`))
    }
  })

/** Everything that needs no time has happened after this. */
const settled = Effect.repeat(Effect.yieldNow, { times: 200 }).pipe(
  Effect.andThen(TestClock.adjust("5 millis")),
  Effect.andThen(Effect.repeat(Effect.yieldNow, { times: 200 }))
)

const show = (seat: Option.Option<Sequence.Seat>): string =>
  Option.isSome(seat) ? `${seat.value.index}/${seat.value.count} ${seat.value.members}` : "none"

/** Collects what a stream of seats shows. */
const follow = (run: Memory.Process["run"], options?: Sequence.JoinOptions) =>
  Effect.gen(function* () {
    const seen: Array<string> = []
    const fiber = yield* Sequence.join(Shards, options).pipe(
      Stream.runForEach((seat) => Effect.sync(() => seen.push(show(seat)))),
      run,
      Effect.forkChild
    )
    yield* settled
    return { seen, fiber }
  })

interface Span {
  readonly who: string
  readonly division: string
  readonly what: "start" | "stop"
}

/** Bodies that never end by themselves and write down when they start and have stopped. */
const recorder = () => {
  const log: Array<string> = []
  const spans: Array<Span> = []
  const running = new Map<string, string>()
  const overlaps: Array<string> = []
  const body =
    (stopping: Effect.Effect<unknown> = Effect.void) =>
    (seat: Sequence.Seat) =>
      Effect.acquireRelease(
        Effect.sync(() => {
          const division = seat.members.join()
          for (const [who, other] of running) {
            if (other !== division || who === seat.id) overlaps.push(`${who} in ${other}, ${seat.id} in ${division}`)
          }
          running.set(seat.id, division)
          spans.push({ who: seat.id, division, what: "start" })
          log.push(`+${seat.id} ${seat.index}/${seat.count}`)
        }),
        () =>
          Effect.andThen(
            stopping,
            Effect.sync(() => {
              running.delete(seat.id)
              spans.push({ who: seat.id, division: seat.members.join(), what: "stop" })
              log.push(`-${seat.id} ${seat.index}/${seat.count}`)
            })
          )
      ).pipe(Effect.andThen(Effect.never))
  return { log, spans, running, overlaps, body }
}

const member = (id: string, token: number, value = ""): Group.Member<string> => ({
  id,
  token: BigInt(token),
  value,
  mine: false
})

const viewOf = (revision: number, members: ReadonlyArray<Group.Member<string>>) =>
  Group.makeView({ members, revision: BigInt(revision) })

describe("the place", () => {
  const held = (token: number): Membership.MembershipStatus => ({ _tag: "Held", token: BigInt(token) })
  const view = viewOf(9, [member("a", 3), member("b", 5), member("c", 7)])
  const cause = new CoordinatorError.CoordinatorError({
    engine: "memory",
    operation: "Group.watch",
    endpoint: "memory://a",
    reason: new CoordinatorError.Unreachable({ detail: "gone" })
  })
  const stale = Group.applyChanges(view, [], {
    revision: 9n,
    epoch: 0,
    freshness: { _tag: "Stale", since: 0, cause }
  })
  const place = (status: Membership.MembershipStatus, of: Group.GroupView<string> | undefined): string => {
    const found = placeOf("b", status, of)
    return found._tag === "Seated" ? `${found.seat.index}/${found.seat.count}` : found._tag
  }
  it.each<[string, Membership.MembershipStatus, Group.GroupView<string> | undefined, string]>([
    ["held and seen", held(5), view, "1/3"],
    ["held, no view yet", held(5), undefined, "Unknown"],
    ["held, a view from before", held(11), view, "Unknown"],
    ["held under a later token than the view shows", held(10), view, "Unknown"],
    ["held, a view without me", held(8), view, "Lost"],
    ["held, a view at my token without me", held(9), view, "Lost"],
    ["held, a stale view", held(5), stale, "Unknown"],
    ["joining", { _tag: "Joining" }, view, "Lost"],
    ["rejoining", { _tag: "Rejoining", cause: "Expired" }, view, "Lost"],
    ["in conflict", { _tag: "Conflict", holder: "x" }, view, "Lost"],
    ["lost", { _tag: "Lost", cause: "Closed" }, view, "Lost"],
    ["closed", { _tag: "Closed" }, view, "Lost"]
  ])("%s", (_, status, of, expected) => {
    assert.strictEqual(place(status, of), expected)
  })
})

describe("a seat", () => {
  const seat: Sequence.Seat = { id: "b", index: 1, count: 2, token: 5n, revision: 9n, members: ["a", "b"] }
  it.each<[string, Partial<Sequence.Seat>, boolean]>([
    ["at a later revision", { revision: 12n }, true],
    ["under another token", { token: 8n }, false],
    ["at another index", { index: 0, members: ["b", "a"] }, false],
    ["with one more", { count: 3, members: ["a", "b", "c"] }, false],
    ["beside another", { members: ["c", "b"] }, false]
  ])("%s: the same is %s", (_, change, same) => {
    assert.strictEqual(sameSeat(seat, { ...seat, ...change }), same)
  })
})

describe("Sequence.join", () => {
  it.effect("seats in the order of joining and follows who leaves", () =>
    Effect.gen(function* () {
      const { entries, faults, run } = yield* setup("a", "b", "c")
      const a = yield* follow(run("a"))
      const b = yield* follow(run("b"))
      const c = yield* follow(run("c"))
      for (let times = 0; times < 3; times++) {
        // Somebody else's writes let the revision grow.
        yield* faults.put({ kind: "lock", name: "elsewhere" }, "x", `${times}`)
        yield* TestClock.adjust("2 seconds")
      }
      assert.deepStrictEqual(c.seen, ["none", "2/3 a,b,c"])
      yield* Fiber.interrupt(a.fiber)
      yield* settled
      assert.deepStrictEqual(b.seen, ["none", "1/2 a,b", "1/3 a,b,c", "0/2 b,c"])
      assert.deepStrictEqual(c.seen, ["none", "2/3 a,b,c", "1/2 b,c"])
      yield* Fiber.interrupt(b.fiber)
      yield* Fiber.interrupt(c.fiber)
      assert.deepStrictEqual(yield* entries, ["lock/elsewhere/x"])
    })
  )

  it.effect("does not count the members of a sequence whose name begins the same", () =>
    Effect.gen(function* () {
      const { run } = yield* setup("a", "b")
      const other = yield* Sequence.join(Sequence.make("shards-two")).pipe(Stream.runDrain, run("b"), Effect.forkChild)
      yield* settled
      const a = yield* follow(run("a"))
      assert.deepStrictEqual(a.seen, ["none", "0/1 a"])
      yield* Fiber.interrupt(other)
    })
  )

  it.effect("is none while the store cannot be seen and while the place is lost, and comes back at the end", () =>
    Effect.gen(function* () {
      const { faults, run } = yield* setup("a", "b")
      const a = yield* follow(run("a"))
      const b = yield* follow(run("b"))
      yield* faults.partition("a", "refused")
      yield* settled
      assert.deepStrictEqual(a.seen, ["none", "0/1 a", "0/2 a,b", "none"])
      yield* faults.heal("a")
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(a.seen.slice(4), ["0/2 a,b"])
      yield* faults.expireSession("a")
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual(a.seen.slice(5), ["none", "1/2 b,a"])
      assert.deepStrictEqual(b.seen, ["none", "1/2 a,b", "0/1 b", "0/2 b,a"])
      yield* Fiber.interrupt(a.fiber)
      yield* Fiber.interrupt(b.fiber)
    })
  )

  it.effect("drops repeats, and a backlog", () =>
    Effect.gen(function* () {
      const { run } = yield* setup("a", "b")
      const gate = yield* Deferred.make<void>()
      const seen: Array<string> = []
      const slow = yield* Sequence.join(Shards).pipe(
        Stream.filter(Option.isSome),
        Stream.runForEach((seat) =>
          Effect.andThen(
            Effect.sync(() => seen.push(show(seat))),
            Deferred.await(gate)
          )
        ),
        run("a"),
        Effect.forkChild
      )
      yield* TestClock.adjust("30 seconds")
      for (let times = 0; times < 5; times++) {
        const b = yield* follow(run("b"))
        yield* Fiber.interrupt(b.fiber)
        yield* settled
      }
      const b = yield* follow(run("b"))
      yield* Deferred.succeed(gate, undefined)
      yield* TestClock.adjust("30 seconds")
      assert.deepStrictEqual(seen, ["0/1 a", "0/2 a,b"])
      yield* Fiber.interrupt(slow)
      yield* Fiber.interrupt(b.fiber)
    })
  )

  it.effect("fails with a name that cannot be used, and with a conflict when asked to", () =>
    Effect.gen(function* () {
      const { run } = yield* setup("a", "b")
      const bad = yield* Effect.flip(run("a")(Stream.runDrain(Sequence.join(Sequence.make("a b")))))
      assert.strictEqual(bad._tag === "CoordinatorError" ? bad.reason._tag : bad._tag, "InvalidOptions")
      const first = yield* follow(run("a"), { id: "same" })
      const second = yield* Sequence.join(Shards, { id: "same", onConflict: "fail" }).pipe(
        Stream.runDrain,
        run("b"),
        Effect.flip
      )
      assert.strictEqual(second._tag, "MemberConflict")
      assert.deepStrictEqual(first.seen, ["none", "0/1 same"])
      yield* Fiber.interrupt(first.fiber)
    })
  )
})

describe("Sequence.run", () => {
  it.effect("starts the body anew at each change, when the old one has stopped", () =>
    Effect.gen(function* () {
      const { entries, run } = yield* setup("a", "b")
      const { body, log, overlaps } = recorder()
      const a = yield* Effect.forkChild(run("a")(Sequence.run(Shards, body(Effect.sleep("2 seconds")))))
      yield* settled
      assert.deepStrictEqual(log, ["+a 0/1"])
      const b = yield* follow(run("b"))
      assert.deepStrictEqual(log, ["+a 0/1"], "the old body is still stopping")
      yield* TestClock.adjust("2 seconds")
      assert.deepStrictEqual(log, ["+a 0/1", "-a 0/1", "+a 0/2"])
      yield* Fiber.interrupt(b.fiber)
      yield* TestClock.adjust("2 seconds")
      assert.deepStrictEqual(log.slice(3), ["-a 0/2", "+a 0/1"])
      const ending = yield* Effect.forkChild(Fiber.interrupt(a))
      yield* settled
      assert.deepStrictEqual(yield* entries, ["sequence/shards/a"], "the place is kept until the body has stopped")
      yield* TestClock.adjust("2 seconds")
      yield* Fiber.join(ending)
      assert.deepStrictEqual(yield* entries, [])
      assert.deepStrictEqual(overlaps, [])
    })
  )

  it.effect("does not start anew for a revision that grows without a change", () =>
    Effect.gen(function* () {
      const { faults, run } = yield* setup("a")
      const { body, log } = recorder()
      const a = yield* Effect.forkChild(run("a")(Sequence.run(Shards, body())))
      yield* settled
      for (let times = 0; times < 10; times++) {
        yield* faults.put({ kind: "lock", name: "elsewhere" }, "x", `${times}`)
        yield* TestClock.adjust("2 seconds")
      }
      assert.deepStrictEqual(log, ["+a 0/1"])
      yield* Fiber.interrupt(a)
    })
  )

  it.effect("coalesces a burst, and counts the restarts", () =>
    Effect.gen(function* () {
      const nodes = ["b", "c", "d", "e"]
      const { run } = yield* setup("a", ...nodes)
      const restarts = Effect.map(Metric.snapshot, (metrics) =>
        metrics
          .filter(
            ({ attributes, id }) => id === "ensemble_body_restarts" && attributes?.["group"] === "sequence/shards"
          )
          .reduce((sum, metric) => sum + (metric.type === "Counter" ? Number(metric.state.count) : 0), 0)
      )
      const before = yield* restarts
      const { body, log } = recorder()
      const a = yield* Effect.forkChild(run("a")(Sequence.run(Shards, body(), { settle: "1 second" })))
      yield* settled
      yield* TestClock.adjust("980 millis")
      assert.deepStrictEqual(log, [])
      yield* TestClock.adjust("30 millis")
      assert.deepStrictEqual(log, ["+a 0/1"])
      const others: Array<Fiber.Fiber<unknown, unknown>> = []
      for (const node of nodes) {
        others.push((yield* follow(run(node))).fiber)
        yield* TestClock.adjust("500 millis")
      }
      assert.deepStrictEqual(log, ["+a 0/1", "-a 0/1"], "the old body stops at the first change")
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(log, ["+a 0/1", "-a 0/1", "+a 0/5"])
      assert.strictEqual((yield* restarts) - before, 1)
      for (const fiber of others) yield* Fiber.interrupt(fiber)
      yield* Fiber.interrupt(a)
    })
  )

  it.effect("ends with the body's failure and leaves the place", () =>
    Effect.gen(function* () {
      const { entries, run } = yield* setup("a")
      const exclusive = { exclusive: true }
      for (const options of [undefined, exclusive]) {
        const failed = yield* Effect.flip(run("a")(Sequence.run(Shards, () => Effect.fail("broken" as const), options)))
        assert.strictEqual(failed, "broken")
        const died = yield* Effect.exit(run("a")(Sequence.run(Shards, () => Effect.die("worse"), options)))
        assert.isTrue(Exit.isFailure(died) && Cause.hasDies(died.cause))
        assert.deepStrictEqual(yield* entries, [])
      }
    })
  )

  it.effect("keeps the seat of a body that returns, and starts it again at the next change", () =>
    Effect.gen(function* () {
      const { entries, run } = yield* setup("a", "b")
      const log: Array<string> = []
      const a = yield* Effect.forkChild(
        run("a")(Sequence.run(Shards, (seat) => Effect.sync(() => log.push(`${seat.index}/${seat.count}`))))
      )
      yield* TestClock.adjust("30 seconds")
      assert.deepStrictEqual(log, ["0/1"])
      assert.deepStrictEqual(yield* entries, ["sequence/shards/a"])
      const b = yield* follow(run("b"))
      assert.deepStrictEqual(log, ["0/1", "0/2"])
      assert.isUndefined(a.pollUnsafe())
      yield* Fiber.interrupt(b.fiber)
      yield* Fiber.interrupt(a)
    })
  )

  it.effect("interrupts the body by the deadline when the store is gone, and not before", () =>
    Effect.gen(function* () {
      for (const exclusive of [false, true]) {
        const { faults, run } = yield* setup("a", "b")
        const { body, log } = recorder()
        const a = yield* Effect.forkChild(run("a")(Sequence.run(Shards, body(), { exclusive })))
        yield* settled
        yield* faults.partition("a")
        yield* TestClock.adjust("7900 millis")
        assert.deepStrictEqual(log, ["+a 0/1"], "a stale view alone takes no seat away")
        yield* TestClock.adjust("200 millis")
        assert.deepStrictEqual(log, ["+a 0/1", "-a 0/1"])
        yield* faults.heal("a")
        yield* TestClock.adjust("40 seconds")
        assert.deepStrictEqual(log, ["+a 0/1", "-a 0/1", "+a 0/1"])
        yield* Fiber.interrupt(a)
      }
    })
  )

  it.effect("interrupts the body when its entry was deleted by hand, and comes back", () =>
    Effect.gen(function* () {
      const { faults, run } = yield* setup("a")
      const { body, log } = recorder()
      const a = yield* Effect.forkChild(run("a")(Sequence.run(Shards, body())))
      yield* settled
      yield* faults.remove(Shards.group, "a")
      yield* TestClock.adjust("2 seconds")
      assert.deepStrictEqual(log, ["+a 0/1", "-a 0/1", "+a 0/1"])
      yield* Fiber.interrupt(a)
    })
  )

  it.effect("gives the token of the place, larger after each loss", () =>
    Effect.gen(function* () {
      const { faults, run } = yield* setup("a")
      const tokens: Array<bigint> = []
      const a = yield* Effect.forkChild(
        run("a")(
          Sequence.run(Shards, (seat) =>
            Effect.andThen(
              Effect.sync(() => tokens.push(seat.token)),
              Effect.never
            )
          )
        )
      )
      yield* settled
      yield* faults.expireSession("a")
      yield* TestClock.adjust("10 seconds")
      const [first = 0n, second = 0n] = tokens
      assert.isTrue(second > first)
      yield* Fiber.interrupt(a)
    })
  )

  it.effect("refuses a settle that cannot be used", () =>
    Effect.gen(function* () {
      const { run } = yield* setup("a")
      const error = yield* Effect.flip(run("a")(Sequence.run(Shards, () => Effect.never, { settle: -1 })))
      assert.strictEqual(error._tag === "CoordinatorError" ? error.reason._tag : error._tag, "InvalidOptions")
    })
  )
})

describe("Sequence.layer", () => {
  it.effect("runs for the life of the layer, and fails to build with a name that cannot be used", () =>
    Effect.gen(function* () {
      const live = Memory.layer({ node: "a" })
      const { body, log } = recorder()
      yield* settled.pipe(Effect.provide(Sequence.layer(Shards, body()).pipe(Layer.provide(live))))
      assert.deepStrictEqual(log, ["+a 0/1", "-a 0/1"])
      const bad = Sequence.layer(Sequence.make("a b"), body()).pipe(Layer.provide(live))
      assert.strictEqual((yield* Effect.flip(Effect.provide(Effect.void, bad))).reason._tag, "InvalidOptions")
    })
  )
})

describe("the acknowledgements", () => {
  const seated = (id: string, revision: number, ...tokens: ReadonlyArray<number>): Acks.Seated => {
    const members = tokens.map((token) => member(`m${token}`, token))
    const token = BigInt(id.slice(1))
    const place = placeOf(id, { _tag: "Held", token }, viewOf(revision, members))
    if (place._tag !== "Seated") throw new Error(place._tag)
    return place
  }
  const ack = (standing: Acks.Standing, change: Partial<Acks.Ack> = {}) =>
    member(standing.seat.id, 900, Acks.encode({ ...Acks.ackOf(standing), ...change }))
  const acksOf = (...entries: ReadonlyArray<Group.Member<string>>) => viewOf(1_000, entries)
  const show = (verdict: Acks.Verdict) =>
    verdict._tag === "Wait"
      ? `Wait ${verdict.lagging}`
      : verdict._tag === "Adopt"
        ? `Adopt ${verdict.mark}`
        : verdict._tag

  it("marks a join by the newcomer's token, whatever revision shows it, and a leave by the view's", () => {
    const first = Acks.stand(undefined, seated("m2", 17, 2, 5, 9))
    assert.strictEqual(first.mark, 9n)
    const joined = Acks.stand(first, seated("m2", 40, 2, 5, 9, 31))
    assert.strictEqual(joined.mark, 31n)
    const left = Acks.stand(joined, seated("m2", 44, 2, 9, 31))
    assert.strictEqual(left.mark, 44n)
    assert.strictEqual(Acks.stand(left, seated("m2", 60, 2, 9, 31)), left, "a revision that grows is no news")
  })

  it("raises the mark with every change, also when a store gives one revision twice", () => {
    const first = Acks.stand(undefined, seated("m2", 9, 2, 5, 9))
    assert.strictEqual(Acks.stand(first, seated("m2", 9, 2, 9)).mark, 10n)
  })

  it("takes a view from below an adopted mark for old news", () => {
    const adopted = Acks.adopt(Acks.stand(undefined, seated("m2", 9, 2, 5, 9)), 13n)
    assert.strictEqual(Acks.stand(adopted, seated("m2", 12, 2, 5, 9, 11)), adopted)
    assert.strictEqual(Acks.stand(adopted, seated("m2", 14, 2, 5)).mark, 14n)
    assert.strictEqual(Acks.stand(adopted, seated("m12", 12, 2, 5, 9, 12)).mark, 12n, "another token begins anew")
  })

  it("decides", () => {
    const me = Acks.stand(undefined, seated("m2", 9, 2, 5, 9))
    const five = Acks.stand(undefined, seated("m5", 20, 2, 5, 9))
    const nine = Acks.stand(undefined, seated("m9", 9, 2, 5, 9))
    const decide = (...entries: ReadonlyArray<Group.Member<string>>) => show(Acks.verdict(me, acksOf(...entries)))
    const other = { print: fingerprint(["other"]) }
    assert.strictEqual(decide(), "Wait m5,m9")
    assert.strictEqual(decide(ack(five)), "Wait m9")
    assert.strictEqual(decide(ack(five), ack(nine)), "Start")
    assert.strictEqual(decide(ack(five), ack(nine, { token: 8n })), "Wait m9", "of its former holding")
    assert.strictEqual(decide(ack(five), ack(nine, { mark: 8n })), "Wait m9")
    assert.strictEqual(decide(ack(five), ack(nine, other)), "Wait m9", "the same mark for others")
    assert.strictEqual(decide(ack(five, { mark: 12n }), ack(nine)), "Adopt 12")
    assert.strictEqual(decide(ack(five, { mark: 12n }), ack(nine, { mark: 15n })), "Adopt 15")
    assert.strictEqual(decide(ack(five, { mark: 12n, ...other }), ack(nine)), "Behind")
    assert.strictEqual(decide(ack(five, { mark: 12n, ...other }), ack(nine, { mark: 15n })), "Adopt 15")
    assert.strictEqual(decide(ack(five), member("m9", 900, "")), "Wait m9")
    assert.strictEqual(decide(ack(five), member("m9", 900, "9/9/zz")), "Wait m9")
    assert.isFalse(Acks.isOutrun(me, acksOf(ack(five), ack(nine))))
    assert.isTrue(Acks.isOutrun(me, acksOf(ack(five, { mark: 10n }), ack(nine))))
    assert.isFalse(Acks.isOutrun(me, acksOf(ack(five, { mark: 10n, token: 4n }), ack(nine))))
    assert.isFalse(Acks.isOutrun(me, acksOf(ack(me, { mark: 99n }))), "its own")
  })

  /** The protocol alone, over views that come as late and as conflated as they like. */
  const simulate = (seed: number) => {
    let state = seed
    const random = (below: number) => {
      state = (Math.imul(state ^ (state >>> 15), 0x2c1b3c6d) + 0x6d2b79f5) >>> 0
      return ((state ^ (state >>> 13)) >>> 0) % below
    }
    interface Peer {
      readonly id: string
      readonly token: bigint
      main: number
      shown: number
      acks: number
      published: string
      standing: Acks.Standing | undefined
      running: Acks.Standing | undefined
      crashed: boolean
    }
    let revision = 1
    let names = 0
    let peers: Array<Peer> = []
    const main: Array<{ readonly at: number; readonly members: ReadonlyArray<Group.Member<string>> }> = [
      { at: 0, members: [] }
    ]
    const acks: Array<ReadonlyMap<string, Group.Member<string>>> = [new Map()]
    const members = () => main.at(-1)?.members ?? []
    const change = (next: ReadonlyArray<Group.Member<string>>) => main.push({ at: revision, members: next })
    const join = () => {
      revision++
      // Ids come back under other tokens.
      const id = `m${names++ % 5}`
      if (members().some((one) => one.id === id)) return
      change([...members(), member(id, revision)])
      const at = main.length - 1
      peers.push({
        id,
        token: BigInt(revision),
        main: at,
        shown: revision,
        acks: random(acks.length),
        published: "",
        standing: undefined,
        running: undefined,
        crashed: false
      })
    }
    const leave = (peer: Peer) => {
      peer.running = undefined
      peers = peers.filter((one) => one !== peer)
      revision++
      change(members().filter((one) => one.token !== peer.token))
    }
    const look = (peer: Peer, newest: boolean) => {
      peer.main = newest ? main.length - 1 : peer.main + random(main.length - peer.main)
      peer.acks = newest ? acks.length - 1 : peer.acks + random(acks.length - peer.acks)
      const until = main[peer.main + 1]?.at ?? revision + 1
      const from = Math.max(peer.shown, main[peer.main]?.at ?? 0)
      peer.shown = from + random(Math.max(1, until - from))
    }
    const act = (peer: Peer) => {
      const view = viewOf(peer.shown, main[peer.main]?.members ?? [])
      const place = placeOf(peer.id, { _tag: "Held", token: peer.token }, view)
      const seen = Group.makeView({ members: acks[peer.acks]?.values() ?? [], revision: 1n })
      if (place._tag !== "Seated") throw new Error(`${peer.id} is ${place._tag}`)
      if (peer.running !== undefined) {
        if (Acks.isNews(peer.running, place) || Acks.isOutrun(peer.running, seen)) peer.running = undefined
        return
      }
      peer.standing = Acks.stand(peer.standing, place)
      const text = Acks.encode(Acks.ackOf(peer.standing))
      if (text !== peer.published) {
        peer.published = text
        revision++
        acks.push(new Map([...(acks.at(-1) ?? []), [peer.id, member(peer.id, revision, text)]]))
        return
      }
      const verdict = Acks.verdict(peer.standing, seen)
      if (verdict._tag === "Start") peer.running = peer.standing
      else if (verdict._tag === "Adopt") peer.standing = Acks.adopt(peer.standing, verdict.mark)
    }
    const check = () => {
      const divisions = new Set(peers.flatMap(({ running }) => (running === undefined ? [] : [running.print])))
      assert.isAtMost(divisions.size, 1, `seed ${seed}: bodies of two divisions at revision ${revision}`)
    }
    let starts = 0
    for (let step = 0; step < 600; step++) {
      const peer = peers[random(Math.max(1, peers.length))]
      const what = random(40)
      if (what === 0 || peer === undefined) join()
      else if (what === 1) {
        if (random(2) === 0) leave(peer)
        else {
          peer.crashed = true
          peer.running = undefined
        }
      } else if (peer.crashed) {
        if (what < 6) leave(peer)
      } else if (what < 20) look(peer, false)
      else {
        const before = peer.running
        act(peer)
        if (before === undefined && peer.running !== undefined) starts++
      }
      check()
    }
    for (const peer of peers.filter(({ crashed }) => crashed)) leave(peer)
    if (peers.length === 0) join()
    for (let round = 0; round < 40; round++) {
      for (const peer of peers) {
        look(peer, true)
        act(peer)
        check()
      }
    }
    const all = fingerprint(members().map(({ id, token }) => `${token}/${id}`))
    for (const { id, running } of peers) assert.strictEqual(running?.print, all, `seed ${seed}: ${id} does not run`)
    return starts
  }

  it("never let two divisions overlap and never deadlock, in three hundred schedules", () => {
    let starts = 0
    for (let seed = 1; seed <= 300; seed++) starts += simulate(seed)
    assert.isAbove(starts, 1_000, "the schedules start hardly anything")
  })
})

describe("exclusive", () => {
  const exclusive = { exclusive: true } as const

  it.effect("starts a body only when every other member has stopped its old one", () =>
    Effect.gen(function* () {
      const { entries, run } = yield* setup("a", "b")
      const { body, log, overlaps } = recorder()
      const a = yield* Effect.forkChild(run("a")(Sequence.run(Shards, body(Effect.sleep("3 seconds")), exclusive)))
      yield* settled
      const b = yield* Effect.forkChild(run("b")(Sequence.run(Shards, body(), exclusive)))
      yield* settled
      yield* TestClock.adjust("2900 millis")
      assert.deepStrictEqual(log, ["+a 0/1"], "a is still stopping")
      yield* TestClock.adjust("200 millis")
      assert.sameMembers(log, ["+a 0/1", "-a 0/1", "+a 0/2", "+b 1/2"])
      const leaving = yield* Effect.forkChild(Fiber.interrupt(a))
      yield* settled
      yield* TestClock.adjust("2900 millis")
      assert.lengthOf(log, 4, "a keeps its place until its body has stopped")
      yield* TestClock.adjust("200 millis")
      yield* Fiber.join(leaving)
      yield* settled
      assert.deepStrictEqual(log.slice(4), ["-a 0/2", "-b 1/2", "+b 0/1"])
      yield* Fiber.interrupt(b)
      assert.deepStrictEqual(overlaps, [])
      assert.deepStrictEqual(yield* entries, [])
    })
  )

  it.effect("waits for a dead member until its session ends", () =>
    Effect.gen(function* () {
      const { faults, healAll, run } = yield* setup("a", "b", "c")
      const { body, log, overlaps } = recorder()
      const a = yield* Effect.forkChild(run("a")(Sequence.run(Shards, body(), exclusive)))
      const b = yield* Effect.forkChild(run("b")(Sequence.run(Shards, body(), exclusive)))
      yield* TestClock.adjust("1 second")
      yield* faults.partition("a")
      const c = yield* Effect.forkChild(run("c")(Sequence.run(Shards, body(), exclusive)))
      yield* TestClock.adjust("5 seconds")
      assert.notInclude(log.join(), "+c", "a has not acknowledged and may still run")
      yield* TestClock.adjust("20 seconds")
      assert.includeMembers(log, ["+b 0/2", "+c 1/2"])
      assert.isBelow(log.indexOf("-a 0/2"), log.indexOf("+c 1/2"))
      yield* healAll
      yield* TestClock.adjust("1 minute")
      assert.includeMembers(log, ["+b 0/3", "+c 1/3", "+a 2/3"])
      assert.deepStrictEqual(overlaps, [])
      yield* Fiber.interruptAll([a, b, c])
    })
  )

  it.effect("costs one small write for each member and change, and none without a change", () =>
    Effect.gen(function* () {
      const nodes = Array.from({ length: 8 }, (_, index) => `n${index}`)
      const { run, store } = yield* setup(...nodes, "late")
      const { body, running } = recorder()
      const fibers: Array<Fiber.Fiber<unknown, unknown>> = []
      for (const node of nodes) fibers.push(yield* Effect.forkChild(run(node)(Sequence.run(Shards, body(), exclusive))))
      yield* TestClock.adjust("2 seconds")
      assert.strictEqual(running.size, 8)
      const writes = Effect.map(Faults.inspect(store), ({ requests }) => requests["Group.update"] ?? 0)
      const before = yield* writes
      yield* TestClock.adjust("1 minute")
      assert.strictEqual((yield* writes) - before, 0)
      fibers.push(yield* Effect.forkChild(run("late")(Sequence.run(Shards, body(), exclusive))))
      yield* TestClock.adjust("2 seconds")
      assert.strictEqual(running.size, 9)
      assert.isAtMost((yield* writes) - before, 9)
      yield* Fiber.interruptAll(fibers)
    })
  )

  it.effect("does not deadlock when the members learn of one change at different revisions", () =>
    Effect.gen(function* () {
      const { faults, run } = yield* setup("a", "b", "c")
      const { body, overlaps, running } = recorder()
      const fibers: Array<Fiber.Fiber<unknown, unknown>> = []
      for (const node of ["a", "b"])
        fibers.push(yield* Effect.forkChild(run(node)(Sequence.run(Shards, body(), exclusive))))
      yield* TestClock.adjust("1 second")
      // b never hears of c, for which a stops and acknowledges twice.
      yield* faults.partition("b", "refused")
      const c = yield* Effect.forkChild(run("c")(Sequence.run(Shards, body(), exclusive)))
      yield* settled
      assert.deepStrictEqual(Array.from(running.keys()), ["b"])
      yield* Fiber.interrupt(c)
      yield* settled
      yield* faults.put({ kind: "lock", name: "elsewhere" }, "x", "1")
      yield* faults.heal("b")
      yield* TestClock.adjust("3 seconds")
      assert.deepStrictEqual(Array.from(running.keys()).sort(), ["a", "b"])
      assert.deepStrictEqual(overlaps, [])
      yield* Fiber.interruptAll(fibers)
    })
  )

  it.effect("names whom it waits for when one does not take part", () =>
    Effect.gen(function* () {
      const { run } = yield* setup("a", "b")
      const { body, log } = recorder()
      const other = yield* follow(run("b"))
      const a = yield* Effect.forkChild(run("a")(Sequence.run(Shards, body(), exclusive)))
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual(log, [])
      yield* Fiber.interrupt(other.fiber)
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(log, ["+a 0/1"])
      yield* Fiber.interrupt(a)
    })
  )

  it.effect.each(Array.from({ length: 15 }, (_, seed) => seed + 1))(
    "never overlaps, and goes on, under random delays and losses with seed %i",
    (seed) =>
      Effect.gen(function* () {
        const nodes = ["a", "b", "c", "d"]
        const { faults, healAll, run } = yield* setup(...nodes)
        const { body, overlaps, running } = recorder()
        const between = Random.nextIntBetween
        const once = (node: string) =>
          Effect.gen(function* () {
            yield* Effect.sleep(yield* between(0, 4_000))
            const what = yield* between(0, 6)
            if (what === 0) yield* faults.delayEvents(node, yield* between(0, 2_000))
            else if (what === 1) yield* faults.delayRequests(node, yield* between(0, 300))
            else if (what === 2) yield* faults.expireSession(node)
            else if (what === 3) yield* faults.partition(node)
            else if (what === 4) yield* faults.heal(node)
            yield* Effect.timeoutOption(
              Sequence.run(Shards, body(Effect.sleep(yield* between(0, 1_000))), exclusive),
              yield* between(1_000, 20_000)
            )
          }).pipe(
            // Joining while the store cannot be reached is refused.
            Effect.catchTag("CoordinatorError", () => Effect.void),
            run(node)
          )
        const churn = yield* Effect.forkChild(
          Effect.all(
            nodes.map((node) => Effect.repeat(once(node), { times: 4 })),
            { concurrency: "unbounded" }
          )
        )
        for (let second = 0; second < 200 && churn.pollUnsafe() === undefined; second++) {
          yield* TestClock.adjust("1 second")
          if (second % 15 === 14) yield* healAll
        }
        yield* healAll
        yield* TestClock.adjust("1 minute")
        assert.isDefined(churn.pollUnsafe())
        assert.deepStrictEqual(Exit.isSuccess(yield* Fiber.await(churn)), true)
        const last = yield* Effect.forEach(nodes, (node) =>
          Effect.forkChild(run(node)(Sequence.run(Shards, body(), exclusive)))
        )
        yield* TestClock.adjust("1 minute")
        assert.strictEqual(running.size, nodes.length, "all of them run in the end")
        assert.deepStrictEqual(overlaps, [])
        yield* Fiber.interruptAll(last)
      }).pipe(Random.withSeed(seed))
  )
})

describe("Sequence.assign", () => {
  const arbitraryIds = Schema.UniqueArray(Schema.String.check(Schema.isPattern(/^[a-z0-9.-]{1,12}$/))).check(
    Schema.isMinLength(1),
    Schema.isMaxLength(12)
  )
  const arbitraryCount = Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 200 }))
  const shares = (members: ReadonlyArray<string>, partitions: number) =>
    members.map((id) => Sequence.assign({ id, members }, partitions))

  it("gives the same owners in every version", () => {
    assert.deepStrictEqual(Sequence.owners(["a", "b", "c"], 12).join(""), "bbccbabbcaba")
    assert.deepStrictEqual(
      Sequence.assign({ id: "web-1", members: ["web-1", "web-2"] }, 16),
      [0, 1, 2, 4, 6, 8, 9, 10, 14]
    )
    assert.deepStrictEqual(Sequence.owners(["ä", "ß", "語"], 8).join(""), "語ä語語äßäß")
    assert.strictEqual(fingerprint(["a", "b"]), "c4a0228abdad0fdc")
    assert.strictEqual(fingerprint(["ab"]), "dbb74cda0bbc9d75")
  })

  it("parts ids whose hashes collide", () => {
    const members = ["declinate", "macallums"]
    const [first = [], second = []] = shares(members, 100)
    assert.isAbove(first.length, 20)
    assert.isAbove(second.length, 20)
  })

  it("spreads partitions evenly enough", () => {
    const members = Array.from({ length: 10 }, (_, index) => `node-${index}`)
    for (const share of shares(members, 10_000)) {
      assert.isAbove(share.length, 850)
      assert.isBelow(share.length, 1150)
    }
  })

  it("owns nothing of what is no number of partitions", () => {
    for (const partitions of [0, -1, 1.5, Number.NaN, Number.POSITIVE_INFINITY]) {
      assert.deepStrictEqual(Sequence.assign({ id: "a", members: ["a"] }, partitions), [])
      assert.deepStrictEqual(Sequence.owners([], partitions), [])
    }
    assert.deepStrictEqual(Sequence.owners([], 3), [])
    assert.deepStrictEqual(Sequence.assign({ id: "b", members: ["a"] }, 3), [])
  })

  it("pipes", () => {
    const seat = { id: "a", members: ["a"] }
    assert.deepStrictEqual(Sequence.assign(3)(seat), [0, 1, 2])
    assert.deepStrictEqual(Sequence.owners(2)(["a"]), ["a", "a"])
  })

  it.prop(
    "gives each partition to exactly one member, in any order of them",
    [arbitraryIds, arbitraryCount],
    ([ids, n]) => {
      const all = shares(ids, n).flat()
      assert.sameMembers(
        all,
        Array.from({ length: n }, (_, partition) => partition)
      )
      assert.deepStrictEqual(Sequence.owners([...ids].reverse(), n), Sequence.owners(ids, n))
    }
  )

  it.prop("moves only the partitions of the one who leaves", [arbitraryIds, arbitraryCount], ([ids, n]) => {
    const [leaver, ...rest] = ids
    if (rest.length === 0) return
    const after = Sequence.owners(rest, n)
    for (const [partition, owner] of Sequence.owners(ids, n).entries()) {
      if (owner !== leaver) assert.strictEqual(after[partition], owner)
    }
  })
})
