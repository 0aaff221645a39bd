/** The tour on a real store: every node is a process of the operating system, behind a network of its own. */
import type { Layer } from "effect"
import { Clock, Deferred, Effect, Schedule, Scope } from "effect"
import type { Coordinator, CoordinatorError } from "effect-ensemble"
import * as Proxy from "../../test/faults/proxy.ts"
import * as Child from "./child.ts"
import type { Engine, Options, Remains } from "./engines.ts"
import { fromJson } from "./events.ts"
import type * as Node from "./node.ts"

/** Where a program finds its store, and what it is there. */
export interface Place {
  readonly node: string
  /** As the store's own programs write them. */
  readonly endpoints: ReadonlyArray<string>
  readonly prefix: string
  readonly ttlMillis: number
}

type Trouble = { readonly message: string }

/** What the tour has to know of a store. */
export interface Store {
  readonly name: string
  /** Seconds that a session lasts by default; on a server that is there already, where that grants less gladly. */
  readonly ttl: number
  readonly ttlGiven?: number
  /** What stands before `host:port` in an endpoint, and the port that may be left out. */
  readonly scheme: "http://" | ""
  readonly port: number
  /** What the names of all that it keeps begin with. */
  readonly prefix: (name: string) => string
  readonly coordinator: (place: Place) => Layer.Layer<Coordinator.Coordinator, CoordinatorError.CoordinatorError>
  /** Starts a server for the scope, and answers with its endpoint. */
  readonly serve: Effect.Effect<string, Trouble, Scope.Scope>
  /** Which one it is, asked without the library. */
  readonly version: (endpoints: ReadonlyArray<string>) => Effect.Effect<string, Trouble>
  readonly remains: (endpoints: ReadonlyArray<string>, prefix: string) => Effect.Effect<Remains, Trouble>
}

/** What a node's process is told. */
export interface Part {
  readonly store: string
  readonly spec: Node.Spec
  readonly place: Place
}

/** A server for this tour alone, which ends with it. */
const ownServer = Effect.fnUntraced(function* (store: string) {
  const serving = yield* Deferred.make<string, Child.Ended>()
  const server = yield* Child.start("server.ts", store, (endpoint) => Deferred.succeed(serving, endpoint))
  return yield* Effect.raceFirst(Deferred.await(serving), Effect.flatMap(server.ended, Effect.fail))
})

const serverOf = Effect.fnUntraced(function* (store: Store, { endpoints: given, record }: Options) {
  if (given.length === 0) {
    const article = store.name === "etcd" ? "an" : "a"
    const what = `Starting ${article} ${store.name} of its own; the first time it is fetched, in some seconds`
    yield* record({ _tag: "Providing", store: what })
  }
  const endpoints = given.length > 0 ? given : [yield* ownServer(store.name)]
  yield* record({ _tag: "Provided", store: `${store.name} ${yield* store.version(endpoints)}`, endpoints })
  // What an earlier tour may have left, or another one makes at the same time, is none of this one's.
  const prefix = store.prefix(`tour-${process.pid}-${yield* Clock.currentTimeMillis}`)
  return { endpoints, prefix }
})

/** The nodes talk to a proxy in front of the server, so it must be one that does not mind: a certificate names its server. */
const addressOf = ({ port: standard, scheme }: Store) => {
  const shape = new RegExp(`^${scheme}(\\[[^\\]]+\\]|[^/:@?#\\s]+)(?::(\\d{1,5}))?/?$`)
  return (endpoint: string) => {
    const [, host, port = standard] = shape.exec(endpoint) ?? []
    return host === undefined
      ? Effect.fail({ message: `"${endpoint}" cannot be used here. Give it as ${scheme}host:port` })
      : Effect.succeed({ host, port: Number(port) })
  }
}

const make = Effect.fnUntraced(function* (store: Store, options: Options) {
  const { record, ttlMillis } = options
  const addresses = yield* Effect.forEach(options.endpoints, addressOf(store))
  const { endpoints, prefix } = yield* serverOf(store, options)
  const upstreams = addresses.length > 0 ? addresses : yield* Effect.forEach(endpoints, addressOf(store))
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
    const reached = network.map(({ address }) => `${store.scheme}${address}`)
    const place = { node: spec.name, endpoints: reached, prefix, ttlMillis }
    const part: Part = { store: store.name, spec, place }
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
    coordinator: (node: string) => store.coordinator({ node, endpoints, prefix, ttlMillis }),
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
    remains: store.remains(endpoints, prefix)
  }
})

export const engineOf = (store: Store): Engine => ({
  name: store.name,
  ttl: store.ttl,
  ...(store.ttlGiven === undefined ? {} : { ttlGiven: store.ttlGiven }),
  make: (options) => make(store, options)
})
