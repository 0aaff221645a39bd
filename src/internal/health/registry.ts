/** The checks of a process, and the asking of them. */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import { within } from "../within.ts"
import type { Finding, Probe, Report, Verdict } from "./report.ts"
import { isVerdict, verdict, worst } from "./report.ts"

export interface Check<out R = never> {
  readonly name: string
  readonly probes: ReadonlyArray<Probe>
  readonly run: Effect.Effect<Verdict, never, R>
}

export interface CheckOptions {
  readonly probes?: ReadonlyArray<Probe> | undefined
  readonly optional?: boolean | undefined
  readonly timeout?: Duration.Input | undefined
}

/** Kubernetes gives a whole probe one second by default; a check that takes longer has no answer in time anyway. */
export const defaultTimeout: Duration.Input = "1 second"

const messageOf = (cause: Cause.Cause<unknown>): string => {
  const error = Cause.squash(cause)
  return error instanceof Error && error.message !== "" ? error.message : String(error)
}

/** What an effect says of a part by how it ends. An optional part does not make the process fail with it. */
export const judged = <E, R>(
  effect: Effect.Effect<unknown, E, R>,
  optional: boolean
): Effect.Effect<Verdict, never, R> =>
  effect.pipe(
    Effect.map((value) => (isVerdict(value) ? value : verdict("pass"))),
    Effect.catchCause((cause) => Effect.succeed(verdict("fail", messageOf(cause)))),
    Effect.map((said) => (optional && said.status === "fail" ? verdict("warn", said.reason) : said))
  )

const limitMillis = (input: Duration.Input): number => {
  const millis = Option.match(Duration.fromInput(input), { onNone: () => 0, onSome: Duration.toMillis })
  return Number.isFinite(millis) && millis > 0 ? millis : Duration.toMillis(Duration.fromInputUnsafe(defaultTimeout))
}

export const make = <E, R>(
  name: string,
  effect: Effect.Effect<unknown, E, R>,
  options: CheckOptions
): Check<Exclude<R, Scope.Scope>> => {
  const millis = limitMillis(options.timeout ?? defaultTimeout)
  return {
    name,
    probes: options.probes ?? ["ready"],
    // `within`, not a timeout: a check that cannot be interrupted must not hold the probe.
    run: judged(
      within(Effect.scoped(effect), {
        millis,
        orElse: Effect.succeed(verdict("fail", `no answer within ${millis} ms`))
      }),
      options.optional ?? false
    )
  }
}

const ask = Effect.fnUntraced(function* ({ name, run }: Check): Effect.fn.Return<Finding> {
  const at = yield* Clock.currentTimeMillis
  const [duration, { reason, status }] = yield* Effect.timed(run)
  return { name, status, reason, at, millis: Duration.toMillis(duration) }
})

/** Some checks, which may be others each time. */
export type Source = (probe: Probe) => Effect.Effect<ReadonlyArray<Check>>

export interface Selection {
  readonly exclude?: ReadonlyArray<string> | undefined
  readonly only?: string | undefined
}

export interface Registry {
  readonly add: (source: Source) => Effect.Effect<void, never, Scope.Scope>
  readonly report: (probe: Probe, selection?: Selection) => Effect.Effect<Report>
}

export const makeRegistry = (): Registry => {
  const sources = new Set<Source>()
  return {
    add: (source) =>
      // A copy: the same source may be added twice, and each goes with its own scope.
      Effect.suspend(() => {
        const own: Source = (probe) => source(probe)
        return Effect.acquireRelease(
          Effect.sync(() => sources.add(own)),
          () => Effect.sync(() => sources.delete(own))
        )
      }),
    report: Effect.fn("Health.report")(function* (probe, { exclude = [], only } = {}) {
      yield* Effect.annotateCurrentSpan({ probe })
      const found = yield* Effect.all(
        Array.from(sources, (source) => source(probe)),
        { concurrency: "unbounded" }
      )
      const all = found.flat()
      const asked = all.filter(({ name }) => (only === undefined || name === only) && !exclude.includes(name))
      const checks = yield* Effect.forEach(asked, ask, { concurrency: "unbounded" })
      return {
        probe,
        status: worst(checks.map(({ status }) => status)),
        checks,
        unmatched: exclude.filter((name) => all.every((check) => check.name !== name))
      }
    })
  }
}
