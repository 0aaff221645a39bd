/** What a supervisor tells the Maestro above it; without one, nobody hears it. */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { degraded, fail, recovered } from "../../Maestro.ts"
import type { Status, Supervision } from "./supervise.ts"

/** What is wrong with a worker, or nothing; `undefined` when its state says neither. */
const troubleOf = ({ name, state }: Status): string | false | undefined => {
  switch (state._tag) {
    case "Restarting":
      return `the worker "${name}" waits for its restart`
    case "Abandoned":
      return `the worker "${name}" does not stop`
    case "Failed":
      return `the worker "${name}" has failed for good`
    case "Running":
    case "Stopped":
    case "Disabled":
      return false
    // On the way to a run: whether that one is any better shows when it runs.
    default:
      return undefined
  }
}

/** Reports troubles as the service's own, and the failure of supervision as that of the run. */
export const reportToMaestro = Effect.fnUntraced(function* (
  supervision: Pick<Supervision, "await" | "changes">
): Effect.fn.Return<void, never, Scope.Scope> {
  const troubles = new Map<string, string>()
  yield* supervision.changes.pipe(
    Stream.runForEach((status) =>
      Effect.suspend(() => {
        const trouble = troubleOf(status)
        const before = troubles.size
        if (trouble === undefined || trouble === (troubles.get(status.name) ?? false)) return Effect.void
        if (trouble === false) troubles.delete(status.name)
        else troubles.set(status.name, trouble)
        if (troubles.size > 0) return degraded(Array.from(troubles.values()).join(", "))
        return before > 0 ? recovered : Effect.void
      })
    ),
    Effect.forkScoped
  )
  yield* supervision.await.pipe(
    Effect.catch((failure) => fail(Cause.fail(failure))),
    Effect.forkScoped
  )
})
