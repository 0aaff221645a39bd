/** A client from its start to its end: opened, connected and proved, watched, closed in time. */
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Maestro from "../../Maestro.ts"
import type { Resolved as Bounds } from "./bounds.ts"
import type { Signal } from "./calls.ts"
import * as Calls from "./calls.ts"
import { inWords, ServiceCallFailed, ServiceUnavailable } from "./errors.ts"
import type { Link } from "./monitor.ts"
import * as Monitor from "./monitor.ts"
import { OutOfTime } from "./outOfTime.ts"

/** What a client's adapter supplies. Every effect may fail with whatever the client raises. */
export interface Connection<out Client> {
  readonly client: Client
  /** Connects, where the client does not do so with its first call. May be given up at any moment, and then `destroy` follows. */
  readonly connect: Effect.Effect<unknown, unknown>
  /** One round trip that only a server which serves answers. */
  readonly probe: Effect.Effect<unknown, unknown>
  /** Ends politely: what is in flight is finished. May be given up, and then `destroy` follows all the same. */
  readonly close: Effect.Effect<unknown, unknown>
  /** Cuts every connection and stops every timer. Always called in the end, also after `close`. */
  readonly destroy: Effect.Effect<unknown, unknown>
  /**
   * Replaces connections that no longer answer: needed where the client itself waits for the kernel to find out, which
   * takes it a quarter of an hour. Called with what a probe failed of, after each that fails.
   */
  readonly renew?: (cause: unknown) => Effect.Effect<unknown, unknown>
}

/** The adapter of a client. */
export interface Adapter<in Settings, out Client> {
  /** Where the server is looked for, in words and without secrets. */
  readonly endpoint: (settings: Settings) => string
  /**
   * Makes the client, and attaches its listeners before anything is awaited: an error that nobody listens for ends the
   * process. Nothing is sent yet.
   */
  readonly open: (settings: Settings, link: Link) => Connection<Client>
}

/**
 * A service that runs.
 *
 * **Details**
 *
 * - `client` is the client itself, for all that it can do.
 * - `use` calls it as an effect: what it raises is `ServiceCallFailed`, and so is no answer within `callTimeout`. The signal is aborted
 *   when the calling fiber is interrupted or out of time, and is made for functions that declare two parameters: pass it on where the
 *   client takes one.
 * - `health` asks the server for one real answer, within `probeTimeout`.
 *
 * @category models
 * @since 0.1.0
 */
export interface Running<out Client> {
  readonly name: string
  /** Without user names and passwords. */
  readonly endpoint: string
  readonly client: Client
  readonly use: <A>(call: (client: Client, signal: Signal) => PromiseLike<A>) => Effect.Effect<A, ServiceCallFailed>
  readonly health: Effect.Effect<void, ServiceUnavailable>
}

const within = <A>(
  effect: Effect.Effect<A, unknown>,
  limit: Duration.Duration,
  what: string
): Effect.Effect<A, unknown> =>
  Effect.timeoutOrElse(effect, {
    duration: limit,
    orElse: () => Effect.fail(new OutOfTime(`${what} within ${Duration.format(limit)}`))
  })

/** An adapter may throw where it should fail; either way the service does not serve. */
const unavailable = <A>(
  effect: Effect.Effect<A, unknown>,
  name: string,
  endpoint: string,
  attempt: number
): Effect.Effect<A, ServiceUnavailable> =>
  Effect.catchCause(effect, (cause) => {
    if (Cause.hasInterruptsOnly(cause)) return Effect.interrupt
    const raised = Cause.squash(cause)
    const reason = inWords(raised)
    return Effect.fail(new ServiceUnavailable({ service: name, endpoint, attempt, reason, cause: raised }))
  })

/** Ends politely within the bound, and cuts what is left in any case: also when the polite end fails. */
const end = <Client>(connection: Connection<Client>, bound: Duration.Duration, name: string): Effect.Effect<void> =>
  // Not `interruptible`: a program that is interrupted stops in a fiber that is, and nothing polite would come of it.
  within(connection.close, bound, "Work in flight did not end").pipe(
    Effect.catchCause((cause) =>
      Effect.logWarning(`${name}: closing its connections instead of waiting for them`, cause)
    ),
    Effect.andThen(cut(connection, bound))
  )

/** A client that does not even let itself be cut keeps nobody waiting. */
const cut = <Client>(connection: Connection<Client>, bound: Duration.Duration): Effect.Effect<void> =>
  Effect.ignoreCause(within(connection.destroy, bound, "The connections were not cut"))

export const start = <Settings extends Bounds, Client>(
  adapter: Adapter<Settings, Client>,
  name: string,
  settings: Settings
): Effect.Effect<Running<Client>, ServiceUnavailable, Scope.Scope> =>
  Effect.gen(function* () {
    const endpoint = adapter.endpoint(settings)
    const attempt = yield* Maestro.attempt
    const link = Monitor.makeLink()
    const calls = yield* Calls.make(settings.callTimeout)
    let served = false

    const { client, connect, probe, renew } = yield* Effect.acquireRelease(
      unavailable(
        Effect.sync(() => adapter.open(settings, link)),
        name,
        endpoint,
        attempt
      ),
      // What has never served has nothing to finish, and is often the very thing that does not answer.
      (connection) => (served ? end(connection, settings.closeTimeout, name) : cut(connection, settings.closeTimeout))
    ).pipe(Effect.uninterruptible)

    yield* within(Effect.andThen(connect, probe), settings.connectTimeout, "No answer").pipe((starting) =>
      unavailable(starting, name, endpoint, attempt)
    )
    served = true

    const health = unavailable(
      Effect.asVoid(within(probe, settings.probeTimeout, "No answer to a probe")),
      name,
      endpoint,
      attempt
    )
    yield* Monitor.run({
      link,
      health,
      interval: settings.probeInterval,
      renew: (cause) =>
        renew === undefined ? Effect.void : within(renew(cause), settings.connectTimeout, "No connection")
    })

    return {
      name,
      endpoint,
      client,
      use: (call) =>
        calls.make(
          (signal) => call(client, signal),
          call.length > 1,
          (cause) => new ServiceCallFailed({ service: name, endpoint, cause })
        ),
      health
    }
  })

/** A promise of a client as an effect that fails with what the client raises: anything, until the frame makes an error of it. */
export const promise = <A>(evaluate: (signal: Signal) => PromiseLike<A>): Effect.Effect<A, unknown> =>
  // @effect-diagnostics-next-line unknownInEffectCatch:off
  Effect.tryPromise({ try: evaluate, catch: (error) => error })

/** A call that returns at once. */
export const sync = <A>(evaluate: () => A): Effect.Effect<A, unknown> =>
  // @effect-diagnostics-next-line unknownInEffectCatch:off
  Effect.try({ try: evaluate, catch: (error) => error })
