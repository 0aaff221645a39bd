import type { Scope } from "effect"
import { Effect } from "effect"
import { join } from "node:path"
import { ask, NoAnswer } from "./ask.ts"
import * as Process from "./process.ts"
import type { ServerError } from "./process.ts"
import type { Distribution, Installation, ProvisionError } from "./provision.ts"
import { installationOf } from "./provision.ts"

export { NoAnswer } from "./ask.ts"
export { ServerError } from "./process.ts"

export const distribution: Distribution = {
  name: "redis",
  variable: "ENSEMBLE_REDIS_BIN",
  suite: "bookworm",
  // The program itself is in the package of the tools.
  packages: ["redis-server", "redis-tools", "libjemalloc2", "liblzf1", "libatomic1", "libssl3"],
  program: "usr/bin/redis-server",
  accepted: /^Redis server v=([7-9]|[1-9][0-9])[.]/,
  wanted: "Redis 7 or later",
  fromPath: true
}

export interface Options {
  readonly password?: string
  /** Further settings, as `maxclients: 10`. */
  readonly settings?: Readonly<Record<string, string | number>>
}

/** It keeps everything in memory: what was written is gone when it is killed. */
export interface Redis extends Process.Process {
  readonly host: string
  readonly port: number
  /** The connections of clients that the server has now, as it counts them. */
  readonly connections: Effect.Effect<number, NoAnswer>
}

const host = "127.0.0.1"

const launch = Effect.fnUntraced(function* (options: Options, { env, folder }: Installation, port: number) {
  const { password } = options
  /** The answers to a command, in the protocol's own form. It authenticates itself first when it has to. */
  const say = (command: string) =>
    ask(port, `${password === undefined ? "" : `AUTH ${JSON.stringify(password)}\r\n`}${command}\r\nQUIT\r\n`)
  const process = yield* Process.make({
    name: "redis",
    ports: [port],
    command: (home) => {
      const settings = Object.entries({
        bind: host,
        port,
        dir: home,
        save: "",
        appendonly: "no",
        ...(password === undefined ? {} : { requirepass: password }),
        ...options.settings
      })
      return {
        program: join(folder, "redis-server"),
        args: settings.flatMap(([name, value]) => [`--${name}`, String(value)]),
        env
      }
    },
    ready: Effect.filterOrFail(
      say("PING"),
      (answer) => answer.includes("+PONG"),
      (answer) => new NoAnswer({ reason: `it says "${answer.trim()}"` })
    )
  })
  yield* process.start
  const redis: Redis = {
    ...process,
    host,
    port,
    connections: Effect.flatMap(say("CLIENT LIST"), (answer) => {
      const clients = answer.match(/^id=/gm)?.length
      return clients === undefined
        ? Effect.fail(new NoAnswer({ reason: `it says "${answer.trim()}"` }))
        : Effect.succeed(clients - 1) // without the one that asks
    })
  }
  return redis
})

/** A private server. */
export const single = Effect.fnUntraced(function* (
  options: Options = {}
): Effect.fn.Return<Redis, ServerError | ProvisionError, Scope.Scope> {
  const installation = yield* installationOf(distribution)
  return yield* Process.onFreePorts(1, ([port = 0]) => launch(options, installation, port))
})
