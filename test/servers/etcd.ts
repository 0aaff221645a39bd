import type { Scope } from "effect"
import { Config, Data, Duration, Effect, Option } from "effect"
import { existsSync, rmSync } from "node:fs"
import { join } from "node:path"
import type { Credentials, Gateway, GatewayError } from "./etcdGateway.ts"
import * as EtcdGateway from "./etcdGateway.ts"
import * as Peers from "./peers.ts"
import * as Process from "./process.ts"
import type { ServerError } from "./process.ts"
import type { Distribution, ProvisionError } from "./provision.ts"
import { programsOf } from "./provision.ts"
import type { RunError } from "./run.ts"
import { run } from "./run.ts"
import * as Tls from "./tls.ts"
import { until } from "./until.ts"

export type { Credentials, Gateway, GatewayError, KeyValue, Status } from "./etcdGateway.ts"
export { make as gateway } from "./etcdGateway.ts"
export { ServerError } from "./process.ts"

/** No member became the leader in time. */
export class NoLeader extends Data.TaggedError("NoLeader") {
  override readonly message = "no member became the leader of a majority"
}

export type Version = "current" | "old"

const packages = ["etcd-server", "etcd-client"]
const running = "ENSEMBLE_ETCD_ENDPOINTS"

export const distributions: Readonly<Record<Version, Distribution>> = {
  current: {
    name: "etcd",
    variable: "ENSEMBLE_ETCD_BIN",
    running,
    suite: "trixie",
    packages,
    program: "usr/bin/etcd",
    // From 3.5.13 on, a progress notification never overtakes an event.
    accepted: /3\.5\.(1[3-9]|[2-9][0-9])$|3\.6\.[0-9]+$/,
    wanted: "etcd 3.5.13 or later, with etcdctl and etcdutl beside it",
    fromPath: true
  },
  old: {
    name: "etcd-old",
    variable: "ENSEMBLE_ETCD_OLD_BIN",
    running,
    suite: "bookworm",
    packages,
    program: "usr/bin/etcd",
    accepted: /3\.4\.([12]?[0-9]|30)$/,
    wanted: "etcd 3.4.30 or earlier, with etcdctl beside it",
    fromPath: false
  }
}

export interface Options {
  /** "old" is a server whose progress notifications cannot be trusted. */
  readonly version?: Version
  /** "fast" (default): heartbeats of 20 ms, elections of 200 ms, leases from 1 s. "standard": etcd's own, leases from 2 s. */
  readonly elections?: "fast" | "standard"
  /** Default false. The old version always does. */
  readonly fsync?: boolean
  /** "server": https. "mutual": clients need a certificate too. */
  readonly tls?: "server" | "mutual"
  /** Enables authentication, with this password for the user `root`. */
  readonly rootPassword?: string
  readonly maxRequestBytes?: number
  readonly quotaBytes?: number
  /** Keeps this many revisions, or about this much time. */
  readonly autoCompaction?: { readonly revisions: number } | { readonly period: Duration.Input }
  readonly args?: ReadonlyArray<string>
}

export interface Member extends Process.Process {
  readonly host: string
  readonly port: number
  readonly clientUrl: string
  readonly peerUrl: string
  /** The truth as this member knows it. */
  readonly gateway: Gateway
}

export interface Backup {
  readonly file: string
}

export interface Etcd {
  readonly endpoints: ReadonlyArray<string>
  readonly members: readonly [Member, ...ReadonlyArray<Member>]
  /** What a client needs to be let in; empty when nothing. */
  readonly credentials: Credentials
  /** The truth: the first member that answers. */
  readonly gateway: Gateway
  /** The member that leads a majority, once there is one: a leader that is cut off does not count. */
  readonly leader: Effect.Effect<Member, NoLeader>
  readonly followers: Effect.Effect<ReadonlyArray<Member>, NoLeader>
  readonly backup: Effect.Effect<Backup, RunError>
  /**
   * Kills the members and starts them on the same ports with the data of a backup: the revision goes back, leases as
   * they were. `newCluster` gives the cluster another id too.
   */
  readonly restore: (
    backup: Backup,
    options?: { readonly newCluster?: boolean }
  ) => Effect.Effect<void, ServerError | RunError>
}

export interface Cluster extends Etcd {
  /** Silence between a member and all others, both ways. Its clients still reach it. */
  readonly isolate: (member: Member) => Effect.Effect<void>
  /** Silence on the connections that `from` opens towards `to`. Those of the other direction go on. */
  readonly sever: (from: Member, to: Member) => Effect.Effect<void>
  /** Ends every silence; what was held is delivered late. */
  readonly heal: Effect.Effect<void>
}

const host = "127.0.0.1"

/** The cluster's id is made of this and of the peers' addresses. */
const firstToken = "ensemble"

/** An election after a SIGKILL takes up to two of the standard election timeouts, and proposals wait for it. */
const electedWithin: Duration.Input = "20 seconds"

/** Where a member is, and as what the others know it. */
interface Place {
  readonly name: string
  readonly port: number
  readonly clientUrl: string
  /** Where it listens for the others, who reach it by way of `peerUrl`. */
  readonly peerPort: number
  readonly peerUrl: string
  /** `name=peerUrl` of all members. */
  readonly membership: string
}

const flags = (values: Readonly<Record<string, string | number | boolean | undefined>>): ReadonlyArray<string> =>
  Object.entries(values).flatMap(([name, value]) => (value === undefined ? [] : [`--${name}=${value}`]))

/** What makes a member the member that it is, in a new data folder. */
const identityOf = ({ membership, name, peerUrl }: Place, data: string, token: string) =>
  flags({
    name,
    "data-dir": data,
    "initial-advertise-peer-urls": peerUrl,
    "initial-cluster": membership,
    "initial-cluster-token": token
  })

const compactionOf = ({ autoCompaction }: Options) => {
  if (autoCompaction === undefined) return {}
  return "revisions" in autoCompaction
    ? { "auto-compaction-mode": "revision", "auto-compaction-retention": autoCompaction.revisions }
    : { "auto-compaction-retention": `${Duration.toMillis(autoCompaction.period)}ms` }
}

const argsOf = (options: Options, place: Place, data: string, tls: Tls.Tls | undefined): ReadonlyArray<string> => [
  ...identityOf(place, data, firstToken),
  ...flags({
    logger: "zap",
    "log-level": "warn",
    "listen-client-urls": place.clientUrl,
    "advertise-client-urls": place.clientUrl,
    "listen-peer-urls": `http://${host}:${place.peerPort}`,
    "max-request-bytes": options.maxRequestBytes,
    "quota-backend-bytes": options.quotaBytes,
    ...compactionOf(options),
    ...(options.elections === "standard" ? {} : { "heartbeat-interval": 20, "election-timeout": 200 }),
    // The old version does not know it.
    ...(options.fsync === true || options.version === "old" ? {} : { "unsafe-no-fsync": true }),
    ...(tls === undefined ? {} : { "cert-file": tls.serverCertFile, "key-file": tls.serverKeyFile }),
    ...(options.tls === "mutual" ? { "client-cert-auth": true, "trusted-ca-file": tls?.caFile } : {})
  }),
  ...(options.args ?? [])
]

/** A member that can answer does so much faster. */
const answerWithin: Duration.Input = "1 second"

const enableAuthentication = Effect.fnUntraced(function* (gateway: Gateway, password: string) {
  yield* gateway.call("/v3/auth/user/add", { name: "root", password })
  yield* gateway.call("/v3/auth/role/add", { name: "root" })
  yield* gateway.call("/v3/auth/user/grant", { user: "root", role: "root" })
  yield* gateway.call("/v3/auth/enable", {})
})

const within = <A, E>(effect: Effect.Effect<A, E>) =>
  Effect.mapError(Effect.timeout(effect, answerWithin), () => new NoLeader())

/** Also a leader that is cut off calls itself one; a linearizable read shows that a majority follows. */
const leads = Effect.fnUntraced(function* (member: Member) {
  const { leader, memberId } = yield* within(member.gateway.status)
  if (leader !== memberId) return yield* new NoLeader()
  yield* within(member.gateway.revision)
  return member
})

const leaderOf = (members: ReadonlyArray<Member>): Effect.Effect<Member, NoLeader> =>
  until(
    Effect.suspend(() => {
      const running = members.filter((member) => member.isRunning())
      return running.length === 0 ? Effect.fail(new NoLeader()) : Effect.raceAll(running.map(leads))
    }),
    { within: electedWithin }
  )

type StartError = ServerError | RunError | ProvisionError | GatewayError

/** Members on ports of which the first half is for clients, the second for each other. */
const launch = Effect.fnUntraced(function* (
  options: Options,
  programs: string,
  tls: Tls.Tls | undefined,
  credentials: Credentials,
  ports: ReadonlyArray<number>
) {
  const size = ports.length / 2
  const peerPorts = ports.slice(size)
  const members: Array<Member> = []
  const peers = yield* Peers.make(peerPorts, (index) => members[index]?.pid() ?? 0)
  const membership = peers.urls.map((url, index) => `n${index}=${url}`).join(",")
  const places = peers.urls.map((peerUrl, index): Place => ({
    name: `n${index}`,
    port: ports[index] ?? 0,
    clientUrl: `${tls === undefined ? "http" : "https"}://${host}:${ports[index]}`,
    peerPort: peerPorts[index] ?? 0,
    peerUrl,
    membership
  }))
  for (const place of places) {
    const { clientUrl, name, peerPort, peerUrl, port } = place
    const gateway = EtcdGateway.make([clientUrl], credentials)
    const process = yield* Process.make({
      name: `etcd-${name}`,
      command: (folder) => ({
        program: join(programs, "etcd"),
        args: argsOf(options, place, join(folder, "data"), tls)
      }),
      ports: [port, peerPort],
      ready: Effect.timeout(gateway.health, answerWithin)
    })
    members.push({ ...process, name, host, port, clientUrl, peerUrl, gateway })
  }
  yield* Effect.forEach(members, (member) => member.start, { concurrency: "unbounded", discard: true })
  return { members, peers, places }
})

const make = Effect.fnUntraced(function* (size: number, options: Options) {
  const programs = yield* programsOf(distributions[options.version ?? "current"])
  const folder = yield* Process.temporaryFolder("etcd")
  const tls = options.tls === undefined ? undefined : yield* Tls.make(folder)
  const user = options.rootPassword === undefined ? {} : { username: "root", password: options.rootPassword }
  const certificates = tls === undefined ? {} : Tls.credentialsOf(tls, options.tls === "mutual")
  const credentials: Credentials = { ...certificates, ...user }

  const { members, peers, places } = yield* Process.onFreePorts(2 * size, (ports) =>
    launch(options, programs, tls, credentials, ports)
  )
  const [first, ...others] = members
  if (first === undefined) return yield* Effect.die(new Error("a cluster has at least one member"))
  if (options.rootPassword !== undefined) {
    yield* enableAuthentication(EtcdGateway.make([first.clientUrl], certificates), options.rootPassword)
  }

  const leader = leaderOf(members)
  let backups = 0
  let token = firstToken
  // etcdctl can no longer do this from 3.6 on, and etcdutl could not yet before 3.5.
  const etcdutl = existsSync(join(programs, "etcdutl")) ? join(programs, "etcdutl") : join(programs, "etcdctl")

  const cluster: Cluster = {
    endpoints: members.map(({ clientUrl }) => clientUrl),
    members: [first, ...others],
    credentials,
    gateway: EtcdGateway.make(
      members.map(({ clientUrl }) => clientUrl),
      credentials
    ),
    leader,
    followers: Effect.map(leader, ({ name }) => members.filter((member) => member.name !== name)),
    backup: Effect.gen(function* () {
      const source = members.find((member) => member.isRunning()) ?? first
      const file = join(folder, `backup-${++backups}`)
      const access = {
        endpoints: source.clientUrl,
        cacert: tls?.caFile,
        cert: tls?.clientCertFile,
        key: tls?.clientKeyFile,
        user: options.rootPassword === undefined ? undefined : `root:${options.rootPassword}`
      }
      yield* run(join(programs, "etcdctl"), [...flags(access), "snapshot", "save", file])
      return { file }
    }),
    restore: Effect.fnUntraced(function* (backup, { newCluster = false } = {}) {
      if (newCluster) token = `${firstToken}-${++backups}`
      yield* Effect.forEach(members, (member) => member.kill, { discard: true })
      for (const [index, place] of places.entries()) {
        const data = join(members[index]?.folder ?? "", "data")
        rmSync(data, { recursive: true, force: true })
        yield* run(etcdutl, ["snapshot", "restore", backup.file, ...identityOf(place, data, token)])
      }
      yield* Effect.forEach(members, (member) => member.start, { concurrency: "unbounded", discard: true })
    }),
    isolate: (member) => Effect.sync(() => peers.linksOf(members.indexOf(member)).forEach((link) => link.blackhole())),
    sever: (from, to) => Effect.sync(() => peers.link(members.indexOf(from), members.indexOf(to)).blackhole()),
    heal: Effect.sync(() => peers.links.forEach((link) => link.heal()))
  }
  return cluster
})

/** A private server. */
export const single = (options: Options = {}): Effect.Effect<Etcd, StartError, Scope.Scope> => make(1, options)

/** A private cluster, whose members talk to each other through a network of the test's. */
export const cluster = (size: number, options: Options = {}): Effect.Effect<Cluster, StartError, Scope.Scope> =>
  make(size, options)

/**
 * For tests that only talk to a server: those of `ENSEMBLE_ETCD_ENDPOINTS`, separated by commas, or else a private one.
 * A given server holds others' keys too.
 */
export const given: Effect.Effect<
  Pick<Etcd, "endpoints" | "credentials" | "gateway">,
  StartError,
  Scope.Scope
> = Effect.gen(function* () {
  const endpoints = yield* Config.String(running).pipe(Config.option, Effect.orDie)
  if (Option.isNone(endpoints)) return yield* single()
  const urls = endpoints.value.split(",").map((url) => url.trim())
  const gateway = EtcdGateway.make(urls)
  // A wrong address is told now, by its name, and not by a test that times out.
  yield* gateway.status
  return { endpoints: urls, credentials: {}, gateway }
})
