import type { Duration, Scope } from "effect"
import { Config, Effect, Option } from "effect"
import { createHash } from "node:crypto"
import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs"
import { join, relative } from "node:path"
import { fileURLToPath } from "node:url"
import { ask, NoAnswer } from "./ask.ts"
import { javaProgram } from "./java.ts"
import * as Maven from "./maven.ts"
import * as Peers from "./peers.ts"
import * as Process from "./process.ts"
import type { ServerError } from "./process.ts"
import type { ProvisionError } from "./provision.ts"
import type { RunError } from "./run.ts"
import { run } from "./run.ts"
import { until } from "./until.ts"

export { NoAnswer } from "./ask.ts"
export { ServerError } from "./process.ts"

/**
 * 3.5 knows no watches but those that tell of one change. 3.8.0 has no kinds of their own for the removal of persistent watches and
 * tells no transaction with an event.
 */
export type Version = "3.5" | DebianVersion

type DebianVersion = "3.8" | "3.9"

interface Distribution {
  readonly variable: string
  readonly suite: string
  readonly accepted: string
}

const distributions: Readonly<Record<DebianVersion, Distribution>> = {
  "3.8": { variable: "ENSEMBLE_ZOOKEEPER_38_JARS", suite: "bookworm", accepted: "^ZooKeeper 3[.]8[.]" },
  "3.9": { variable: "ENSEMBLE_ZOOKEEPER_39_JARS", suite: "trixie", accepted: "^ZooKeeper 3[.]9[.]" }
}

const packages = [
  "libzookeeper-java",
  "libslf4j-java",
  "liblogback-java",
  "libnetty-java",
  "libjctools-java",
  "libdropwizard-metrics-java",
  "libsnappy-java",
  "libsnappy-jni",
  "libcommons-cli-java",
  "libcommons-io-java",
  "libjackson2-annotations-java",
  "libjackson2-core-java",
  "libjackson2-databind-java",
  "libjetty9-java",
  "libservlet-api-java"
]

/** Of two jars of one library the one without a version; bindings of the logging interface other than logback's are left out. */
const unwanted =
  /-\d|log4j-over|jcl-over|jul-to|slf4j-(simple|jdk14|nop|log4j|jcl|android|ext|migrator)|jline|jsp|jstl|alpn|recipes|-it\.jar|zooinspector|build-resources|logback-access/

const file = (name: string): string => fileURLToPath(new URL(`./${name}`, import.meta.url))

/** The folder of the jars, unpacked first where that has not been done yet. */
const jarsOf = Effect.fnUntraced(function* (version: DebianVersion) {
  const { accepted, suite, variable } = distributions[version]
  const given = yield* Config.String(variable).pipe(Config.option, Effect.orDie)
  if (Option.isSome(given)) return given.value
  const root = yield* Config.String("ENSEMBLE_SERVERS").pipe(
    Config.withDefault(file("../../.cache/servers")),
    Effect.orDie
  )
  const recipe = createHash("sha256").update(packages.join(" ")).digest("hex").slice(0, 8)
  const target = join(root, `zookeeper-${version}-${recipe}`)
  if (!existsSync(target)) {
    const program = relative(`${target}.unpacking/root`, file("zookeeperVersion.sh"))
    yield* run("bash", [file("provision.sh"), target, suite, program, accepted, ...packages])
  }
  return join(target, "usr/share/java")
})

/** Of no Debian that is still there. */
const oldest: Maven.Artifacts = { name: "zookeeper-3.5", files: ["zookeeper.pom.xml"] }

/** Its jars, fetched first where that has not been done yet. */
const classpathOf = Effect.fnUntraced(function* (version: Version) {
  if (version === "3.5") return Maven.classpathOf(yield* Maven.folderFor(oldest))
  const folder = yield* jarsOf(version)
  return readdirSync(folder)
    .filter((name) => name.endsWith(".jar") && !unwanted.test(name))
    .map((name) => join(folder, name))
    .join(":")
})

/** Sees to it that servers of all versions can be had, before any test needs one. */
export const provide: Effect.Effect<void, RunError | ProvisionError | Maven.MavenError> = Effect.all(
  [javaProgram, classpathOf("3.5"), classpathOf("3.8"), classpathOf("3.9")],
  { concurrency: "unbounded", discard: true }
)

export interface Options {
  /** Default 3.9. */
  readonly version?: Version
  /** Sessions last between 2 and 20 ticks. Default 500 ms. */
  readonly tickMillis?: number
  /** Default false. */
  readonly fsync?: boolean
  /** Certificates for `secureClientPort`: PEM files. */
  readonly tls?: { readonly keyAndCertificateFile: string; readonly caFile: string; readonly clients: boolean }
  /** Further lines of zoo.cfg. */
  readonly settings?: ReadonlyArray<string>
  readonly javaOptions?: ReadonlyArray<string>
}

export interface Member extends Process.Process {
  readonly host: string
  readonly port: number
  /** Listened on only with `tls`. */
  readonly securePort: number
  /** The answer to a four-letter word. */
  readonly ask: (word: string) => Effect.Effect<string, NoAnswer>
}

export interface ZooKeeper {
  readonly members: readonly [Member, ...ReadonlyArray<Member>]
  /** The member that leads or stands alone, once there is one. */
  readonly leader: Effect.Effect<Member, NoAnswer>
  readonly followers: Effect.Effect<ReadonlyArray<Member>, NoAnswer>
  /** Copies the members' data as they are on the disk, which is everything that was answered. */
  readonly backup: Effect.Effect<Backup, RunError>
  /** Kills the members and starts them on the same ports with the data of a backup: the transactions go back. */
  readonly restore: (backup: Backup) => Effect.Effect<void, ServerError | RunError>
}

/** One folder for each member. */
export interface Backup {
  readonly folders: ReadonlyArray<string>
}

export interface Cluster extends ZooKeeper {
  /** Silence between a member and all others, both ways. Its clients still reach it. */
  readonly isolate: (member: Member) => Effect.Effect<void>
  readonly heal: Effect.Effect<void>
}

const host = "127.0.0.1"
const electedWithin: Duration.Input = "20 seconds"

const logging = `<configuration><appender name="C" class="ch.qos.logback.core.ConsoleAppender"><encoder>
<pattern>%d %p %c{1} %m%n</pattern></encoder></appender><root level="WARN"><appender-ref ref="C"/></root></configuration>`

/** Writes a member's settings into its folder. */
const configure = (folder: string, options: Options, id: number, port: number, securePort: number, servers: string) => {
  const tick = options.tickMillis ?? 500
  const data = join(folder, "data")
  mkdirSync(data, { recursive: true })
  writeFileSync(join(data, "myid"), String(id))
  writeFileSync(join(folder, "logback.xml"), logging)
  const { tls } = options
  const secure =
    tls === undefined
      ? []
      : [
          `secureClientPort=${securePort}`,
          `secureClientPortAddress=${host}`,
          "serverCnxnFactory=org.apache.zookeeper.server.NettyServerCnxnFactory",
          `ssl.keyStore.location=${tls.keyAndCertificateFile}`,
          "ssl.keyStore.type=PEM",
          `ssl.trustStore.location=${tls.caFile}`,
          "ssl.trustStore.type=PEM",
          `ssl.clientAuth=${tls.clients ? "need" : "none"}`
        ]
  const lines = [
    `tickTime=${tick}`,
    "initLimit=20",
    "syncLimit=5",
    `dataDir=${data}`,
    `clientPort=${port}`,
    `clientPortAddress=${host}`,
    "maxClientCnxns=0",
    "4lw.commands.whitelist=*",
    "admin.enableServer=false",
    ...secure,
    servers,
    ...(options.settings ?? [])
  ]
  writeFileSync(join(folder, "zoo.cfg"), `${lines.join("\n")}\n`)
}

const launch = Effect.fnUntraced(function* (
  options: Options,
  java: string,
  classpath: string,
  ports: ReadonlyArray<number>
) {
  const size = ports.length / 4
  const portOf = (member: number, which: number): number => ports[which * size + member] ?? 0
  const indexes = Array.from({ length: size }, (_, index) => index)
  const members: Array<Member> = []
  // One network for what a leader and its followers say to each other, one for elections.
  const quorum = yield* Peers.make(ports.slice(2 * size, 3 * size), (index) => members[index]?.pid() ?? 0)
  const election = yield* Peers.make(ports.slice(3 * size), (index) => members[index]?.pid() ?? 0)
  const portIn = (url: string | undefined): string => new URL(url ?? "http://none").port

  for (const index of indexes) {
    const [port, securePort] = [portOf(index, 0), portOf(index, 1)]
    // A member listens on its own ports and knows the others by those of the networks.
    const servers = indexes.map((other) =>
      other === index
        ? `server.${other + 1}=${host}:${portOf(other, 2)}:${portOf(other, 3)}`
        : `server.${other + 1}=${host}:${portIn(quorum.urls[other])}:${portIn(election.urls[other])}`
    )
    const process = yield* Process.make({
      name: `zookeeper-${index + 1}`,
      ports: [port],
      command: (folder) => {
        configure(folder, options, index + 1, port, securePort, size > 1 ? servers.join("\n") : "")
        return {
          program: java,
          args: [
            "-Xmx256m",
            "-XX:+UseSerialGC",
            `-Dlogback.configurationFile=${join(folder, "logback.xml")}`,
            `-Dzookeeper.forceSync=${options.fsync === true ? "yes" : "no"}`,
            ...(options.javaOptions ?? []),
            "-cp",
            classpath,
            "org.apache.zookeeper.server.quorum.QuorumPeerMain",
            join(folder, "zoo.cfg")
          ]
        }
      },
      ready: Effect.filterOrFail(
        ask(port, "srvr"),
        (text) => /Mode: \w+/.test(text),
        (text) => new NoAnswer({ reason: `it says "${text.trim()}"` })
      )
    })
    members.push({ ...process, host, port, securePort, ask: (word) => ask(port, word) })
  }
  yield* Effect.forEach(members, (member) => member.start, { concurrency: "unbounded", discard: true })
  return { members, links: [quorum, election] }
})

const make = Effect.fnUntraced(function* (size: number, options: Options) {
  const java = yield* javaProgram
  const classpath = yield* classpathOf(options.version ?? "3.9")
  const { links, members } = yield* Process.onFreePorts(4 * size, (ports) => launch(options, java, classpath, ports))
  const [first, ...others] = members
  if (first === undefined) return yield* Effect.die(new Error("a cluster has at least one member"))
  const withMode = (mode: RegExp) =>
    Effect.map(
      Effect.forEach(members, (member) => Effect.orElseSucceed(member.ask("srvr"), () => ""), {
        concurrency: "unbounded"
      }),
      (answers) => members.filter((_, index) => mode.test(answers[index] ?? ""))
    )
  let backups = 0
  // Logs are long files with little in them.
  const copy = (from: string, to: string) => run("cp", ["-r", "--sparse=always", from, to])
  const cluster: Cluster = {
    members: [first, ...others],
    backup: Effect.suspend(() => {
      const name = `backup-${++backups}`
      return Effect.map(
        Effect.forEach(members, ({ folder }) =>
          Effect.as(copy(join(folder, "data"), join(folder, name)), join(folder, name))
        ),
        (folders) => ({ folders })
      )
    }),
    restore: Effect.fnUntraced(function* ({ folders }: Backup) {
      yield* Effect.forEach(members, (member) => member.kill, { discard: true })
      for (const [index, { folder }] of members.entries()) {
        rmSync(join(folder, "data"), { recursive: true, force: true })
        yield* copy(folders[index] ?? "", join(folder, "data"))
      }
      yield* Effect.forEach(members, (member) => member.start, { concurrency: "unbounded", discard: true })
    }),
    leader: until(
      Effect.flatMap(withMode(/Mode: (leader|standalone)/), ([leader]) =>
        leader === undefined ? Effect.fail(new NoAnswer({ reason: "no member leads" })) : Effect.succeed(leader)
      ),
      { within: electedWithin }
    ),
    followers: withMode(/Mode: follower/),
    isolate: (member) =>
      Effect.sync(() => {
        for (const peers of links) for (const link of peers.linksOf(members.indexOf(member))) link.blackhole()
      }),
    heal: Effect.sync(() => {
      for (const peers of links) for (const link of peers.links) link.heal()
    })
  }
  return cluster
})

type StartError = ServerError | RunError | ProvisionError | Maven.MavenError

/** A private server. */
export const single = (options: Options = {}): Effect.Effect<ZooKeeper, StartError, Scope.Scope> => make(1, options)

/** A private ensemble, whose members talk to each other through a network of the test's. */
export const cluster = (size: number, options: Options = {}): Effect.Effect<Cluster, StartError, Scope.Scope> =>
  make(size, options)
