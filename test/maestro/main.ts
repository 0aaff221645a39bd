/** A program to be sent signals: tells on its standard output what happens to it. */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import * as Maestro from "../../src/Maestro.ts"

const [scenario = ""] = process.argv.slice(2)
const say = (line: string) => Effect.sync(() => process.stdout.write(`${line}\n`))

const unit = (name: string, stop: Effect.Effect<unknown> = Effect.void) =>
  Layer.effectDiscard(Effect.acquireRelease(say(`${name} up`), () => Effect.andThen(say(`${name} stops`), stop)))

const hang = Effect.uninterruptible(Effect.sleep("1 hour"))

const worker = (act: (maestro: Maestro.Handle) => Effect.Effect<unknown>) =>
  Layer.effectDiscard(
    Effect.gen(function* () {
      const maestro = yield* Maestro.Maestro
      yield* Effect.forkScoped(Effect.andThen(maestro.ready("worker"), act(maestro)))
    })
  ).pipe(Maestro.service("worker"))

const probes = Layer.effectDiscard(
  Effect.gen(function* () {
    const maestro = yield* Maestro.Maestro
    yield* Effect.acquireRelease(say("probes up"), () => say("probes stop"))
    yield* Effect.forkScoped(
      Stream.runForEach(maestro.phases, (phase) => say(`phase ${phase}`)),
      {
        startImmediately: true
      }
    )
  })
)

const base = unit("base").pipe(Maestro.service("base"))
const api = unit("api").pipe(Layer.provide(base), Maestro.service("api"))
const stuck = unit("stuck", hang).pipe(Layer.provide(base), Maestro.service("stuck", { stopTimeout: "1 hour" }))

const scenarios: Record<string, () => void> = {
  waits: () => Maestro.runMain(api, { around: probes }),
  drains: () => Maestro.runMain(api, { around: probes, drain: "300 millis" }),
  drainsLong: () => Maestro.runMain(api, { around: probes, drain: "1 hour" }),
  recoded: () => Maestro.runMain(api, { signalExitCode: () => 0 }),
  stops: () =>
    Maestro.runMain(
      Layer.mergeAll(
        api,
        worker((maestro) => maestro.stop)
      )
    ),
  fails: () =>
    Maestro.runMain(
      Layer.mergeAll(
        api,
        worker((maestro) => maestro.fail(Cause.fail("the worker died")))
      )
    ),
  cannotStart: () =>
    Maestro.runMain(Layer.effectDiscard(Effect.fail("no database")).pipe(Layer.provide(base), Maestro.service("bad"))),
  starting: () =>
    Maestro.runMain(
      Layer.effectDiscard(Effect.andThen(say("starting"), Effect.never)).pipe(
        Layer.provide(base),
        Maestro.service("slow")
      )
    ),
  aroundStarting: () =>
    Maestro.runMain(api, { around: Layer.effectDiscard(Effect.andThen(say("around"), Effect.never)) }),
  aroundStuck: () => {
    let received = 0
    process.on("SIGTERM", () => process.stdout.write(`signal ${++received}\n`))
    const around = Layer.effectDiscard(Effect.uninterruptible(Effect.andThen(say("around"), Effect.never)))
    Maestro.runMain(api, { around })
  },
  stuck: () => Maestro.runMain(stuck, { stopTimeout: "1 hour" }),
  stuckShort: () => Maestro.runMain(stuck, { stopTimeout: "200 millis" }),
  stuckAround: () => Maestro.runMain(api, { around: unit("around", hang), stopTimeout: "1 hour" })
}

scenarios[scenario]?.()
