/** Where the agents are, checked before anything is opened. */
import * as Effect from "effect/Effect"
import type * as Redacted from "effect/Redacted"
import { CoordinatorError, InvalidOptions } from "../../CoordinatorError.ts"

const standard = "http://127.0.0.1:8500"

const standardPort = 8500

/** How the agents are named in the settings; `Consul.Options` says what each means. */
export interface Addresses {
  readonly endpoints?: string | ReadonlyArray<string> | undefined
  readonly token?: Redacted.Redacted | undefined
  readonly tls?:
    | {
        readonly ca?: string | undefined
        readonly certificate?: string | undefined
        readonly key?: Redacted.Redacted | undefined
      }
    | undefined
}

export interface Endpoints extends Pick<Addresses, "token" | "tls"> {
  /** As they are named in errors. */
  readonly label: string
  readonly urls: readonly [string, ...ReadonlyArray<string>]
}

export interface Problem {
  readonly label: string
  readonly problem: string
}

const shape = /^(?:(https?):\/\/)?(\[[0-9a-fA-F:.]+\]|[^/:@?#\s]+)(?::(\d{1,5}))?\/?$/

/** Reads the settings, or says which of them cannot be. */
export const parse = ({ endpoints, tls, token }: Addresses): Endpoints | Problem => {
  const given = typeof endpoints === "string" ? [endpoints] : (endpoints ?? [standard])
  const label = given.join(",")
  const refuse = (problem: string): Problem => ({ label, problem })
  const urls: Array<string> = []
  for (const endpoint of given) {
    const [, scheme = "http", host, port = standardPort] = shape.exec(endpoint) ?? []
    if (host === undefined || Number(port) > 65_535) {
      return refuse(`"${endpoint}" is not an endpoint. Write it like ${standard}`)
    }
    urls.push(`${scheme}://${host}:${port}`)
  }
  const [first, ...others] = urls
  if (first === undefined) return refuse(`No endpoint is given. Name at least one, such as ${standard}`)
  if (tls !== undefined) {
    if (!urls.some((url) => url.startsWith("https:"))) {
      return refuse("`tls` is given, but the endpoints are http. Write them with https")
    }
    if ((tls.certificate === undefined) !== (tls.key === undefined)) {
      return refuse("`tls` has only one of certificate and key. Give both, or neither")
    }
  }
  return { label, urls: [first, ...others], token, tls }
}

/** What is wrong with a key prefix, if anything is. Consul's keys begin with no slash, and `//` is no key that its UI can show. */
export const prefixProblem = (prefix: string): string | undefined =>
  prefix === "" || /^\/|\/$|\/\//.test(prefix)
    ? `The prefix "${prefix}" is empty, begins or ends with a slash, or has an empty part. Write it like ensemble`
    : undefined

export const refused = (endpoint: string, detail: string): Effect.Effect<never, CoordinatorError> =>
  Effect.fail(
    new CoordinatorError({
      engine: "consul",
      operation: "Consul.layer",
      endpoint,
      reason: new InvalidOptions({ detail })
    })
  )
