/**
 * Names, retries, bounds and a report for the layers that a program is made of.
 *
 * **When to use**
 *
 * Layers order the work already: what is provided starts first and stops last. Use this where a program has to say what is
 * happening meanwhile, try again politely, do without what it can do without, and come to an end in time.
 *
 * **Details**
 *
 * There is no registry and there are no names for dependencies: a dependency is `Layer.provide`, and what is missing does
 * not compile. Wrap the *composed* layer:
 *
 * ```ts
 * import { Context, Effect, Layer, Schedule } from "effect"
 * import { Maestro } from "effect-ensemble"
 *
 * class Db extends Context.Service<Db, string>()("app/Db") {
 *   static readonly layer = Layer.succeed(Db, "db").pipe(
 *     Maestro.service("db", { retry: Schedule.exponential("100 millis"), startTimeout: "10 seconds" })
 *   )
 * }
 * class Api extends Context.Service<Api, string>()("app/Api") {
 *   static readonly layerNoDeps = Layer.effect(Api, Effect.map(Db, (db) => `api over ${db}`))
 *   static readonly layer = Api.layerNoDeps.pipe(Layer.provide(Db.layer), Maestro.service("api"))
 * }
 *
 * const program = Maestro.make(Api.layer).pipe(
 *   Effect.flatMap(({ start, stop }) => Effect.ensuring(Effect.map(start, Context.get(Api)), stop))
 * )
 * console.log(await Effect.runPromise(program)) // => api over db
 * ```
 *
 * ```text
 *                 Maestro.layer()          an empty run: events, states, stop
 *                      │
 *                    probes                what outlives the services
 *                      │
 *                 Maestro.boot             the top of what is started and stopped
 *                  ┌───┴────┐
 *                 api      jobs            start when what is below them is ready,
 *                  ├───┐    │              stop before it
 *                 db  cache │
 *                  └────────┘
 * ```
 *
 * A layer is built outside in, so every service that is composed so is known, as `waiting`, before the first constructor's
 * end is told. A service that is met while another is built is its dependency: it starts once, is held while the other
 * tries again, and does not count against the other's start time. Anything else inside is the service's own construction.
 *
 * **Gotchas**
 *
 * - A service wrapped before `Layer.provide` works the same, but is known only when it is reached, after its dependencies.
 * - What a service is given by its dependent's *own* construction cannot outlive an attempt of that construction, so the
 *   service restarts with it. Provide services and such things side by side (`Layer.provide([Db.layer, settings])`), or the
 *   services first.
 * - Layers are shared by reference. A function that returns a layer returns a new one each time it is called: two of
 *   them under one name fail the start with `DuplicateService`.
 * - With no Maestro above, a service is its layer, with its retries and bounds.
 *
 * @since 0.1.0
 */
import type * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { dual } from "effect/Function"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import { toLayer } from "./internal/maestro/ask.ts"
import * as booting from "./internal/maestro/boot.ts"
import { erase, restore, restoreOutput } from "./internal/maestro/erased.ts"
import type { AnyLayer } from "./internal/maestro/erased.ts"
import type { InvalidGraph, MissingDependency, StartFailed, StartTimeout } from "./internal/maestro/errors.ts"
import * as graphs from "./internal/maestro/fromGraph.ts"
import * as handle from "./internal/maestro/handle.ts"
import * as main from "./internal/maestro/main.ts"
import type { Handle, Happening, Policy, Report, ServiceGraph } from "./internal/maestro/model.ts"
import { optionalKey } from "./internal/maestro/output.ts"
import { CurrentBuilder } from "./internal/maestro/parts.ts"
import * as pictures from "./internal/maestro/pictures.ts"
import { makeProgram } from "./internal/maestro/program.ts"
import type { Run } from "./internal/maestro/run.ts"
import { CurrentRun, happen, make as makeRun } from "./internal/maestro/run.ts"
import { define } from "./internal/maestro/service.ts"

/** @since 0.1.0 */
export {
  CircularDependency,
  DuplicateService,
  InvalidGraph,
  MissingDependency,
  ServiceNotReady,
  StartFailed,
  StartTimeout,
  UnknownService
} from "./internal/maestro/errors.ts"

/** @since 0.1.0 */
export type { GraphProblem } from "./internal/maestro/definitions.ts"

/** @since 0.1.0 */
export type {
  Dependency,
  FailureReason,
  Handle,
  Happening,
  Phase,
  Policy,
  Report,
  ServiceCheck,
  ServiceEvent,
  ServiceGraph,
  ServiceState,
  ServiceStatus,
  Timing
} from "./internal/maestro/model.ts"

/**
 * The run: what a program can see of it, and do to it.
 *
 * **When to use**
 *
 * Use it in probes and exporters that stand around {@link boot}, and in a service that has to wait for another one or to
 * end the program.
 *
 * **Example** (Waiting for one service)
 *
 * ```ts
 * import { Effect, Layer } from "effect"
 * import { Maestro } from "effect-ensemble"
 *
 * const db = Layer.empty.pipe(Maestro.service("db"))
 * const program = Effect.gen(function*() {
 *   const maestro = yield* Maestro.Maestro
 *   yield* Layer.build(Maestro.boot(db))
 *   yield* maestro.ready("db")
 *   const states = yield* maestro.states
 *   return states.map(({ name, state }) => `${name} is ${state}`)
 * })
 * console.log(await Effect.runPromise(program.pipe(Effect.scoped, Effect.provide(Maestro.layer())))) // => [ 'db is ready' ]
 * ```
 *
 * @category services
 * @since 0.1.0
 */
export class Maestro extends Context.Service<Maestro, Handle>()("effect-ensemble/Maestro") {}

/**
 * What an optional layer provides in place of `I`: it is read with {@link option}, and whoever reads it has to say what
 * happens without it.
 *
 * @category models
 * @since 0.1.0
 */
export interface Optional<in out I> {
  readonly "~effect-ensemble/Maestro/Optional": (_: I) => I
}

/**
 * Every service of `Out`, each made optional.
 *
 * @category models
 * @since 0.1.0
 */
export type OptionalOf<Out> = Out extends Optional<infer _> ? Out : Out extends unknown ? Optional<Out> : never

/**
 * Names a layer and gives it a policy. It provides what it provided.
 *
 * **When to use**
 *
 * Use it for every part of a program that can fail to start, or to stop: clients, servers, consumers. What is quick and
 * sure (a setting, a pure function) needs no name.
 *
 * **Details**
 *
 * - It is built once per run, on a fiber of the run and not of its first asker. Independent services start and stop in
 *   parallel. What has failed stays failed for the run.
 * - An attempt that fails is cleaned up before the next one begins. A dependent never retries its dependency's failure: it
 *   ends as failed with the reason `DependencyUnavailable`.
 * - `startTimeout` also holds where the acquisition cannot be interrupted: the attempt goes on apart, what it acquires late
 *   is released, and the next attempt waits for its end.
 * - A stop ends as clean, failed or abandoned, and none of these keeps its dependencies from stopping.
 *
 * **Gotchas**
 *
 * With several failures a start fails with the first. `Effect.interrupt` inside a constructor is not a failure: nothing
 * recovers from it.
 *
 * **Example** (Trying again)
 *
 * ```ts
 * import { Context, Data, Effect, Layer, Schedule } from "effect"
 * import { Maestro } from "effect-ensemble"
 *
 * class Refused extends Data.TaggedError("Refused")<{}> {}
 * class Db extends Context.Service<Db, string>()("app/Db") {}
 *
 * let attempts = 0
 * const connect = Effect.suspend(() => ++attempts < 3 ? Effect.fail(new Refused()) : Effect.succeed(`attempt ${attempts}`))
 * const db = Layer.effect(Db, connect).pipe(
 *   Maestro.service("db", { retry: Schedule.max([Schedule.exponential("1 millis"), Schedule.recurs(4)]) })
 * )
 * console.log(await Effect.runPromise(Effect.provide(Db, db))) // => attempt 3
 * ```
 *
 * @category combinators
 * @since 0.1.0
 */
export const service: {
  <E0 = unknown, Uses = never>(
    name: string,
    policy?: Policy<E0, Uses>
  ): <Out, E extends E0, R>(
    layer: Layer.Layer<Out, E, R> & Layer.Layer<Uses, unknown, unknown>
  ) => Layer.Layer<Out, E | StartTimeout, R>
  <Out, E, R>(
    layer: Layer.Layer<Out, E, R>,
    name: string,
    policy?: Policy<NoInfer<E>, NoInfer<Out>>
  ): Layer.Layer<Out, E | StartTimeout, R>
} = dual(
  (args) => Layer.isLayer(args[0]),
  (layer: AnyLayer, name: string, policy: Policy<never, unknown> = {}) => toLayer(define(name, false, policy, layer))
)

/**
 * Names a layer that the program can do without: each of its services becomes an `Option`.
 *
 * **When to use**
 *
 * Use it for what makes a program better and is not needed: a cache, a recommendation service. Whoever reads it has to say
 * what happens without it, because `yield* Cache` does not compile any more.
 *
 * **Details**
 *
 * It recovers from everything: failures, defects, those of a clean-up, and the failure of what it depends on. What did not
 * start is `None` for the whole run. An interruption is nobody's failure and passes through.
 *
 * **Gotchas**
 *
 * A program with a wrong setting starts without its cache, too. Watch the state `failed` of optional services.
 *
 * **Example** (Doing without a cache)
 *
 * ```ts
 * import { Context, Effect, Layer, Option } from "effect"
 * import { Maestro } from "effect-ensemble"
 *
 * class Cache extends Context.Service<Cache, { readonly get: (key: string) => string }>()("app/Cache") {
 *   static readonly layer = Layer.effect(Cache, Effect.fail("no server")).pipe(Maestro.optional("cache"))
 * }
 * const program = Effect.gen(function*() {
 *   const cache = yield* Maestro.option(Cache)
 *   return Option.match(cache, { onNone: () => "computed", onSome: ({ get }) => get("key") })
 * })
 * console.log(await Effect.runPromise(Effect.provide(program, Cache.layer))) // => computed
 * ```
 *
 * @category combinators
 * @since 0.1.0
 */
export const optional: {
  <E0 = unknown, Uses = never>(
    name: string,
    policy?: Policy<E0, Uses>
  ): <Out, E extends E0, R>(
    layer: Layer.Layer<Out, E, R> & Layer.Layer<Uses, unknown, unknown>
  ) => Layer.Layer<OptionalOf<Out>, never, R>
  <Out, E, R>(
    layer: Layer.Layer<Out, E, R>,
    name: string,
    policy?: Policy<NoInfer<E>, NoInfer<Out>>
  ): Layer.Layer<OptionalOf<Out>, never, R>
} = dual(
  (args) => Layer.isLayer(args[0]),
  (layer: AnyLayer, name: string, policy: Policy<never, unknown> = {}) => toLayer(define(name, true, policy, layer))
)

/**
 * Reads a service that an optional layer provides: nothing if that layer did not start.
 *
 * **Details**
 *
 * It is a key like the service's own: `yield* Maestro.option(Cache)`. A test may provide it as any other:
 * `Layer.succeed(Maestro.option(Cache), Option.none())`.
 *
 * @category combinators
 * @since 0.1.0
 */
export const option = <I, S>(tag: Context.Key<I, S>): Context.Service<Optional<I>, Option.Option<S>> =>
  // The key has a default, so that it reads as nothing where the layer did not start. The type does not show the
  // default: whoever reads the key still has to be given the optional layer.
  optionalKey<S>(tag.key) as unknown as Context.Service<Optional<I>, Option.Option<S>>

/**
 * How a run as a whole is stopped.
 *
 * **Details**
 *
 * - `stopTimeout`: what the whole stop may take. Default: 25 seconds, which leaves time for a last report before
 *   Kubernetes kills (30 seconds).
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  readonly stopTimeout?: Duration.Input | undefined
}

/** Below the 30 s that Kubernetes and most service managers grant, with time left to say what did not stop. */
const defaultStopTimeout = "25 seconds"

const stopMillisOf = (options: Options | undefined): number =>
  Duration.toMillis(Duration.fromInputUnsafe(options?.stopTimeout ?? defaultStopTimeout))

const contextOf = (run: Run): Context.Context<Maestro | booting.RunOfMaestro> =>
  Context.make(Maestro, handle.makeHandle(run)).pipe(Context.add(booting.RunOfMaestro, run))

/**
 * An empty run, to be provided around {@link boot}.
 *
 * **Details**
 *
 * What is provided between the two outlives the services: `Maestro.boot(App).pipe(Layer.provide(Probes),
 * Layer.provide(Maestro.layer()))`.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options?: Options): Layer.Layer<Maestro> =>
  Layer.effectContext(Effect.map(makeRun({ stopMillis: stopMillisOf(options), implicit: false }), contextOf))

/**
 * Marks the top of what a run starts and stops.
 *
 * **Details**
 *
 * A start that fails releases everything that has started, in order, and then fails with `StartFailed`, which reports every
 * known service. A stop splits its time along the heaviest way down: of 15 seconds, three services of 10 seconds each that
 * depend on one another get 5 each. What is composed outside all services is bounded by the whole time.
 *
 * **Gotchas**
 *
 * Services outside of it are in no run, and one `Maestro.layer` has one `boot`. The run may end while the layer is in use,
 * by {@link Maestro}'s `stop` or `fail`: wait for `ended`, as {@link runMain} does.
 *
 * **Example** (A start that fails)
 *
 * ```ts
 * import { Effect, Layer } from "effect"
 * import { Maestro } from "effect-ensemble"
 *
 * const db = Layer.effectDiscard(Effect.fail("connection refused")).pipe(Maestro.service("db"))
 * const api = Layer.empty.pipe(Layer.provide(db), Maestro.service("api"))
 * const app = Maestro.boot(api).pipe(Layer.provide(Maestro.layer()))
 * const error = await Effect.runPromise(Effect.flip(Effect.scoped(Layer.build(app))))
 * console.log(error.message)
 * // => The start failed: connection refused
 * // => api failed (never attempted): its dependency db is not available
 * // => db failed (1 attempt): connection refused
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const boot = <Out, E, R>(app: Layer.Layer<Out, E, R>): Layer.Layer<Out, StartFailed, R | Maestro> =>
  restore(booting.boot(erase(app)))

/**
 * A program that is started and stopped by hand. Made by {@link make}.
 *
 * **Details**
 *
 * - `start` gives what the application provides. Those who start it at the same time share one start, which is given up
 *   with the last of them; while it is up, `start` gives the same again; after a stop it starts anew.
 * - `stop` returns when everything has stopped. It may be called any number of times.
 * - `current` is the newest run, also after its end.
 *
 * @category models
 * @since 0.1.0
 */
export interface Program<Out> {
  readonly start: Effect.Effect<Context.Context<Out | Maestro>, StartFailed>
  readonly stop: Effect.Effect<void>
  readonly current: Effect.Effect<Option.Option<Handle>>
}

/**
 * Makes a program that is started and stopped by hand, any number of times.
 *
 * **When to use**
 *
 * Use it in tests, and where something else than the process decides when the program runs. A single part that has to
 * restart is a worker of a `Supervisor`, or a `LayerRef`: here it is always the whole, as a new run of the same layers.
 *
 * **Example** (Starting twice)
 *
 * ```ts
 * import { Effect, Layer } from "effect"
 * import { Maestro } from "effect-ensemble"
 *
 * const events: Array<string> = []
 * const db = Layer.effectDiscard(
 *   Effect.acquireRelease(Effect.sync(() => events.push("up")), () => Effect.sync(() => events.push("down")))
 * ).pipe(Maestro.service("db"))
 *
 * const program = Effect.gen(function*() {
 *   const { start, stop } = yield* Maestro.make(db)
 *   yield* start
 *   yield* start
 *   yield* stop
 *   yield* start
 *   yield* stop
 * })
 * await Effect.runPromise(program)
 * console.log(events.join(" ")) // => up down up down
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <Out, E, R>(
  app: Layer.Layer<Out, E, R>,
  options?: Options
): Effect.Effect<Program<Out>, never, Exclude<R, Maestro>> =>
  Effect.map(makeProgram(erase(app), stopMillisOf(options), contextOf), (program): Program<Out> => ({
    start: restoreOutput(program.start),
    stop: program.stop,
    current: Effect.map(program.current, (run) => Option.map(Option.fromUndefinedOr(run), handle.makeHandle))
  }))

/**
 * How a program is run as the main one of its process.
 *
 * **Details**
 *
 * - `drain`: the time between being not ready and the stop, for load balancers to take notice. Default: none.
 * - `signalExitCode`: the code after a clean stop by a signal. Default: 130 for SIGINT, 143 for SIGTERM.
 *
 * @category models
 * @since 0.1.0
 */
export interface MainOptions extends Options {
  readonly drain?: Duration.Input | undefined
  readonly signalExitCode?: ((signal: "SIGINT" | "SIGTERM") => number) | undefined
}

/**
 * The same, with what outlives the services.
 *
 * **Details**
 *
 * `around` is built before the services and released after them: probes, exporters, loggers. It sees the run as
 * {@link Maestro}, and the program sees what it provides.
 *
 * @category models
 * @since 0.1.0
 */
export interface AroundOptions<in Around> extends MainOptions {
  readonly around: Layer.Layer<Around, unknown, Maestro>
}

/**
 * Runs an application as the main program of its process, and ends the process with a code that says how it went.
 *
 * **Details**
 *
 * | code | how it went |
 * | --- | --- |
 * | 0 | stopped from inside, by `maestro.stop` |
 * | 1 | the start failed, or a service has failed the run (`maestro.fail`) |
 * | 2 | something did not stop as it should have: abandoned, or its clean-up failed. Wins over all others |
 * | 130, 143 | a clean stop after SIGINT, SIGTERM |
 *
 * The first signal makes the program not ready, waits for `drain`, and stops it; the second leaves no more time to
 * anything; the third ends the process at once. The clocks of a stop keep the process alive until it has ended.
 *
 * **Gotchas**
 *
 * A process started through `npm` or a shell may never see its signals: make `node` the entry of a container, or use its
 * init option. The signals and the exit come from the global `process`, which Node, Bun and Deno have; where there is none,
 * the program runs without.
 *
 * **Example** (A main program)
 *
 * ```ts
 * // no-run
 * import { Effect, Layer } from "effect"
 * import { Maestro } from "effect-ensemble"
 *
 * const App = Layer.effectDiscard(Effect.log("at work")).pipe(Maestro.service("app"))
 * const Probes = Layer.effectDiscard(Effect.flatMap(Maestro.Maestro, ({ phase }) => phase))
 *
 * Maestro.runMain(App, { around: Probes, drain: "5 seconds", stopTimeout: "20 seconds" })
 * ```
 *
 * @category running
 * @since 0.1.0
 */
export const runMain: {
  (app: Layer.Layer<never, unknown, Maestro>, options?: MainOptions): void
  <Around>(app: Layer.Layer<never, unknown, Maestro | NoInfer<Around>>, options: AroundOptions<Around>): void
} = (app: Layer.Layer<never, unknown, unknown>, options?: MainOptions & Partial<AroundOptions<never>>): void => {
  const run = Effect.runSync(makeRun({ stopMillis: stopMillisOf(options), implicit: false }))
  main.runMain(
    run,
    {
      // What it needs is in the run's context, or in what is around it.
      app: erase(app),
      around: erase(options?.around ?? Layer.empty),
      context: contextOf(run),
      drainMillis: Duration.toMillis(Duration.fromInputUnsafe(options?.drain ?? 0)),
      signalExitCode: options?.signalExitCode ?? main.defaultSignalExitCode
    },
    (globalThis as { readonly process?: main.Host }).process
  )
}

const report = (happening: Happening): Effect.Effect<void> =>
  Effect.flatMap(CurrentRun, (run) =>
    Effect.map(CurrentBuilder, (builder) => {
      if (run !== undefined && builder.service !== undefined) happen(run, builder.service, happening)
    })
  )

/**
 * Reports the service that is being constructed as degraded: it works, but not as it should.
 *
 * **When to use**
 *
 * Use it in a constructor, and in the fibers that a constructor has forked: a connection that is being made again, a
 * replica that is behind. Does nothing without a Maestro.
 *
 * **Gotchas**
 *
 * It speaks for the service whose construction the running fiber comes from. In a method that others call, that is the
 * caller: let a fiber of the constructor report instead.
 *
 * **Example** (A replica only)
 *
 * ```ts
 * import { Effect, Layer } from "effect"
 * import { Maestro } from "effect-ensemble"
 *
 * const db = Layer.effectDiscard(Maestro.degraded("replica only")).pipe(Maestro.service("db"))
 * const program = Effect.gen(function*() {
 *   const maestro = yield* Maestro.Maestro
 *   yield* Layer.build(Maestro.boot(db))
 *   return (yield* maestro.states).map(({ name, reason, state }) => `${name} is ${state}: ${reason}`)
 * })
 * console.log(await Effect.runPromise(program.pipe(Effect.scoped, Effect.provide(Maestro.layer()))))
 * // => [ 'db is degraded: replica only' ]
 * ```
 *
 * @category reporting
 * @since 0.1.0
 */
export const degraded = (reason: string): Effect.Effect<void> => report({ _tag: "Degraded", reason })

/**
 * Takes back {@link degraded}.
 *
 * @category reporting
 * @since 0.1.0
 */
export const recovered: Effect.Effect<void> = report({ _tag: "Recovered" })

/**
 * Which attempt of its start the service under construction is in: 1 for the first, and where there is no Maestro.
 *
 * **When to use**
 *
 * Use it in a constructor, to say so in its errors and logs.
 *
 * @category reporting
 * @since 0.1.0
 */
export const attempt: Effect.Effect<number> = Effect.map(CurrentBuilder, ({ service }) =>
  // Counted before the constructor runs, so 0 is nobody's.
  Math.max(1, service?.attempt ?? 1)
)

/**
 * Ends the run as failed, with the cause that `ended` then fails with. Does nothing without a Maestro.
 *
 * **When to use**
 *
 * Use it where a service has died while the program runs, and the program cannot go on without it.
 *
 * **Gotchas**
 *
 * It returns when the run has stopped. A fiber of a service is interrupted before that.
 *
 * @category reporting
 * @since 0.1.0
 */
export const fail = (cause: Cause.Cause<unknown>): Effect.Effect<void> =>
  Effect.flatMap(CurrentRun, (run) => (run === undefined || run.implicit ? Effect.void : handle.fail(run, cause)))

/**
 * A service of a graph that is known only at run time.
 *
 * **Details**
 *
 * An edge is the name of another service, or `{ name, optional: true }` where the service can do without that one.
 *
 * @category models
 * @since 0.1.0
 */
export interface Definition<out E = never, out R = never> {
  readonly name: string
  readonly layer: Layer.Layer<never, E, R>
  readonly dependsOn?: ReadonlyArray<string | { readonly name: string; readonly optional: true }> | undefined
  readonly optional?: boolean | undefined
  readonly policy?: Policy<never, never> | undefined
}

/**
 * Composes the services of a graph that is known only at run time.
 *
 * **When to use**
 *
 * Use it where a configuration says which services there are. Where the program knows, compose layers: then the compiler
 * finds what this can only find when it starts.
 *
 * **Details**
 *
 * Everything that is wrong is reported at once, before anything starts: names and edges given twice, a service on itself,
 * every missing one, the shortest circle of each group of services that depend on one another, and a required service on an
 * optional one by a plain edge. A constructor reads its dependencies with {@link dependency}.
 *
 * **Gotchas**
 *
 * What the services provide is found by name only: several may provide the same. A `health` in a policy uses nothing but
 * what it brings itself.
 *
 * **Example** (Two of a kind)
 *
 * ```ts
 * import { Context, Effect, Layer } from "effect"
 * import { Maestro } from "effect-ensemble"
 *
 * class Memcached extends Context.Service<Memcached, string>()("app/Memcached") {}
 *
 * const graph = Maestro.fromGraph([
 *   { name: "mc-1", layer: Layer.succeed(Memcached, "one") },
 *   { name: "mc-2", layer: Layer.succeed(Memcached, "two"), dependsOn: ["mc-1"] }
 * ])
 * const program = Effect.all([Maestro.dependency("mc-1", Memcached), Maestro.dependency("mc-2", Memcached)])
 * console.log(await Effect.runPromise(Effect.provide(program, graph))) // => [ 'one', 'two' ]
 *
 * const wrong = Maestro.fromGraph([{ name: "api", layer: Layer.empty, dependsOn: ["db"] }])
 * const error = await Effect.runPromise(Effect.flip(Effect.provide(Effect.void, wrong)))
 * console.log(error.message)
 * // => The graph of services cannot be started:
 * // => api depends on db, which is not defined
 * ```
 *
 * @category graphs
 * @since 0.1.0
 */
export const fromGraph = <E = never, R = never>(
  definitions: ReadonlyArray<Definition<E, R>>
): Layer.Layer<never, InvalidGraph | StartTimeout | E, R> =>
  restore(graphs.fromGraph(definitions.map((definition) => ({ ...definition, layer: erase(definition.layer) }))))

/**
 * Reads what a named service of a graph provides, in the constructor of a service that depends on it.
 *
 * @category graphs
 * @since 0.1.0
 */
export const dependency: <I, S>(name: string, tag: Context.Key<I, S>) => Effect.Effect<S, MissingDependency> =
  graphs.dependency

/**
 * Reads what an optional service of a graph provides: nothing if it did not start.
 *
 * @category graphs
 * @since 0.1.0
 */
export const dependencyOption: <I, S>(
  name: string,
  tag: Context.Key<I, S>
) => Effect.Effect<Option.Option<S>, MissingDependency> = graphs.dependencyOption

/**
 * Draws a graph of services as a Mermaid flowchart, coloured by their states.
 *
 * @category rendering
 * @since 0.1.0
 */
export const toMermaid: (graph: ServiceGraph) => string = pictures.toMermaid

/**
 * Draws a graph of services in DOT, the language of Graphviz, coloured by their states.
 *
 * @category rendering
 * @since 0.1.0
 */
export const toDot: (graph: ServiceGraph) => string = pictures.toDot

/**
 * Writes a report as text, a line for each service.
 *
 * **Details**
 *
 * After `@` stands the moment at which the service was ready, or had stopped. A faster one of those with a star would have
 * made the whole faster.
 *
 * @category rendering
 * @since 0.1.0
 */
export const toText: (report: Report) => string = pictures.toText

/**
 * Draws a report as a Mermaid Gantt chart.
 *
 * @category rendering
 * @since 0.1.0
 */
export const toGantt: (report: Report) => string = pictures.toGantt
