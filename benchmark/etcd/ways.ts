import { Etcd } from "effect-ensemble/etcd"
import * as Library from "../stores/library.ts"
import { etcd3 } from "./etcd3.ts"
import { rpc } from "./rpc.ts"

export { etcd3 }

export const ways = [
  rpc,
  etcd3,
  Library.make(
    ({ endpoints, prefix, ttlSeconds }, node) => Etcd.layer({ endpoints, prefix, node, ttl: `${ttlSeconds} seconds` }),
    "discovery"
  )
] as const
