import type { Effect } from "effect"
import { discovery } from "./discovery.ts"
import { etcd } from "./etcd.ts"
import { groupSize } from "./groupSize.ts"
import { handOver } from "./handOver.ts"
import { joins } from "./joins.ts"
import { lifecycle } from "./lifecycle.ts"
import type { Report } from "./report.ts"
import { subscribers } from "./subscribers.ts"

/** All benchmarks by the name that the command takes. */
export const benchmarks: Readonly<Record<string, Effect.Effect<Report, unknown>>> = {
  size: groupSize,
  subscribers,
  joins,
  election: handOver,
  discovery,
  lifecycle,
  etcd
}

/** Those that need a server, and minutes: only when they are asked for. */
export const onlyByName: ReadonlySet<string> = new Set(["etcd"])
