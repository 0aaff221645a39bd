/** What the parts of the library say of themselves. */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import type { Coordinator } from "../../Coordinator.ts"
import type { Maestro } from "../../Maestro.ts"
import { describeCause } from "../../Membership.ts"
import type { SessionState } from "../../Session.ts"
import type { WorkerState, WorkerStatus } from "../../Supervisor.ts"
import type { Check, Source } from "./registry.ts"
import { judged, make } from "./registry.ts"
import type { Probe, Verdict } from "./report.ts"
import { verdict } from "./report.ts"

type MaestroHandle = Maestro["Service"]
export type ServiceStatus = Effect.Success<MaestroHandle["states"]>[number]
type ServiceCheck = Effect.Success<MaestroHandle["checks"]>[number]
type Phase = Effect.Success<MaestroHandle["phase"]>

const said = (name: string, said: Verdict): Check => ({ name, probes: [], run: Effect.succeed(said) })

const ofPhase = (phase: Phase, probe: Probe): Verdict => {
  switch (phase) {
    case "idle":
    case "starting":
      return verdict("fail", "starting")
    case "running":
      return verdict("pass")
    default:
      return probe === "startup" ? verdict("pass") : verdict("fail", "stopping")
  }
}

const ofService = ({ failure, optional, reason, state }: ServiceStatus): Verdict => {
  const bad = optional ? "warn" : "fail"
  switch (state) {
    case "ready":
      return verdict("pass")
    case "degraded":
      return verdict("warn", reason ?? "degraded")
    case "failed": {
      const why = failure?._tag === "DependencyUnavailable" ? `${failure.dependency} is not available` : undefined
      return verdict(bad, `failed${why === undefined ? failureOf(failure) : `: ${why}`}`)
    }
    default:
      return verdict(bad, state)
  }
}

const failureOf = (failure: ServiceStatus["failure"]): string => {
  if (failure === undefined) return ""
  const error = Cause.squash(failure.cause)
  return `: ${error instanceof Error ? error.message : String(error)}`
}

/** The Maestro bounds the check by the policy of its service. */
const ofServiceCheck = (status: ServiceStatus, { check, optional }: ServiceCheck): Check => ({
  name: status.name,
  probes: [],
  run: judged(Effect.as(check, ofService(status)), optional)
})

/**
 * A run's phase, and each of its services: for readiness with their health checks, for the startup until it is over. Never for
 * liveness: a process whose dependencies are down is not cured by replacing it, and all processes would be replaced at once.
 */
export const ofMaestro =
  (maestro: MaestroHandle): Source =>
  (probe) =>
    probe === "live"
      ? Effect.succeed([])
      : Effect.gen(function* () {
          const phase = yield* maestro.phase
          const run = said("maestro", ofPhase(phase, probe))
          const isStarted = phase !== "idle" && phase !== "starting"
          if (probe === "startup" && isStarted) return [run]
          const checks = new Map((yield* maestro.checks).map((check) => [check.service, check]))
          const services = (yield* maestro.states).map((status) => {
            const check = isStarted ? checks.get(status.name) : undefined
            return check === undefined ? said(status.name, ofService(status)) : ofServiceCheck(status, check)
          })
          return [run, ...services]
        })

const ofSession = (state: SessionState): Verdict => {
  switch (state._tag) {
    case "Connected":
      return verdict("pass")
    case "Suspended":
      return verdict("warn", `suspended: ${state.cause.message}`)
    case "Connecting":
      return verdict("fail", `connecting${state.cause === undefined ? "" : `: ${state.cause.message}`}`)
    case "Lost":
      return verdict("fail", `lost: ${describeCause(state.cause)}`)
    case "Closed":
      return verdict("fail", "closed")
  }
}

export const ofCoordinator =
  ({ engine, session }: Coordinator["Service"]): Source =>
  (probe) =>
    Effect.succeed(
      probe === "ready"
        ? [
            make(
              engine,
              Effect.map(Stream.runHead(session), (state) =>
                Option.isSome(state) ? ofSession(state.value) : verdict("fail", "closed")
              ),
              {}
            )
          ]
        : []
    )

const ofWorker = (state: WorkerState, optional: boolean): Verdict => {
  switch (state._tag) {
    case "Running":
    case "Stopped":
    case "Disabled":
      return verdict("pass")
    case "Stopping":
      return state.next === "Disabled" ? verdict("pass") : verdict("warn", "stopping")
    case "Restarting":
      return verdict("warn", `starts again ${Math.round(state.delayMillis)} ms after its end`)
    case "Abandoned":
      return verdict("warn", "was told to stop and does not")
    case "Failed":
      return verdict(optional ? "warn" : "fail", "failed for good")
    default:
      return verdict("warn", "starting")
  }
}

/** A check for each worker, for readiness. */
export const ofWorkers =
  (supervisor: string, statuses: Effect.Effect<ReadonlyArray<WorkerStatus>>): Source =>
  (probe) =>
    probe === "ready"
      ? Effect.map(statuses, (all) =>
          all.map(({ name, optional, state }) => said(`${supervisor}/${name}`, ofWorker(state, optional)))
        )
      : Effect.succeed([])
