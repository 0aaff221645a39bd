/** What is the same for every driver of `effect/sql`: a client over a pool from its start to its end. */
import type * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import type * as Reactivity from "effect/reactivity/Reactivity"
import * as Scope from "effect/Scope"
import type * as SqlClient from "effect/sql/SqlClient"
import type * as SqlConnection from "effect/sql/SqlConnection"
import { SqlError } from "effect/sql/SqlError"
import type { Resolved as Bounds } from "../kit/bounds.ts"
import type { Adapter, Connection } from "../kit/connection.ts"
import { promise } from "../kit/connection.ts"
import type { Link } from "../kit/monitor.ts"
import { isOutOfTime } from "../kit/outOfTime.ts"
import type { Sockets } from "./sockets.ts"
import { make as makeSockets } from "./sockets.ts"

/** What a driver supplies. */
export interface Driver<in Settings, out Client extends SqlClient.SqlClient> {
  /** Where the server is looked for, in words and without secrets. */
  readonly endpoint: (settings: Settings) => string
  /** A client over a pool, made without waiting for a connection. Each of its sockets has to come from `sockets`. */
  readonly client: (
    settings: Settings,
    sockets: Sockets
  ) => Effect.Effect<Client, SqlError, Scope.Scope | Reactivity.Reactivity>
  /** One round trip over a connection beside the pool. */
  readonly ask: (settings: Settings, sockets: Sockets) => Effect.Effect<unknown, SqlError>
}

/** The adapter of a driver. A client is made in a context because it keeps the `Reactivity` that it is made with. */
export const adapter = <Settings extends Bounds, Client extends SqlClient.SqlClient>(
  driver: Driver<Settings, Client>,
  context: Context.Context<Reactivity.Reactivity>
): Adapter<Settings, Client> => ({
  endpoint: driver.endpoint,
  open: (settings, link) => open(driver, context, settings, link)
})

const open = <Settings extends Bounds, Client extends SqlClient.SqlClient>(
  driver: Driver<Settings, Client>,
  context: Context.Context<Reactivity.Reactivity>,
  settings: Settings,
  link: Link
): Connection<Client> => {
  // One connection of many says little, so the server is asked: once for each time that it has answered, or a server that lets
  // clients in and sends them away would be asked without a pause.
  let answered = false
  const sockets = makeSockets(() => {
    if (answered) link.look()
    answered = false
  })
  const scope = Scope.makeUnsafe()
  const client = Effect.runSyncWith(context)(Scope.provide(driver.client(settings, sockets), scope))

  const patience = Duration.times(settings.probeTimeout, shareOfPool)
  const overPool = Effect.scoped(
    Effect.flatMap(
      Effect.timeoutOption(client.reserve, patience),
      Option.match({ onNone: () => Effect.succeed(false), onSome: (connection) => Effect.as(ask(connection), true) })
    )
  )
  const probe = Effect.flatMap(overPool, (asked) => (asked ? Effect.void : driver.ask(settings, sockets)))

  let closing: Fiber.Fiber<void> | undefined
  /** The pool waits for the last connection to come back, and cannot be interrupted meanwhile. */
  const startClosing = Effect.sync(() => (closing ??= Effect.runForkWith(context)(Scope.close(scope, Exit.void))))

  return {
    client,
    // The first probe connects.
    connect: Effect.void,
    probe: promise((signal) => Effect.runPromiseWith(context)(probe, { signal })).pipe(
      // Apart from the caller: a statement that is interrupted waits up to 5 seconds for the server to confirm it.
      Effect.mapError(causeOf),
      Effect.tap(() =>
        Effect.sync(() => {
          answered = true
          sockets.answered()
        })
      )
    ),
    close: Effect.flatMap(startClosing, Fiber.await),
    // What runs over a socket fails with it, and so gives its connection back to the pool, which then ends.
    destroy: Effect.andThen(Effect.sync(sockets.cut), startClosing),
    renew: (cause) => Effect.sync(() => (isOutOfTime(cause) ? sockets.unanswered() : undefined))
  }
}

/** The part of a probe's time in which a connection of the pool has to be free: the rest is for one beside it. */
const shareOfPool = 0.5

const ask = (connection: SqlConnection.Connection) => connection.executeValuesUnprepared("SELECT 1", [])

/** What the server or the system said. The error itself says only what was tried. */
const causeOf = (error: unknown): unknown => {
  const cause = error instanceof SqlError ? error.reason.cause : undefined
  return cause instanceof Error ? cause : error
}
