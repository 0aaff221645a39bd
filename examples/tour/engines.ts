/** Where the tour takes place. Another engine is one more entry of `engines`. */
import { Memory } from "effect-ensemble"
import type { Coordinator, CoordinatorError } from "effect-ensemble"
import { Faults } from "effect-ensemble/testing"
import type { Layer, Scope } from "effect"
import { Effect } from "effect"
import type { EventOf, Report } from "./events.ts"
import * as Node from "./node.ts"
import { engineOf } from "./processes.ts"
import { stores } from "./stores.ts"

export interface Stage {
  /** The link of one process to the store. */
  readonly coordinator: (node: string) => Layer.Layer<Coordinator.Coordinator, CoordinatorError.CoordinatorError>
  /** Runs a node until it is interrupted; then it leaves in order. */
  readonly perform: (spec: Node.Spec, report: Report) => Effect.Effect<unknown, { readonly message: string }>
  /** The node reaches nothing from now on and nothing reaches it. Nobody is told but the story. */
  readonly crash: (node: string) => Effect.Effect<void>
  /** Where each node has a network of its own. */
  readonly network?: Network
  readonly remains: Effect.Effect<Remains, { readonly message: string }>
}

/** Everything of the tour that the store still holds, and what of it that will be gone by itself and is hidden from all programs. */
export type Remains = Omit<EventOf<"LookedInside">, "_tag">

export interface Network {
  /** Silence between the node and the store, both ways. */
  readonly silence: (node: string) => Effect.Effect<void>
  /** Ends the silence. What was sent meanwhile arrives late. */
  readonly heal: (node: string) => Effect.Effect<void>
  /** Resets every connection of these nodes, and waits until each has a new one. */
  readonly reset: (nodes: ReadonlyArray<string>) => Effect.Effect<void, { readonly message: string }>
}

export interface Options {
  readonly ttlMillis: number
  /** Of a store that is there already; none where the engine is to bring its own. */
  readonly endpoints: ReadonlyArray<string>
  readonly record: Report
}

export interface Engine {
  readonly name: string
  /** Seconds that a session lasts, where nothing else is asked for. */
  readonly ttl: number
  /** The same, on a server that is there already. */
  readonly ttlGiven?: number
  readonly make: (options: Options) => Effect.Effect<Stage, { readonly message: string }, Scope.Scope>
}

/** All nodes are fibers of this one process, each with a link of its own to the store. */
const memory: Engine = {
  name: "memory",
  ttl: 2,
  make: Effect.fnUntraced(function* ({ endpoints, record, ttlMillis }) {
    if (endpoints.length > 0) return yield* Effect.fail({ message: "The memory engine has no endpoints" })
    const store = yield* Memory.makeStore()
    const { partition } = Faults.make(store)
    const coordinator = (node: string) => Memory.layerProcess(store, { node, ttl: ttlMillis })
    return {
      coordinator,
      perform: (spec, report) => Effect.provide(Node.run(spec, report), coordinator(spec.name)),
      crash: (node) => Effect.andThen(record({ _tag: "CutOff", node }), partition(node)),
      remains: Effect.map(Faults.inspect(store), ({ entries, sessions }) => ({
        remains: [
          ...entries.map(({ group, id }) => `${group}/${id}`),
          ...(sessions === 0 ? [] : [`${sessions} open sessions`])
        ],
        dying: []
      }))
    }
  })
}

export const engines: ReadonlyMap<string, Engine> = new Map(
  [memory, ...Array.from(stores.values(), engineOf)].map((engine) => [engine.name, engine])
)
