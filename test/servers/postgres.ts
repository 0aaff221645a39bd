import type { Duration, Scope } from "effect"
import { Effect } from "effect"
import { chownSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import nodeProcess from "node:process"
import { NoAnswer } from "./ask.ts"
import { withChildren } from "./children.ts"
import * as Process from "./process.ts"
import { ServerError } from "./process.ts"
import type { Distribution, Installation, ProvisionError } from "./provision.ts"
import { installationOf } from "./provision.ts"
import { run } from "./run.ts"
import { realTime } from "./until.ts"

export { NoAnswer } from "./ask.ts"
export { ServerError } from "./process.ts"

export const distribution: Distribution = {
  name: "postgres",
  variable: "ENSEMBLE_POSTGRES_BIN",
  suite: "bookworm",
  packages: [
    "postgresql-15",
    "postgresql-client-15",
    "libpq5",
    "libxml2",
    "libicu72",
    "libldap-2.5-0",
    "libsasl2-2",
    "libssl3",
    "libgssapi-krb5-2",
    "libkrb5-3",
    "libk5crypto3",
    "libkrb5support0",
    "libcom-err2",
    "libkeyutils1",
    "libreadline8"
  ],
  program: "usr/lib/postgresql/15/bin/postgres",
  accepted: /^postgres \(PostgreSQL\) (1[4-9]|[2-9][0-9])[. ]/,
  wanted: "PostgreSQL 14 or later, with initdb and psql beside it",
  // What is on a path is often the server alone.
  fromPath: false
}

export interface Options {
  /** That of the user `postgres`. Without one everybody is let in. */
  readonly password?: string
  /** How a client proves that it knows it. Default "scram-sha-256". */
  readonly authentication?: "scram-sha-256" | "md5"
  /** Further settings, as `max_connections: 10`. */
  readonly settings?: Readonly<Record<string, string | number>>
}

/** A client is served by a process of its own: `kill`, `pause` and `resume` mean them all. `stop` waits for no client. */
export interface Postgres extends Process.Process {
  readonly host: string
  readonly port: number
  readonly user: string
  readonly database: string
  /** The connections of clients that the server has now, as it counts them. */
  readonly connections: Effect.Effect<number, NoAnswer>
  /** What a statement answers with: a line for each row, with `|` between its columns. It needs no password. */
  readonly query: (sql: string) => Effect.Effect<string, NoAnswer>
}

const host = "127.0.0.1"
const user = "postgres"

/** Starting the program that asks takes longer than the answer, on a busy machine most of all. */
const answerWithin: Duration.Input = "5 seconds"

/** The user `nobody`. */
const unprivileged = 65_534
const isRoot = nodeProcess.getuid?.() === 0

/**
 * The server refuses to run as root. It may still read everything: the repository may lie where only root may look, also
 * when it asks whether it may (which is what `no_setuid_fixup` is for). The kernel forgets with the change of user what it
 * was told to do when this process dies, so it is told again.
 */
const asUser: ReadonlyArray<string> = isRoot
  ? `setpriv --reuid=${unprivileged} --regid=${unprivileged} --clear-groups --inh-caps=+dac_override
     --ambient-caps=+dac_override --securebits=+no_setuid_fixup --pdeathsig KILL`.split(/\s+/)
  : []

const clients =
  "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"

/** Programs take their libraries from it, also those that another program starts. */
const withEnvironment = ({ env }: Installation): ReadonlyArray<string> => [
  "env",
  ...Object.entries(env).map(([name, value]) => `${name}=${value}`)
]

/** Asks by way of the socket in the server's folder, where nobody needs a password. */
const queryOf =
  (installation: Installation, home: string, port: number): Postgres["query"] =>
  (sql) => {
    const psql = join(installation.folder, "psql")
    const args = [psql, "-XqAt", "-h", home, "-p", String(port), "-U", user, "-c", sql]
    const [program = "", ...rest] = withEnvironment(installation).concat(args)
    return run(program, rest).pipe(
      Effect.timeout(answerWithin),
      Effect.mapBoth({
        onSuccess: (output) => output.trimEnd(),
        onFailure: ({ message }) => new NoAnswer({ reason: message })
      }),
      realTime
    )
  }

/** Makes a new database in the folder, of the user whom the server will run as. */
const initialize = (options: Options, installation: Installation, home: string) => {
  const { authentication = "scram-sha-256", password } = options
  const passwordFile = join(home, "password")
  writeFileSync(passwordFile, `${password ?? ""}\n`)
  if (isRoot) for (const path of [home, passwordFile]) chownSync(path, unprivileged, unprivileged)
  const initdb = [join(installation.folder, "initdb"), "-D", join(home, "data"), "-U", user, "-E", "UTF8"]
  const access =
    password === undefined ? ["--auth-host=trust"] : [`--auth-host=${authentication}`, `--pwfile=${passwordFile}`]
  const [program = "", ...args] = asUser.concat(
    withEnvironment(installation),
    initdb,
    ["--no-locale", "--no-sync", "--auth-local=trust"],
    access
  )
  return Effect.mapError(
    run(program, args),
    ({ message }) => new ServerError({ server: "postgres", reason: message, log: "" })
  )
}

const launch = Effect.fnUntraced(function* (options: Options, installation: Installation, port: number) {
  const { env, folder } = installation
  const process: Process.Process = yield* Process.make({
    name: "postgres",
    ports: [port],
    command: (home) => {
      const settings = Object.entries({
        listen_addresses: host,
        port,
        unix_socket_directories: home,
        // Else a server that was killed leaves memory behind.
        dynamic_shared_memory_type: "mmap",
        fsync: "off",
        jit: "off",
        ...options.settings
      })
      const [program = "", ...args] = asUser.concat(
        [join(folder, "postgres"), "-D", join(home, "data")],
        settings.flatMap(([name, value]) => ["-c", `${name}=${value}`])
      )
      return { program, args, env }
    },
    ready: Effect.suspend(() => query("SELECT 1"))
  })
  const query = queryOf(installation, process.folder, port)
  const server = withChildren(process)
  /** SIGTERM, which follows, lets clients finish what they do, however long; not so when one of these came first. */
  const end = (signal: "SIGINT" | "SIGQUIT") =>
    Effect.andThen(
      Effect.sync(() => process.isRunning() && nodeProcess.kill(process.pid(), signal)),
      server.stop
    )
  yield* initialize(options, installation, process.folder)
  // Killed for good it would leave a piece of memory behind.
  yield* Effect.addFinalizer(() => end("SIGQUIT"))
  yield* server.start
  const postgres: Postgres = {
    ...server,
    stop: end("SIGINT"),
    host,
    port,
    user,
    database: "postgres",
    connections: Effect.map(query(clients), Number),
    query
  }
  return postgres
})

/** A private server. */
export const single = Effect.fnUntraced(function* (
  options: Options = {}
): Effect.fn.Return<Postgres, ServerError | ProvisionError, Scope.Scope> {
  const installation = yield* installationOf(distribution)
  return yield* Process.onFreePorts(1, ([port = 0]) => launch(options, installation, port))
})
