/**
 * The service for NATS. It needs the npm package `@nats-io/transport-node`.
 *
 * @since 0.1.0
 */

/** @since 0.1.0 */
export * as Nats from "./nats/Nats.ts"
