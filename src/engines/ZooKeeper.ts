/**
 * The engine for ZooKeeper 3.5 and later: members are ephemeral nodes, tokens are the transactions that created them.
 *
 * **When to use**
 *
 * Use {@link layer} or {@link layerConfig} where your programs share a ZooKeeper ensemble. The client is the library's own, over
 * Node's sockets by `@effect/platform-node`; no npm client of ZooKeeper is needed.
 *
 * **Details**
 *
 * A member is the node `<prefix>/<kind>/<group>/_c_<guid>-<member>-<sequence>`, so `ls /ensemble/discovery/api` in `zkCli.sh`
 * shows who is there; its data are what the recipe wrote, JSON with `address`, `port` and `attributes` for `discovery`. One session carries
 * all memberships of a coordinator, over one connection to one server, which is exchanged for another when it is cut or goes silent.
 *
 * **Gotchas**
 *
 * - The servers grant between 2 and 20 of their ticks as `ttl`; what they grant counts. The process stops by itself after half of
 *   it: a follower tells its leader late who is alive, and answers pings also when it has lost its leader. So give a longer `ttl` than
 *   for other stores.
 * - With `credentials`, what the library creates is accessible with the same credentials only, unless `acl` says otherwise.
 * - Nothing in ZooKeeper keeps two programs from creating nodes under one member id. The older one is the member; the other
 *   takes its own back.
 *
 * @since 0.1.0
 */
import * as Config from "effect/Config"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import type { Options as CoordinatorOptions } from "../Coordinator.ts"
import { Coordinator } from "../Coordinator.ts"
import type { CoordinatorError } from "../CoordinatorError.ts"
import type { Claim } from "../Group.ts"
import { coordinatorConfig, optional } from "../internal/coordinatorConfig.ts"
import type { MembershipLost } from "../Membership.ts"
import * as Engine from "./zookeeper/engine.ts"
import * as Guard from "./zookeeper/guard.ts"
import type { Acl as AclLine } from "./zookeeper/protocol.ts"
import * as Settings from "./zookeeper/settings.ts"

/**
 * One line of an access control list: who may do what.
 *
 * **Details**
 *
 * `permissions` is the sum of 1 (read), 2 (write), 4 (create), 8 (delete) and 16 (admin). `scheme` and `id` name who: `world` and
 * `anyone`, `auth` and nothing for the credentials of this program, `digest` and `user:hash`, `ip` and an address.
 *
 * @category models
 * @since 0.1.0
 */
export type Acl = AclLine

/**
 * The settings of a ZooKeeper engine, on top of those that every engine has.
 *
 * **Details**
 *
 * - `endpoints`: the servers as ZooKeeper writes them, `host:port,host:port/chroot`, or a list of such; the port is 2181 when it is left out.
 *   Default `127.0.0.1:2181`. Name every server of the ensemble: they are used in turn when one fails.
 * - `prefix`: below which all nodes stand, and below the chroot. Default `/ensemble`. It is created when it is missing.
 * - `layout`: `ensemble` (default), or `reception` for programs in Go that use the library of that name: discovery and election
 *   share `<prefix>/<group>`, under persistent parents.
 * - `curatorBasePath`: the base path of Apache Curator's service discovery. Kind `discovery` then stands there, in Curator's form:
 *   programs on the JVM find these services and are found. Absent by default.
 * - `credentials`: of the scheme `digest`.
 * - `acl`: of everything that is created: `open` to everybody, `creator` for those with the same credentials, or a list. Default
 *   `creator` with credentials and `open` without.
 * - `tls`: PEM texts, for the servers' `secureClientPort`: `ca` where their certificates are signed by a private authority,
 *   `certificate` and `key` where they ask for one of the client. `{}` where neither is so.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options extends CoordinatorOptions, Settings.Given {}

/**
 * One step of a transaction on nodes of your own.
 *
 * @category models
 * @since 0.1.0
 */
export type Operation = Guard.Operation

/**
 * Creates a persistent node; its parent must exist.
 *
 * @category constructors
 * @since 0.1.0
 */
export const create = (path: string, value: string): Operation => ({ _tag: "Create", path, value })

/**
 * Writes the data of a node that exists, if it has this version; any version by default.
 *
 * @category constructors
 * @since 0.1.0
 */
export const set = (path: string, value: string, version = -1): Operation => ({ _tag: "Set", path, value, version })

/**
 * Deletes a node that exists and has no children, if it has this version; any version by default.
 *
 * @category constructors
 * @since 0.1.0
 */
export const remove = (path: string, version = -1): Operation => ({ _tag: "Remove", path, version })

/**
 * Writes nothing, and has the transaction refused unless the node exists and has this version; any version by default.
 *
 * @category constructors
 * @since 0.1.0
 */
export const check = (path: string, version = -1): Operation => ({ _tag: "Check", path, version })

/**
 * What a guarded transaction did: the number under which ZooKeeper carried it out.
 *
 * @category models
 * @since 0.1.0
 */
export type Committed = Guard.Committed

/**
 * ZooKeeper refused one of the operations, so none was carried out.
 *
 * **Details**
 *
 * `index` counts the operations from 0. `problem` is `NodeExists`, `NoNode`, `BadVersion` or `NotEmpty`.
 *
 * @category errors
 * @since 0.1.0
 */
export const OperationRefused = Guard.OperationRefused

/**
 * The type of {@link OperationRefused}.
 *
 * @category errors
 * @since 0.1.0
 */
export type OperationRefused = Guard.OperationRefused

/**
 * Transactions that ZooKeeper itself refuses when the place is lost. {@link guarded} uses it; the engine's layers provide it.
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
    ) => Effect.Effect<Committed, CoordinatorError | MembershipLost | OperationRefused>
  }
>()("effect-ensemble/ZooKeeper/Transactions") {}

/**
 * Carries the operations out in one transaction, on the condition that the place is still held at that very moment.
 *
 * **When to use**
 *
 * Use it for writes that only the leader, or only the holder of a lock, may make, when what it protects is in the same ensemble. It
 * is the one guard that also holds when this process was paused between asking `ensure` and acting: the store itself
 * compares.
 *
 * **Details**
 *
 * The condition is that the member's own node is there: its name is never given to another one. Paths are used as they are given,
 * below the chroot; the engine's prefix is not put before them. All or nothing is applied.
 *
 * **Gotchas**
 *
 * Fails with `MembershipLost` when the clocks or the store say that the place is lost, and with `OperationRefused` when ZooKeeper
 * refuses an operation; then nothing was written. With `OutcomeUnknown` it may have been.
 *
 * **Example** (A cursor that only the leader may move)
 *
 * ```ts
 * // no-run
 * import { Effect } from "effect"
 * import { Election } from "effect-ensemble"
 * import { ZooKeeper } from "effect-ensemble/zookeeper"
 *
 * const Worker = Election.make("importer")
 *
 * const program = Election.lead(Worker, (tenure) =>
 *   Effect.gen(function*() {
 *     const { revision } = yield* ZooKeeper.guarded(tenure, [ZooKeeper.set("/importer/cursor", "42")])
 *     yield* Effect.log("moved the cursor in transaction", revision)
 *   })
 * ).pipe(Effect.provide(ZooKeeper.layer({ endpoints: "127.0.0.1:2181" })))
 * ```
 *
 * @category combinators
 * @since 0.1.0
 */
export const guarded = Effect.fn("ZooKeeper.guarded")(function* (claim: Claim, operations: ReadonlyArray<Operation>) {
  const transactions = yield* Transactions
  return yield* transactions.guarded(claim, operations)
})

/**
 * A ZooKeeper engine, over a connection of its own.
 *
 * **Details**
 *
 * It fails when no server answers within `connectTimeout`, when the credentials or the prefix are refused, and when what answers is not
 * ZooKeeper; `connect: "background"` starts without a server instead.
 *
 * **Example** (One of several servers of an API)
 *
 * ```ts
 * // no-run
 * import { Effect, Redacted } from "effect"
 * import { Discovery } from "effect-ensemble"
 * import { ZooKeeper } from "effect-ensemble/zookeeper"
 *
 * const Api = Discovery.make("api")
 *
 * const ZooKeeperLive = ZooKeeper.layer({
 *   endpoints: "zk-1:2181,zk-2:2181,zk-3:2181",
 *   credentials: { username: "api", password: Redacted.make("secret") },
 *   ttl: "20 seconds"
 * })
 *
 * const program = Discovery.register(Api, { address: "10.0.0.1", port: 8080, attributes: {} }).pipe(
 *   Effect.andThen(Effect.never),
 *   Effect.scoped,
 *   Effect.provide(ZooKeeperLive)
 * )
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options: Options = {}): Layer.Layer<Coordinator | Transactions, CoordinatorError> =>
  Layer.effectContext(
    Effect.gen(function* () {
      const { endpoints, ...settings } = yield* Settings.read(options)
      const { coordinator, guarded } = yield* Engine.make(settings, { endpoints }, options)
      return Context.make(Coordinator, coordinator).pipe(Context.add(Transactions, { guarded }))
    })
  )

/**
 * The settings as read from the configuration, by default from environment variables that begin with the prefix.
 *
 * **Details**
 *
 * With the prefix `ZOOKEEPER`: `ZOOKEEPER_ENDPOINTS` (`host:port,host:port/chroot`), `ZOOKEEPER_PREFIX`, `ZOOKEEPER_LAYOUT` (`ensemble` or
 * `reception`), `ZOOKEEPER_CURATOR_BASE_PATH`, `ZOOKEEPER_USERNAME`, `ZOOKEEPER_PASSWORD`, `ZOOKEEPER_ACL` (`open` or `creator`),
 * `ZOOKEEPER_TLS` (`true` for TLS without any of the following), `ZOOKEEPER_TLS_CA`, `ZOOKEEPER_TLS_CERTIFICATE`, `ZOOKEEPER_TLS_KEY` (PEM texts), `ZOOKEEPER_NODE`, `ZOOKEEPER_TTL`,
 * `ZOOKEEPER_REQUEST_TIMEOUT`, `ZOOKEEPER_CONNECT` (`wait` or `background`), `ZOOKEEPER_CONNECT_TIMEOUT`. All may be left out.
 *
 * **Example** (Settings from the environment)
 *
 * ```ts
 * import { ConfigProvider, Effect } from "effect"
 * import { ZooKeeper } from "effect-ensemble/zookeeper"
 *
 * const env = ConfigProvider.fromEnvRecord({ ZOOKEEPER_ENDPOINTS: "a:2181,b:2181/services", ZOOKEEPER_TTL: "20 seconds" })
 * const options = await Effect.runPromise(ZooKeeper.config("ZOOKEEPER").parse(env))
 * console.log(options.endpoints) // => a:2181,b:2181/services
 * ```
 *
 * @category configuration
 * @since 0.1.0
 */
export const config = (prefix: string): Config.Config<Options> =>
  Config.map(
    Config.all({
      coordinator: coordinatorConfig,
      endpoints: optional(Config.String("ENDPOINTS")),
      prefix: optional(Config.String("PREFIX")),
      layout: optional(Config.Literals(["ensemble", "reception"], "LAYOUT")),
      curatorBasePath: optional(Config.String("CURATOR_BASE_PATH")),
      acl: optional(Config.Literals(["open", "creator"], "ACL")),
      username: optional(Config.String("USERNAME")),
      password: optional(Config.Redacted("PASSWORD")),
      tls: optional(Config.Boolean("TLS")),
      ca: optional(Config.String("TLS_CA")),
      certificate: optional(Config.String("TLS_CERTIFICATE")),
      key: optional(Config.Redacted("TLS_KEY"))
    }).pipe(Config.nested(prefix)),
    ({
      acl,
      ca,
      certificate,
      coordinator,
      curatorBasePath,
      endpoints,
      key,
      layout,
      password,
      prefix: below,
      tls,
      username
    }): Options => ({
      ...coordinator,
      endpoints,
      prefix: below,
      layout,
      curatorBasePath,
      acl,
      credentials:
        username === undefined && password === undefined
          ? undefined
          : { username: username ?? "", password: password ?? Redacted.make("") },
      tls:
        tls !== true && ca === undefined && certificate === undefined && key === undefined
          ? undefined
          : { ca, certificate, key }
    })
  )

/**
 * A ZooKeeper engine whose settings come from the configuration: `ZooKeeper.layerConfig(ZooKeeper.config("ZOOKEEPER"))`.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerConfig = (
  wrapped: Config.Wrap<Options>
): Layer.Layer<Coordinator | Transactions, CoordinatorError | Config.ConfigError> =>
  Layer.unwrap(Effect.map(Config.unwrap(wrapped), layer))
