import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Duration, Effect, Redacted } from "effect"
import { Nats } from "effect-ensemble/services/nats"

const read = (env: Record<string, string>) => Nats.config("BUS").parse(ConfigProvider.fromEnv({ env }))

describe("the settings of NATS", () => {
  it.effect.each([
    [undefined, ["nats://localhost:4222"]],
    ["nats://one:4222,nats://two:4223", ["nats://one:4222", "nats://two:4223"]],
    ["one, two:4223", ["nats://one:4222", "nats://two:4223"]],
    ["nats://[::1]:4222", ["nats://[::1]:4222"]]
  ] as const)("read %s as addresses", ([written, expected]) =>
    Effect.gen(function* () {
      const { addresses } = yield* read(written === undefined ? {} : { BUS_ADDRS: written })
      assert.deepStrictEqual(addresses, expected)
    })
  )

  it.effect("are for a local server by default, and for one that comes back some day", () =>
    Effect.gen(function* () {
      const { jetstream, maxReconnect, reconnectWait, tls, token, username } = yield* read({})
      assert.deepStrictEqual([jetstream, tls, maxReconnect, username, token], [false, false, -1, undefined, undefined])
      assert.strictEqual(Duration.toMillis(Duration.fromInputUnsafe(reconnectWait ?? 0)), 2000)
    })
  )

  it.effect("keep what logs in secret", () =>
    Effect.gen(function* () {
      const { password, token } = yield* read({ BUS_PASSWORD: "right-secret", BUS_TOKEN: "right-secret" })
      assert.isTrue(Redacted.isRedacted(password) && Redacted.isRedacted(token))
    })
  )

  it.effect.each(["nats://user:right-secret@one:4222", "tls://one:4222", "one:0", ""])("refuse %s, unseen", (address) =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(Effect.scoped(Nats.make({ addresses: [address], maxPingsOut: 0 })))
      assert(error._tag === "ServiceMisconfigured")
      assert.deepStrictEqual(
        error.problems.map(({ source }) => source),
        ['the option "addresses"', 'the option "maxPingsOut"']
      )
      assert.notInclude(`${error.message}${JSON.stringify(error)}`, "right-secret")
    })
  )
})
