/**
 * Probes: is this process alive, ready, started? Answered from what its parts say of themselves.
 *
 * **When to use**
 *
 * Use it to give Kubernetes, a load balancer, systemd or a person at a terminal something to ask.
 *
 * **Details**
 *
 * | probe | asks | fails |
 * | --- | --- | --- |
 * | `/livez` | must this process be replaced? | only by checks that you give for it |
 * | `/readyz` | may it be given work? | while it starts; from the moment its stop begins; when something required does not work |
 * | `/startupz` | has it started? | until the start is over, and never after |
 *
 * A part is `pass`, `warn` or `fail`, and a probe is as good as its weakest part. `warn` (a degraded service, an optional one that
 * has failed, a suspended session) is for people: the answer is 200, as with `pass`; `fail` is 503.
 *
 * **Gotchas**
 *
 * Nothing that another process can cause belongs into `/livez`: a database that is down would have all processes
 * replaced at once, and none of them would be any better for it.
 *
 * @since 0.1.0
 */
import type * as Config from "effect/Config"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as HttpRouter from "effect/http/HttpRouter"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as ChildProcess from "effect/process/ChildProcess"
import { ChildProcessSpawner } from "effect/process/ChildProcessSpawner"
import type * as Scope from "effect/Scope"
import { Coordinator } from "./Coordinator.ts"
import * as notify from "./internal/health/notify.ts"
import * as registry from "./internal/health/registry.ts"
import * as internal from "./internal/health/report.ts"
import * as routes from "./internal/health/routes.ts"
import * as sources from "./internal/health/sources.ts"
import { NotifyFailed } from "./internal/health/systemd.ts"
import { Maestro } from "./Maestro.ts"
import type { Supervisor } from "./Supervisor.ts"

/**
 * What a probe asks: must the process be replaced (`live`), may it be given work (`ready`), has it started (`startup`)?
 *
 * @category models
 * @since 0.1.0
 */
export type Probe = internal.Probe

/**
 * How a part, or the whole, is doing.
 *
 * @category models
 * @since 0.1.0
 */
export type Status = internal.Status

/**
 * What a check may answer. Made by {@link pass}, {@link warn} and {@link fail}.
 *
 * @category models
 * @since 0.1.0
 */
export type Verdict = internal.Verdict

/**
 * What one check said: when it was asked, in milliseconds since 1970, and for how many milliseconds.
 *
 * @category models
 * @since 0.1.0
 */
export type Finding = internal.Finding

/**
 * The answer to a probe.
 *
 * **Details**
 *
 * `unmatched` are the names that were to be left out and that no check has.
 *
 * @category models
 * @since 0.1.0
 */
export type Report = internal.Report

/**
 * A part that can be asked. Made by {@link check}.
 *
 * @category models
 * @since 0.1.0
 */
export type Check<R = never> = registry.Check<R>

/**
 * Which probes a check is for, and how much it counts.
 *
 * **Details**
 *
 * - `probes`: default `["ready"]`.
 * - `optional`: what would be `fail` is `warn`. Default `false`.
 * - `timeout`: after it the check counts as failed, whatever it does. Default 1 second, all that Kubernetes gives a probe.
 *
 * @category models
 * @since 0.1.0
 */
export type CheckOptions = registry.CheckOptions

/**
 * Which checks to ask: all but `exclude`, or `only` one.
 *
 * @category models
 * @since 0.1.0
 */
export type Selection = registry.Selection

/**
 * It works.
 *
 * @category constructors
 * @since 0.1.0
 */
export const pass: Verdict = internal.verdict("pass")

/**
 * It works, and somebody should look at it.
 *
 * @category constructors
 * @since 0.1.0
 */
export const warn = (reason: string): Verdict => internal.verdict("warn", reason)

/**
 * It does not work.
 *
 * @category constructors
 * @since 0.1.0
 */
export const fail = (reason: string): Verdict => internal.verdict("fail", reason)

/**
 * Makes a check of an effect: its success is a pass, unless its value is another {@link Verdict}; its failure is a fail.
 *
 * **Example** (Space that runs out)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Health } from "effect-ensemble"
 *
 * const freeMegabytes = Effect.succeed(80)
 * const disk = Health.check("disk", Effect.map(freeMegabytes, (free) =>
 *   free > 100 ? Health.pass : free > 10 ? Health.warn(`${free} MB left`) : Health.fail("full")))
 * const program = Effect.gen(function*() {
 *   const health = yield* Health.Health
 *   yield* health.register(disk)
 *   const { checks, status } = yield* health.report("ready")
 *   return `${status}: ${checks.map(({ name, reason }) => `${name} ${reason}`)}`
 * })
 * console.log(await Effect.runPromise(program.pipe(Effect.scoped, Effect.provide(Health.layerRegistry)))) // => warn: disk 80 MB left
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const check = <E, R>(name: string, effect: Effect.Effect<unknown, E, R>, options: CheckOptions = {}): Check<R> =>
  registry.make(name, effect, options)

/**
 * The checks of this process.
 *
 * **Details**
 *
 * - `register`: adds a check for as long as the scope stays open. Names need not be unique.
 * - `registerSupervisor`: adds a check `name/worker` for each worker: a restart is a warning, so is an optional worker that has
 *   failed.
 * - `registerCoordinator`: adds a check for the coordinator's session, under the name of its engine. See {@link layerSession}.
 * - `report`: asks, all at once.
 * - `stopping`: makes the process not ready from now on, for programs without a `Maestro`; with one, that comes by itself.
 *
 * @category services
 * @since 0.1.0
 */
export class Health extends Context.Service<
  Health,
  {
    readonly register: <R>(check: Check<R>) => Effect.Effect<void, never, R | Scope.Scope>
    readonly registerSupervisor: <E>(name: string, supervisor: Supervisor<E>) => Effect.Effect<void, never, Scope.Scope>
    readonly registerCoordinator: (coordinator: Coordinator["Service"]) => Effect.Effect<void, never, Scope.Scope>
    readonly report: (probe: Probe, selection?: Selection) => Effect.Effect<Report>
    readonly stopping: Effect.Effect<void>
  }
>()("effect-ensemble/Health") {}

const make = Effect.gen(function* () {
  const checks = registry.makeRegistry()
  const maestro = yield* Effect.serviceOption(Maestro)
  if (Option.isSome(maestro)) yield* checks.add(sources.ofMaestro(maestro.value))
  let isStopping = false
  const shutdown = registry.make(
    "shutdown",
    Effect.sync(() => (isStopping ? fail("stopping") : pass)),
    {}
  )
  yield* checks.add((probe) => Effect.succeed(probe === "ready" && isStopping ? [shutdown] : []))
  const stopping = Effect.sync(() => {
    isStopping = true
  })
  yield* Effect.addFinalizer(() => stopping)
  return Health.of({
    register: <R>(check: Check<R>) =>
      Effect.contextWith((context: Context.Context<R>) => {
        const provided = { ...check, run: Effect.provideContext(check.run, context) }
        return checks.add((probe) => Effect.succeed(check.probes.includes(probe) ? [provided] : []))
      }),
    registerSupervisor: (name, { statuses }) => checks.add(sources.ofWorkers(name, statuses)),
    registerCoordinator: (coordinator) => checks.add(sources.ofCoordinator(coordinator)),
    report: checks.report,
    stopping
  })
})

/**
 * The registry without routes, for programs that are asked in another way.
 *
 * **Details**
 *
 * With a `Maestro` in its context, its phase and its services are among the checks.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerRegistry: Layer.Layer<Health> = Layer.effect(Health, make)

/**
 * The routes of the probes.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerRoutes: Layer.Layer<never, never, Health | HttpRouter.HttpRouter> = Layer.effectDiscard(
  Effect.flatMap(Health, ({ report }) => routes.add(report))
)

/**
 * The registry, and the routes `/livez`, `/readyz` and `/startupz` of it.
 *
 * **Details**
 *
 * - The answer is `ok`, or every check with its reason when one has failed or `?verbose` asks for it; and
 *   `application/health+json` when the request accepts that or `application/json` by name.
 * - `?exclude=name` leaves a check out, as often as it is given. `/readyz/name` asks a single one; 404 when nothing is called so.
 * - Place it where it outlives what it speaks of: between the `Maestro` and the program.
 *
 * **Gotchas**
 *
 * Reasons are error messages. Serve the probes where strangers do not read them.
 *
 * **Example** (Asking over HTTP)
 *
 * ```ts
 * import { Effect, Layer } from "effect"
 * import { HttpRouter } from "effect/http"
 * import { Health } from "effect-ensemble"
 *
 * const Mail = Health.layerCheck(Health.check("mail", Effect.fail(new Error("connection refused")), { optional: true }))
 * const { dispose, handler } = HttpRouter.toWebHandler(Mail.pipe(Layer.provideMerge(Health.layer)), { disableLogger: true })
 * const response = await handler(new Request("http://localhost/readyz?verbose"))
 * console.log(response.status) // => 200
 * console.log(await response.text())
 * // => [!]mail warning: connection refused
 * // => readyz check passed
 * await dispose()
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: Layer.Layer<Health, never, HttpRouter.HttpRouter> = layerRoutes.pipe(
  Layer.provideMerge(layerRegistry)
)

/**
 * Registers a check for the life of a layer.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerCheck = <R>(check: Check<R>): Layer.Layer<never, never, Health | R> =>
  Layer.effectDiscard(Effect.flatMap(Health, ({ register }) => register(check)))

/**
 * Registers the coordinator's session as a check: suspended is a warning; connecting, lost and closed are failures.
 *
 * **Example** (Ready while connected)
 *
 * ```ts
 * import { Effect, Layer } from "effect"
 * import { Health, Memory } from "effect-ensemble"
 *
 * const program = Effect.gen(function*() {
 *   const { report } = yield* Health.Health
 *   const { checks, status } = yield* report("ready")
 *   return `${status}: ${checks.map(({ name }) => name)}`
 * })
 * const Probes = Health.layerSession.pipe(Layer.provideMerge(Health.layerRegistry), Layer.provide(Memory.layer()))
 * console.log(await Effect.runPromise(program.pipe(Effect.provide(Probes)))) // => pass: memory
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layerSession: Layer.Layer<never, never, Health | Coordinator> = Layer.effectDiscard(
  Effect.gen(function* () {
    const { registerCoordinator } = yield* Health
    yield* registerCoordinator(yield* Coordinator)
  })
)

/**
 * A notice to systemd that did not get there.
 *
 * @since 0.1.0
 */
export { NotifyFailed } from "./internal/health/systemd.ts"

/**
 * The way to systemd's notification socket: sends assignments such as `READY=1` together.
 *
 * **Details**
 *
 * The socket takes unix datagrams, which Node has no API for. {@link layerSystemdNotify} runs systemd's own program; where something
 * native is at hand, give this service to it.
 *
 * @category services
 * @since 0.1.0
 */
export class Notifier extends Context.Service<
  Notifier,
  { readonly send: (assignments: ReadonlyArray<string>) => Effect.Effect<void, NotifyFailed> }
>()("effect-ensemble/Health/Notifier") {}

/**
 * Notifies through the program `systemd-notify`.
 *
 * **Gotchas**
 *
 * The notice comes from another process than the main one: the unit needs `NotifyAccess=all`.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerSystemdNotify: Layer.Layer<Notifier, never, ChildProcessSpawner> = Layer.effect(
  Notifier,
  Effect.map(ChildProcessSpawner, (spawner) =>
    Notifier.of({
      send: Effect.fnUntraced(
        function* (assignments) {
          // The environment is inherited: it names the socket.
          const code = yield* spawner.exitCode(ChildProcess.make("systemd-notify", ["--", ...assignments]))
          return code === 0 ? undefined : yield* new NotifyFailed({ cause: `systemd-notify has ended with ${code}` })
        },
        Effect.mapError((cause) => (cause._tag === "NotifyFailed" ? cause : new NotifyFailed({ cause })))
      )
    })
  )
)

/**
 * Keeps systemd informed of a run, when its socket is in the environment.
 *
 * **Details**
 *
 * - `READY=1` when the start is over, `STOPPING=1` when the stop begins, `STATUS=` with what is waited for, and
 *   `EXTEND_TIMEOUT_USEC=` for pauses between attempts and for the budgets of stops.
 * - `WATCHDOG=1` at half of `WATCHDOG_USEC`, as long as no check for `live` fails.
 * - Read from the configuration: `NOTIFY_SOCKET`, `WATCHDOG_USEC`. Without the first one it does nothing.
 * - What cannot be sent is logged as a warning.
 *
 * **Example** (A program under systemd)
 *
 * ```ts
 * // no-run
 * import { NodeHttpServer, NodeServices } from "@effect/platform-node"
 * import { Effect, Layer } from "effect"
 * import { HttpRouter } from "effect/http"
 * import { createServer } from "node:http"
 * import { Health, Maestro, Supervisor } from "effect-ensemble"
 *
 * const App = Supervisor.layer([Supervisor.worker("consumer", { run: Effect.never })]).pipe(Maestro.service("jobs"))
 * const Systemd = Health.layerSystemd.pipe(
 *   Layer.provide(Health.layerSystemdNotify),
 *   Layer.provide(NodeServices.layer)
 * )
 * const Probes = Systemd.pipe(
 *   Layer.provideMerge(HttpRouter.serve(Health.layer)),
 *   Layer.provide(NodeHttpServer.layer(createServer, { port: 8081 }))
 * )
 * const Program = Maestro.boot(App).pipe(Layer.provide(Probes), Layer.provide(Maestro.layer()))
 * await Effect.runPromise(Layer.launch(Program))
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layerSystemd: Layer.Layer<never, Config.ConfigError, Health | Maestro | Notifier> = Layer.effectDiscard(
  Effect.gen(function* () {
    const { report } = yield* Health
    const { send } = yield* Notifier
    yield* notify.run(yield* Maestro, report, send)
  })
)
