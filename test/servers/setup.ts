import { Effect } from "effect"
import * as Consul from "./consul.ts"
import * as Etcd from "./etcd.ts"
import * as Memcached from "./memcached.ts"
import * as Nats from "./nats.ts"
import * as Postgres from "./postgres.ts"
import { provide } from "./provision.ts"
import * as Redis from "./redis.ts"
import * as ZooKeeper from "./zookeeper.ts"

const distributions = [
  ...Object.values(Etcd.distributions),
  ...[Consul, Memcached, Nats, Postgres, Redis].map(({ distribution }) => distribution)
]

/** Before the tests on real servers: what is missing is fetched, and what cannot be had fails the run. */
export const setup = (): Promise<void> =>
  Effect.runPromise(
    Effect.all([ZooKeeper.provide, ...distributions.map(provide)], { concurrency: "unbounded", discard: true })
  )
