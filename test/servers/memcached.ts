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
  name: "memcached",
  variable: "ENSEMBLE_MEMCACHED_BIN",
  suite: "bookworm",
  packages: ["memcached", "libevent-2.1-7", "libsasl2-2", "libssl3"],
  program: "usr/bin/memcached",
  accepted: /^memcached 1[.]([6-9]|[1-9][0-9])[.]/,
  wanted: "memcached 1.6 or later",
  fromPath: true
}

export interface Options {
  /** That of the user `ensemble`, in the text protocol. */
  readonly password?: string
  /** Further arguments, as `"-c", "10"`. */
  readonly args?: ReadonlyArray<string>
}

/** What was written is gone when it is killed. */
export interface Memcached extends Process.Process {
  readonly host: string
  readonly port: number
  /** The connections of clients that the server has now, as it counts them. */
  readonly connections: Effect.Effect<number, NoAnswer>
}

const host = "127.0.0.1"
const user = "ensemble"

const launch = Effect.fnUntraced(function* (options: Options, { env, folder }: Installation, port: number) {
  const { password } = options
  const login =
    password === undefined ? "" : `set login 0 0 ${user.length + 1 + password.length}\r\n${user} ${password}\r\n`
  /** The answer to a command, if it is one. */
  const say = (command: string, expected: RegExp) =>
    Effect.filterOrFail(
      ask(port, `${login}${command}\r\nquit\r\n`),
      (answer) => expected.test(answer),
      (answer) => new NoAnswer({ reason: `it says "${answer.trim()}"` })
    )
  // It refuses to be root unless it is told to be; for any other user this means nothing.
  const args = ["-u", "root", "-l", host, "-p", String(port), "-U", "0"]
  const process = yield* Process.make({
    name: "memcached",
    ports: [port],
    command: (home) => {
      const file = join(home, "users")
      if (password !== undefined) writeFileSync(file, `${user}:${password}\n`)
      return {
        program: join(folder, "memcached"),
        args: [...args, ...(password === undefined ? [] : ["-Y", file]), ...(options.args ?? [])],
        env
      }
    },
    ready: say("version", /^VERSION /m)
  })
  yield* process.start
  const memcached: Memcached = {
    ...process,
    host,
    port,
    connections: Effect.map(say("stats conns", /^END/m), (answer) => {
      const states = answer.match(/^STAT \d+:state .*/gm) ?? []
      return states.filter((state) => !state.includes("conn_listening")).length - 1 // without the one that asks
    })
  }
  return memcached
})

/** A private server. */
export const single = Effect.fnUntraced(function* (
  options: Options = {}
): Effect.fn.Return<Memcached, ServerError | ProvisionError, Scope.Scope> {
  const installation = yield* installationOf(distribution)
  return yield* Process.onFreePorts(1, ([port = 0]) => launch(options, installation, port))
})
