/** What every service has to stand, on its real server and with a network in front of it that can be made to fail. */
import { afterAll, assert, it } from "@effect/vitest"
import { Cause, Clock, ConfigProvider, Effect, Exit, Fiber, Layer, Logger, Option, Scope, Stream } from "effect"
import { Maestro } from "effect-ensemble"
import type { Services } from "effect-ensemble"
import { ServiceConformance } from "effect-ensemble/testing"
import { spawn } from "node:child_process"
import process from "node:process"
import { fileURLToPath } from "node:url"
import * as Proxy from "../../faults/proxy.ts"
import type * as Process from "../../servers/process.ts"
import { freePorts } from "../../servers/ports.ts"
import { until } from "../../servers/until.ts"
import { heldTowards } from "./sockets.ts"

type Failure = Services.ServiceUnavailable | Services.ServiceMisconfigured

/** A server, and the network in front of it that clients are sent through. */
export interface Served {
  readonly server: Process.Process
  readonly proxy: Proxy.Proxy
}

/** The bounds of the tests: short, and long enough for a busy machine. */
export interface Bounds {
  readonly connectTimeout: "5 seconds"
  readonly callTimeout: "2 seconds"
  readonly probeTimeout: "1 second"
  readonly probeInterval: "300 millis"
  readonly closeTimeout: "1 second"
}

export const bounds: Bounds = {
  connectTimeout: "5 seconds",
  callTimeout: "2 seconds",
  probeTimeout: "1 second",
  probeInterval: "300 millis",
  closeTimeout: "1 second"
}

/** One service under test. */
export interface Subject<Self> {
  readonly name: string
  readonly serve: Effect.Effect<Served, unknown, Scope.Scope>
  /** The service at a port of this machine, with good credentials and these bounds. */
  readonly layer: (port: number, bounds: Bounds) => Layer.Layer<Self, Failure>
  readonly health: Effect.Effect<void, Services.ServiceUnavailable, Self>
  /** A value written and read: what a program would do, through `use`. */
  readonly operate: Effect.Effect<unknown, Services.ServiceCallFailed, Self>
  /** The service with a password that the server refuses. The password is `wrong-secret`. */
  readonly refused?: (port: number, bounds: Bounds) => Layer.Layer<Self, Failure>
  /** The service as its configuration under a prefix says. */
  readonly configured: (prefix: string) => Layer.Layer<Self, Failure>
  /** Variables for `configured`: good ones for a port, and some that cannot be used, two at least. */
  readonly variables: (port: number, prefix: string) => Readonly<Record<string, string>>
  readonly unusable: (port: number, prefix: string) => Readonly<Record<string, string>>
  /** The program that `fixtures/program.ts` is, for this service: it is run as a process of its own. */
  readonly program: string
  /** Whether a server that has just started again answers its probe a while before it carries out every call. Default false. */
  readonly answersBeforeItServes?: true
  /** How many connections it may have more at one moment than at another. Default 0. */
  readonly pooled?: number
  /** How long a start may take on a healthy server, in the conformance suite. Default 10 seconds. */
  readonly patienceMillis?: number
  /** The conformance suite cancels a start at every so manieth point. Default 5: a point costs a real connection. */
  readonly stride?: number
}

/** A proxy in front of a server. */
export const behind = (
  start: Effect.Effect<Process.Process & { readonly port: number }, unknown, Scope.Scope>
): Effect.Effect<Served, unknown, Scope.Scope> =>
  Effect.gen(function* () {
    const server = yield* start
    const proxy = yield* Proxy.make({ upstream: { host: "127.0.0.1", port: server.port } })
    return { server, proxy }
  })

const silent = Logger.layer([])

/** Ten times the slack that anything here should need. */
const eventually = <E, R>(what: string, condition: Effect.Effect<boolean, E, R>): Effect.Effect<void, never, R> =>
  until(
    Effect.flatMap(condition, (holds) => (holds ? Effect.void : Effect.fail("not yet"))),
    { within: "20 seconds" }
  ).pipe(Effect.catch((state) => Effect.die(new Error(`${what}: ${String(state)}`))))

const failureOf = <A>(exit: Exit.Exit<A, Failure>): Services.ServiceUnavailable => {
  assert(Exit.isFailure(exit), "it must not start")
  const error = Cause.findErrorOption(exit.cause)
  assert(Option.isSome(error), `a typed failure, not ${Cause.pretty(exit.cause)}`)
  assert.strictEqual(error.value._tag, "ServiceUnavailable")
  return error.value as Services.ServiceUnavailable
}

/** Starts a layer and stops it again, and says how that ended. */
const attempt = <Self>(layer: Layer.Layer<Self, Failure>) => Effect.exit(Effect.scoped(Layer.build(layer)))

/** The states that a Maestro saw of a service, in their order, for as long as the scope is open. */
const running = <Self>(subject: Subject<Self>, port: number, use: Bounds = bounds) =>
  Effect.gen(function* () {
    const seen: Array<string> = []
    const program = yield* Maestro.make(
      Maestro.service(subject.layer(port, use), subject.name, { health: subject.health, stopTimeout: "20 seconds" })
    )
    yield* Effect.addFinalizer(() => Effect.ignore(program.stop))
    const context = yield* program.start
    const handle = yield* program.current
    assert(Option.isSome(handle))
    yield* handle.value.events.pipe(
      Stream.runForEach(({ happening }) => Effect.sync(() => void seen.push(happening._tag))),
      Effect.forkScoped
    )
    return {
      context,
      seen,
      stop: program.stop,
      operate: Effect.provide(subject.operate, context),
      events: (what: string) =>
        eventually(
          `${subject.name} is seen ${what}, and was ${seen.join()}`,
          Effect.sync(() => seen.includes(what))
        )
    }
  })

/** A case on the server of all, which is as it should be before and after. */
export type Test = (name: string, run: (served: Served) => Effect.Effect<void, unknown, Scope.Scope>) => void

/** Runs the cases, one after the other, on one server, which the surrounding `describe` ends. For more of them, on the same server. */
export const cases = <Self>(subject: Subject<Self>): Test => {
  const scope = Effect.runSync(Scope.make())
  let served: Served | undefined
  const theServer: Effect.Effect<Served> = Effect.suspend(() =>
    served === undefined
      ? subject.serve.pipe(
          Scope.provide(scope),
          Effect.tap((started) => Effect.sync(() => void (served = started))),
          Effect.orDie
        )
      : Effect.succeed(served)
  )

  /** A case with the server and the network as they should be, before and after. */
  const test: Test = (name, run) =>
    it.live(name, () =>
      Effect.gen(function* () {
        const given = yield* theServer
        yield* Effect.ensuring(
          Effect.scoped(run(given)),
          Effect.gen(function* () {
            yield* given.proxy.heal
            yield* given.server.resume
            if (!given.server.isRunning()) yield* Effect.orDie(given.server.start)
          })
        )
        yield* nothingIsLeft(given, name)
      }).pipe(Effect.provide(silent))
    )

  const nothingIsLeft = ({ proxy }: Served, when: string) =>
    Effect.andThen(
      eventually(
        `${when}: no socket is left`,
        Effect.map(heldTowards(proxy.port), (held) => held === 0)
      ),
      proxy.cut
    )

  for (const { contract, name, run } of ServiceConformance.suite(
    Effect.map(theServer, ({ proxy }) => ({
      layer: subject.layer(proxy.port, bounds),
      probe: subject.operate,
      health: subject.health,
      advance: (millis: number) => Effect.sleep(millis),
      open: heldTowards(proxy.port),
      pooled: subject.pooled ?? 0,
      faults: { refuse: proxy.refuse, stall: proxy.blackhole, heal: proxy.heal },
      patienceMillis: subject.patienceMillis ?? 10_000,
      stride: subject.stride ?? 5
    })),
    ServiceConformance.capabilities
  )) {
    test(`${contract}: ${name}`, () => run)
  }

  test("a closed port is told at once, with its address", ({ proxy }) =>
    Effect.gen(function* () {
      const [port = 0] = yield* freePorts(1)
      const started = yield* Clock.currentTimeMillis
      const error = failureOf(yield* attempt(subject.layer(port, { ...bounds })))
      assert.include(error.endpoint, String(port))
      assert.isAtMost((yield* Clock.currentTimeMillis) - started, 10_000)
      assert.notInclude(error.message, String(proxy.port))
    }))

  test("an address that never answers is given up in time, with nothing left open", ({ proxy }) =>
    Effect.gen(function* () {
      yield* proxy.blackhole
      const error = failureOf(yield* attempt(subject.layer(proxy.port, bounds)))
      assert.strictEqual(error.attempt, 1)
    }))

  const { refused } = subject
  if (refused !== undefined) {
    test("a refused password is told, and never shown", ({ proxy }) =>
      Effect.gen(function* () {
        const error = failureOf(yield* attempt(refused(proxy.port, bounds)))
        assert.notInclude(`${error.message} ${JSON.stringify(error)} ${error.endpoint}`, "wrong-secret")
      }))
  }

  test("all wrong variables are told at once, and nothing is connected", ({ proxy }) =>
    Effect.gen(function* () {
      const before = (yield* proxy.counters).accepted
      const exit = yield* withVariables(subject.unusable(proxy.port, "SUT"), attempt(subject.configured("SUT")))
      assert(Exit.isFailure(exit))
      const error = Option.getOrUndefined(Cause.findErrorOption(exit.cause))
      assert(error?._tag === "ServiceMisconfigured", Cause.pretty(exit.cause))
      const named = Object.keys(subject.unusable(proxy.port, "SUT")).filter((name) => error.message.includes(name))
      assert.deepStrictEqual(
        error.problems.map(({ source }) => source).toSorted(),
        named.toSorted(),
        "every wrong variable, and no other"
      )
      assert.isAtLeast(error.problems.length, 2)
      assert.strictEqual((yield* proxy.counters).accepted, before)
    }))

  test("starts from the environment alone", ({ proxy }) =>
    withVariables(
      subject.variables(proxy.port, "SUT"),
      Effect.scoped(
        Effect.flatMap(Layer.build(subject.configured("SUT")), (context) => Effect.provide(subject.operate, context))
      )
    ))

  test("a server that is killed is told, and told again when it serves", ({ proxy, server }) =>
    Effect.gen(function* () {
      const { events, operate } = yield* running(subject, proxy.port)
      yield* operate
      yield* server.kill
      yield* proxy.cut
      yield* events("Degraded")
      const call = yield* Effect.exit(operate)
      assert(Exit.isFailure(call), "a call to a killed server fails")
      yield* server.start
      yield* events("Recovered")
      const works = eventually("it works", Effect.map(Effect.exit(operate), Exit.isSuccess))
      yield* subject.answersBeforeItServes === true ? works : operate
    }))

  test("a server that is frozen is told, calls end in time, and it works again", ({ proxy, server }) =>
    Effect.gen(function* () {
      const { events, operate } = yield* running(subject, proxy.port)
      yield* operate
      yield* server.pause
      const call = yield* Effect.exit(operate)
      assert(Exit.isFailure(call), "a call to a frozen server fails")
      yield* events("Degraded")
      yield* server.resume
      yield* events("Recovered")
      yield* eventually("it works", Effect.map(Effect.exit(operate), Exit.isSuccess))
    }))

  test("connections that are silent for ever are replaced", ({ proxy }) =>
    Effect.gen(function* () {
      const { operate } = yield* running(subject, proxy.port)
      yield* operate
      yield* proxy.halfOpen
      yield* eventually("it works", Effect.map(Effect.exit(operate), Exit.isSuccess))
    }))

  test("a server that is frozen does not hold up the stop", ({ proxy, server }) =>
    Effect.gen(function* () {
      const { operate, stop } = yield* running(subject, proxy.port)
      yield* operate
      yield* server.pause
      const waiting = yield* Effect.forkChild(Effect.exit(operate), { startImmediately: true })
      yield* stop
      // With the server still frozen.
      yield* eventually(
        "no socket is left",
        Effect.map(heldTowards(proxy.port), (held) => held === 0)
      )
      assert(Exit.isSuccess(yield* Fiber.await(waiting)))
    }))

  test("a program whose server dies unheard of ends by itself, with nothing left", ({ proxy, server }) =>
    Effect.gen(function* () {
      const child = yield* Effect.acquireRelease(
        Effect.sync(() =>
          spawn(process.execPath, [fileURLToPath(new URL(`fixtures/${subject.program}`, import.meta.url))], {
            stdio: ["pipe", "pipe", "pipe"],
            env: { ...process.env, ...subject.variables(proxy.port, "SUT"), ...shortBounds }
          })
        ),
        (child) => Effect.sync(() => child.kill("SIGKILL"))
      )
      let printed = ""
      let errors = ""
      child.stdout.on("data", (chunk) => (printed += String(chunk)))
      child.stderr.on("data", (chunk) => (errors += String(chunk)))
      const has = (line: string) =>
        eventually(
          `it says "${line}"`,
          Effect.suspend(() =>
            child.exitCode === null || printed.includes(line)
              ? Effect.succeed(printed.includes(line))
              : Effect.die(new Error(`it has ended with ${child.exitCode}: ${printed}${errors}`))
          )
        )
      yield* has("ready")
      yield* server.kill
      yield* proxy.cut
      yield* has("failed")
      child.stdin.write("close\n")
      yield* eventually(
        "the program ends",
        Effect.sync(() => child.exitCode !== null || child.signalCode !== null)
      )
      assert.deepStrictEqual([child.exitCode, printed, errors], [0, "ready\nfailed\nclosed Success\n", ""])
    }))

  test("a server of before starts again", ({ proxy }) =>
    Effect.gen(function* () {
      const { operate } = yield* running(subject, proxy.port)
      yield* operate
    }))

  afterAll(() => Effect.runPromise(Scope.close(scope, Exit.void)))
  return test
}

const shortBounds = {
  SUT_TIMEOUT_CALL: "2s",
  SUT_TIMEOUT_PROBE: "1s",
  SUT_PROBE_INTERVAL: "300ms",
  SUT_TIMEOUT_CLOSE: "1s"
}

export const withVariables = <A, E, R>(env: Readonly<Record<string, string>>, effect: Effect.Effect<A, E, R>) =>
  Effect.provideService(effect, ConfigProvider.ConfigProvider, ConfigProvider.fromEnv({ env: { ...env } }))
