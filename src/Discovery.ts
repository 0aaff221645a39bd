/**
 * Who is here, and where do they listen: instances that register themselves for as long as they run, and clients that
 * follow them.
 *
 * **When to use**
 *
 * Use it to find the processes of a service at run time. Put the definition where both sides import it, so that reader
 * and writer cannot disagree about the name or the attributes.
 *
 * **Details**
 *
 * What stands in the store is JSON, `{"address":string,"port":number,"attributes":{string:string}}`, the same in every
 * store. A reader ignores fields that it does not know, and takes `attributes` that are absent for empty ones. Entries
 * that do not decode stand in the view's `undecoded`.
 *
 * **Gotchas**
 *
 * A view is knowledge about the past: an instance in it may have stopped a moment ago, and a crashed one stays for up to
 * two TTLs. Treat a failed request as usual and try another instance.
 *
 * @since 0.1.0
 */
import * as Deferred from "effect/Deferred"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as SubscriptionRef from "effect/SubscriptionRef"
import { Coordinator } from "./Coordinator.ts"
import { CoordinatorError, Unreachable } from "./CoordinatorError.ts"
import * as Group from "./Group.ts"
import { invalid, millisOf } from "./internal/options.ts"
import * as payload from "./internal/payload.ts"
import type { MemberConflict, MembershipLost, MembershipStatus, PayloadRejected } from "./Membership.ts"
import * as Session from "./Session.ts"

/**
 * Where an instance listens, and what it says about itself.
 *
 * @category models
 * @since 0.1.0
 */
export interface Instance<out A> {
  readonly address: string
  readonly port: number
  readonly attributes: A
}

/**
 * An instance to register.
 *
 * **Details**
 *
 * - `id`: names it in the group. Default: the coordinator's node.
 * - `port`: a whole number from 1 to 65535.
 * - `attributes`: may be left out where the definition's type allows none.
 *
 * @category models
 * @since 0.1.0
 */
export type Registering<A> = {
  readonly id?: string | undefined
  readonly address: string
  readonly port: number
} & ({} extends A ? { readonly attributes?: A | undefined } : { readonly attributes: A })

/**
 * How to register.
 *
 * **Details**
 *
 * - `drain`: how long the release waits after the instance was withdrawn, before what the scope acquired earlier is
 *   released. It gives clients the time to see that the instance has gone while it still answers. Default: none.
 * - `onConflict`: what to do while another live process holds the id. Default `"wait"`.
 *
 * @category models
 * @since 0.1.0
 */
export interface RegisterOptions {
  readonly drain?: Duration.Input | undefined
  readonly onConflict?: "wait" | "fail" | undefined
}

/**
 * What reader and writer agree on: the service's name and the type of its attributes. Made by {@link make}.
 *
 * **Details**
 *
 * `group` is the group that holds the instances; `encode` and `decode` are the form of an instance there, for programs
 * that use the group directly.
 *
 * @category models
 * @since 0.1.0
 */
export interface Definition<in out A> {
  readonly name: string
  readonly group: Group.GroupName
  readonly encode: (instance: Instance<A>) => Effect.Effect<string, PayloadRejected>
  readonly decode: Group.Decoder<Instance<A>>
}

/**
 * A registered instance.
 *
 * **Details**
 *
 * - `status` replays where the registration stands, then follows it. After the loss of a session it comes back by itself.
 * - `set` publishes other attributes and returns when the store has confirmed them. When it fails with a
 *   `CoordinatorError` they are written as soon as the store answers again. Address and port stay: a process that
 *   listens elsewhere is another instance.
 *
 * @category models
 * @since 0.1.0
 */
export interface Registration<in A> {
  readonly id: string
  readonly status: Stream.Stream<MembershipStatus>
  readonly set: (attributes: A) => Effect.Effect<void, PayloadRejected | MembershipLost | CoordinatorError>
}

const absent = (value: unknown): boolean => value === undefined || value === null

/** Writers without attributes leave the field out, or write `null` for an empty map. */
const tolerate = (parsed: unknown): unknown =>
  typeof parsed === "object" && parsed !== null && absent((parsed as { readonly attributes?: unknown }).attributes)
    ? { ...parsed, attributes: {} }
    : parsed

const text = Schema.Record(Schema.String, Schema.String)

const define = <A>(name: string, attributes: Schema.Codec<A, Readonly<Record<string, string>>>): Definition<A> => {
  const group: Group.GroupName = { kind: "discovery", name }
  const schema: Schema.Codec<Instance<A>, unknown> = Schema.Struct({
    address: Schema.String,
    port: Schema.Int,
    attributes
  })
  const { decode, encode } = payload.json(schema, tolerate)
  return { name, group, decode, encode: (instance) => encode(Group.label(group), instance) }
}

/**
 * Defines a service that instances register for. It never throws: a name that cannot be used is an `InvalidOptions`
 * failure of the first operation.
 *
 * **Details**
 *
 * `attributes` encodes to a flat record of strings; left out, the attributes are such a record.
 *
 * **Example** (Attributes with a type)
 *
 * ```ts
 * import { Effect, Schema } from "effect"
 * import { Discovery, Memory } from "effect-ensemble"
 *
 * const Api = Discovery.make("api", {
 *   attributes: Schema.Struct({ zone: Schema.String, weight: Schema.FiniteFromString })
 * })
 * const program = Effect.scoped(Effect.gen(function*() {
 *   yield* Discovery.register(Api, { address: "10.0.0.1", port: 8080, attributes: { zone: "a", weight: 2 } })
 *   const view = yield* Discovery.list(Api)
 *   return view.members.map(({ value }) => `${value.address}:${value.port} weighs ${value.attributes.weight}`)
 * }))
 * console.log(await Effect.runPromise(program.pipe(Effect.provide(Memory.layer())))) // => [ '10.0.0.1:8080 weighs 2' ]
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export function make(name: string): Definition<Readonly<Record<string, string>>>
export function make<A>(
  name: string,
  options: { readonly attributes: Schema.Codec<A, Readonly<Record<string, string>>> }
): Definition<A>
export function make<A>(
  name: string,
  options?: { readonly attributes: Schema.Codec<A, Readonly<Record<string, string>>> }
): Definition<A> | Definition<Readonly<Record<string, string>>> {
  return options === undefined ? define(name, text) : define(name, options.attributes)
}

const groupOf = <A>(self: Definition<A>): Effect.Effect<Group.Group, never, Coordinator> =>
  Coordinator.useSync((coordinator) => coordinator.group(self.group))

/** Only what we write is checked: an instance of somebody else may have any address. */
const problemOf = ({ address, port }: { readonly address: string; readonly port: number }): string | undefined => {
  if (address.trim() === "") return "The instance's address is empty. Give the one at which clients reach it"
  return Number.isInteger(port) && port >= 1 && port <= 65_535
    ? undefined
    : `The instance's port is ${port}. Give the one it listens on, a whole number from 1 to 65535`
}

/**
 * Registers an instance until the scope closes.
 *
 * **When to use**
 *
 * Use it once the instance can answer: register after the server listens, in the same scope, so that the registration
 * goes before the server does. {@link layer} does this for a graph of layers.
 *
 * **Details**
 *
 * It returns when the store has confirmed the registration. From then on the registration is a wish that is kept true:
 * after the loss of a session it is made again, with the newest attributes.
 *
 * **Gotchas**
 *
 * The first registration fails with `Unreachable` when the store does not answer; retry it if the program should start
 * without. An engine built with `connect: "background"` takes the wish at once and keeps it as soon as it can.
 *
 * **Example** (Going before the server does)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Discovery, Memory } from "effect-ensemble"
 *
 * const Api = Discovery.make("api")
 * const program = Effect.scoped(Effect.gen(function*() {
 *   const server = yield* Effect.acquireRelease(
 *     Effect.succeed({ port: 8080 }),
 *     () => Effect.sync(() => console.log("server closed")) // when the drain is over
 *   )
 *   yield* Discovery.register(Api, { address: "10.0.0.1", port: server.port }, { drain: "20 millis" })
 *   return (yield* Discovery.list(Api)).size
 * }))
 * console.log(await Effect.runPromise(program.pipe(Effect.provide(Memory.layer())))) // => 1
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const register = Effect.fn("Discovery.register")(function* <A>(
  self: Definition<A>,
  instance: Registering<NoInfer<A>>,
  options: RegisterOptions = {}
): Effect.fn.Return<Registration<A>, CoordinatorError | MemberConflict | PayloadRejected, Coordinator | Scope.Scope> {
  const coordinator = yield* Coordinator
  const label = Group.label(self.group)
  const { address, port } = instance
  const id = instance.id ?? coordinator.node
  const problem = problemOf(instance)
  if (problem !== undefined) return yield* invalid(coordinator, "Discovery.register", problem)
  const drain = yield* millisOf(coordinator, "Discovery.register", "drain", options.drain ?? 0)
  // `Registering` lets them be left out only where an empty record is an A.
  const attributes = instance.attributes ?? ({} as A)
  const value = yield* self.encode({ address, port, attributes })
  yield* Effect.annotateCurrentSpan({ group: label, id })

  // Added before joining, so that it runs after the withdrawal, and before what the scope acquired earlier is released.
  let joined = false
  yield* Effect.addFinalizer(() =>
    joined && drain > 0
      ? Effect.logInfo(`${id} has left ${label} and goes on answering for ${drain} ms`).pipe(
          Effect.andThen(Effect.sleep(drain))
        )
      : Effect.void
  )
  const membership = yield* coordinator
    .group(self.group)
    .join({ id, value }, { rejoin: true, onConflict: options.onConflict })
  joined = true
  yield* Effect.logInfo(`${id} is registered in ${label} at ${address}:${port}`)
  return {
    id,
    status: membership.status,
    set: Effect.fn("Registration.set", { attributes: { group: label, id } })(function* (attributes: A) {
      yield* membership.set(yield* self.encode({ address, port, attributes }))
    })
  }
})

/**
 * The instances as the store has them now: one linearizable reading.
 *
 * @category accessors
 * @since 0.1.0
 */
export const list = Effect.fn("Discovery.list")(function* <A>(
  self: Definition<A>
): Effect.fn.Return<Group.GroupView<Instance<A>>, CoordinatorError, Coordinator> {
  const group = yield* groupOf(self)
  return Group.decodeView(yield* group.list, self.decode)
})

/**
 * The present view, then later ones; a slow reader gets the newest, not a backlog.
 *
 * **Example** (Following the instances)
 *
 * ```ts
 * import { Effect, Stream } from "effect"
 * import { Discovery, Memory } from "effect-ensemble"
 *
 * const Api = Discovery.make("api")
 * const program = Effect.scoped(Effect.gen(function*() {
 *   yield* Discovery.register(Api, { id: "web-1", address: "10.0.0.1", port: 8080 })
 *   return yield* Discovery.watch(Api).pipe(
 *     Stream.map((view) => view.members.map((member) => member.id)),
 *     Stream.take(1),
 *     Stream.runCollect
 *   )
 * }))
 * console.log(await Effect.runPromise(program.pipe(Effect.provide(Memory.layer())))) // => [ [ 'web-1' ] ]
 * ```
 *
 * @category streams
 * @since 0.1.0
 */
export const watch = <A>(
  self: Definition<A>
): Stream.Stream<Group.GroupView<Instance<A>>, CoordinatorError, Coordinator> =>
  Stream.unwrap(
    Effect.map(groupOf(self), (group) => Stream.map(group.watch, (view) => Group.decodeView(view, self.decode)))
  )

/**
 * The differences: first one `Joined` for each present instance, then what changes.
 *
 * **When to use**
 *
 * Use it to keep something of one's own for each instance, a connection pool for example, at a cost that does not grow
 * with the number of instances.
 *
 * **Gotchas**
 *
 * For this reader an instance that does not decode is not there; only {@link watch} shows it.
 *
 * @category streams
 * @since 0.1.0
 */
export const changes = <A>(
  self: Definition<A>
): Stream.Stream<Group.Change<Instance<A>>, CoordinatorError, Coordinator> =>
  Stream.unwrap(
    Effect.map(groupOf(self), (group) =>
      Stream.filterMap(group.changes, (change) => {
        const decoded = Group.decodeChange(change, self.decode)
        return decoded === undefined ? Result.failVoid : Result.succeed(decoded)
      })
    )
  )

/**
 * The newest view, kept up to date in the background for as long as the scope is open, to be read without I/O.
 *
 * **When to use**
 *
 * Use it where each request picks an instance: reading costs nothing and never fails.
 *
 * **Details**
 *
 * It returns with the first view. When the watch ends with an error that waiting does not cure, the error is logged and
 * the last view stays, `Stale` with that error as its cause.
 *
 * **Example** (Picking an instance)
 *
 * ```ts
 * import { Effect, SubscriptionRef } from "effect"
 * import { Discovery, Memory } from "effect-ensemble"
 *
 * const Api = Discovery.make("api")
 * const program = Effect.scoped(Effect.gen(function*() {
 *   yield* Discovery.register(Api, { address: "10.0.0.1", port: 8080 })
 *   const instances = yield* Discovery.view(Api)
 *   const { members } = yield* SubscriptionRef.get(instances)
 *   return members.map(({ value }) => `http://${value.address}:${value.port}`)
 * }))
 * console.log(await Effect.runPromise(program.pipe(Effect.provide(Memory.layer())))) // => [ 'http://10.0.0.1:8080' ]
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const view = Effect.fn("Discovery.view")(function* <A>(
  self: Definition<A>
): Effect.fn.Return<
  SubscriptionRef.SubscriptionRef<Group.GroupView<Instance<A>>>,
  CoordinatorError,
  Coordinator | Scope.Scope
> {
  const group = yield* groupOf(self)
  const newest = yield* SubscriptionRef.make(Group.empty<Instance<A>>())
  const started = yield* Deferred.make<void, CoordinatorError>()
  let raw = Group.empty<string>()

  const publish = (view: Group.GroupView<string>) =>
    Effect.suspend(() => {
      raw = view
      return SubscriptionRef.set(newest, Group.decodeView(view, self.decode))
    })

  const ended = Effect.fnUntraced(function* (cause: CoordinatorError) {
    if (yield* Deferred.fail(started, cause)) return
    yield* Effect.logError(
      `The view of ${Group.label(self.group)} is no longer updated, its readers keep the last one: ${cause.message}`
    )
    const freshness = { _tag: "Stale", since: (yield* Session.instant).wall, cause } as const
    yield* publish(Group.applyChanges(raw, [], { revision: raw.revision, epoch: raw.epoch, freshness }))
  })

  yield* group.watch.pipe(
    Stream.runForEach((view) => Effect.andThen(publish(view), Deferred.succeed(started, undefined))),
    Effect.catch(ended),
    Effect.forkScoped
  )
  yield* Deferred.await(started)
  return newest
})

/**
 * Waits until at least `minimum` instances are there, and gives the view that shows them.
 *
 * **Details**
 *
 * Only fresh views count, and only instances that decode. Bound it with `Effect.timeout`.
 *
 * **Example** (Starting when the others are there)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Discovery, Memory } from "effect-ensemble"
 *
 * const Api = Discovery.make("api")
 * const program = Effect.scoped(Effect.gen(function*() {
 *   yield* Discovery.register(Api, { id: "web-1", address: "10.0.0.1", port: 8080 })
 *   yield* Discovery.register(Api, { id: "web-2", address: "10.0.0.2", port: 8080 })
 *   const view = yield* Discovery.awaitInstances(Api, { minimum: 2 })
 *   return view.members.map((member) => member.id)
 * }))
 * console.log(await Effect.runPromise(program.pipe(Effect.provide(Memory.layer())))) // => [ 'web-1', 'web-2' ]
 * ```
 *
 * @category accessors
 * @since 0.1.0
 */
export const awaitInstances = Effect.fn("Discovery.awaitInstances")(function* <A>(
  self: Definition<A>,
  options: { readonly minimum: number }
): Effect.fn.Return<Group.GroupView<Instance<A>>, CoordinatorError, Coordinator> {
  const coordinator = yield* Coordinator
  const { minimum } = options
  if (!Number.isInteger(minimum) || minimum < 1) {
    const detail = `The minimum is ${minimum}. Give the number of instances to wait for, a whole number from 1`
    return yield* invalid(coordinator, "Discovery.awaitInstances", detail)
  }
  const reached = yield* watch(self).pipe(
    // The size first: it costs nothing, where the members of a view are ordered and decoded to be counted.
    Stream.filter((view) => view.freshness._tag === "Fresh" && view.size >= minimum && view.members.length >= minimum),
    Stream.runHead
  )
  if (Option.isSome(reached)) return reached.value
  return yield* new CoordinatorError({
    engine: coordinator.engine,
    operation: "Discovery.awaitInstances",
    endpoint: coordinator.node,
    reason: new Unreachable({ detail: `The watch of ${Group.label(self.group)} ended with its coordinator` })
  })
})

/**
 * Registers an instance for the life of a layer.
 *
 * **When to use**
 *
 * Provide it with the layer that starts the server: it is built after the server listens, and released before the server
 * closes.
 *
 * **Details**
 *
 * The instance may be an effect, for what is known only at run time, the port that the server got for example.
 *
 * **Example** (A server that registers itself on the port it got)
 *
 * ```ts
 * import { Context, Effect, Layer } from "effect"
 * import { Discovery, Memory } from "effect-ensemble"
 *
 * class Server extends Context.Service<Server, { readonly port: number }>()("example/Server") {}
 * const ServerLive = Layer.succeed(Server, { port: 49152 })
 *
 * const Api = Discovery.make("api")
 * const Registered = Discovery.layer(Api, Server.useSync(({ port }) => ({ address: "10.0.0.1", port })), {
 *   drain: "10 millis"
 * }).pipe(Layer.provide(ServerLive))
 *
 * const program = Effect.map(Discovery.list(Api), (view) => view.members.map(({ value }) => value.port))
 * const live = Registered.pipe(Layer.provideMerge(Memory.layer()))
 * console.log(await Effect.runPromise(program.pipe(Effect.provide(live)))) // => [ 49152 ]
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = <A, E = never, R = never>(
  self: Definition<A>,
  instance: Registering<NoInfer<A>> | Effect.Effect<Registering<NoInfer<A>>, E, R>,
  options?: RegisterOptions
): Layer.Layer<never, CoordinatorError | MemberConflict | PayloadRejected | E, Coordinator | Exclude<R, Scope.Scope>> =>
  Layer.effectDiscard(
    Effect.flatMap(Effect.isEffect(instance) ? instance : Effect.succeed(instance), (instance) =>
      register(self, instance, options)
    )
  )
