/**
 * The service for Elasticsearch. It needs the npm package `@elastic/elasticsearch`.
 *
 * @since 0.1.0
 */

/** @since 0.1.0 */
export * as Elasticsearch from "./elasticsearch/Elasticsearch.ts"
