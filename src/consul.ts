/**
 * The entry point for Consul, apart from the core because it loads the npm package `consul`.
 *
 * @since 0.1.0
 */

/**
 * @category re-exports
 * @since 0.1.0
 */
export * as Consul from "./engines/Consul.ts"
