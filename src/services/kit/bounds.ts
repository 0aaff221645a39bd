/** The bounds that every service has, so that none of its phases can last for ever. */
import type * as Duration from "effect/Duration"
import * as Setting from "./setting.ts"
import type { Table } from "./settings.ts"

/**
 * The bounds of a service.
 *
 * **Details**
 *
 * - `connectTimeout` (`TIMEOUT_CONNECT`): how long one start may take, the first round trip included. Default 10 seconds.
 * - `callTimeout` (`TIMEOUT_CALL`): how long one call through `use` may take. Default 30 seconds. Calls of the client itself have
 *   the bounds that the client gives them.
 * - `probeTimeout` (`TIMEOUT_PROBE`): how long the server may take to answer `health`. Default 2 seconds.
 * - `probeInterval` (`PROBE_INTERVAL`): how often the service looks at its server by itself, and tells a Maestro what it
 *   finds. Default 5 seconds.
 * - `closeTimeout` (`TIMEOUT_CLOSE`): how long work in flight may take to end at a stop; then its connections are cut. Default
 *   5 seconds.
 *
 * @category models
 * @since 0.1.0
 */
export interface Bounds {
  readonly connectTimeout?: Duration.Input | undefined
  readonly callTimeout?: Duration.Input | undefined
  readonly probeTimeout?: Duration.Input | undefined
  readonly probeInterval?: Duration.Input | undefined
  readonly closeTimeout?: Duration.Input | undefined
}

/** The same, checked. */
export interface Resolved {
  readonly connectTimeout: Duration.Duration
  readonly callTimeout: Duration.Duration
  readonly probeTimeout: Duration.Duration
  readonly probeInterval: Duration.Duration
  readonly closeTimeout: Duration.Duration
}

/** The defaults may be others where a server is slower than most to answer, or faster. */
export const table = ({
  call = "30 seconds",
  connect = "10 seconds"
}: { readonly connect?: Duration.Input; readonly call?: Duration.Input } = {}): Table<Resolved> => ({
  connectTimeout: Setting.duration("TIMEOUT_CONNECT", { about: "how long one start may take", default: connect }),
  callTimeout: Setting.duration("TIMEOUT_CALL", { about: "how long one call may take", default: call }),
  probeTimeout: Setting.duration("TIMEOUT_PROBE", {
    about: "how long the server may take to answer a probe",
    default: "2 seconds"
  }),
  probeInterval: Setting.duration("PROBE_INTERVAL", {
    about: "how often the server is probed while it is used",
    default: "5 seconds"
  }),
  closeTimeout: Setting.duration("TIMEOUT_CLOSE", {
    about: "how long work in flight may take to end at a stop",
    // Half of what Maestro gives a stop by default, so the cut comes before the service is given up.
    default: "5 seconds"
  })
})
