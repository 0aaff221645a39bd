/** The one connection that everything of a coordinator runs over, replaced by another when it is to blame for a failure. */
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Scope from "effect/Scope"
import { within } from "../../internal/within.ts"
import type { Credentials } from "./connection.ts"
import * as Connection from "./connection.ts"
import { isLoginRefused, isTokenInvalid } from "./failure.ts"
import type { Transport, Unary } from "./rpc.ts"
import { RpcError, Status } from "./rpc.ts"
import * as Version from "./version.ts"

/** A connection whose server is known. */
export interface Connected extends Connection.Connection {
  /** Whether this server's progress notifications can be believed. */
  readonly progressIsTrustworthy: boolean
}

export interface Connections {
  /** The present connection, or a new one. */
  readonly current: Effect.Effect<Connected, RpcError>
  readonly presentUnsafe: () => Connected | undefined
  readonly call: <M extends keyof Unary>(method: M, request: Unary[M][0]) => Effect.Effect<Unary[M][1], RpcError>
}

/**
 * The part of a request's time after which its silence speaks against the connection, when it is given up and nothing else was
 * heard either: less is somebody's change of mind.
 */
const impatience = 0.5

export const make = Effect.fnUntraced(function* (
  transport: Transport,
  options: { readonly credentials: Credentials | undefined; readonly requestMillis: number }
): Effect.fn.Return<Connections, never, Scope.Scope> {
  const { credentials, requestMillis } = options
  const clock = yield* Clock.clockWith(Effect.succeed)
  const scope = yield* Effect.scope
  const fork = Effect.runForkWith(yield* Effect.context<never>())
  const said = new Set<string>()
  let present: Connected | undefined
  let pending: Deferred.Deferred<Connected, RpcError> | undefined
  let last: string | undefined
  let closed = false

  const unavailable = (endpoint: string, detail = `No answer within ${Math.round(requestMillis)} ms`) =>
    new RpcError({ endpoint, code: Status.Unavailable, detail, sent: false })

  const warnOnce = (message: string) =>
    said.has(message)
      ? Effect.void
      : Effect.andThen(
          Effect.logWarning(message),
          Effect.sync(() => said.add(message))
        )

  /** Asks the server for its version, refuses one that cannot serve, and tells what its notifications are worth. */
  const identify = Effect.fnUntraced(function* ({ call, endpoint }: Connection.Connection) {
    const { errors, version } = yield* call("status", {})
    const known = Version.parse(version)
    if (known !== undefined && !Version.isSupported(known)) {
      const detail = `etcd ${version} is too old, use ${Version.oldest} or later`
      return yield* new RpcError({ endpoint, code: Status.Unimplemented, detail, sent: true })
    }
    const progressIsTrustworthy = known !== undefined && Version.progressIsTrustworthy(known)
    if (!progressIsTrustworthy) {
      yield* warnOnce(
        `etcd ${version} at ${endpoint} may send progress notifications too early or never: they are not used, ` +
          `and watches read everything anew after a reconnect. ${Version.remedy}`
      )
    }
    for (const alarm of errors) yield* warnOnce(`etcd at ${endpoint} raises an alarm: ${alarm}`)
    return progressIsTrustworthy
  })

  const bounded = <A>(endpoint: string, effect: Effect.Effect<A, RpcError>) =>
    within(effect, { millis: requestMillis, orElse: Effect.fail(unavailable(endpoint)) })

  const ended = ({ endpoint }: Connection.Connection, error: RpcError) => {
    last = endpoint
    if (present?.endpoint !== endpoint) return
    present = undefined
    if (!closed) fork(Effect.logWarning(`The connection to etcd at ${endpoint} is given up: ${error.detail}`))
  }

  const establish = Effect.fnUntraced(function* (avoid: string | undefined) {
    const link = yield* bounded(avoid ?? "etcd", transport.dial(avoid))
    const impatienceMillis = requestMillis * impatience
    const connection = Connection.make(link, { clock, credentials, impatienceMillis, ended })
    const progressIsTrustworthy = yield* bounded(
      link.endpoint,
      Effect.andThen(connection.login, identify(connection))
    ).pipe(Effect.onError(() => Effect.sync(() => connection.condemnUnsafe(unavailable(link.endpoint)))))
    return { ...connection, progressIsTrustworthy }
  })

  /** Tries each server once. What one of them says of the login holds for all; anything else may be its own trouble. */
  const establishAny = Effect.gen(function* () {
    let failure = unavailable("etcd", "There is no server to connect to")
    for (let attempt = 0; attempt < transport.endpoints; attempt++) {
      const attempted = yield* Effect.result(establish(last))
      if (attempted._tag === "Success") return attempted.success
      failure = attempted.failure
      last = failure.endpoint
      if (isLoginRefused(failure)) break
    }
    return yield* failure
  }).pipe(Effect.provideService(Clock.Clock, clock))

  const current: Connections["current"] = Effect.suspend(() => {
    if (present !== undefined) return Effect.succeed(present)
    if (pending !== undefined) return Deferred.await(pending)
    const opened = Deferred.makeUnsafe<Connected, RpcError>()
    pending = opened
    // Apart from whoever asked first: one who gives up must not take the connection from the others.
    return establishAny.pipe(
      Effect.onExit((exit) =>
        Effect.sync(() => {
          pending = undefined
          if (Exit.isSuccess(exit)) present = exit.value
          Deferred.doneUnsafe(opened, exit)
        })
      ),
      Effect.forkIn(scope, { startImmediately: true }),
      Effect.andThen(Deferred.await(opened))
    )
  })

  yield* Effect.addFinalizer(() =>
    Effect.sync(() => {
      closed = true
      present?.condemnUnsafe(
        new RpcError({
          endpoint: present.endpoint,
          code: Status.Cancelled,
          detail: "The coordinator has closed",
          sent: true
        })
      )
    })
  )

  const once: Connections["call"] = (method, request) =>
    Effect.flatMap(current, (connection) => connection.call(method, request))

  const { reauthenticate } = transport
  return {
    current,
    presentUnsafe: () => present,
    call:
      reauthenticate === undefined
        ? once
        : (method, request) =>
            Effect.catchIf(once(method, request), isTokenInvalid, (error) =>
              // Refused unread, so it is safe to send it again. What the client sends along is made when it hands a connection out.
              Effect.suspend(() => {
                present?.condemnUnsafe(error)
                return Effect.andThen(reauthenticate, once(method, request))
              })
            )
  }
})
