/**
 * Cassandra, as a service that starts when a node has answered, says when none does, and stops in time.
 *
 * **When to use**
 *
 * Use {@link layer} or {@link layerConfig} for the one cluster of a program, and classes made of {@link Service} where there are several.
 * The client is `cassandra-driver`, which has to be installed beside this library; it also speaks to ScyllaDB.
 *
 * **Details**
 *
 * A start connects to a node, authenticates, learns of the others, selects the keyspace and waits for an answer. While no node can be reached,
 * calls fail at once instead of being queued, and the client connects again by itself. A stop lets requests in flight finish
 * within `closeTimeout`.
 *
 * **Gotchas**
 *
 * - A statement whose node fails is sent to another one only if it says `isIdempotent: true`.
 * - The client cannot abandon a statement: one that is out of time may be carried out all the same.
 * - Nodes are addressed as they announce themselves, at the port of the first address.
 *
 * **Example** (From the environment)
 *
 * ```ts
 * // no-run
 * import { Effect } from "effect"
 * import { Maestro } from "effect-ensemble"
 * import { Cassandra } from "effect-ensemble/services/cassandra"
 *
 * // CQL_1_ADDRS, CQL_1_DATACENTER, CQL_1_KEYSPACE, …
 * const Store = Cassandra.layerConfig(Cassandra.config("CQL_1")).pipe(
 *   Maestro.service("store", { health: Cassandra.health })
 * )
 *
 * const program = Effect.gen(function*() {
 *   const { use } = yield* Cassandra.Cassandra
 *   yield* use((client) => client.execute("INSERT INTO notes (id, text) VALUES (?, ?)", [1, "hello"], { prepare: true }))
 *   const found = yield* use((client) => client.execute("SELECT text FROM notes WHERE id = ?", [1], { prepare: true }))
 *   return found.first().get("text")
 * }).pipe(Effect.provide(Store))
 * ```
 *
 * @since 0.1.0
 */
import { Client as NativeClient } from "cassandra-driver"
import type * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import type * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import * as Bounds from "../kit/bounds.ts"
import type { Connection, Running } from "../kit/connection.ts"
import { promise, sync } from "../kit/connection.ts"
import type { ServiceMisconfigured, ServiceUnavailable } from "../kit/errors.ts"
import type { Link } from "../kit/monitor.ts"
import type { ServiceClass } from "../kit/service.ts"
import { define, kind } from "../kit/service.ts"
import * as Setting from "../kit/setting.ts"
import * as Settings from "../kit/settings.ts"
import { mend } from "./control.ts"
import * as Driver from "./options.ts"
import * as Sockets from "./sockets.ts"

/**
 * The client of the npm package `cassandra-driver`.
 *
 * @category models
 * @since 0.1.0
 */
export type Client = NativeClient

/**
 * How many replicas have to answer a statement.
 *
 * @category models
 * @since 0.1.0
 */
export type Consistency = Driver.Consistency

/**
 * The settings of a Cassandra service, on top of its bounds.
 *
 * **Details**
 *
 * - `addresses` (`ADDRS`): `host:port` of one node or more, from which the others are learnt. Default `localhost:9042`.
 * - `datacenter` (`DATACENTER`): the data center whose nodes are used, and no others. Default `datacenter1`, which is what a
 *   cluster that was not told has.
 * - `keyspace` (`KEYSPACE`): the one that statements are about which name none. It has to exist. Default none.
 * - `consistency` (`CONSISTENCY`): `ONE`, `TWO`, `THREE`, `QUORUM`, `ALL`, `LOCAL_ONE`, `LOCAL_QUORUM` or `EACH_QUORUM`, for
 *   statements that say nothing else. Default `LOCAL_QUORUM`.
 * - `username`, `password` (`USERNAME`, `PASSWORD`): default none.
 * - `connections` (`NB_CONNS`): connections to each node. Default 1, which carries 2,048 requests at once.
 * - `ca` (`CA`): the PEM text of the authority that signs the nodes' certificates. It makes connections TLS. Certificates have
 *   to name the nodes' IP addresses.
 *
 * `connectTimeout` is 30 seconds by default, since a node that has just begun may need that.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options extends Bounds.Bounds {
  readonly addresses?: string | ReadonlyArray<string> | undefined
  readonly datacenter?: string | undefined
  readonly keyspace?: string | undefined
  readonly consistency?: Consistency | undefined
  readonly username?: string | undefined
  readonly password?: string | Redacted.Redacted<string> | undefined
  readonly connections?: number | undefined
  readonly ca?: string | undefined
}

interface Resolved extends Bounds.Resolved {
  readonly addresses: ReadonlyArray<string>
  readonly datacenter: string
  readonly keyspace: string | undefined
  readonly consistency: Consistency
  readonly username: string | undefined
  readonly password: Redacted.Redacted<string> | undefined
  readonly connections: number
  readonly ca: string | undefined
}

const settings = Settings.make<Options>()<Resolved>({
  addresses: Setting.addresses("ADDRS", "where nodes listen", Driver.defaultPort),
  datacenter: Setting.text("DATACENTER", { about: "the data center whose nodes are used", default: "datacenter1" }),
  keyspace: Setting.optional(
    Setting.text("KEYSPACE", { about: "the keyspace of statements that name none", default: "" })
  ),
  consistency: Setting.oneOf("CONSISTENCY", Driver.consistencies, {
    about: "how many replicas have to answer",
    default: "LOCAL_QUORUM"
  }),
  username: Setting.optional(Setting.text("USERNAME", { about: "the user", default: "" })),
  password: Setting.secret("PASSWORD", "the user's password"),
  // All that one thread asks goes over one connection. Eight of them answered a third less.
  connections: Setting.integer("NB_CONNS", { about: "connections to each node", default: 1, minimum: 1, maximum: 64 }),
  ca: Setting.optional(Setting.text("CA", { about: "the PEM text of the nodes' authority, for TLS", default: "" })),
  ...Bounds.table({ connect: "30 seconds" })
})

/** Each node answers it by itself: it is about nothing but the node, and no replicas are asked. */
const question = "SELECT release_version FROM system.local"

/** How often a stop looks whether all has been answered. Not at once, since a call takes a few turns until it is counted. */
const untilAnswered = "10 millis"

const open = (resolved: Resolved, link: Link): Connection<Client> => {
  const sockets = Sockets.make((...event) => void client.emit(...event))
  // The types of the driver do not know all of its options.
  const options = { ...Driver.optionsOf(resolved), logEmitter: sockets.logEmitter }
  const client: Client = new NativeClient(options)
  mend(client)
  const state = () => client.getState()
  client.on("hostDown", () => {
    if (state().getConnectedHosts().length === 0) link.lost("the connections to all nodes are lost")
  })
  client.on("hostUp", link.look)

  const inFlight = sync(() => {
    const now = state()
    return now.getConnectedHosts().reduce((sum, host) => sum + now.getInFlightQueries(host), 0)
  })
  let connected: Promise<unknown> = Promise.resolve()
  const shutdown = (): void => void client.shutdown().catch(() => {})

  return {
    client,
    connect: promise(() => (connected = client.connect())),
    probe: promise(() => client.execute(question, [], { isIdempotent: true })),
    // The driver's own end fails what is in flight.
    close: Effect.repeat(Effect.andThen(Effect.sleep(untilAnswered), inFlight), { until: (count) => count === 0 }),
    destroy: sync(() => {
      sockets.cut()
      // A client that still connects cannot be shut down. Without sockets it soon does so no more.
      connected.then(shutdown, shutdown)
    }),
    // The driver waits for an answer on a silent connection until its bound, and then for the next one.
    renew: () => sync(sockets.unanswered)
  }
}

const cassandra = kind(settings, {
  endpoint: ({ addresses, keyspace }) => `${addresses.join(",")}${keyspace === undefined ? "" : `/${keyspace}`}`,
  open
})

/**
 * A Cassandra under a tag of its own, for programs that use several.
 *
 * **Example** (Two of them)
 *
 * ```ts
 * // no-run
 * import { Layer } from "effect"
 * import { Cassandra } from "effect-ensemble/services/cassandra"
 *
 * class Orders extends Cassandra.Service<Orders>()("orders") {}
 * class Metrics extends Cassandra.Service<Metrics>()("metrics") {}
 *
 * const Both = Layer.mergeAll(
 *   Orders.layerConfig(Cassandra.config("ORDERS")),
 *   Metrics.layer({ addresses: "metrics.internal:9042", keyspace: "metrics", consistency: "LOCAL_ONE" })
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
  ): ServiceClass<Self, `effect-ensemble/services/cassandra/${Name}`, Client, Options> =>
    define<Self, `effect-ensemble/services/cassandra/${Name}`, Options, Client>(
      cassandra,
      `effect-ensemble/services/cassandra/${name}`,
      name
    )

/**
 * The Cassandra of a program that has one.
 *
 * @category services
 * @since 0.1.0
 */
export class Cassandra extends Service<Cassandra>()("cassandra") {}

/**
 * The options in variables `<prefix>_<NAME>`, with the defaults filled in.
 *
 * @category config
 * @since 0.1.0
 */
export const config: (prefix: string) => Config.Config<Options> = cassandra.config

/**
 * A Cassandra that lives as long as the scope.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (
  options: Options = {}
): Effect.Effect<Running<Client>, ServiceUnavailable | ServiceMisconfigured, Scope.Scope> =>
  cassandra.make("cassandra", options)

/**
 * Starts {@link Cassandra} with options.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: (options?: Options) => Layer.Layer<Cassandra, ServiceUnavailable | ServiceMisconfigured> =
  Cassandra.layer

/**
 * Starts {@link Cassandra} with what a configuration holds.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerConfig: (
  config: Config.Wrap<Options>
) => Layer.Layer<Cassandra, ServiceUnavailable | ServiceMisconfigured> = Cassandra.layerConfig

/**
 * Asks {@link Cassandra} for one real answer: for the `health` of its policy.
 *
 * @category probing
 * @since 0.1.0
 */
export const health: Effect.Effect<void, ServiceUnavailable, Cassandra> = Cassandra.health
