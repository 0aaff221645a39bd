/** How long which service took to start and to stop, and which of them the whole waited for. */
import type { Report, Timing } from "./model.ts"
import type { Run } from "./run.ts"
import { now } from "./run.ts"
import type { Service } from "./service.ts"

/** Follows what was waited for longest, from the last one back to one that waited for nobody. */
const criticalChain = (
  services: ReadonlyArray<Service>,
  endOf: (service: Service) => number | undefined,
  before: (service: Service) => Iterable<Service>
): ReadonlySet<Service> => {
  const latest = (candidates: Iterable<Service>): Service | undefined => {
    let found: Service | undefined
    let foundEnd = Number.NEGATIVE_INFINITY
    for (const candidate of candidates) {
      const end = endOf(candidate)
      if (end === undefined || end <= foundEnd) continue
      found = candidate
      foundEnd = end
    }
    return found
  }
  const chain = new Set<Service>()
  for (let at = latest(services); at !== undefined && !chain.has(at); at = latest(before(at))) chain.add(at)
  return chain
}

export const reportOf = (run: Run): Report => {
  const services = [...run.services.values()]
  const dependents = new Map<Service, Array<Service>>()
  for (const service of services) {
    for (const dependency of service.dependencies) {
      const known = dependents.get(dependency)
      if (known === undefined) dependents.set(dependency, [service])
      else known.push(service)
    }
  }
  const startedAt = run.startedAt ?? now(run)
  const runningAt = run.runningAt ?? run.stoppingAt ?? now(run)
  const stoppingAt = run.stoppingAt ?? now(run)
  const stoppedAt = run.stoppedAt ?? now(run)
  const starts = criticalChain(
    services,
    ({ settledAt }) => settledAt,
    ({ dependencies }) => dependencies
  )
  const stops = criticalChain(
    services,
    ({ stoppedAt: at }) => at,
    (service) => dependents.get(service) ?? []
  )

  const started = services.map((service): Timing => {
    const { attempts, failure, name, since, spent, state } = service.status
    // What it is still doing counts as well.
    const running = (which: typeof state) => (spent[which] ?? 0) + (state === which ? now(run) - since : 0)
    const own = running("starting")
    const waiting = running("waiting")
    const retrying = running("retrying")
    const beganAt = service.metAt - startedAt
    return {
      service: name,
      beganAt,
      endedAt: beganAt + own + waiting + retrying,
      own,
      waiting,
      retrying,
      attempts,
      // How the start ended for it, also after it has stopped.
      state: service.output !== undefined ? "ready" : failure !== undefined ? "failed" : state,
      critical: starts.has(service)
    }
  })
  const ended = services.flatMap((service): ReadonlyArray<Timing> => {
    // What has failed has nothing left to stop.
    if (service.stoppingAt === undefined || service.status.state === "failed") return []
    const endedAt = (service.stoppedAt ?? now(run)) - stoppingAt
    const beganAt = service.stoppingAt - stoppingAt
    const { name, attempts, state } = service.status
    const critical = stops.has(service)
    return [
      {
        service: name,
        beganAt,
        endedAt,
        own: endedAt - beganAt,
        waiting: beganAt,
        retrying: 0,
        attempts,
        state,
        critical
      }
    ]
  })
  return {
    start: { millis: runningAt - startedAt, services: started },
    stop: { millis: stoppedAt - stoppingAt, services: ended }
  }
}
