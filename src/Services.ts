/**
 * What the services of the library have in common: their errors, their bounds, and the print-out of what they read.
 *
 * **When to use**
 *
 * Use it to handle the errors of services, and to show a person which variables a program reads. The services themselves are
 * in modules of their own, `effect-ensemble/services/redis` and so on, each with the client that it needs.
 *
 * @since 0.1.0
 */

import type * as Config from "effect/Config"
import type * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import * as Schedule from "effect/Schedule"
import * as describe from "./services/kit/describe.ts"

/** @since 0.1.0 */
export { ServiceCallFailed, ServiceMisconfigured, ServiceUnavailable } from "./services/kit/errors.ts"

/** @since 0.1.0 */
export type { Problem } from "./services/kit/errors.ts"

/** @since 0.1.0 */
export type { Bounds } from "./services/kit/bounds.ts"

/** @since 0.1.0 */
export type { Running } from "./services/kit/connection.ts"

/** @since 0.1.0 */
export type { ServiceClass } from "./services/kit/service.ts"

/**
 * Every variable that these configurations read, with its default and whether it is set, as a table.
 *
 * **When to use**
 *
 * Use it for a program's `--help`, or print it when a start has failed with `ServiceMisconfigured`.
 *
 * **Gotchas**
 *
 * It knows the configurations that the services' own `config(prefix)` has made, as they are: not what was made of them with
 * `Config.map` and the like. Values are never shown.
 *
 * **Example** (Two variables of one service)
 *
 * ```ts
 * // no-run
 * import { Console, Effect } from "effect"
 * import { Services } from "effect-ensemble"
 * import { Redis } from "effect-ensemble/services/redis"
 *
 * const program = Effect.flatMap(Services.describeConfig([Redis.config("RD_1")]), Console.log)
 * // variable               what it is for                        default                 set
 * // --------               --------------                        -------                 ---
 * // RD_1_URI               where Redis listens, and its database redis://localhost:6379  no
 * ```
 *
 * @category config
 * @since 0.1.0
 */
export const describeConfig: (configs: Iterable<Config.Config<unknown>>) => Effect.Effect<string> =
  describe.describeConfig

/**
 * A schedule that gives up on settings that cannot be used: they are the same the next time.
 *
 * **When to use**
 *
 * Use it around the `retry` of a service's policy.
 *
 * **Example** (A policy)
 *
 * ```ts
 * // no-run
 * import { Schedule } from "effect"
 * import { Maestro, Services } from "effect-ensemble"
 * import { Redis } from "effect-ensemble/services/redis"
 *
 * const Cache = Redis.layerConfig(Redis.config("RD_1")).pipe(
 *   Maestro.service("cache", { retry: Services.whileUnavailable(Schedule.exponential("100 millis")) })
 * )
 * ```
 *
 * @category scheduling
 * @since 0.1.0
 */
export const whileUnavailable = <Output, Error, Env>(
  schedule: Schedule.Schedule<Output, unknown, Error, Env>
): Schedule.Schedule<Output, unknown, Error, Env> =>
  Schedule.while(schedule, ({ input }) => !Predicate.isTagged(input, "ServiceMisconfigured"))
