/**
 * Kafka, as a service that starts when its brokers have answered, says when they are gone, and stops in time.
 *
 * **When to use**
 *
 * Use {@link layer} or {@link layerConfig} for the one Kafka of a program, and classes made of {@link Service} where there are several.
 * The client is `@platformatic/kafka`, which has to be installed beside this library.
 *
 * **Details**
 *
 * The client is a record of an `admin`, a `producer`, and a `consumer` where a group and topics are configured. A start logs each of them
 * in, has a broker name the cluster, and the consumer's group its coordinator; the group is joined by what reads from it,
 * {@link consume} or {@link messages} or the consumer itself. While the brokers are away, calls fail after a few tries, and the clients
 * connect again by themselves. A stop lets messages that are being sent finish and leaves the group, within `closeTimeout`.
 *
 * **Gotchas**
 *
 * - Clients go on from `addresses` to the addresses that the brokers themselves advertise.
 * - An idempotent producer has one request at a time on its way to each broker. Send many messages in one call, or through
 *   `producer.asStream()`, which gathers them.
 * - Keys and values are bytes. Topics have to exist: sending does not create them.
 * - A call through `use` that failed for lack of an answer may still be carried out, as with any broker.
 *
 * **Example** (From the environment)
 *
 * ```ts
 * // no-run
 * import { Effect } from "effect"
 * import { Maestro } from "effect-ensemble"
 * import { Kafka } from "effect-ensemble/services/kafka"
 *
 * // KAFKA_1_ADDRS, KAFKA_1_PASSWORD, …
 * const Log = Kafka.layerConfig(Kafka.config("KAFKA_1")).pipe(Maestro.service("log", { health: Kafka.health }))
 *
 * const program = Effect.gen(function*() {
 *   const kafka = yield* Kafka.Kafka
 *   const value = Buffer.from("hello")
 *   return yield* kafka.use(({ producer }) => producer.send({ messages: [{ topic: "greetings", value }] }))
 * }).pipe(Effect.provide(Log))
 * ```
 *
 * @since 0.1.0
 */
import type * as Config from "effect/Config"
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import type * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import * as Bounds from "../kit/bounds.ts"
import type { Running } from "../kit/connection.ts"
import type { ServiceMisconfigured, ServiceUnavailable } from "../kit/errors.ts"
import type { ServiceClass } from "../kit/service.ts"
import { define, kind } from "../kit/service.ts"
import * as Setting from "../kit/setting.ts"
import * as Settings from "../kit/settings.ts"
import type { Client, Resolved } from "./client.ts"
import { open } from "./client.ts"

/** @since 0.1.0 */
export type { Client, Message, Subscription } from "./client.ts"
/** @since 0.1.0 */
export { consume, messages } from "./messages.ts"

/**
 * The settings of a Kafka service, on top of its bounds.
 *
 * **Details**
 *
 * - `addresses` (`ADDRS`): brokers to begin with, as `host:port`, with commas between them in a variable. Default `localhost:9092`.
 * - `clientId` (`CLIENT_ID`): the name that the brokers' logs and quotas know. Default `effect-ensemble`.
 * - `username` (`USERNAME`) and `password` (`PASSWORD`): where the brokers ask for them. Default none.
 * - `mechanism` (`SASL_MECHANISM`): how they are asked for: `PLAIN`, `SCRAM-SHA-256` or `SCRAM-SHA-512`. Default `PLAIN`.
 * - `tls` (`TLS`): whether connections are encrypted. Default false.
 * - `compression` (`PROD_COMPRESSION`): of messages sent: `none`, `gzip`, `snappy`, `lz4` or `zstd`. Default `none`.
 * - `idempotent` (`PROD_IDEMPOTENT`): whether a message that is sent again is written once, and by all replicas that are in sync.
 *   Default true. Otherwise the leader's word is enough, unless a call says more.
 * - `groupId` (`CONS_GROUP_ID`) and `topics` (`CONS_TOPICS`): the consumer's. Without both there is none.
 * - `offsetInitial` (`CONS_OFFSET_INITIAL`): where a group begins that has committed nothing: `earliest` or `latest`. Default `latest`.
 * - `commitInterval` (`CONS_OFFSET_COMMIT_INTERVAL`): how often {@link consume} commits. Default 5 seconds.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options extends Bounds.Bounds {
  readonly addresses?: string | ReadonlyArray<string> | undefined
  readonly clientId?: string | undefined
  readonly username?: string | undefined
  readonly password?: string | Redacted.Redacted<string> | undefined
  readonly mechanism?: "PLAIN" | "SCRAM-SHA-256" | "SCRAM-SHA-512" | undefined
  readonly tls?: boolean | undefined
  readonly compression?: "none" | "gzip" | "snappy" | "lz4" | "zstd" | undefined
  readonly idempotent?: boolean | undefined
  readonly groupId?: string | undefined
  readonly topics?: ReadonlyArray<string> | undefined
  readonly offsetInitial?: "earliest" | "latest" | undefined
  readonly commitInterval?: Duration.Input | undefined
}

const settings = Settings.make<Options>()<Resolved>({
  addresses: Setting.addresses("ADDRS", "brokers to begin with", 9092),
  clientId: Setting.text("CLIENT_ID", { about: "the name that the brokers know", default: "effect-ensemble" }),
  username: Setting.optional(
    Setting.text("USERNAME", { about: "who asks, where the brokers want to know", default: "" })
  ),
  password: Setting.secret("PASSWORD", "the password of that user"),
  mechanism: Setting.oneOf("SASL_MECHANISM", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"], {
    about: "how the brokers ask for the password",
    default: "PLAIN"
  }),
  tls: Setting.boolean("TLS", { about: "whether connections are encrypted", default: false }),
  compression: Setting.oneOf("PROD_COMPRESSION", ["none", "gzip", "snappy", "lz4", "zstd"], {
    about: "how messages that are sent are compressed",
    default: "none"
  }),
  idempotent: Setting.boolean("PROD_IDEMPOTENT", {
    about: "whether a message that is sent again is written once, by all replicas in sync",
    default: true
  }),
  groupId: Setting.optional(Setting.text("CONS_GROUP_ID", { about: "the consumer's group", default: "" })),
  topics: Setting.words("CONS_TOPICS", { about: "the topics that the consumer reads", default: [] }),
  offsetInitial: Setting.oneOf("CONS_OFFSET_INITIAL", ["earliest", "latest"], {
    about: "where a group begins that has committed nothing",
    default: "latest"
  }),
  commitInterval: Setting.duration("CONS_OFFSET_COMMIT_INTERVAL", {
    about: "how often what was processed is committed",
    default: "5 seconds"
  }),
  ...Bounds.table()
})

const kafka = kind(settings, { endpoint: ({ addresses }) => addresses.join(","), open })

/**
 * A Kafka under a tag of its own, for programs that use several.
 *
 * **Example** (Two of them)
 *
 * ```ts
 * // no-run
 * import { Layer } from "effect"
 * import { Kafka } from "effect-ensemble/services/kafka"
 *
 * class Orders extends Kafka.Service<Orders>()("orders") {}
 * class Audit extends Kafka.Service<Audit>()("audit") {}
 *
 * const Both = Layer.mergeAll(
 *   Orders.layerConfig(Kafka.config("ORDERS")),
 *   Audit.layer({ addresses: ["localhost:9093", "localhost:9094"], compression: "zstd" })
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
  ): ServiceClass<Self, `effect-ensemble/services/kafka/${Name}`, Client, Options> =>
    define<Self, `effect-ensemble/services/kafka/${Name}`, Options, Client>(
      kafka,
      `effect-ensemble/services/kafka/${name}`,
      name
    )

/**
 * The Kafka of a program that has one.
 *
 * @category services
 * @since 0.1.0
 */
export class Kafka extends Service<Kafka>()("kafka") {}

/**
 * The options in variables `<prefix>_<NAME>`, with the defaults filled in.
 *
 * @category config
 * @since 0.1.0
 */
export const config: (prefix: string) => Config.Config<Options> = kafka.config

/**
 * A Kafka that lives as long as the scope.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (
  options: Options = {}
): Effect.Effect<Running<Client>, ServiceUnavailable | ServiceMisconfigured, Scope.Scope> =>
  kafka.make("kafka", options)

/**
 * Starts {@link Kafka} with options.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: (options?: Options) => Layer.Layer<Kafka, ServiceUnavailable | ServiceMisconfigured> = Kafka.layer

/**
 * Starts {@link Kafka} with what a configuration holds.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerConfig: (
  config: Config.Wrap<Options>
) => Layer.Layer<Kafka, ServiceUnavailable | ServiceMisconfigured> = Kafka.layerConfig

/**
 * Asks {@link Kafka} for one real answer: for the `health` of its policy.
 *
 * @category probing
 * @since 0.1.0
 */
export const health: Effect.Effect<void, ServiceUnavailable, Kafka> = Kafka.health
