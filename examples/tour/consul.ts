/** Consul, for the tour. */
import { Effect, Schema } from "effect"
import { Consul } from "effect-ensemble/consul"
import * as Servers from "../../test/servers/consul.ts"
import { Nodes } from "./definitions.ts"
import type { Store } from "./processes.ts"

const Agent = Schema.Struct({ Config: Schema.Struct({ Version: Schema.String }) })

const Pairs = Schema.Array(Schema.Struct({ Key: Schema.String }))

const Listed = Schema.Array(
  Schema.Struct({
    Service: Schema.Struct({ Meta: Schema.Record(Schema.String, Schema.String) }),
    Checks: Schema.Array(Schema.Struct({ Status: Schema.String }))
  })
)

const asked = (url: string, path: string) =>
  Effect.mapError(Servers.ask(url)("GET", path), ({ reason }) => ({ message: `${url}: ${reason}` }))

/** One server after the other is asked, until one answers. */
const ask = Effect.fnUntraced(function* <A>(
  endpoints: ReadonlyArray<string>,
  path: string,
  schema: Schema.Codec<A, unknown>
) {
  const { status, text } = yield* endpoints
    .map((url) => asked(url, path))
    .reduce((first, next) => Effect.catch(first, () => next))
  // Where there is no key there is no list.
  return yield* Schema.decodeUnknownEffect(Schema.fromJsonString(schema))(status === 404 ? "[]" : text).pipe(
    Effect.mapError(() => ({ message: `${endpoints.join(", ")}: no Consul answers there` }))
  )
})

export const consul: Store = {
  name: "consul",
  ttl: 4,
  // Its own floor, which the tour's server is told to go below.
  ttlGiven: 10,
  scheme: "http://",
  port: 8500,
  prefix: (name) => name,
  coordinator: ({ endpoints, node, prefix, ttlMillis }) =>
    Consul.layer({ endpoints, prefix, node, ttl: ttlMillis, minimumTtl: "1 second" }),
  serve: Effect.map(Servers.single(), ({ members }) => members[0].url),
  version: (endpoints) => Effect.map(ask(endpoints, "/agent/self", Agent), ({ Config }) => Config.Version),
  remains: Effect.fnUntraced(function* (endpoints, prefix) {
    const pairs = yield* ask(endpoints, `/kv/${prefix}/?recurse&consistent`, Pairs)
    const services = yield* ask(endpoints, `/health/service/${Nodes.name}?consistent`, Listed)
    const named = (critical: boolean) =>
      services
        .filter(({ Checks }) => Checks.some(({ Status }) => Status === "critical") === critical)
        .map(({ Service }) => Service.Meta["ensemble-id"] ?? "")
    return {
      remains: [...pairs.map(({ Key }) => Key.slice(prefix.length + 1)), ...named(false)],
      dying: named(true)
    }
  })
}
