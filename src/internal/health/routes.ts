/** The probes over HTTP, in the way of the Kubernetes API server. */
import * as Effect from "effect/Effect"
import * as HttpMiddleware from "effect/http/HttpMiddleware"
import * as HttpRouter from "effect/http/HttpRouter"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import type { Registry } from "./registry.ts"
import type { Probe, Report } from "./report.ts"
import { paths, toJson, toText } from "./report.ts"

/** How a caller wants to be answered: by the line, by every check, or as data. */
export type Form = "short" | "verbose" | "json"

const mediaType = "application/health+json"

/** The form that an Accept header asks for by name; a browser's or curl's own asks for none. */
export const formOf = (accept: string | undefined, verbose: boolean): Form => {
  const types = new Set((accept ?? "").split(",").map((part) => (part.split(";")[0] ?? "").trim().toLowerCase()))
  if (types.has(mediaType) || types.has("application/json")) return "json"
  return verbose ? "verbose" : "short"
}

const respond = (report: Report, form: Form): HttpServerResponse.HttpServerResponse => {
  const options = {
    status: report.status === "fail" ? 503 : 200,
    // A cached answer would keep a dead process in service.
    headers: { "cache-control": "no-store" }
  }
  if (form === "json") return HttpServerResponse.jsonUnsafe(toJson(report), { ...options, contentType: mediaType })
  // A failure is always told in full: it is what somebody will look at afterwards.
  return form === "short" && report.status !== "fail"
    ? HttpServerResponse.text("ok", options)
    : HttpServerResponse.text(toText(report), options)
}

const handler = (report: Registry["report"], probe: Probe) =>
  Effect.gen(function* () {
    const request = yield* HttpServerRequest.HttpServerRequest
    const { params } = yield* HttpRouter.RouteContext
    const query = yield* HttpServerRequest.ParsedSearchParams
    const only = params["*"] === "" ? undefined : params["*"]
    const excluded = query["exclude"] ?? []
    const answer = yield* report(probe, {
      only,
      exclude: typeof excluded === "string" ? [excluded] : excluded
    })
    if (only !== undefined && answer.checks.length === 0) {
      return HttpServerResponse.text(`No check of ${paths[probe]} is called "${only}"\n`, { status: 404 })
    }
    return respond(answer, formOf(request.headers["accept"], "verbose" in query))
    // Asked every few seconds for ever: a line for each would bury the log.
  }).pipe(HttpMiddleware.withLoggerDisabled)

/** Adds the three probes and the sub-paths of their checks. HEAD is answered by the router. */
export const add = Effect.fnUntraced(function* (report: Registry["report"]) {
  const router = yield* HttpRouter.HttpRouter
  for (const probe of ["live", "ready", "startup"] as const) {
    // Matches the path itself, too.
    yield* router.add("GET", `${paths[probe]}/*`, handler(report, probe))
  }
})
