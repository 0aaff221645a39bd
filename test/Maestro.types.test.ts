// What must not compile is marked with @ts-expect-error; the plugin would report the same places once more.
// @effect-diagnostics missingEffectContext:off missingEffectError:off missingLayerContext:off
import { assert, describe, expectTypeOf, it } from "@effect/vitest"
import type { Schedule } from "effect"
import { Context, Data, Effect, Layer, Option, Schedule as Schedules } from "effect"
import { Maestro } from "effect-ensemble"

class Db extends Context.Service<Db, { readonly query: string }>()("types/Db") {}
class Cache extends Context.Service<Cache, { readonly get: string }>()("types/Cache") {}
class Api extends Context.Service<Api, string>()("types/Api") {}
class DbError extends Data.TaggedError("DbError")<{ readonly retryable: boolean }> {}

const db = Layer.effect(
  Db,
  Effect.as(
    Effect.suspend(() => Effect.fail(new DbError({ retryable: true }))),
    { query: "" }
  )
)
const cache = Layer.succeed(Cache, { get: "" })
const both: Layer.Layer<Db | Cache> = Layer.merge(Layer.succeed(Db, { query: "" }), cache)
const api = Layer.effect(
  Api,
  Effect.gen(function* () {
    const found = yield* Maestro.option(Cache)
    return `${(yield* Db).query} ${Option.getOrElse(
      Option.map(found, ({ get }) => get),
      () => "none"
    )}`
  })
)

describe("types", () => {
  it("a service keeps what it provides and needs, and may time out", () => {
    expectTypeOf(Maestro.service(db, "db")).toEqualTypeOf<Layer.Layer<Db, DbError | Maestro.StartTimeout>>()
    expectTypeOf(db.pipe(Maestro.service("db"))).toEqualTypeOf<Layer.Layer<Db, DbError | Maestro.StartTimeout>>()
    expectTypeOf(api.pipe(Maestro.service("api"))).toEqualTypeOf<
      Layer.Layer<Api, Maestro.StartTimeout, Db | Maestro.Optional<Cache>>
    >()
  })

  it("an optional layer fails with nothing and makes each of its services optional", () => {
    expectTypeOf(Maestro.optional(db, "db")).toEqualTypeOf<Layer.Layer<Maestro.Optional<Db>>>()
    expectTypeOf(both.pipe(Maestro.optional("both"))).toEqualTypeOf<
      Layer.Layer<Maestro.Optional<Db> | Maestro.Optional<Cache>>
    >()
  })

  it("an optional service is read as an Option, and not as what it is", () => {
    const optional = cache.pipe(Maestro.optional("cache"))
    const read = Effect.provide(Maestro.option(Cache), optional)
    expectTypeOf(read).toEqualTypeOf<Effect.Effect<Option.Option<{ readonly get: string }>>>()
    const direct = Effect.provide(Cache, optional)
    // @ts-expect-error: Cache itself is not provided
    void ((): Effect.Effect<unknown> => direct)
  })

  it("a missing dependency does not compile", () => {
    const whole = Maestro.boot(api.pipe(Layer.provide(cache.pipe(Maestro.optional("cache"))), Maestro.service("api")))
    // @ts-expect-error: Db is missing
    void ((): Layer.Layer<Api, Maestro.StartFailed, Maestro.Maestro> => whole)
    const complete = whole.pipe(Layer.provide(Layer.succeed(Db, { query: "" })), Layer.provide(Maestro.layer()))
    expectTypeOf(complete).toEqualTypeOf<Layer.Layer<Api, Maestro.StartFailed>>()
    // @ts-expect-error: runMain is given all that the program needs
    void (() => Maestro.runMain(whole))
    void (() => Maestro.runMain(whole, { around: Layer.succeed(Db, { query: "" }) }))
  })

  it("a schedule sees the failures of its layer and the timeout, and no others", () => {
    const typed: Schedule.Schedule<unknown, DbError | Maestro.StartTimeout> = Schedules.recurs(3)
    const narrow: Schedule.Schedule<unknown, DbError> = Schedules.recurs(3)
    const foreign: Schedule.Schedule<unknown, Maestro.StartTimeout> = Schedules.recurs(3)
    db.pipe(Maestro.service("db", { retry: typed }))
    Maestro.service(db, "db", { retry: typed })
    // @ts-expect-error: it does not take a StartTimeout
    db.pipe(Maestro.service("db", { retry: narrow }))
    // @ts-expect-error: it does not take a DbError
    db.pipe(Maestro.service("db", { retry: foreign }))
    // @ts-expect-error: it does not take a DbError
    Maestro.service(db, "db", { retry: foreign })
  })

  it("a check uses what the layer provides, and nothing else", () => {
    cache.pipe(Maestro.service("cache", { health: Cache }))
    Maestro.service(cache, "cache", { health: Cache })
    // @ts-expect-error: the layer does not provide Db
    cache.pipe(Maestro.service("cache", { health: Db }))
    // @ts-expect-error: the layer does not provide Db
    Maestro.service(cache, "cache", { health: Db })
  })

  it("a program needs what its application needs, and no Maestro", () => {
    expectTypeOf(Maestro.make(api)).toEqualTypeOf<
      Effect.Effect<Maestro.Program<Api>, never, Db | Maestro.Optional<Cache>>
    >()
    assert.isFunction(Maestro.make)
  })
})
