/**
 * Memcached, as a service that starts when all of its servers have answered, says when one is gone, and stops in time.
 *
 * **When to use**
 *
 * Use {@link layer} or {@link layerConfig} for the one Memcached of a program, and classes made of {@link Service} where there are several.
 * The client is `memcache`, which has to be installed beside this library.
 *
 * **Details**
 *
 * A start connects to every address and waits for its `version`. A key lives on one of the addresses (consistent hashing). When one of them
 * is lost the service is degraded: calls for its keys fail at once and those for others go on. A connection is opened again by the next
 * call that needs it. A stop lets commands in flight finish within `closeTimeout`.
 *
 * **Gotchas**
 *
 * - A value that could not be read is a failure, and not a miss as with the bare client: treat it as a miss where that is what the
 *   program wants.
 * - Values are text. The client's hooks around `get` and `gets` are not called.
 * - `username` and `password` are those of the text protocol (`memcached --auth-file`), not of SASL, where a server speaks the
 *   binary protocol only.
 *
 * **Example** (From the environment)
 *
 * ```ts
 * // no-run
 * import { Effect } from "effect"
 * import { Maestro } from "effect-ensemble"
 * import { Memcached } from "effect-ensemble/services/memcached"
 *
 * // MC_1_ADDRS, MC_1_TIMEOUT_RW, …
 * const Cache = Memcached.layerConfig(Memcached.config("MC_1")).pipe(
 *   Maestro.service("cache", { health: Memcached.health })
 * )
 *
 * const program = Effect.gen(function*() {
 *   const memcached = yield* Memcached.Memcached
 *   yield* memcached.use((client) => client.set("greeting", "hello", 60))
 *   return yield* memcached.use((client) => client.get("greeting"))
 * }).pipe(Effect.provide(Cache))
 * ```
 *
 * @since 0.1.0
 */
import type * as Config from "effect/Config"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import type * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import type { Memcache } from "memcache"
import * as Bounds from "../kit/bounds.ts"
import type { Connection, Running } from "../kit/connection.ts"
import { promise } from "../kit/connection.ts"
import type { ServiceMisconfigured, ServiceUnavailable } from "../kit/errors.ts"
import { inWords } from "../kit/errors.ts"
import type { Link } from "../kit/monitor.ts"
import type { ServiceClass } from "../kit/service.ts"
import { define, kind } from "../kit/service.ts"
import * as Setting from "../kit/setting.ts"
import * as Settings from "../kit/settings.ts"
import { Client as MemcachedClient } from "./client.ts"

/**
 * The client of the npm package `memcache`.
 *
 * @category models
 * @since 0.1.0
 */
export type Client = Memcache

/**
 * The settings of a Memcached service, on top of its bounds.
 *
 * **Details**
 *
 * - `addresses` (`ADDRS`): one or more `host:port`, with commas between them in a variable. Default `localhost:11211`.
 * - `timeout` (`TIMEOUT_RW`): how long an answer may take, or a connection; then the connection is cut, and all that wait on it fail.
 *   Default 2 seconds.
 * - `username` (`USERNAME`) and `password` (`PASSWORD`): where the servers ask for them. Default none.
 * - `tls` (`TLS`): whether connections are encrypted. Default false.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options extends Bounds.Bounds {
  readonly addresses?: string | ReadonlyArray<string> | undefined
  readonly timeout?: Duration.Input | undefined
  readonly username?: string | undefined
  readonly password?: string | Redacted.Redacted<string> | undefined
  readonly tls?: boolean | undefined
}

interface Resolved extends Bounds.Resolved {
  readonly addresses: ReadonlyArray<string>
  readonly timeout: Duration.Duration
  readonly username: string | undefined
  readonly password: Redacted.Redacted<string> | undefined
  readonly tls: boolean
}

const settings = Settings.make<Options>()<Resolved>({
  addresses: Setting.addresses("ADDRS", "where the servers listen", 11_211),
  timeout: Setting.duration("TIMEOUT_RW", { about: "how long an answer may take", default: "2 seconds" }),
  username: Setting.optional(
    Setting.text("USERNAME", { about: "who asks, where the servers want to know", default: "" })
  ),
  password: Setting.secret("PASSWORD", "the password of that user"),
  tls: Setting.boolean("TLS", { about: "whether connections are encrypted", default: false }),
  ...Bounds.table()
})

const check = (versions: ReadonlyMap<string, string>): void => {
  for (const [address, version] of versions) {
    if (!version.startsWith("VERSION ")) throw new Error(`${address} is no Memcached, it says "${version}"`)
  }
}

const open = ({ addresses, password, timeout, tls, username = "" }: Resolved, link: Link): Connection<Client> => {
  const login = password === undefined ? undefined : { username, password }
  const client = new MemcachedClient(addresses, { timeout, tls, login })
  client.on("error", (address: string, error: unknown) => link.lost(`${address}: ${inWords(error)}`))
  client.on("close", (address: string) => link.lost(`${address}: the connection was closed`))
  client.on("connect", link.look)

  return {
    client,
    // The first call connects, and the first is a probe.
    connect: Effect.void,
    // An answer that does not come in time has the connection replaced (node.ts), so nothing has to be renewed here.
    probe: promise(() => client.version().then(check)),
    // Answers come in the order of the commands, so the server has answered them all when it closes the connection. The commands of
    // calls that were made just now are still to be sent.
    close: Effect.andThen(
      Effect.yieldNow,
      promise(() => client.quit())
    ),
    destroy: client.end
  }
}

const memcached = kind(settings, { endpoint: ({ addresses }) => addresses.join(","), open })

/**
 * A Memcached under a tag of its own, for programs that use several.
 *
 * **Example** (Two of them)
 *
 * ```ts
 * // no-run
 * import { Layer } from "effect"
 * import { Memcached } from "effect-ensemble/services/memcached"
 *
 * class Pages extends Memcached.Service<Pages>()("pages") {}
 * class Limits extends Memcached.Service<Limits>()("limits") {}
 *
 * const Both = Layer.mergeAll(
 *   Pages.layerConfig(Memcached.config("PAGES")),
 *   Limits.layer({ addresses: ["localhost:11212", "localhost:11213"] })
 * )
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const Service =
  <Self>() =>
  <const Name extends string>(
    name: Name
  ): ServiceClass<Self, `effect-ensemble/services/memcached/${Name}`, Client, Options> =>
    define<Self, `effect-ensemble/services/memcached/${Name}`, Options, Client>(
      memcached,
      `effect-ensemble/services/memcached/${name}`,
      name
    )

/**
 * The Memcached of a program that has one.
 *
 * @category services
 * @since 0.1.0
 */
export class Memcached extends Service<Memcached>()("memcached") {}

/**
 * The options in variables `<prefix>_<NAME>`, with the defaults filled in.
 *
 * @category config
 * @since 0.1.0
 */
export const config: (prefix: string) => Config.Config<Options> = memcached.config

/**
 * A Memcached that lives as long as the scope.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (
  options: Options = {}
): Effect.Effect<Running<Client>, ServiceUnavailable | ServiceMisconfigured, Scope.Scope> =>
  memcached.make("memcached", options)

/**
 * Starts {@link Memcached} with options.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: (options?: Options) => Layer.Layer<Memcached, ServiceUnavailable | ServiceMisconfigured> =
  Memcached.layer

/**
 * Starts {@link Memcached} with what a configuration holds.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerConfig: (
  config: Config.Wrap<Options>
) => Layer.Layer<Memcached, ServiceUnavailable | ServiceMisconfigured> = Memcached.layerConfig

/**
 * Asks every server of {@link Memcached} for one real answer: for the `health` of its policy.
 *
 * @category probing
 * @since 0.1.0
 */
export const health: Effect.Effect<void, ServiceUnavailable, Memcached> = Memcached.health
