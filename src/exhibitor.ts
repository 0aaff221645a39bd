/**
 * The entry point for ZooKeeper behind Exhibitor, apart from the core as ZooKeeper's own is.
 *
 * @since 0.1.0
 */

/**
 * @category re-exports
 * @since 0.1.0
 */
export * as Exhibitor from "./engines/Exhibitor.ts"
