/**
 * The transport over the npm package `etcd3`: its connections, its login and its generated messages.
 *
 * Nothing else of it is used. Its breaker and its retries stand in `exec`, which is not called: a call here runs on the
 * gRPC client that the pool hands out, so that it can be cancelled, and so that its server is known.
 */
import * as Effect from "effect/Effect"
import type { ICallable, IOptions } from "etcd3"
import { Etcd3 } from "etcd3"
import type { Endpoints } from "./endpoints.ts"
import { refused } from "./endpoints.ts"
import type { Duplex, Link, Streams, Transport, Unary } from "./rpc.ts"
import { RpcError, Status } from "./rpc.ts"

type Pool = ICallable<unknown>

/** What the pool hands out for one server: a gRPC client, and metadata that carry the login. */
type Taken = Parameters<Parameters<Pool["withConnection"]>[1]>[0]

type Client = Taken["client"]

/** A method as the generated clients carry it. */
interface Definition {
  readonly path: string
  readonly requestSerialize: (value: object) => Buffer
  readonly responseDeserialize: (bytes: Buffer) => object
}

const services = {
  range: "KV",
  txn: "KV",
  leaseGrant: "Lease",
  leaseRevoke: "Lease",
  leaseKeepAlive: "Lease",
  watch: "Watch",
  authenticate: "Auth",
  status: "Maintenance"
} as const

type Method = keyof typeof services

/**
 * A client's pool and key-value service, which its declarations keep to subclasses. This is the one place that reaches
 * past them: the public surface can neither cancel a call nor tell which server it went to.
 */
const poolOf = (etcd: Etcd3): Pool & { readonly hosts?: ReadonlyArray<unknown> } =>
  (etcd as unknown as { readonly pool: Pool & { readonly hosts?: ReadonlyArray<unknown> } }).pool

/** The generated clients carry each method's path and codec on the method itself, which gRPC's types do not say. */
const definitionOf = (client: Client, method: Method): Definition =>
  (client as unknown as Record<Method, Definition>)[method]

/** The address as gRPC knows it, with the scheme that it has dropped. */
const endpointOf = (client: Client, secure: boolean): string =>
  client
    .getChannel()
    .getTarget()
    .replace(/^dns:/, secure ? "https://" : "http://")

/**
 * What grpc-js says when a call was given up before any connection had been made for it. Everything else may have
 * reached the server.
 */
const neverSent = /^(No connection established|Name resolution failed|Failed to connect|Channel has been shut down)/

/** What grpc-js adds and nobody reads: a time of its own, and a note that is empty. */
const noise = / \(\d{4}-\d\d-\d\dT[^)]*\)|\.? Resolution note: \.?$/g

const errorOf = (endpoint: string, error: unknown): RpcError => {
  const { code, details, message } = error as { code?: unknown; details?: unknown; message?: unknown }
  const detail = String(details ?? message ?? error).replace(noise, "")
  return new RpcError({
    endpoint,
    code: typeof code === "number" ? code : Status.Unavailable,
    detail: detail === "" ? "The connection was lost" : detail,
    sent: !neverSent.test(detail)
  })
}

/**
 * The client takes the stack of every call, in case that it fails: a tenth of what a call costs this process, and deeper stacks cost
 * more. Nobody is shown it: a failure is told with what the server or the connection said.
 */
const untraced = <A>(call: () => A): A => {
  const limit = Error.stackTraceLimit
  Error.stackTraceLimit = 0
  try {
    return call()
  } finally {
    Error.stackTraceLimit = limit
  }
}

/** How often a pool that shuffles its servers is asked for another one than the last: it may be the only one. */
const draws = 8

const take = Effect.fnUntraced(function* (pool: Pool, kind: Kind, avoid: string | undefined) {
  const draw = Effect.tryPromise({
    try: () => pool.withConnection("KV", (taken) => taken),
    catch: (error) => errorOf(avoid ?? "etcd", error)
  })
  let taken = yield* draw
  for (let left = draws; left > 0 && endpointOf(taken.client, kind.secure) === avoid; left--) taken = yield* draw
  return taken
})

const link = (pool: Pool, kind: Kind, taken: Taken, definitions: Record<Method, Definition>): Link => {
  const { client, resource } = taken
  const endpoint = endpointOf(client, kind.secure)
  const metadata = taken.metadata.clone()
  // A member that has lost its leader ends such calls instead of keeping them silent for ever.
  metadata.set("hasleader", "true")
  return {
    endpoint,
    setTokenUnsafe: (token) => metadata.set("token", token),
    unaryUnsafe: <M extends keyof Unary>(
      method: M,
      request: Unary[M][0],
      answered: (answer: Unary[M][1] | RpcError) => void
    ) => {
      const { path, requestSerialize, responseDeserialize } = definitions[method]
      try {
        const call = untraced(() =>
          client.makeUnaryRequest<object, object>(
            path,
            requestSerialize,
            responseDeserialize,
            request,
            metadata,
            (error, value) => answered(error === null ? (value as Unary[M][1]) : errorOf(endpoint, error))
          )
        )
        return () => call.cancel()
      } catch (error) {
        // Somebody else has closed the client's connection to this server.
        answered(errorOf(endpoint, error))
        return () => {}
      }
    },
    streamUnsafe: <S extends keyof Streams>(
      method: S,
      on: { readonly message: (message: Streams[S][1]) => void; readonly end: (error: RpcError) => void }
    ): Duplex<Streams[S][0]> | RpcError => {
      const { path, requestSerialize, responseDeserialize } = definitions[method]
      let stream
      try {
        stream = client.makeBidiStreamRequest<object, object>(path, requestSerialize, responseDeserialize, metadata)
      } catch (error) {
        return errorOf(endpoint, error)
      }
      let over = false
      const end = (error: RpcError) => {
        if (over) return
        over = true
        on.end(error)
      }
      stream.on("data", (message: object) => {
        if (!over) on.message(message as Streams[S][1])
      })
      stream.on("error", (error: unknown) => end(errorOf(endpoint, error)))
      stream.on("end", () =>
        end(new RpcError({ endpoint, code: Status.Unavailable, detail: "The server ended the stream", sent: true }))
      )
      return {
        _tag: "Duplex",
        writeUnsafe: (request) => void (over || stream.write(request)),
        cancelUnsafe: () => {
          over = true
          stream.cancel()
        }
      }
    },
    closeUnsafe: () => {
      // Directly first: the pool waits a second for a connection that is still being made.
      if (kind.owned) client.close()
      pool.markFailed(resource, Object.assign(new Error("silent"), { code: Status.Unavailable, details: "" }))
    }
  }
}

/** Methods of other services than the one whose connection is used: one connection a server, not one a service. */
const definitionsOf = Effect.fnUntraced(function* (pool: Pool, kind: Kind, taken: Taken) {
  const entries: Array<[string, Definition]> = []
  for (const [method, service] of Object.entries(services) as ReadonlyArray<[Method, (typeof services)[Method]]>) {
    const client =
      service === "KV"
        ? taken.client
        : yield* Effect.tryPromise({
            try: () => pool.withConnection(service, (other) => other.client),
            catch: (error) => errorOf(endpointOf(taken.client, kind.secure), error)
          })
    entries.push([method, definitionOf(client, method)])
  }
  return Object.fromEntries(entries) as Record<Method, Definition>
})

/** What is known of a client. One that is `owned` was made here and serves nothing else. */
interface Kind {
  readonly owned: boolean
  readonly secure: boolean
}

/** The transport of a client. */
export const fromClient = (etcd: Etcd3, kind: Kind): Transport => {
  const pool = poolOf(etcd)
  let definitions: Record<Method, Definition> | undefined
  return {
    endpoints: pool.hosts?.length ?? 1,
    dial: Effect.fnUntraced(function* (avoid) {
      const taken = yield* take(pool, kind, avoid)
      definitions ??= yield* definitionsOf(pool, kind, taken)
      return link(pool, kind, taken, definitions)
    }),
    reauthenticate: kind.owned
      ? undefined
      : Effect.asVoid(
          Effect.tryPromise({
            // The client asks for a new token when one of its own calls is refused for the old one.
            try: () => etcd.kv.range({ key: Buffer.from([0]), limit: 1, keys_only: true }),
            catch: (error) => errorOf("etcd", error)
          })
        )
  }
}

const clientOptions = (client: Endpoints["client"]): IOptions => {
  const through = { execute: (run: (context: object) => unknown) => Promise.resolve({}).then(run) }
  return {
    ...client,
    faultHandling: {
      // An open breaker would refuse renewals for five seconds after the server is back. Only `execute` is ever called.
      host: () => through as never,
      global: through as never
    },
    grpcOptions: {
      // Two coordinators of one program must not share a connection that one of them gives up.
      "grpc.use_local_subchannel_pool": 1,
      // A group of ten thousand members is one answer of some megabytes; the default limit is four.
      "grpc.max_receive_message_length": -1,
      // The default goes up to two minutes: a server that is back would not be noticed for as long.
      "grpc.initial_reconnect_backoff_ms": 100,
      "grpc.max_reconnect_backoff_ms": 1_000
    }
  }
}

/** The transport of a client made for it, which ends with the scope. */
export const own = Effect.fnUntraced(function* (endpoints: Endpoints) {
  const client = yield* Effect.acquireRelease(
    Effect.try({
      try: () => new Etcd3(clientOptions(endpoints.client)),
      catch: (error) => `\`tls\` cannot be used: ${error instanceof Error ? error.message : String(error)}`
    }),
    (etcd) => Effect.sync(() => etcd.close())
  ).pipe(Effect.catch((problem) => refused(endpoints.label, problem)))
  return fromClient(client, { owned: true, secure: endpoints.secure })
})
