import { assert, describe, it } from "@effect/vitest"
import { Cause, Context, Data, Effect, Exit, Fiber, Layer, Schedule, Scope } from "effect"
import { Health, Memory, Supervisor } from "effect-ensemble"
import { Faults } from "effect-ensemble/testing"
import { HttpRouter } from "effect/http"
import { TestClock } from "effect/testing"
import * as Coordinator from "../src/Coordinator.ts"
import * as internal from "../src/internal/health/report.ts"
import { formOf } from "../src/internal/health/routes.ts"
import { Maestro } from "../src/Maestro.ts"

class Down extends Data.TaggedError("Down")<{ readonly host: string }> {
  override get message() {
    return `${this.host} is down`
  }
}

const settle = Effect.repeat(Effect.yieldNow, { times: 20 })
const advance = (millis: number) =>
  settle.pipe(Effect.andThen(TestClock.adjust(millis)), Effect.andThen(settle), Effect.asVoid)

const registry = Effect.map(Layer.build(Health.layerRegistry), (context) => Context.get(context, Health.Health))

const shown = ({ checks, status }: Health.Report) => [
  status,
  ...checks.map(({ name, reason, status }) => `${name} ${status}${reason === undefined ? "" : `: ${reason}`}`)
]

type ServiceStatus = Effect.Success<Maestro["Service"]["states"]>[number]
type Phase = Effect.Success<Maestro["Service"]["phase"]>

/** A Maestro in a standing of the test's choice. */
const standing = (
  phase: Phase,
  services: ReadonlyArray<Partial<ServiceStatus> & Pick<ServiceStatus, "name" | "state">>
) => {
  const current = { phase, services, checks: [] as Effect.Success<Maestro["Service"]["checks"]> }
  const layer = Layer.mock(Maestro, {
    phase: Effect.sync(() => current.phase),
    states: Effect.sync(() =>
      current.services.map((one) => ({
        optional: false,
        labels: {},
        since: 0,
        attempts: 1,
        spent: {},
        reason: undefined,
        failure: undefined,
        stopFailure: undefined,
        ...one
      }))
    ),
    checks: Effect.sync(() => current.checks)
  })
  return { current, health: Effect.provide(registry, layer) }
}

describe("a check", () => {
  const verdicts: ReadonlyArray<readonly [string, Effect.Effect<unknown, unknown>, string, string]> = [
    ["a success", Effect.succeed(7), "it pass", "it pass"],
    ["a failure", Effect.fail(new Down({ host: "db" })), "it fail: db is down", "it warn: db is down"],
    ["a defect", Effect.die("boom"), "it fail: boom", "it warn: boom"],
    ["an interruption", Effect.interrupt, "it fail", "it warn"],
    ["pass", Effect.succeed(Health.pass), "it pass", "it pass"],
    ["warn", Effect.succeed(Health.warn("tired")), "it warn: tired", "it warn: tired"],
    ["fail", Effect.succeed(Health.fail("dead")), "it fail: dead", "it warn: dead"]
  ]
  it.effect.each(verdicts)("of %s", ([, effect, required, optional]) =>
    Effect.gen(function* () {
      for (const [isOptional, wanted] of [
        [false, required],
        [true, optional]
      ] as const) {
        const health = yield* registry
        yield* health.register(Health.check("it", effect, { optional: isOptional }))
        const [, found] = shown(yield* health.report("ready"))
        assert.isTrue(found?.startsWith(wanted), `${found} is not ${wanted}`)
      }
    })
  )

  for (const uninterruptible of [false, true]) {
    it.effect(`has an answer within its bound${uninterruptible ? ", also when it cannot be interrupted" : ""}`, () =>
      Effect.gen(function* () {
        const health = yield* registry
        const stuck = uninterruptible ? Effect.uninterruptible(Effect.sleep("1 hour")) : Effect.never
        yield* health.register(Health.check("default", stuck))
        yield* health.register(Health.check("own", stuck, { timeout: "3 seconds", optional: true }))
        const fiber = yield* Effect.forkChild(health.report("ready"))
        yield* advance(2_999)
        assert.isUndefined(fiber.pollUnsafe())
        yield* advance(1)
        assert.deepStrictEqual(shown(yield* Fiber.join(fiber)), [
          "fail",
          "default fail: no answer within 1000 ms",
          "own warn: no answer within 3000 ms"
        ])
      })
    )
  }

  it.effect("is asked for its own probes, while its scope is open", () =>
    Effect.gen(function* () {
      const health = yield* registry
      const scope = yield* Scope.make()
      yield* health.register(Health.check("ready", Effect.void))
      yield* health
        .register(Health.check("both", Effect.void, { probes: ["live", "startup"] }))
        .pipe(Scope.provide(scope))
      assert.deepStrictEqual(shown(yield* health.report("ready")), ["pass", "ready pass"])
      assert.deepStrictEqual(shown(yield* health.report("live")), ["pass", "both pass"])
      assert.deepStrictEqual(shown(yield* health.report("startup")), ["pass", "both pass"])
      yield* Scope.close(scope, Exit.void)
      assert.deepStrictEqual(shown(yield* health.report("live")), ["pass"])
    })
  )

  it.effect("uses the services of who registers it, and a scope of its own each time", () =>
    Effect.gen(function* () {
      class Db extends Context.Service<Db, string>()("test/Db") {}
      let open = 0
      const effect = Effect.andThen(
        Effect.acquireRelease(
          Effect.sync(() => open++),
          () => Effect.sync(() => open--)
        ),
        Effect.map(Db, (db) => Health.warn(db))
      )
      const health = yield* registry
      yield* health.register(Health.check("db", effect)).pipe(Effect.provideService(Db, "replica"))
      assert.deepStrictEqual(shown(yield* health.report("ready")), ["warn", "db warn: replica"])
      assert.strictEqual(open, 0)
    })
  )
})

describe("a report", () => {
  it("is as good as its weakest part", () => {
    assert.strictEqual(internal.worst([]), "pass")
    assert.strictEqual(internal.worst(["pass", "warn", "pass"]), "warn")
    assert.strictEqual(internal.worst(["warn", "fail", "pass"]), "fail")
  })

  it.effect("leaves out, or asks one", () =>
    Effect.gen(function* () {
      const health = yield* registry
      for (const name of ["a", "b", "c"]) yield* health.register(Health.check(name, Effect.fail(name)))
      const report = yield* health.report("ready", { exclude: ["a", "x", "c"] })
      assert.deepStrictEqual(shown(report), ["fail", "b fail: b"])
      assert.deepStrictEqual(report.unmatched, ["x"])
      assert.deepStrictEqual(shown(yield* health.report("ready", { only: "c" })), ["fail", "c fail: c"])
    })
  )

  it.effect("is not ready from the moment stop begins", () =>
    Effect.gen(function* () {
      const health = yield* registry
      assert.deepStrictEqual(shown(yield* health.report("ready")), ["pass"])
      yield* health.stopping
      assert.deepStrictEqual(shown(yield* health.report("ready")), ["fail", "shutdown fail: stopping"])
      assert.deepStrictEqual(shown(yield* health.report("live")), ["pass"])
    })
  )
})

describe("with a Maestro", () => {
  const phases: ReadonlyArray<readonly [Phase, string, string]> = [
    ["idle", "maestro fail: starting", "maestro fail: starting"],
    ["starting", "maestro fail: starting", "maestro fail: starting"],
    ["running", "maestro pass", "maestro pass"],
    ["draining", "maestro fail: stopping", "maestro pass"],
    ["stopping", "maestro fail: stopping", "maestro pass"],
    ["stopped", "maestro fail: stopping", "maestro pass"]
  ]
  it.effect.each(phases)("%s", ([phase, ready, startup]) =>
    Effect.gen(function* () {
      const health = yield* standing(phase, []).health
      assert.deepStrictEqual(shown(yield* health.report("ready")).slice(1), [ready])
      assert.deepStrictEqual(shown(yield* health.report("startup")).slice(1), [startup])
      assert.deepStrictEqual(shown(yield* health.report("live")), ["pass"])
    })
  )

  it.effect("shows every service: the required ones fail, the optional ones and the degraded warn", () =>
    Effect.gen(function* () {
      const failure = { _tag: "ConstructionFailed", cause: Cause.fail(new Down({ host: "db" })) } as const
      const { health } = standing("running", [
        { name: "a", state: "ready" },
        { name: "b", state: "degraded", reason: "slow" },
        { name: "c", state: "failed", optional: true, failure },
        { name: "d", state: "failed", failure },
        {
          name: "e",
          state: "failed",
          failure: { _tag: "DependencyUnavailable", dependency: "d", cause: failure.cause }
        },
        { name: "f", state: "retrying" },
        { name: "g", state: "abandoned", optional: true }
      ])
      const { report } = yield* health
      assert.deepStrictEqual(shown(yield* report("ready")), [
        "fail",
        "maestro pass",
        "a pass",
        "b warn: slow",
        "c warn: failed: db is down",
        "d fail: failed: db is down",
        "e fail: failed: d is not available",
        "f fail: retrying",
        "g warn: abandoned"
      ])
    })
  )

  it.effect("runs the health checks of services that are up, once the start is over", () =>
    Effect.gen(function* () {
      const { current, health } = standing("starting", [
        { name: "db", state: "ready" },
        { name: "cache", state: "ready", optional: true },
        { name: "queue", state: "degraded", reason: "lagging" }
      ])
      const down = (host: string) => Effect.fail(new Down({ host }))
      current.checks = [
        { service: "db", optional: false, labels: {}, check: down("db") },
        { service: "cache", optional: true, labels: {}, check: down("cache") },
        { service: "queue", optional: false, labels: {}, check: Effect.void }
      ]
      const { report } = yield* health
      assert.include(shown(yield* report("startup")), "db pass")
      current.phase = "running"
      assert.deepStrictEqual(shown(yield* report("ready")), [
        "fail",
        "maestro pass",
        "db fail: db is down",
        "cache warn: cache is down",
        "queue warn: lagging"
      ])
      assert.deepStrictEqual(shown(yield* report("startup")), ["pass", "maestro pass"])
      assert.deepStrictEqual(shown(yield* report("live")), ["pass"])
    })
  )
})

describe("of workers", () => {
  it.effect("a restart and an optional failure warn, one that is disabled is well", () =>
    Effect.gen(function* () {
      const health = yield* registry
      const failing = (name: string, optional: true | undefined) =>
        Supervisor.worker(name, {
          run: Effect.fail(new Down({ host: name })),
          schedule: optional === true ? Schedule.recurs(0) : Schedule.spaced("1 minute"),
          optional: optional ?? false
        })
      const supervisor = yield* Supervisor.make(
        [
          Supervisor.worker("well", { run: Effect.never }),
          Supervisor.worker("off", { run: Effect.never }),
          failing("restarting", undefined),
          failing("gone", true)
        ],
        { only: ["well", "restarting", "gone"] }
      )
      yield* health.registerSupervisor("jobs", supervisor)
      yield* settle
      assert.deepStrictEqual(shown(yield* health.report("ready")), [
        "warn",
        "jobs/well pass",
        "jobs/off pass",
        "jobs/restarting warn: starts again 60000 ms after its end",
        "jobs/gone warn: failed for good"
      ])
    })
  )

  it.effect("the end of supervision fails", () =>
    Effect.gen(function* () {
      const health = yield* registry
      const supervisor = yield* Supervisor.make([
        Supervisor.worker("a", { run: Effect.delay(Effect.die("boom"), 1), restart: "never" })
      ])
      yield* health.registerSupervisor("jobs", supervisor)
      yield* advance(1)
      assert.deepStrictEqual(shown(yield* health.report("ready")), ["fail", "jobs/a fail: failed for good"])
    })
  )
})

describe("of the session", () => {
  it.effect("suspended warns, lost and closed fail", () =>
    Effect.gen(function* () {
      const store = yield* Memory.makeStore()
      const scope = yield* Scope.make()
      const { coordinator } = yield* Memory.makeProcess(store, { node: "a", ttl: 10_000 }).pipe(Scope.provide(scope))
      const context = yield* Layer.build(
        Health.layerSession.pipe(
          Layer.provideMerge(Health.layerRegistry),
          Layer.provide(Layer.succeed(Coordinator.Coordinator, coordinator))
        )
      )
      const { report } = Context.get(context, Health.Health)
      const ready = Effect.map(report("ready"), shown)
      assert.deepStrictEqual(yield* ready, ["pass", "memory pass"])
      const faults = Faults.make(store)
      yield* faults.partition("a")
      // A renewal is under way at 3.3 ± 0.33 s and has no answer 3.3 s later; the deadline is at 8 s.
      yield* advance(7_200)
      const [suspended, why] = yield* ready
      assert.strictEqual(suspended, "warn")
      assert.match(why ?? "", /^memory warn: suspended: /)
      yield* advance(6_000)
      assert.strictEqual((yield* ready)[0], "fail")
      assert.deepStrictEqual(shown(yield* report("live")), ["pass"])
      yield* faults.heal("a")
      yield* advance(20_000)
      assert.deepStrictEqual(yield* ready, ["pass", "memory pass"])
      yield* Scope.close(scope, Exit.void)
      assert.deepStrictEqual(yield* ready, ["fail", "memory fail: closed"])
    })
  )
})

describe("over HTTP", () => {
  const checks = Layer.mergeAll(
    Health.layerCheck(Health.check("db", Effect.void, { probes: ["ready", "startup"] })),
    Health.layerCheck(Health.check("cache/eu west", Effect.fail(new Down({ host: "cache" })), { optional: true })),
    Health.layerCheck(Health.check("mail", Effect.fail(new Down({ host: "two\nlines" }))))
  )

  const get = (path: string, accept?: string) =>
    Effect.acquireUseRelease(
      Effect.sync(() =>
        HttpRouter.toWebHandler(checks.pipe(Layer.provideMerge(Health.layer)), { disableLogger: true })
      ),
      ({ handler }) =>
        Effect.promise(async () => {
          const headers = accept === undefined ? undefined : { headers: { accept } }
          const response = await handler(new Request(`http://localhost${path}`, headers))
          return { status: response.status, headers: response.headers, body: await response.text() }
        }),
      ({ dispose }) => Effect.promise(dispose)
    )

  const everything =
    "[+]db ok\n[!]cache/eu west warning: cache is down\n[-]mail failed: two lines is down\nreadyz check failed\n"
  const answers: ReadonlyArray<readonly [string, number, string]> = [
    ["/livez", 200, "ok"],
    ["/livez/", 200, "ok"],
    ["/livez?verbose", 200, "livez check passed\n"],
    ["/startupz", 200, "ok"],
    ["/startupz?verbose", 200, "[+]db ok\nstartupz check passed\n"],
    ["/readyz", 503, everything],
    ["/readyz?verbose", 503, everything],
    ["/readyz?exclude=mail", 200, "ok"],
    ["/readyz?verbose&exclude=mail&exclude=db", 200, "[!]cache/eu west warning: cache is down\nreadyz check passed\n"],
    [
      "/readyz?verbose&exclude=mail&exclude=x&exclude=db&exclude=cache%2Feu%20west",
      200,
      'warn: nothing to exclude: no check is called "x"\nreadyz check passed\n'
    ],
    ["/readyz/db", 200, "ok"],
    ["/readyz/mail", 503, "[-]mail failed: two lines is down\nreadyz check failed\n"],
    ["/readyz/cache/eu%20west?verbose", 200, "[!]cache/eu west warning: cache is down\nreadyz check passed\n"],
    ["/readyz/x", 404, 'No check of /readyz is called "x"\n'],
    ["/livez/db", 404, 'No check of /livez is called "db"\n']
  ]
  it.live.each(answers)("GET %s: %d", ([path, status, body]) =>
    Effect.gen(function* () {
      const response = yield* get(path)
      assert.deepStrictEqual([response.status, response.body], [status, body])
      if (status !== 404) assert.strictEqual(response.headers.get("cache-control"), "no-store")
    })
  )

  it.live("answers with application/health+json when asked", () =>
    Effect.gen(function* () {
      const response = yield* get("/readyz", "application/health+json")
      assert.strictEqual(response.status, 503)
      assert.strictEqual(response.headers.get("content-type"), "application/health+json")
      const { checks, status } = JSON.parse(response.body)
      assert.strictEqual(status, "fail")
      assert.deepStrictEqual(Object.keys(checks), ["db", "cache/eu west", "mail"])
      const [{ observedValue, time, ...mail }] = checks.mail
      assert.deepStrictEqual(mail, { status: "fail", observedUnit: "ms", output: "two\nlines is down" })
      assert.isNumber(observedValue)
      assert.isFalse(Number.isNaN(Date.parse(time)))
    })
  )

  it("is asked for JSON by name only", () => {
    assert.strictEqual(formOf(undefined, false), "short")
    assert.strictEqual(formOf("*/*", true), "verbose")
    assert.strictEqual(formOf("text/html,application/xhtml+xml,*/*;q=0.8", false), "short")
    assert.strictEqual(formOf("application/json; charset=utf-8", true), "json")
    assert.strictEqual(formOf("text/plain, Application/Health+JSON;q=0.5", false), "json")
  })
})
