/** The library, as a program uses it; only the layer differs between stores. */
import { Context, Deferred, Effect, Exit, Layer, Scope, Stream } from "effect"
import { Coordinator, Election, Lock } from "effect-ensemble"
import type { Group } from "effect-ensemble"
import type { Place, Seen, Way } from "./way.ts"
import { makeHeld, valueOf } from "./way.ts"

const Leader = Election.make("leader")
const Mutex = Lock.make("mutex")

const clearedAtOnce = 64

export const make = (
  layer: (place: Place, node: string) => Layer.Layer<Coordinator.Coordinator, unknown>,
  kind: Group.GroupKind
): Way => {
  const group: Group.GroupName = { kind, name: "api" }
  const program = (place: Place, node: string) => Layer.build(layer(place, node))
  return {
    name: "library",
    title: "library",
    pair: Effect.fnUntraced(function* (place) {
      const writer = Context.get(yield* program(place, "writer"), Coordinator.Coordinator).group(group)
      const reader = Context.get(yield* program(place, "reader"), Coordinator.Coordinator).group(group)
      let seen: (what: Seen) => void = () => {}
      const ready = yield* Deferred.make<void>()
      yield* reader.changes.pipe(
        Stream.runForEach(({ _tag }) =>
          Effect.sync(() => {
            Deferred.doneUnsafe(ready, Effect.void)
            seen(_tag)
          })
        ),
        Effect.forkScoped({ startImmediately: true })
      )
      yield* Effect.scoped(Effect.andThen(writer.join({ id: "first", value: valueOf(0) }), Deferred.await(ready)))
      const held = makeHeld<{
        readonly scope: Scope.Closeable
        readonly set: (value: string) => Effect.Effect<void, unknown>
      }>()
      return {
        join: (from, count, atOnce) =>
          Effect.forEach(
            Array.from({ length: count }, (_, index) => from + index),
            (index) =>
              Effect.flatMap(Scope.make(), (scope) =>
                Scope.provide(writer.join({ id: `member-${index}`, value: valueOf(index) }), scope).pipe(
                  Effect.map(({ set }) => held.add(index, { scope, set }))
                )
              ),
            { concurrency: atOnce, discard: true }
          ),
        set: (index, value) => Effect.suspend(() => held.get(index).set(value)),
        leave: (index) => Effect.suspend(() => Scope.close(held.take(index).scope, Exit.void)),
        clear: Effect.suspend(() =>
          Effect.forEach(held.takeAll(), ([, { scope }]) => Scope.close(scope, Exit.void), {
            concurrency: clearedAtOnce,
            discard: true
          })
        ),
        onSeen: (to) => {
          seen = to
        }
      }
    }),
    candidate: (place, node) =>
      Effect.map(program(place, node), (context) => ({
        lead: Effect.provideContext(Effect.asVoid(Election.campaign(Leader)), context),
        lock: Effect.provideContext(Lock.withLock(Mutex, Effect.void), context)
      }))
  }
}
