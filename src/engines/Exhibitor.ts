/**
 * The engine for ZooKeeper behind Exhibitor: the servers are those that Exhibitor lists, and are followed when the list changes.
 *
 * **When to use**
 *
 * Use {@link layer} or {@link layerConfig} where the servers of an ensemble are exchanged while programs run, and Exhibitor says which
 * they are. With servers that stay, `ZooKeeper.layer` does the same without it.
 *
 * **Details**
 *
 * It is ZooKeeper's engine in every respect but one. The list is looked at in a rhythm; when it has changed, the session and all that it
 * carries stay, and the connection moves only if its server is no longer listed. A list that is empty, malformed or not to be had
 * changes nothing: the last good one stays in use.
 *
 * HTTP is spoken by the `HttpClient` of the program, `FetchHttpClient.layer` for example.
 *
 * **Gotchas**
 *
 * - All servers that are ever listed must belong to one ensemble. Those of another do not know the session: everything is lost and
 *   joined again there.
 * - A session that finds none of its servers lives for half of its `ttl`. Where a whole ensemble is exchanged at once, keep
 *   `pollInterval` well below that.
 * - `credentials`, `acl` and `tls` are ZooKeeper's; for Exhibitor itself there is `basicAuth`.
 *
 * @since 0.1.0
 */
import * as Config from "effect/Config"
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as HttpClient from "effect/http/HttpClient"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { Coordinator } from "../Coordinator.ts"
import type { CoordinatorError } from "../CoordinatorError.ts"
import { optional } from "../internal/coordinatorConfig.ts"
import * as Ensemble from "./exhibitor/ensemble.ts"
import * as Failure from "./exhibitor/failure.ts"
import * as Settings from "./exhibitor/settings.ts"
import * as Engine from "./zookeeper/engine.ts"
import * as ZooKeeperSettings from "./zookeeper/settings.ts"
import * as ZooKeeper from "./ZooKeeper.ts"

/**
 * The settings of an Exhibitor engine, on top of those of ZooKeeper's.
 *
 * **Details**
 *
 * - `endpoints`: where the Exhibitors listen, as `http://host:port` or `https://host:port`; the port is 8080 when it is left out. Default
 *   `http://127.0.0.1:8080`. They are asked in turn from a random one, and the one that answers is asked first the next time.
 * - `path`: of the list. Default `/exhibitor/v1/cluster/list`.
 * - `basicAuth`: for Exhibitor.
 * - `backup`: servers as ZooKeeper writes them, `host:port,host:port`, for as long as no Exhibitor has given a list.
 * - `chroot`: of ZooKeeper, such as `/services`. Neither the list nor `backup` can name one.
 * - `pollInterval`: between two looks at the list, more or less a fifth. Default 10 seconds.
 * - `pollTimeout`: how long one look may take, of which each Exhibitor has its share. Default 5 seconds; leave the back-up some of `connectTimeout`.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options extends Omit<ZooKeeper.Options, "endpoints"> {
  readonly endpoints?: string | ReadonlyArray<string> | undefined
  readonly path?: string | undefined
  readonly basicAuth?: { readonly username: string; readonly password: Redacted.Redacted } | undefined
  readonly backup?: string | ReadonlyArray<string> | undefined
  readonly chroot?: string | undefined
  readonly pollInterval?: Duration.Input | undefined
  readonly pollTimeout?: Duration.Input | undefined
}

/**
 * What answered is not Exhibitor's list of servers: the `cause` of a `NotThisServer`.
 *
 * @category errors
 * @since 0.1.0
 */
export const BadAnswer = Failure.BadAnswer

/**
 * The type of {@link BadAnswer}.
 *
 * @category errors
 * @since 0.1.0
 */
export type BadAnswer = Failure.BadAnswer

/**
 * Exhibitor answered with a list that names no server: the `cause` of an `Unreachable`, since it may be filled yet.
 *
 * @category errors
 * @since 0.1.0
 */
export const EmptyList = Failure.EmptyList

/**
 * The type of {@link EmptyList}.
 *
 * @category errors
 * @since 0.1.0
 */
export type EmptyList = Failure.EmptyList

/**
 * A ZooKeeper engine, over a connection of its own to a server that Exhibitor lists.
 *
 * **Details**
 *
 * It provides what `ZooKeeper.layer` does, so `ZooKeeper.guarded` works with it, and it fails as that does. Without a `backup` it also fails
 * with `Unreachable` when no Exhibitor gives a list within `connectTimeout` or the list is empty ({@link EmptyList}), with `NotThisServer`
 * when what answers is something else ({@link BadAnswer}), and with `Unauthenticated` when Exhibitor wants other `basicAuth`;
 * the `engine` of such an error is `exhibitor`. `connect: "background"` starts without a list.
 *
 * **Example** (A leader on an ensemble that moves)
 *
 * ```ts
 * // no-run
 * import { Effect, Layer, Redacted } from "effect"
 * import { FetchHttpClient } from "effect/http"
 * import { Election } from "effect-ensemble"
 * import { Exhibitor } from "effect-ensemble/exhibitor"
 *
 * const ExhibitorLive = Exhibitor.layer({
 *   endpoints: ["http://exhibitor-1:8080", "http://exhibitor-2:8080"],
 *   basicAuth: { username: "reader", password: Redacted.make("secret") },
 *   backup: "zk-1:2181,zk-2:2181",
 *   chroot: "/services",
 *   ttl: "20 seconds"
 * }).pipe(Layer.provide(FetchHttpClient.layer))
 *
 * const program = Election.lead(Election.make("report"), () => Effect.log("writing the report")).pipe(
 *   Effect.provide(ExhibitorLive)
 * )
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (
  options: Options = {}
): Layer.Layer<Coordinator | ZooKeeper.Transactions, CoordinatorError, HttpClient.HttpClient> =>
  Layer.effectContext(
    Effect.gen(function* () {
      const http = yield* HttpClient.HttpClient
      const settings = yield* Settings.read(options)
      const { chroot, label } = settings
      // Which servers these are changes, so errors name who lists them.
      const zookeeper = yield* ZooKeeperSettings.readFor({ chroot, label: `listed by ${label}` }, options).pipe(
        Result.mapError((detail) => Settings.refused(label, detail)),
        Effect.fromResult
      )
      const { coordinator, guarded } = yield* Engine.make(
        zookeeper,
        {
          endpoints: undefined,
          attend: (store) =>
            Effect.map(Ensemble.follow(http, settings, store.clients.moveTo), ({ known }) => ({
              ...store,
              open: (ttlMillis) => Effect.andThen(known, store.open(ttlMillis))
            }))
        },
        options
      )
      return Context.make(Coordinator, coordinator).pipe(Context.add(ZooKeeper.Transactions, { guarded }))
    })
  )

/**
 * The settings as read from the configuration, by default from environment variables that begin with the prefix.
 *
 * **Details**
 *
 * With the prefix `EXHIBITOR`: `EXHIBITOR_ENDPOINTS` (separated by commas), `EXHIBITOR_PATH`, `EXHIBITOR_BASIC_AUTH_USERNAME`,
 * `EXHIBITOR_BASIC_AUTH_PASSWORD`, `EXHIBITOR_BACKUP` (`host:port,host:port`), `EXHIBITOR_CHROOT`, `EXHIBITOR_POLL_INTERVAL`,
 * `EXHIBITOR_POLL_TIMEOUT`, and everything of `ZooKeeper.config` but its endpoints: `EXHIBITOR_PREFIX`, `EXHIBITOR_USERNAME`, `EXHIBITOR_TTL`
 * and so on. All may be left out.
 *
 * **Example** (Settings from the environment)
 *
 * ```ts
 * import { ConfigProvider, Effect } from "effect"
 * import { Exhibitor } from "effect-ensemble/exhibitor"
 *
 * const env = ConfigProvider.fromEnvRecord({ EXHIBITOR_ENDPOINTS: "http://a:8080,http://b:8080", EXHIBITOR_CHROOT: "/services" })
 * const options = await Effect.runPromise(Exhibitor.config("EXHIBITOR").parse(env))
 * console.log(options.endpoints) // => [ 'http://a:8080', 'http://b:8080' ]
 * ```
 *
 * @category configuration
 * @since 0.1.0
 */
export const config = (prefix: string): Config.Config<Options> =>
  Config.map(
    Config.all({
      zookeeper: ZooKeeper.config(prefix),
      exhibitor: Config.all({
        endpoints: optional(Config.Array(Schema.Trim, "ENDPOINTS")),
        path: optional(Config.String("PATH")),
        username: optional(Config.String("BASIC_AUTH_USERNAME")),
        password: optional(Config.Redacted("BASIC_AUTH_PASSWORD")),
        backup: optional(Config.String("BACKUP")),
        chroot: optional(Config.String("CHROOT")),
        pollInterval: optional(Config.Duration("POLL_INTERVAL")),
        pollTimeout: optional(Config.Duration("POLL_TIMEOUT"))
      }).pipe(Config.nested(prefix))
    }),
    ({ exhibitor: { password, username, ...exhibitor }, zookeeper }): Options => ({
      ...zookeeper,
      ...exhibitor,
      basicAuth:
        username === undefined && password === undefined
          ? undefined
          : { username: username ?? "", password: password ?? Redacted.make("") }
    })
  )

/**
 * An Exhibitor engine whose settings come from the configuration: `Exhibitor.layerConfig(Exhibitor.config("EXHIBITOR"))`.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerConfig = (
  wrapped: Config.Wrap<Options>
): Layer.Layer<Coordinator | ZooKeeper.Transactions, CoordinatorError | Config.ConfigError, HttpClient.HttpClient> =>
  Layer.unwrap(Effect.map(Config.unwrap(wrapped), layer))
