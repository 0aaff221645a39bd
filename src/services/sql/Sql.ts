/**
 * A SQL database, as a service that starts when it has answered, says when it is gone, and stops in time: PostgreSQL.
 *
 * **When to use**
 *
 * Use {@link layer} or {@link layerConfig} for the one database of a program, and classes made of {@link Service} where there are
 * several. {@link layerClient} gives programs the `SqlClient` of `effect/sql` over the same pool, and so statements, transactions,
 * migrations and models. The driver is `@effect/sql-pg`, which has to be installed beside this library.
 *
 * **Details**
 *
 * A start opens a connection of the pool, authenticates, and waits for the answer to `SELECT 1`. While the server is away, statements
 * fail; connections are made anew when they are needed. A stop lets statements and transactions in flight finish within
 * `closeTimeout`, then cuts their connections.
 *
 * Probes go over the pool. Where all of its connections are in use, a probe opens one of its own instead of calling a busy server
 * lost. When two probes in a row are not answered in time, connections that were silent meanwhile are cut, with what runs over them:
 * statements fail, and so do the queues of `listen`.
 *
 * **Gotchas**
 *
 * - A statement waits as long as the server does. Give it a deadline by `Effect.timeout`, which also cancels it on the server, or give
 *   all of them one by `statementTimeout`.
 * - A transaction whose connection is lost dies of the `SqlError` instead of failing with it: `withTransaction` cannot undo it any more.
 *   The server does.
 * - `use` takes promises and knows nothing of a transaction around it. It is for code that does; an Effect program has
 *   {@link layerClient}.
 * - Certificates are checked with every `sslmode` that asks for TLS, also where the programs of PostgreSQL would not. `prefer` and
 *   `allow` do without TLS where the server has none.
 *
 * A service for another driver of `effect/sql` (MySQL, SQLite) is a module as this one is, over an adapter as `postgres.ts` is: it
 * makes the driver's client, and its sockets where it has any. The start, the probes, the stop and the cut are those of `driver.ts`.
 *
 * **Example** (From the environment)
 *
 * ```ts
 * // no-run
 * import { Effect, Layer } from "effect"
 * import { Maestro } from "effect-ensemble"
 * import { Sql } from "effect-ensemble/services/sql"
 * import { SqlClient } from "effect/sql"
 *
 * // PG_1_ADDR, PG_1_PASSWORD, …
 * const Database = Sql.layerClient(Sql.Sql).pipe(
 *   Layer.provideMerge(
 *     Sql.layerConfig(Sql.config("PG_1")).pipe(Maestro.service("database", { health: Sql.health }))
 *   )
 * )
 *
 * const program = Effect.gen(function*() {
 *   const sql = yield* SqlClient.SqlClient
 *   return yield* sql`select name from users where id = ${7}`.pipe(Effect.timeout("5 seconds"))
 * }).pipe(Effect.provide(Database))
 * ```
 *
 * @since 0.1.0
 */
import { PgClient } from "@effect/sql-pg"
import type * as Config from "effect/Config"
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Reactivity from "effect/reactivity/Reactivity"
import type * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import * as SqlClient from "effect/sql/SqlClient"
import * as Bounds from "../kit/bounds.ts"
import type { Running } from "../kit/connection.ts"
import * as Connection from "../kit/connection.ts"
import type { ServiceMisconfigured, ServiceUnavailable } from "../kit/errors.ts"
import type { Kind, ServiceClass } from "../kit/service.ts"
import { define } from "../kit/service.ts"
import * as Setting from "../kit/setting.ts"
import * as Settings from "../kit/settings.ts"
import * as Address from "./address.ts"
import { adapter } from "./driver.ts"
import type { Resolved as PostgresSettings } from "./postgres.ts"
import { postgres } from "./postgres.ts"

/**
 * The client of the npm package `@effect/sql-pg`: a `SqlClient` with `json`, `listen` and `notify`.
 *
 * @category models
 * @since 0.1.0
 */
export type Client = PgClient.PgClient

/**
 * The settings of a SQL service, on top of its bounds.
 *
 * **Details**
 *
 * - `driver` (`DRIVER`): `postgres`, which is the default, so that settings for another database are told rather than misread.
 * - `url` (`ADDR`): `postgres://user:password@host:port/database?sslmode=require`. Default
 *   `postgres://postgres:postgres@127.0.0.1:5432/postgres?sslmode=disable`.
 * - `password` (`PASSWORD`): where it is kept apart from the address; it wins over one in there.
 * - `ca` (`CA`): the authority in PEM, where the server's certificate is from one that Node does not know. It asks for TLS unless
 *   `sslmode` is `disable`.
 * - `maxConnections` (`MAX_OPEN_CONNS`): how many connections the pool may have. Default 10: a program of fibers has many transactions
 *   open at once, each with a connection of its own, and ten such programs still fit into the 100 that a server takes by default.
 * - `minConnections` (`MAX_IDLE_CONNS`): how many of them are kept while there is nothing to do; others close after a minute.
 *   Default 1, which the probes use anyway.
 * - `connectionLifetime` (`CONN_MAX_LIFETIME`): after which a connection is replaced when it is next used, so that programs find servers
 *   that joined or moved. Default 10 minutes.
 * - `statementTimeout` (`TIMEOUT_STATEMENT`): how long the server works on one statement before it gives it up. Default: as the server
 *   has it. It is sent as `statement_timeout` when a connection is made: PgBouncer has to be told to let that pass.
 * - `prepare` (`PREPARE`): whether statements are prepared and kept by name. Default `true`; `false` where a pooler gives each
 *   transaction another connection.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options extends Bounds.Bounds {
  readonly driver?: "postgres" | undefined
  readonly url?: string | Redacted.Redacted<string> | undefined
  readonly password?: string | Redacted.Redacted<string> | undefined
  readonly ca?: string | undefined
  readonly maxConnections?: number | undefined
  readonly minConnections?: number | undefined
  readonly connectionLifetime?: Duration.Input | undefined
  readonly statementTimeout?: Duration.Input | undefined
  readonly prepare?: boolean | undefined
}

interface Resolved extends PostgresSettings {
  readonly driver: "postgres"
}

const settings = Settings.make<Options>()<Resolved>({
  driver: Setting.oneOf("DRIVER", ["postgres"], { about: "the kind of database", default: "postgres" }),
  url: Address.setting("ADDR", {
    about: "where the server listens, and its database",
    default: "postgres://postgres:postgres@127.0.0.1:5432/postgres?sslmode=disable"
  }),
  password: Setting.secret("PASSWORD", "the password, where it is not in the address"),
  ca: Setting.optional(Setting.text("CA", { about: "the authority of the certificate, in PEM", default: "" })),
  maxConnections: Setting.integer("MAX_OPEN_CONNS", {
    about: "how many connections there may be",
    default: 10,
    minimum: 1
  }),
  minConnections: Setting.integer("MAX_IDLE_CONNS", {
    about: "how many connections are kept while there is nothing to do",
    default: 1,
    minimum: 0
  }),
  connectionLifetime: Setting.duration("CONN_MAX_LIFETIME", {
    about: "after which a connection is replaced",
    default: "10 minutes"
  }),
  statementTimeout: Setting.optional(
    Setting.duration("TIMEOUT_STATEMENT", { about: "how long the server works on one statement", default: "1 minute" })
  ),
  prepare: Setting.boolean("PREPARE", { about: "whether statements are prepared", default: true }),
  ...Bounds.table()
})

const sql: Kind<Options, Client> = {
  make: Effect.fnUntraced(function* (name, options) {
    const resolved = yield* settings.resolve(name, options)
    const reactivity = yield* Effect.serviceOption(Reactivity.Reactivity)
    const own = Option.isSome(reactivity) ? reactivity.value : yield* Reactivity.make
    const context = Context.add(yield* Effect.context<never>(), Reactivity.Reactivity, own)
    return yield* Connection.start(adapter(postgres, context), name, resolved)
  }),
  config: settings.config,
  load: settings.load
}

/**
 * A database under a tag of its own, for programs that use several.
 *
 * **Example** (Two of them)
 *
 * ```ts
 * // no-run
 * import { Effect, Layer } from "effect"
 * import { Sql } from "effect-ensemble/services/sql"
 * import { SqlClient } from "effect/sql"
 *
 * class Orders extends Sql.Service<Orders>()("orders") {}
 * class Archive extends Sql.Service<Archive>()("archive") {}
 *
 * const Both = Layer.mergeAll(
 *   Orders.layerConfig(Sql.config("ORDERS")),
 *   Archive.layer({ url: "postgres://reader@localhost/archive", statementTimeout: "10 minutes" })
 * )
 *
 * // Each part of the program is given the database that it speaks to.
 * const count = SqlClient.SqlClient.use((sql) => sql`select count(*) from orders`)
 * const program = Effect.all([
 *   count.pipe(Effect.provide(Sql.layerClient(Orders))),
 *   count.pipe(Effect.provide(Sql.layerClient(Archive)))
 * ]).pipe(Effect.provide(Both))
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const Service =
  <Self>() =>
  <const Name extends string>(
    name: Name
  ): ServiceClass<Self, `effect-ensemble/services/sql/${Name}`, Client, Options> => {
    const tag = define<Self, `effect-ensemble/services/sql/${Name}`, Options, Client>(
      sql,
      `effect-ensemble/services/sql/${name}`,
      name
    )
    // The one that the rest of the program has, where it has one: or what is invalidated there would not be read again here.
    const withReactivity = Layer.provide(Reactivity.layer)
    const { layer, layerConfig } = tag
    return Object.assign(tag, {
      layer: (options?: Options) => withReactivity(layer(options)),
      layerConfig: (config: Config.Wrap<Options>) => withReactivity(layerConfig(config))
    })
  }

/**
 * The database of a program that has one.
 *
 * @category services
 * @since 0.1.0
 */
export class Sql extends Service<Sql>()("sql") {}

/**
 * The options in variables `<prefix>_<NAME>`, with the defaults filled in.
 *
 * @category config
 * @since 0.1.0
 */
export const config: (prefix: string) => Config.Config<Options> = sql.config

/**
 * A database that lives as long as the scope.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (
  options: Options = {}
): Effect.Effect<Running<Client>, ServiceUnavailable | ServiceMisconfigured, Scope.Scope> => sql.make("sql", options)

/**
 * Starts {@link Sql} with options.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: (options?: Options) => Layer.Layer<Sql, ServiceUnavailable | ServiceMisconfigured> = Sql.layer

/**
 * Starts {@link Sql} with what a configuration holds.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerConfig: (
  config: Config.Wrap<Options>
) => Layer.Layer<Sql, ServiceUnavailable | ServiceMisconfigured> = Sql.layerConfig

/**
 * The client of a database that runs, as the services that `effect/sql` and `@effect/sql-pg` know.
 *
 * **Details**
 *
 * It opens nothing: statements go over the pool of the service, and end with it.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerClient = <Self, Key extends string>(
  service: ServiceClass<Self, Key, Client, Options>
): Layer.Layer<SqlClient.SqlClient | PgClient.PgClient, never, Self> =>
  Layer.effectContext(
    Effect.map(service, ({ client }) =>
      Context.add(Context.make(PgClient.PgClient, client), SqlClient.SqlClient, client)
    )
  )

/**
 * Asks {@link Sql} for one real answer: for the `health` of its policy.
 *
 * @category probing
 * @since 0.1.0
 */
export const health: Effect.Effect<void, ServiceUnavailable, Sql> = Sql.health
