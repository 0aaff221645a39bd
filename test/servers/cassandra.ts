import type { Duration, Scope } from "effect"
import { Effect } from "effect"
import { globSync, mkdirSync, writeFileSync } from "node:fs"
import { connect } from "node:net"
import { join } from "node:path"
import { NoAnswer } from "./ask.ts"
import { javaProgram } from "./java.ts"
import { connectionsTo, flags } from "./jvm.ts"
import type { Artifacts, MavenError } from "./maven.ts"
import { classpathOf, folderFor } from "./maven.ts"
import * as Process from "./process.ts"
import type { ServerError } from "./process.ts"
import type { ProvisionError } from "./provision.ts"

export { NoAnswer } from "./ask.ts"
export { MavenError } from "./maven.ts"
export { ServerError } from "./process.ts"

const artifacts: Artifacts = { name: "cassandra", files: ["cassandra.pom.xml"] }

export interface Options {
  /** Asks clients for `username` and `password`, which are the server's own first ones. Default false. */
  readonly authenticated?: boolean
  /** Further settings of cassandra.yaml. */
  readonly settings?: Readonly<Record<string, unknown>>
}

/** A node that is a cluster. It keeps its data when it is killed. */
export interface Cassandra extends Process.Process {
  readonly host: string
  readonly port: number
  /** As clients want to be told. */
  readonly datacenter: string
  readonly username: string
  readonly password: string
  /** The connections of clients that the server has now. */
  readonly connections: Effect.Effect<number>
}

const host = "127.0.0.1"
const username = "cassandra"
const password = "cassandra"
const heap = "384m"
const answerWithin: Duration.Input = "2 seconds"

/** What is asked and answered in version 4 of Cassandra's native protocol. */
const opcode = {
  error: 0,
  startup: 1,
  ready: 2,
  authenticate: 3,
  query: 7,
  result: 8,
  authResponse: 15,
  authSuccess: 16
}

const frame = (code: number, body: Buffer): Buffer => {
  const header = Buffer.from([4, 0, 0, 0, code, 0, 0, 0, 0])
  header.writeInt32BE(body.length, 5)
  return Buffer.concat([header, body])
}

const short = (text: string): Buffer => Buffer.concat([Buffer.from([0, text.length]), Buffer.from(text)])
const long = (text: string): Buffer => Buffer.concat([Buffer.from([0, 0, 0, text.length]), Buffer.from(text)])

const startup = frame(opcode.startup, Buffer.concat([Buffer.from([0, 1]), short("CQL_VERSION"), short("3.0.0")]))
const login = frame(opcode.authResponse, long(`\0${username}\0${password}`))
/** Behind the text: with consistency "one", and no flags. */
const query = frame(opcode.query, Buffer.concat([long("SELECT key FROM system.local"), Buffer.from([0, 1, 0])]))

/** Serves once it lets one in and answers a query: it listens before its first user exists. */
const serves = (port: number): Effect.Effect<void, NoAnswer> =>
  Effect.callback<void, NoAnswer>((resume) => {
    let received = Buffer.alloc(0)
    const socket = connect(port, host, () => socket.write(startup))
    const end = (result: Effect.Effect<void, NoAnswer>) => {
      socket.destroy()
      resume(result)
    }
    const fail = (reason: string) => end(Effect.fail(new NoAnswer({ reason })))
    const take = (code: number, body: Buffer) => {
      if (code === opcode.authenticate) socket.write(login)
      else if (code === opcode.ready || code === opcode.authSuccess) socket.write(query)
      else if (code === opcode.result) end(Effect.void)
      else fail(code === opcode.error ? body.toString("utf8", 6) : `it answers with ${code}`)
    }
    socket.on("data", (bytes: Buffer) => {
      received = Buffer.concat([received, bytes])
      if (received.length < 9) return
      const length = 9 + received.readInt32BE(5)
      if (received.length < length) return
      const [code, body] = [received.readUInt8(4), received.subarray(9, length)]
      received = received.subarray(length)
      take(code, body)
    })
    socket.on("error", ({ message }) => fail(message))
    socket.on("close", () => fail("it closes the connection"))
    return Effect.sync(() => socket.destroy())
  }).pipe(
    Effect.timeoutOrElse({
      duration: answerWithin,
      orElse: () => Effect.fail(new NoAnswer({ reason: "no answer in time" }))
    })
  )

const configuration = (folder: string, { authenticated, settings }: Options, client: number, storage: number) => ({
  cluster_name: "ensemble",
  num_tokens: 1,
  partitioner: "org.apache.cassandra.dht.Murmur3Partitioner",
  endpoint_snitch: "SimpleSnitch",
  seed_provider: [
    { class_name: "org.apache.cassandra.locator.SimpleSeedProvider", parameters: [{ seeds: `${host}:${storage}` }] }
  ],
  listen_address: host,
  storage_port: storage,
  rpc_address: host,
  native_transport_port: client,
  data_file_directories: [join(folder, "data")],
  commitlog_directory: join(folder, "commitlog"),
  saved_caches_directory: join(folder, "caches"),
  hints_directory: join(folder, "hints"),
  // What was answered is on the disk, so that a SIGKILL loses nothing.
  commitlog_sync: "batch",
  commitlog_segment_size: "4MiB",
  // The defaults are parts of the machine's memory.
  memtable_heap_space: "64MiB",
  memtable_offheap_space: "64MiB",
  key_cache_size: "4MiB",
  file_cache_size: "32MiB",
  networking_cache_size: "16MiB",
  auto_snapshot: false,
  ...(authenticated === true
    ? { authenticator: "PasswordAuthenticator", authorizer: "CassandraAuthorizer" }
    : { authenticator: "AllowAllAuthenticator" }),
  ...settings
})

const logging = `<configuration><appender name="C" class="ch.qos.logback.core.ConsoleAppender"><encoder>
<pattern>%d %p %c{1} %m%n</pattern></encoder></appender><root level="WARN"><appender-ref ref="C"/></root></configuration>`

/** It reaches into parts of Java that are closed by default. Its own scripts open them by a file that is in no jar. */
const closed: ReadonlyArray<[option: string, module: string, packages: string]> = [
  ["exports", "java.base", "jdk.internal.misc jdk.internal.ref sun.nio.ch"],
  ["exports", "java.rmi", "sun.rmi.registry sun.rmi.server sun.rmi.transport.tcp"],
  ["exports", "java.management.rmi", "com.sun.jmx.remote.internal.rmi"],
  ["opens", "java.base", "java.io java.lang java.lang.module java.lang.reflect java.math java.net java.nio java.util"],
  ["opens", "java.base", "java.util.concurrent java.util.concurrent.atomic sun.nio.ch jdk.internal.loader"],
  ["opens", "java.base", "jdk.internal.math jdk.internal.module jdk.internal.ref jdk.internal.reflect"],
  ["opens", "java.base", "jdk.internal.util.jar"],
  ["opens", "jdk.management", "com.sun.management.internal"]
]

const opened = closed.flatMap(([option, module, packages]) =>
  packages.split(" ").map((name) => `--add-${option}=${module}/${name}=ALL-UNNAMED`)
)

const properties = (folder: string): Readonly<Record<string, string>> => ({
  "jdk.attach.allowAttachSelf": "true",
  "logback.configurationFile": join(folder, "logback.xml"),
  "cassandra.config": `file://${join(folder, "cassandra.yaml")}`,
  "cassandra.storagedir": folder,
  "cassandra-foreground": "yes",
  // A node without others has nobody to wait for.
  "cassandra.skip_wait_for_gossip_to_settle": "0",
  "cassandra.ring_delay_ms": "0",
  "cassandra.shutdown_announce_in_ms": "0",
  "cassandra.superuser_setup_delay_ms": "0",
  // A password costs what it may: each connection would wait for it.
  "cassandra.auth_bcrypt_gensalt_log2_rounds": "4"
})

const launch = Effect.fnUntraced(function* (
  options: Options,
  java: string,
  jars: string,
  [port = 0, storage = 0]: ReadonlyArray<number>
) {
  const process = yield* Process.make({
    name: "cassandra",
    ports: [port],
    command: (folder) => {
      for (const name of ["data", "commitlog", "caches", "hints", "triggers"]) mkdirSync(join(folder, name))
      writeFileSync(join(folder, "logback.xml"), logging)
      // YAML can be written as JSON.
      writeFileSync(join(folder, "cassandra.yaml"), JSON.stringify(configuration(folder, options, port, storage)))
      return {
        program: java,
        args: [
          ...flags(heap),
          ...opened,
          // It measures its objects by an agent.
          ...globSync(join(jars, "jamm-*.jar")).map((agent) => `-javaagent:${agent}`),
          ...Object.entries(properties(folder)).map(([name, value]) => `-D${name}=${value}`),
          "-cp",
          classpathOf(jars),
          "org.apache.cassandra.service.CassandraDaemon"
        ]
      }
    },
    ready: serves(port)
  })
  yield* process.start
  const cassandra: Cassandra = {
    ...process,
    host,
    port,
    datacenter: "datacenter1",
    username,
    password,
    connections: connectionsTo(port)
  }
  return cassandra
})

/** Sees to it that a server can be had, which may take a minute the first time. */
export const provide = Effect.asVoid(Effect.all([javaProgram, folderFor(artifacts)]))

/** A private server. */
export const single = Effect.fnUntraced(function* (
  options: Options = {}
): Effect.fn.Return<Cassandra, ServerError | ProvisionError | MavenError, Scope.Scope> {
  const java = yield* javaProgram
  const jars = yield* folderFor(artifacts)
  return yield* Process.onFreePorts(2, (ports) => launch(options, java, jars, ports))
})
