/** What the settings of the engine mean, checked before anything is opened. */
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
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

export interface Settings extends Ensemble.Ensemble {
  /** As the servers are named in errors. */
  readonly label: string
  /** With the chroot in front. */
  readonly prefix: string
  readonly layout: Layout
  readonly acl: ReadonlyArray<Acl>
  readonly credentials: ReadonlyArray<Credentials>
  readonly transport: Transport
}

const standardEndpoint = "127.0.0.1:2181"
const standardPrefix = "/ensemble"

export const refused = (endpoint: string, detail: string): CoordinatorError =>
  new CoordinatorError({ engine, operation: "ZooKeeper.layer", endpoint, reason: new InvalidOptions({ detail }) })

const prefixProblem = (prefix: string, layout: Layout): string | undefined => {
  // reception's own prefix is empty unless it was told otherwise.
  if (prefix === "" && layout === "reception") return undefined
  if (/^(?:\/[^/]+)+$/.test(prefix) && !/\/\.{1,2}(?:\/|$)/.test(prefix) && !/^\/zookeeper(?:\/|$)/.test(prefix)) {
    return undefined
  }
  return `The prefix "${prefix}" is not a path that can be written below. Write it like ${standardPrefix}`
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

export const read = (given: Given): Effect.Effect<Settings, CoordinatorError> =>
  Effect.gen(function* () {
    const { credentials, layout = "ensemble", prefix = standardPrefix } = given
    const servers = given.endpoints ?? standardEndpoint
    const label = typeof servers === "string" ? servers : servers.join(",")
    const ensemble = Ensemble.parse(label)
    if (ensemble._tag === "Failure") return yield* refused(label, ensemble.failure)
    const acl = aclOf(given)
    const problem =
      prefixProblem(prefix, layout) ??
      tlsProblem(given) ??
      (acl === creatorAcl && credentials === undefined
        ? '`acl` is "creator", but there are no `credentials` of a creator. Give them, or use "open"'
        : undefined)
    if (problem !== undefined) return yield* refused(label, problem)
    return {
      ...ensemble.success,
      label,
      prefix: `${ensemble.success.chroot}${prefix}`,
      layout,
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
    }
  })
