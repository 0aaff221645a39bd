/**
 * The service for Cassandra, and for what else speaks CQL. It needs the npm package `cassandra-driver`.
 *
 * @since 0.1.0
 */

/** @since 0.1.0 */
export * as Cassandra from "./cassandra/Cassandra.ts"
