/** The driver for PostgreSQL. */
import { PgClient, PgConnection } from "@effect/sql-pg"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Redacted from "effect/Redacted"
import type { Resolved as Bounds } from "../kit/bounds.ts"
import * as Address from "./address.ts"
import type { Driver } from "./driver.ts"
import type { Sockets } from "./sockets.ts"

export interface Resolved extends Bounds {
  readonly url: Redacted.Redacted<string>
  readonly password: Redacted.Redacted<string> | undefined
  readonly ca: string | undefined
  readonly maxConnections: number
  readonly minConnections: number
  readonly connectionLifetime: Duration.Duration
  readonly statementTimeout: Duration.Duration | undefined
  readonly prepare: boolean
}

/** Below the four minutes after which the first of the usual load balancers forgets a connection that is silent. */
const keepAliveInitialDelay = 30_000

/** Above the interval of the probes, so that the connection they use is never one of those that are closed for being idle. */
const idleTimeout = Duration.minutes(1)

const poolOf = (settings: Resolved, sockets: Sockets): PgClient.PgPoolConfig => {
  const { ca, connectTimeout, maxConnections, minConnections, prepare, statementTimeout, url } = settings
  const { database, host, isPlain, password, path, port, username } = Address.read(url)
  const to = path === undefined ? { host, port, noDelay: true, keepAlive: true, keepAliveInitialDelay } : { path }
  return {
    // For its `sslmode`, and what else the driver knows of it.
    url,
    host,
    port,
    path,
    username,
    password: settings.password ?? password,
    database,
    ssl: ca === undefined || isPlain ? undefined : { ca },
    stream: () => sockets.open(to),
    connectTimeout,
    maxConnections,
    minConnections: Math.min(minConnections, maxConnections),
    idleTimeout,
    connectionTTL: settings.connectionLifetime,
    prepare,
    startupParameters:
      statementTimeout === undefined ? {} : { statement_timeout: `${Math.ceil(Duration.toMillis(statementTimeout))}` }
  }
}

export const postgres: Driver<Resolved, PgClient.PgClient> = {
  endpoint: ({ url }) => Address.inWords(url),
  client: (settings, sockets) => PgClient.make(poolOf(settings, sockets)),
  ask: (settings, sockets) =>
    Effect.scoped(
      Effect.flatMap(PgConnection.make(poolOf(settings, sockets)), (connection) =>
        connection.query("SELECT 1", [], false)
      )
    )
}
