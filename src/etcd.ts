/**
 * The entry point for etcd, apart from the core because it loads the npm package `etcd3`.
 *
 * @since 0.1.0
 */

/**
 * @category re-exports
 * @since 0.1.0
 */
export * as Etcd from "./engines/Etcd.ts"
