/** What systemd is told of a run: what has changed since it was last told, as the assignments of one notification. */
import * as Data from "effect/Data"
import type { ServiceStatus } from "./sources.ts"

export class NotifyFailed extends Data.TaggedError("NotifyFailed")<{ readonly cause: unknown }> {
  override get message(): string {
    return (
      `systemd could not be notified: ${this.cause instanceof Error ? this.cause.message : String(this.cause)}. ` +
      `Check that the program systemd-notify is installed, and that the unit has Type=notify and NotifyAccess=all`
    )
  }
}

/** What systemd knows so far. */
export interface Told {
  readonly ready: boolean
  readonly stopping: boolean
  readonly status: string
}

export const nothing: Told = { ready: false, stopping: false, status: "" }

/** How the run stands. `extendMillis` is the longest that something under way has announced to take since the last notice. */
export interface Standing {
  readonly phase: "idle" | "starting" | "running" | "draining" | "stopping" | "stopped"
  readonly services: ReadonlyArray<Pick<ServiceStatus, "name" | "state" | "reason" | "optional">>
  readonly extendMillis: number
}

const named = (services: Standing["services"], ...states: ReadonlyArray<string>): string =>
  services
    .filter(({ state }) => states.includes(state))
    .map(({ name }) => name)
    .join(", ")

const list = (parts: ReadonlyArray<readonly [what: string, names: string]>): string =>
  parts
    .filter(([, names]) => names !== "")
    .map(([what, names]) => `; ${what} ${names}`)
    .join("")

/** One line, as `systemctl status` shows it. */
export const statusText = ({ phase, services }: Standing): string => {
  const failed = ["failed", named(services, "failed")] as const
  switch (phase) {
    case "idle":
    case "starting": {
      const up = services.filter(({ state }) => state === "ready" || state === "degraded").length
      return `Starting: ${up} of ${services.length} ready${list([
        ["waiting for", named(services, "starting")],
        ["retrying", named(services, "retrying")],
        failed
      ])}`
    }
    case "running":
      return `Running${list([["degraded", named(services, "degraded")], failed])}`
    case "draining":
      return "Draining"
    case "stopping":
    case "stopped":
      return `Stopping${list([
        ["waiting for", named(services, "stopping")],
        ["abandoned", named(services, "abandoned")]
      ])}`
  }
}

/**
 * Beside the time that a pause or a stop has announced, room for what follows it: an attempt, or the next stop. Should that take longer, it
 * announces itself again.
 */
const slackMillis = 30_000

/** The assignments to send now, and what systemd knows then. READY comes once, and so does STOPPING. */
export const notice = (told: Told, standing: Standing): readonly [assignments: ReadonlyArray<string>, told: Told] => {
  const ready = told.ready || standing.phase === "running"
  const stopping = told.stopping || ["draining", "stopping", "stopped"].includes(standing.phase)
  // A newline would begin another assignment.
  const status = statusText(standing).replace(/\s+/g, " ")
  const isPending = standing.phase !== "running"
  const assignments = [
    ready && !told.ready ? "READY=1" : "",
    stopping && !told.stopping ? "STOPPING=1" : "",
    status === told.status ? "" : `STATUS=${status}`,
    isPending && standing.extendMillis > 0
      ? `EXTEND_TIMEOUT_USEC=${Math.round((standing.extendMillis + slackMillis) * 1_000)}`
      : ""
  ]
  return [assignments.filter((assignment) => assignment !== ""), { ready, stopping, status }]
}
