/** One question to one Exhibitor: which ZooKeeper servers are there? */
import * as Arr from "effect/Array"
import * as Effect from "effect/Effect"
import type * as HttpClient from "effect/http/HttpClient"
import type { HttpClientError } from "effect/http/HttpClientError"
import * as HttpClientRequest from "effect/http/HttpClientRequest"
import * as HttpClientResponse from "effect/http/HttpClientResponse"
import type * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import type { CoordinatorError } from "../../CoordinatorError.ts"
import { within } from "../../internal/within.ts"
import type { Endpoints } from "../zookeeper/clients.ts"
import { badAnswer, emptyList, refusal, unanswered } from "./failure.ts"

export interface BasicAuth {
  readonly username: string
  readonly password: Redacted.Redacted
}

export interface Question {
  readonly path: string
  readonly basicAuth: BasicAuth | undefined
  /** Bounds the answer, up to its last byte. */
  readonly millis: number
}

/** A name or an IPv4 address, or an IPv6 address: the port is the list's, so a server that brings one is not understood. */
const host = /^(?:[^\s:/,?#@[\]]+|[0-9A-Fa-f]*:[0-9A-Fa-f]*:[0-9A-Fa-f:.]*)$/

/** What `ClusterResource` of Exhibitor 1.7 writes for whoever accepts JSON; it has one client port for all servers. */
const List = Schema.Struct({
  servers: Schema.Array(Schema.String.check(Schema.isPattern(host))),
  port: Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 65_535 }))
})

/** An answer may be a whole page; what is wrong with it is told in one line. */
const oneLine = (text: string): string => text.replace(/\s+/g, " ").slice(0, 200)

const failed = (endpoint: string, error: HttpClientError): CoordinatorError => {
  const { cause, _tag } = error.reason
  return _tag === "DecodeError" || _tag === "EmptyBodyError"
    ? badAnswer(endpoint, "the answer is not JSON")
    : unanswered(endpoint, cause instanceof Error ? cause.message : error.message, error)
}

const serversOf = (endpoint: string, { port, servers }: typeof List.Type) => {
  const hosts = Arr.dedupe(servers)
  return Arr.isReadonlyArrayNonEmpty(hosts)
    ? Effect.succeed<Endpoints>(Arr.map(hosts, (host) => ({ host, port })))
    : Effect.fail(emptyList(endpoint))
}

/** The whole list or a failure: a list with one entry that cannot be read is no list. */
export const ask = (
  http: HttpClient.HttpClient,
  endpoint: string,
  { basicAuth, millis, path }: Question
): Effect.Effect<Endpoints, CoordinatorError> => {
  const request = HttpClientRequest.get(`${endpoint}${path}`, { acceptJson: true })
  const signed =
    basicAuth === undefined ? request : HttpClientRequest.basicAuth(request, basicAuth.username, basicAuth.password)
  const answer = Effect.gen(function* () {
    const response = yield* http.execute(signed)
    if (response.status !== 200) return yield* refusal(endpoint, response.status)
    return yield* serversOf(endpoint, yield* HttpClientResponse.schemaBodyJson(List)(response))
  }).pipe(
    Effect.catchTags({
      HttpClientError: (error) => Effect.fail(failed(endpoint, error)),
      SchemaError: (error) => Effect.fail(badAnswer(endpoint, oneLine(error.message)))
    }),
    // The client is the program's own.
    Effect.catchDefect((defect) =>
      Effect.fail(unanswered(endpoint, `The HTTP client broke: ${String(defect)}`, defect))
    )
  )
  return within(answer, {
    millis,
    orElse: Effect.suspend(() => Effect.fail(unanswered(endpoint, `No answer within ${Math.round(millis)} ms`)))
  })
}
