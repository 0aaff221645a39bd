import { assert, describe, it } from "@effect/vitest"
import type { Duration, Scope } from "effect"
import {
  Clock,
  Context,
  Deferred,
  Effect,
  Exit,
  Fiber,
  Layer,
  Logger,
  Metric,
  Option,
  Schedule,
  Stream,
  Tracer
} from "effect"
import { Coordinator, Election, Memory, Membership } from "effect-ensemble"
import type { CoordinatorError } from "effect-ensemble"
import { Faults } from "effect-ensemble/testing"
import { TestClock } from "effect/testing"

const Report = Election.make("report")

/** Sessions open at 0 with 10 seconds, so a process cut off before its first renewal stops at 8 and overruns at 10. */
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
    const entries = Effect.map(Faults.inspect(store), (inspection) => inspection.entries.map((entry) => entry.id))
    return { store, faults: Faults.make(store), at, run: (node: string) => at(node).run, entries }
  })

/** Lets everything happen that needs no time: a request takes turns of the scheduler, which the test clock cannot see. */
const settled = Effect.yieldNow.pipe(Effect.repeat({ times: 300 }), Effect.asVoid)

/** Moves time, with what it leads to. */
const pass = (by: Duration.Input) => settled.pipe(Effect.andThen(TestClock.adjust(by)), Effect.andThen(settled))

/** Ends a fiber whose body takes its time to stop. */
const end = (fiber: Fiber.Fiber<unknown, unknown>) =>
  Effect.forkChild(Fiber.interrupt(fiber)).pipe(Effect.tap(pass("10 minutes")), Effect.flatMap(Fiber.join))

const seconds = Effect.map(Clock.currentTimeMillis, (millis) => Math.round(millis / 100) / 10)

/** A body that notes when it begins and when it is told to stop, and never ends. */
const recorder = () => {
  const began: Array<{ readonly token: bigint; readonly at: number }> = []
  const stopped: Array<number> = []
  const body = (tenure: Election.Tenure) =>
    Effect.gen(function* () {
      began.push({ token: tenure.token, at: yield* seconds })
      return yield* Effect.never
    }).pipe(Effect.onInterrupt(() => Effect.map(seconds, (at) => stopped.push(at))))
  return { began, stopped, body }
}

const countOf = (group: string) =>
  Effect.map(Metric.snapshot, (metrics) =>
    metrics
      .filter((metric) => metric.id === "ensemble_overruns" && metric.attributes?.["group"] === group)
      .reduce((sum, metric) => sum + (metric.type === "Counter" ? Number(metric.state.count) : 0), 0)
  )

const leadingOf = (group: string) =>
  Effect.map(Metric.snapshot, (metrics) =>
    metrics
      .filter((metric) => metric.id === "ensemble_leadership_held" && metric.attributes?.["group"] === group)
      .map((metric) => (metric.type === "Gauge" ? Number(metric.state.value) : -1))
  )

describe("Election.campaign", () => {
  it.effect("elects the first, then the next with a larger token", () =>
    Effect.gen(function* () {
      const { entries, run } = yield* setup("one", "two")
      const first = yield* Deferred.make<void>()
      const one = yield* Effect.gen(function* () {
        const tenure = yield* Election.campaign(Report)
        yield* Deferred.await(first)
        return tenure
      }).pipe(Effect.scoped, run("one"), Effect.forkChild)
      yield* settled
      const two = yield* Election.campaign(Report, { value: "10.0.0.2" }).pipe(run("two"), Effect.forkChild)
      yield* settled
      assert.isUndefined(two.pollUnsafe(), "the second waits")
      assert.sameMembers(yield* entries, ["one", "two"])
      yield* Deferred.succeed(first, undefined)
      yield* settled
      const before = yield* Fiber.join(one)
      const after = yield* Fiber.join(two)
      assert.strictEqual(before.id, "one")
      assert.strictEqual(after.id, "two")
      assert.isTrue(after.token > before.token)
      assert.strictEqual(yield* run("two")(after.ensure), after.token)
      assert.strictEqual((yield* Effect.flip(run("one")(before.ensure))).cause, "Closed")
      assert.deepStrictEqual(yield* entries, ["two"])
    })
  )

  it.effect("leaves nothing behind when the caller gives up waiting and keeps its scope", () =>
    Effect.gen(function* () {
      const { entries, run } = yield* setup("one", "two")
      yield* run("one")(Election.campaign(Report))
      const waiting = yield* Election.campaign(Report).pipe(
        Effect.timeoutOption("2 seconds"),
        run("two"),
        Effect.forkChild
      )
      yield* pass("2100 millis")
      assert.isTrue(Option.isNone(yield* Fiber.join(waiting)))
      assert.deepStrictEqual(yield* entries, ["one"])
    })
  )

  it.effect("fails with InvalidOptions for a name that cannot be used", () =>
    Effect.gen(function* () {
      const { run } = yield* setup("one")
      const error = yield* Effect.flip(run("one")(Effect.scoped(Election.campaign(Election.make("no spaces")))))
      assert.strictEqual(error._tag === "CoordinatorError" ? error.reason._tag : error._tag, "InvalidOptions")
    })
  )
})

describe("Election.lead", () => {
  it.effect("ends with the body's value and resigns", () =>
    Effect.gen(function* () {
      const { entries, run } = yield* setup("one")
      const value = yield* Election.lead(Report, (tenure) => Effect.map(tenure.ensure, () => `by ${tenure.id}`)).pipe(
        run("one")
      )
      assert.strictEqual(value, "by one")
      assert.deepStrictEqual(yield* entries, [])
    })
  )

  it.effect("takes the body last, as an effect too", () =>
    Effect.gen(function* () {
      const { run } = yield* setup("one")
      assert.strictEqual(yield* Effect.succeed(1).pipe(Election.lead(Report), run("one")), 1)
      assert.strictEqual(yield* Effect.succeed(2).pipe(Election.lead(Report, { id: "me" }), run("one")), 2)
      assert.strictEqual(yield* Election.lead(Report, Effect.succeed(3), { id: "me" }).pipe(run("one")), 3)
    })
  )

  it.effect("fails with the body's failure and resigns", () =>
    Effect.gen(function* () {
      const { entries, run } = yield* setup("one")
      assert.strictEqual(yield* Effect.flip(run("one")(Election.lead(Report, Effect.fail("broken")))), "broken")
      assert.deepStrictEqual(yield* entries, [])
    })
  )

  it.effect("resigns only after the body and what it acquired have stopped", () =>
    Effect.gen(function* () {
      const { entries, run } = yield* setup("one")
      const held: Array<string> = []
      const note = (what: string) => Effect.map(entries, (ids) => held.push(`${what}: ${ids.join()}`))
      yield* Election.lead(
        Report,
        Effect.andThen(
          Effect.acquireRelease(Effect.void, () => note("released")),
          Effect.void
        )
      ).pipe(run("one"))
      const fiber = yield* Election.lead(
        Report,
        Effect.never.pipe(Effect.onInterrupt(() => Effect.andThen(Effect.sleep("1 second"), note("interrupted"))))
      ).pipe(run("one"), Effect.forkChild)
      yield* settled
      const interrupting = yield* Effect.forkChild(Fiber.interrupt(fiber))
      yield* pass("2 seconds")
      yield* Fiber.join(interrupting)
      assert.deepStrictEqual(held, ["released: one", "interrupted: one"])
      assert.deepStrictEqual(yield* entries, [])
    })
  )

  it.effect("interrupts a leader that is cut off by its deadline, and the successor has a larger token", () =>
    Effect.gen(function* () {
      const { faults, run } = yield* setup("one", "two")
      const one = recorder()
      const two = recorder()
      const tenures: Array<Election.Tenure> = []
      const refusals: Array<string> = []
      const body = (tenure: Election.Tenure) =>
        Effect.suspend(() => {
          tenures.push(tenure)
          const refused = Effect.match(tenure.ensure, {
            onFailure: (lost) => refusals.push(lost.cause),
            onSuccess: () => refusals.push("held")
          })
          return one.body(tenure).pipe(Effect.onInterrupt(() => refused))
        })
      yield* Election.lead(Report, body).pipe(run("one"), Effect.forkChild)
      yield* settled
      yield* Election.lead(Report, two.body).pipe(run("two"), Effect.forkChild)
      yield* pass("1 second")
      yield* faults.partition("one")
      yield* pass("6900 millis")
      const [tenure] = tenures
      assert.isDefined(tenure)
      if (tenure === undefined) return
      assert.deepStrictEqual(one.stopped, [], "led until its deadline")
      assert.strictEqual(yield* run("one")(tenure.ensure), tenure.token)
      yield* pass("100 millis")
      assert.deepStrictEqual(one.stopped, [8])
      assert.deepStrictEqual(refusals, ["DeadlinePassed"])
      assert.strictEqual((yield* Effect.flip(run("one")(tenure.ensure)))._tag, "MembershipLost")
      assert.deepStrictEqual(two.began, [], "nobody leads before the store has ended the session")
      yield* pass("13 seconds")
      assert.strictEqual(two.began.length, 1)
      assert.isTrue((two.began[0]?.at ?? 0) >= 10)
      assert.isTrue((two.began[0]?.token ?? 0n) > tenure.token)
      assert.strictEqual(one.began.length, 1)
    })
  )

  it.effect("campaigns again after a loss, behind those who came meanwhile", () =>
    Effect.gen(function* () {
      const { entries, faults, run } = yield* setup("one", "two")
      const one = recorder()
      yield* Election.lead(Report, one.body).pipe(run("one"), Effect.forkChild)
      yield* settled
      const done = yield* Deferred.make<void>()
      yield* Election.lead(Report, Deferred.await(done)).pipe(run("two"), Effect.forkChild)
      yield* settled
      yield* faults.expireSession("one")
      yield* pass("6 seconds")
      assert.strictEqual(one.stopped.length, 1)
      assert.strictEqual(one.began.length, 1)
      assert.sameMembers(yield* entries, ["one", "two"])
      yield* Deferred.succeed(done, undefined)
      yield* settled
      assert.strictEqual(one.began.length, 2)
      assert.isTrue((one.began[1]?.token ?? 0n) > (one.began[0]?.token ?? 0n))
    })
  )

  it.effect("does not campaign before the body of the lost tenure has stopped", () =>
    Effect.gen(function* () {
      const { entries, faults, run } = yield* setup("one")
      let running = 0
      let most = 0
      const body = Effect.acquireUseRelease(
        Effect.sync(() => {
          running++
          most = Math.max(most, running)
        }),
        () => Effect.never,
        () =>
          Effect.andThen(
            Effect.sleep("1 minute"),
            Effect.sync(() => running--)
          )
      )
      const fiber = yield* Election.lead(Report, body).pipe(run("one"), Effect.forkChild)
      yield* settled
      yield* faults.remove(Report.group, "one")
      yield* pass("59 seconds")
      assert.strictEqual(running, 1)
      assert.deepStrictEqual(yield* entries, [])
      yield* pass("3 seconds")
      assert.strictEqual(running, 1)
      assert.strictEqual(most, 1)
      assert.deepStrictEqual(yield* entries, ["one"])
      yield* end(fiber)
    })
  )

  /** A coordinator whose session is told by a stream of somebody else's. */
  const retold = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
    Effect.flatMap(Coordinator.Coordinator, (coordinator) =>
      Effect.provideService(effect, Coordinator.Coordinator, {
        ...coordinator,
        session: Stream.map(coordinator.session, (state) => state)
      })
    )

  type Through = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R | Coordinator.Coordinator>
  const ways: ReadonlyArray<readonly [where: string, through: Through]> = [
    ["", (effect) => effect],
    [", as the states of the session tell it", retold]
  ]
  for (const [where, through] of ways) {
    it.effect(`reports a body that cannot be stopped as an overrun, once, at the end of the granted TTL${where}`, () =>
      Effect.gen(function* () {
        const { faults, run } = yield* setup("one")
        const Overrunning = Election.make(`overrunning${where.length}`)
        const before = yield* countOf(`election/overrunning${where.length}`)
        const overruns: Array<{ readonly at: number; readonly token: bigint; readonly cause: string }> = []
        const tokens: Array<bigint> = []
        const errors: Array<unknown> = []
        const logger = Logger.make((entry) => {
          if (entry.logLevel === "Error") errors.push(entry.message)
        })
        const fiber = yield* Election.lead(
          Overrunning,
          (tenure) =>
            Effect.uninterruptible(
              Effect.andThen(
                Effect.sync(() => tokens.push(tenure.token)),
                tokens.length > 1 ? Effect.void : Effect.sleep("1 minute")
              )
            ),
          {
            onOverrun: ({ loss, tenure }) =>
              Effect.map(seconds, (at) => overruns.push({ at, token: tenure.token, cause: loss.cause }))
          }
        ).pipe(through, run("one"), Effect.provide(Logger.layer([logger])), Effect.forkChild)
        yield* pass("1 second")
        yield* faults.partition("one")
        yield* pass("8900 millis")
        assert.deepStrictEqual(overruns, [], "the deadline is at 8 seconds, the store's at 10")
        yield* pass("40 seconds")
        assert.deepStrictEqual(overruns, [{ at: 10, token: tokens[0] ?? 0n, cause: "DeadlinePassed" }])
        assert.strictEqual((yield* countOf(`election/overrunning${where.length}`)) - before, 1)
        assert.strictEqual(errors.length, 1)
        yield* end(fiber)
        assert.match(
          String(errors[0]),
          /one, which no longer leads election\/overrunning\d+ \(token \d+\), was still running/
        )
      })
    )

    it.effect(`counts renewals for the moment of an overrun, but none after the entry is gone${where}`, () =>
      Effect.gen(function* () {
        const { faults, run } = yield* setup("one")
        const overruns: Array<number> = []
        const fiber = yield* Election.lead(
          Election.make("renewed"),
          Effect.uninterruptible(Effect.sleep("5 minutes")),
          {
            onOverrun: () => Effect.map(seconds, (at) => overruns.push(at))
          }
        ).pipe(through, run("one"), Effect.forkChild)
        yield* pass("1 minute")
        yield* faults.remove(Election.make("renewed").group, "one")
        yield* pass("1 minute")
        yield* end(fiber)
        assert.strictEqual(overruns.length, 1)
        // The last renewal was sent at most 3.7 seconds (a third of the TTL and 10 %) before the entry went.
        assert.isTrue((overruns[0] ?? 0) > 66 && (overruns[0] ?? 0) <= 70, `overrun at ${overruns[0]}`)
      })
    )
  }

  it.effect("reports no overrun for a body that stops in time", () =>
    Effect.gen(function* () {
      const { faults, run } = yield* setup("one")
      const overruns: Array<Election.Overrun> = []
      yield* Election.lead(Report, Effect.never.pipe(Effect.onInterrupt(() => Effect.sleep("1900 millis"))), {
        onOverrun: (overrun) => Effect.sync(() => overruns.push(overrun))
      }).pipe(run("one"), Effect.forkChild)
      yield* pass("1 second")
      yield* faults.partition("one")
      yield* pass("1 minute")
      assert.deepStrictEqual(overruns, [])
    })
  )

  it.effect("lets a loss reach a body that runs in an uninterruptible region", () =>
    Effect.gen(function* () {
      const { faults, run } = yield* setup("one")
      const { body, stopped } = recorder()
      const fiber = yield* Effect.uninterruptible(Election.lead(Report, body, { retry: Schedule.recurs(0) })).pipe(
        Effect.flip,
        run("one"),
        Effect.forkChild
      )
      yield* settled
      yield* faults.partition("one")
      yield* pass("9 seconds")
      assert.deepStrictEqual(stopped, [8])
      assert.strictEqual((yield* Fiber.join(fiber))._tag, "MembershipLost", "the schedule wants no second campaign")
    })
  )

  it.effect("takes a body that was refused by its own tenure for interrupted", () =>
    Effect.gen(function* () {
      const { faults, run } = yield* setup("one")
      let terms = 0
      const fiber = yield* Election.lead(Report, (tenure) =>
        Effect.suspend((): Effect.Effect<bigint | string, Membership.MembershipLost> => {
          terms++
          return terms > 1
            ? Effect.succeed("second term")
            : Effect.uninterruptible(Effect.andThen(Effect.sleep("9 seconds"), tenure.ensure))
        })
      ).pipe(run("one"), Effect.forkChild)
      yield* settled
      yield* faults.partition("one")
      yield* pass("9 seconds")
      yield* faults.heal("one")
      yield* pass("30 seconds")
      assert.strictEqual(yield* Fiber.join(fiber), "second term")
    })
  )

  it.effect("knows of a refusal also where the news of the loss comes later, and begins no body without a tenure", () =>
    Effect.gen(function* () {
      const { at, faults, run } = yield* setup("one")
      const { coordinator } = at("one")
      const begun: Array<bigint> = []
      let grants = 0
      const late: Coordinator.Coordinator["Service"] = {
        ...coordinator,
        group: (name) => {
          const group = coordinator.group(name)
          const originals = new WeakMap<object, Membership.Membership>()
          return {
            ...group,
            join: (entry, options) =>
              Effect.map(group.join(entry, options), (membership) => {
                const slow = Effect.catch(membership.lost, (lost) => Effect.delay(Effect.fail(lost), "1 hour"))
                const told = { ...membership, lost: slow }
                originals.set(told, membership)
                return told
              }),
            awaitTurn: (mine) => {
              const original = originals.get(mine) ?? mine
              // The first grant is lost before anybody can use it.
              const lose = Effect.andThen(faults.expireSession("one"), Effect.exit(original.lost))
              return Effect.tap(group.awaitTurn(original), () => (grants++ === 0 ? lose : Effect.void))
            }
          }
        }
      }
      const fiber = yield* Election.lead(Report, (tenure) =>
        Effect.gen(function* () {
          begun.push(tenure.token)
          if (begun.length > 1) return "third term"
          yield* faults.expireSession("one")
          yield* Effect.sleep("6 seconds")
          return yield* tenure.ensure
        })
      ).pipe(Effect.provideService(Coordinator.Coordinator, late), run("one"), Effect.forkChild)
      yield* pass("1 minute")
      assert.strictEqual(yield* Fiber.join(fiber), "third term")
      assert.strictEqual(grants, 3)
      assert.strictEqual(begun.length, 2)
    })
  )

  it.effect("fails with a loss that is not of its own tenure, and with a failure after a loss", () =>
    Effect.gen(function* () {
      const { faults, run } = yield* setup("one")
      const foreign = new Membership.MembershipLost({ group: "lock/other", id: "one", cause: "Expired" })
      assert.strictEqual(yield* Effect.flip(run("one")(Election.lead(Report, Effect.fail(foreign)))), foreign)
      for (const failure of ["disk full", foreign]) {
        let terms = 0
        const begin = Effect.andThen(
          Effect.sync(() => terms++),
          Effect.sleep("9 seconds")
        )
        const failing = Effect.uninterruptible(Effect.andThen(begin, Effect.fail(failure)))
        const fiber = yield* Election.lead(Report, failing).pipe(Effect.exit, run("one"), Effect.forkChild)
        yield* settled
        yield* faults.expireSession("one")
        yield* pass("20 seconds")
        const exit = yield* Fiber.join(fiber)
        const failures = Exit.isFailure(exit)
          ? exit.cause.reasons.flatMap((reason) => (reason._tag === "Fail" ? [reason.error] : []))
          : []
        assert.deepStrictEqual(failures, [failure])
        assert.strictEqual(terms, 1)
      }
    })
  )

  it.effect("ends with the loss when the schedule ends, and begins the schedule anew with each election", () =>
    Effect.gen(function* () {
      const { faults, run } = yield* setup("one")
      const { began, body } = recorder()
      const fiber = yield* Election.lead(Report, body, {
        retry: Schedule.max([Schedule.recurs(1), Schedule.spaced("100 millis")])
      }).pipe(Effect.flip, run("one"), Effect.forkChild)
      yield* settled
      for (const losses of [1, 2, 3]) {
        assert.strictEqual(began.length, losses)
        yield* faults.remove(Report.group, "one")
        yield* pass("1 second")
      }
      assert.isUndefined(fiber.pollUnsafe(), "each loss was the first failure of its campaign")
      yield* faults.partition("one")
      yield* pass("30 seconds")
      const error = yield* Fiber.join(fiber)
      assert.strictEqual(error._tag, "CoordinatorError")
    })
  )

  it.effect("waits for a store that is down", () =>
    Effect.gen(function* () {
      const { faults, run } = yield* setup("one")
      yield* faults.partition("one", "refused")
      const { began, body } = recorder()
      const fiber = yield* Election.lead(Report, body).pipe(run("one"), Effect.forkChild)
      yield* pass("1 minute")
      assert.deepStrictEqual(began, [])
      assert.isUndefined(fiber.pollUnsafe())
      yield* faults.heal("one")
      yield* pass("20 seconds")
      assert.strictEqual(began.length, 1)
    })
  )

  it.effect("fails at once for what time does not cure", () =>
    Effect.gen(function* () {
      const { run } = yield* setup("one")
      const invalid = yield* Effect.flip(run("one")(Election.lead(Election.make(""), Effect.never)))
      assert.strictEqual(invalid._tag === "CoordinatorError" ? invalid.reason._tag : invalid._tag, "InvalidOptions")
      yield* Election.lead(Report, Effect.never).pipe(run("one"), Effect.forkChild)
      yield* settled
      const conflict = yield* Effect.flip(run("one")(Election.lead(Report, Effect.never)))
      assert.strictEqual(conflict._tag, "MemberConflict")
    })
  )

  it.effect("shows whether it leads as a metric, and each step as a span", () =>
    Effect.gen(function* () {
      const { run } = yield* setup("one")
      const spans: Array<string> = []
      const tracer = Tracer.make({
        span: (options) => {
          spans.push(options.name)
          return new Tracer.NativeSpan(options)
        }
      })
      const during = yield* Election.lead(Election.make("measured"), leadingOf("election/measured")).pipe(
        run("one"),
        Effect.withTracer(tracer)
      )
      assert.deepStrictEqual(during, [1])
      assert.deepStrictEqual(yield* leadingOf("election/measured"), [0])
      const campaigns = (yield* Metric.snapshot).flatMap((metric) =>
        metric.id === "ensemble_campaign_duration" &&
        metric.attributes?.["group"] === "election/measured" &&
        metric.type === "Histogram"
          ? [metric.state.count]
          : []
      )
      assert.deepStrictEqual(campaigns, [1])
      assert.includeMembers(spans, ["Election.campaign", "Election.tenure"])
      assert.notInclude(spans, "Election.lead")
    })
  )
})

describe("Election.observe", () => {
  it.effect("says that nobody leads, who leads, and when that ends", () =>
    Effect.gen(function* () {
      const { run } = yield* setup("one", "two", "eye")
      const seen: Array<string> = []
      const watching = (node: string, into: Array<string>) =>
        Election.observe(Report).pipe(
          Stream.runForEach((leader) =>
            Effect.sync(() =>
              into.push(
                Option.match(leader, { onNone: () => "-", onSome: ({ id, mine, value }) => `${id} ${value} ${mine}` })
              )
            )
          ),
          run(node),
          Effect.forkChild
        )
      yield* watching("eye", seen)
      yield* settled
      assert.deepStrictEqual(seen, ["-"])
      const one = yield* Election.lead(Report, Effect.never, { value: "first" }).pipe(run("one"), Effect.forkChild)
      yield* settled
      const two = yield* Election.lead(Report, Effect.never, { value: "second" }).pipe(run("two"), Effect.forkChild)
      yield* pass("10 seconds")
      assert.deepStrictEqual(seen, ["-", "one first false"], "a candidate behind the leader changes nothing")
      const late: Array<string> = []
      yield* watching("one", late)
      yield* settled
      assert.deepStrictEqual(late, ["one first true"], "the present leader first")
      yield* Fiber.interrupt(one)
      yield* settled
      yield* Fiber.interrupt(two)
      yield* settled
      assert.deepStrictEqual(seen, ["-", "one first false", "two second false", "-"])
    })
  )

  it.effect("keeps the last known leader while it cannot see", () =>
    Effect.gen(function* () {
      const { faults, run } = yield* setup("one", "eye")
      const seen: Array<string> = []
      const one = yield* Election.lead(Report, Effect.never).pipe(run("one"), Effect.forkChild)
      yield* settled
      yield* Election.observe(Report).pipe(
        Stream.runForEach((leader) => Effect.sync(() => seen.push(Option.isSome(leader) ? leader.value.id : "-"))),
        run("eye"),
        Effect.forkChild
      )
      yield* settled
      yield* faults.partition("eye")
      yield* Fiber.interrupt(one)
      yield* pass("30 seconds")
      assert.deepStrictEqual(seen, ["one"])
      yield* faults.heal("eye")
      yield* pass("30 seconds")
      assert.deepStrictEqual(seen, ["one", "-"])
    })
  )
})

describe("Election.layer", () => {
  it.effect("leads for the life of the layer, and resigns when the body has stopped", () =>
    Effect.gen(function* () {
      const store = yield* Memory.makeStore()
      const process = Memory.layerProcess(store, { node: "one" })
      const entries = Effect.map(Faults.inspect(store), (inspection) => inspection.entries.map((entry) => entry.id))
      const events: Array<string> = []
      const body = Effect.never.pipe(
        Effect.onInterrupt(() => Effect.map(entries, (ids) => events.push(`stopped while ${ids.join()} is there`)))
      )
      const live = Election.layer(Report, body).pipe(Layer.provide(process))
      yield* Effect.gen(function* () {
        yield* settled
        assert.deepStrictEqual(yield* entries, ["one"])
      }).pipe(Effect.provide(live))
      assert.deepStrictEqual(events, ["stopped while one is there"])
      assert.deepStrictEqual(yield* entries, [])
    })
  )

  it.effect("fails to build for a name that cannot be used, and builds while the store is down", () =>
    Effect.gen(function* () {
      const store = yield* Memory.makeStore()
      const process = Memory.layerProcess(store, { node: "one", ttl, connect: "background" })
      const invalid = yield* Effect.flip(
        Effect.scoped(Layer.build(Election.layer(Election.make("a/b"), Effect.never).pipe(Layer.provide(process))))
      )
      assert.strictEqual(invalid.reason._tag, "InvalidOptions")
      const { began, body } = recorder()
      yield* Effect.gen(function* () {
        const context = yield* Layer.build(process)
        const faults = Faults.make(store)
        yield* faults.partition("one", "refused")
        yield* Layer.build(Election.layer(Report, body)).pipe(Effect.provideContext(context))
        yield* faults.heal("one")
        yield* pass("10 seconds")
        assert.strictEqual(began.length, 1)
      }).pipe(Effect.scoped)
    })
  )

  it.effect("logs the failure that ended it", () =>
    Effect.gen(function* () {
      const errors: Array<unknown> = []
      const logger = Logger.make((entry) => {
        if (entry.logLevel === "Error") errors.push(Array.isArray(entry.message) ? entry.message[0] : entry.message)
      })
      const live = Election.layer(Report, Effect.fail("broken")).pipe(
        Layer.provide(Memory.layer()),
        Layer.provide(Logger.layer([logger]))
      )
      yield* settled.pipe(Effect.provide(live))
      assert.deepStrictEqual(errors, ["Leading election/report has failed: this process no longer campaigns"])
    })
  )
})

describe("Election types", () => {
  class Db extends Context.Service<Db, { readonly host: string }>()("test/Db") {}

  it("keeps what the body needs but its scope, and types the failures", () => {
    const body = (_: Election.Tenure): Effect.Effect<"done", "broken", Db | Scope.Scope> => Effect.succeed("done")
    const lead: Effect.Effect<"done", "broken" | Election.CampaignError, Db | Coordinator.Coordinator> = Election.lead(
      Report,
      body
    )
    type Needs<T> = T extends Effect.Effect<unknown, unknown, infer R> ? R : never
    const asRun = () => Election.lead(Report, body)
    const exact: [Needs<typeof lead>] extends [Db | Coordinator.Coordinator] ? true : false = true
    const needsDb: Db extends Effect.Services<ReturnType<typeof asRun>> ? true : false = true
    const noScope: Scope.Scope extends Effect.Services<ReturnType<typeof asRun>> ? true : false = false
    const piped: Effect.Effect<"done", "broken" | Election.CampaignError, Db | Coordinator.Coordinator> =
      Effect.succeed("done" as const).pipe(Election.lead(Report))
    const layer: Layer.Layer<never, CoordinatorError.CoordinatorError, Db | Coordinator.Coordinator> = Election.layer(
      Report,
      body
    )
    assert.isTrue(exact && needsDb && !noScope)
    assert.isTrue(Effect.isEffect(lead) && Effect.isEffect(piped) && Layer.isLayer(layer))
    // An onOverrun that fails would have nobody to fail to.
    type OnOverrun = ReturnType<NonNullable<Election.LeadOptions["onOverrun"]>>
    const mayFail: Effect.Effect<never, string> extends OnOverrun ? true : false = false
    assert.isFalse(mayFail)
  })
})
