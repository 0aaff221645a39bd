/** A service's states, and what moves it from one to another. */
import type { Happening, ServiceState, ServiceStatus } from "./model.ts"

/**
 * The states, as `transition` keeps them:
 *
 * ```text
 *             Starting              Ready             Degraded
 *   waiting ───────────▶ starting ─────────▶ ready ◀────────────▶ degraded
 *      ▲ ◀───────────────   │ ▲                       Recovered
 *      │     Waiting        │ │ Starting
 *      │                    ▼ │
 *      └──────────────── retrying  ◀─ AttemptFailed
 *
 *   waiting, starting, retrying ── Failed ──▶ failed ── Abandoned ──▶ abandoned
 *   any of the above but failed ── Stopping ──▶ stopping ── Stopped ──▶ stopped
 *                                                       └── Abandoned ──▶ abandoned
 * ```
 */
const moves: Readonly<Record<Happening["_tag"], ReadonlyArray<ServiceState>>> = {
  Waiting: ["starting", "retrying"],
  Starting: ["waiting", "retrying"],
  AttemptFailed: ["waiting", "starting"],
  Ready: ["starting"],
  // Also before it is ready: it may know in its constructor that it starts with less than it should have.
  Degraded: ["waiting", "starting", "ready", "degraded"],
  Recovered: ["waiting", "starting", "degraded"],
  Failed: ["waiting", "starting", "retrying"],
  Stopping: ["waiting", "starting", "retrying", "ready", "degraded"],
  Stopped: ["stopping"],
  // A failed one too: what timed out may still be acquiring when the program has to end.
  Abandoned: ["stopping", "failed"]
}

const up = (reason: string | undefined): Partial<ServiceStatus> => ({
  state: reason === undefined ? "ready" : "degraded",
  reason
})

const change = (status: ServiceStatus, happening: Happening): Partial<ServiceStatus> => {
  switch (happening._tag) {
    case "Waiting":
      return { state: "waiting" }
    case "Starting":
      return { state: "starting", attempts: happening.attempt }
    case "AttemptFailed":
      return { state: "retrying", reason: undefined }
    case "Ready":
      return up(status.reason)
    case "Degraded":
      return status.state === "ready" ? up(happening.reason) : { reason: happening.reason }
    case "Recovered":
      return status.state === "degraded" ? up(undefined) : { reason: undefined }
    case "Failed":
      return { state: "failed", failure: happening.failure }
    case "Stopping":
      return { state: "stopping" }
    case "Stopped":
      return { state: "stopped", stopFailure: happening.failure }
    case "Abandoned":
      return { state: "abandoned" }
  }
}

/**
 * A service's whole behaviour. A happening that its state does not admit, or that changes nothing, gives the very same
 * status: late news of a fiber that was given up must not bring a service back.
 */
export const transition = (status: ServiceStatus, happening: Happening, at: number): ServiceStatus => {
  if (!moves[happening._tag].includes(status.state)) return status
  const changed = change(status, happening)
  const state = changed.state ?? status.state
  if (state === status.state) {
    return (changed.reason ?? undefined) === status.reason ? status : { ...status, ...changed }
  }
  const spent = { ...status.spent, [status.state]: (status.spent[status.state] ?? 0) + (at - status.since) }
  return { ...status, ...changed, spent, since: at }
}

/** The status of a service that was just met. */
export const met = (
  { labels, name, optional }: Pick<ServiceStatus, "name" | "optional" | "labels">,
  at: number
): ServiceStatus => ({
  name,
  optional,
  labels,
  state: "waiting",
  since: at,
  attempts: 0,
  spent: {},
  reason: undefined,
  failure: undefined,
  stopFailure: undefined
})
