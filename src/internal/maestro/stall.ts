/** Services that wait for one another will wait for ever: nothing in a layer's type forbids it. */
import { CircularDependency } from "./errors.ts"
import type { Run } from "./run.ts"
import type { Service } from "./service.ts"
import { isSettled } from "./service.ts"

/** One circle among the services that wait, found by walking on until a service is met again. */
const circle = (start: Service): ReadonlyArray<Service> => {
  const path = new Map<Service, number>()
  let at: Service | undefined = start
  while (at !== undefined) {
    const index = path.get(at)
    if (index !== undefined) return [...path.keys()].slice(index)
    path.set(at, path.size)
    at = [...at.dependencies].find((dependency) => dependency.pending > 0 && !isSettled(dependency))
  }
  return []
}

/**
 * Ends the start if it cannot go on. It is looked for only where no service works and some wait: then each of them waits
 * for another that waits, so a walk ends in a circle.
 */
export const findStall = (run: Run, abort: (problem: CircularDependency) => void): void => {
  const mayGoOn = run.blocked === 0 || run.active > 0 || run.nesting > 0
  if (mayGoOn || run.problem !== undefined || run.ending) return
  for (const service of run.services.values()) {
    if (service.pending === 0 || isSettled(service)) continue
    const services = circle(service).map(({ definition }) => definition.name)
    if (services.length > 0) abort(new CircularDependency({ services }))
    return
  }
}
