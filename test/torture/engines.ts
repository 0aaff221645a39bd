/** All engines that can be tortured, each loaded where it is asked for. */
import type { Engine } from "./engine.ts"

const engines: Readonly<Record<string, () => Promise<{ readonly engine: Engine }>>> = {
  etcd: () => import("./engines/etcd.ts"),
  consul: () => import("./engines/consul.ts"),
  zookeeper: () => import("./engines/zookeeper.ts")
}

export const names = Object.keys(engines)

export const load = (name: string): Promise<Engine | undefined> =>
  engines[name]?.().then(({ engine }) => engine) ?? Promise.resolve(undefined)
