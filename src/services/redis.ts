/**
 * The service for Redis. It needs the npm package `redis`.
 *
 * @since 0.1.0
 */

/** @since 0.1.0 */
export * as Redis from "./redis/Redis.ts"
