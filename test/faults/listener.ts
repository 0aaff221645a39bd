import { Effect } from "effect"
import type { Socket } from "node:net"
import { createServer } from "node:net"
import { onFreePort } from "../servers/ports.ts"

export const host = "127.0.0.1"

/** An address where connections arrive. */
export interface Listener {
  readonly port: number
  /** Nobody listens there any more, at once; what was accepted stays. */
  readonly stop: Effect.Effect<void>
  /** Somebody does again. */
  readonly start: Effect.Effect<void>
}

/** `closeAll` closes every connection that was accepted, when the scope closes. `fixed` is where it listens, a free port by default. */
export const make = Effect.fnUntraced(function* (
  accept: (socket: Socket) => void,
  closeAll: () => void,
  fixed?: { readonly host: string; readonly port: number }
) {
  // A half-closed connection is the two ends' own affair, so an end is passed on and answers nothing by itself.
  const server = createServer({ allowHalfOpen: true }, accept)
  const listen = (port: number) =>
    Effect.callback<number, Error>((resume) => {
      const failed = (error: Error) => resume(Effect.fail(error))
      server.once("error", failed)
      server.listen({ port, host: fixed?.host ?? host, exclusive: true }, () => {
        server.off("error", failed)
        resume(Effect.succeed(port))
      })
    })
  const port = yield* Effect.acquireRelease(
    fixed === undefined ? onFreePort(listen) : Effect.orDie(listen(fixed.port)),
    () =>
      Effect.callback<void>((resume) => {
        // Called also when it does not listen: then with an error that says so.
        server.close(() => resume(Effect.void))
        closeAll()
      })
  )
  const listener: Listener = {
    port,
    stop: Effect.sync(() => server.close()),
    start: Effect.suspend(() => (server.listening ? Effect.void : Effect.orDie(Effect.asVoid(listen(port)))))
  }
  return listener
})
