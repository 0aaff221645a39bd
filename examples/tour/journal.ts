/** Everything that has happened so far, and a way to wait for what has not. */
import { Clock, Data, Effect, Stream, SubscriptionRef } from "effect"
import type { Event, History, Report, Stamped } from "./events.ts"
import { all } from "./events.ts"

/** The story could not be told to its end. */
export class Stopped extends Data.TaggedError("Stopped")<{ readonly message: string }> {}

export interface Journal {
  readonly record: Report
  readonly history: Effect.Effect<History>
  /** Waits until the history shows it. A node that fails meanwhile, or too long a wait, stops the story. */
  readonly until: (what: string, shows: (history: History) => boolean) => Effect.Effect<History, Stopped>
}

export const make = Effect.fnUntraced(function* (options: {
  readonly draw: (stamped: Stamped) => void
  readonly patienceMillis: number
}) {
  const { draw, patienceMillis } = options
  const clock = yield* Clock.clockWith(Effect.succeed)
  const start = clock.currentTimeMillisUnsafe()
  const log = yield* SubscriptionRef.make<History>([])

  const record = (event: Event) =>
    SubscriptionRef.update(log, (history) => {
      const stamped = { at: clock.currentTimeMillisUnsafe() - start, event }
      draw(stamped)
      return [...history, stamped]
    })

  const until = (what: string, shows: (history: History) => boolean) =>
    SubscriptionRef.changes(log).pipe(
      Stream.mapEffect((history) => {
        const [failed] = all(history, "Failed")
        return failed === undefined
          ? Effect.succeed(history)
          : Effect.fail(new Stopped({ message: `${failed.node} failed: ${failed.reason}` }))
      }),
      Stream.filter(shows),
      Stream.runHead,
      Effect.flatMap(Effect.fromOption),
      Effect.catchTag("NoSuchElementError", Effect.die),
      Effect.timeoutOrElse({
        duration: patienceMillis,
        orElse: () =>
          Effect.fail(new Stopped({ message: `waited ${patienceMillis / 1_000} s in vain for this: ${what}` }))
      })
    )

  const journal: Journal = { record, history: SubscriptionRef.get(log), until }
  return journal
})
