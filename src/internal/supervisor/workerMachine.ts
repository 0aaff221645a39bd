/** A worker's whole behaviour as one total function; `crew.ts` hangs the effects off the states that it enters. */
import type * as Cause from "effect/Cause"

/** What a worker becomes when the run that is being stopped has ended. */
export type Next = "Enabled" | "Disabled" | "Stopped"

export type WorkerState =
  | { readonly _tag: "Disabled" }
  | { readonly _tag: "Enabled" }
  | { readonly _tag: "Initializing" }
  | { readonly _tag: "Initialized" }
  | { readonly _tag: "Running" }
  | {
      readonly _tag: "Restarting"
      readonly delayMillis: number
      readonly cause: Cause.Cause<unknown> | undefined
    }
  | { readonly _tag: "Stopping"; readonly next: Next }
  | { readonly _tag: "Abandoned"; readonly next: Next }
  | { readonly _tag: "Stopped" }
  | { readonly _tag: "Failed"; readonly cause: Cause.Cause<unknown> }

/**
 * What can happen to a worker.
 *
 * - `Enable`, `Disable`: somebody wants it to run, or not to.
 * - `InitDue`: its turn to begin has come. `Initialized`: its init has succeeded. `RunDue`: so have all it began with.
 * - `Ended`: its run is over and everything it had acquired is released. `delayMillis` is there when its policy wants
 *   another run and the schedule has one left; `cause` when it failed.
 * - `Woke`: the delay has passed.
 * - `Recall`: another's restart takes this one along. `Stop`: supervision ends.
 * - `TimedOut`: told to stop, it has not, and nobody waits any longer.
 */
export type WorkerEvent =
  | { readonly _tag: "Enable" }
  | { readonly _tag: "Disable" }
  | { readonly _tag: "InitDue" }
  | { readonly _tag: "Initialized" }
  | { readonly _tag: "RunDue" }
  | {
      readonly _tag: "Ended"
      readonly cause: Cause.Cause<unknown> | undefined
      readonly delayMillis: number | undefined
    }
  | { readonly _tag: "Woke" }
  | { readonly _tag: "Recall" }
  | { readonly _tag: "Stop" }
  | { readonly _tag: "TimedOut" }

export const initial: WorkerState = { _tag: "Disabled" }

const enabled: WorkerState = { _tag: "Enabled" }
const stopping = (next: Next): WorkerState => ({ _tag: "Stopping", next })

/** A run is going on: there is a fiber, and only its end may lead to another run. */
export const isActive = (state: WorkerState): boolean =>
  state._tag === "Initializing" ||
  state._tag === "Initialized" ||
  state._tag === "Running" ||
  state._tag === "Stopping" ||
  state._tag === "Abandoned"

/** Nothing runs, and nothing will unless somebody enables it. */
export const isAtRest = (state: WorkerState): boolean =>
  state._tag === "Disabled" || state._tag === "Stopped" || state._tag === "Failed"

/** The next state; the very same one when the event means nothing to it. */
export const transition = (state: WorkerState, event: WorkerEvent): WorkerState => {
  switch (event._tag) {
    case "Enable":
      if (isAtRest(state)) return enabled
      // The old run has not ended: the new one has to wait for that.
      return redirect(state, "Enabled")
    case "Disable":
      if (isActive(state)) return halt(state, "Disabled")
      return state._tag === "Disabled" ? state : { _tag: "Disabled" }
    case "Stop":
      if (isActive(state)) return halt(state, "Stopped")
      return isAtRest(state) ? state : { _tag: "Stopped" }
    case "Recall":
      return state._tag === "Stopping" || state._tag === "Abandoned" || !isActive(state) ? state : stopping("Enabled")
    case "InitDue":
      return state._tag === "Enabled" ? { _tag: "Initializing" } : state
    case "Initialized":
      return state._tag === "Initializing" ? { _tag: "Initialized" } : state
    case "RunDue":
      return state._tag === "Initialized" ? { _tag: "Running" } : state
    case "Ended":
      if (state._tag === "Stopping" || state._tag === "Abandoned") return { _tag: state.next }
      if (!isActive(state)) return state
      if (event.delayMillis !== undefined) {
        return { _tag: "Restarting", delayMillis: event.delayMillis, cause: event.cause }
      }
      return event.cause === undefined ? { _tag: "Stopped" } : { _tag: "Failed", cause: event.cause }
    case "Woke":
      return state._tag === "Restarting" ? enabled : state
    case "TimedOut":
      return state._tag === "Stopping" ? { _tag: "Abandoned", next: state.next } : state
  }
}

/** Changes what follows on a stop under way. */
const redirect = (state: WorkerState, next: Next): WorkerState =>
  (state._tag === "Stopping" || state._tag === "Abandoned") && state.next !== next ? { ...state, next } : state

const halt = (state: WorkerState, next: Next): WorkerState => {
  if (state._tag !== "Stopping" && state._tag !== "Abandoned") return stopping(next)
  // The end of supervision stops what was to start again, and leaves disabled what somebody has disabled.
  return next === "Stopped" && state.next === "Disabled" ? state : redirect(state, next)
}
