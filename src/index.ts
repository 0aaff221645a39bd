/**
 * The contract, the recipes and the embedded engine.
 *
 * @since 0.1.0
 */

/** @since 0.1.0 */
export * as Coordinator from "./Coordinator.ts"

/** @since 0.1.0 */
export * as CoordinatorError from "./CoordinatorError.ts"

/** @since 0.1.0 */
export * as Group from "./Group.ts"

/** @since 0.1.0 */
export * as Membership from "./Membership.ts"

/** @since 0.1.0 */
export * as Session from "./Session.ts"

/** @since 0.1.0 */
export * as Memory from "./engines/Memory.ts"

/** @since 0.1.0 */
export * as Barrier from "./Barrier.ts"

/** @since 0.1.0 */
export * as Discovery from "./Discovery.ts"

/** @since 0.1.0 */
export * as Election from "./Election.ts"

/** @since 0.1.0 */
export * as Lock from "./Lock.ts"

/** @since 0.1.0 */
export * as Maestro from "./Maestro.ts"

/** @since 0.1.0 */
export * as Sequence from "./Sequence.ts"

/** @since 0.1.0 */
export * as Health from "./Health.ts"

/** @since 0.1.0 */
export * as Supervisor from "./Supervisor.ts"

/** @since 0.1.0 */
export * as Services from "./Services.ts"
