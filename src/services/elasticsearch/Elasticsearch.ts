/**
 * Elasticsearch, as a service that starts when its cluster is yellow at least, says when it is not, and stops in time.
 *
 * **When to use**
 *
 * Use {@link layer} or {@link layerConfig} for the one cluster of a program, classes made of {@link Service} where there are several, and
 * classes made of {@link serviceOf} where they are of several major versions: a client asks for the API of its own version, which servers
 * know up to their own. The client is `@elastic/elasticsearch`, which has to be installed beside this library.
 *
 * **Details**
 *
 * A start asks a node who it is, and waits for a cluster that is yellow at least: all data there, copies of it perhaps not. A stop lets
 * requests in flight finish within `closeTimeout`.
 *
 * **Gotchas**
 *
 * The client tries another node when one fails, and nothing else: give `use` a Schedule where a request may be sent twice.
 *
 * **Example** (From the environment)
 *
 * ```ts
 * // no-run
 * import { Effect } from "effect"
 * import { Maestro } from "effect-ensemble"
 * import { Elasticsearch } from "effect-ensemble/services/elasticsearch"
 *
 * // ES_1_ADDR, ES_1_API_KEY, …
 * const Index = Elasticsearch.layerConfig(Elasticsearch.config("ES_1")).pipe(
 *   Maestro.service("index", { health: Elasticsearch.health })
 * )
 *
 * const program = Effect.gen(function*() {
 *   const { use } = yield* Elasticsearch.Elasticsearch
 *   yield* use((client) => client.index({ index: "notes", id: "1", document: { text: "hello" } }))
 *   return yield* use((client, signal) => client.get({ index: "notes", id: "1" }, { signal }))
 * }).pipe(Effect.provide(Index))
 * ```
 *
 * @since 0.1.0
 */
import { Client as NativeClient } from "@elastic/elasticsearch"
import type * as Config from "effect/Config"
import * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import * as Bounds from "../kit/bounds.ts"
import type { Connection, Running } from "../kit/connection.ts"
import { promise } from "../kit/connection.ts"
import type { ServiceMisconfigured, ServiceUnavailable } from "../kit/errors.ts"
import type { Kind, ServiceClass } from "../kit/service.ts"
import { define, kind } from "../kit/service.ts"
import * as Setting from "../kit/setting.ts"
import * as Settings from "../kit/settings.ts"
import * as Cluster from "./cluster.ts"

/**
 * The client of the npm package `@elastic/elasticsearch`.
 *
 * @category models
 * @since 0.1.0
 */
export type Client = NativeClient

/**
 * What the client of any major version has: that much is asked of one that is handed in.
 *
 * @category models
 * @since 0.1.0
 */
export type AnyClient = Cluster.AnyClient

/**
 * The settings of an Elasticsearch service, on top of its bounds.
 *
 * **Details**
 *
 * - `nodes` (`ADDR`): `http://user:password@host:port` or `https://…` of one node or more. Default `http://localhost:9200`.
 * - `username`, `password` (`USERNAME`, `PASSWORD`): where they are kept apart from the addresses.
 * - `apiKey` (`API_KEY`): instead of both.
 * - `ca` (`CA`): a PEM text, where the nodes' certificates are signed by a private authority.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options extends Bounds.Bounds {
  readonly nodes?: string | ReadonlyArray<string> | Redacted.Redacted<ReadonlyArray<string>> | undefined
  readonly username?: string | undefined
  readonly password?: string | Redacted.Redacted<string> | undefined
  readonly apiKey?: string | Redacted.Redacted<string> | undefined
  readonly ca?: string | undefined
}

interface Resolved extends Bounds.Resolved {
  readonly nodes: Redacted.Redacted<ReadonlyArray<string>>
  readonly username: string | undefined
  readonly password: Redacted.Redacted<string> | undefined
  readonly apiKey: Redacted.Redacted<string> | undefined
  readonly ca: string | undefined
}

const node = Setting.url("ADDR", {
  about: "where nodes listen",
  default: "http://localhost:9200",
  protocols: ["http", "https"]
})

/** Each of them as one such address, and all of them as one secret. */
const nodes = (given: unknown): Option.Option<Redacted.Redacted<ReadonlyArray<string>>> => {
  const value = Redacted.isRedacted(given) ? Redacted.value(given) : given
  const list: ReadonlyArray<unknown> = Array.isArray(value) ? value : typeof value === "string" ? value.split(",") : []
  const urls = list.map((one) => node.fromOption(typeof one === "string" ? one.trim() : one))
  return urls.length === 0
    ? Option.none()
    : Option.map(Option.all(urls), (all) => Redacted.make(all.map(Redacted.value)))
}

const settings = Settings.make<Options>()<Resolved>({
  nodes: {
    ...node,
    expected: "one or more addresses that begin with http:// or https://, with commas between them",
    fallback: Redacted.make([Redacted.value(node.fallback)]),
    fromText: nodes,
    fromOption: nodes
  },
  username: Setting.optional(
    Setting.text("USERNAME", { about: "the user, where it is not in the address", default: "" })
  ),
  password: Setting.secret("PASSWORD", "the user's password"),
  apiKey: Setting.secret("API_KEY", "an API key, instead of a user"),
  ca: Setting.optional(Setting.text("CA", { about: "the PEM text of a private authority", default: "" })),
  ...Bounds.table()
})

/**
 * What a client is made with: options that clients of version 7 and later take as they are, but for `tls`, which is `ssl` in 7.
 *
 * @category models
 * @since 0.1.0
 */
export interface ClientSettings {
  readonly nodes: Array<string>
  readonly auth?: { readonly apiKey: string } | { readonly username: string; readonly password: string }
  readonly tls?: { readonly ca: string }
  /** Milliseconds. */
  readonly requestTimeout: number
  readonly maxRetries: number
}

const authOf = ({ apiKey, password, username }: Resolved): Pick<ClientSettings, "auth"> => {
  if (apiKey !== undefined) return { auth: { apiKey: Redacted.value(apiKey) } }
  if (username === undefined || password === undefined) return {}
  return { auth: { username, password: Redacted.value(password) } }
}

const clientSettings = (resolved: Resolved): ClientSettings => {
  const urls = [...Redacted.value(resolved.nodes)]
  return {
    nodes: urls,
    ...authOf(resolved),
    ...(resolved.ca === undefined ? {} : { tls: { ca: resolved.ca } }),
    requestTimeout: Duration.toMillis(resolved.callTimeout),
    // Each node once: whether a request may be sent twice to the same one, only its sender knows.
    maxRetries: urls.length - 1
  }
}

const kindOf = <C extends AnyClient>(makeClient: (settings: ClientSettings) => C): Kind<Options, C> =>
  kind(settings, {
    endpoint: (resolved: Resolved) => Redacted.value(resolved.nodes).map(Setting.withoutSecrets).join(","),
    open: (resolved): Connection<C> => {
      const client = makeClient(clientSettings(resolved))
      return {
        client,
        connect: Cluster.version(client),
        probe: Cluster.health(client),
        // Waits for the answers that are due.
        close: promise(() => client.close()),
        destroy: Cluster.cut(client)
      }
    }
  })

const elasticsearch = kindOf((given): Client => new NativeClient(given))

/**
 * A cluster of another major version, under a tag of its own, through a client that you make.
 *
 * **Example** (Version 8 beside the current one)
 *
 * ```ts
 * // no-run
 * import { Client } from "@elastic/elasticsearch" // an alias of version 8 in your package.json, "@elastic/elasticsearch-8"
 * import { Elasticsearch } from "effect-ensemble/services/elasticsearch"
 *
 * class Archive extends Elasticsearch.serviceOf<Archive>()("archive", (settings) => new Client(settings)) {}
 *
 * const ArchiveLive = Archive.layerConfig(Elasticsearch.config("ES_8"))
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const serviceOf =
  <Self>() =>
  <const Name extends string, C extends AnyClient>(
    name: Name,
    makeClient: (settings: ClientSettings) => C
  ): ServiceClass<Self, `effect-ensemble/services/elasticsearch/${Name}`, C, Options> =>
    define<Self, `effect-ensemble/services/elasticsearch/${Name}`, Options, C>(
      kindOf(makeClient),
      `effect-ensemble/services/elasticsearch/${name}`,
      name
    )

/**
 * An Elasticsearch under a tag of its own, for programs that use several.
 *
 * **Example** (Two of them)
 *
 * ```ts
 * // no-run
 * import { Layer } from "effect"
 * import { Elasticsearch } from "effect-ensemble/services/elasticsearch"
 *
 * class Notes extends Elasticsearch.Service<Notes>()("notes") {}
 * class Logs extends Elasticsearch.Service<Logs>()("logs") {}
 *
 * const Both = Layer.mergeAll(
 *   Notes.layerConfig(Elasticsearch.config("NOTES")),
 *   Logs.layer({ nodes: ["http://localhost:9201"] })
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
  ): ServiceClass<Self, `effect-ensemble/services/elasticsearch/${Name}`, Client, Options> =>
    define<Self, `effect-ensemble/services/elasticsearch/${Name}`, Options, Client>(
      elasticsearch,
      `effect-ensemble/services/elasticsearch/${name}`,
      name
    )

/**
 * The Elasticsearch of a program that has one.
 *
 * @category services
 * @since 0.1.0
 */
export class Elasticsearch extends Service<Elasticsearch>()("elasticsearch") {}

/**
 * The options in variables `<prefix>_<NAME>`, with the defaults filled in.
 *
 * @category config
 * @since 0.1.0
 */
export const config: (prefix: string) => Config.Config<Options> = elasticsearch.config

/**
 * An Elasticsearch that lives as long as the scope.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (
  options: Options = {}
): Effect.Effect<Running<Client>, ServiceUnavailable | ServiceMisconfigured, Scope.Scope> =>
  elasticsearch.make("elasticsearch", options)

/**
 * Starts {@link Elasticsearch} with options.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: (options?: Options) => Layer.Layer<Elasticsearch, ServiceUnavailable | ServiceMisconfigured> =
  Elasticsearch.layer

/**
 * Starts {@link Elasticsearch} with what a configuration holds.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerConfig: (
  config: Config.Wrap<Options>
) => Layer.Layer<Elasticsearch, ServiceUnavailable | ServiceMisconfigured> = Elasticsearch.layerConfig

/**
 * Asks {@link Elasticsearch} for one real answer: for the `health` of its policy.
 *
 * @category probing
 * @since 0.1.0
 */
export const health: Effect.Effect<void, ServiceUnavailable, Elasticsearch> = Elasticsearch.health
