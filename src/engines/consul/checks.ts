/** How Consul finds out whether an instance is well, and whether one that is not is shown. */
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"

/** What all checks have. */
interface Common {
  readonly deregisterAfter?: Duration.Input | undefined
}

interface Probing extends Common {
  readonly interval?: Duration.Input | undefined
  readonly timeout?: Duration.Input | undefined
}

export type CheckOptions =
  | ({ readonly _tag: "Ttl" } & Common)
  | ({ readonly _tag: "Http"; readonly url?: string | undefined; readonly path?: string | undefined } & Probing)
  | ({ readonly _tag: "Tcp"; readonly address?: string | undefined } & Probing)

export const Check: Context.Reference<CheckOptions> = Context.Reference<CheckOptions>("effect-ensemble/Consul/Check", {
  defaultValue: () => ({ _tag: "Ttl" })
})

export const IncludeCritical: Context.Reference<boolean> = Context.Reference<boolean>(
  "effect-ensemble/Consul/IncludeCritical",
  { defaultValue: () => false }
)

/** Consul raises anything shorter to this. */
const shortestDeregisterMillis = 60_000

/** Those of the Go library reception, whose instances stand in the same catalog. */
const intervalMillis = 5_000
const timeoutMillis = 10_000

const text = (input: Duration.Input | undefined, otherwise: number): string =>
  `${Math.ceil(input === undefined ? otherwise : Duration.toMillis(Duration.fromInputUnsafe(input)))}ms`

/** The check as Consul takes it. */
export const definitionOf = (
  check: CheckOptions,
  instance: { readonly address: string; readonly port: number },
  ttlMillis: number
): Readonly<Record<string, string>> => {
  const host = instance.address.includes(":") ? `[${instance.address}]` : instance.address
  const common = {
    Name: "effect-ensemble",
    // It is well until the first check says otherwise: whoever registers has just started.
    Status: "passing",
    DeregisterCriticalServiceAfter: text(check.deregisterAfter, shortestDeregisterMillis)
  }
  if (check._tag === "Ttl") return { ...common, TTL: text(undefined, ttlMillis) }
  const probing = { Interval: text(check.interval, intervalMillis), Timeout: text(check.timeout, timeoutMillis) }
  if (check._tag === "Tcp") return { ...common, ...probing, TCP: check.address ?? `${host}:${instance.port}` }
  const url = check.url ?? `http://${host}:${instance.port}${check.path ?? "/health"}`
  return { ...common, ...probing, HTTP: url }
}
