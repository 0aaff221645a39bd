/**
 * Effect's own Redis service over a client that runs: its commands, and connections beside it for what would hold those up.
 *
 * The connections are copies of the client. They do not connect again: a reserved one is replaced by the pool, and one that listens by
 * the loop here, since a copy that is told to go while it connects by itself would forget its socket (redis 6.3.1).
 */
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Persistence from "effect/persistence/Redis"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import type { createClient } from "redis"
import type { Running } from "../kit/connection.ts"

type Client = ReturnType<typeof createClient>
type Send = Persistence.Connection["send"]

/** A connection beside the client's own. */
interface Copy {
  readonly client: Client
  readonly connect: Effect.Effect<unknown, Persistence.RedisError>
  /** Fails when the connection is lost. */
  readonly lost: Effect.Effect<never, Persistence.RedisError>
  /** Cuts it, in any state, and fails what runs over it. */
  readonly cut: Effect.Effect<void>
}

/** How often a connection that only listens is asked for an answer, and how long that may take: a silent one looks like a quiet one. */
const heartbeat = Duration.seconds(5)

/** Soon at first, since most outages are restarts, and at most a second apart. */
const pauses = Schedule.min([Schedule.exponential("50 millis"), Schedule.spaced("1 second")])

const failed = (cause: unknown) => new Persistence.RedisError({ cause })

const attempt = <A>(evaluate: () => PromiseLike<A>): Effect.Effect<A, Persistence.RedisError> =>
  Effect.tryPromise({ try: evaluate, catch: failed })

/** The caller says what it expects as an answer, which nobody checks: so it is in Effect's own. */
const sendOver =
  (client: Client): Send =>
  <A>(command: string, ...args: ReadonlyArray<string>) =>
    attempt(() => client.sendCommand([command, ...args]) as Promise<unknown> as Promise<A>)

/** All copies of a client. */
interface Copies {
  readonly open: Effect.Effect<Copy, Persistence.RedisError>
  readonly haveEnded: () => boolean
  /** Cuts all, and makes no more. */
  readonly end: Effect.Effect<void>
}

const within = <A>(
  effect: Effect.Effect<A, Persistence.RedisError>,
  duration: Duration.Input
): Effect.Effect<A, Persistence.RedisError> =>
  Effect.timeoutOrElse(effect, { duration, orElse: () => Effect.fail(failed(new Error("No answer in time"))) })

const copiesOf = (original: Client): Copies => {
  const held = new Set<Copy>()
  let ended = false

  const open = (): Copy => {
    const life = new AbortController()
    const socket = { ...original.options.socket, signal: life.signal, reconnectStrategy: false as const }
    const client = original.duplicate({ socket })
    const lost = Deferred.makeUnsafe<never, Persistence.RedisError>()
    client.on("error", (cause) => Deferred.doneUnsafe(lost, Effect.fail(failed(cause))))
    const cut = Effect.sync(() => {
      held.delete(copy)
      life.abort()
      client.destroy()
    })
    // The client's own bound ends with the handshake of TCP, before the server has said anything.
    const connect = within(
      attempt(() => client.connect()),
      original.options.socket?.connectTimeout ?? heartbeat
    ).pipe(Effect.onError(() => cut))
    const copy: Copy = { client, connect, lost: Deferred.await(lost), cut }
    held.add(copy)
    return copy
  }

  return {
    open: Effect.suspend(() => (ended ? Effect.fail(failed(new Error("the service has stopped"))) : Effect.sync(open))),
    haveEnded: () => ended,
    end: Effect.suspend(() => {
      ended = true
      return Effect.forEach([...held], ({ cut }) => cut, { discard: true })
    })
  }
}

const alive = ({ client, lost }: Copy) =>
  within(
    attempt(() => client.ping()),
    heartbeat
  ).pipe(Effect.repeat(Schedule.spaced(heartbeat)), Effect.raceFirst(lost))

/** Succeeds with the wait for the end when the channel is listened to for the first time. It is listened to again when that breaks off. */
const listen = Effect.fnUntraced(function* (copies: Copies, channel: string, heard: (message: string) => void) {
  const first = yield* Deferred.make<void, Persistence.RedisError>()
  let listened = false
  const once = Effect.acquireUseRelease(
    copies.open,
    (copy) =>
      copy.connect.pipe(
        Effect.andThen(
          within(
            attempt(() => copy.client.subscribe(channel, heard)),
            heartbeat
          )
        ),
        Effect.tap(() => Effect.sync(() => (listened = true))),
        Effect.andThen(Deferred.succeed(first, undefined)),
        Effect.andThen(alive(copy))
      ),
    ({ cut }) => cut
  )
  const always = once.pipe(
    Effect.asVoid,
    // The caller is told when it cannot even begin, and nothing goes on behind its back.
    Effect.onExit((exit) => Deferred.done(first, exit)),
    Effect.retry({ schedule: pauses, while: () => listened && !copies.haveEnded() })
  )
  const fiber = yield* Effect.forkScoped(always, { startImmediately: true })
  yield* Deferred.await(first)
  return Fiber.join(fiber)
})

export const make = Effect.fnUntraced(function* (
  { client, use }: Pick<Running<Client>, "client" | "use">,
  pool: Persistence.PoolOptions
): Effect.fn.Return<Persistence.Redis["Service"], never, Scope.Scope> {
  const copies = copiesOf(client)
  const connect = Effect.flatMap(copies.open, (copy) =>
    Effect.as(copy.connect, { send: sendOver(copy.client), close: copy.cut })
  )
  // A scope of its own, to which the pool may add what it likes and which still closes after all are cut: the pool waits for
  // connections that are being made.
  const scope = yield* Effect.flatMap(Effect.scope, Scope.fork)
  yield* Effect.addFinalizer(() => copies.end)

  return yield* Persistence.make({
    send: <A>(command: string, ...args: ReadonlyArray<string>) =>
      Effect.mapError(
        use((shared) => shared.sendCommand([command, ...args]) as Promise<unknown> as Promise<A>),
        ({ cause }) => failed(cause)
      ),
    connect,
    subscribe: (channel, onMessage) => listen(copies, channel, (message) => onMessage({ channel, message })),
    pool
  }).pipe(Scope.provide(scope))
})
