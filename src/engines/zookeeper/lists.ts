/**
 * The names of a group's nodes for those who have just created one: a thousand joins would otherwise read the list a thousand times,
 * each time longer.
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import type { RequestError } from "./errors.ts"
import { idOf } from "./nodes.ts"

export interface Listed {
  readonly names: ReadonlySet<string>
  readonly byId: ReadonlyMap<string, ReadonlyArray<string>>
}

/** Sorted once for all who share it. */
export const listed = (names: ReadonlyArray<string>): Listed => {
  const byId = new Map<string, Array<string>>()
  for (const name of names) {
    const id = idOf(name)
    const same = byId.get(id)
    if (same === undefined) byId.set(id, [name])
    else same.push(name)
  }
  return { names: new Set(names), byId }
}

/**
 * Shares one request among all who ask before it is sent. One is under way at a time, and who asks meanwhile gets the next: a request
 * that was sent before somebody's creation does not show it.
 */
export const shared = (
  list: Effect.Effect<Listed, RequestError>,
  /** Called when nobody waits any more. */
  onIdle: () => void
): Effect.Effect<Listed, RequestError> => {
  let due: Deferred.Deferred<Listed, RequestError> | undefined
  let busy = false
  const drain = Effect.gen(function* () {
    while (due !== undefined) {
      const asked = due
      due = undefined
      yield* Deferred.done(asked, yield* Effect.exit(list))
    }
    busy = false
    onIdle()
  })
  return Effect.suspend(() => {
    due ??= Deferred.makeUnsafe()
    const mine = Deferred.await(due)
    if (busy) return mine
    busy = true
    // Apart from who asked first: the others want the answer also when that one gives up.
    return Effect.andThen(Effect.forkDetach(drain, { startImmediately: true }), mine)
  })
}
