/**
 * The engine for Consul 1.8 and later: services in the agent's catalog, sessions and the key-value store for everything else.
 *
 * **When to use**
 *
 * Use {@link layer} or {@link layerConfig} where your programs run beside a Consul agent, {@link layerClient} where they already
 * have a client of the npm package `consul`, which this engine needs as a peer dependency.
 *
 * **Details**
 *
 * Instances of `Discovery` are services: Consul's UI, DNS and API show them, with a health check. All other members are keys,
 * `<prefix>/<kind>/<group>/<member>`, held by one session for each coordinator; those of a `Barrier` are
 * `<prefix>/<barrier>/<member>` with the bare state, as the Go library Waiter writes and reads them. Tokens are the indexes of
 * creation.
 *
 * **Gotchas**
 *
 * - Consul grants no TTL below 10 seconds, and keeps a dead session for up to twice its TTL: that long a dead leader's place stays
 *   taken. This process stops by its own clock at 0.8 of the TTL all the same.
 * - In the kind `discovery` tokens give an order and nothing else, an id that is registered again replaces the instance silently, and
 *   a crashed one leaves the views with its TTL and the catalog a minute later, or more.
 * - Watched groups and held places keep connections open, and an agent takes 200 from one address (`http_max_conns_per_client`).
 * - With ACLs, the token needs `key_prefix "<prefix>/" { policy = "write" }`, `session_prefix "" { policy = "write" }`, and
 *   `service:write` and `node:read` for what it registers and looks for.
 *
 * @since 0.1.0
 */
import type ConsulClient from "consul"
import * as Config from "effect/Config"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as HttpRouter from "effect/http/HttpRouter"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import type { Options as CoordinatorOptions } from "../Coordinator.ts"
import { Coordinator } from "../Coordinator.ts"
import type { CoordinatorError } from "../CoordinatorError.ts"
import type { Claim } from "../Group.ts"
import * as Coordinators from "../internal/coordinator.ts"
import { coordinatorConfig, optional } from "../internal/coordinatorConfig.ts"
import { durationProblem } from "../internal/options.ts"
import type { MembershipLost } from "../Membership.ts"
import * as Checks from "./consul/checks.ts"
import * as Client from "./consul/client.ts"
import * as Endpoints from "./consul/endpoints.ts"
import * as Guard from "./consul/guard.ts"
import type { Transport } from "./consul/http.ts"
import * as Transports from "./consul/transport.ts"

/**
 * The settings of a Consul engine, on top of those that every engine has.
 *
 * **Details**
 *
 * - `endpoints`: where the agents listen, as `http://host:port` or `https://host:port`; the port is 8500 when it is left out. Default
 *   `http://127.0.0.1:8500`. Keys are read and written through any of them; instances are registered with the first and with
 *   no other, so name the agent of this machine there.
 * - `prefix`: what all keys begin with. Default `ensemble`. Programs that use different prefixes do not see each other, instances
 *   aside: those are found by the name of their service.
 * - `token`: the ACL token.
 * - `tls`: PEM texts, for `https` endpoints: `ca` where the agents' certificates are signed by a private authority,
 *   `certificate` and `key` where the agents ask for one of the client.
 * - `minimumTtl`: the lowest TTL that the servers grant. Default 10 seconds, which is Consul's own; lower it only where
 *   the servers have a lower `session_ttl_min`.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options extends CoordinatorOptions, Endpoints.Addresses {
  readonly prefix?: string | undefined
  readonly minimumTtl?: Duration.Input | undefined
}

/**
 * How Consul finds out whether a registered instance is well.
 *
 * **Details**
 *
 * - `Ttl`: this process tells the agent so, in the rhythm in which its session is renewed.
 * - `Http`: the agent asks for `url`, by default `http://<address>:<port>/health`; `path` changes the last part only.
 * - `Tcp`: the agent connects to `address`, by default the instance's own.
 *
 * `interval` is 5 and `timeout` 10 seconds by default. `deregisterAfter` is how long a failing instance stays in the catalog: Consul
 * raises anything below one minute to one minute, the default, and looks every 30 seconds.
 *
 * @category models
 * @since 0.1.0
 */
export type CheckOptions = Checks.CheckOptions

/**
 * The health check of the instances that are registered under it. Default: `{ _tag: "Ttl" }`.
 *
 * **When to use**
 *
 * Provide it around `Discovery.register` or `Discovery.layer` when Consul itself is to probe the instance. A process can renew its
 * session while its server no longer answers; a probe finds that out.
 *
 * **Example** (Probed by the agent)
 *
 * ```ts
 * // no-run
 * import { Effect } from "effect"
 * import { Discovery } from "effect-ensemble"
 * import { Consul } from "effect-ensemble/consul"
 *
 * const Api = Discovery.make("api")
 * const program = Discovery.register(Api, { address: "10.0.0.1", port: 8080 }).pipe(
 *   Effect.provideService(Consul.Check, { _tag: "Http", path: "/health", interval: "2 seconds" }),
 *   Effect.andThen(Effect.never),
 *   Effect.scoped,
 *   Effect.provide(Consul.layer())
 * )
 * ```
 *
 * @category references
 * @since 0.1.0
 */
export const Check: Context.Reference<CheckOptions> = Checks.Check

/**
 * Whether views of the kind `discovery` show instances whose health checks are critical. Default: `false`.
 *
 * **Details**
 *
 * It is read when the layer is built: `Consul.layer().pipe(Layer.provide(Layer.succeed(Consul.IncludeCritical, true)))`.
 *
 * @category references
 * @since 0.1.0
 */
export const IncludeCritical: Context.Reference<boolean> = Checks.IncludeCritical

/**
 * A route that answers Consul's `Http` check, for an `HttpRouter` that the program serves.
 *
 * **Details**
 *
 * `GET /health`, or another path, answers 200 with `{"alive":true}`, as the Go library reception does.
 *
 * **Example** (A server with the route)
 *
 * ```ts
 * // no-run
 * import { Layer } from "effect"
 * import { HttpRouter } from "effect/http"
 * import { Consul } from "effect-ensemble/consul"
 *
 * const Routes = Layer.mergeAll(Consul.layerHealthRoute()) // and the program's own
 * const Server = HttpRouter.serve(Routes)
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layerHealthRoute = (path: `/${string}` = "/health"): Layer.Layer<never, never, HttpRouter.HttpRouter> =>
  HttpRouter.use((router) => router.add("GET", path, HttpServerResponse.jsonUnsafe({ alive: true })))

/**
 * One step of a transaction on keys of your own.
 *
 * @category models
 * @since 0.1.0
 */
export type Operation = Guard.Operation

/**
 * Writes a value under a key.
 *
 * @category constructors
 * @since 0.1.0
 */
export const put = (key: string, value: string): Operation => ({ _tag: "Put", key, value })

/**
 * Deletes a key, if it is there.
 *
 * @category constructors
 * @since 0.1.0
 */
export const remove = (key: string): Operation => ({ _tag: "Remove", key })

/**
 * Reads a key in the same transaction.
 *
 * @category constructors
 * @since 0.1.0
 */
export const get = (key: string): Operation => ({ _tag: "Get", key })

/**
 * What a guarded transaction found: one value for each `get`, in their order.
 *
 * @category models
 * @since 0.1.0
 */
export type Committed = Guard.Committed

/**
 * Transactions that Consul itself refuses when the place is lost. {@link guarded} uses it; the engine's layers provide it.
 *
 * @category services
 * @since 0.1.0
 */
export class Transactions extends Context.Service<
  Transactions,
  {
    readonly guarded: (
      claim: Claim,
      operations: ReadonlyArray<Operation>
    ) => Effect.Effect<Committed, CoordinatorError | MembershipLost>
  }
>()("effect-ensemble/Consul/Transactions") {}

/**
 * Carries the operations out in one transaction, on the condition that the place is still held at that very moment.
 *
 * **When to use**
 *
 * Use it for writes that only the leader, or only the holder of a lock, may make, when what it protects is in the same Consul. It
 * is the one guard that also holds when this process was paused between asking `ensure` and acting: the store itself
 * compares.
 *
 * **Details**
 *
 * The condition is that the member's key is still locked by this session, and still as it was last written under the tenure's token.
 * The keys are used as they are given; the engine's prefix is not put before them. All or nothing is applied. Consul takes 64
 * operations in one transaction, two of which are the condition's.
 *
 * **Gotchas**
 *
 * Fails with `MembershipLost` when the clocks or the store say that the place is lost; then nothing was written. With
 * `OutcomeUnknown` it may have been. Members of the kind `discovery` hold nothing that could be compared.
 *
 * **Example** (A cursor that only the leader may move)
 *
 * ```ts
 * // no-run
 * import { Effect } from "effect"
 * import { Election } from "effect-ensemble"
 * import { Consul } from "effect-ensemble/consul"
 *
 * const Worker = Election.make("importer")
 *
 * const program = Election.lead(Worker, (tenure) =>
 *   Effect.gen(function*() {
 *     const { values } = yield* Consul.guarded(tenure, [Consul.get("importer/cursor"), Consul.put("importer/cursor", "42")])
 *     yield* Effect.log("moved the cursor from", values[0])
 *   })
 * ).pipe(Effect.provide(Consul.layer({ endpoints: "http://127.0.0.1:8500" })))
 * ```
 *
 * @category combinators
 * @since 0.1.0
 */
export const guarded = Effect.fn("Consul.guarded")(function* (claim: Claim, operations: ReadonlyArray<Operation>) {
  const transactions = yield* Transactions
  return yield* transactions.guarded(claim, operations)
})

const defaultPrefix = "ensemble"

/** What is wrong with the settings that are this engine's own, if anything is. */
const problemOf = (prefix: string, minimumTtl: Duration.Input): string | undefined =>
  Endpoints.prefixProblem(prefix) ?? durationProblem("minimumTtl", minimumTtl)

/** Both services over a transport. */
const provide = (
  options: Omit<Options, "endpoints" | "tls" | "token">,
  endpoint: string,
  transport: Effect.Effect<Transport, CoordinatorError, Scope.Scope>
): Layer.Layer<Coordinator | Transactions, CoordinatorError> =>
  Layer.effectContext(
    Effect.gen(function* () {
      const { minimumTtl = Client.standardMinimumTtlMillis, prefix = defaultPrefix } = options
      const problem = problemOf(prefix, minimumTtl)
      if (problem !== undefined) return yield* Endpoints.refused(endpoint, problem)
      const made = yield* Deferred.make<Client.ConsulStore>()
      const connect = Effect.fnUntraced(function* ({ requestMillis }: { readonly requestMillis: number }) {
        const store = yield* Client.make(yield* transport, { prefix, endpoint, requestMillis })
        yield* Deferred.succeed(made, store)
        return store
      })
      const facts = Client.facts(endpoint, Duration.toMillis(Duration.fromInputUnsafe(minimumTtl)))
      const coordinator = yield* Coordinators.make(facts, connect, options)
      const store = yield* Deferred.await(made)
      return Context.make(Coordinator, coordinator).pipe(
        Context.add(Transactions, { guarded: (claim, operations) => Guard.run(store, prefix, claim, operations) })
      )
    })
  )

/**
 * A Consul engine, over connections of its own.
 *
 * **Details**
 *
 * It fails when no agent answers within `connectTimeout`, when the token or the prefix is refused, when the servers do not grant the TTL,
 * and when what answers is not Consul; `connect: "background"` starts without a server instead.
 *
 * **Example** (One of several servers of an API)
 *
 * ```ts
 * // no-run
 * import { Effect, Redacted } from "effect"
 * import { Discovery } from "effect-ensemble"
 * import { Consul } from "effect-ensemble/consul"
 *
 * const Api = Discovery.make("api")
 *
 * const ConsulLive = Consul.layer({
 *   endpoints: ["http://127.0.0.1:8500", "http://consul-2:8500"], // the own agent first
 *   token: Redacted.make("b1gs33cr3t"),
 *   ttl: "10 seconds"
 * })
 *
 * const program = Discovery.register(Api, { address: "10.0.0.1", port: 8080, attributes: {} }).pipe(
 *   Effect.andThen(Effect.never),
 *   Effect.scoped,
 *   Effect.provide(ConsulLive)
 * )
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options: Options = {}): Layer.Layer<Coordinator | Transactions, CoordinatorError> => {
  const endpoints = Endpoints.parse(options)
  const transport =
    "problem" in endpoints ? Endpoints.refused(endpoints.label, endpoints.problem) : Transports.own(endpoints)
  return provide(options, endpoints.label, transport)
}

/**
 * A Consul engine over a client that the program has already.
 *
 * **Gotchas**
 *
 * The client stays open; who made it closes it. It has one address, so there is nothing to fail over to. Of its `defaults` the token, the
 * datacenter and the partition are used. When the agent goes silent, connections that the client keeps open and does not use are closed.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerClient = (
  client: ConsulClient,
  options: Omit<Options, "endpoints" | "tls" | "token"> = {}
): Layer.Layer<Coordinator | Transactions, CoordinatorError> =>
  provide(
    options,
    "the given client",
    Effect.sync(() => Transports.fromClient(client))
  )

/**
 * The settings as read from the configuration, by default from environment variables that begin with the prefix.
 *
 * **Details**
 *
 * With the prefix `CONSUL`: `CONSUL_ENDPOINTS` (separated by commas), `CONSUL_PREFIX`, `CONSUL_TOKEN`, `CONSUL_MINIMUM_TTL`,
 * `CONSUL_TLS_CA`, `CONSUL_TLS_CERTIFICATE`, `CONSUL_TLS_KEY` (PEM texts), `CONSUL_NODE`, `CONSUL_TTL`,
 * `CONSUL_REQUEST_TIMEOUT`, `CONSUL_CONNECT` (`wait` or `background`), `CONSUL_CONNECT_TIMEOUT`. All may be left out.
 *
 * **Example** (Settings from the environment)
 *
 * ```ts
 * import { ConfigProvider, Effect } from "effect"
 * import { Consul } from "effect-ensemble/consul"
 *
 * const env = ConfigProvider.fromEnvRecord({ CONSUL_ENDPOINTS: "http://a:8500,http://b:8500", CONSUL_TTL: "15 seconds" })
 * const options = await Effect.runPromise(Consul.config("CONSUL").parse(env))
 * console.log(options.endpoints) // => [ 'http://a:8500', 'http://b:8500' ]
 * ```
 *
 * @category configuration
 * @since 0.1.0
 */
export const config = (prefix: string): Config.Config<Options> =>
  Config.map(
    Config.all({
      coordinator: coordinatorConfig,
      endpoints: optional(Config.Array(Schema.Trim, "ENDPOINTS")),
      prefix: optional(Config.String("PREFIX")),
      token: optional(Config.Redacted("TOKEN")),
      minimumTtl: optional(Config.Duration("MINIMUM_TTL")),
      ca: optional(Config.String("TLS_CA")),
      certificate: optional(Config.String("TLS_CERTIFICATE")),
      key: optional(Config.Redacted("TLS_KEY"))
    }).pipe(Config.nested(prefix)),
    ({ ca, certificate, coordinator, endpoints, key, minimumTtl, prefix: keyPrefix, token }): Options => ({
      ...coordinator,
      endpoints,
      prefix: keyPrefix,
      token,
      minimumTtl,
      tls: ca === undefined && certificate === undefined && key === undefined ? undefined : { ca, certificate, key }
    })
  )

/**
 * A Consul engine whose settings come from the configuration: `Consul.layerConfig(Consul.config("CONSUL"))`.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerConfig = (
  wrapped: Config.Wrap<Options>
): Layer.Layer<Coordinator | Transactions, CoordinatorError | Config.ConfigError> =>
  Layer.unwrap(Effect.map(Config.unwrap(wrapped), layer))
