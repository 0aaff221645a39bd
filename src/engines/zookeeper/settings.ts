/** What the settings of the engine mean, checked before anything is opened. */
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import { CoordinatorError, InvalidOptions } from "../../CoordinatorError.ts"
import type { Credentials } from "./client.ts"
import * as Ensemble from "./endpoints.ts"
import { engine } from "./failure.ts"
import type { Layout } from "./nodes.ts"
import type { Acl } from "./protocol.ts"
import { creatorAcl, openAcl } from "./protocol.ts"
import type { Transport } from "./transport.ts"
import { tcp, tls } from "./transport.ts"
import * as Utf8 from "./utf8.ts"

/** How the servers and the nodes are named in the settings; `ZooKeeper.Options` says what each means. */
export interface Given {
  readonly endpoints?: string | ReadonlyArray<string> | undefined
  readonly prefix?: string | undefined
  readonly layout?: Layout | undefined
  readonly curatorBasePath?: string | undefined
  readonly credentials?: { readonly username: string; readonly password: Redacted.Redacted } | undefined
  readonly acl?: "open" | "creator" | ReadonlyArray<Acl> | undefined
  readonly tls?:
    | {
        readonly ca?: string | undefined
        readonly certificate?: string | undefined
        readonly key?: Redacted.Redacted | undefined
      }
    | undefined
}

/** Everything but the servers: those may change. */
export interface Settings {
  readonly chroot: string
  /** As the servers are named in errors. */
  readonly label: string
  /** With the chroot in front, as `curatorBasePath` has. */
  readonly prefix: string
  readonly layout: Layout
  readonly curatorBasePath: string | undefined
  readonly acl: ReadonlyArray<Acl>
  readonly credentials: ReadonlyArray<Credentials>
  readonly transport: Transport
}

const standardEndpoint = "127.0.0.1:2181"
const standardPrefix = "/ensemble"

const refused = (endpoint: string, detail: string): CoordinatorError =>
  new CoordinatorError({ engine, operation: "ZooKeeper.layer", endpoint, reason: new InvalidOptions({ detail }) })

const pathProblem = (what: string, path: string, example: string): string | undefined =>
  /^(?:\/[^/]+)+$/.test(path) && !/\/\.{1,2}(?:\/|$)/.test(path) && !/^\/zookeeper(?:\/|$)/.test(path)
    ? undefined
    : `The ${what} "${path}" is not a path that can be written below. Write it like ${example}`

const prefixProblem = (prefix: string, layout: Layout): string | undefined =>
  // reception's own prefix is empty unless it was told otherwise.
  prefix === "" && layout === "reception" ? undefined : pathProblem("prefix", prefix, standardPrefix)

const curatorProblem = (path: string | undefined, prefix: string, layout: Layout): string | undefined => {
  if (path === undefined) return undefined
  if (layout === "reception") {
    return '`curatorBasePath` and the layout "reception" both say how services stand. Give one of them'
  }
  // Curator's programs take every node below the base path for a service, and fail at one that is none.
  return `${prefix}/`.startsWith(`${path}/`)
    ? `The prefix "${prefix}" is at or below the \`curatorBasePath\` "${path}", where only services may stand. Keep them apart`
    : pathProblem("`curatorBasePath`", path, "/services")
}

const tlsProblem = ({ tls: given }: Given): string | undefined =>
  given !== undefined && (given.certificate === undefined) !== (given.key === undefined)
    ? "`tls` has only one of certificate and key. Give both, or neither"
    : undefined

const transportOf = ({ tls: given }: Given): Transport =>
  given === undefined ? tcp : tls({ ca: given.ca, cert: given.certificate, key: given.key })

const aclOf = ({ acl, credentials }: Given): ReadonlyArray<Acl> => {
  if (acl === undefined) return credentials === undefined ? openAcl : creatorAcl
  return acl === "open" ? openAcl : acl === "creator" ? creatorAcl : acl
}

/** What is left to know once the servers and the chroot are. Fails with what is wrong. */
export const readFor = (
  at: { readonly label: string; readonly chroot: string },
  given: Omit<Given, "endpoints">
): Result.Result<Settings, string> => {
  const { credentials, curatorBasePath, layout = "ensemble", prefix = standardPrefix } = given
  const acl = aclOf(given)
  const problem =
    prefixProblem(prefix, layout) ??
    curatorProblem(curatorBasePath, prefix, layout) ??
    tlsProblem(given) ??
    (acl === creatorAcl && credentials === undefined
      ? '`acl` is "creator", but there are no `credentials` of a creator. Give them, or use "open"'
      : undefined)
  if (problem !== undefined) return Result.fail(problem)
  return Result.succeed({
    ...at,
    prefix: `${at.chroot}${prefix}`,
    layout,
    curatorBasePath: curatorBasePath === undefined ? undefined : `${at.chroot}${curatorBasePath}`,
    acl,
    transport: transportOf(given),
    credentials:
      credentials === undefined
        ? []
        : [
            {
              scheme: "digest",
              secret: Utf8.encode(`${credentials.username}:${Redacted.value(credentials.password)}`)
            }
          ]
  })
}

export const read = (given: Given): Effect.Effect<Settings & Ensemble.Ensemble, CoordinatorError> => {
  const servers = given.endpoints ?? standardEndpoint
  const label = typeof servers === "string" ? servers : servers.join(",")
  return Result.flatMap(Ensemble.parse(label), ({ chroot, endpoints }) =>
    Result.map(readFor({ label, chroot }, given), (settings) => ({ ...settings, endpoints }))
  ).pipe(
    Result.mapError((detail) => refused(label, detail)),
    Effect.fromResult
  )
}
