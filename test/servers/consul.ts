import type { Duration, Scope } from "effect"
import { Data, Effect } from "effect"
import { mkdirSync, writeFileSync } from "node:fs"
import * as http from "node:http"
import { join } from "node:path"
import * as Peers from "./peers.ts"
import * as Process from "./process.ts"
import type { ServerError } from "./process.ts"
import type { Distribution, ProvisionError } from "./provision.ts"
import { programsOf } from "./provision.ts"
import { until } from "./until.ts"

export { ServerError } from "./process.ts"

export const distribution: Distribution = {
  name: "consul",
  variable: "ENSEMBLE_CONSUL_BIN",
  running: "ENSEMBLE_CONSUL_ENDPOINTS",
  suite: "bullseye",
  packages: ["consul"],
  program: "usr/bin/consul",
  accepted: /Consul v1\.([89]|[1-9][0-9])\./,
  wanted: "Consul 1.8 or later",
  fromPath: true
}

/** A server did not say what it was asked for, or not in time. */
export class NoAnswer extends Data.TaggedError("NoAnswer")<{ readonly path: string; readonly reason: string }> {
  override get message() {
    return `${this.path}: ${this.reason}`
  }
}

export interface Answer {
  readonly status: number
  readonly index: bigint
  readonly bytes: Buffer
  readonly text: string
}

/** The server as it is, seen without the library under test and without its client. */
export type Ask = (
  method: "GET" | "PUT" | "DELETE",
  path: string,
  body?: string | Buffer
) => Effect.Effect<Answer, NoAnswer>

const answerWithin: Duration.Input = "8 seconds"

export const ask =
  (url: string, token?: string): Ask =>
  (method, path, body) =>
    Effect.callback<Answer, NoAnswer>((resume) => {
      const fail = (error: Error) => resume(Effect.fail(new NoAnswer({ path, reason: error.message })))
      // A connection for each request: none is left when a test ends, and none is half dead after a fault.
      const outgoing = http.request(`${url}/v1${path}`, {
        method,
        agent: false,
        headers: {
          ...(body === undefined ? {} : { "content-length": Buffer.byteLength(body) }),
          ...(token === undefined ? {} : { "x-consul-token": token })
        }
      })
      outgoing.once("error", fail)
      outgoing.once("response", (incoming) => {
        const chunks: Array<Buffer> = []
        incoming.on("data", (chunk: Buffer) => chunks.push(chunk))
        incoming.once("error", fail)
        incoming.once("end", () => {
          const bytes = Buffer.concat(chunks)
          const index = BigInt(String(incoming.headers["x-consul-index"] ?? "0"))
          resume(Effect.succeed({ status: incoming.statusCode ?? 0, index, bytes, text: bytes.toString("utf8") }))
        })
      })
      outgoing.end(body)
      return Effect.sync(() => outgoing.destroy())
    }).pipe(
      Effect.timeoutOrElse({
        duration: answerWithin,
        orElse: () => Effect.fail(new NoAnswer({ path, reason: "no answer in time" }))
      })
    )

/** The same, refused unless it is answered with success. */
export const demand =
  (asked: Ask): Ask =>
  (method, path, body) =>
    Effect.filterOrFail(
      asked(method, path, body),
      ({ status }) => status < 300,
      ({ status, text }) => new NoAnswer({ path, reason: `status ${status}: ${text.trim()}` })
    )

export interface Options {
  /** The lowest TTL that sessions may have. Default 1 s; Consul's own is 10 s. */
  readonly sessionTtlMin?: string
  /** Switches ACLs on, denying by default, with this token for everything. */
  readonly masterToken?: string
  /** Further settings. */
  readonly settings?: Readonly<Record<string, unknown>>
}

export interface Member extends Process.Process {
  readonly host: string
  readonly port: number
  readonly url: string
  readonly ask: Ask
}

export interface Consul {
  readonly members: readonly [Member, ...ReadonlyArray<Member>]
  /** The member that leads a majority, once there is one. */
  readonly leader: Effect.Effect<Member, NoAnswer>
  readonly ask: Ask
  /** The whole state, to be put back with `restore`, which needs no restart. */
  readonly backup: Effect.Effect<Buffer, NoAnswer>
  readonly restore: (backup: Buffer) => Effect.Effect<void, NoAnswer>
}

export interface Cluster extends Consul {
  /**
   * Silence between a member's server and all others, both ways: no quorum reaches it, nor it any. Its clients still do, and gossip
   * goes on, so that nobody takes it for dead.
   */
  readonly isolate: (member: Member) => Effect.Effect<void>
  readonly heal: Effect.Effect<void>
}

const host = "127.0.0.1"
const portsPerMember = 4

/**
 * Servers name one address for the others, at which their gossip and their own port are looked for. So each is advertised at an
 * address of its own, where it listens for gossip and we for what servers say to each other, at the port at which it listens elsewhere.
 */
const advertisedOf = (member: number): string => `127.0.1.${member + 1}`

const electedWithin: Duration.Input = "30 seconds"

const launch = Effect.fnUntraced(function* (
  size: number,
  options: Options,
  program: string,
  ports: ReadonlyArray<number>
) {
  const members: Array<Member> = []
  const placeOf = (member: number) => ports.slice(member * portsPerMember, (member + 1) * portsPerMember)
  // One alone has nobody to talk to.
  const advertised = size === 1 ? () => host : advertisedOf
  const indexes = Array.from({ length: size }, (_, member) => member)
  const gossip = indexes.map((member) => `${advertised(member)}:${placeOf(member)[1]}`)
  const peers = yield* Peers.make(
    size === 1 ? [] : indexes.map((member) => placeOf(member)[3] ?? 0),
    (member) => members[member]?.pid() ?? 0,
    advertised
  )
  const { masterToken, sessionTtlMin = "1s", settings } = options
  for (const member of indexes) {
    const [port = 0, lan, wan, rpc] = placeOf(member)
    const url = `http://${host}:${port}`
    const asked = ask(url, masterToken)
    const process = yield* Process.make({
      name: `consul-${member + 1}`,
      ports: [port],
      command: (folder) => {
        mkdirSync(join(folder, "data"), { recursive: true })
        const file = join(folder, "consul.json")
        const configuration = {
          node_name: `node-${member + 1}`,
          datacenter: "dc1",
          server: true,
          bootstrap_expect: size,
          data_dir: join(folder, "data"),
          bind_addr: host,
          client_addr: host,
          advertise_addr: advertised(member),
          serf_lan: advertised(member),
          serf_wan: advertised(member),
          retry_join: size > 1 ? gossip : [],
          retry_interval: "1s",
          ports: { http: port, dns: -1, grpc: -1, https: -1, serf_lan: lan, serf_wan: wan, server: rpc },
          performance: { raft_multiplier: 1 },
          // Every watch of every process of a test comes from one address.
          limits: { http_max_conns_per_client: 4096 },
          log_level: "WARN",
          disable_update_check: true,
          leave_on_terminate: false,
          session_ttl_min: sessionTtlMin,
          ...(masterToken === undefined
            ? {}
            : { acl: { enabled: true, default_policy: "deny", tokens: { master: masterToken, agent: masterToken } } }),
          ...settings
        }
        writeFileSync(file, JSON.stringify(configuration))
        return { program: join(program, "consul"), args: ["agent", `-config-file=${file}`] }
      },
      ready: Effect.filterOrFail(
        demand(asked)("GET", "/catalog/nodes?consistent"),
        ({ text }) => (JSON.parse(text) as ReadonlyArray<unknown>).length >= size,
        ({ text }) => new NoAnswer({ path: "/catalog/nodes", reason: text })
      )
    })
    members.push({ ...process, host, port, url, ask: asked })
  }
  yield* Effect.forEach(members, (member) => member.start, { concurrency: "unbounded", discard: true })
  return { members, peers }
})

const make = Effect.fnUntraced(function* (size: number, options: Options) {
  const program = yield* programsOf(distribution)
  const { members, peers } = yield* Process.onFreePorts(portsPerMember * size, (ports) =>
    launch(size, options, program, ports)
  )
  const [first, ...others] = members
  if (first === undefined) return yield* Effect.die(new Error("a cluster has at least one member"))

  const leads = Effect.fnUntraced(function* (member: Member) {
    const { text } = yield* demand(member.ask)("GET", "/agent/self")
    const stats = (JSON.parse(text) as { readonly Stats?: { readonly consul?: { readonly leader?: string } } }).Stats
    return stats?.consul?.leader === "true"
  })
  const consul: Cluster = {
    members: [first, ...others],
    leader: until(
      Effect.gen(function* () {
        for (const member of members) {
          if (member.isRunning() && (yield* Effect.orElseSucceed(leads(member), () => false))) return member
        }
        return yield* new NoAnswer({ path: "/agent/self", reason: "no member leads" })
      }),
      { within: electedWithin }
    ),
    ask: first.ask,
    backup: Effect.map(demand(first.ask)("GET", "/snapshot"), ({ bytes }) => bytes),
    restore: (backup) => Effect.asVoid(demand(first.ask)("PUT", "/snapshot", backup)),
    isolate: (member) => Effect.sync(() => peers.linksOf(members.indexOf(member)).forEach((link) => link.blackhole())),
    heal: Effect.sync(() => peers.links.forEach((link) => link.heal()))
  }
  return consul
})

type StartError = ServerError | ProvisionError

/** A private server. */
export const single = (options: Options = {}): Effect.Effect<Consul, StartError, Scope.Scope> => make(1, options)

/** A private cluster, whose servers talk to each other through a network of the test's. */
export const cluster = (size: number, options: Options = {}): Effect.Effect<Cluster, StartError, Scope.Scope> =>
  make(size, options)
