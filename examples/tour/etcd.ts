/** The tour on etcd: every node is a process of the operating system, behind a network of its own. */
import { Deferred, Effect, Schedule, Scope } from "effect"
import { Etcd } from "effect-ensemble/etcd"
import * as Proxy from "../../test/faults/proxy.ts"
import * as Gateway from "../../test/servers/etcdGateway.ts"
import * as Child from "./child.ts"
import type { Engine, Options } from "./engines.ts"
import { fromJson } from "./events.ts"
import type * as Node from "./node.ts"

/** What a node's process is told. */
export interface Part {
  readonly spec: Node.Spec
  readonly endpoints: ReadonlyArray<string>
  readonly prefix: string
  readonly ttlMillis: number
}

/** A server for this tour alone, which ends with it. */
const ownServer = Effect.gen(function* () {
  const serving = yield* Deferred.make<string, Child.Ended>()
  const server = yield* Child.start("server.ts", null, (endpoint) => Deferred.succeed(serving, endpoint))
  return yield* Effect.raceFirst(Deferred.await(serving), Effect.flatMap(server.ended, Effect.fail))
})

const serverOf = Effect.fnUntraced(function* ({ endpoints: given, record }: Options) {
  if (given.length === 0) {
    const store = "Starting an etcd of its own; the first time, it is fetched, which takes seconds"
    yield* record({ _tag: "Providing", store })
  }
  const endpoints = given.length > 0 ? given : [yield* ownServer]
  const gateway = Gateway.make(endpoints)
  const { revision, version } = yield* gateway.status
  yield* record({ _tag: "Provided", store: `etcd ${version}`, endpoints })
  // What an earlier tour may have left, or another one makes at the same time, is none of this one's.
  return { endpoints, gateway, prefix: `/tour-${process.pid}-${revision}` }
})

const addressOf = (endpoint: string) =>
  Effect.try({
    try: () => new URL(endpoint),
    catch: () => ({ message: `"${endpoint}" is no address. Give it as http://host:port` })
  }).pipe(
    Effect.filterOrFail(
      ({ protocol }) => protocol === "http:",
      // A certificate names its server, and the nodes talk to a proxy in front of it.
      () => ({ message: `"${endpoint}" cannot be used here. Give it as http://host:port` })
    ),
    Effect.map(({ hostname, port }) => ({ host: hostname, port: Number(port === "" ? 2379 : port) }))
  )

const make = Effect.fnUntraced(function* (options: Options) {
  const { record, ttlMillis } = options
  const addresses = yield* Effect.forEach(options.endpoints, addressOf)
  const { endpoints, gateway, prefix } = yield* serverOf(options)
  const upstreams = addresses.length > 0 ? addresses : yield* Effect.forEach(endpoints, addressOf)
  const stage = yield* Effect.scope
  const proxies = new Map<string, ReadonlyArray<Proxy.Proxy>>()
  const children = new Map<string, Child.Child>()
  const killed = new Set<string>()

  const proxiesOf = (node: string) => proxies.get(node) ?? []
  const onNetwork = (node: string, act: (proxy: Proxy.Proxy) => Effect.Effect<void>) =>
    Effect.forEach(proxiesOf(node), act, { discard: true })

  /** Connections that a node has opened so far, and those of them that are open. */
  const connectionsOf = (node: string) =>
    Effect.map(
      Effect.forEach(proxiesOf(node), ({ counters }) => counters),
      (counters) => ({
        accepted: counters.reduce((sum, { accepted }) => sum + accepted, 0),
        open: counters.reduce((sum, { open }) => sum + open, 0)
      })
    )

  const perform = Effect.fnUntraced(function* (spec: Node.Spec, report: Options["record"]) {
    const network = yield* Effect.forEach(upstreams, (upstream) => Proxy.make({ upstream })).pipe(Scope.provide(stage))
    proxies.set(spec.name, network)
    const part: Part = { spec, endpoints: network.map(({ url }) => url), prefix, ttlMillis }
    const child = yield* Child.start("process.ts", part, (line) => report(fromJson(line).event))
    children.set(spec.name, child)
    yield* record({ _tag: "Started", node: spec.name, pid: child.pid })
    yield* Effect.addFinalizer(() =>
      Effect.gen(function* () {
        if (killed.has(spec.name) || (yield* child.stop)) return
        yield* record({ _tag: "Failed", node: spec.name, reason: "it did not end when asked to, and was killed" })
      })
    )
    const ended = yield* child.ended
    return yield* killed.has(spec.name) ? Effect.never : Effect.fail(ended)
  }, Effect.scoped)

  return {
    coordinator: (node: string) => Etcd.layer({ endpoints, prefix, node, ttl: ttlMillis }),
    perform,
    crash: Effect.fnUntraced(function* (node: string) {
      const child = children.get(node)
      if (child === undefined) return
      killed.add(node)
      yield* child.kill
      yield* record({ _tag: "Killed", node, pid: child.pid })
    }),
    network: {
      silence: (node: string) => onNetwork(node, ({ blackhole }) => blackhole),
      heal: (node: string) => onNetwork(node, ({ heal }) => heal),
      reset: Effect.fnUntraced(function* (nodes: ReadonlyArray<string>) {
        const before = new Map<string, number>()
        for (const node of nodes) {
          before.set(node, (yield* connectionsOf(node)).accepted)
          yield* onNetwork(node, ({ cut }) => cut)
        }
        yield* Effect.forEach(
          nodes,
          (node) =>
            connectionsOf(node).pipe(
              Effect.repeat({
                schedule: Schedule.spaced("20 millis"),
                until: ({ accepted, open }) => open > 0 && accepted > (before.get(node) ?? 0)
              })
            ),
          { concurrency: "unbounded", discard: true }
        ).pipe(
          Effect.timeoutOrElse({
            duration: "10 seconds",
            orElse: () => Effect.fail({ message: "Not every node has connected again" })
          })
        )
      })
    },
    remains: Effect.map(gateway.range(`${prefix}/`), ({ entries }) =>
      entries.map(({ key }) => key.slice(prefix.length + 1))
    )
  }
})

export const etcd: Engine = { name: "etcd", ttl: 3, make }
