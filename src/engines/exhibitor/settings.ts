/** What the settings that are Exhibitor's own mean, checked before anything is asked. */
import * as Arr from "effect/Array"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import { CoordinatorError, InvalidOptions } from "../../CoordinatorError.ts"
import { durationProblem } from "../../internal/options.ts"
import type { Endpoints } from "../zookeeper/clients.ts"
import * as Ensemble from "../zookeeper/endpoints.ts"
import type { BasicAuth, Question } from "./list.ts"

/** How the Exhibitors are named in the settings; `Exhibitor.Options` says what each means. */
export interface Given {
  readonly endpoints?: string | ReadonlyArray<string> | undefined
  readonly path?: string | undefined
  readonly basicAuth?: BasicAuth | undefined
  readonly backup?: string | ReadonlyArray<string> | undefined
  readonly chroot?: string | undefined
  readonly pollInterval?: Duration.Input | undefined
  readonly pollTimeout?: Duration.Input | undefined
}

export interface Settings {
  /** As the Exhibitors are named in errors. */
  readonly label: string
  readonly urls: Arr.NonEmptyReadonlyArray<string>
  readonly question: Question
  readonly backup: Endpoints | undefined
  readonly chroot: string
  readonly intervalMillis: number
}

const standardEndpoint = "http://127.0.0.1:8080"

/** The default of Exhibitor's own `--port`. */
const standardPort = 8080

/** Curator's clients and Exhibitor's own documentation name it so. */
const standardPath = "/exhibitor/v1/cluster/list"

/** Exhibitor changes an ensemble server by server and waits for each, which takes minutes. */
const standardIntervalMillis = 10_000

/** Half of the default `connectTimeout`: when no Exhibitor answers, there must be time left for the back-up. */
const standardTimeoutMillis = 5_000

const shape = /^(?:(https?):\/\/)?(\[[0-9a-fA-F:.]+\]|[^/:@?#\s]+)(?::(\d{1,5}))?\/?$/

const urlOf = (endpoint: string): Result.Result<string, string> => {
  const [, scheme = "http", host, port = standardPort] = shape.exec(endpoint) ?? []
  return host === undefined || Number(port) < 1 || Number(port) > 65_535
    ? Result.fail(`"${endpoint}" is not an endpoint of Exhibitor. Write it like ${standardEndpoint}`)
    : Result.succeed(`${scheme}://${host}:${port}`)
}

const pathProblem = (path: string): string | undefined =>
  /^\/[^\s#]*$/.test(path) ? undefined : `The path "${path}" cannot be asked for. Write it like ${standardPath}`

const millisOf = (
  what: string,
  input: Duration.Input | undefined,
  otherwise: number
): Result.Result<number, string> => {
  if (input === undefined) return Result.succeed(otherwise)
  const problem = durationProblem(what, input)
  if (problem !== undefined) return Result.fail(problem)
  const millis = Duration.toMillis(Duration.fromInputUnsafe(input))
  return millis > 0 ? Result.succeed(millis) : Result.fail(`${what} is zero. Give something like "5 seconds"`)
}

const backupOf = (backup: string | ReadonlyArray<string> | undefined): Result.Result<Endpoints | undefined, string> => {
  if (backup === undefined) return Result.succeed(undefined)
  return Result.flatMap(Ensemble.parse(typeof backup === "string" ? backup : backup.join(",")), (ensemble) =>
    ensemble.chroot === ""
      ? Result.succeed(ensemble.endpoints)
      : Result.fail("The `backup` names a chroot. Exhibitor's list has none, so give it as `chroot`, for both")
  )
}

const check = (label: string, given: Given, named: ReadonlyArray<string>): Result.Result<Settings, string> =>
  Result.gen(function* () {
    const { basicAuth, path = standardPath } = given
    const [first, ...others] = yield* Result.all(named.map(urlOf))
    if (first === undefined) {
      return yield* Result.fail(`No endpoint is given. Name at least one, such as ${standardEndpoint}`)
    }
    const chroot = (given.chroot ?? "").replace(/\/+$/, "")
    const problem = pathProblem(path) ?? Ensemble.chrootProblem(chroot)
    if (problem !== undefined) return yield* Result.fail(problem)
    const timeoutMillis = yield* millisOf("pollTimeout", given.pollTimeout, standardTimeoutMillis)
    const urls = Arr.dedupe(Arr.prepend(others, first))
    return {
      label,
      urls,
      // One after the other they must fit into the time that one look at the list may take.
      question: { path, basicAuth, millis: Math.max(1, Math.floor(timeoutMillis / urls.length)) },
      backup: yield* backupOf(given.backup),
      chroot,
      intervalMillis: yield* millisOf("pollInterval", given.pollInterval, standardIntervalMillis)
    }
  })

export const refused = (endpoint: string, detail: string): CoordinatorError =>
  new CoordinatorError({
    engine: "exhibitor",
    operation: "Exhibitor.layer",
    endpoint,
    reason: new InvalidOptions({ detail })
  })

export const read = (given: Given): Effect.Effect<Settings, CoordinatorError> => {
  const { endpoints = standardEndpoint } = given
  const named = typeof endpoints === "string" ? endpoints.split(",").map((one) => one.trim()) : endpoints
  const label = named.join(",")
  return Effect.fromResult(Result.mapError(check(label, given, named), (detail) => refused(label, detail)))
}
