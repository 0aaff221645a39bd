import { Effect } from "effect"
import { distributions } from "./etcd.ts"
import { provide } from "./provision.ts"

/** Before the tests on real servers: what is missing is fetched, and what cannot be had fails the run. */
export const setup = (): Promise<void> => {
  const all = Object.values(distributions)
  return Effect.runPromise(Effect.forEach(all, provide, { concurrency: "unbounded", discard: true }))
}
