/** What the driver is told. */
import type { ClientOptions } from "cassandra-driver"
import { auth, ExecutionProfile, policies, types } from "cassandra-driver"
import * as Duration from "effect/Duration"
import * as Redacted from "effect/Redacted"

/** Cassandra's own. */
export const defaultPort = 9042

/** Those that reads and writes have in common: a default is for both. */
const byName = {
  ONE: types.consistencies.one,
  TWO: types.consistencies.two,
  THREE: types.consistencies.three,
  QUORUM: types.consistencies.quorum,
  ALL: types.consistencies.all,
  LOCAL_ONE: types.consistencies.localOne,
  LOCAL_QUORUM: types.consistencies.localQuorum,
  EACH_QUORUM: types.consistencies.eachQuorum
} as const

export type Consistency = keyof typeof byName

export const consistencies = [
  "ONE",
  "TWO",
  "THREE",
  "QUORUM",
  "ALL",
  "LOCAL_ONE",
  "LOCAL_QUORUM",
  "EACH_QUORUM"
] as const satisfies ReadonlyArray<Consistency>

interface Given {
  readonly addresses: ReadonlyArray<string>
  readonly datacenter: string
  readonly keyspace: string | undefined
  readonly consistency: Consistency
  readonly username: string | undefined
  readonly password: Redacted.Redacted<string> | undefined
  readonly connections: number
  readonly ca: string | undefined
  readonly connectTimeout: Duration.Duration
  readonly callTimeout: Duration.Duration
  readonly probeInterval: Duration.Duration
}

/** Most outages are restarts. The driver's own pause grows to ten minutes, and holds up the end of the process as long. */
const [shortestPause, longestPause] = [100, 1_000]

/** The driver's own bounds, in milliseconds. They are shortened where a start has little time. */
const dialling = 5_000
const asking = 12_000

/** A start is tried on one node after the other, so a frozen one may have a part of its time at the most. */
const shareOfStart = 0.5

const portOf = (address: string): number => Number(address.slice(address.lastIndexOf(":") + 1))

export const optionsOf = (
  given: Given
): ClientOptions & { readonly monitorReporting: { readonly enabled: boolean } } => {
  const { ca, keyspace, password, username } = given
  const share = Duration.toMillis(given.connectTimeout) * shareOfStart
  return {
    contactPoints: [...given.addresses],
    localDataCenter: given.datacenter,
    ...(keyspace === undefined ? {} : { keyspace }),
    ...(username === undefined || password === undefined
      ? {}
      : { authProvider: new auth.PlainTextAuthProvider(username, Redacted.value(password)) }),
    // The driver would trust anybody.
    ...(ca === undefined ? {} : { sslOptions: { ca, rejectUnauthorized: true } }),
    protocolOptions: { port: portOf(given.addresses[0] ?? "") || defaultPort },
    queryOptions: { consistency: byName[given.consistency] },
    // Statements have the time of a call. The bound below is for what the driver asks by itself.
    profiles: [new ExecutionProfile("default", { readTimeout: Duration.toMillis(given.callTimeout) })],
    socketOptions: { connectTimeout: Math.min(dialling, share), readTimeout: Math.min(asking, share) },
    pooling: {
      coreConnectionsPerHost: { [types.distance.local]: given.connections, [types.distance.remote]: given.connections },
      // The probe goes over one connection of many; the others ask by themselves when they have nothing to do.
      heartBeatInterval: Duration.toMillis(given.probeInterval)
    },
    policies: {
      reconnection: new policies.reconnection.ExponentialReconnectionPolicy(shortestPause, longestPause, false)
    },
    // It is about DataStax's servers only, and keeps timers.
    monitorReporting: { enabled: false }
  }
}
