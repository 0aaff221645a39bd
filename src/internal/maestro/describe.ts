/** One line for a cause or a status, for messages and reports. */
import * as Cause from "effect/Cause"
import type { ServiceStatus } from "./model.ts"

const describeError = (error: unknown): string => {
  if (error instanceof Error) return error.message === "" ? error.name : error.message
  return typeof error === "object" && error !== null && "_tag" in error ? String(error._tag) : String(error)
}

/** Every failure and defect of a cause, in the order of the cause. */
export const describeCause = (cause: Cause.Cause<unknown>): string => {
  const texts = cause.reasons.flatMap((reason) => {
    if (Cause.isFailReason(reason)) return [describeError(reason.error)]
    return Cause.isDieReason(reason) ? [`defect: ${describeError(reason.defect)}`] : []
  })
  return texts.length === 0 ? "interrupted" : texts.join("; ")
}

const attempts = (count: number): string =>
  count === 0 ? "never attempted" : count === 1 ? "1 attempt" : `${count} attempts`

/** The name, the state and what there is to say about it. */
export const describeStatus = (status: ServiceStatus): string => {
  const { failure, reason, stopFailure } = status
  const details = [
    failure === undefined
      ? undefined
      : failure._tag === "DependencyUnavailable"
        ? `its dependency ${failure.dependency} is not available`
        : describeCause(failure.cause),
    status.state === "degraded" ? reason : undefined,
    stopFailure === undefined ? undefined : `its clean-up failed: ${describeCause(stopFailure)}`
  ].filter((text) => text !== undefined)
  const optional = status.optional ? ", optional" : ""
  const tail = details.length === 0 ? "" : `: ${details.join("; ")}`
  return `${status.name} ${status.state} (${attempts(status.attempts)}${optional})${tail}`
}
