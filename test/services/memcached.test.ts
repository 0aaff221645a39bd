import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Duration, Effect, Redacted } from "effect"
import { Memcached } from "effect-ensemble/services/memcached"

const read = (env: Record<string, string>) => Memcached.config("CACHE").parse(ConfigProvider.fromEnv({ env }))

describe("the settings of Memcached", () => {
  it.effect("are for a local server by default", () =>
    Effect.gen(function* () {
      const { addresses, password, timeout, tls, username } = yield* read({})
      assert.deepStrictEqual([addresses, tls, username, password], [["localhost:11211"], false, undefined, undefined])
      assert.strictEqual(Duration.toMillis(Duration.fromInputUnsafe(timeout ?? 0)), 2000)
    })
  )

  it.effect("are read from the environment", () =>
    Effect.gen(function* () {
      const { addresses, password, timeout, tls, username } = yield* read({
        CACHE_ADDRS: "one,two:11212,[::1]:11213",
        CACHE_TIMEOUT_RW: "250ms",
        CACHE_USERNAME: "ensemble",
        CACHE_PASSWORD: "right-secret",
        CACHE_TLS: "yes"
      })
      assert.deepStrictEqual([addresses, tls, username], [["one:11211", "two:11212", "[::1]:11213"], true, "ensemble"])
      assert.strictEqual(Duration.toMillis(Duration.fromInputUnsafe(timeout ?? 0)), 250)
      assert.isTrue(Redacted.isRedacted(password))
    })
  )
})
