/** Processes on a real ZooKeeper, each behind a network of its own. */
import { Clock, Duration, Effect, Scope } from "effect"
import { Coordinator } from "effect-ensemble"
import type { Conformance } from "effect-ensemble/testing"
import * as ProcessClock from "../../../src/engines/memory/processClock.ts"
import * as Client from "../../../src/engines/zookeeper/client.ts"
import type { Connect } from "../../../src/engines/zookeeper/clients.ts"
import * as Connection from "../../../src/engines/zookeeper/connection.ts"
import { idOf } from "../../../src/engines/zookeeper/nodes.ts"
import * as P from "../../../src/engines/zookeeper/protocol.ts"
import type { Identity } from "../../../src/engines/zookeeper/session.ts"
import * as Store from "../../../src/engines/zookeeper/store.ts"
import { tcp } from "../../../src/engines/zookeeper/transport.ts"
import * as Utf8 from "../../../src/engines/zookeeper/utf8.ts"
import * as Coordinators from "../../../src/internal/coordinator.ts"
import * as Proxy from "../../faults/proxy.ts"
import type { ZooKeeper } from "../../servers/zookeeper.ts"
import * as Weather from "./weather.ts"

/** Long enough that a pause of this process does not end a session by itself, and a multiple of the servers' tick. */
export const ttlMillis = 6_000

/** What can be struck on ZooKeeper. Its transactions only grow, no server is read that lags, and TCP loses no single event. */
export const withoutOwnServer = new Set<Conformance.Capability>([
  "partition",
  "partitionFromStart",
  "heal",
  "healAll",
  "freezeRenewals",
  "hangReleases",
  "pause",
  "resume",
  "skewClock",
  "jumpClock",
  "delayRequests",
  "delayEvents",
  "duplicateEvents",
  "loseAnswer",
  "expireSession",
  "remove",
  "put",
  // It keeps no history, so all of it is always forgotten.
  "compact",
  "counted-requests",
  "discovery-conflict"
])

let cases = 0

const millis = (input: Duration.Input) => Duration.toMillis(Duration.fromInputUnsafe(input))

export interface Options {
  /** Default {@link ttlMillis}. */
  readonly ttl?: number
  /** Services in Curator's form. They stand where they stand otherwise. */
  readonly curator?: boolean
}

/** A case of its own on a server that others may use at the same time: the prefix keeps them apart. */
export const makeHarness = (zookeeper: ZooKeeper, { curator = false, ttl = ttlMillis }: Options = {}) =>
  Effect.gen(function* () {
    const prefix = `/case-${++cases}`
    const scope = yield* Effect.scope
    const base = yield* Clock.clockWith(Effect.succeed)
    const [server] = zookeeper.members
    const address = { host: server.host, port: server.port }
    const proxies = new Map<string, Proxy.Proxy>()
    const weathers = new Map<string, Weather.Weather>()
    const all: Array<Weather.Weather> = []
    const clocks = new Map<string, ProcessClock.ProcessClock>()

    /** Somebody with zkCli: no session is kept, since a case may end a server. */
    const admin = <A>(use: (client: Client.Client) => Effect.Effect<A, unknown>): Effect.Effect<A> =>
      Effect.scoped(
        Effect.gen(function* () {
          const client = yield* Client.make({ endpoints: [address], transport: tcp, timeoutMillis: 5_000 })
          yield* client.attached
          return yield* use(client)
        })
      ).pipe(Effect.provideService(Clock.Clock, base), Effect.orDie)

    const orNone = <A>(effect: Effect.Effect<A, unknown>) => Effect.orElseSucceed(effect, () => undefined)
    const childrenOf = (client: Client.Client, path: string) =>
      Effect.map(orNone(client.getChildren(path)), (answer) => answer?.children ?? [])

    const removeAll = (client: Client.Client, path: string, id: string) =>
      Effect.flatMap(childrenOf(client, path), (names) =>
        Effect.forEach(
          names.filter((name) => idOf(name) === id),
          (name) => orNone(client.remove(`${path}/${name}`)),
          { discard: true }
        )
      )

    /** Networks that stand before their process does. */
    const prepared = new Map<string, Proxy.Proxy>()
    const makeProxy = Effect.suspend(() => Effect.orDie(Proxy.make({ upstream: address })).pipe(Scope.provide(scope)))

    const process: Conformance.Harness["process"] = Effect.fnUntraced(function* (node, options) {
      const proxy = prepared.get(node) ?? (yield* makeProxy)
      prepared.delete(node)
      // A process that starts again under the same name is reached by the same name.
      proxies.set(node, proxy)
      const weather = Weather.make()
      weathers.set(node, weather)
      all.push(weather)
      const clock = ProcessClock.make(base)
      clocks.set(node, clock)
      const endpoint = { host: proxy.host, port: proxy.port }
      const connect: Connect = ({ endpoints, lastZxid, onFailed, ttlMillis: timeoutMillis }) =>
        Effect.map(Client.make({ endpoints, transport: tcp, timeoutMillis, lastZxid, onFailed }), (client) =>
          weather.over(client, prefix)
        )
      const coordinator = yield* Coordinators.make(
        Store.facts(proxy.address),
        ({ requestMillis }) =>
          Store.make(connect, {
            endpoint: proxy.address,
            prefix,
            layout: "ensemble",
            curatorBasePath: curator ? `${prefix}/discovery` : undefined,
            acl: P.openAcl,
            requestMillis,
            endpoints: [endpoint]
          }),
        { ...options, node, ttl }
      ).pipe(Effect.provideService(Clock.Clock, clock))
      return {
        coordinator,
        run: (effect) =>
          effect.pipe(
            Effect.provideService(Coordinator.Coordinator, coordinator),
            Effect.provideService(Clock.Clock, clock)
          )
      }
    })

    const at = <A>(map: Map<string, A>, node: string): A => {
      const found = map.get(node)
      if (found === undefined) throw new Error(`No process "${node}"`)
      return found
    }
    const strike = <A>(map: Map<string, A>, node: string, how: (at: A) => void) => Effect.sync(() => how(at(map, node)))
    const groupPath = (group: { readonly kind: string; readonly name: string }) =>
      `${prefix}/${group.kind}/${group.name}`
    const heal = (node: string) =>
      Effect.suspend(() => {
        weathers.get(node)?.clear()
        clocks.get(node)?.running.openUnsafe()
        return proxies.get(node)?.heal ?? Effect.void
      })
    const lostWrites = (outcome: Parameters<Required<Conformance.Harness["faults"]>["loseAnswer"]>[1]) =>
      typeof outcome === "string" ? outcome : { appliedAfterMillis: millis(outcome.appliedAfter) }

    /** Takes the session over and closes it, as `zkCli` cannot, and nobody else can who does not know its password. */
    const end = ({ password, sessionId, timeoutMillis }: Identity) =>
      Effect.scoped(
        Effect.flatMap(
          Connection.open({
            transport: tcp,
            endpoint: address,
            handshake: { lastZxidSeen: 0n, timeoutMillis, sessionId, password },
            connectMillis: 5_000,
            silence: 1,
            requestLimit: Connection.defaultRequestLimit,
            answerLimit: 1_000_000,
            chroot: "",
            onEvent: () => {},
            onEnd: () => {}
          }),
          (connection) => connection.request(P.closeSession)
        )
      ).pipe(Effect.ignore, Effect.provideService(Clock.Clock, base))

    const faults: Conformance.Harness["faults"] = {
      partition: (node, how = "silent") =>
        Effect.suspend(() => {
          const proxy = at(proxies, node)
          return how === "silent" ? proxy.blackhole : how === "refused" ? proxy.refuse : proxy.silence("down")
        }),
      partitionFromStart: (node) =>
        Effect.flatMap(makeProxy, (proxy) => {
          prepared.set(node, proxy)
          proxies.set(node, proxy)
          return proxy.blackhole
        }),
      heal,
      healAll: Effect.suspend(() => Effect.forEach(Array.from(proxies.keys()), heal, { discard: true })),
      freezeRenewals: (node) => strike(weathers, node, (weather) => void (weather.renewalsFrozen = true)),
      hangReleases: (node) => strike(weathers, node, (weather) => void (weather.releasesHang = true)),
      // A process that stands still reads nothing either: what arrives meanwhile waits in its buffers.
      pause: (node) =>
        Effect.andThen(
          strike(clocks, node, (clock) => clock.running.closeUnsafe()),
          Effect.suspend(() => at(proxies, node).blackhole)
        ),
      resume: (node) =>
        Effect.andThen(
          strike(clocks, node, (clock) => clock.running.openUnsafe()),
          Effect.suspend(() => at(proxies, node).heal)
        ),
      skewClock: (node, rate) => strike(clocks, node, (clock) => clock.setRateUnsafe(rate)),
      jumpClock: (node, by) => strike(clocks, node, (clock) => clock.jumpWallUnsafe(millis(by))),
      delayRequests: (node, by) => strike(weathers, node, (weather) => void (weather.requestDelayMillis = millis(by))),
      delayEvents: (node, by) => strike(weathers, node, (weather) => void (weather.eventDelayMillis = millis(by))),
      duplicateEvents: (node) => strike(weathers, node, (weather) => void (weather.duplicating = true)),
      loseAnswer: (node, outcome) =>
        strike(weathers, node, (weather) => void weather.lostWrites.push(lostWrites(outcome))),
      expireSession: (node) =>
        Effect.suspend(() =>
          Effect.forEach(Array.from(at(weathers, node).identities.values()), end, { discard: true })
        ),
      remove: (group, id) => admin((client) => removeAll(client, groupPath(group), id)),
      put: (group, id, value) =>
        admin((client) =>
          Effect.gen(function* () {
            const path = groupPath(group)
            for (const above of [prefix, `${prefix}/${group.kind}`, path]) yield* orNone(client.create(above))
            yield* removeAll(client, path, id)
            yield* client.create(`${path}/${id}`, { data: Utf8.encode(value) })
          })
        ),
      compact: Effect.void,
      backup: Effect.gen(function* () {
        const backup = yield* Effect.orDie(zookeeper.backup)
        // A restored server is told apart by its transactions until it has caught up with those that were seen.
        yield* admin((client) =>
          Effect.andThen(
            client.create(`${prefix}/busy`),
            Effect.forEach(Array.from({ length: 1_000 }), () => client.setData(`${prefix}/busy`, new Uint8Array(0)), {
              concurrency: 100,
              discard: true
            })
          )
        )
        return { restore: Effect.orDie(zookeeper.restore(backup)) }
      }),
      rewind: ({ restore }) => restore
    }

    const truth = admin((client) =>
      Effect.gen(function* () {
        const members: Array<string> = []
        for (const kind of yield* childrenOf(client, prefix)) {
          for (const group of yield* childrenOf(client, `${prefix}/${kind}`)) {
            const names = yield* childrenOf(client, `${prefix}/${kind}/${group}`)
            members.push(...names.map((name) => `${kind}/${group}/${idOf(name)}`))
          }
        }
        return { members, watches: all.reduce((sum, weather) => sum + weather.watches, 0) }
      })
    )

    // A group that was used before: where there is none a creation finds no parent, and its fate is never in doubt.
    yield* admin((client) =>
      Effect.forEach(["", "/election", "/election/group"], (path) => client.create(`${prefix}${path}`), {
        discard: true
      })
    )

    const harness: Conformance.Harness = {
      ttlMillis: ttl,
      process,
      advance: (time) => Effect.sleep(Math.max(20, time)),
      faults,
      truth,
      requests: Effect.sync(() => all.reduce((sum, weather) => sum + weather.requests, 0)),
      // A point costs a fresh store's worth of requests here, and all of them are swept on the embedded engine.
      stride: 7
    }
    return harness
  })
