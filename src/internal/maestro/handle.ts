/** What a program sees of its run. */
import type * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Graph from "effect/Graph"
import * as PubSub from "effect/PubSub"
import * as Stream from "effect/Stream"
import * as Cell from "../cell.ts"
import { statesOf, stopRun } from "./boot.ts"
import { ServiceNotReady, UnknownService } from "./errors.ts"
import type { Dependency, Handle, ServiceCheck, ServiceEvent, ServiceGraph, ServiceStatus } from "./model.ts"
import { reportOf } from "./report.ts"
import type { Run } from "./run.ts"
import type { Service } from "./service.ts"

const isUp = ({ state }: ServiceStatus): boolean => state === "ready" || state === "degraded"
const isComing = ({ state }: ServiceStatus): boolean =>
  state === "waiting" || state === "starting" || state === "retrying"

/** The present first, then what follows: numbered news are dropped that the present already contains. */
const events = (run: Run): Stream.Stream<ServiceEvent> =>
  Stream.unwrap(
    Effect.map(PubSub.subscribe(run.news), (subscription) => {
      const { sequence } = run
      const present = [...run.services.values()].map(({ last }) => last)
      const following = Stream.fromSubscription(subscription).pipe(
        Stream.filter((news) => news.sequence > sequence),
        Stream.map(({ event }) => event),
        Stream.takeWhile((event) => event !== undefined)
      )
      return run.stoppedAt === undefined
        ? Stream.concat(Stream.fromIterable(present), following)
        : Stream.fromIterable(present)
    })
  )

const ready = (run: Run, name: string): Effect.Effect<void, ServiceNotReady | UnknownService> => {
  const starting = () => run.phase.value === "idle" || run.phase.value === "starting"
  const isDecided = () => {
    const service = run.services.get(name)
    return service === undefined ? !starting() : !isComing(service.status)
  }
  return Effect.andThen(
    run.moved.until(isDecided),
    Effect.gen(function* () {
      const service = run.services.get(name)
      if (service === undefined) return yield* new UnknownService({ service: name, known: [...run.services.keys()] })
      if (!isUp(service.status)) return yield* new ServiceNotReady({ status: service.status })
    })
  )
}

const checkOf = ({ definition, output, status }: Service): ReadonlyArray<ServiceCheck> => {
  const { health, healthMillis, labels, name, optional } = definition
  if (health === undefined || output === undefined || !isUp(status)) return []
  const check = health.pipe(Effect.provideContext(output), Effect.timeout(healthMillis), Effect.asVoid)
  return [{ service: name, optional, labels, check }]
}

const graphOf = (run: Run): ServiceGraph =>
  Graph.directed<ServiceStatus, Dependency>((graph) => {
    const nodes = new Map<Service, Graph.NodeIndex>()
    for (const service of run.services.values()) nodes.set(service, Graph.addNode(graph, service.status))
    for (const [service, from] of nodes) {
      for (const dependency of service.dependencies) {
        // A service that has given its name to a later one is no node.
        const to = nodes.get(dependency)
        if (to !== undefined) Graph.addEdge(graph, from, to, { optional: dependency.definition.optional })
      }
    }
  })

/** Stops on a fiber of the run: the fiber that asks may belong to a service that is being stopped. */
const stopped = (run: Run, exit: Exit.Exit<unknown, unknown>): Effect.Effect<void> =>
  Effect.suspend(() => {
    if (!run.ending) run.stopAsked = true
    Effect.runForkWith(run.context)(stopRun(run, exit))
    return Deferred.await(run.ended)
  })

export const fail = (run: Run, cause: Cause.Cause<unknown>): Effect.Effect<void> =>
  Effect.suspend(() => {
    if (!run.ending) run.failure ??= cause
    return stopped(run, Exit.failCause(cause))
  })

export const makeHandle = (run: Run): Handle => ({
  events: events(run),
  states: Effect.sync(() => statesOf(run)),
  phase: Effect.sync(() => run.phase.value),
  phases: Stream.takeUntil(Cell.changes(run.phase), (phase) => phase === "stopped"),
  checks: Effect.sync(() => [...run.services.values()].flatMap(checkOf)),
  ready: (name) => ready(run, name),
  graph: Effect.sync(() => graphOf(run)),
  report: Effect.sync(() => reportOf(run)),
  stop: stopped(run, Exit.void),
  fail: (cause) => fail(run, cause),
  ended: Effect.andThen(
    Deferred.await(run.ended),
    Effect.suspend(() => (run.failure === undefined ? Effect.void : Effect.failCause(run.failure)))
  )
})
