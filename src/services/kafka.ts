/**
 * The service for Kafka. It needs the npm package `@platformatic/kafka`.
 *
 * @since 0.1.0
 */

/** @since 0.1.0 */
export * as Kafka from "./kafka/Kafka.ts"
