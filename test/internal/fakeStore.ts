/** A coordinator over a store that answers everything at once, but for what a test puts in its place. */
import { Effect, Option, Stream } from "effect"
import type { Coordinator } from "effect-ensemble"
import * as Coordinators from "../../src/internal/coordinator.ts"
import type { GroupStore, Store } from "../../src/internal/store.ts"

export const facts = { engine: "test", endpoint: "test://", margin: 0.8, minimumTtlMillis: 1, maximumValueBytes: 100 }

export const make = (
  group: Partial<GroupStore> = {},
  store: Partial<Store> = {},
  options: Omit<Coordinator.Options, "node"> = {}
) => {
  const bare: GroupStore = {
    create: () => Effect.succeed({ _tag: "Created", token: 1n, version: 1n }),
    read: () => Effect.succeed(Option.none()),
    update: () => Effect.succeed({ _tag: "Updated", version: 2n }),
    remove: () => Effect.void,
    list: Effect.succeed({ entries: [], revision: 1n, epoch: 0 }),
    turn: () => Effect.succeed({ own: Option.none(), ahead: Option.none(), revision: 1n }),
    feed: Stream.never,
    follow: () => Stream.never,
    ...group
  }
  const whole: Store = {
    open: (ttlMillis) => Effect.succeed({ id: "s1", ttlMillis }),
    renew: () => Effect.succeed({ _tag: "Renewed", ttlMillis: 15_000 }),
    revoke: () => Effect.void,
    rewinds: Stream.never,
    group: () => bare,
    ...store
  }
  return Coordinators.make(facts, () => Effect.succeed(whole), { ...options, node: "a" })
}
