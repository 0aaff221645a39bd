import type { Duration, Scope } from "effect"
import { Effect } from "effect"
import { mkdirSync, writeFileSync } from "node:fs"
import * as http from "node:http"
import { join } from "node:path"
import { NoAnswer } from "./ask.ts"
import { javaProgram } from "./java.ts"
import { connectionsTo, flags, java21Program } from "./jvm.ts"
import type { Artifacts, MavenError } from "./maven.ts"
import { classpathOf, folderFor } from "./maven.ts"
import * as Process from "./process.ts"
import type { ServerError } from "./process.ts"
import type { ProvisionError } from "./provision.ts"

export { NoAnswer } from "./ask.ts"
export { MavenError } from "./maven.ts"
export { ServerError } from "./process.ts"

/** Clients ask for the API of their own major version, which servers know up to their own. Version 9 needs Java 21. */
export type Version = "8" | "9"

interface Distribution {
  /** As it is published. */
  readonly elasticsearch: string
  readonly java: Effect.Effect<string, ProvisionError>
}

const distributions: Readonly<Record<Version, Distribution>> = {
  "8": { elasticsearch: "8.19.9", java: javaProgram },
  "9": { elasticsearch: "9.2.2", java: java21Program }
}

const artifactsOf = ({ elasticsearch }: Distribution): Artifacts => ({
  name: "elasticsearch",
  files: ["elasticsearch.pom.xml", "elasticsearch/**/*.{java,properties}"],
  properties: { elasticsearch }
})

export interface Options {
  /** Default 9. */
  readonly version?: Version
  /** Further settings of elasticsearch.yml. */
  readonly settings?: Readonly<Record<string, unknown>>
}

/** A node that is a cluster, without the parts that need a licence, as passwords do. It keeps its data when it is killed. */
export interface Elasticsearch extends Process.Process {
  readonly host: string
  readonly port: number
  readonly url: string
  /** The connections of clients that the server has now. */
  readonly connections: Effect.Effect<number>
}

const host = "127.0.0.1"
const heap = "384m"
const answerWithin: Duration.Input = "5 seconds"

/** Serves once it has elected itself and all primary copies of what was written are there. */
const serves = (url: string): Effect.Effect<void, NoAnswer> =>
  Effect.callback<void, NoAnswer>((resume) => {
    const fail = (reason: string) => resume(Effect.fail(new NoAnswer({ reason })))
    const path = "/_cluster/health?wait_for_status=yellow&timeout=1s"
    const request = http.get(`${url}${path}`, { agent: false }, (response) => {
      response.resume()
      response.once("error", ({ message }) => fail(message))
      response.once("end", () =>
        response.statusCode === 200 ? resume(Effect.void) : fail(`its health is answered with ${response.statusCode}`)
      )
    })
    request.once("error", ({ message }) => fail(message))
    return Effect.sync(() => request.destroy())
  }).pipe(
    Effect.timeoutOrElse({
      duration: answerWithin,
      orElse: () => Effect.fail(new NoAnswer({ reason: "no answer in time" }))
    })
  )

const logging = `status = error
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d %p %c{1} %m%n
rootLogger.level = warn
rootLogger.appenderRef.console.ref = console
`

const configuration = (folder: string, home: string, { settings }: Options, port: number, transport: number) => ({
  "path.home": home,
  "path.data": join(folder, "data"),
  "path.logs": join(folder, "logs"),
  "cluster.name": "ensemble",
  "node.name": "node-1",
  "discovery.type": "single-node",
  "network.host": host,
  "http.port": port,
  "transport.port": transport,
  // A full disk of this machine is no reason to refuse the few documents of a test.
  "cluster.routing.allocation.disk.threshold_enabled": false,
  ...settings
})

const launch = Effect.fnUntraced(function* (
  options: Options,
  java: string,
  home: string,
  [port = 0, transport = 0]: ReadonlyArray<number>
) {
  const url = `http://${host}:${port}`
  const process = yield* Process.make({
    name: "elasticsearch",
    ports: [port],
    command: (folder) => {
      const config = join(folder, "config")
      mkdirSync(config)
      writeFileSync(join(config, "log4j2.properties"), logging)
      // YAML can be written as JSON.
      writeFileSync(
        join(config, "elasticsearch.yml"),
        JSON.stringify(configuration(folder, home, options, port, transport))
      )
      return {
        program: java,
        args: [
          ...flags(heap),
          "--enable-native-access=ALL-UNNAMED",
          "-cp",
          classpathOf(join(home, "lib")),
          "ensemble.StartNode",
          config
        ]
      }
    },
    ready: serves(url)
  })
  yield* process.start
  const elasticsearch: Elasticsearch = { ...process, host, port, url, connections: connectionsTo(port) }
  return elasticsearch
})

/** Sees to it that a server can be had, which may take a minute the first time. */
export const provide = (version: Version = "9"): Effect.Effect<void, ProvisionError | MavenError> =>
  Effect.asVoid(Effect.all([distributions[version].java, folderFor(artifactsOf(distributions[version]))]))

/** A private server. */
export const single = Effect.fnUntraced(function* (
  options: Options = {}
): Effect.fn.Return<Elasticsearch, ServerError | ProvisionError | MavenError, Scope.Scope> {
  const distribution = distributions[options.version ?? "9"]
  const java = yield* distribution.java
  const home = yield* folderFor(artifactsOf(distribution))
  return yield* Process.onFreePorts(2, (ports) => launch(options, java, home, ports))
})
