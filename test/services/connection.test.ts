import { assert, describe, it } from "@effect/vitest"
import { Cause, Context, Data, Duration, Effect, Exit, Fiber, Layer, Option, Schedule, Scope, Stream } from "effect"
import { Maestro, Services } from "effect-ensemble"
import { TestClock } from "effect/testing"
import type { Connection } from "../../src/services/kit/connection.ts"
import * as Connections from "../../src/services/kit/connection.ts"
import type { Link } from "../../src/services/kit/monitor.ts"
import { isOutOfTime } from "../../src/services/kit/outOfTime.ts"

const bounds = {
  connectTimeout: Duration.seconds(10),
  callTimeout: Duration.seconds(30),
  probeTimeout: Duration.seconds(2),
  probeInterval: Duration.seconds(5),
  closeTimeout: Duration.seconds(3)
}

class Refused extends Data.TaggedError("Refused")<{ readonly message: string }> {}

/** A client that does what it is told, and writes down what is asked of it. */
class Fake {
  readonly asked: Array<string> = []
  connect: Effect.Effect<unknown, unknown> = Effect.void
  probe: Effect.Effect<unknown, unknown> = Effect.void
  close: Effect.Effect<unknown, unknown> = Effect.void
  destroy: Effect.Effect<unknown, unknown> = Effect.void
  renewed: Array<unknown> = []
  link: Link | undefined

  readonly open = (_: typeof bounds, link: Link): Connection<Fake> => {
    this.link = link
    this.asked.push("open")
    const ask = (word: string, effect: () => Effect.Effect<unknown, unknown>) =>
      Effect.suspend(() => {
        this.asked.push(word)
        return effect()
      })
    return {
      client: this,
      connect: ask("connect", () => this.connect),
      probe: ask("probe", () => this.probe),
      close: ask("close", () => this.close),
      destroy: ask("destroy", () => this.destroy),
      renew: (cause) =>
        Effect.sync(() => {
          this.renewed.push(cause)
        })
    }
  }
}

class Service extends Context.Service<Service, Services.Running<Fake>>()("test/Service") {}

const start = (fake: Fake) => Connections.start({ endpoint: () => "fake://here", open: fake.open }, "it", bounds)

const layer = (fake: Fake) => Layer.effect(Service, start(fake))

/** Starts and stops it, with the clock moved so far meanwhile. */
const cycle = (fake: Fake, millis = 0) =>
  Effect.gen(function* () {
    const fiber = yield* Effect.forkChild(Effect.exit(Effect.scoped(start(fake))), { startImmediately: true })
    yield* TestClock.adjust(millis)
    return yield* Fiber.join(fiber)
  })

const unavailable = <A>(exit: Exit.Exit<A, unknown>): Services.ServiceUnavailable => {
  assert(Exit.isFailure(exit))
  const error = Option.getOrUndefined(Cause.findErrorOption(exit.cause))
  assert((error as Services.ServiceUnavailable | undefined)?._tag === "ServiceUnavailable", Cause.pretty(exit.cause))
  return error as Services.ServiceUnavailable
}

describe("a start", () => {
  it.effect("connects and asks for an answer, and the stop ends politely first", () =>
    Effect.gen(function* () {
      const fake = new Fake()
      assert(Exit.isSuccess(yield* cycle(fake)))
      assert.deepStrictEqual(fake.asked, ["open", "connect", "probe", "close", "destroy"])
    })
  )

  it.effect("that is refused cuts and does not wait", () =>
    Effect.gen(function* () {
      const fake = new Fake()
      fake.connect = Effect.fail(new Refused({ message: "no" }))
      const error = unavailable(yield* cycle(fake))
      assert.strictEqual(error.message, "it at fake://here does not serve: no")
      assert.deepStrictEqual(fake.asked, ["open", "connect", "destroy"])
    })
  )

  it.effect("that connects and has no answer is none", () =>
    Effect.gen(function* () {
      const fake = new Fake()
      fake.probe = Effect.fail(new Refused({ message: "loading" }))
      assert.strictEqual(unavailable(yield* cycle(fake)).reason, "loading")
      assert.deepStrictEqual(fake.asked, ["open", "connect", "probe", "destroy"])
    })
  )

  it.effect("is bounded as a whole", () =>
    Effect.gen(function* () {
      const fake = new Fake()
      fake.connect = Effect.sleep("6 seconds")
      fake.probe = Effect.sleep("6 seconds")
      const fiber = yield* Effect.forkChild(cycle(fake), { startImmediately: true })
      yield* TestClock.adjust("9999 millis")
      assert.isUndefined(fiber.pollUnsafe())
      yield* TestClock.adjust("1 milli")
      assert.strictEqual(unavailable(yield* Fiber.join(fiber)).reason, "No answer within 10s")
      assert.deepStrictEqual(fake.asked, ["open", "connect", "probe", "destroy"])
    })
  )

  it.effect("that is cancelled cuts", () =>
    Effect.gen(function* () {
      const fake = new Fake()
      fake.connect = Effect.never
      const fiber = yield* Effect.forkChild(Effect.scoped(start(fake)), { startImmediately: true })
      yield* Fiber.interrupt(fiber)
      assert.deepStrictEqual(fake.asked, ["open", "connect", "destroy"])
    })
  )

  it.effect("fails with a typed error when the client throws", () =>
    Effect.gen(function* () {
      const fake = new Fake()
      const throwing = {
        endpoint: () => "fake://here",
        open: (): Connection<Fake> => {
          throw new TypeError("bad option")
        }
      }
      const exit = yield* Effect.exit(Effect.scoped(Connections.start(throwing, "it", bounds)))
      assert.strictEqual(unavailable(exit).reason, "bad option")
      fake.connect = Effect.die(new Error("thrown later"))
      assert.strictEqual(unavailable(yield* cycle(fake)).reason, "thrown later")
      assert.deepStrictEqual(fake.asked, ["open", "connect", "destroy"])
    })
  )

  it.effect("says which attempt it was", () =>
    Effect.gen(function* () {
      const fake = new Fake()
      const attempts: Array<number> = []
      fake.connect = Effect.fail(new Refused({ message: "no" }))
      const counted = Layer.effect(
        Service,
        Effect.tapError(start(fake), ({ attempt }) => Effect.sync(() => void attempts.push(attempt)))
      )
      const program = yield* Maestro.make(Maestro.service(counted, "it", { retry: Schedule.recurs(2) }))
      const error = yield* Effect.flip(program.start)
      assert.deepStrictEqual(attempts, [1, 2, 3])
      assert.include(error.message, "(attempt 3)")
    })
  )
})

describe("a schedule for services", () => {
  const attempts = Effect.fnUntraced(function* (error: Services.ServiceUnavailable | Services.ServiceMisconfigured) {
    let count = 0
    yield* Effect.sync(() => count++).pipe(
      Effect.andThen(Effect.fail(error)),
      Effect.retry(Services.whileUnavailable(Schedule.recurs(3))),
      Effect.ignore
    )
    return count
  })

  it.effect("tries again what is not there, and not what is wrong", () =>
    Effect.gen(function* () {
      const endpoint = "fake://here"
      const gone = new Services.ServiceUnavailable({ service: "it", endpoint, attempt: 1, reason: "no" })
      assert.strictEqual(yield* attempts(gone), 4)
      assert.strictEqual(yield* attempts(new Services.ServiceMisconfigured({ service: "it", problems: [] })), 1)
    })
  )
})

describe("a stop", () => {
  it.effect("waits for work in flight", () =>
    Effect.gen(function* () {
      const fake = new Fake()
      fake.close = Effect.sleep("2 seconds")
      const fiber = yield* Effect.forkChild(cycle(fake), { startImmediately: true })
      yield* TestClock.adjust("1999 millis")
      assert.notInclude(fake.asked, "destroy")
      yield* TestClock.adjust("1 milli")
      yield* Fiber.join(fiber)
      assert.deepStrictEqual(fake.asked.slice(-2), ["close", "destroy"])
    })
  )

  it.effect("waits for work in flight also when the program is interrupted", () =>
    Effect.gen(function* () {
      const fake = new Fake()
      let ended = false
      fake.close = Effect.delay(
        Effect.sync(() => void (ended = true)),
        "2 seconds"
      )
      const fiber = yield* Effect.forkChild(Effect.scoped(Effect.andThen(start(fake), Effect.never)), {
        startImmediately: true
      })
      fiber.interruptUnsafe()
      yield* TestClock.adjust("1999 millis")
      assert.isUndefined(fiber.pollUnsafe())
      yield* TestClock.adjust("1 milli")
      yield* Fiber.await(fiber)
      assert.isTrue(ended)
      assert.deepStrictEqual(fake.asked.slice(-2), ["close", "destroy"])
    })
  )

  it.effect("cuts what has not ended in time", () =>
    Effect.gen(function* () {
      const fake = new Fake()
      fake.close = Effect.never
      const fiber = yield* Effect.forkChild(cycle(fake), { startImmediately: true })
      yield* TestClock.adjust("2999 millis")
      assert.notInclude(fake.asked, "destroy")
      yield* TestClock.adjust("1 milli")
      assert(Exit.isSuccess(yield* Fiber.join(fiber)))
      assert.include(fake.asked, "destroy")
    })
  )

  it.effect("does not wait for a client that cannot be cut", () =>
    Effect.gen(function* () {
      const fake = new Fake()
      fake.destroy = Effect.never
      const fiber = yield* Effect.forkChild(cycle(fake), { startImmediately: true })
      yield* TestClock.adjust("2999 millis")
      assert.isUndefined(fiber.pollUnsafe())
      yield* TestClock.adjust("1 milli")
      assert(Exit.isSuccess(yield* Fiber.join(fiber)))
    })
  )

  it.effect("cuts what cannot end politely", () =>
    Effect.gen(function* () {
      for (const close of [Effect.fail(new Refused({ message: "no" })), Effect.die(new Error("thrown"))]) {
        const fake = new Fake()
        fake.close = close
        assert(Exit.isSuccess(yield* cycle(fake)))
        assert.deepStrictEqual(fake.asked.slice(-2), ["close", "destroy"])
      }
    })
  )
})

/** A service in a Maestro, and the names of what happened to it. */
const watched = Effect.fnUntraced(function* (fake: Fake) {
  const happened: Array<string> = []
  const program = yield* Maestro.make(Maestro.service(layer(fake), "it"))
  yield* Effect.addFinalizer(() => Effect.ignore(program.stop))
  yield* program.start
  const handle = Option.getOrThrow(yield* program.current)
  yield* handle.events.pipe(
    Stream.runForEach(({ happening }) => Effect.sync(() => void happened.push(happening._tag))),
    Effect.forkScoped({ startImmediately: true })
  )
  yield* TestClock.adjust(0)
  happened.length = 0
  fake.asked.length = 0
  return { happened, stop: program.stop }
})

describe("the watch over a server", () => {
  it.effect("finds out by itself, and takes only an answer for recovery", () =>
    Effect.gen(function* () {
      const fake = new Fake()
      const { happened } = yield* watched(fake)
      const gone = new Refused({ message: "gone" })
      fake.probe = Effect.fail(gone)
      yield* TestClock.adjust("4999 millis")
      assert.deepStrictEqual(happened, [])
      yield* TestClock.adjust("1 milli")
      assert.deepStrictEqual(happened, ["Degraded"])
      fake.link?.look()
      yield* TestClock.adjust("3 seconds")
      assert.deepStrictEqual(happened, ["Degraded"])
      assert.isAtLeast(fake.renewed.length, 3)
      assert.strictEqual(fake.renewed[0], gone)
      fake.probe = Effect.void
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(happened, ["Degraded", "Recovered"])
    })
  )

  it.effect("believes the client that a connection was lost, at once", () =>
    Effect.gen(function* () {
      const fake = new Fake()
      const { happened } = yield* watched(fake)
      fake.link?.lost("reset")
      yield* TestClock.adjust(0)
      assert.deepStrictEqual(happened, ["Degraded"])
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(happened, ["Degraded", "Recovered"])
    })
  )

  it.effect("looks at once when the client is connected again", () =>
    Effect.gen(function* () {
      const fake = new Fake()
      const { happened } = yield* watched(fake)
      fake.link?.lost("reset")
      yield* TestClock.adjust(0)
      fake.link?.look()
      yield* TestClock.adjust(0)
      assert.deepStrictEqual(happened, ["Degraded", "Recovered"])
    })
  )

  it.effect("gives up an answer that does not come, and says so to the client", () =>
    Effect.gen(function* () {
      const fake = new Fake()
      const { happened } = yield* watched(fake)
      fake.probe = Effect.never
      yield* TestClock.adjust("7 seconds")
      assert.deepStrictEqual(happened, ["Degraded"])
      assert(isOutOfTime(fake.renewed[0]))
    })
  )

  it.effect("ends with the service", () =>
    Effect.gen(function* () {
      const fake = new Fake()
      const { happened, stop } = yield* watched(fake)
      yield* stop
      fake.link?.lost("closed by us")
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual(fake.asked, ["close", "destroy"])
      assert.notInclude(happened, "Degraded")
    })
  )
})

describe("a call", () => {
  it.effect("fails with what the client raised", () =>
    Effect.gen(function* () {
      const { use } = yield* start(new Fake())
      const error = yield* Effect.flip(use(() => Promise.reject(new Error("WRONGTYPE"))))
      assert.strictEqual(error.message, "A call to it at fake://here failed: WRONGTYPE")
      const thrown = yield* Effect.flip(
        use(() => {
          throw new Error("at once")
        })
      )
      assert.include(thrown.message, "at once")
    })
  )

  it.effect("is given up in time, and told so", () =>
    Effect.gen(function* () {
      const { use } = yield* start(new Fake())
      let signal: AbortSignal | undefined
      const fiber = yield* Effect.forkChild(
        Effect.flip(
          use((_, given) => {
            signal = given
            return new Promise(() => {})
          })
        ),
        { startImmediately: true }
      )
      yield* TestClock.adjust("29999 millis")
      assert.isUndefined(fiber.pollUnsafe())
      assert.isFalse(signal?.aborted)
      yield* TestClock.adjust("1 milli")
      assert.include((yield* Fiber.join(fiber)).message, "within 30s")
      assert.isTrue(signal?.aborted)
    })
  )

  it.effect("is given up in time whenever it began", () =>
    Effect.gen(function* () {
      const { use } = yield* start(new Fake())
      const ended: Array<string> = []
      const call = (name: string, millis: number) =>
        use(() => new Promise(() => {})).pipe(
          Effect.ignore,
          Effect.andThen(Effect.sync(() => void ended.push(name))),
          Effect.delay(millis),
          Effect.forkChild({ startImmediately: true })
        )
      yield* call("first", 0)
      yield* call("second", 10_000)
      yield* Effect.forkChild(
        Effect.delay(
          use(() => Promise.resolve(1)),
          5_000
        ),
        { startImmediately: true }
      )
      yield* TestClock.adjust("30 seconds")
      assert.deepStrictEqual(ended, ["first"])
      yield* TestClock.adjust("9999 millis")
      assert.deepStrictEqual(ended, ["first"])
      yield* TestClock.adjust("1 milli")
      assert.deepStrictEqual(ended, ["first", "second"])
      // Nothing is watched for any more; the next call is watched anew.
      yield* TestClock.adjust("1 hour")
      yield* call("third", 0)
      yield* TestClock.adjust("30 seconds")
      assert.deepStrictEqual(ended, ["first", "second", "third"])
    })
  )

  it.effect("that the client never settles ends with the service, after the client", () =>
    Effect.gen(function* () {
      const fake = new Fake()
      const scope = yield* Scope.make()
      const { use } = yield* Effect.provideService(start(fake), Scope.Scope, scope)
      const fiber = yield* Effect.forkChild(Effect.flip(use(() => new Promise(() => {}))), { startImmediately: true })
      fake.close = Effect.sync(() => assert.isUndefined(fiber.pollUnsafe()))
      yield* Scope.close(scope, Exit.void)
      assert.include((yield* Fiber.join(fiber)).message, "The service has stopped")
      assert.deepStrictEqual(fake.asked.slice(-2), ["close", "destroy"])
    })
  )

  it.effect("is told when its caller is interrupted", () =>
    Effect.gen(function* () {
      const { use } = yield* start(new Fake())
      let signal: AbortSignal | undefined
      const fiber = yield* Effect.forkChild(
        use((_, given) => {
          signal = given
          return new Promise(() => {})
        }),
        { startImmediately: true }
      )
      yield* Fiber.interrupt(fiber)
      assert.isTrue(signal?.aborted)
    })
  )
})

describe("health", () => {
  it.effect("is an answer in time", () =>
    Effect.gen(function* () {
      const fake = new Fake()
      const scope = yield* Scope.make()
      const { health } = yield* Effect.provideService(start(fake), Scope.Scope, scope)
      yield* health
      fake.probe = Effect.never
      const fiber = yield* Effect.forkChild(Effect.flip(health), { startImmediately: true })
      yield* TestClock.adjust("2 seconds")
      assert.strictEqual((yield* Fiber.join(fiber)).reason, "No answer to a probe within 2s")
      yield* Scope.close(scope, Exit.void)
    })
  )
})
