/**
 * What a network between a program and ZooKeeper does to single requests: the faults that a proxy of bytes cannot aim. It stands
 * between the engine and its clients; what it lets through reaches the real server.
 */
import { Effect } from "effect"
import type { Client } from "../../../src/engines/zookeeper/client.ts"
import type { RequestError } from "../../../src/engines/zookeeper/errors.ts"
import { ConnectionLost } from "../../../src/engines/zookeeper/errors.ts"
import type { Identity } from "../../../src/engines/zookeeper/session.ts"
import type { Listener } from "../../../src/engines/zookeeper/watches.ts"

import type { LostWrite } from "../../faults/weather.ts"

export interface Weather {
  renewalsFrozen: boolean
  releasesHang: boolean
  duplicating: boolean
  requestDelayMillis: number
  eventDelayMillis: number
  readonly lostWrites: Array<LostWrite>
  /** Questions and writes that went out, the session's own left out. */
  requests: number
  watches: number
  /** The sessions that were open so far. */
  readonly identities: Map<bigint, Identity>
  readonly over: (client: Client, renewalPath: string) => Client
  readonly clear: () => void
}

const lost = (operation: string): RequestError =>
  new ConnectionLost({ sent: true, operation, detail: "the answer was lost" })

export const make = (): Weather => {
  /** Sends later what was asked for now. It is on its way: giving it up does not call it back. */
  const delayed = <A>(request: Effect.Effect<A, RequestError>): Effect.Effect<A, RequestError> =>
    weather.requestDelayMillis === 0
      ? request
      : Effect.callback<A, RequestError>((resume) => {
          setTimeout(() => Effect.runFork(request).addObserver((exit) => resume(exit)), weather.requestDelayMillis)
        })

  const read = <A>(request: Effect.Effect<A, RequestError>) =>
    Effect.suspend(() => {
      weather.requests++
      return delayed(request)
    })

  const write = <A>(name: string, request: Effect.Effect<A, RequestError>): Effect.Effect<A, RequestError> =>
    Effect.suspend(() => {
      weather.requests++
      const fate = weather.lostWrites.shift()
      if (fate === "applied") return Effect.andThen(request, Effect.fail(lost(name)))
      if (fate === "not-applied") return Effect.fail(lost(name))
      if (fate !== undefined) {
        setTimeout(() => Effect.runFork(request), fate.appliedAfterMillis)
        return Effect.fail(lost(name))
      }
      return delayed(request)
    })

  const hear = (listener: Listener): Listener => {
    let due = 0
    const tell: Listener = (notice) => {
      listener(notice)
      if (weather.duplicating && notice._tag === "Event") listener(notice)
    }
    return (notice) => {
      // Delayed notices keep their order, also behind those that were delayed for longer.
      due = Math.max(due, performance.now() + weather.eventDelayMillis)
      const wait = due - performance.now()
      if (wait <= 0) tell(notice)
      else setTimeout(() => tell(notice), wait)
    }
  }

  const weather: Weather = {
    renewalsFrozen: false,
    releasesHang: false,
    duplicating: false,
    requestDelayMillis: 0,
    eventDelayMillis: 0,
    lostWrites: [],
    requests: 0,
    watches: 0,
    identities: new Map(),
    over: (client, renewalPath) => ({
      ...client,
      attached: Effect.tap(client.attached, ({ identity }) =>
        Effect.sync(() => weather.identities.set(identity.sessionId, identity))
      ),
      create: (path, options) => write("create", client.create(path, options)),
      setData: (path, data, version) => write("setData", client.setData(path, data, version)),
      remove: (path, version) =>
        Effect.suspend(() => {
          weather.requests++
          return weather.releasesHang ? Effect.never : delayed(client.remove(path, version))
        }),
      multi: (writes) => write("multi", client.multi(writes)),
      getData: (path, listener) => read(client.getData(path, listener)),
      exists: (path, listener) => read(client.exists(path, listener)),
      getChildren: (path, listener) => read(client.getChildren(path, listener)),
      sync: (path) => {
        if (path !== renewalPath) return read(client.sync(path))
        return Effect.suspend(() => (weather.renewalsFrozen ? Effect.never : client.sync(path)))
      },
      watch: (path, listener) =>
        Effect.gen(function* () {
          yield* Effect.acquireRelease(
            Effect.sync(() => void weather.watches++),
            () => Effect.sync(() => void weather.watches--)
          )
          weather.requests++
          yield* client.watch(path, hear(listener))
        }),
      // What begins a watch that is made of one-shot watches, whose requests are counted one by one.
      follow: (listener) =>
        Effect.gen(function* () {
          yield* Effect.acquireRelease(
            Effect.sync(() => void weather.watches++),
            () => Effect.sync(() => void weather.watches--)
          )
          yield* client.follow(listener)
        })
    }),
    clear: () => {
      weather.renewalsFrozen = false
      weather.releasesHang = false
      weather.duplicating = false
      weather.requestDelayMillis = 0
      weather.eventDelayMillis = 0
      weather.lostWrites.length = 0
    }
  }
  return weather
}
