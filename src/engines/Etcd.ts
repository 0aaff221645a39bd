/**
 * The engine for etcd 3.4 and later: sessions are leases, tokens are create revisions.
 *
 * **When to use**
 *
 * Use {@link layer} or {@link layerConfig} where your programs share an etcd cluster, {@link layerClient} where they already
 * have an `Etcd3` of the npm package `etcd3`, which this engine needs as a peer dependency.
 *
 * **Details**
 *
 * A member is the key `<prefix>/<kind>/<group>/<member>`, so `etcdctl get --prefix /ensemble/discovery/api/` shows who is there;
 * values are what the recipe wrote, JSON with `address`, `port` and `attributes` for `discovery`. One lease carries all memberships of a
 * coordinator. Everything runs over one connection to one server, which is exchanged for another when it is cut, goes silent, or
 * has lost its leader.
 *
 * **Gotchas**
 *
 * - etcd counts a lease's time in whole seconds and, by default, grants no less than two. A new leader of the cluster starts
 *   every lease's time anew, so a dead member may stay for up to two TTLs.
 * - After a restore from a snapshot, revisions may repeat, and with them fencing tokens. Restore with
 *   `etcdutl snapshot restore --bump-revision 1000000000 --mark-compacted`, so that they do not.
 * - With authentication, the user needs read and write permission on the prefix `<prefix>/`.
 *
 * @since 0.1.0
 */
import * as Config from "effect/Config"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import type { Etcd3 } from "etcd3"
import type { Options as CoordinatorOptions } from "../Coordinator.ts"
import { Coordinator } from "../Coordinator.ts"
import type { CoordinatorError } from "../CoordinatorError.ts"
import type { Claim } from "../Group.ts"
import * as Coordinators from "../internal/coordinator.ts"
import { coordinatorConfig, optional } from "../internal/coordinatorConfig.ts"
import type { MembershipLost } from "../Membership.ts"
import * as Client from "./etcd/client.ts"
import * as Connections from "./etcd/connections.ts"
import * as Endpoints from "./etcd/endpoints.ts"
import * as Grpc from "./etcd/grpc.ts"
import * as Guard from "./etcd/guard.ts"
import type { Transport } from "./etcd/rpc.ts"

/**
 * The settings of an etcd engine, on top of those that every engine has.
 *
 * **Details**
 *
 * - `endpoints`: where the servers listen, as `http://host:port` or `https://host:port`; the port is 2379 when it is left out.
 *   Default `http://127.0.0.1:2379`. Name every server of the cluster: they are used in turn when one fails.
 * - `prefix`: what all keys begin with. Default `/ensemble`. Programs that use different prefixes do not see each other.
 * - `credentials`: for clusters with authentication.
 * - `tls`: PEM texts, for `https` endpoints: `ca` where the servers' certificates are signed by a private authority,
 *   `certificate` and `key` where the servers ask for one of the client.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options extends CoordinatorOptions, Endpoints.Addresses {
  readonly prefix?: string | undefined
  readonly credentials?: { readonly username: string; readonly password: Redacted.Redacted } | undefined
}

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
 * What a guarded transaction did: the store's revision after it, and one value for each `get`, in their order.
 *
 * @category models
 * @since 0.1.0
 */
export type Committed = Guard.Committed

/**
 * Transactions that etcd itself refuses when the place is lost. {@link guarded} uses it; the engine's layers provide it.
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
>()("effect-ensemble/Etcd/Transactions") {}

/**
 * Carries the operations out in one transaction, on the condition that the place is still held at that very moment.
 *
 * **When to use**
 *
 * Use it for writes that only the leader, or only the holder of a lock, may make, when what it protects is in the same etcd. It
 * is the one guard that also holds when this process was paused between asking `ensure` and acting: the store itself
 * compares.
 *
 * **Details**
 *
 * The condition is that the member's key still has the create revision that is the tenure's token. The keys are used as they are
 * given; the engine's prefix is not put before them. All or nothing is applied.
 *
 * **Gotchas**
 *
 * Fails with `MembershipLost` when the clocks or the store say that the place is lost; then nothing was written. With
 * `OutcomeUnknown` it may have been.
 *
 * **Example** (A cursor that only the leader may move)
 *
 * ```ts
 * // no-run
 * import { Effect } from "effect"
 * import { Election } from "effect-ensemble"
 * import { Etcd } from "effect-ensemble/etcd"
 *
 * const Worker = Election.make("importer")
 *
 * const program = Election.lead(Worker, (tenure) =>
 *   Effect.gen(function*() {
 *     const { values } = yield* Etcd.guarded(tenure, [Etcd.get("importer/cursor"), Etcd.put("importer/cursor", "42")])
 *     yield* Effect.log("moved the cursor from", values[0])
 *   })
 * ).pipe(Effect.provide(Etcd.layer({ endpoints: "http://127.0.0.1:2379" })))
 * ```
 *
 * @category combinators
 * @since 0.1.0
 */
export const guarded = Effect.fn("Etcd.guarded")(function* (claim: Claim, operations: ReadonlyArray<Operation>) {
  const transactions = yield* Transactions
  return yield* transactions.guarded(claim, operations)
})

const defaultPrefix = "/ensemble"

/** Both services over a transport. */
const provide = (
  options: Omit<Options, "endpoints" | "tls">,
  endpoint: string,
  transport: Effect.Effect<Transport, CoordinatorError, Scope.Scope>
): Layer.Layer<Coordinator | Transactions, CoordinatorError> =>
  Layer.effectContext(
    Effect.gen(function* () {
      const prefix = options.prefix ?? defaultPrefix
      const problem = Endpoints.prefixProblem(prefix)
      if (problem !== undefined) return yield* Endpoints.refused(endpoint, problem)
      const made = yield* Deferred.make<Client.EtcdStore>()
      const connect = Effect.fnUntraced(function* ({ requestMillis }: { readonly requestMillis: number }) {
        const { credentials } = options
        const connections = yield* Connections.make(yield* transport, { credentials, requestMillis })
        const store = yield* Client.make(connections, { prefix, endpoint, requestMillis })
        yield* Deferred.succeed(made, store)
        return store
      })
      const coordinator = yield* Coordinators.make(Client.facts(endpoint), connect, options)
      const store = yield* Deferred.await(made)
      return Context.make(Coordinator, coordinator).pipe(
        Context.add(Transactions, { guarded: (claim, operations) => Guard.run(store, prefix, claim, operations) })
      )
    })
  )

/**
 * An etcd engine, over connections of its own.
 *
 * **Details**
 *
 * It fails when no server answers within `connectTimeout`, when the login or the prefix is refused, and when what answers is not
 * etcd; `connect: "background"` starts without a server instead.
 *
 * **Example** (One of several servers of an API)
 *
 * ```ts
 * // no-run
 * import { Effect, Redacted } from "effect"
 * import { Discovery } from "effect-ensemble"
 * import { Etcd } from "effect-ensemble/etcd"
 *
 * const Api = Discovery.make("api")
 *
 * const EtcdLive = Etcd.layer({
 *   endpoints: ["https://etcd-1:2379", "https://etcd-2:2379", "https://etcd-3:2379"],
 *   credentials: { username: "api", password: Redacted.make("secret") },
 *   ttl: "10 seconds"
 * })
 *
 * const program = Discovery.register(Api, { address: "10.0.0.1", port: 8080, attributes: {} }).pipe(
 *   Effect.andThen(Effect.never),
 *   Effect.scoped,
 *   Effect.provide(EtcdLive)
 * )
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options: Options = {}): Layer.Layer<Coordinator | Transactions, CoordinatorError> => {
  const endpoints = Endpoints.parse(options)
  const transport = "problem" in endpoints ? Endpoints.refused(endpoints.label, endpoints.problem) : Grpc.own(endpoints)
  return provide(options, endpoints.label, transport)
}

/**
 * An etcd engine over a client that the program has already.
 *
 * **Gotchas**
 *
 * The client stays open; who made it closes it. Its breaker, which is on by default, refuses new connections for five seconds
 * after a few failures: give the client `faultHandling` without one. Its limit for the size of an answer is four megabytes, unless
 * `grpcOptions` sets `grpc.max_receive_message_length`. When a server goes silent, the client's connections to that server are
 * closed, also under calls of the program's own.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerClient = (
  client: Etcd3,
  options: Omit<Options, "endpoints" | "credentials" | "tls"> = {}
): Layer.Layer<Coordinator | Transactions, CoordinatorError> =>
  provide(
    options,
    "the given client",
    Effect.sync(() => Grpc.fromClient(client, { owned: false, secure: false }))
  )

/**
 * The settings as read from the configuration, by default from environment variables that begin with the prefix.
 *
 * **Details**
 *
 * With the prefix `ETCD`: `ETCD_ENDPOINTS` (separated by commas), `ETCD_PREFIX`, `ETCD_USERNAME`, `ETCD_PASSWORD`, `ETCD_TLS_CA`,
 * `ETCD_TLS_CERTIFICATE`, `ETCD_TLS_KEY` (PEM texts), `ETCD_NODE`, `ETCD_TTL`, `ETCD_REQUEST_TIMEOUT`, `ETCD_CONNECT`
 * (`wait` or `background`), `ETCD_CONNECT_TIMEOUT`. All may be left out.
 *
 * **Example** (Settings from the environment)
 *
 * ```ts
 * import { ConfigProvider, Effect } from "effect"
 * import { Etcd } from "effect-ensemble/etcd"
 *
 * const env = ConfigProvider.fromEnvRecord({ ETCD_ENDPOINTS: "http://a:2379,http://b:2379", ETCD_TTL: "10 seconds" })
 * const options = await Effect.runPromise(Etcd.config("ETCD").parse(env))
 * console.log(options.endpoints) // => [ 'http://a:2379', 'http://b:2379' ]
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
      username: optional(Config.String("USERNAME")),
      password: optional(Config.Redacted("PASSWORD")),
      ca: optional(Config.String("TLS_CA")),
      certificate: optional(Config.String("TLS_CERTIFICATE")),
      key: optional(Config.Redacted("TLS_KEY"))
    }).pipe(Config.nested(prefix)),
    ({ ca, certificate, coordinator, endpoints, key, password, prefix: keyPrefix, username }): Options => ({
      ...coordinator,
      endpoints,
      prefix: keyPrefix,
      credentials:
        username === undefined && password === undefined
          ? undefined
          : { username: username ?? "", password: password ?? Redacted.make("") },
      tls: ca === undefined && certificate === undefined && key === undefined ? undefined : { ca, certificate, key }
    })
  )

/**
 * An etcd engine whose settings come from the configuration: `Etcd.layerConfig(Etcd.config("ETCD"))`.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerConfig = (
  wrapped: Config.Wrap<Options>
): Layer.Layer<Coordinator | Transactions, CoordinatorError | Config.ConfigError> =>
  Layer.unwrap(Effect.map(Config.unwrap(wrapped), layer))
