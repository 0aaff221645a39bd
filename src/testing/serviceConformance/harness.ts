/** What a conformance case of a service is given, and the few words it speaks. */
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import type * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import * as Maestro from "../../Maestro.ts"
import { ConformanceFailure } from "../conformance/harness.ts"

/** What the tests of a service can do to the server that it talks to. */
export interface Faults {
  readonly refuse: Effect.Effect<void>
  readonly stall: Effect.Effect<void>
  readonly heal: Effect.Effect<void>
}

export type Need = "refuse" | "stall" | "count" | "health"

export interface Harness<in out Out> {
  readonly layer: Layer.Layer<Out, unknown>
  readonly probe: Effect.Effect<unknown, unknown, Out>
  readonly advance: (millis: number) => Effect.Effect<void>
  readonly patienceMillis?: number | undefined
  readonly open?: Effect.Effect<number> | undefined
  readonly pooled?: number | undefined
  readonly health?: Effect.Effect<unknown, unknown, Out> | undefined
  readonly faults?: Partial<Faults> | undefined
  readonly stride?: number | undefined
}

export interface Case {
  readonly contract: string
  readonly name: string
  readonly needs: ReadonlyArray<Need>
  readonly run: <Out>(harness: Harness<Out>) => Effect.Effect<void, unknown, Scope.Scope>
}

export const conform = (
  contract: string,
  name: string,
  needs: ReadonlyArray<Need>,
  run: <Out>(harness: Harness<Out>) => Effect.Effect<void, unknown, Scope.Scope>
): Case => ({ contract, name, needs, run })

/** A fault that the case's `needs` has asked for. */
export const strike = <Out>(harness: Harness<Out>, name: "refuse" | "stall"): Effect.Effect<void> => {
  const fault = harness.faults?.[name]
  // The suite leaves out cases whose needs are not declared, so a missing one is a wrong declaration.
  if (fault === undefined) throw new Error(`The harness declares the fault "${name}" and does not have it`)
  return fault
}

export const heal = <Out>(harness: Harness<Out>): Effect.Effect<void> => harness.faults?.heal ?? Effect.void

/** What a start on a healthy server may take on a machine that does other things, too. */
const defaultPatienceMillis = 10_000

export const patience = <Out>(harness: Harness<Out>): number => harness.patienceMillis ?? defaultPatienceMillis

/** Short enough that bounds of a tenth of the patience show, long enough that a case takes few steps. */
const stepsOfPatience = 100

const step = <Out>(harness: Harness<Out>): Effect.Effect<void> => harness.advance(patience(harness) / stepsOfPatience)

export const eventually = <Out, E>(
  harness: Harness<Out>,
  what: string,
  condition: Effect.Effect<boolean, E>
): Effect.Effect<void, E | ConformanceFailure> =>
  Effect.gen(function* () {
    for (let steps = 0; steps <= stepsOfPatience; steps++) {
      if (yield* condition) return
      yield* step(harness)
    }
    return yield* new ConformanceFailure({ detail: `${what}: not so within ${patience(harness)} ms` })
  })

/** Lets time pass until the fiber has ended, for so many patiences at the most. */
const passUntilEnded = <Out, A, E>(harness: Harness<Out>, fiber: Fiber.Fiber<A, E>, patiences: number) =>
  Effect.gen(function* () {
    for (let steps = 0; steps <= stepsOfPatience * patiences && fiber.pollUnsafe() === undefined; steps++) {
      yield* step(harness)
    }
    return fiber.pollUnsafe()
  })

/** Runs an effect in the background. At the end of the case it is cancelled, and time passes until it has ended. */
export const launch = <Out, A, E>(
  harness: Harness<Out>,
  effect: Effect.Effect<A, E>
): Effect.Effect<Fiber.Fiber<A, E>, never, Scope.Scope> =>
  // Not `forkScoped`: the scope would wait for its end, and nobody would move the clock that it may be waiting for.
  Effect.acquireRelease(Effect.forkDetach(effect, { startImmediately: true }), (fiber) =>
    Effect.suspend(() => {
      fiber.interruptUnsafe()
      return passUntilEnded(harness, fiber, 1)
    })
  )

/** Lets time pass until the effect has ended, within so many patiences. */
export const ended = <Out, A, E>(
  harness: Harness<Out>,
  what: string,
  effect: Effect.Effect<A, E>,
  patiences = 1
): Effect.Effect<Exit.Exit<A, E>, ConformanceFailure, Scope.Scope> =>
  Effect.gen(function* () {
    const exit = yield* passUntilEnded(harness, yield* launch(harness, effect), patiences)
    if (exit !== undefined) return exit
    return yield* new ConformanceFailure({ detail: `${what} has not ended within ${patience(harness) * patiences} ms` })
  })

/** The same, where it has to succeed. */
export const done = <Out, A, E>(harness: Harness<Out>, what: string, effect: Effect.Effect<A, E>, patiences = 1) =>
  Effect.flatMap(ended(harness, what, effect, patiences), (exit) => exit)

/** Waits until the service has nothing open any more, where the harness can count. */
export const nothingIsOpen = <Out>(harness: Harness<Out>, when: string) => isOpen(harness, 0, when)

export const isOpen = <Out>(
  harness: Harness<Out>,
  wanted: number,
  when: string
): Effect.Effect<void, ConformanceFailure> => {
  const { open, pooled = 0 } = harness
  const fits = (count: number) => count === wanted || (wanted > 0 && count > 0 && Math.abs(count - wanted) <= pooled)
  return open === undefined
    ? Effect.void
    : eventually(harness, `${when}: the service has ${wanted} open`, Effect.map(open, fits)).pipe(
        Effect.catch(() =>
          Effect.flatMap(
            open,
            (count) =>
              new ConformanceFailure({ detail: `${when}: expected ${wanted} open on the server and found ${count}` })
          )
        )
      )
}

export const openNow = <Out>(harness: Harness<Out>): Effect.Effect<number> => harness.open ?? Effect.succeed(0)

/** A program of nothing but the service, which ends with the case. Its stop is bounded by half the patience. */
export const program = <Out>(
  harness: Harness<Out>,
  policy: Maestro.Policy<unknown, Out> = {}
): Effect.Effect<Maestro.Program<Out>, never, Scope.Scope> =>
  Effect.gen(function* () {
    const made = yield* Maestro.make(
      Maestro.service(harness.layer, "service", { stopTimeout: patience(harness) / 2, ...policy })
    )
    yield* Effect.addFinalizer(() => Effect.ignore(Effect.scoped(done(harness, "the stop", made.stop))))
    return made
  })

/** Whether a started service does its work. */
export const works = <Out>(
  harness: Harness<Out>,
  context: Context.Context<Out>,
  when: string
): Effect.Effect<void, ConformanceFailure, Scope.Scope> =>
  Effect.flatMap(
    ended(harness, `${when}: the probe`, Effect.provideContext(harness.probe, context)),
    (exit): Effect.Effect<void, ConformanceFailure> =>
      exit._tag === "Success"
        ? Effect.void
        : Effect.fail(new ConformanceFailure({ detail: `${when}: the service does not work: ${exit.cause}` }))
  )
