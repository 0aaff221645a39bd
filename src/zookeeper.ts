/**
 * The entry point for ZooKeeper, apart from the core because it loads a client of its own over Node's sockets.
 *
 * @since 0.1.0
 */

/**
 * @category re-exports
 * @since 0.1.0
 */
export * as ZooKeeper from "./engines/ZooKeeper.ts"
