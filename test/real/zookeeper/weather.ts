/**
 * What a network between a program and ZooKeeper does to single requests: the faults that a proxy of bytes cannot aim. It stands
 * between the engine and its clients; what it lets through reaches the real server.
 */
import { Effect, Result } from "effect"
import type { Client, RequestUnsafe } from "../../../src/engines/zookeeper/client.ts"
import { requestsOver } from "../../../src/engines/zookeeper/client.ts"
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
  const delayed = (send: () => () => void): (() => void) => {
    if (weather.requestDelayMillis === 0) return send()
    let wanted = true
    let giveUp = () => {}
    setTimeout(() => {
      giveUp = send()
      if (!wanted) giveUp()
    }, weather.requestDelayMillis)
    return () => {
      wanted = false
      giveUp()
    }
  }

  const isWrite = (name: string) => name === "create" || name === "setData"

  const hostile =
    (send: RequestUnsafe, renewalPath: string): RequestUnsafe =>
    (operation, answered, listener) => {
      const { name, path } = operation
      const sent = () => send(operation, answered, listener)
      if (name === "sync" && path === renewalPath) return weather.renewalsFrozen ? () => {} : sent()
      weather.requests++
      if (name === "delete" && weather.releasesHang) return () => {}
      const fate = isWrite(name) ? weather.lostWrites.shift() : undefined
      if (fate === undefined) return delayed(sent)
      const fail = () => answered(Result.fail(lost(name)))
      if (fate === "applied")
        return send(operation, (answer) => (answer._tag === "Success" ? fail() : answered(answer)))
      if (fate !== "not-applied") setTimeout(() => send(operation, () => {}), fate.appliedAfterMillis)
      fail()
      return () => {}
    }

  const transaction = (multi: () => ReturnType<Client["multi"]>): ReturnType<Client["multi"]> =>
    Effect.suspend(() => {
      weather.requests++
      const fate = weather.lostWrites.shift()
      if (fate === undefined) return multi()
      if (fate === "applied") return Effect.andThen(multi(), Effect.fail(lost("multi")))
      if (fate !== "not-applied") setTimeout(() => Effect.runFork(multi()), fate.appliedAfterMillis)
      return Effect.fail(lost("multi"))
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
      requestUnsafe: hostile(client.requestUnsafe, renewalPath),
      ...requestsOver(hostile(client.requestUnsafe, renewalPath)),
      multi: (writes) => transaction(() => client.multi(writes)),
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
