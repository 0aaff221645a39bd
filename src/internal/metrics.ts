/**
 * Every metric of the library in one place, so that names and units stay consistent. Durations are in milliseconds.
 *
 * Those that every change of a group updates take their attributes when they are made: given with
 * `Metric.withAttributes`, they would be merged and spelled into the metric's key anew at each update.
 */
import * as Metric from "effect/Metric"

/** Members of a group in the newest view of this process. Attributes: `group`. */
export const members = (attributes: { readonly group: string }) =>
  Metric.gauge("ensemble_group_members", { description: "Members of a group as this process sees it", attributes })

/** Membership changes that this process has seen. Attributes: `group`, `change`. */
export const changes = (attributes: { readonly group: string; readonly change: "joined" | "updated" | "left" }) =>
  Metric.counter("ensemble_group_changes", {
    description: "Membership changes seen by this process",
    incremental: true,
    attributes
  })

/** 1 while the view of a group is stale. Attributes: `group`. */
export const stale = (attributes: { readonly group: string }) =>
  Metric.gauge("ensemble_group_stale", {
    description: "1 while this process's view of the group is stale, else 0",
    attributes
  })

/** Times a watch read the group anew. Attributes: `group`, `cause`. */
export const resyncs = Metric.counter("ensemble_watch_resyncs", {
  description: "Times a watch listed its group anew",
  incremental: true
})

/** Renewals of the session. Attributes: `outcome` (`acknowledged` or `failed`). */
export const renewals = Metric.counter("ensemble_session_renewals", {
  description: "Session renewals by outcome",
  incremental: true
})

/** Sessions lost. Attributes: `cause`. */
export const sessionsLost = Metric.counter("ensemble_sessions_lost", {
  description: "Sessions lost by cause",
  incremental: true
})

/** 1 while this process leads. Attributes: `group`. */
export const leading = Metric.gauge("ensemble_leadership_held", {
  description: "1 while this process leads the election, else 0"
})

/** From joining an election to leading it. Attributes: `group`. */
export const campaignTime = Metric.timer("ensemble_campaign_duration", {
  description: "Time from campaigning to being elected"
})

/** From the news that the predecessor is gone to the grant, as a candidate sees it. Attributes: `group`. */
export const handOverTime = Metric.timer("ensemble_hand_over_duration", {
  description: "Time from the predecessor's end to being granted the turn"
})

/** Bodies that still ran when the store could already have given their place away. Attributes: `group`. */
export const overruns = Metric.counter("ensemble_overruns", {
  description: "Bodies still running at the end of the granted TTL",
  incremental: true
})

/** Bodies stopped and started anew. Attributes: `group`. */
export const restarts = Metric.counter("ensemble_body_restarts", {
  description: "Bodies restarted because the place changed",
  incremental: true
})
