import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Duration, Effect, Redacted } from "effect"
import { Kafka } from "effect-ensemble/services/kafka"

const read = (env: Record<string, string>) => Kafka.config("LOG").parse(ConfigProvider.fromEnv({ env }))
const millis = (interval: Duration.Input | undefined) => Duration.toMillis(Duration.fromInputUnsafe(interval ?? 0))

describe("the settings of Kafka", () => {
  it.effect("are for a local broker by default, that is written to only", () =>
    Effect.gen(function* () {
      const { addresses, commitInterval, compression, groupId, idempotent, password, tls, topics } = yield* read({})
      assert.deepStrictEqual([addresses, tls, password], [["localhost:9092"], false, undefined])
      assert.deepStrictEqual([compression, idempotent], ["none", true])
      assert.deepStrictEqual([groupId, topics, millis(commitInterval)], [undefined, [], 5000])
    })
  )

  it.effect("are read from the environment", () =>
    Effect.gen(function* () {
      const { password, ...settings } = yield* read({
        LOG_ADDRS: "one,two:9093,[::1]:9094",
        LOG_USERNAME: "ensemble",
        LOG_PASSWORD: "right-secret",
        LOG_SASL_MECHANISM: "SCRAM-SHA-512",
        LOG_TLS: "yes",
        LOG_PROD_COMPRESSION: "zstd",
        LOG_PROD_IDEMPOTENT: "no",
        LOG_CONS_GROUP_ID: "billing",
        LOG_CONS_TOPICS: "orders, refunds",
        LOG_CONS_OFFSET_INITIAL: "earliest",
        LOG_CONS_OFFSET_COMMIT_INTERVAL: "5m"
      })
      assert.deepInclude(settings, {
        addresses: ["one:9092", "two:9093", "[::1]:9094"],
        username: "ensemble",
        mechanism: "SCRAM-SHA-512",
        tls: true,
        compression: "zstd",
        idempotent: false,
        groupId: "billing",
        topics: ["orders", "refunds"],
        offsetInitial: "earliest"
      })
      assert.strictEqual(millis(settings.commitInterval), 300_000)
      assert.isTrue(Redacted.isRedacted(password))
    })
  )
})
