/**
 * The service for Memcached. It needs the npm package `memcache`.
 *
 * @since 0.1.0
 */

/** @since 0.1.0 */
export * as Memcached from "./memcached/Memcached.ts"
