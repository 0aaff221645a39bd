/**
 * The clients of `@platformatic/kafka` for one cluster, from their making to the cut of their last socket.
 *
 * What its version 2.12.1 leaves to others is done here. A connection emits "error" a second time when it is cut while it logs in, and a
 * consumer when it cannot join its group again: without listeners, either ends the process. A connection whose login was refused
 * is forgotten with its socket open. Nothing waits for messages that are being sent when a producer is closed. So whatever the
 * clients make is listened to from its first moment: the package tells of it on a channel.
 */
import type { Base, CompressionAlgorithmValue, Message as KafkaMessage, SASLOptions } from "@platformatic/kafka"
import {
  Admin,
  Connection,
  Consumer,
  instancesChannel,
  kGetBootstrapConnection,
  MessagesStream,
  Producer,
  producerSendsChannel,
  ProducerStream
} from "@platformatic/kafka"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Redacted from "effect/Redacted"
import * as Schedule from "effect/Schedule"
import type { Resolved as Bounds } from "../kit/bounds.ts"
import type { Connection as Running } from "../kit/connection.ts"
import { promise, sync } from "../kit/connection.ts"
import { inWords } from "../kit/errors.ts"
import type { Link } from "../kit/monitor.ts"
import { isOutOfTime, OutOfTime } from "../kit/outOfTime.ts"

/**
 * A message that was consumed: the client's own.
 *
 * @category models
 * @since 0.1.0
 */
export type Message = KafkaMessage<Buffer, Buffer, Buffer, Buffer>

/**
 * What `consumer.consume` is to be given to read what the settings say.
 *
 * **Gotchas**
 *
 * Given as it is, the client commits what it has fetched every `autocommit` milliseconds, whether it was processed or not.
 *
 * @category models
 * @since 0.1.0
 */
export interface Subscription {
  readonly topics: Array<string>
  readonly mode: "committed"
  readonly fallbackMode: "earliest" | "latest"
  readonly autocommit: number
}

/**
 * The clients of the npm package `@platformatic/kafka`. There is a `consumer` when a group and topics are configured.
 *
 * @category models
 * @since 0.1.0
 */
export interface Client {
  readonly admin: Admin
  readonly producer: Producer<Buffer, Buffer, Buffer, Buffer>
  readonly consumer: Consumer<Buffer, Buffer, Buffer, Buffer> | undefined
  readonly subscription: Subscription
}

export interface Resolved extends Bounds {
  readonly addresses: ReadonlyArray<string>
  readonly clientId: string
  readonly username: string | undefined
  readonly password: Redacted.Redacted<string> | undefined
  readonly mechanism: "PLAIN" | "SCRAM-SHA-256" | "SCRAM-SHA-512"
  readonly tls: boolean
  readonly compression: CompressionAlgorithmValue
  readonly idempotent: boolean
  readonly groupId: string | undefined
  readonly topics: ReadonlyArray<string>
  readonly offsetInitial: "earliest" | "latest"
  readonly commitInterval: Duration.Duration
}

/**
 * A partition has no leader for a second or two when its broker dies; what needs longer is for the caller to try again. Who asks the same
 * meanwhile shares the answer of who asked before, and so the pause: short ones are heard of soon.
 */
const retries = 10
const longestPause = 250
const pauseMillis = (attempt: number): number => Math.min(2 ** attempt * 50, longestPause)

/** A member of a group waits for the others, and for messages. Less than this would be taken for silence. */
const patience = Duration.seconds(30)

/** The client answers the same question with the failure of the one that was cut, until that has been heard of. */
const settling = Duration.millis(100)

/** A broker accepts connections for some time before it is part of its cluster. */
class NoBroker extends Data.TaggedError("NoBroker")<{ readonly message: string }> {}
const joining = Duration.millis(100)

/** What the three clients have in common. */
interface Any extends Pick<Base, "instanceId" | "metadata" | typeof kGetBootstrapConnection> {
  readonly on: (event: string, listener: () => void) => unknown
}

const ignore = (): void => undefined

/** What the client says last is which step failed; what happened is in the cause of the cause. */
const rootOf = (error: unknown): unknown => {
  const inner: unknown =
    error instanceof AggregateError ? error.errors[0] : error instanceof Error ? error.cause : undefined
  return inner === undefined ? error : rootOf(inner)
}

const plainly = <A>(effect: Effect.Effect<A, unknown>): Effect.Effect<A, unknown> =>
  Effect.mapError(effect, (cause): unknown =>
    isOutOfTime(cause) ? cause : new Error(inWords(rootOf(cause)), { cause })
  )

/** Each of these ends, whatever becomes of the others. */
const allOf = (effects: Iterable<Effect.Effect<unknown, unknown>>): Effect.Effect<unknown, unknown> =>
  Effect.flatMap(
    Effect.forEach(effects, (effect) => Effect.exit(effect), { concurrency: "unbounded" }),
    (exits) => exits.find(Exit.isFailure) ?? Effect.void
  )

export const open = (settings: Resolved, link: Link): Running<Client> => {
  const { addresses, connectTimeout } = settings
  let ended = false
  const owners = new Set<number>()
  const connections = new Set<Connection>()
  const reading = new Set<MessagesStream<Buffer, Buffer, Buffer, Buffer>>()
  const writing = new Set<ProducerStream<Buffer, Buffer, Buffer, Buffer>>()

  const client = makeClients(settings, () => ended)
  const { admin, consumer, producer } = client
  const clients: ReadonlyArray<Any> = [admin, producer, ...(consumer === undefined ? [] : [consumer])]

  const watchConnection = (connection: Connection): void => {
    for (const each of connections) if (each.socket?.destroyed) connections.delete(each)
    connections.add(connection)
    connection.on("error", () => void connection.socket?.destroy())
    // Stops the timer of the next login, which only its own `close` does.
    connection.on("close", () => connection.close(ignore))
  }
  const onInstance = (created: unknown): void => {
    const { instance } = created as { readonly instance: unknown }
    if (instance instanceof Connection) {
      if (instance.ownerId !== undefined && owners.has(instance.ownerId)) watchConnection(instance)
    } else if (instance instanceof MessagesStream) {
      if (instance.consumer !== consumer) return
      reading.add(instance)
      instance.on("error", ignore)
      instance.on("close", () => void reading.delete(instance))
    } else if (instance instanceof ProducerStream && instance.producer === producer) {
      writing.add(instance)
      instance.on("error", ignore)
      instance.on("close", () => void writing.delete(instance))
    }
  }
  instancesChannel.subscribe(onInstance)
  const sends = watchSends(producer)

  // Which of the brokers is asked first. The client begins with the first that it was given, and a frozen one stays the first.
  let turn = 0
  let stalled = false
  // A cluster closes idle connections and restarts its brokers one by one, and serves all the same. So a connection that broke is a
  // reason to look, and one only: a broker that accepts and hangs up would be asked without end.
  let answered = false
  for (const client of clients) {
    owners.add(client.instanceId)
    const connectFirst = client[kGetBootstrapConnection].bind(client)
    client[kGetBootstrapConnection] = (callback) => connectFirst(callback, turn)
    client.on("error", ignore)
    client.on("client:broker:disconnect", () => {
      if (!answered) return
      answered = false
      link.look()
    })
  }

  const cut = (of: (connection: Connection) => boolean): void => {
    for (const connection of connections) {
      if (of(connection)) connection.socket?.destroy(new Error("The connection was given up"))
    }
  }
  /** With what each had received when the admin's probe had no answer. */
  const suspects = new Map<Connection, number>()
  const suspect = (): void => {
    for (const connection of connections) {
      if (!ofAdmin(connection)) suspects.set(connection, connection.socket?.bytesRead ?? 0)
    }
  }
  /** Others have an answer now. Where the server was frozen, these have received theirs; where the network was cut, they never will. */
  const clear = (): void => {
    cut((connection) => suspects.get(connection) === connection.socket?.bytesRead)
    suspects.clear()
  }
  const ofAdmin = ({ ownerId }: Connection): boolean => ownerId === admin.instanceId
  const ofAny = (): boolean => true

  /** What is known already would be the answer for ever, if it were not asked for anew. */
  const brokers = (client: Any): Effect.Effect<void, unknown> =>
    Effect.flatMap(
      promise(() => client.metadata({ topics: [], forceUpdate: true, retries: 0 })),
      ({ brokers }) =>
        brokers.size > 0 ? Effect.void : Effect.fail(new NoBroker({ message: "The cluster names no broker" }))
    )
  const coordinator = promise(() => consumer?.findGroupCoordinator() ?? Promise.resolve(undefined))

  const firstContact = Effect.forEach(clients, brokers, { concurrency: "unbounded", discard: true }).pipe(
    Effect.andThen(coordinator),
    Effect.retry({ while: (cause) => cause instanceof NoBroker, schedule: Schedule.spaced(joining) })
  )

  return {
    client,
    connect: firstContact.pipe(
      Effect.timeoutOrElse({
        duration: Duration.millis(Duration.toMillis(connectTimeout) / addresses.length),
        orElse: () => Effect.fail(new OutOfTime("The brokers did not answer"))
      }),
      Effect.tapError((cause) =>
        Effect.sync(() => {
          if (!isOutOfTime(cause)) return
          stalled = true
          turn += 1
          cut(ofAny)
        })
      ),
      // What refuses does so again. The other brokers of the list may answer, as long as the start has time.
      Effect.retry({ while: () => stalled, schedule: Schedule.spaced(settling) }),
      plainly
    ),
    // By the admin alone: a broker answers the requests of a connection one after the other, and those of a producer and of a member
    // of a group may take their time.
    probe: plainly(
      Effect.tap(brokers(admin), () =>
        Effect.sync(() => {
          answered = true
          clear()
        })
      )
    ),
    // A closed producer would refuse what its streams still hold.
    close: Effect.suspend(() => allOf([...reading, ...writing].map((stream) => promise(() => stream.close())))).pipe(
      Effect.exit,
      Effect.flatMap((streams) =>
        allOf([streams, sends.ended, promise(() => consumer?.close(true) ?? Promise.resolve(undefined))])
      )
    ),
    destroy: sync(() => {
      ended = true
      // A stream that is left would hold up the end of its group's membership, and heartbeats would go on.
      for (const stream of reading) stream.destroy()
      for (const stream of writing) stream.destroy()
      consumer?.close(true, ignore)
      producer.close(true, ignore)
      admin.close(ignore)
      cut(ofAny)
      sends.stop()
      instancesChannel.unsubscribe(onInstance)
    }),
    renew: (cause) =>
      sync(() => {
        turn += 1
        if (!isOutOfTime(cause)) return
        // The other clients may be in the middle of what only takes long.
        suspect()
        cut(ofAdmin)
      })
  }
}

const makeClients = (
  { addresses, clientId, connectTimeout, password, tls, username = "", ...settings }: Resolved,
  hasEnded: () => boolean
): Client => {
  const sasl: SASLOptions | undefined =
    password === undefined ? undefined : { mechanism: settings.mechanism, username, password: Redacted.value(password) }
  const common = {
    clientId,
    bootstrapBrokers: [...addresses],
    // Several brokers share the time of a start.
    connectTimeout: Duration.toMillis(connectTimeout) / addresses.length,
    requestTimeout: Duration.toMillis(settings.callTimeout),
    retries,
    // A client that was closed while a request failed would try once more, and keep the process until then.
    retryDelay: (_: unknown, __: string, attempt: number) => (hasEnded() ? 0 : pauseMillis(attempt)),
    ...(tls ? { tls: {} } : {}),
    ...(sasl === undefined ? {} : { sasl })
  }
  const { compression, groupId, idempotent, topics } = settings
  return {
    admin: new Admin(common),
    producer: new Producer({ ...common, compression, idempotent }),
    consumer:
      groupId === undefined || topics.length === 0
        ? undefined
        : new Consumer({
            ...common,
            requestTimeout: Duration.toMillis(Duration.max(settings.callTimeout, patience)),
            groupId
          }),
    subscription: {
      topics: [...topics],
      mode: "committed",
      fallbackMode: settings.offsetInitial,
      autocommit: Duration.toMillis(settings.commitInterval)
    }
  }
}

/** A producer does not know what it is sending, but tells when a sending begins and ends. */
const watchSends = (producer: Client["producer"]) => {
  const { asyncEnd, error, start } = producerSendsChannel
  const open = new Set<unknown>()
  const waiting = new Set<() => void>()
  const began = (send: unknown): void => {
    if ((send as { readonly client: unknown }).client === producer) open.add(send)
  }
  const ended = (send: unknown): void => {
    if (!open.delete(send) || open.size > 0) return
    for (const wake of waiting) wake()
    waiting.clear()
  }
  start.subscribe(began)
  asyncEnd.subscribe(ended)
  error.subscribe(ended)
  return {
    ended: Effect.andThen(
      Effect.callback<void>((resume) => {
        if (open.size === 0) return resume(Effect.void)
        const wake = () => resume(Effect.void)
        waiting.add(wake)
        return Effect.sync(() => waiting.delete(wake))
      }),
      // The sender is told after this is, and is to hear it before that the service has stopped.
      Effect.yieldNow
    ),
    stop: (): void => {
      start.unsubscribe(began)
      asyncEnd.unsubscribe(ended)
      error.unsubscribe(ended)
    }
  }
}
