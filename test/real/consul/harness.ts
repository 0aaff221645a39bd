/** Processes on a real Consul, each behind a network of its own. */
import { Clock, Duration, Effect, Scope } from "effect"
import { Coordinator } from "effect-ensemble"
import type { Conformance } from "effect-ensemble/testing"
import * as Client from "../../../src/engines/consul/client.ts"
import * as Endpoints from "../../../src/engines/consul/endpoints.ts"
import * as Transport from "../../../src/engines/consul/transport.ts"
import * as ProcessClock from "../../../src/engines/memory/processClock.ts"
import * as Coordinators from "../../../src/internal/coordinator.ts"
import * as Proxy from "../../faults/proxy.ts"
import type { Consul } from "../../servers/consul.ts"
import { demand } from "../../servers/consul.ts"
import * as Weather from "./weather.ts"

/** Long enough that a pause of this process does not end a session by itself. */
export const ttlMillis = 5_000

/**
 * What can be struck on Consul: it has no events to lose or to send twice and no history to compact, readings are of the leader, and its
 * catalog replaces a registration without asking.
 */
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
  "loseAnswer",
  "expireSession",
  "remove",
  "put",
  "counted-requests"
])

let cases = 0

const millis = (input: Duration.Input) => Duration.toMillis(Duration.fromInputUnsafe(input))

interface Pair {
  readonly Key: string
}

interface Service {
  readonly Service: string
  readonly Meta: Readonly<Record<string, string>>
}

interface Group {
  readonly kind: string
  readonly name: string
}

/** A case of its own on a server that others may use at the same time: the prefix keeps them apart. */
export const makeHarness = (consul: Consul) =>
  Effect.gen(function* () {
    const prefix = `case-${++cases}`
    const serviceOf = (name: string) => `${prefix}-${name}`
    const scope = yield* Effect.scope
    const base = yield* Clock.clockWith(Effect.succeed)
    const proxies = new Map<string, Proxy.Proxy>()
    const weathers = new Map<string, Weather.Weather>()
    const all: Array<Weather.Weather> = []
    const clocks = new Map<string, ProcessClock.ProcessClock>()
    const asked = demand(consul.ask)

    /** Networks that stand before their process does. */
    const prepared = new Map<string, Proxy.Proxy>()
    const makeProxy = Effect.gen(function* () {
      const [{ host, port }] = consul.members
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
        const transport = weather.over(yield* Transport.own(addresses))
        return yield* Client.make(transport, {
          prefix,
          endpoint: proxy.url,
          requestMillis,
          serviceOf
        })
      })
      const coordinator = yield* Coordinators.make(Client.facts(proxy.url, 1_000), connect, {
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
    const key = ({ kind, name }: Group, id: string) =>
      kind === "barrier" ? `${prefix}/${name}/${id}` : `${prefix}/${kind}/${name}/${id}`
    /** Where it stands, as `kind/group/id`. */
    const memberOf = (key: string) => {
      const rest = key.slice(prefix.length + 1)
      return rest.split("/").length === 2 ? `barrier/${rest}` : rest
    }
    /** As a program that knows nothing of this library would. */
    const register = (name: string, id: string, value: string) =>
      asked("PUT", "/agent/service/register", JSON.stringify({ ID: id, Name: serviceOf(name), Tags: [value] }))
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
      loseAnswer: (node, outcome) =>
        strike(weathers, node, (weather) => void weather.lostWrites.push(lostWrites(outcome))),
      expireSession: (node) =>
        Effect.suspend(() =>
          Effect.forEach(
            Array.from(at(weathers, node).sessions),
            (session) => Effect.ignore(asked("PUT", `/session/destroy/${session}`)),
            { discard: true }
          )
        ),
      remove: (group, id) =>
        Effect.orDie(
          Effect.asVoid(
            group.kind === "discovery"
              ? asked("PUT", `/agent/service/deregister/${serviceOf(group.name)}:${id}`)
              : asked("DELETE", `/kv/${key(group, id)}`)
          )
        ),
      put: (group, id, value) =>
        Effect.orDie(
          Effect.asVoid(
            group.kind === "discovery"
              ? register(group.name, id, value)
              : Effect.andThen(asked("DELETE", `/kv/${key(group, id)}`), asked("PUT", `/kv/${key(group, id)}`, value))
          )
        ),
      backup: Effect.orDie(Effect.map(consul.backup, (backup) => ({ restore: Effect.orDie(consul.restore(backup)) }))),
      rewind: ({ restore }) => restore
    }

    const harness: Conformance.Harness = {
      ttlMillis,
      process,
      advance: (time) => Effect.sleep(Math.max(20, time)),
      faults,
      truth: Effect.orDie(
        Effect.gen(function* () {
          const pairs = yield* consul.ask("GET", `/kv/${prefix}/?recurse&consistent`)
          const keys = pairs.status === 404 ? [] : (JSON.parse(pairs.text) as ReadonlyArray<Pair>)
          const services = JSON.parse((yield* asked("GET", "/agent/services")).text) as Record<string, Service>
          return {
            members: [
              ...keys.map(({ Key }) => memberOf(Key)),
              ...Object.values(services).flatMap(({ Meta, Service }) =>
                Service.startsWith(`${prefix}-`)
                  ? [`discovery/${Service.slice(prefix.length + 1)}/${Meta["ensemble-id"]}`]
                  : []
              )
            ],
            watches: all.reduce((sum, weather) => sum + weather.watches, 0)
          }
        })
      ),
      requests: Effect.sync(() => all.reduce((sum, weather) => sum + weather.requests, 0)),
      // A point costs a fresh store's worth of requests here, and all of them are swept on the embedded engine.
      stride: 7
    }
    return harness
  })
