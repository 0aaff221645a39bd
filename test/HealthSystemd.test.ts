import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Effect, Layer, PubSub, Stream, SubscriptionRef } from "effect"
import { Health } from "effect-ensemble"
import { TestClock } from "effect/testing"
import { execFileSync, spawn } from "node:child_process"
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import type { Standing } from "../src/internal/health/systemd.ts"
import { notice, nothing, statusText } from "../src/internal/health/systemd.ts"
import { Maestro } from "../src/Maestro.ts"

const settle = Effect.repeat(Effect.yieldNow, { times: 20 })
const advance = (millis: number) =>
  settle.pipe(Effect.andThen(TestClock.adjust(millis)), Effect.andThen(settle), Effect.asVoid)

const service = (name: string, state: Standing["services"][number]["state"]) => ({
  name,
  state,
  reason: undefined,
  optional: false
})

describe("the notice", () => {
  const standing = (phase: Standing["phase"], extendMillis = 0): Standing => ({
    phase,
    services: [service("db", "ready"), service("api", "starting")],
    extendMillis
  })
  const told = { ready: true, stopping: false, status: "Running" }

  const rows: ReadonlyArray<readonly [string, Parameters<typeof notice>, ReadonlyArray<string>]> = [
    ["a start", [nothing, standing("starting")], ["STATUS=Starting: 1 of 2 ready; waiting for api"]],
    [
      "a pause between attempts",
      [{ ...nothing, status: "Starting: 1 of 2 ready; waiting for api" }, standing("starting", 5_000)],
      ["EXTEND_TIMEOUT_USEC=35000000"]
    ],
    ["readiness", [nothing, standing("running")], ["READY=1", "STATUS=Running"]],
    ["what is known", [told, standing("running")], []],
    ["no extension while it runs", [told, standing("running", 5_000)], []],
    ["draining", [told, standing("draining")], ["STOPPING=1", "STATUS=Draining"]],
    [
      "a stop, with its budget",
      [{ ...told, stopping: true }, standing("stopping", 10_000)],
      ["STATUS=Stopping", "EXTEND_TIMEOUT_USEC=40000000"]
    ],
    ["a stop before the start was over", [nothing, standing("stopping")], ["STOPPING=1", "STATUS=Stopping"]]
  ]
  it.each(rows)("of %s", (_, [told, standing], wanted) => {
    assert.deepStrictEqual(notice(told, standing)[0], wanted)
  })

  it("names what is waited for", () => {
    const services = [
      service("a", "retrying"),
      service("b", "failed"),
      service("c", "degraded"),
      service("d", "stopping"),
      service("e", "abandoned")
    ]
    const text = (phase: Standing["phase"]) => statusText({ phase, services, extendMillis: 0 })
    assert.strictEqual(text("starting"), "Starting: 1 of 5 ready; retrying a; failed b")
    assert.strictEqual(text("running"), "Running; degraded c; failed b")
    assert.strictEqual(text("stopping"), "Stopping; waiting for d; abandoned e")
  })

  it("stays one assignment, whatever a service is called", () => {
    const [assignments] = notice(nothing, {
      phase: "running",
      services: [service("x\nMAINPID=1", "degraded")],
      extendMillis: 0
    })
    assert.deepStrictEqual(assignments, ["READY=1", "STATUS=Running; degraded x MAINPID=1"])
  })
})

type Phase = Effect.Success<Maestro["Service"]["phase"]>
type Event = Stream.Success<Maestro["Service"]["events"]>

/** A run that the test conducts, and what systemd heard of it. */
const conducted = Effect.fnUntraced(function* (
  environment: Readonly<Record<string, string>>,
  live: Layer.Layer<never, never, Health.Health> = Layer.empty
) {
  const phase = yield* SubscriptionRef.make<Phase>("starting")
  const events = yield* PubSub.unbounded<Event>()
  const heard: Array<string> = []
  let services = [service("db", "starting")]
  const FakeMaestro = Layer.mock(Maestro, {
    phase: SubscriptionRef.get(phase),
    phases: SubscriptionRef.changes(phase),
    events: Stream.fromPubSub(events),
    states: Effect.sync(() =>
      services.map((one) => ({
        ...one,
        labels: {},
        since: 0,
        attempts: 1,
        spent: {},
        failure: undefined,
        stopFailure: undefined
      }))
    ),
    checks: Effect.succeed([])
  })
  const FakeNotifier = Layer.succeed(Health.Notifier, {
    send: (assignments) => Effect.sync(() => void heard.push(assignments.join(" ")))
  })
  yield* Layer.build(
    Layer.merge(Health.layerSystemd, live).pipe(
      Layer.provide(Health.layerRegistry),
      Layer.provide([FakeMaestro, FakeNotifier, ConfigProvider.layer(ConfigProvider.fromEnvRecord(environment))])
    )
  )
  return {
    heard,
    enter: (next: Phase) => Effect.andThen(SubscriptionRef.set(phase, next), settle),
    happens: (happening: Event["happening"], state: (typeof services)[number]["state"]) =>
      Effect.suspend(() => {
        services = [service("db", state)]
        return Effect.andThen(
          PubSub.publish(events, {
            service: "db",
            at: 0,
            happening,
            status: {
              ...service("db", state),
              labels: {},
              since: 0,
              attempts: 1,
              spent: {},
              failure: undefined,
              stopFailure: undefined
            }
          }),
          settle
        )
      })
  }
})

const unit = { NOTIFY_SOCKET: "/run/systemd/notify" }

describe("under systemd", () => {
  it.effect("a run tells its start, its readiness and its stop", () =>
    Effect.gen(function* () {
      const { enter, happens, heard } = yield* conducted(unit)
      yield* settle
      yield* happens({ _tag: "AttemptFailed", attempt: 1, cause: undefined as never, delayMillis: 60_000 }, "retrying")
      yield* happens({ _tag: "Ready" }, "ready")
      yield* enter("running")
      yield* enter("draining")
      yield* enter("stopping")
      yield* happens({ _tag: "Stopping", budgetMillis: 10_000 }, "stopping")
      assert.deepStrictEqual(heard, [
        "STATUS=Starting: 0 of 1 ready; waiting for db",
        "STATUS=Starting: 0 of 1 ready; retrying db EXTEND_TIMEOUT_USEC=90000000",
        "STATUS=Starting: 1 of 1 ready",
        "READY=1 STATUS=Running",
        "STOPPING=1 STATUS=Draining",
        "STATUS=Stopping",
        "STATUS=Stopping; waiting for db EXTEND_TIMEOUT_USEC=40000000"
      ])
    })
  )

  it.effect("the watchdog is fed at half its interval while the process is alive", () =>
    Effect.gen(function* () {
      let alive = true
      const check = Health.check(
        "loop",
        Effect.suspend(() => (alive ? Effect.void : Effect.fail("stuck"))),
        { probes: ["live"] }
      )
      const { heard } = yield* conducted({ ...unit, WATCHDOG_USEC: "10000000" }, Health.layerCheck(check))
      const fed = () => heard.filter((line) => line === "WATCHDOG=1").length
      yield* settle
      assert.strictEqual(fed(), 1)
      yield* advance(4_999)
      assert.strictEqual(fed(), 1)
      yield* advance(1)
      assert.strictEqual(fed(), 2)
      alive = false
      yield* advance(20_000)
      assert.strictEqual(fed(), 2)
      alive = true
      yield* advance(5_000)
      assert.strictEqual(fed(), 3)
    })
  )

  it.effect("nothing is sent without the socket, and no watchdog fed that nobody set", () =>
    Effect.gen(function* () {
      const outside = yield* conducted({ WATCHDOG_USEC: "10000000" })
      yield* outside.enter("running")
      yield* advance(60_000)
      assert.deepStrictEqual(outside.heard, [])
      const unwatched = yield* conducted(unit)
      yield* advance(60_000)
      assert.notInclude(unwatched.heard, "WATCHDOG=1")
    })
  )
})

/** A folder with a program `systemd-notify` that comes first on the path, and an environment as systemd gives it. */
const withProgram = <A, E>(script: string, use: (folder: string) => Effect.Effect<A, E, Health.Notifier>) =>
  Effect.acquireUseRelease(
    Effect.sync(() => {
      const folder = mkdtempSync(join(tmpdir(), "notify-"))
      writeFileSync(join(folder, "systemd-notify"), script)
      chmodSync(join(folder, "systemd-notify"), 0o755)
      const before = { PATH: process.env["PATH"], NOTIFY_SOCKET: process.env["NOTIFY_SOCKET"] }
      Object.assign(process.env, { PATH: `${folder}:${before.PATH}`, NOTIFY_SOCKET: join(folder, "socket") })
      return { folder, before }
    }),
    ({ folder }) => use(folder).pipe(Effect.provide(Health.layerSystemdNotify.pipe(Layer.provide(NodeServices.layer)))),
    ({ before, folder }) =>
      Effect.sync(() => {
        for (const [name, value] of Object.entries(before)) {
          if (value === undefined) delete process.env[name]
          else process.env[name] = value
        }
        rmSync(folder, { recursive: true })
      })
  )

const send = (...assignments: ReadonlyArray<string>) => Health.Notifier.use((notifier) => notifier.send(assignments))

describe("the program systemd-notify", () => {
  it.live("is given all assignments at once, and the socket", () =>
    withProgram('#!/bin/sh\nprintf "%s|" "$@" > "$NOTIFY_SOCKET.heard"\n', (folder) =>
      Effect.gen(function* () {
        yield* send("READY=1", "STATUS=Running; degraded $(x) 'y'")
        assert.strictEqual(
          readFileSync(join(folder, "socket.heard"), "utf8"),
          "--|READY=1|STATUS=Running; degraded $(x) 'y'|"
        )
      })
    )
  )

  it.live("is told of when it fails, or is not there", () =>
    Effect.gen(function* () {
      const failed = yield* Effect.flip(withProgram("#!/bin/sh\nexit 3\n", () => send("READY=1")))
      assert.strictEqual(failed._tag, "NotifyFailed")
      assert.match(failed.message, /ended with 3.*NotifyAccess=all/)
      const missing = yield* Effect.flip(withProgram("#!/nowhere\n", () => send("READY=1")))
      assert.strictEqual(missing._tag, "NotifyFailed")
    })
  )

  const hasPython = (() => {
    try {
      execFileSync("python3", ["--version"], { stdio: "ignore" })
      return true
    } catch {
      return false
    }
  })()

  // Node cannot read a unix datagram socket either.
  it.runIf(hasPython)("reaches a socket as systemd opens it", { timeout: 20_000 }, () =>
    Effect.runPromise(
      withProgram(
        `#!/usr/bin/env python3
import os, socket, sys
out = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
out.sendto("\\n".join(sys.argv[2:]).encode(), os.environ["NOTIFY_SOCKET"])
`,
        (folder) =>
          Effect.gen(function* () {
            const path = join(folder, "socket")
            const reader = spawn("python3", [
              "-c",
              `import socket
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(${JSON.stringify(path)})
print(s.recv(4096).decode())
`
            ])
            let heard = ""
            reader.stdout.on("data", (chunk) => (heard += String(chunk)))
            const ended = new Promise<void>((done) => reader.on("close", () => done()))
            while (!existsSync(path)) yield* Effect.sleep(10)
            yield* send("READY=1", "STATUS=Running")
            yield* Effect.promise(() => ended)
            assert.strictEqual(heard, "READY=1\nSTATUS=Running\n")
          })
      )
    )
  )
})
