import * as Metric from "effect/Metric"

/** Runs that were started again. Attributes: `worker`, `after` (`failure` or `end`). */
export const restarts = Metric.counter("ensemble_worker_restarts", {
  description: "Worker runs started again by their policy",
  incremental: true
})

/** Workers that were told to stop and did not within their bound. Attributes: `worker`. */
export const abandoned = Metric.counter("ensemble_workers_abandoned", {
  description: "Workers still running when nobody waited for their stop any longer",
  incremental: true
})
