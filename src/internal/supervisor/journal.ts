/** What the log and the metrics say of a worker's transitions. */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import * as metrics from "./metrics.ts"
import type { WorkerStop } from "./errors.ts"
import type { Spec } from "./spec.ts"
import type { WorkerState } from "./workerMachine.ts"

export const report = (
  { name: worker, optional }: Spec,
  before: WorkerState,
  after: WorkerState,
  { restarts, stop }: { readonly restarts: number; readonly stop: WorkerStop | undefined }
): Effect.Effect<void> => {
  const ofStop = before._tag === "Stopping" || before._tag === "Abandoned"
  return Effect.annotateLogs(
    ofStop && after._tag !== "Abandoned"
      ? afterStop(worker, before, after, stop)
      : during(worker, optional, after, restarts, stop),
    { worker }
  )
}

const during = (
  worker: string,
  optional: boolean,
  after: WorkerState,
  restarts: number,
  stop: WorkerStop | undefined
): Effect.Effect<void> => {
  switch (after._tag) {
    case "Running":
      return Effect.logInfo(`The worker "${worker}" runs`)
    case "Restarting": {
      const { cause } = after
      const how = cause === undefined ? "ended" : "failed"
      const text = `The worker "${worker}" has ${how} and starts again in ${Math.round(after.delayMillis)} ms (restart ${restarts})`
      return Effect.andThen(
        cause === undefined ? Effect.logInfo(text) : Effect.logWarning(text, cause),
        Metric.update(
          Metric.withAttributes(metrics.restarts, { worker, after: cause === undefined ? "end" : "failure" }),
          1
        )
      )
    }
    case "Failed":
      return Effect.logError(
        `The worker "${worker}" has failed for good: ${optional ? "it is optional, the others go on" : "supervision ends"}`,
        after.cause
      )
    case "Abandoned":
      return Effect.andThen(
        Effect.logError(
          `The worker "${worker}" was told to stop and still runs after ${Math.round(stop?.millis ?? 0)} ms: nobody waits ` +
            `for it any longer. Make its work interruptible, or give it a longer stopTimeout`
        ),
        Metric.update(Metric.withAttributes(metrics.abandoned, { worker }), 1)
      )
    case "Stopped":
      return Effect.logInfo(`The worker "${worker}" has ended`)
    default:
      return Effect.void
  }
}

const afterStop = (
  worker: string,
  before: WorkerState,
  after: WorkerState,
  stop: WorkerStop | undefined
): Effect.Effect<void> => {
  if (after._tag === before._tag) return Effect.void
  const late = before._tag === "Abandoned" ? ", late" : ""
  const text = `The worker "${worker}" has stopped after ${Math.round(stop?.millis ?? 0)} ms${late}`
  const { cause } = stop ?? {}
  return cause === undefined || Cause.hasInterruptsOnly(cause)
    ? Effect.logInfo(text)
    : Effect.logWarning(`${text}, and its clean-up has failed`, cause)
}
