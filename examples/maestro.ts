/**
 * Services that depend on one another, one of which cannot start: what a program sees of its start, of its graph, and of
 * its stop. It is the story that BandMaster, a library for Go, tells in its introduction.
 */
import { NodeRuntime } from "@effect/platform-node"
import { Cause, Console, Context, Data, Effect, Fiber, Layer, Option, Schedule, Stream } from "effect"
import { Maestro } from "effect-ensemble"

class CannotConnect extends Data.TaggedError("CannotConnect")<{ readonly address: string }> {
  override get message() {
    return `cannot connect to ${this.address}`
  }
}

interface Client {
  readonly address: string
  readonly ask: (question: string) => Effect.Effect<string>
}

/** Stands for a client of a server: port 0 is nobody's. */
const connect = (address: string, millis: number) =>
  Effect.acquireRelease(
    Effect.gen(function* () {
      yield* Effect.sleep(millis)
      if (address.endsWith(":0")) return yield* new CannotConnect({ address })
      const ask: Client["ask"] = (question) => Effect.succeed(`${question} of ${address}`)
      return { address, ask }
    }),
    () => Effect.sleep(20)
  )

class Mc1 extends Context.Service<Mc1, Client>()("example/mc-1") {}
class Mc2 extends Context.Service<Mc2, Client>()("example/mc-2") {}
class Mc3 extends Context.Service<Mc3, Client>()("example/mc-3") {}
class Rd1 extends Context.Service<Rd1, Client>()("example/rd-1") {}
class McX extends Context.Service<McX, Client>()("example/mc-x") {}

// A memcached that depends on another makes no sense, but it shows who waits for whom.
const mc2 = Layer.effect(Mc2, connect("localhost:11211", 50)).pipe(Maestro.service("mc-2"))
const mc3 = Layer.effect(Mc3, connect("localhost:11211", 30)).pipe(Layer.provide(mc2), Maestro.service("mc-3"))
const rd1 = Layer.effect(Rd1, connect("localhost:6379", 80)).pipe(Layer.provide(mc3), Maestro.service("rd-1"))
const mc1 = Layer.effect(Mc1, connect("localhost:11211", 20)).pipe(Layer.provide(rd1), Maestro.service("mc-1"))

// It depends on everything else and cannot start: three attempts, after 100 and 200 milliseconds, and the program does
// without it. As `Maestro.service` it would end the start.
const mcX = Layer.effect(McX, connect("localhost:0", 10)).pipe(
  Layer.provide([mc1, mc2, mc3, rd1]),
  Maestro.optional("mc-x", { retry: Schedule.max([Schedule.exponential("100 millis"), Schedule.recurs(2)]) })
)

const work = Layer.effectDiscard(
  Effect.gen(function* () {
    const redis = yield* Rd1
    const extra = yield* Maestro.option(McX)
    yield* Console.log(`work: ${yield* redis.ask("the answer")}`)
    yield* Console.log(`work: mc-x is ${Option.isSome(extra) ? "there" : "not there, and that is fine"}`)
  })
).pipe(Layer.provide([rd1, mcX]), Maestro.service("work"))

const said = ({ happening, service }: Maestro.ServiceEvent): string => {
  switch (happening._tag) {
    case "AttemptFailed":
      return `${service}: attempt ${happening.attempt} failed, the next in ${happening.delayMillis} ms`
    case "Failed":
      return `${service}: failed, ${Cause.pretty(happening.failure.cause).split("\n")[0]}`
    case "Starting":
      return `${service}: starting, attempt ${happening.attempt}`
    default:
      return `${service}: ${happening._tag.toLowerCase()}`
  }
}

const program = Effect.gen(function* () {
  const maestro = yield* Maestro.Maestro
  const telling = yield* Stream.runForEach(maestro.events, (event) => Console.log(said(event))).pipe(
    Effect.forkChild({ startImmediately: true })
  )
  yield* Effect.scoped(
    Effect.gen(function* () {
      yield* Layer.build(Maestro.boot(work))
      yield* Console.log(`\n${Maestro.toMermaid(yield* maestro.graph)}\n`)
    })
  )
  // The events end with the run.
  yield* Fiber.join(telling)
  const report = yield* maestro.report
  yield* Console.log(`\n${Maestro.toText(report)}\n\n${Maestro.toGantt(report)}`)
})

program.pipe(Effect.provide(Maestro.layer()), Effect.scoped, NodeRuntime.runMain)
