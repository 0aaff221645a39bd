/**
 * The client of the moment. A ZooKeeper client has one session, so each session of the coordinator is a client of its own,
 * and what outlives sessions waits here for the next one.
 */
import type { NonEmptyReadonlyArray } from "effect/Array"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as PubSub from "effect/PubSub"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { CoordinatorError, Unreachable } from "../../CoordinatorError.ts"
import * as Notifier from "../../internal/notifier.ts"
import type { Renewal } from "../../internal/store.ts"
import type { Client } from "./client.ts"
import type { ConnectFailure, ProtocolError, RequestError } from "./errors.ts"
import type { Effects } from "./failure.ts"
import { engine, failing, isSessionOver } from "./failure.ts"
import type { Shared } from "./lists.ts"
import type { Node } from "./nodes.ts"
import { sessionName } from "./nodes.ts"
import type { Stray } from "./strays.ts"
import type { Endpoint } from "./transport.ts"
import { show } from "./transport.ts"

export type Endpoints = NonEmptyReadonlyArray<Endpoint>

/** Opens a client: everything that is needed to reach the servers is settled, but for what differs from session to session. */
export type Connect = (options: {
  readonly endpoints: Endpoints
  readonly ttlMillis: number
  readonly lastZxid: bigint
  readonly onFailed: (failure: ConnectFailure) => void
}) => Effect.Effect<Client, never, Scope.Scope>

export interface Settings {
  readonly endpoint: string
  readonly prefix: string
  /** The servers at first; `undefined` where {@link Clients.moveTo} is to name them. No session is opened before. */
  readonly endpoints: Endpoints | undefined
  readonly requestMillis: number
  /** What else is asked before a session is used. */
  readonly greet?: ((client: Client) => Effect.Effect<void, RequestError>) | undefined
}

/** A session, its client, and the nodes that this process has learnt of while it lasted. */
export interface Current {
  readonly id: string
  readonly client: Client
  readonly epoch: number
  /** By the group's path and the id. Names and tokens stay; the value is the one that was last written or read here. */
  readonly hints: Map<string, Node>
  readonly strays: Set<Stray>
  /** Lists that several may share, by the group's path. */
  readonly lists: Map<string, Shared>
}

export interface Clients {
  /** The client of the moment, once it is attached to a server. */
  readonly attached: Effect.Effect<Current>
  /** The client of the moment, if there is one. */
  readonly nowUnsafe: () => Current | undefined
  /**
   * Asks, and asks again on the next connection, or in the next session, as long as the connection fails: for what may
   * be carried out twice. Unbounded; whoever asks bounds it.
   */
  readonly ask: <A>(
    operation: string,
    effects: Effects,
    request: (current: Current) => Effect.Effect<A, RequestError>
  ) => Effect.Effect<A, CoordinatorError>
  /** Writes once; again only where the server certainly has not seen it. */
  readonly write: <A>(request: (current: Current) => Effect.Effect<A, RequestError>) => Effect.Effect<A, RequestError>
  readonly open: (
    ttlMillis: number
  ) => Effect.Effect<{ readonly id: string; readonly ttlMillis: number }, CoordinatorError>
  readonly renew: (session: string) => Effect.Effect<Renewal, CoordinatorError>
  readonly revoke: (session: string) => Effect.Effect<void>
  readonly rewinds: PubSub.PubSub<void>
  /** The ensemble is another one now. Sessions stay; a connection to a server that is not in it is given up. */
  readonly moveTo: (endpoints: Endpoints) => Effect.Effect<void>
}

/** Whether the same question may be answered on the next connection, or in the next session. */
const mayPass = ({ _tag }: RequestError): boolean =>
  _tag === "ConnectionLost" || _tag === "SessionExpired" || _tag === "SessionClosed"

/** An attempt to open a session ends by itself before the one who asked gives up, so that what it met is told. */
const patience = 0.9

export const make = Effect.fnUntraced(function* (
  connect: Connect,
  settings: Settings
): Effect.fn.Return<Clients, never, Scope.Scope> {
  const { endpoint, requestMillis } = settings
  const prefix = settings.prefix === "" ? "/" : settings.prefix
  const rewinds = yield* PubSub.unbounded<void>()
  const changed = Notifier.make()
  const open = new Map<string, { readonly current: Current; readonly scope: Scope.Closeable }>()
  /** Every client there is, also those whose session is not open yet: a move reaches them all. */
  const clients = new Set<Client>()
  let { endpoints } = settings
  let current: Current | undefined
  let highest = 0n
  let epoch = 0
  let permitted = false

  yield* Effect.addFinalizer((exit) =>
    Effect.forEach(Array.from(open.values()), ({ scope }) => Scope.close(scope, exit), { discard: true })
  )

  const sawUnsafe = (one: Current): void => {
    const zxid = one.client.lastZxid()
    // What was seen before the store was put back says nothing of it now.
    if (one.epoch === epoch && zxid > highest) highest = zxid
  }

  /** The newest transaction that any session has seen. */
  const newest = (): bigint => {
    for (const one of open.values()) sawUnsafe(one.current)
    return highest
  }

  const attached: Clients["attached"] = Effect.suspend(() => {
    const now = current
    const next = Effect.andThen(
      changed.until(() => current !== undefined && current !== now),
      attached
    )
    if (now === undefined) return next
    return Effect.matchEffect(now.client.attached, { onFailure: () => next, onSuccess: () => Effect.succeed(now) })
  })

  /** A session that is over is never current again: whoever asks next waits for another one. */
  const forgetUnsafe = (one: Current): void => {
    sawUnsafe(one)
    if (current === one) current = undefined
  }

  const retrying = <A>(
    request: (current: Current) => Effect.Effect<A, RequestError>,
    retries: (error: RequestError) => boolean
  ): Effect.Effect<A, RequestError> => {
    const askNow = (now: Current): Effect.Effect<A, RequestError> =>
      Effect.catch(request(now), (error) => {
        if (isSessionOver(error)) forgetUnsafe(now)
        return retries(error) ? attempt : Effect.fail(error)
      })
    const attempt = Effect.suspend(() =>
      current?.client.state()._tag === "Attached" ? askNow(current) : Effect.flatMap(attached, askNow)
    )
    return attempt
  }

  const unreachable = (detail: string) =>
    new CoordinatorError({ engine, operation: "Session.open", endpoint, reason: new Unreachable({ detail }) })

  const connectClient = Effect.fnUntraced(function* (options: Omit<Parameters<Connect>[0], "endpoints">) {
    const at = endpoints
    if (at === undefined) return yield* unreachable("No server has been named yet")
    const client = yield* connect({ ...options, endpoints: at })
    yield* Effect.acquireRelease(
      Effect.sync(() => clients.add(client)),
      () => Effect.sync(() => clients.delete(client))
    )
    // The ensemble may have moved while the client was made, and nobody has told this one.
    if (endpoints !== undefined && endpoints !== at) yield* client.setEndpoints(endpoints)
    return client
  })

  const refusedByAll = (client: Client): boolean => {
    const state = client.state()
    // What servers said that have left the ensemble since is no longer asked.
    return state._tag === "Connecting" && endpoints?.every((server) => state.refusedBy.includes(show(server))) === true
  }

  /**
   * Asks the servers without telling them what was seen. Transactions only grow, so a quorum whose newest one is below what was
   * seen has been put back to an earlier state.
   */
  const isRewound = Effect.gen(function* () {
    const seen = newest()
    const since = epoch
    const client = yield* connectClient({ ttlMillis: requestMillis, lastZxid: 0n, onFailed: () => {} })
    yield* client.attached
    const { zxid } = yield* client.sync(prefix)
    if (zxid >= seen || since !== epoch) return since !== epoch
    highest = zxid
    epoch++
    PubSub.publishUnsafe(rewinds, undefined)
    return true
  }).pipe(
    Effect.scoped,
    Effect.timeout(requestMillis),
    Effect.orElseSucceed(() => false)
  )

  /**
   * Waits until the store is found to have been rewound. A server hangs up on who has seen more than it has, which is right as
   * long as it only lags; when all do, they are asked.
   */
  const rewound = (client: Client): Effect.Effect<void> =>
    client.states.pipe(
      Stream.filter(() => refusedByAll(client)),
      Stream.runHead,
      Effect.andThen(isRewound),
      Effect.flatMap((is) => (is ? Effect.void : Effect.andThen(Effect.sleep(requestMillis), rewound(client))))
    )

  const attach = Effect.fnUntraced(function* (ttlMillis: number) {
    const at = failing(endpoint, "Session.open", "read")
    let strangers = 0
    let stranger: ProtocolError | undefined
    const noticed = Notifier.make()
    const client = yield* connectClient({
      ttlMillis,
      lastZxid: newest(),
      onFailed: (failure) => {
        strangers = failure._tag === "ProtocolError" ? strangers + 1 : 0
        if (failure._tag === "ProtocolError") stranger = failure
        noticed.wakeUnsafe()
      }
    })
    const foreign = Effect.flatMap(
      noticed.until(() => endpoints !== undefined && strangers >= endpoints.length),
      () => (stranger === undefined ? Effect.never : Effect.fail(at(stranger)))
    )
    const greeting = Effect.gen(function* () {
      const { identity } = yield* client.attached
      if (settings.greet !== undefined) yield* settings.greet(client)
      // The handshake is one server's word; this is the quorum's, and shows that the credentials were taken.
      yield* client.sync(prefix)
      if (!permitted) {
        // Who may not even read the prefix is told so at the start, and not by the first join.
        yield* Effect.catchTag(client.getChildren(prefix), "NoNode", () => Effect.void)
        permitted = true
      }
      return { client, identity }
    }).pipe(
      Effect.catchTag("ConnectionLost", (error) => {
        const state = client.state()
        return Effect.fail(at(state._tag === "Over" ? state.reason : error))
      }),
      Effect.mapError((error) => (error._tag === "CoordinatorError" ? error : at(error)))
    )
    const putBack = Effect.andThen(
      rewound(client),
      Effect.fail(unreachable("The store was put back to an earlier state"))
    )
    return yield* Effect.raceAllFirst([greeting, foreign, putBack]).pipe(
      Effect.timeoutOrElse({
        duration: requestMillis * patience,
        orElse: () => {
          const state = client.state()
          const problem = state._tag === "Connecting" ? state.problem : undefined
          return Effect.fail(unreachable(problem ?? `No answer within ${Math.round(requestMillis * patience)} ms`))
        }
      })
    )
  })

  return {
    attached,
    nowUnsafe: () => current,
    ask: (operation, effects, request) =>
      Effect.mapError(retrying(request, mayPass), failing(endpoint, operation, effects)),
    write: (request) => retrying(request, (error) => error._tag === "ConnectionLost" && !error.sent),
    open: (ttlMillis) =>
      Effect.uninterruptibleMask(
        Effect.fnUntraced(function* (restore) {
          const scope = yield* Scope.make()
          const { client, identity } = yield* restore(attach(ttlMillis)).pipe(
            Scope.provide(scope),
            Effect.onExit((exit) => (Exit.isSuccess(exit) ? Effect.void : Scope.close(scope, exit)))
          )
          const id = sessionName(identity.sessionId)
          const next: Current = { id, client, epoch, hints: new Map(), strays: new Set(), lists: new Map() }
          open.set(id, { current: next, scope })
          current = next
          changed.wakeUnsafe()
          yield* Effect.forkIn(Effect.interruptible(rewound(client)), scope)
          return { id, ttlMillis: identity.timeoutMillis }
        })
      ),
    renew: (session) => {
      const one = open.get(session)?.current
      if (one === undefined) return Effect.succeed({ _tag: "Gone" })
      const { client } = one
      const attempt: Effect.Effect<Renewal, CoordinatorError> = Effect.flatMap(client.attached, ({ identity }) =>
        Effect.map(client.sync(prefix), (): Renewal => ({ _tag: "Renewed", ttlMillis: identity.timeoutMillis }))
      ).pipe(
        Effect.catch((error) => {
          if (isSessionOver(error)) return Effect.succeed<Renewal>({ _tag: "Gone" })
          return error._tag === "ConnectionLost"
            ? attempt
            : Effect.fail(failing(endpoint, "Session.renew", "read")(error))
        })
      )
      return attempt
    },
    revoke: (session) =>
      Effect.suspend(() => {
        const one = open.get(session)
        if (one === undefined) return Effect.void
        open.delete(session)
        forgetUnsafe(one.current)
        return Scope.close(one.scope, Exit.void)
      }),
    rewinds,
    moveTo: (next) =>
      Effect.suspend(() => {
        endpoints = next
        return Effect.forEach(Array.from(clients), (client) => client.setEndpoints(next), { discard: true })
      })
  }
})
