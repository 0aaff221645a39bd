/**
 * The embedded engine: a whole coordination store inside the program, and the processes that use it.
 *
 * **When to use**
 *
 * Use {@link layer} where one process is enough: development, a single node, a demonstration. Use {@link makeStore} to
 * test what many processes do to each other: each {@link makeProcess} has its own session and its own clocks, and the fault
 * controller of `effect-ensemble/testing` cuts, stops and confuses them.
 *
 * **Gotchas**
 *
 * It is a hostile store on purpose. A session ends at a seeded moment between once and twice its TTL, as on real
 * servers. It keeps nothing on disk.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import { Coordinator } from "../Coordinator.ts"
import type { Options } from "../Coordinator.ts"
import type { CoordinatorError } from "../CoordinatorError.ts"
import * as Coordinators from "../internal/coordinator.ts"
import * as Client from "./memory/client.ts"
import { MemoryLink } from "./memory/link.ts"
import * as ProcessClock from "./memory/processClock.ts"
import { MemoryServer } from "./memory/server.ts"

const TypeId = "~effect-ensemble/engines/Memory/Store"

interface Internals {
  readonly server: MemoryServer
  readonly links: Map<string, MemoryLink>
  /** Nodes whose next process starts cut off. */
  readonly cutOff: Set<string>
  readonly base: Clock.Clock
}

/**
 * What the fault controller and the judges of a test reach into a store by.
 *
 * @internal
 */
export const internals = (store: Store): Internals => store[TypeId]

/**
 * A store that several simulated processes share.
 *
 * @category models
 * @since 0.1.0
 */
export interface Store {
  readonly [TypeId]: Internals
}

/**
 * One simulated process: its coordinator, and a way to run a program as that process.
 *
 * **Details**
 *
 * `run` gives an effect the process's coordinator and its clocks, so that pausing the process or skewing its clocks
 * affects the effect as well.
 *
 * @category models
 * @since 0.1.0
 */
export interface Process {
  readonly node: string
  readonly coordinator: Coordinator["Service"]
  readonly run: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, Exclude<R, Coordinator>>
}

/**
 * Makes an empty store, which lives as long as the scope.
 *
 * **Details**
 *
 * `seed` decides when abandoned sessions end; the same seed gives the same moments. The store uses the `Clock` of the
 * fiber that makes it, so under `TestClock` nothing happens until the test moves time.
 *
 * **Example** (Two processes in one program)
 *
 * ```ts
 * import { Effect, Stream } from "effect"
 * import { Discovery, Memory } from "effect-ensemble"
 *
 * const Api = Discovery.make("api")
 *
 * const program = Effect.gen(function*() {
 *   const store = yield* Memory.makeStore()
 *   const server = yield* Memory.makeProcess(store, { node: "server" })
 *   const client = yield* Memory.makeProcess(store, { node: "client" })
 *   yield* server.run(Discovery.register(Api, { address: "10.0.0.1", port: 8080, attributes: {} }))
 *   const view = yield* client.run(Discovery.list(Api))
 *   return view.members.map((member) => `${member.id} at ${member.value.address}:${member.value.port}`)
 * })
 * console.log(await Effect.runPromise(Effect.scoped(program))) // => [ 'server at 10.0.0.1:8080' ]
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const makeStore = Effect.fnUntraced(function* (options?: {
  readonly seed?: number | undefined
}): Effect.fn.Return<Store, never, Scope.Scope> {
  const scope = yield* Effect.scope
  const base = yield* Clock.clockWith(Effect.succeed)
  const server = new MemoryServer({ seed: options?.seed ?? 1, clock: base, scope })
  return { [TypeId]: { server, links: new Map(), cutOff: new Set(), base } }
})

/**
 * Starts a simulated process on a store; it ends with the scope.
 *
 * @category constructors
 * @since 0.1.0
 */
export const makeProcess = Effect.fnUntraced(function* (
  store: Store,
  options: Options & { readonly node: string }
): Effect.fn.Return<Process, CoordinatorError, Scope.Scope> {
  const { base, cutOff, links, server } = internals(store)
  const context = yield* Effect.context<never>()
  const clock = ProcessClock.make(base)
  const link = new MemoryLink({ node: options.node, clock, base, fork: Effect.runForkWith(context) })
  // A process that starts again under the same name is reached by the same name.
  links.set(options.node, link)
  if (cutOff.delete(options.node)) link.partition = "silent"
  const coordinator = yield* Coordinators.make(
    Client.facts(options.node),
    (settings) => Client.make(server, link, settings),
    options
  ).pipe(Effect.provideService(Clock.Clock, clock))
  return {
    node: options.node,
    coordinator,
    run: (effect) =>
      effect.pipe(Effect.provideService(Coordinator, coordinator), Effect.provideService(Clock.Clock, clock))
  }
})

/**
 * A coordinator on a store of its own.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options: Options = {}): Layer.Layer<Coordinator, CoordinatorError> =>
  Layer.effect(
    Coordinator,
    Effect.flatMap(makeStore(), (store) => {
      const { base, server } = internals(store)
      return Effect.gen(function* () {
        const context = yield* Effect.context<never>()
        const link = new MemoryLink({
          node: options.node ?? "local",
          clock: ProcessClock.make(base),
          base,
          fork: Effect.runForkWith(context)
        })
        return yield* Coordinators.make(
          Client.facts(link.node),
          (settings) => Client.make(server, link, settings),
          options
        )
      })
    })
  )

/**
 * A coordinator on a shared store, as one of its processes.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerProcess = (
  store: Store,
  options: Options & { readonly node: string }
): Layer.Layer<Coordinator, CoordinatorError> =>
  Layer.effect(
    Coordinator,
    Effect.map(makeProcess(store, options), (started) => started.coordinator)
  )
