import { CoordinatorError, OutcomeUnknown, Unreachable } from "../CoordinatorError.ts"

/**
 * A client that throws has failed like any other. A defect would end the fiber that renews, watches the deadline or
 * reconciles without a word, and what it keeps true would be believed for ever.
 */
export const unexpected =
  (at: { readonly engine: string; readonly endpoint: string }, operation: string, kind: "read" | "write" = "read") =>
  (defect: unknown): CoordinatorError => {
    const detail = `The client failed in a way that it does not declare: ${String(defect)}`
    return new CoordinatorError({
      engine: at.engine,
      operation,
      endpoint: at.endpoint,
      reason:
        kind === "read" ? new Unreachable({ detail, cause: defect }) : new OutcomeUnknown({ detail, cause: defect })
    })
  }
