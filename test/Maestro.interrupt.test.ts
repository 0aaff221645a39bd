import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Exit, Fiber, Layer, Metric, Schedule, Scheduler, Scope } from "effect"
import { Maestro } from "effect-ensemble"
import { Log, tag } from "./maestro/kit.ts"

/** Yields instead of sleeping: what happens in between depends on the number of steps alone. */
const stepping = (log: Log, name: string, behaviour: { failures?: number; uninterruptible?: boolean } = {}) => {
  let attempts = 0
  const pause = Effect.andThen(Effect.yieldNow, Effect.yieldNow)
  return Layer.effect(
    tag(name),
    Effect.gen(function* () {
      const attempt = ++attempts
      const acquire = Effect.acquireRelease(
        Effect.andThen(
          pause,
          Effect.sync(() => log.lines.push(`0 ${name} open`))
        ),
        () =>
          Effect.andThen(
            pause,
            Effect.sync(() => log.lines.push(`0 ${name} closed`))
          )
      )
      yield* acquire
      yield* pause
      if (attempt <= (behaviour.failures ?? 0)) return yield* Effect.fail(`${name} fails`)
      return { name }
    })
  )
}

/** A diamond over a shared base and a shared layer without a name, with everything in it that can go more than one way. */
const application = (log: Log, failing: boolean) => {
  const base = stepping(log, "base").pipe(Maestro.service("base", { startTimeout: "1 hour" }))
  const plain = stepping(log, "plain")
  const retried = stepping(log, "retried", { failures: 1 }).pipe(
    Layer.provide([base, plain]),
    Maestro.service("retried", { retry: Schedule.recurs(3), startTimeout: "1 hour" })
  )
  const lost = stepping(log, "lost", { failures: 9 }).pipe(Layer.provide(base), Maestro.optional("lost"))
  const captive = stepping(log, "captive").pipe(Maestro.service("captive"), Layer.provide(stepping(log, "input")))
  const left = stepping(log, "left", { failures: 1 }).pipe(
    Layer.provide([retried, lost, captive]),
    Maestro.service("left", { retry: Schedule.recurs(1) })
  )
  const infra = Layer.mergeAll(base, retried, plain)
  const right = stepping(log, "right").pipe(Layer.provide(infra), Maestro.service("right"))
  const top = stepping(log, "top", { failures: failing ? 9 : 0 }).pipe(
    Layer.provide([left, right]),
    Maestro.service("top")
  )
  return Layer.mergeAll(top, stepping(log, "root").pipe(Layer.provide(infra)))
}

/** Counts the fibers that have begun and not ended. */
const makeCount = () => {
  const counted = { alive: 0 }
  const service: Metric.FiberRuntimeMetricsService = {
    recordFiberStart: () => void counted.alive++,
    recordFiberEnd: () => void counted.alive--
  }
  return { counted, context: Context.make(Metric.FiberRuntimeMetrics, service) }
}

interface Round {
  readonly operations: number
  readonly step: number
  readonly failing: boolean
  /** The last two begin to end a program that runs, and interrupt that after so many steps. */
  readonly act: "interrupt" | "stop" | "close" | "interrupted stop" | "interrupted close"
}

/** Starts, acts after so many steps, waits for the end: whether what is interrupted was over before. */
const play = ({ act, failing, operations, step }: Round) =>
  Effect.gen(function* () {
    const log = new Log()
    const { context, counted } = makeCount()
    const inside = Context.add(context, Scheduler.MaxOpsBeforeYield, operations)
    const scope = yield* Scope.make()
    const program = Effect.gen(function* () {
      const made = yield* Layer.buildWithScope(Maestro.layer(), scope)
      const maestro = Context.get(made, Maestro.Maestro)
      const fiber = yield* Effect.forkDetach(
        Layer.buildWithScope(Maestro.boot(application(log, failing)), scope).pipe(Effect.provideContext(made))
      )
      const isEnd = act === "interrupted stop" || act === "interrupted close"
      if (isEnd) yield* Fiber.await(fiber)
      const ending = act === "interrupted stop" ? maestro.stop : Scope.close(scope, Exit.void)
      const swept: Fiber.Fiber<unknown, unknown> = isEnd ? yield* Effect.forkDetach(ending) : fiber
      for (let index = 0; index < step; index++) yield* Effect.yieldNow
      const over = swept.pollUnsafe() !== undefined
      if (act !== "stop" && act !== "close") yield* Fiber.interrupt(swept)
      if (act === "stop") yield* maestro.stop
      yield* Scope.close(scope, Exit.void)
      yield* Fiber.await(fiber)
      return { over, states: yield* maestro.states, phase: yield* maestro.phase }
    })
    const { over, phase, states } = yield* Effect.provideContext(program, inside)
    // What has ended in this turn has been counted when the turn is over.
    for (let index = 0; index < 20 && counted.alive > 0; index++) yield* Effect.yieldNow
    const open = new Map<string, number>()
    for (const name of log.names()) {
      const [service = "", what] = name.split(" ")
      open.set(service, (open.get(service) ?? 0) + (what === "open" ? 1 : -1))
    }
    const at = JSON.stringify({ act, failing, operations, step })
    assert.deepStrictEqual(
      [...open].filter(([, count]) => count !== 0),
      [],
      `${at}: not closed exactly once`
    )
    const unfinished = states.filter(({ state }) => state !== "stopped" && state !== "failed")
    assert.deepStrictEqual(
      unfinished.map(({ name, state }) => `${name} ${state}`),
      [],
      `${at}: not ended`
    )
    assert.include(["stopped", "idle"], phase, at)
    assert.strictEqual(counted.alive, 0, `${at}: fibers left`)
    for (const [first, second] of [
      ["base", "retried"],
      ["retried", "left"],
      ["left", "top"],
      ["base", "right"],
      ["right", "top"]
    ]) {
      const lastOfDependent = log.names().lastIndexOf(`${second} closed`)
      const lastOfDependency = log.names().lastIndexOf(`${first} closed`)
      if (lastOfDependent >= 0) assert.isBelow(lastOfDependent, lastOfDependency, `${at}: ${first} before ${second}`)
    }
    return over
  })

const sweep = (round: Omit<Round, "step">) =>
  Effect.gen(function* () {
    let step = 0
    // Some steps beyond the end of the start: those of a program that runs.
    for (let beyond = 0; beyond < 3; step++) if (yield* play({ ...round, step })) beyond++
    return step
  })

describe("an interruption at every step", () => {
  for (const act of ["interrupted stop", "interrupted close"] as const) {
    it.effect(`of a program that runs: an ${act} still ends it`, () =>
      Effect.gen(function* () {
        let steps = 0
        for (const operations of [3, 5, 11, 64]) steps += yield* sweep({ act, failing: false, operations })
        assert.isAbove(steps, 20)
      })
    )
  }

  for (const act of ["interrupt", "stop", "close"] as const) {
    for (const failing of [false, true]) {
      it.effect(`${act} of a start that ${failing ? "fails" : "succeeds"}`, () =>
        Effect.gen(function* () {
          let steps = 0
          for (const operations of [3, 5, 11, 64]) steps += yield* sweep({ act, failing, operations })
          assert.isAbove(steps, 200)
        })
      )
    }
  }
})
