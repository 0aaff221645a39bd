import { Effect } from "effect"
import * as Consul from "./consul.ts"
import { distributions } from "./etcd.ts"
import { provide } from "./provision.ts"

/** Before the tests on real servers: what is missing is fetched, and what cannot be had fails the run. */
export const setup = (): Promise<void> => {
  const all = [...Object.values(distributions), Consul.distribution]
  return Effect.runPromise(Effect.forEach(all, provide, { concurrency: "unbounded", discard: true }))
}
