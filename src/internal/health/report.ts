/** What checks say, how the sayings of many become one, and how that reads for people and for machines. */
import * as DateTime from "effect/DateTime"

/** What is asked: must the process be replaced, may it be given work, has it started? */
export type Probe = "live" | "ready" | "startup"

/** `warn` is for people: the probe is answered as with `pass`. */
export type Status = "pass" | "warn" | "fail"

const VerdictId = "~effect-ensemble/Health/Verdict"

export interface Verdict {
  readonly [VerdictId]: true
  readonly status: Status
  readonly reason: string | undefined
}

export const verdict = (status: Status, reason?: string): Verdict => ({ [VerdictId]: true, status, reason })

export const isVerdict = (value: unknown): value is Verdict =>
  typeof value === "object" && value !== null && VerdictId in value

/** What one check said, when it was asked (milliseconds since 1970), and how long that took. */
export interface Finding {
  readonly name: string
  readonly status: Status
  readonly reason: string | undefined
  readonly at: number
  readonly millis: number
}

export interface Report {
  readonly probe: Probe
  readonly status: Status
  readonly checks: ReadonlyArray<Finding>
  /** Names that were to be left out and that no check has. */
  readonly unmatched: ReadonlyArray<string>
}

const order: ReadonlyArray<Status> = ["pass", "warn", "fail"]

/** A chain is as good as its weakest link; without any, it holds. */
export const worst = (statuses: ReadonlyArray<Status>): Status =>
  order[Math.max(0, ...statuses.map((status) => order.indexOf(status)))] ?? "fail"

const marks: Readonly<Record<Status, string>> = { pass: "[+]", warn: "[!]", fail: "[-]" }
const words: Readonly<Record<Status, string>> = { pass: "ok", warn: "warning", fail: "failed" }
export const paths: Readonly<Record<Probe, `/${string}`>> = { live: "/livez", ready: "/readyz", startup: "/startupz" }

/** A line for each check, as the Kubernetes API server prints its own, and the sum of all. */
export const toText = (report: Report): string => {
  const lines = report.checks.map(({ name, reason, status }) =>
    [marks[status], name, " ", words[status], reason === undefined ? "" : `: ${reason.replace(/\s*\n\s*/g, " ")}`].join(
      ""
    )
  )
  const unmatched = report.unmatched.map((name) => `warn: nothing to exclude: no check is called "${name}"`)
  const end = `${paths[report.probe].slice(1)} check ${report.status === "fail" ? "failed" : "passed"}`
  return `${[...lines, ...unmatched, end].join("\n")}\n`
}

/** The body of draft-inadarei-api-health-check-06, whose media type is application/health+json. */
export const toJson = ({ checks, probe, status }: Report) => {
  const byName: Record<string, Array<Record<string, unknown>>> = {}
  for (const { at, millis, name, reason, status } of checks) {
    const entry = {
      status,
      observedValue: Math.round(millis),
      observedUnit: "ms",
      time: DateTime.formatIso(DateTime.makeUnsafe(at)),
      ...(reason === undefined ? undefined : { output: reason })
    }
    const entries = byName[name] ?? []
    entries.push(entry)
    byName[name] = entries
  }
  return { status, description: `${paths[probe].slice(1)} of this process`, checks: byName }
}
