import type { Duration, Scope } from "effect"
import { Effect } from "effect"
import { writeFileSync } from "node:fs"
import { connect } from "node:net"
import { join } from "node:path"
import { NoAnswer } from "./ask.ts"
import { javaProgram } from "./java.ts"
import { connectionsTo, flags } from "./jvm.ts"
import type { Artifacts, MavenError } from "./maven.ts"
import { classpathOf, folderFor } from "./maven.ts"
import * as Process from "./process.ts"
import { ServerError } from "./process.ts"
import type { ProvisionError } from "./provision.ts"
import { run } from "./run.ts"

export { NoAnswer } from "./ask.ts"
export { MavenError } from "./maven.ts"
export { ServerError } from "./process.ts"

const artifacts: Artifacts = { name: "kafka", files: ["kafka.pom.xml"] }

export interface Options {
  /** Asks clients for a name and this password (SASL/PLAIN). */
  readonly password?: string
  /** Further settings, as `"num.partitions": "3"`. */
  readonly settings?: Readonly<Record<string, string>>
  /**
   * The port that clients are sent to, where that is not the broker's own, which is given: that of a network in front of it. Whoever
   * asks a broker anything goes on to the address that it names.
   */
  readonly advertise?: (port: number) => Effect.Effect<number, never, Scope.Scope>
}

/** A broker that is its own controller. It keeps its data when it is killed. */
export interface Kafka extends Process.Process {
  readonly host: string
  readonly port: number
  /** The address that clients are given to begin with. */
  readonly broker: string
  readonly username: string
  /** The connections of clients that the server has now. */
  readonly connections: Effect.Effect<number>
}

const host = "127.0.0.1"
const username = "ensemble"
const heap = "256m"
const answerWithin: Duration.Input = "2 seconds"

/** The requests of Kafka's protocol that are asked here, with the version that is spoken. */
const metadata = { key: 3, version: 1 }
const saslHandshake = { key: 17, version: 1 }
const saslAuthenticate = { key: 36, version: 0 }

const int16 = (value: number): Buffer => {
  const bytes = Buffer.alloc(2)
  bytes.writeInt16BE(value)
  return bytes
}

const int32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4)
  bytes.writeInt32BE(value)
  return bytes
}

interface Request {
  readonly key: number
  readonly version: number
  readonly body: Buffer
}

/** Length, kind, version, a number that comes back, and no name of the client. */
const encode = ({ body, key, version }: Request): Buffer => {
  const message = Buffer.concat([int16(key), int16(version), int32(0), int16(-1), body])
  return Buffer.concat([int32(message.length), message])
}

/** The bodies of the answers to requests, one after the other on one connection. */
const ask = (port: number, requests: ReadonlyArray<Request>): Effect.Effect<ReadonlyArray<Buffer>, NoAnswer> =>
  Effect.callback<ReadonlyArray<Buffer>, NoAnswer>((resume) => {
    const fail = (reason: string) => resume(Effect.fail(new NoAnswer({ reason })))
    const answers: Array<Buffer> = []
    let received = Buffer.alloc(0)
    const socket = connect(port, host)
    const next = () => {
      const request = requests[answers.length]
      if (request !== undefined) return void socket.write(encode(request))
      socket.destroy()
      resume(Effect.succeed(answers))
    }
    socket.on("connect", next)
    socket.on("data", (bytes: Buffer) => {
      received = Buffer.concat([received, bytes])
      if (received.length < 4) return
      const end = 4 + received.readInt32BE(0)
      if (received.length < end) return
      answers.push(received.subarray(8, end)) // behind the length and the number that came back
      received = received.subarray(end)
      next()
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

/** Serves once it names a broker: until then it accepts connections, but is not part of its own cluster. */
const serves = (port: number, password: string | undefined): Effect.Effect<void, NoAnswer> => {
  const mechanism = Buffer.from("PLAIN")
  const token = Buffer.from(`\0${username}\0${password}`)
  const login = [
    { ...saslHandshake, body: Buffer.concat([int16(mechanism.length), mechanism]) },
    { ...saslAuthenticate, body: Buffer.concat([int32(token.length), token]) }
  ]
  const noTopics = { ...metadata, body: int32(0) }
  return Effect.flatMap(ask(port, [...(password === undefined ? [] : login), noTopics]), (answers) => {
    const refused = answers.slice(0, -1).find((answer) => answer.readInt16BE(0) !== 0)
    const brokers = answers.at(-1)?.readInt32BE(0) ?? 0
    if (refused !== undefined) return Effect.fail(new NoAnswer({ reason: "it refuses the password" }))
    return brokers === 0 ? Effect.fail(new NoAnswer({ reason: "it names no broker" })) : Effect.void
  })
}

const jaas = (password: string): string =>
  `org.apache.kafka.common.security.plain.PlainLoginModule required ${[
    ["username", username],
    ["password", password],
    [`user_${username}`, password]
  ]
    .map(([name, value]) => `${name}="${value}"`)
    .join(" ")};`

interface Ports {
  readonly client: number
  readonly advertised: number
  readonly controller: number
}

const configuration = (data: string, { password, settings }: Options, { advertised, client, controller }: Ports) => ({
  "process.roles": "broker,controller",
  "node.id": "1",
  "controller.quorum.voters": `1@${host}:${controller}`,
  listeners: `CLIENT://${host}:${client},CONTROLLER://${host}:${controller}`,
  "advertised.listeners": `CLIENT://${host}:${advertised}`,
  "inter.broker.listener.name": "CLIENT",
  "controller.listener.names": "CONTROLLER",
  "listener.security.protocol.map": `CLIENT:${password === undefined ? "PLAINTEXT" : "SASL_PLAINTEXT"},CONTROLLER:PLAINTEXT`,
  ...(password === undefined
    ? {}
    : {
        "sasl.enabled.mechanisms": "PLAIN",
        "sasl.mechanism.inter.broker.protocol": "PLAIN",
        "listener.name.client.plain.sasl.jaas.config": jaas(password)
      }),
  "log.dirs": data,
  "num.network.threads": "1",
  "num.io.threads": "2",
  // Everything has one copy in one part.
  "offsets.topic.replication.factor": "1",
  "offsets.topic.num.partitions": "1",
  "transaction.state.log.replication.factor": "1",
  "transaction.state.log.min.isr": "1",
  "transaction.state.log.num.partitions": "1",
  "share.coordinator.state.topic.replication.factor": "1",
  "share.coordinator.state.topic.min.isr": "1",
  "share.coordinator.state.topic.num.partitions": "1",
  "log.segment.bytes": "16777216",
  "log.index.size.max.bytes": "1048576",
  "log.cleaner.dedupe.buffer.size": "2097152",
  // Groups form at once, and may be as impatient as a test.
  "group.initial.rebalance.delay.ms": "0",
  "group.min.session.timeout.ms": "500",
  // A broker that comes back after a SIGKILL waits until its former self is taken for dead.
  "broker.heartbeat.interval.ms": "200",
  "broker.session.timeout.ms": "1000",
  ...settings
})

const launch = Effect.fnUntraced(function* (
  options: Options,
  java: string,
  classpath: string,
  [port = 0, controller = 0]: ReadonlyArray<number>
) {
  // Outside the server's own folder, because it is made ready before the server has one.
  const home = yield* Process.temporaryFolder("kafka-data")
  const file = join(home, "server.properties")
  const advertised = options.advertise === undefined ? port : yield* options.advertise(port)
  const lines = Object.entries(configuration(join(home, "data"), options, { client: port, advertised, controller }))
  writeFileSync(file, lines.map(([name, value]) => `${name}=${value}\n`).join(""))
  const common = [...flags(heap), "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", classpath]
  const format = ["kafka.tools.StorageTool", "format", "--cluster-id", "ZW5zZW1ibGUtdGVzdHMtMQ", "--config", file]
  yield* Effect.mapError(
    run(java, [...common, ...format]),
    ({ output }) => new ServerError({ server: "kafka", reason: "its storage cannot be formatted", log: output })
  )
  const process = yield* Process.make({
    name: "kafka",
    ports: [port],
    command: () => ({ program: java, args: [...common, "kafka.Kafka", file] }),
    ready: serves(port, options.password)
  })
  yield* process.start
  const kafka: Kafka = {
    ...process,
    host,
    port,
    broker: `${host}:${port}`,
    username,
    connections: connectionsTo(port)
  }
  return kafka
})

/** Sees to it that a server can be had, which may take a minute the first time. */
export const provide = Effect.asVoid(Effect.all([javaProgram, folderFor(artifacts)]))

/** A private server. */
export const single = Effect.fnUntraced(function* (
  options: Options = {}
): Effect.fn.Return<Kafka, ServerError | ProvisionError | MavenError, Scope.Scope> {
  const java = yield* javaProgram
  const classpath = classpathOf(yield* folderFor(artifacts))
  return yield* Process.onFreePorts(2, (ports) => launch(options, java, classpath, ports))
})
