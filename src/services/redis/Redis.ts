/**
 * Redis, as a service that starts when it has answered, says when it is gone, and stops in time.
 *
 * **When to use**
 *
 * Use {@link layer} or {@link layerConfig} for the one Redis of a program, and classes made of {@link Service} where there are several.
 * The client is `redis` (node-redis), which has to be installed beside this library.
 *
 * **Details**
 *
 * A start connects, authenticates, selects the database and waits for a `PONG`. While Redis is away, calls fail at once instead of
 * being queued, and the client connects again by itself. A stop lets commands in flight finish within `closeTimeout`.
 *
 * **Example** (From the environment)
 *
 * ```ts
 * // no-run
 * import { Effect } from "effect"
 * import { Maestro } from "effect-ensemble"
 * import { Redis } from "effect-ensemble/services/redis"
 *
 * // RD_1_URI, RD_1_PASSWORD, …
 * const Cache = Redis.layerConfig(Redis.config("RD_1")).pipe(Maestro.service("cache", { health: Redis.health }))
 *
 * const program = Effect.gen(function*() {
 *   const redis = yield* Redis.Redis
 *   yield* redis.use((client) => client.set("greeting", "hello"))
 *   return yield* redis.use((client, signal) => client.withAbortSignal(signal).get("greeting"))
 * }).pipe(Effect.provide(Cache))
 * ```
 *
 * @since 0.1.0
 */
import type * as Config from "effect/Config"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Persistence from "effect/persistence/Redis"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import { createClient } from "redis"
import * as Bounds from "../kit/bounds.ts"
import type { Connection, Running } from "../kit/connection.ts"
import { promise, sync } from "../kit/connection.ts"
import type { ServiceMisconfigured, ServiceUnavailable } from "../kit/errors.ts"
import { inWords } from "../kit/errors.ts"
import type { Link } from "../kit/monitor.ts"
import { isOutOfTime } from "../kit/outOfTime.ts"
import type { ServiceClass } from "../kit/service.ts"
import { define, kind } from "../kit/service.ts"
import * as Setting from "../kit/setting.ts"
import * as Settings from "../kit/settings.ts"
import * as Bridge from "./persistence.ts"

/**
 * The client of the npm package `redis`.
 *
 * @category models
 * @since 0.1.0
 */
export type Client = ReturnType<typeof createClient>

/**
 * The settings of a Redis service, on top of its bounds.
 *
 * **Details**
 *
 * - `url` (`URI`): `redis://user:password@host:port/database`, or `rediss://` for TLS. Default `redis://localhost:6379`.
 * - `password` (`PASSWORD`): where it is kept apart from the address; it wins over one in there.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options extends Bounds.Bounds {
  readonly url?: string | Redacted.Redacted<string> | undefined
  readonly password?: string | Redacted.Redacted<string> | undefined
}

interface Resolved extends Bounds.Resolved {
  readonly url: Redacted.Redacted<string>
  readonly password: Redacted.Redacted<string> | undefined
}

const settings = Settings.make<Options>()<Resolved>({
  url: Setting.url("URI", {
    about: "where Redis listens, and its database",
    default: "redis://localhost:6379",
    protocols: ["redis", "rediss"]
  }),
  password: Setting.secret("PASSWORD", "the password, where it is not in the address"),
  ...Bounds.table()
})

/** Soon at first, since most outages are restarts, and at most this far apart. */
const longestPause = Duration.seconds(1)
const pauseMillis = (retries: number): number => Math.min(2 ** retries * 50, Duration.toMillis(longestPause))

/** The client takes the password of the address, if there is any name or password in it. */
const withPassword = (url: string, password: string): string => {
  const address = new URL(url)
  address.password = encodeURIComponent(password)
  return address.href
}

const open = ({ connectTimeout, password, url }: Resolved, link: Link): Connection<Client> => {
  // While a connection is made by hand, the first failure is for the caller to try again.
  let reconnects = false
  let isAway = false
  // The client forgets a socket that is being connected when it is destroyed, and leaves it open for ever (redis 6.3.1). Node
  // itself cuts it.
  const life = new AbortController()
  const client: Client = createClient({
    url: password === undefined ? Redacted.value(url) : withPassword(Redacted.value(url), Redacted.value(password)),
    // A command for a server that is away fails now: in a queue it would be carried out at any later moment.
    disableOfflineQueue: true,
    socket: {
      connectTimeout: Duration.toMillis(connectTimeout),
      signal: life.signal,
      reconnectStrategy: (retries, cause) => (reconnects ? pauseMillis(retries) : cause)
    }
  })
  client.on("error", (error) => link.lost(inWords(error)))
  client.on("ready", link.look)

  const ping = promise((signal) => client.withAbortSignal(signal).ping())
  const disconnect = sync(() => client.destroy())
  const connect = Effect.andThen(
    promise(() => client.connect()),
    Effect.sync(() => {
      reconnects = true
    })
  )
  /** A loop of the client's own that sleeps sees that the client is closed, and ends: or there would be two of them. */
  const reconnect = Effect.suspend(() => {
    reconnects = false
    return Effect.andThen(Effect.ignore(disconnect), Effect.andThen(Effect.sleep(longestPause), connect))
  })

  return {
    client,
    connect,
    probe: ping,
    // Replies come in the order of the commands, so this one comes when all before it have theirs. The client's own `close` could
    // not be cut short: after it, `destroy` does nothing, and the socket is left (seen with redis 6.3.1).
    close: ping,
    destroy: Effect.andThen(
      sync(() => life.abort()),
      disconnect
    ),
    // The client connects again when a connection breaks. It waits for ever for one that has fallen silent, established or not.
    renew: (cause) =>
      Effect.suspend(() => {
        const wasAway = isAway
        isAway = !client.isReady
        return isOutOfTime(cause) || !client.isOpen || (wasAway && isAway) ? reconnect : Effect.void
      })
  }
}

const redis = kind(settings, {
  endpoint: ({ url }) => Setting.withoutSecrets(Redacted.value(url)),
  open
})

/**
 * A Redis under a tag of its own, for programs that use several.
 *
 * **Example** (Two of them)
 *
 * ```ts
 * // no-run
 * import { Layer } from "effect"
 * import { Redis } from "effect-ensemble/services/redis"
 *
 * class Sessions extends Redis.Service<Sessions>()("sessions") {}
 * class Jobs extends Redis.Service<Jobs>()("jobs") {}
 *
 * const Both = Layer.mergeAll(
 *   Sessions.layerConfig(Redis.config("SESSIONS")),
 *   Jobs.layer({ url: "redis://localhost:6380" })
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
  ): ServiceClass<Self, `effect-ensemble/services/redis/${Name}`, Client, Options> =>
    define<Self, `effect-ensemble/services/redis/${Name}`, Options, Client>(
      redis,
      `effect-ensemble/services/redis/${name}`,
      name
    )

/**
 * The Redis of a program that has one.
 *
 * @category services
 * @since 0.1.0
 */
export class Redis extends Service<Redis>()("redis") {}

/**
 * The options in variables `<prefix>_<NAME>`, with the defaults filled in.
 *
 * @category config
 * @since 0.1.0
 */
export const config: (prefix: string) => Config.Config<Options> = redis.config

/**
 * A Redis that lives as long as the scope.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (
  options: Options = {}
): Effect.Effect<Running<Client>, ServiceUnavailable | ServiceMisconfigured, Scope.Scope> =>
  redis.make("redis", options)

/**
 * Starts {@link Redis} with options.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: (options?: Options) => Layer.Layer<Redis, ServiceUnavailable | ServiceMisconfigured> = Redis.layer

/**
 * Starts {@link Redis} with what a configuration holds.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerConfig: (
  config: Config.Wrap<Options>
) => Layer.Layer<Redis, ServiceUnavailable | ServiceMisconfigured> = Redis.layerConfig

/**
 * A Redis that runs, as the service that Effect's own persistence, rate limiters and queues are stored in.
 *
 * **When to use**
 *
 * Use it under `Persistence.layerRedis`, `PersistedQueue.layerStoreRedis` or `RateLimiter.layerStoreRedis`, so that they share the
 * client, the settings and the life of a service, and nothing of theirs outlives it.
 *
 * **Details**
 *
 * - Commands and scripts go over the service's own client, within its `callTimeout`.
 * - `reserve` takes a connection of a pool (by default at most 10, made when needed), for commands that block. One whose command failed
 *   or was interrupted is closed.
 * - `subscribe` has a connection of its own for each channel, which is asked for an answer every 5 seconds. It is made anew
 *   when it is lost, and what was published meanwhile is missed.
 * - All of these connections are cut with the layer.
 *
 * **Example** (Sessions that survive a restart)
 *
 * ```ts
 * // no-run
 * import { Layer } from "effect"
 * import { Redis } from "effect-ensemble/services/redis"
 * import { Persistence } from "effect/persistence"
 *
 * const Stored = Persistence.layerRedis.pipe(
 *   Layer.provide(Redis.layerPersistence(Redis.Redis)),
 *   Layer.provide(Redis.layerConfig(Redis.config("RD_1")))
 * )
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layerPersistence = <Self, Key extends string>(
  service: ServiceClass<Self, Key, Client, Options>,
  pool: Persistence.PoolOptions = {}
): Layer.Layer<Persistence.Redis, never, Self> =>
  Layer.effect(
    Persistence.Redis,
    Effect.flatMap(service, (running) => Bridge.make(running, pool))
  )

/**
 * Asks {@link Redis} for one real answer: for the `health` of its policy.
 *
 * @category probing
 * @since 0.1.0
 */
export const health: Effect.Effect<void, ServiceUnavailable, Redis> = Redis.health
