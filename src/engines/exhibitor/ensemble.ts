/**
 * The ZooKeeper servers as the Exhibitors name them, followed for as long as a scope.
 *
 * What is known is one total function of what the Exhibitors said: a list replaces another, a failure replaces nothing,
 * and the back-up stands in only where there was never a list.
 */
import * as Arr from "effect/Array"
import * as Effect from "effect/Effect"
import type * as HttpClient from "effect/http/HttpClient"
import * as Random from "effect/Random"
import type * as Scope from "effect/Scope"
import type { CoordinatorError } from "../../CoordinatorError.ts"
import * as Notifier from "../../internal/notifier.ts"
import type { Endpoints } from "../zookeeper/clients.ts"
import { areSame } from "../zookeeper/endpoints.ts"
import { show } from "../zookeeper/transport.ts"
import * as List from "./list.ts"
import type { Settings } from "./settings.ts"

export interface State {
  /** Where to connect; `undefined` as long as nobody has said so. */
  readonly servers: Endpoints | undefined
  /** Why the last look brought no list; `undefined` after one that did. */
  readonly problem: CoordinatorError | undefined
}

export type Event =
  | { readonly _tag: "Listed"; readonly servers: Endpoints }
  | { readonly _tag: "Failed"; readonly problem: CoordinatorError }

export const initial: State = { servers: undefined, problem: undefined }

/** Servers that stay the same stay the same object, so that a move can be told by that. */
export const transition = (state: State, event: Event, backup: Endpoints | undefined): State => {
  switch (event._tag) {
    case "Listed": {
      const { servers } = state
      const stay = servers !== undefined && areSame(servers, event.servers)
      return { servers: stay ? servers : event.servers, problem: undefined }
    }
    case "Failed":
      return { servers: state.servers ?? backup, problem: event.problem }
  }
}

/** Before the first list somebody waits for it, so it is looked for as often as a session would be opened anew. */
const eagerMillis = 1_000

const names = (servers: Endpoints): string => servers.map(show).join(",")

/** What an operator should know of a step, once each: an Exhibitor that is down for a day is not news every ten seconds. */
const report = (before: State, after: State): Effect.Effect<void> => {
  const { problem, servers } = after
  if (problem !== undefined && before.problem === undefined) {
    const consequence = servers === undefined ? "Asking again" : `Going on with ${names(servers)}`
    return Effect.logWarning(`No Exhibitor gives a list of servers: ${problem.message}. ${consequence}`)
  }
  if (problem !== undefined) return Effect.logDebug(`Still no list of servers: ${problem.message}`)
  if (servers === undefined) return Effect.void
  if (servers === before.servers) {
    return before.problem === undefined ? Effect.void : Effect.logInfo("Exhibitor lists the servers again")
  }
  const from = before.servers === undefined ? "" : `, and no longer ${names(before.servers)}`
  return Effect.logInfo(`The ZooKeeper ensemble is ${names(servers)}${from}`)
}

/** Which of two failures to tell: as long as one Exhibitor may answer yet, it is too early to give up. */
const graver = (one: CoordinatorError, other: CoordinatorError): CoordinatorError =>
  !one.isTransient && other.isTransient ? other : one

/**
 * A look at the list: all Exhibitors in turn, at first from a random one, later from the one that answered last. What they
 * list may differ while they change it, and nobody is to move to and fro.
 */
const looking = Effect.fnUntraced(function* (http: HttpClient.HttpClient, { question, urls }: Settings) {
  let order = Arr.rotate(urls, yield* Random.nextIntBetween(0, urls.length))
  const look = (tries: number): Effect.Effect<Endpoints, CoordinatorError> =>
    Effect.suspend(() => {
      const [url, ...others] = order
      return Effect.catch(List.ask(http, url, question), (problem) => {
        order = Arr.append(others, url)
        return tries > 1 ? Effect.mapError(look(tries - 1), (later) => graver(problem, later)) : Effect.fail(problem)
      })
    })
  return look(urls.length)
})

export interface Ensemble {
  /** Waits until it is known whether there are servers to connect to, and fails with why there are none. */
  readonly known: Effect.Effect<void, CoordinatorError>
}

/** Looks at the list in its rhythm. `moveTo` is told the first servers, and others when they are no longer the same. */
export const follow = Effect.fnUntraced(function* (
  http: HttpClient.HttpClient,
  settings: Settings,
  moveTo: (servers: Endpoints) => Effect.Effect<void>
): Effect.fn.Return<Ensemble, never, Scope.Scope> {
  const { backup, intervalMillis } = settings
  const look = yield* looking(http, settings)
  const changed = Notifier.make()
  let state = initial

  const step = Effect.fnUntraced(function* (event: Event) {
    const before = state
    const after = transition(before, event, backup)
    yield* report(before, after)
    // Before it is known: who waits for the servers finds them named.
    if (after.servers !== undefined && after.servers !== before.servers) yield* moveTo(after.servers)
    state = after
    changed.wakeUnsafe()
  })

  const live = Effect.gen(function* () {
    while (true) {
      yield* Effect.matchEffect(look, {
        onFailure: (problem) => step({ _tag: "Failed", problem }),
        onSuccess: (servers) => step({ _tag: "Listed", servers })
      })
      const pause = state.servers === undefined ? Math.min(eagerMillis, intervalMillis) : intervalMillis
      // All clients of an ensemble are often started at once. They need not ask at once as well.
      yield* Effect.sleep(pause * (yield* Random.nextBetween(0.8, 1.2)))
    }
  })
  yield* Effect.forkScoped(live)

  return {
    known: Effect.andThen(
      changed.until(() => state.servers !== undefined || state.problem !== undefined),
      Effect.suspend(() =>
        state.servers === undefined && state.problem !== undefined ? Effect.fail(state.problem) : Effect.void
      )
    )
  }
})
