import { Consul } from "effect-ensemble/consul"
import * as Library from "../stores/library.ts"
import { byHand } from "./byHand.ts"

export { byHand }

export const ways = [
  byHand,
  Library.make(
    ({ endpoints, prefix, ttlSeconds }, node) =>
      Consul.layer({ endpoints, prefix, node, ttl: `${ttlSeconds} seconds`, minimumTtl: "1 second" }),
    // Any but `discovery`, which stands in the catalog: a barrier's members have values that change.
    "barrier"
  )
] as const
