/**
 * The service for SQL databases: PostgreSQL. It needs the npm package `@effect/sql-pg`.
 *
 * @since 0.1.0
 */

/** @since 0.1.0 */
export * as Sql from "./sql/Sql.ts"
