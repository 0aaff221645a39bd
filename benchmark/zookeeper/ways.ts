import { ZooKeeper } from "effect-ensemble/zookeeper"
import * as Library from "../stores/library.ts"
import { byHand } from "./byHand.ts"

export { byHand }

export const ways = [
  byHand,
  Library.make(
    ({ endpoints, prefix, ttlSeconds }, node) =>
      ZooKeeper.layer({ endpoints: endpoints.join(","), prefix, node, ttl: `${ttlSeconds} seconds` }),
    "discovery"
  )
] as const
