/** The nodes of a case on a real server, each with a network, a weather for its requests, and clocks of its own. */
import { Clock, Duration, Effect, Scope } from "effect"
import { Coordinator } from "effect-ensemble"
import type { Conformance } from "effect-ensemble/testing"
import * as ProcessClock from "../../src/engines/memory/processClock.ts"
import * as Proxy from "../faults/proxy.ts"
import type { LostWrite } from "../faults/weather.ts"

/** What befalls the requests of one node; each engine's tests have their own, since each has its own requests. */
export interface Weather {
  renewalsFrozen: boolean
  releasesHang: boolean
  requestDelayMillis: number
  eventDelayMillis: number
  readonly lostWrites: Array<LostWrite>
  readonly requests: number
  readonly clear: () => void
}

/** What the tests of every engine on a real server can strike. */
export const usual: ReadonlyArray<Conformance.Capability> = [
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
]

const millis = (input: Duration.Input): number => Duration.toMillis(Duration.fromInputUnsafe(input))

type Process = Conformance.Harness["process"]
type Outcome = Parameters<Required<Conformance.Harness["faults"]>["loseAnswer"]>[1]

const lostWrite = (outcome: Outcome): LostWrite =>
  typeof outcome === "string" ? outcome : { appliedAfterMillis: millis(outcome.appliedAfter) }

/** Nodes whose networks lead to one server. */
export const make = Effect.fnUntraced(function* <W extends Weather>(
  upstream: { readonly host: string; readonly port: number },
  makeWeather: () => W
) {
  const scope = yield* Effect.scope
  const base = yield* Clock.clockWith(Effect.succeed)
  const proxies = new Map<string, Proxy.Proxy>()
  const weathers = new Map<string, W>()
  const clocks = new Map<string, ProcessClock.ProcessClock>()
  const all: Array<W> = []
  /** Networks that stand before their process does. */
  const prepared = new Map<string, Proxy.Proxy>()
  const { host, port } = upstream
  const makeProxy = Effect.orDie(Proxy.make({ upstream: { host, port } })).pipe(Scope.provide(scope))

  const at = <A>(map: Map<string, A>, node: string): A => {
    const found = map.get(node)
    if (found === undefined) throw new Error(`No process "${node}"`)
    return found
  }
  const strike = (node: string, how: (weather: W) => void) => Effect.sync(() => how(at(weathers, node)))
  const strikeClock = (node: string, how: (clock: ProcessClock.ProcessClock) => void) =>
    Effect.sync(() => how(at(clocks, node)))
  const heal = (node: string) =>
    Effect.suspend(() => {
      weathers.get(node)?.clear()
      clocks.get(node)?.running.openUnsafe()
      return proxies.get(node)?.heal ?? Effect.void
    })

  return {
    /** The clock of the machine, which no node's faults reach. */
    base,
    all,
    strike,
    weather: (node: string) => at(weathers, node),
    /** A process, with the coordinator that is made for it at its network and in its weather. */
    process:
      (
        connect: (
          proxy: Proxy.Proxy,
          weather: W,
          node: string,
          options: Parameters<Process>[1]
        ) => Effect.Effect<Coordinator.Coordinator["Service"], Effect.Error<ReturnType<Process>>, Scope.Scope>
      ): Process =>
      (node, options) =>
        Effect.gen(function* () {
          const proxy = prepared.get(node) ?? (yield* makeProxy)
          prepared.delete(node)
          // A process that starts again under the same name is reached by the same name.
          proxies.set(node, proxy)
          const weather = makeWeather()
          weathers.set(node, weather)
          all.push(weather)
          const clock = ProcessClock.make(base)
          clocks.set(node, clock)
          const coordinator = yield* connect(proxy, weather, node, options).pipe(
            Effect.provideService(Clock.Clock, clock)
          )
          return {
            coordinator,
            run: (effect) =>
              effect.pipe(
                Effect.provideService(Coordinator.Coordinator, coordinator),
                Effect.provideService(Clock.Clock, clock)
              )
          }
        }),
    requests: Effect.sync(() => all.reduce((sum, { requests }) => sum + requests, 0)),
    faults: {
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
      freezeRenewals: (node) => strike(node, (weather) => void (weather.renewalsFrozen = true)),
      hangReleases: (node) => strike(node, (weather) => void (weather.releasesHang = true)),
      // A process that stands still reads nothing either: what arrives meanwhile waits in its buffers.
      pause: (node) =>
        Effect.andThen(
          strikeClock(node, (clock) => clock.running.closeUnsafe()),
          Effect.suspend(() => at(proxies, node).blackhole)
        ),
      resume: (node) =>
        Effect.andThen(
          strikeClock(node, (clock) => clock.running.openUnsafe()),
          Effect.suspend(() => at(proxies, node).heal)
        ),
      skewClock: (node, rate) => strikeClock(node, (clock) => clock.setRateUnsafe(rate)),
      jumpClock: (node, by) => strikeClock(node, (clock) => clock.jumpWallUnsafe(millis(by))),
      delayRequests: (node, by) => strike(node, (weather) => void (weather.requestDelayMillis = millis(by))),
      delayEvents: (node, by) => strike(node, (weather) => void (weather.eventDelayMillis = millis(by))),
      loseAnswer: (node, outcome) => strike(node, (weather) => void weather.lostWrites.push(lostWrite(outcome)))
    } satisfies Conformance.Harness["faults"]
  }
})
