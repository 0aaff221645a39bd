/** What is asked of a cluster, of whichever major version the client is. */
import * as Effect from "effect/Effect"
import { promise } from "../kit/connection.ts"

/** What clients of version 7 and later have in common. */
export interface AnyClient {
  readonly info: (params: object, options: object) => PromiseLike<unknown>
  readonly cluster: { readonly health: (params: object, options: object) => PromiseLike<unknown> }
  readonly close: () => PromiseLike<unknown>
  readonly connectionPool: { readonly connections: Iterable<object> }
}

/** A server whose client of its own version takes it for something else, or that has lost a part of its data. */
export class NotWell extends Error {
  override readonly name = "NotWell"
}

/** Version 7 answers with everything about the response, later ones with its body alone. */
const bodyOf = (answer: unknown): unknown =>
  typeof answer === "object" && answer !== null && "body" in answer ? answer.body : answer

const fieldOf = (value: unknown, name: string): unknown =>
  typeof value === "object" && value !== null ? Reflect.get(value, name) : undefined

/** The server's version. The clients themselves refuse what does not call itself Elasticsearch in every answer. */
export const version = (client: AnyClient): Effect.Effect<string, unknown> =>
  Effect.flatMap(
    promise((signal) => client.info({}, { signal })),
    (answer) => {
      const number = fieldOf(fieldOf(bodyOf(answer), "version"), "number")
      return typeof number === "string"
        ? Effect.succeed(number)
        : Effect.fail(new NotWell("something answers there that is not Elasticsearch: it tells no version"))
    }
  )

/** In a red cluster some of the data is not there: what is asked for it fails, and the rest lies. */
const serving = new Set<unknown>(["yellow", "green"])

/** One answer about the health of the cluster, which has to be yellow at least. */
export const health = (client: AnyClient): Effect.Effect<void, unknown> =>
  Effect.flatMap(
    promise((signal) => client.cluster.health({}, { signal })),
    (answer) => {
      const status = fieldOf(bodyOf(answer), "status")
      return serving.has(status)
        ? Effect.void
        : Effect.fail(new NotWell(`the cluster's health is ${String(status)}, and has to be yellow at least`))
    }
  )

/** The pool of one node, in clients that speak through undici: its own `close` waits for answers, `destroy` for nothing. */
const cutPool = (connection: object): unknown => {
  const pool: unknown = Reflect.get(connection, "pool")
  const destroy = fieldOf(pool, "destroy")
  return typeof destroy === "function" ? Reflect.apply(destroy, pool, []) : undefined
}

/** Cuts every connection; in version 7, whose pools are agents of Node, closing does so by itself. */
export const cut = (client: AnyClient): Effect.Effect<void, unknown> =>
  promise(() => Promise.all([...client.connectionPool.connections].map(cutPool))).pipe(
    Effect.ensuring(Effect.ignore(promise(() => client.close())))
  )
