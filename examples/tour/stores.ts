/** The stores that the tour can take place on, by their names. */
import { consul } from "./consul.ts"
import { etcd } from "./etcd.ts"
import type { Store } from "./processes.ts"
import { zookeeper } from "./zookeeper.ts"

export const stores: ReadonlyMap<string, Store> = new Map([etcd, consul, zookeeper].map((store) => [store.name, store]))

/** In a process that was told its store. */
export const storeOf = (name: string): Store => {
  const store = stores.get(name)
  if (store === undefined) throw new Error(`The tour knows no store "${name}"`)
  return store
}
