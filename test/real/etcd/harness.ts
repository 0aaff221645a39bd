/** Processes on a real etcd, each behind a network of its own. */
import { Clock, Duration, Effect, Scope } from "effect"
import { Coordinator } from "effect-ensemble"
import type { Conformance } from "effect-ensemble/testing"
import * as Client from "../../../src/engines/etcd/client.ts"
import * as Connections from "../../../src/engines/etcd/connections.ts"
import * as Endpoints from "../../../src/engines/etcd/endpoints.ts"
import * as Grpc from "../../../src/engines/etcd/grpc.ts"
import * as ProcessClock from "../../../src/engines/memory/processClock.ts"
import * as Coordinators from "../../../src/internal/coordinator.ts"
import * as Proxy from "../../faults/proxy.ts"
import * as Weather from "../../faults/weather.ts"
import type { Etcd } from "../../servers/etcd.ts"

/** Long enough that a pause of this process does not end a session by itself. */
export const ttlMillis = 5_000

/** What can be struck on etcd. It has no index to fall, no replica is read, and TCP loses no single event. */
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
  "compact",
  "counted-requests",
  "discovery-conflict"
])

let cases = 0

const millis = (input: Duration.Input) => Duration.toMillis(Duration.fromInputUnsafe(input))

/** A case of its own on a server that others may use at the same time: the prefix keeps them apart. */
export const makeHarness = (etcd: Etcd) =>
  Effect.gen(function* () {
    const prefix = `/case-${++cases}`
    const scope = yield* Effect.scope
    const base = yield* Clock.clockWith(Effect.succeed)
    const { gateway } = etcd
    const proxies = new Map<string, Proxy.Proxy>()
    const weathers = new Map<string, Weather.Weather>()
    const all: Array<Weather.Weather> = []
    const clocks = new Map<string, ProcessClock.ProcessClock>()

    /** Networks that stand before their process does. */
    const prepared = new Map<string, Proxy.Proxy>()
    const makeProxy = Effect.gen(function* () {
      const [member] = etcd.members
      const { host, port } = member
      return yield* Effect.orDie(Proxy.make({ upstream: { host, port } })).pipe(Scope.provide(scope))
    })

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
      const addresses = Endpoints.parse({ endpoints: proxy.url })
      if ("problem" in addresses) return yield* Effect.die(addresses.problem)
      const connect = Effect.fnUntraced(function* ({ requestMillis }: { readonly requestMillis: number }) {
        const transport = weather.over(yield* Grpc.own(addresses))
        const connections = yield* Connections.make(transport, { credentials: undefined, requestMillis })
        return yield* Client.make(connections, { prefix, endpoint: proxy.url, requestMillis })
      })
      const coordinator = yield* Coordinators.make(Client.facts(proxy.url), connect, {
        ...options,
        node,
        ttl: ttlMillis
      }).pipe(Effect.provideService(Clock.Clock, clock))
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
    const key = (group: { readonly kind: string; readonly name: string }, id: string) =>
      `${prefix}/${group.kind}/${group.name}/${id}`
    const heal = (node: string) =>
      Effect.suspend(() => {
        weathers.get(node)?.clear()
        clocks.get(node)?.running.openUnsafe()
        return proxies.get(node)?.heal ?? Effect.void
      })
    const lostWrites = (outcome: Parameters<Required<Conformance.Harness["faults"]>["loseAnswer"]>[1]) =>
      typeof outcome === "string" ? outcome : { appliedAfterMillis: millis(outcome.appliedAfter) }

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
          Effect.forEach(
            Array.from(at(weathers, node).leases),
            (lease) => Effect.ignore(gateway.revoke(BigInt(lease))),
            { discard: true }
          )
        ),
      remove: (group, id) => Effect.orDie(Effect.asVoid(gateway.remove(key(group, id)))),
      put: (group, id, value) =>
        Effect.orDie(Effect.asVoid(Effect.andThen(gateway.remove(key(group, id)), gateway.put(key(group, id), value)))),
      compact: Effect.orDie(Effect.flatMap(gateway.revision, gateway.compact)),
      backup: Effect.orDie(
        Effect.map(etcd.backup, (backup) => ({ restore: Effect.orDie(etcd.restore(backup, { newCluster: true })) }))
      ),
      rewind: ({ restore }) => restore
    }

    const harness: Conformance.Harness = {
      ttlMillis,
      process,
      advance: (time) => Effect.sleep(Math.max(20, time)),
      faults,
      truth: Effect.orDie(
        Effect.map(gateway.range(`${prefix}/`), ({ entries }) => ({
          members: entries.map((entry) => entry.key.slice(prefix.length + 1)),
          watches: all.reduce((sum, weather) => sum + weather.watches.size, 0)
        }))
      ),
      requests: Effect.sync(() => all.reduce((sum, weather) => sum + weather.requests, 0)),
      // A point costs a fresh store's worth of requests here, and all of them are swept on the embedded engine.
      stride: 2
    }
    return harness
  })
