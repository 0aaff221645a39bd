/**
 * NATS, as a service that starts when it has answered, says when it is gone, and stops in time.
 *
 * **When to use**
 *
 * Use {@link layer} or {@link layerConfig} for the one NATS of a program, and classes made of {@link Service} where there are several.
 * The client is `@nats-io/transport-node`, which has to be installed beside this library.
 *
 * **Details**
 *
 * A start connects to one of the addresses, logs in and waits for a round trip; with `jetstream` also for an answer of JetStream. While
 * NATS is away, the client connects again by itself, and subscriptions outlive that. A stop lets requests in flight have their
 * answers and drains: what was published is sent, and subscriptions end. It does so within `closeTimeout`.
 *
 * JetStream's own client is a function of this one, from the package `@nats-io/jetstream`: see the second example.
 *
 * **Gotchas**
 *
 * What is published while NATS is away is lost, and a `publish` says nothing of it: it has arrived when a `flush` after it has succeeded.
 *
 * **Example** (From the environment)
 *
 * ```ts
 * // no-run
 * import { Effect } from "effect"
 * import { Maestro } from "effect-ensemble"
 * import { Nats } from "effect-ensemble/services/nats"
 *
 * // NATS_1_ADDRS, NATS_1_TOKEN, …
 * const Bus = Nats.layerConfig(Nats.config("NATS_1")).pipe(Maestro.service("bus", { health: Nats.health }))
 *
 * const program = Effect.gen(function*() {
 *   const nats = yield* Nats.Nats
 *   return yield* nats.use((client) => client.request("greeting", "hello", { timeout: 500 }))
 * }).pipe(Effect.provide(Bus))
 * ```
 *
 * **Example** (JetStream)
 *
 * ```ts
 * // no-run
 * import { jetstream } from "@nats-io/jetstream"
 * import { Effect } from "effect"
 * import { Nats } from "effect-ensemble/services/nats"
 *
 * const program = Effect.gen(function*() {
 *   const nats = yield* Nats.Nats
 *   const streams = jetstream(nats.client)
 *   yield* nats.use(() => streams.publish("orders.new", "42"))
 * }).pipe(Effect.provide(Nats.layer({ jetstream: true })))
 * ```
 *
 * @since 0.1.0
 */
import type { NatsConnection } from "@nats-io/transport-node"
import { errors } from "@nats-io/transport-node"
import type * as Config from "effect/Config"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as Bounds from "../kit/bounds.ts"
import type { Connection, Running } from "../kit/connection.ts"
import { promise } from "../kit/connection.ts"
import type { ServiceMisconfigured, ServiceUnavailable } from "../kit/errors.ts"
import { inWords } from "../kit/errors.ts"
import type { Link } from "../kit/monitor.ts"
import { isOutOfTime } from "../kit/outOfTime.ts"
import type { ServiceClass } from "../kit/service.ts"
import { define, kind } from "../kit/service.ts"
import * as Setting from "../kit/setting.ts"
import * as Settings from "../kit/settings.ts"
import * as NatsClient from "./client.ts"

/**
 * The connection of the npm package `@nats-io/transport-node`.
 *
 * @category models
 * @since 0.1.0
 */
export type Client = NatsConnection

/**
 * The settings of a NATS service, on top of its bounds.
 *
 * **Details**
 *
 * - `addresses` (`ADDRS`): one or more servers of one cluster as `nats://host:port` or `host:port`, with commas between them in a variable.
 *   Default `nats://localhost:4222`.
 * - `username` (`USERNAME`) and `password` (`PASSWORD`), or `token` (`TOKEN`): how to log in. Default none.
 * - `tls` (`TLS`): whether the connection has to be encrypted. Default false, which encrypts where the server asks for it.
 * - `jetstream` (`JETSTREAM`): whether JetStream has to answer as well. Default false.
 * - `maxReconnect` (`MAX_RECONNECT`): how often each server is tried again while NATS is away, -1 for ever; after that the client is closed,
 *   and only a new start helps. Default -1.
 * - `reconnectWait` (`RECONNECT_WAIT`): how long to wait before the same server is tried again. Default 2 seconds.
 * - `pingInterval` (`PING_INTERVAL`): how often the client itself looks after its connection, besides `probeInterval`. Default 2 minutes.
 * - `maxPingsOut` (`MAX_PINGS_OUT`): after how many of these without an answer it connects again. Default 2.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options extends Bounds.Bounds {
  readonly addresses?: string | ReadonlyArray<string> | undefined
  readonly username?: string | undefined
  readonly password?: string | Redacted.Redacted<string> | undefined
  readonly token?: string | Redacted.Redacted<string> | undefined
  readonly tls?: boolean | undefined
  readonly jetstream?: boolean | undefined
  readonly maxReconnect?: number | undefined
  readonly reconnectWait?: Duration.Input | undefined
  readonly pingInterval?: Duration.Input | undefined
  readonly maxPingsOut?: number | undefined
}

interface Resolved extends Bounds.Resolved {
  readonly addresses: ReadonlyArray<string>
  readonly username: string | undefined
  readonly password: Redacted.Redacted<string> | undefined
  readonly token: Redacted.Redacted<string> | undefined
  readonly tls: boolean
  readonly jetstream: boolean
  readonly maxReconnect: number
  readonly reconnectWait: Duration.Duration
  readonly pingInterval: Duration.Duration
  readonly maxPingsOut: number
}

const scheme = "nats://"
const withoutScheme = (address: string): string => address.trim().replace(new RegExp(`^${scheme}`), "")
const withScheme = (addresses: ReadonlyArray<string>): ReadonlyArray<string> =>
  addresses.map((address) => `${scheme}${address}`)

/** Addresses as NATS writes them. */
const addresses = (variable: string, about: string): Setting.Setting<ReadonlyArray<string>> => {
  const plain = Setting.addresses(variable, about, 4222)
  const check = (given: ReadonlyArray<unknown>): Option.Option<ReadonlyArray<string>> =>
    Option.map(plain.fromOption(given.map((one) => (typeof one === "string" ? withoutScheme(one) : one))), withScheme)
  const fallback = withScheme(plain.fallback)
  return {
    variable,
    about,
    expected: `one or more addresses as ${scheme}host:port, with commas between them, and who logs in apart from them`,
    fallback,
    shown: fallback.join(","),
    // People write passwords into them, which this client does not take, so a wrong one is not shown.
    secret: true,
    fromText: (given) => check(given.split(",")),
    fromOption: (given) =>
      Array.isArray(given) ? check(given) : typeof given === "string" ? check(given.split(",")) : Option.none()
  }
}

const settings = Settings.make<Options>()<Resolved>({
  addresses: addresses("ADDRS", "where the servers of the cluster listen"),
  username: Setting.optional(Setting.text("USERNAME", { about: "who logs in", default: "" })),
  password: Setting.secret("PASSWORD", "the password of that user"),
  token: Setting.secret("TOKEN", "what logs in, instead of a user"),
  tls: Setting.boolean("TLS", { about: "whether the connection has to be encrypted", default: false }),
  jetstream: Setting.boolean("JETSTREAM", { about: "whether JetStream has to answer", default: false }),
  maxReconnect: Setting.integer("MAX_RECONNECT", {
    about: "how often each server is tried again, -1 for ever",
    // What has been tried often enough is closed for good, and a service that is degraded is expected to recover.
    default: -1,
    minimum: -1
  }),
  reconnectWait: Setting.duration("RECONNECT_WAIT", {
    about: "how long to wait before the same server is tried again",
    default: "2 seconds"
  }),
  pingInterval: Setting.duration("PING_INTERVAL", {
    about: "how often the client looks after its connection",
    default: "2 minutes"
  }),
  maxPingsOut: Setting.integer("MAX_PINGS_OUT", {
    about: "after how many of these without an answer it connects again",
    default: 2,
    minimum: 1
  }),
  ...Bounds.table()
})

const connectionOptions = (settings: Resolved): Parameters<typeof NatsClient.make>[0] => {
  const { addresses, connectTimeout, maxPingsOut, maxReconnect, password, pingInterval, reconnectWait } = settings
  const { tls, token, username } = settings
  return {
    servers: [...addresses],
    ...(username === undefined ? {} : { user: username }),
    ...(password === undefined ? {} : { pass: Redacted.value(password) }),
    ...(token === undefined ? {} : { token: Redacted.value(token) }),
    ...(tls ? { tls: {} } : {}),
    // One that does not answer leaves time for the others.
    timeout: Math.ceil(Duration.toMillis(connectTimeout) / addresses.length),
    maxReconnectAttempts: maxReconnect,
    reconnectTimeWait: Duration.toMillis(reconnectWait),
    pingInterval: Duration.toMillis(pingInterval),
    maxPingOut: maxPingsOut,
    // Otherwise two refusals in a row close the client for good, and a server that is restarted with its users still missing has them.
    ignoreAuthErrorAbort: true
  }
}

/** How often a stop looks whether requests still wait: an answer takes longer than that, in most networks. */
const glance = Duration.millis(5)

const open = (settings: Resolved, link: Link): Connection<Client> => {
  const { client, protocol } = NatsClient.make(connectionOptions(settings))
  protocol.onStatus = (status) => {
    if (status.type === "disconnect") link.lost(`${status.server}: the connection was closed`)
    else if (status.type === "reconnect") link.look()
  }
  const roundTrip = promise(() => client.rtt())
  const { jetstream, probeTimeout } = settings
  const nobodyWaits = Effect.repeat(
    Effect.sync(() => protocol.muxSubscriptions.size()),
    { until: (requests) => requests === 0, schedule: Schedule.spaced(glance) }
  )

  return {
    client,
    connect: promise(() => protocol.dialLoop()),
    probe: jetstream ? Effect.andThen(roundTrip, askJetStream(client, probeTimeout)) : roundTrip,
    // Draining takes the answers from requests that wait for them. Nothing is left to be finished when the server is away.
    close: Effect.suspend(() =>
      protocol.connected && !client.isClosed() && !client.isDraining()
        ? Effect.andThen(
            nobodyWaits,
            promise(() => client.drain())
          )
        : Effect.void
    ),
    destroy: promise(() => protocol.end()),
    // The client connects again when a connection breaks. It waits for minutes for one that has fallen silent.
    renew: (cause) => (isOutOfTime(cause) ? promise(() => protocol.replace(new Error(inWords(cause)))) : Effect.void)
  }
}

interface AccountInfo {
  readonly error?: { readonly description: string }
}

/** What JetStream says about the account of the connection; without JetStream, nobody hears the question. */
const askJetStream = (client: Client, within: Duration.Duration): Effect.Effect<void, unknown> =>
  promise(() =>
    client.request("$JS.API.INFO", "", { timeout: Duration.toMillis(within) }).then(
      (answer) => {
        const { error } = answer.json<AccountInfo>()
        if (error !== undefined) throw new Error(`JetStream: ${error.description}`)
      },
      (cause) => {
        const isUnheard = cause instanceof errors.RequestError && cause.isNoResponders()
        throw isUnheard ? new Error("JetStream is not enabled for this account", { cause }) : cause
      }
    )
  )

const nats = kind(settings, { endpoint: ({ addresses }) => addresses.join(","), open })

/**
 * A NATS under a tag of its own, for programs that use several.
 *
 * **Example** (Two of them)
 *
 * ```ts
 * // no-run
 * import { Layer } from "effect"
 * import { Nats } from "effect-ensemble/services/nats"
 *
 * class Orders extends Nats.Service<Orders>()("orders") {}
 * class Telemetry extends Nats.Service<Telemetry>()("telemetry") {}
 *
 * const Both = Layer.mergeAll(
 *   Orders.layerConfig(Nats.config("ORDERS")),
 *   Telemetry.layer({ addresses: ["nats://localhost:4223"] })
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
  ): ServiceClass<Self, `effect-ensemble/services/nats/${Name}`, Client, Options> =>
    define<Self, `effect-ensemble/services/nats/${Name}`, Options, Client>(
      nats,
      `effect-ensemble/services/nats/${name}`,
      name
    )

/**
 * The NATS of a program that has one.
 *
 * @category services
 * @since 0.1.0
 */
export class Nats extends Service<Nats>()("nats") {}

/**
 * The options in variables `<prefix>_<NAME>`, with the defaults filled in.
 *
 * @category config
 * @since 0.1.0
 */
export const config: (prefix: string) => Config.Config<Options> = nats.config

/**
 * A NATS that lives as long as the scope.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (
  options: Options = {}
): Effect.Effect<Running<Client>, ServiceUnavailable | ServiceMisconfigured, Scope.Scope> => nats.make("nats", options)

/**
 * Starts {@link Nats} with options.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: (options?: Options) => Layer.Layer<Nats, ServiceUnavailable | ServiceMisconfigured> = Nats.layer

/**
 * Starts {@link Nats} with what a configuration holds.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerConfig: (
  config: Config.Wrap<Options>
) => Layer.Layer<Nats, ServiceUnavailable | ServiceMisconfigured> = Nats.layerConfig

/**
 * Asks {@link Nats} for one real answer: for the `health` of its policy.
 *
 * @category probing
 * @since 0.1.0
 */
export const health: Effect.Effect<void, ServiceUnavailable, Nats> = Nats.health
