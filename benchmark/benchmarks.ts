import { Effect } from "effect"
import { discovery } from "./discovery.ts"
import { groupSize } from "./groupSize.ts"
import { handOver } from "./handOver.ts"
import { joins } from "./joins.ts"
import { lifecycle } from "./lifecycle.ts"
import type { Report } from "./report.ts"
import { subscribers } from "./subscribers.ts"

/** Loaded only when it is run: each loads the clients that it measures. */
const later = <E>(load: () => Promise<Effect.Effect<Report, E>>) => Effect.flatten(Effect.promise(load))

/** All benchmarks by the name that the command takes. */
export const benchmarks: Readonly<Record<string, Effect.Effect<Report, unknown>>> = {
  size: groupSize,
  subscribers,
  joins,
  election: handOver,
  discovery,
  lifecycle,
  etcd: later(() => import("./etcd.ts").then(({ etcd }) => etcd)),
  consul: later(() => import("./consul.ts").then(({ consul }) => consul)),
  zookeeper: later(() => import("./zookeeper.ts").then(({ zookeeper }) => zookeeper)),
  services: later(() => import("./services.ts").then(({ services }) => services))
}

/** Those that need a server, and minutes: only when they are asked for. */
export const onlyByName: ReadonlySet<string> = new Set(["etcd", "consul", "zookeeper", "services"])
