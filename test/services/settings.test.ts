import { assert, describe, it } from "@effect/vitest"
import { Config, ConfigProvider, Duration, Effect, Option, Redacted } from "effect"
import { Services } from "effect-ensemble"
import * as Setting from "../../src/services/kit/setting.ts"
import * as Settings from "../../src/services/kit/settings.ts"

const read = <A>(setting: Setting.Setting<A>, written: string): A | "refused" =>
  Option.getOrElse(setting.fromText(written), () => "refused" as const)
const take = <A>(setting: Setting.Setting<A>, given: unknown): A | "refused" =>
  Option.getOrElse(setting.fromOption(given), () => "refused" as const)

const about = "for the test"
const timeout = Setting.duration("TIMEOUT", { about, default: "2 seconds" })
const count = Setting.integer("COUNT", { about, default: 2, minimum: 1, maximum: 8 })
const mode = Setting.oneOf("MODE", ["fast", "safe"], { about, default: "safe" })
const where = Setting.addresses("ADDRS", about, 11211)
const uri = Setting.url("URI", { about, default: "redis://localhost:6379", protocols: ["redis", "rediss"] })
const password = Setting.secret("PASSWORD", about)

describe("a setting", () => {
  const millis = (value: Duration.Duration | "refused") => (value === "refused" ? value : Duration.toMillis(value))

  it.each([
    ["2 seconds", 2000],
    ["2s", 2000],
    ["1m30s", 90_000],
    ["1.5h", 5_400_000],
    ["250ms", 250],
    ["2000us", 2],
    ["5 minutes", 300_000],
    ["0s", "refused"],
    ["0 seconds", "refused"],
    ["-2 seconds", "refused"],
    ["Infinity", "refused"],
    ["2", "refused"],
    ["2s later", "refused"],
    ["soon", "refused"]
  ])("reads %s as a duration of %s ms", (written, expected) => {
    assert.strictEqual(millis(read(timeout, written)), expected)
  })

  it.each([
    ["2 seconds", 2000],
    ["1m30s", 90_000],
    [1500, 1500],
    [Duration.minutes(1), 60_000],
    [0, "refused"],
    [Number.NaN, "refused"],
    [Duration.infinity, "refused"],
    [null, "refused"],
    [{}, "refused"]
  ])("takes %s as a duration of %s ms", (given, expected) => {
    assert.strictEqual(millis(take(timeout, given)), expected)
  })

  it.each([
    ["1", 1],
    ["8", 8],
    ["0", "refused"],
    ["9", "refused"],
    ["2.5", "refused"],
    ["two", "refused"],
    ["Infinity", "refused"]
  ])("reads %s as the number %s", (written, expected) => {
    assert.strictEqual(read(count, written), expected)
  })

  it.each([
    ["a", ["a:11211"]],
    ["a:1, b:2", ["a:1", "b:2"]],
    ["[::1]", ["[::1]:11211"]],
    ["[::1]:1", ["[::1]:1"]],
    ["127.0.0.1:65535", ["127.0.0.1:65535"]],
    ["a:65536", "refused"],
    ["a:0", "refused"],
    ["a:b", "refused"],
    ["a,,b", "refused"],
    ["", "refused"],
    ["http://a:1", "refused"]
  ])("reads the addresses %s as %s", (written, expected) => {
    assert.deepStrictEqual<unknown>(read(where, written), expected)
  })

  it("reads words and refuses others", () => {
    assert.strictEqual(read(mode, "fast"), "fast")
    assert.strictEqual(read(mode, "FAST"), "refused")
    assert.strictEqual(take(mode, "wild"), "refused")
  })

  it.each([
    ["true", true],
    ["Yes", true],
    ["1", true],
    ["off", false],
    ["0", false],
    ["maybe", "refused"]
  ])("reads %s as %s", (written, expected) => {
    assert.strictEqual(read(Setting.boolean("B", { about, default: true }), written), expected)
  })

  it("takes an address of the right kind as a secret", () => {
    const taken = take(uri, "rediss://user:pass@host:1/2?x=y")
    assert(taken !== "refused")
    assert.strictEqual(Redacted.value(taken), "rediss://user:pass@host:1/2?x=y")
    assert.strictEqual(take(uri, "http://host"), "refused")
    assert.strictEqual(take(uri, "redis:host"), "refused")
    assert.strictEqual(take(uri, Redacted.make("redis://")), "refused")
  })

  it("takes a secret as text or redacted, and no empty one", () => {
    for (const given of ["s", Redacted.make("s")]) {
      const taken = take(password, given)
      assert(Redacted.isRedacted(taken))
      assert.strictEqual(Redacted.value(taken), "s")
    }
    assert.strictEqual(take(password, ""), "refused")
    assert.strictEqual(take(password, 1), "refused")
  })

  it("shows an address without what is secret in it", () => {
    assert.strictEqual(Setting.withoutSecrets("redis://user:pass@host:1/2?auth=x"), "redis://host:1/2")
    assert.strictEqual(Setting.withoutSecrets("postgres://host/"), "postgres://host")
    assert.strictEqual(Setting.withoutSecrets("postgres://user:pa/ss@w@[::1]:5432/db"), "postgres://[::1]:5432/db")
    assert.notInclude(Setting.withoutSecrets("no address: pass"), "pass")
  })
})

interface Options {
  readonly count?: number | undefined
  readonly mode?: "fast" | "safe" | undefined
  readonly timeout?: Duration.Input | undefined
  readonly password?: string | Redacted.Redacted<string> | undefined
  readonly where?: ReadonlyArray<string> | undefined
}
interface Resolved {
  readonly count: number
  readonly mode: "fast" | "safe"
  readonly timeout: Duration.Duration
  readonly password: Redacted.Redacted<string> | undefined
  readonly where: ReadonlyArray<string>
}
const settings = Settings.make<Options>()<Resolved>({ count, mode, timeout, password, where })

const withEnv =
  (env: Record<string, string>) =>
  <A, E, R>(effect: Effect.Effect<A, E, R>) =>
    Effect.provideService(effect, ConfigProvider.ConfigProvider, ConfigProvider.fromEnv({ env }))

describe("settings", () => {
  it.effect("are filled up with their defaults", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* settings.resolve("it", { count: 3 }), {
        count: 3,
        mode: "safe",
        timeout: Duration.seconds(2),
        password: undefined,
        where: ["localhost:11211"]
      })
    })
  )

  it.effect("name every option that cannot be used, and no secret", () =>
    Effect.gen(function* () {
      const options = { count: 99, mode: "wild", timeout: "soon", password: "", where: ["a:b"] } as unknown as Options
      const error = yield* Effect.flip(settings.resolve("it", options))
      assert.strictEqual(
        error.message,
        [
          "it was not started, its settings are wrong:",
          '  the option "count" is "99", expected a whole number of 1 to 8; default: 2',
          '  the option "mode" is "wild", expected one of fast, safe; default: safe',
          '  the option "timeout" is "soon", expected a positive duration, such as "2 seconds" or "1m30s"; default: 2s',
          '  the option "password" expected a text that is not empty',
          '  the option "where" is "[\\"a:b\\"]", expected one or more addresses as host:port, with commas between them; default: localhost:11211'
        ].join("\n")
      )
    })
  )

  it.effect("are read from variables with the prefix, and from no others", () =>
    settings.config("IT_1").pipe(
      Effect.tap((options) =>
        Effect.sync(() => {
          assert.strictEqual(options.count, 5)
          assert.strictEqual(options.mode, "safe")
          assert.deepStrictEqual(options.where, ["a:1", "b:11211"])
          assert.strictEqual(Redacted.value(options.password ?? Redacted.make("")), "p,q")
        })
      ),
      withEnv({ IT_1_COUNT: "5", MODE: "fast", IT_MODE: "fast", COUNT: "1", IT_1_ADDRS: "a:1,b", IT_1_PASSWORD: "p,q" })
    )
  )

  it.effect("are as if they were not set when their variable is empty", () =>
    Effect.map(settings.config("IT"), (options) => assert.strictEqual(options.count, 2)).pipe(withEnv({ IT_COUNT: "" }))
  )

  it.effect("are read from files with lists, too", () =>
    Effect.map(settings.config("it"), ({ where }) => assert.deepStrictEqual(where, ["a:1", "b:11211"])).pipe(
      Effect.provideService(ConfigProvider.ConfigProvider, ConfigProvider.fromUnknown({ it: { ADDRS: ["a:1", "b"] } }))
    )
  )

  it.effect("name every variable that cannot be used", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(settings.load("it", settings.config("IT")))
      assert.deepStrictEqual(error.problems, [
        { source: "IT_COUNT", found: "many", expected: count.expected, default: "2" },
        { source: "IT_TIMEOUT", found: "soon", expected: timeout.expected, default: "2s" }
      ])
    }).pipe(withEnv({ IT_COUNT: "many", IT_TIMEOUT: "soon", IT_PASSWORD: "p" }))
  )

  it.effect("name every part of a configuration of one's own that cannot be read", () =>
    Effect.gen(function* () {
      const config = {
        count: Config.Int("A"),
        mode: Config.Literals(["fast", "safe"], "B"),
        timeout: Config.Duration("C")
      }
      const error = yield* Effect.flip(settings.load("it", config))
      assert.deepStrictEqual(
        error.problems.map(({ source }) => source),
        ['the configuration of "count"', 'the configuration of "timeout"']
      )
    }).pipe(withEnv({ A: "x", B: "fast" }))
  )

  it.effect("are taken from a configuration of one's own", () =>
    Effect.gen(function* () {
      const config = Config.map(settings.config("IT"), (options) => ({ ...options, mode: "fast" as const }))
      assert.strictEqual((yield* settings.load("it", config)).mode, "fast")
    }).pipe(withEnv({ IT_COUNT: "3" }))
  )

  it.effect("are described, with what is set and never with a value", () =>
    Effect.gen(function* () {
      const text = yield* Services.describeConfig([settings.config("IT")])
      assert.strictEqual(
        text,
        [
          "variable     what it is for  default          set",
          "--------     --------------  -------          ---",
          "IT_COUNT     for the test    2                yes",
          "IT_MODE      for the test    safe             yes, but IT_MODE has to be one of fast, safe",
          "IT_TIMEOUT   for the test    2s               no",
          "IT_PASSWORD  for the test    none             yes",
          "IT_ADDRS     for the test    localhost:11211  no"
        ].join("\n")
      )
    }).pipe(withEnv({ IT_COUNT: "5", IT_MODE: "wild", IT_PASSWORD: "secret" }))
  )
})
