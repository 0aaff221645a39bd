/**
 * A ZooKeeper client: one session over as many connections as it takes.
 *
 * The client keeps the session attached: it moves to the next server when a connection ends, shows who it is, gives its
 * credentials again and sets its watches again. It does not decide how long to believe in the session, and of its own
 * accord it sends nothing on an idle connection: a ping is answered by a follower that has lost its leader, so it would
 * prove nothing and hide the loss. Renewal is the owner's, by `sync` or a write, counted from before it was asked for.
 */
import type { NonEmptyReadonlyArray } from "effect/Array"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import type * as Stream from "effect/Stream"
import * as Cell from "../../internal/cell.ts"
import * as Notifier from "../../internal/notifier.ts"
import * as Connection from "./connection.ts"
import * as Endpoints from "./endpoints.ts"
import type { ApiError, ConnectFailure, RequestError, SessionOver } from "./errors.ts"
import { ConnectionLost, refused, Unreachable } from "./errors.ts"
import type * as Exchange from "./exchange.ts"
import type { End, GiveUp } from "./exchange.ts"
import * as Frame from "./frame.ts"
import * as P from "./protocol.ts"
import * as Session from "./session.ts"
import type { Endpoint, Transport } from "./transport.ts"
import { show } from "./transport.ts"
import * as Watches from "./watches.ts"

export interface Credentials {
  /** `digest`, for which `secret` is `user:password`, or a scheme that the servers were taught. */
  readonly scheme: string
  readonly secret: Uint8Array
}

export interface Options {
  readonly endpoints: NonEmptyReadonlyArray<Endpoint>
  readonly transport: Transport
  /** What to ask for; the servers grant between 2 and 20 of their ticks. */
  readonly timeoutMillis: number
  /** Every path is below it. Its node must exist before anything else can be made. */
  readonly chroot?: string | undefined
  readonly credentials?: ReadonlyArray<Credentials> | undefined
  /** The newest transaction seen by an earlier session: no server that is behind it takes this one. */
  readonly lastZxid?: bigint | undefined
  /** Bounds one attempt at one server. Default: a quarter of the session's timeout, divided among the servers. */
  readonly connectMillis?: number | undefined
  /** For which part of the granted timeout a request may wait while nothing arrives. Default 0.25. */
  readonly silence?: number | undefined
  /** Bounds the farewell. Default 1 second. */
  readonly closeMillis?: number | undefined
  /** Sends pings when nothing else is sent, at this part of the granted timeout. Default: none. */
  readonly ping?: number | undefined
  readonly requestLimit?: number | undefined
  readonly answerLimit?: number | undefined
  /** Told why an attempt at a server failed. Must not block. */
  readonly onFailed?: ((failure: ConnectFailure) => void) | undefined
}

/** What a transaction wrote, in the order of its operations. */
export interface Transacted extends P.Answer {
  readonly written: ReadonlyArray<P.Written>
}

export type Answered<A> = Exchange.Answered<A, RequestError>

/**
 * Sends a request in this very turn, in its place in the order. It may be answered within the call: when nothing was sent.
 *
 * The listener of a read is told of the next change only, once the server has the watch. On servers before 3.9 such a
 * watch of a path silently replaces a recursive one of the same path ({@link Client.watch}): use one or the other.
 */
export type RequestUnsafe = <A>(
  operation: P.Operation<A>,
  answered: Answered<A>,
  listener?: Watches.Listener | undefined
) => GiveUp

/** The requests as effects. Interruption gives them up. */
export interface Requests {
  readonly create: (path: string, options?: P.CreateOptions) => Effect.Effect<P.Written, RequestError>
  /** Version -1, the default, means any. */
  readonly remove: (path: string, version?: number) => Effect.Effect<P.Written, RequestError>
  readonly setData: (path: string, data: Uint8Array, version?: number) => Effect.Effect<P.Written, RequestError>
  /** `data` is a view of what the network brought: copy it to keep it. */
  readonly getData: (path: string, watch?: Watches.Listener) => Effect.Effect<P.Data, RequestError>
  /** Without a node there is no stat. */
  readonly exists: (
    path: string,
    watch?: Watches.Listener
  ) => Effect.Effect<P.Answer & { readonly stat: P.Stat | undefined }, RequestError>
  readonly getChildren: (path: string, watch?: Watches.Listener) => Effect.Effect<P.Children, RequestError>
  /** Answered once the server has everything that the quorum had committed when it was asked. */
  readonly sync: (path: string) => Effect.Effect<P.Answer, RequestError>
}

export interface Client extends Requests {
  readonly state: () => Session.State
  /** The present state, then every later one. */
  readonly states: Stream.Stream<Session.State>
  /** Waits until the session is attached to a server. */
  readonly attached: Effect.Effect<Session.State & { readonly _tag: "Attached" }, SessionOver>
  /** The newest transaction that this session has seen. */
  readonly lastZxid: () => bigint
  readonly requestUnsafe: RequestUnsafe
  /**
   * Enters a listener for the next event of a one-shot watch that a request without a listener sets, before that is sent: no other
   * listener's end then takes the watch away, as one that is entered with the answer may find. Sends nothing. Answers a
   * function that takes it out again.
   */
  readonly listenUnsafe: (kind: Watches.Kind, path: string, listener: Watches.Listener) => () => void
  /** All of the writes or none; a refusal names the one that was refused. */
  readonly multi: (writes: ReadonlyArray<P.Write>) => Effect.Effect<Transacted, RequestError>
  /**
   * Tells the listener of every creation, deletion and change of data at the path and below it, for as long as the
   * scope. Whatever is read after this has succeeded is followed by its changes.
   */
  readonly watch: (path: string, listener: Watches.Listener) => Effect.Effect<void, RequestError, Scope.Scope>
  /** Tells the listener when the connection is interrupted and restored, and when the session is over. */
  readonly follow: (listener: Watches.Listener) => Effect.Effect<void, never, Scope.Scope>
  /** Gives further credentials, now and on every later connection. */
  readonly authenticate: (credentials: Credentials) => Effect.Effect<void>
  /** The ensemble is another one now. A connection to a server that is not in it is given up. */
  readonly setEndpoints: (endpoints: NonEmptyReadonlyArray<Endpoint>) => Effect.Effect<void>
  /** Ends the session at the servers, if one can be told in time. The scope's end does the same. */
  readonly close: Effect.Effect<void>
}

/** Renewals every sixth of the timeout and a quarter of silence leave time to attach elsewhere within half of it. */
const defaultSilence = 0.25

const defaultCloseMillis = 1000

/** How long a server that has left the ensemble may take to answer what it was asked. It may be gone already, and time matters. */
const partingMillis = 500

/** The pause after all servers have failed in turn: doubled each round up to the limit, which is also how long a
 *  connection must hold to count as a success. */
const firstPauseMillis = 50
const longestPauseMillis = 1000

const nothing = (): void => {}

const isPath = (path: string): boolean => path.startsWith("/") && (path.length === 1 || !path.endsWith("/"))

/** What kind of one-shot watch a read sets. */
const oneShots: Readonly<Record<number, Watches.Kind>> = {
  [P.OpCode.getData]: "data",
  [P.OpCode.exists]: "data",
  [P.OpCode.getChildren2]: "child"
}

/** The requests as effects, over how they are sent. */
export const requestsOver = (requestUnsafe: RequestUnsafe): Requests => {
  const request = <A>(operation: P.Operation<A>, listener?: Watches.Listener) =>
    Connection.asked<RequestError>((one, answered) => requestUnsafe(one, answered, listener))(operation)
  return {
    create: (path, options) => request(P.create(path, options)),
    remove: (path, version) => request(P.remove(path, version)),
    setData: (path, data, version) => request(P.setData(path, data, version)),
    getData: (path, watch) => request(P.getData(path, watch !== undefined), watch),
    exists: (path, watch) =>
      Effect.catchTag(request(P.exists(path, watch !== undefined), watch), "NoNode", ({ zxid }) =>
        Effect.succeed({ zxid, stat: undefined })
      ),
    getChildren: (path, watch) => request(P.getChildren(path, watch !== undefined), watch),
    sync: (path) => request(P.sync(path))
  }
}

/** Opens a session. Succeeds at once: the client attaches, and stays attached, in the background of the scope. */
export const make = Effect.fnUntraced(function* (options: Options): Effect.fn.Return<Client, never, Scope.Scope> {
  const scope = yield* Effect.scope
  const chroot = options.chroot ?? ""
  const states = yield* Cell.make<Session.State>(Session.initial)
  const changed = Notifier.make()
  const registry = Watches.make()
  const credentials = [...(options.credentials ?? [])]
  let rotation = yield* Endpoints.rotation(options.endpoints)
  let connection: Connection.Connection | undefined
  /** A connection that is asked nothing more, and still answers. */
  let leaving: Connection.Connection | undefined
  let lastZxid = options.lastZxid ?? 0n
  /** Attempts in a row that came to nothing, or to a connection that did not last. */
  let failures = 0

  const step = (event: Session.Event): void => {
    const before = states.value
    const after = Session.transition(before, event)
    if (after === before) return
    // Listeners first: who waits for the state goes on within the wake-up, and finds that they know.
    if (after._tag === "Over") registry.end(after.reason, "all")
    Cell.setUnsafe(states, after)
    changed.wakeUnsafe()
  }

  const newestZxid = (): bigint => {
    const seen = (connection ?? leaving)?.lastZxid() ?? 0n
    if (seen > lastZxid) lastZxid = seen
    return lastZxid
  }

  const handshake = (): P.ConnectRequest => {
    const { value } = states
    const identity = value._tag === "Over" ? undefined : value.identity
    return {
      lastZxidSeen: lastZxid,
      timeoutMillis: options.timeoutMillis,
      sessionId: identity?.sessionId ?? 0n,
      password: identity?.password ?? new Uint8Array(16)
    }
  }

  const giveCredentials = (to: Connection.Connection, { scheme, secret }: Credentials): void =>
    to.sendUnsafe(P.Xid.auth, P.auth(scheme, secret))

  /** Sets the watches again, in the same turn as the rest of attaching: every later request is answered after them. */
  const setWatches = (to: Connection.Connection): void => {
    for (const part of Watches.chunks(registry.lists(), chroot)) {
      const operation = P.setWatches(lastZxid, part)
      to.sendUnsafe(P.Xid.setWatches, operation, (code) => {
        if (code === 0) return
        const error = refused(code, { operation: operation.name, path: operation.path, zxid: lastZxid })
        // The server hangs up; the next connection sets only what it knows.
        if (error._tag === "Unimplemented") registry.end(error, "recursive")
        else to.endUnsafe({ _tag: "Dropped", detail: error.message })
      })
    }
  }

  const attach = (to: Connection.Connection): void => {
    connection = to
    for (const one of credentials) giveCredentials(to, one)
    setWatches(to)
    // Before the state: who waits for that goes on within the step, and may begin to watch.
    registry.tellConnection({ _tag: "Restored" })
    step({ _tag: "Attached", endpoint: show(to.endpoint), handshake: to.handshake })
  }

  const detach = (end: End): void => {
    newestZxid()
    leaving = undefined
    if (connection === undefined) return
    connection = undefined
    registry.tellConnection({ _tag: "Interrupted" })
    step({ _tag: "Ended", end })
  }

  /** What was opened too late to be of use is given back, so that the servers need not wait for it to expire. */
  const giveBack = (last: Connection.Connection) =>
    last
      .request(P.closeSession)
      .pipe(Effect.timeout(options.closeMillis ?? defaultCloseMillis), Effect.ignore, Effect.andThen(endOf(last)))

  /** Leaves a server that is no longer in the ensemble, but not before it has answered: a move puts no outcome in doubt. */
  const leaveUnlessListed = Effect.suspend(() => {
    const last = connection
    if (last === undefined || rotation.has(last.endpoint)) return Effect.void
    const moved: End = { _tag: "Dropped", detail: "the ensemble has moved" }
    const asked = last.waiting() > 0
    detach(moved)
    leaving = last
    const end = Effect.sync(() => last.endUnsafe(moved))
    // Answers come in the order of the requests, so this one is the last.
    const answers = last.request(P.sync("/")).pipe(Effect.timeout(partingMillis), Effect.ignore)
    return asked ? Effect.andThen(answers, end) : end
  })

  const connectMillis = (): number => {
    const { value } = states
    const granted = value._tag === "Over" ? undefined : value.identity?.timeoutMillis
    return options.connectMillis ?? Math.max(100, (granted ?? options.timeoutMillis) / 4 / rotation.size())
  }

  const endOf = (one: Connection.Connection) =>
    Effect.sync(() => one.endUnsafe({ _tag: "Dropped", detail: "the client is closed" }))

  /** One attempt at one server and, if it succeeds, the life of the connection. */
  const stay = Effect.gen(function* () {
    const endpoint = rotation.next()
    const failed = (failure: ConnectFailure) => {
      step({ _tag: "Failed", endpoint: show(endpoint), failure })
      options.onFailed?.(failure)
    }
    let opening = true
    let ended: End | undefined
    const opened = yield* Effect.result(
      Connection.open({
        transport: options.transport,
        endpoint,
        handshake: handshake(),
        connectMillis: connectMillis(),
        silence: options.silence ?? defaultSilence,
        requestLimit: options.requestLimit ?? Connection.defaultRequestLimit,
        answerLimit: options.answerLimit ?? Frame.defaultLimit,
        chroot,
        onEvent: registry.dispatch,
        onEnd: (end) => {
          ended = end
          if (opening) return
          detach(end)
          changed.wakeUnsafe()
        }
      })
    )
    if (opened._tag === "Failure") return failed(opened.failure)
    if (ended !== undefined) {
      return failed(new Unreachable({ endpoint: show(endpoint), detail: Session.describe(ended) }))
    }
    if (states.value._tag === "Over") return yield* giveBack(opened.success)
    opening = false
    attach(opened.success)
    yield* leaveUnlessListed
    if (options.ping !== undefined) {
      const interval = opened.success.handshake.timeoutMillis * options.ping
      const ping = Effect.sync(() => opened.success.sendUnsafe(P.Xid.ping, P.ping))
      yield* Effect.forkScoped(Effect.forever(Effect.andThen(Effect.sleep(interval), ping)))
    }
    yield* changed.until(() => ended !== undefined)
  }).pipe(Effect.scoped)

  const live = Effect.gen(function* () {
    while (states.value._tag !== "Over") {
      const [held] = yield* Effect.timed(stay)
      failures = Duration.toMillis(held) >= longestPauseMillis ? 0 : failures + 1
      const round = Math.floor(failures / rotation.size())
      if (round === 0) continue
      const pause = Math.min(longestPauseMillis, firstPauseMillis * 2 ** Math.min(round - 1, 10))
      const over = Effect.sleep(pause * (yield* Random.nextBetween(0.8, 1.2)))
      const servers = rotation
      yield* Effect.raceFirst(
        over,
        changed.until(() => rotation !== servers)
      )
    }
  })

  /** A chroot is put before the path as it is, so what is not a path would reach out of it. */
  const notPath = ({ name, path }: P.Operation<unknown>) =>
    refused(P.Code.BadArguments, { operation: name, path, zxid: lastZxid })

  const notConnected = (operation: P.Operation<unknown>): RequestError => {
    const { value } = states
    if (value._tag === "Over") return value.reason
    const detail = value._tag === "Connecting" && value.problem !== undefined ? `: ${value.problem}` : ""
    return new ConnectionLost({ sent: false, operation: operation.name, detail: `not connected${detail}` })
  }

  /** Keeps a one-shot watch once the server has it, which for most requests it has only with a success. */
  const watching =
    ({ opCode, path }: P.Operation<unknown>, listener: Watches.Listener) =>
    (code: number): void => {
      const kind = oneShots[opCode]
      if (kind !== undefined && code === 0) registry.addOnce(kind, path, listener)
      else if (opCode === P.OpCode.exists && code === P.Code.NoNode) registry.addOnce("exist", path, listener)
    }

  const requestUnsafe: RequestUnsafe = (operation, answered, listener) => {
    if (connection !== undefined && isPath(operation.path)) {
      return connection.requestUnsafe(
        operation,
        answered,
        listener === undefined ? undefined : watching(operation, listener)
      )
    }
    answered(Result.fail(isPath(operation.path) ? notConnected(operation) : notPath(operation)))
    return nothing
  }
  const request = Connection.asked(requestUnsafe)

  const transact = (writes: ReadonlyArray<P.Write>): Effect.Effect<Transacted, RequestError> => {
    const bad = writes.find(({ path }) => !isPath(path))
    if (bad !== undefined) return Effect.fail(notPath(bad))
    return Effect.flatMap(request(P.multi(writes)), (answer) => verdict(writes, answer))
  }

  const close = Effect.suspend(() => {
    const last = connection ?? leaving
    // Over before the servers are told: what is asked for from now on would be carried out after the end, or never.
    connection = undefined
    step({ _tag: "Closed" })
    return last === undefined ? Effect.void : giveBack(last)
  })

  const attached: Client["attached"] = Effect.suspend(() => {
    const { value } = states
    if (value._tag === "Attached") return Effect.succeed(value)
    if (value._tag === "Over") return Effect.fail(value.reason)
    return Effect.andThen(
      changed.until(() => states.value._tag !== "Connecting"),
      attached
    )
  })

  yield* Effect.forkScoped(live)
  yield* Effect.addFinalizer(() => close)

  return {
    state: () => states.value,
    states: Cell.changes(states),
    attached,
    lastZxid: newestZxid,
    ...requestsOver(requestUnsafe),
    requestUnsafe,
    listenUnsafe: registry.addOnce,
    multi: transact,
    watch: Effect.fnUntraced(function* (path, listener) {
      const forget = registry.addRecursive(path, listener)
      yield* Effect.addFinalizer(() =>
        Effect.suspend(() => {
          if (!forget() || connection === undefined) return Effect.void
          // Nobody waits: should it get lost, the server tells of events for which there is no listener. It is sent at
          // once, so that it cannot remove a watch that is set after it.
          const removal = Effect.ignore(connection.request(P.removeWatches(path)))
          return Effect.asVoid(Effect.forkDetach(removal, { startImmediately: true }))
        })
      )
      yield* Effect.onError(request(P.addWatch(path, "persistentRecursive")), () => Effect.sync(forget))
    }),
    follow: (listener) =>
      Effect.asVoid(
        Effect.acquireRelease(
          Effect.sync(() => registry.addFollower(listener)),
          (forget) => Effect.sync(forget)
        )
      ),
    authenticate: (one) =>
      Effect.sync(() => {
        credentials.push(one)
        if (connection !== undefined) giveCredentials(connection, one)
      }),
    setEndpoints: (endpoints) =>
      Effect.flatMap(Endpoints.rotation(endpoints), (next) => {
        rotation = next
        // What the former servers did is no reason to let these wait.
        failures = 0
        changed.wakeUnsafe()
        return Effect.asVoid(Effect.forkIn(leaveUnlessListed, scope, { startImmediately: true }))
      }),
    close
  }
})

/** What a transaction's answer means: all written, or the refusal of the first operation that was refused. */
const verdict = (
  writes: ReadonlyArray<P.Write>,
  { outcomes, zxid }: P.Outcomes
): Effect.Effect<Transacted, ApiError> => {
  const written: Array<P.Written> = []
  for (const [index, outcome] of outcomes.entries()) {
    if (outcome.code !== 0) {
      const path = writes[index]?.path ?? "/"
      const operation = `multi[${index}] ${writes[index]?.name ?? ""}`
      return Effect.fail(refused(outcome.code, { operation, path, zxid, index }))
    }
    if (outcome.written !== undefined) written.push(outcome.written)
  }
  return Effect.succeed({ written, zxid })
}
