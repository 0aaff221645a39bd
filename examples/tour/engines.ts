/** Where the tour takes place. Another engine is one more entry of `engines`. */
import { Memory } from "effect-ensemble"
import type { Coordinator, CoordinatorError } from "effect-ensemble"
import { Faults } from "effect-ensemble/testing"
import type { Duration, Layer, Scope } from "effect"
import { Effect } from "effect"

export interface Stage {
  /** The link of one process to the store. */
  readonly coordinator: (node: string) => Layer.Layer<Coordinator.Coordinator, CoordinatorError.CoordinatorError>
  /** From now on the process reaches nothing and nothing reaches it: for the others it has crashed. */
  readonly cutOff: (node: string) => Effect.Effect<void>
  /** Everything of the tour that the store still holds. */
  readonly remains: Effect.Effect<ReadonlyArray<string>>
}

export interface Options {
  readonly ttl: Duration.Input
}

export type Engine = (options: Options) => Effect.Effect<Stage, CoordinatorError.CoordinatorError, Scope.Scope>

const memory: Engine = Effect.fnUntraced(function* ({ ttl }) {
  const store = yield* Memory.makeStore()
  return {
    coordinator: (node) => Memory.layerProcess(store, { node, ttl }),
    cutOff: Faults.make(store).partition,
    remains: Effect.map(Faults.inspect(store), ({ entries, sessions }) => [
      ...entries.map(({ group, id }) => `${group}/${id}`),
      ...(sessions === 0 ? [] : [`${sessions} open sessions`])
    ])
  }
})

export const engines: ReadonlyMap<string, Engine> = new Map([["memory", memory]])
