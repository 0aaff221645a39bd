/** Where the servers are, checked before anything is opened. */
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import type { IOptions } from "etcd3"
import { CoordinatorError, InvalidOptions } from "../../CoordinatorError.ts"

const standard = "http://127.0.0.1:2379"

/** etcd's registered port for clients. */
const standardPort = 2379

/** How the servers are named in the settings; `Etcd.Options` says what each means. */
export interface Addresses {
  readonly endpoints?: string | ReadonlyArray<string> | undefined
  readonly tls?:
    | {
        readonly ca?: string | undefined
        readonly certificate?: string | undefined
        readonly key?: Redacted.Redacted | undefined
      }
    | undefined
}

export interface Endpoints {
  /** As they are named in errors. */
  readonly label: string
  readonly secure: boolean
  readonly client: Pick<IOptions, "hosts" | "credentials">
}

export interface Problem {
  readonly label: string
  readonly problem: string
}

const shape = /^(?:(https?):\/\/)?(\[[0-9a-fA-F:.]+\]|[^/:@?#\s]+)(?::(\d{1,5}))?\/?$/

/** Reads the settings, or says which of them cannot be. */
export const parse = ({ endpoints, tls }: Addresses): Endpoints | Problem => {
  const given = typeof endpoints === "string" ? [endpoints] : (endpoints ?? [standard])
  const label = given.join(",")
  const refuse = (problem: string): Problem => ({ label, problem })
  if (given.length === 0) return refuse(`No endpoint is given. Name at least one, such as ${standard}`)
  const hosts: Array<string> = []
  const schemes = new Set<string>()
  for (const endpoint of given) {
    const [, scheme = "http", host, port = standardPort] = shape.exec(endpoint) ?? []
    if (host === undefined || Number(port) > 65_535) {
      return refuse(`"${endpoint}" is not an endpoint. Write it like ${standard}`)
    }
    schemes.add(scheme)
    hosts.push(`${scheme}://${host}:${port}`)
  }
  if (schemes.size > 1) return refuse("Some endpoints are http and some are https. Use one of the two for all")
  const secure = schemes.has("https")
  if (tls === undefined) return { label, secure, client: { hosts } }
  if (!secure) return refuse("`tls` is given, but the endpoints are http. Write them with https")
  if ((tls.certificate === undefined) !== (tls.key === undefined)) {
    return refuse("`tls` has only one of certificate and key. Give both, or neither")
  }
  const credentials = {
    // The declarations ask for an authority, which the client does without: then the system's own are used.
    rootCertificate: (tls.ca === undefined ? undefined : Buffer.from(tls.ca)) as Buffer,
    ...(tls.key === undefined ? {} : { privateKey: Buffer.from(Redacted.value(tls.key)) }),
    ...(tls.certificate === undefined ? {} : { certChain: Buffer.from(tls.certificate) })
  }
  return { label, secure, client: { hosts, credentials } }
}

/** What is wrong with a key prefix, if anything is. */
export const prefixProblem = (prefix: string): string | undefined =>
  prefix === "" || prefix.endsWith("/") || prefix.includes("//")
    ? `The prefix "${prefix}" is empty, ends with a slash or has an empty part. Write it like /ensemble`
    : undefined

export const refused = (endpoint: string, detail: string): Effect.Effect<never, CoordinatorError> =>
  Effect.fail(
    new CoordinatorError({ engine: "etcd", operation: "Etcd.layer", endpoint, reason: new InvalidOptions({ detail }) })
  )
