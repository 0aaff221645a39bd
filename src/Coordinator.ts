/**
 * The one service that an engine implements and every recipe needs.
 *
 * **When to use**
 *
 * Provide it with an engine's layer (`Memory.layer`, `Etcd.layer`, …) and use the recipes: `Discovery`, `Election`,
 * `Lock`, `Barrier`, `Sequence`. Two parts of a program may use two engines, by each being given its own layer.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import type * as Stream from "effect/Stream"
import type { Group, GroupName } from "./Group.ts"
import type { SessionState } from "./Session.ts"

/**
 * What every engine's layer can be told.
 *
 * **Details**
 *
 * - `node`: who this process is, and the default member id in every group. It must be unique among the live processes
 *   that share a prefix; a random one is made when it is left out.
 * - `ttl`: how long the store keeps the members of a process that has stopped renewing. Default 15 seconds. What the
 *   store grants counts, not what is asked for.
 * - `requestTimeout`: how long one request may take. Default: a third of the TTL, at most 5 seconds.
 * - `connect`: `"wait"` (default) fails the layer when the store cannot be reached within `connectTimeout` (default 10
 *   seconds); `"background"` builds at once and connects when it can.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  readonly node?: string | undefined
  readonly ttl?: Duration.Input | undefined
  readonly requestTimeout?: Duration.Input | undefined
  readonly connect?: "wait" | "background" | undefined
  readonly connectTimeout?: Duration.Input | undefined
}

/**
 * This process's link to a coordination store.
 *
 * **Details**
 *
 * - `engine` and `node` name the store's kind and this process.
 * - `session` replays the present {@link SessionState}, then follows it.
 * - `group` gives the group of a kind and name. It never fails: a name that cannot be used is an `InvalidOptions`
 *   failure of the group's operations.
 *
 * **Example** (Asking who I am)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Coordinator, Memory } from "effect-ensemble"
 *
 * const program = Coordinator.Coordinator.useSync((coordinator) => `${coordinator.node} on ${coordinator.engine}`)
 * console.log(await Effect.runPromise(program.pipe(Effect.provide(Memory.layer({ node: "web-1" }))))) // => web-1 on memory
 * ```
 *
 * @category services
 * @since 0.1.0
 */
export class Coordinator extends Context.Service<
  Coordinator,
  {
    readonly engine: string
    readonly node: string
    readonly session: Stream.Stream<SessionState>
    readonly group: (name: GroupName) => Group
  }
>()("effect-ensemble/Coordinator") {}
