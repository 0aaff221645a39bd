import type { Scope } from "effect"
import { Effect } from "effect"
import { writeFileSync } from "node:fs"
import { join } from "node:path"
import { ask, NoAnswer } from "./ask.ts"
import * as Process from "./process.ts"
import type { ServerError } from "./process.ts"
import type { Distribution, Installation, ProvisionError } from "./provision.ts"
import { installationOf } from "./provision.ts"

export { NoAnswer } from "./ask.ts"
export { ServerError } from "./process.ts"

export const distribution: Distribution = {
  name: "nats",
  variable: "ENSEMBLE_NATS_BIN",
  suite: "trixie",
  packages: ["nats-server"],
  program: "usr/sbin/nats-server",
  accepted: /^nats-server: v2[.]([1-9][0-9])[.]/,
  wanted: "NATS server 2.10 or later",
  fromPath: true
}

export interface Options {
  /** That of the user `ensemble`. */
  readonly password?: string
  /** Further settings, as `ping_interval: "1s"`. */
  readonly settings?: Readonly<Record<string, unknown>>
}

/** JetStream is on, and keeps what it was given when the server is killed. */
export interface Nats extends Process.Process {
  readonly host: string
  readonly port: number
  readonly url: string
  /** Empty when nobody has to say who they are. */
  readonly credentials: { readonly user?: string; readonly pass?: string }
  /** The connections of clients that the server has now, as it counts them. */
  readonly connections: Effect.Effect<number, NoAnswer>
}

const host = "127.0.0.1"
const user = "ensemble"

const launch = Effect.fnUntraced(function* (
  options: Options,
  { env, folder }: Installation,
  [port = 0, monitor = 0]: ReadonlyArray<number>
) {
  const credentials = options.password === undefined ? {} : { user, pass: options.password }
  /** The answer of the monitoring port, where clients are not. In HTTP/1.0 it closes the connection by itself. */
  const look = (path: string) =>
    ask(monitor, `GET ${path} HTTP/1.0\r\n\r\n`).pipe(
      Effect.filterOrFail(
        (answer) => answer.startsWith("HTTP/1.0 200 "),
        (answer) => new NoAnswer({ reason: `it says "${answer.trim()}"` })
      ),
      Effect.map((answer) => answer.slice(answer.indexOf("\r\n\r\n")))
    )
  const process = yield* Process.make({
    name: "nats",
    ports: [port, monitor],
    command: (home) => {
      const file = join(home, "nats.json")
      const configuration = {
        host,
        port,
        http: `${host}:${monitor}`,
        jetstream: { store_dir: join(home, "data") },
        ...(options.password === undefined ? {} : { authorization: { user, password: options.password } }),
        ...options.settings
      }
      writeFileSync(file, JSON.stringify(configuration))
      return { program: join(folder, "nats-server"), args: ["--config", file], env }
    },
    ready: look("/healthz")
  })
  yield* process.start
  const nats: Nats = {
    ...process,
    host,
    port,
    url: `nats://${host}:${port}`,
    credentials,
    connections: Effect.map(look("/connz?limit=1"), (body) => (JSON.parse(body) as { readonly total: number }).total)
  }
  return nats
})

/** A private server. */
export const single = Effect.fnUntraced(function* (
  options: Options = {}
): Effect.fn.Return<Nats, ServerError | ProvisionError, Scope.Scope> {
  const installation = yield* installationOf(distribution)
  return yield* Process.onFreePorts(2, (ports) => launch(options, installation, ports))
})
