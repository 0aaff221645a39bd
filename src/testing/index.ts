/**
 * What tests need: faults on demand, a judge of histories, and the suite that every engine passes.
 *
 * @since 0.1.0
 */

/** @since 0.1.0 */
export * as Conformance from "./Conformance.ts"

/** @since 0.1.0 */
export * as Faults from "./Faults.ts"

/** @since 0.1.0 */
export * as History from "./History.ts"

/** @since 0.1.0 */
export * as ServiceConformance from "./ServiceConformance.ts"
