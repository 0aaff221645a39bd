/** A connection to one server, with its login, for as long as nothing speaks against it. */
import type * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Semaphore from "effect/Semaphore"
import { condemns, isAuthDisabled, isTokenInvalid } from "./failure.ts"
import type { Duplex, Link, Streams, Unary } from "./rpc.ts"
import { RpcError, Status } from "./rpc.ts"

export interface Credentials {
  readonly username: string
  readonly password: Redacted.Redacted
}

export interface Connection {
  readonly endpoint: string
  /** Sends a request; one that is refused for an expired login is sent again under a new one. */
  readonly call: <M extends keyof Unary>(method: M, request: Unary[M][0]) => Effect.Effect<Unary[M][1], RpcError>
  readonly streamUnsafe: <S extends keyof Streams>(
    method: S,
    on: { readonly message: (message: Streams[S][1]) => void; readonly end: (error: RpcError) => void }
  ) => Duplex<Streams[S][0]> | RpcError
  readonly login: Effect.Effect<void, RpcError>
  /** Gives it up: whatever runs over it ends with the error, and the next request opens another. */
  readonly condemnUnsafe: (error: RpcError) => void
}

export const make = (
  link: Link,
  options: {
    readonly clock: Clock.Clock
    readonly credentials: Credentials | undefined
    /** A request that was silent for so long speaks against its connection. */
    readonly impatienceMillis: number
    readonly ended: (connection: Connection, error: RpcError) => void
  }
): Connection => {
  const { clock, credentials, ended, impatienceMillis } = options
  const now = () => Number(clock.monotonicTimeNanosUnsafe()) / 1_000_000
  const running = new Set<(error: RpcError) => void>()
  const oneLogin = Semaphore.makeUnsafe(1)
  let logins = 0
  let heardAt = now()
  let over: RpcError | undefined

  const condemnUnsafe = (error: RpcError): void => {
    if (over !== undefined) return
    over = error
    ended(connection, error)
    for (const end of Array.from(running)) end(error)
    running.clear()
    link.closeUnsafe()
  }

  const send = <M extends keyof Unary>(method: M, request: Unary[M][0]): Effect.Effect<Unary[M][1], RpcError> =>
    Effect.callback((resume) => {
      if (over !== undefined) return resume(Effect.fail(new RpcError({ ...over, sent: false })))
      const sentAt = now()
      const end = (error: RpcError) => {
        cancel()
        resume(Effect.fail(error))
      }
      running.add(end)
      const cancel = link.unaryUnsafe(method, request, (answer) => {
        if (!running.delete(end)) return
        if (answer instanceof RpcError) {
          if (condemns(answer)) condemnUnsafe(answer)
          else heardAt = now()
          resume(Effect.fail(answer))
        } else {
          heardAt = now()
          resume(Effect.succeed(answer))
        }
      })
      return Effect.sync(() => {
        if (!running.delete(end)) return
        cancel()
        if (heardAt <= sentAt && now() - sentAt >= impatienceMillis) {
          const detail = `Nothing was heard for ${Math.round(now() - sentAt)} ms`
          condemnUnsafe(new RpcError({ endpoint: link.endpoint, code: Status.Unavailable, detail, sent: true }))
        }
      })
    })

  const login = Effect.gen(function* () {
    if (credentials === undefined) return
    const { password, username: name } = credentials
    const answer = yield* send("authenticate", { name, password: Redacted.value(password) }).pipe(
      Effect.catchIf(isAuthDisabled, () => Effect.succeed(undefined))
    )
    logins++
    if (answer !== undefined) return link.setTokenUnsafe(answer.token)
    yield* Effect.logWarning(
      `etcd at ${link.endpoint} has authentication switched off: the name and password given to the layer are not used`
    )
  })

  const call: Connection["call"] = (method, request) =>
    credentials === undefined
      ? send(method, request)
      : Effect.suspend(() => {
          const before = logins
          return Effect.catchIf(send(method, request), isTokenInvalid, () =>
            // Refused unread, so it is safe to send it again. One login serves all who were refused: it costs the server a hash
            // that is slow on purpose.
            oneLogin
              .withPermit(Effect.suspend(() => (logins === before ? login : Effect.void)))
              .pipe(Effect.andThen(send(method, request)))
          )
        })

  const streamUnsafe: Connection["streamUnsafe"] = (method, on) => {
    if (over !== undefined) return over
    let open = true
    const end = (error: RpcError) => {
      if (!open) return
      open = false
      running.delete(end)
      if (duplex._tag === "Duplex") duplex.cancelUnsafe()
      on.end(error)
      if (condemns(error)) condemnUnsafe(error)
    }
    const duplex = link.streamUnsafe(method, {
      message: (message) => {
        heardAt = now()
        if (open) on.message(message)
      },
      end
    })
    if (duplex._tag === "RpcError") {
      condemnUnsafe(duplex)
      return duplex
    }
    running.add(end)
    return {
      _tag: "Duplex",
      writeUnsafe: (request) => {
        if (open) duplex.writeUnsafe(request)
      },
      cancelUnsafe: () => {
        open = false
        running.delete(end)
        duplex.cancelUnsafe()
      }
    }
  }

  const connection: Connection = { endpoint: link.endpoint, call, streamUnsafe, login, condemnUnsafe }
  return connection
}
