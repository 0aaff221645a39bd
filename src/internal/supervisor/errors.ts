import type * as Cause from "effect/Cause"
import * as Data from "effect/Data"

/** How one worker obeyed when it was told to stop. */
export interface WorkerStop {
  readonly name: string
  readonly outcome: "clean" | "failed" | "abandoned"
  readonly millis: number
  readonly cause: Cause.Cause<unknown> | undefined
}

/** How a stop of several workers went. */
export interface StopReport {
  readonly complete: boolean
  readonly millis: number
  readonly workers: ReadonlyArray<WorkerStop>
}

const list = (names: ReadonlyArray<string>): string =>
  names.length === 0 ? "none" : names.map((name) => `"${name}"`).join(", ")

/** A worker that is not optional has failed and is not started again. */
export class WorkerFailed<out E = unknown> extends Data.TaggedError("WorkerFailed")<{
  readonly worker: string
  readonly restarts: number
  readonly cause: Cause.Cause<unknown>
  readonly stop: StopReport
}> {
  declare readonly cause: Cause.Cause<E>

  override get message(): string {
    const times = this.restarts === 0 ? "" : ` after ${this.restarts} restarts`
    const left = this.stop.workers.filter(({ outcome }) => outcome === "abandoned").map(({ name }) => name)
    return (
      `The worker "${this.worker}" has failed for good${times}, which ended supervision; its cause says why. Cure that, ` +
      `give it a longer schedule, or make it optional` +
      (left.length === 0 ? "" : `. Still running when nobody waited any longer: ${list(left)}`)
    )
  }
}

/** Names that no worker has. */
export class UnknownWorkers extends Data.TaggedError("UnknownWorkers")<{
  readonly unknown: ReadonlyArray<string>
  readonly known: ReadonlyArray<string>
}> {
  override get message(): string {
    return `No worker is called ${list(this.unknown)}. The known workers are: ${list(this.known)}`
  }
}

/** Workers or options that cannot be used: everything that is wrong with them, at once. */
export class InvalidWorkers extends Data.TaggedError("InvalidWorkers")<{
  readonly problems: ReadonlyArray<string>
}> {
  override get message(): string {
    return this.problems.join("; ")
  }
}

/** The supervisor is stopping or has stopped: nothing can be started under it any more. */
export class SupervisionEnded extends Data.TaggedError("SupervisionEnded")<{ readonly worker: string }> {
  override get message(): string {
    return `The worker "${this.worker}" cannot be started: its supervisor has stopped. Start it under a new one`
  }
}

/** The defect of a scope whose workers did not stop within their bounds. */
export class StopIncomplete extends Data.TaggedError("StopIncomplete")<{ readonly report: StopReport }> {
  override get message(): string {
    const left = this.report.workers.filter(({ outcome }) => outcome === "abandoned").map(({ name }) => name)
    return (
      `Still running after ${Math.round(this.report.millis)} ms, when nobody waited any longer: ${list(left)}. ` +
      `Make their work interruptible, or give them a longer stopTimeout`
    )
  }
}
