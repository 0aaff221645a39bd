/** The library, as a program uses it. */
import { Context, Deferred, Effect, Exit, Layer, Scope, Stream } from "effect"
import { Coordinator, Election } from "effect-ensemble"
import type { Group } from "effect-ensemble"
import { Etcd } from "effect-ensemble/etcd"
import { now } from "../harness.ts"
import type { Place, Way } from "./way.ts"
import { valueOf } from "./way.ts"

const group: Group.GroupName = { kind: "discovery", name: "api" }

const Leader = Election.make("leader")

export const program = (place: Place, node: string) =>
  Layer.build(
    Etcd.layer({ endpoints: place.endpoints, prefix: place.prefix, node, ttl: `${place.ttlSeconds} seconds` })
  )

/** Candidates stand in line, and each of them says when it leads. */
export const campaign = (context: Context.Context<Coordinator.Coordinator>) =>
  Effect.provideContext(Election.campaign(Leader), context)

export const library: Way = {
  name: "library",
  pair: Effect.fnUntraced(function* (place) {
    const writer = Context.get(yield* program(place, "writer"), Coordinator.Coordinator).group(group)
    const reader = Context.get(yield* program(place, "reader"), Coordinator.Coordinator).group(group)
    let seen = () => {}
    const ready = yield* Deferred.make<void>()
    yield* reader.changes.pipe(
      Stream.runForEach(({ _tag }) =>
        Effect.sync(() => {
          Deferred.doneUnsafe(ready, Effect.void)
          if (_tag === "Joined") seen()
        })
      ),
      Effect.forkScoped({ startImmediately: true })
    )
    yield* Effect.scoped(Effect.andThen(writer.join({ id: "first", value: valueOf(0) }), Deferred.await(ready)))
    let held: Array<Scope.Closeable> = []
    return {
      join: (from, count, atOnce) =>
        Effect.forEach(
          Array.from({ length: count }, (_, index) => from + index),
          (index) =>
            Effect.flatMap(Scope.make(), (scope) => {
              held.push(scope)
              return Scope.provide(writer.join({ id: `member-${index}`, value: valueOf(index) }), scope)
            }),
          { concurrency: atOnce, discard: true }
        ),
      leave: Effect.suspend(() => {
        const leaving = held
        held = []
        return Effect.forEach(leaving, (scope) => Scope.close(scope, Exit.void), { concurrency: 64, discard: true })
      }),
      onSeen: (to) => {
        seen = to
      }
    }
  }),
  rivals: Effect.fnUntraced(function* (place) {
    const programs = [yield* program(place, "one"), yield* program(place, "two")] as const
    const lifetime = yield* Effect.scope
    let elected = yield* Deferred.make<number>()
    let leader = 0
    const scopes = [yield* Scope.make(), yield* Scope.make()]
    const run = Effect.fnUntraced(function* (index: 0 | 1) {
      const scope = yield* Scope.make()
      scopes[index] = scope
      yield* campaign(programs[index]).pipe(
        Scope.provide(scope),
        Effect.tap(() =>
          Effect.sync(() => {
            leader = index
            Deferred.doneUnsafe(elected, Effect.succeed(now()))
          })
        ),
        Effect.forkIn(lifetime, { startImmediately: true })
      )
    })
    yield* run(0)
    yield* Deferred.await(elected)
    yield* run(1)
    yield* Effect.sleep("50 millis")
    return {
      handOver: Effect.gen(function* () {
        const index = leader === 0 ? 0 : 1
        elected = yield* Deferred.make<number>()
        const scope = scopes[index]
        const started = now()
        if (scope !== undefined) yield* Scope.close(scope, Exit.void)
        const taken = (yield* Deferred.await(elected)) - started
        yield* run(index)
        // Until the one who lost stands in line and watches: that is not timed, on any way.
        yield* Effect.sleep("20 millis")
        return taken
      })
    }
  })
}
