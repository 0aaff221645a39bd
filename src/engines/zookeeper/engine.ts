/** The services that every layer over ZooKeeper provides, however it comes to know the servers. */
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { Coordinator, Options } from "../../Coordinator.ts"
import type { CoordinatorError } from "../../CoordinatorError.ts"
import type { Claim } from "../../Group.ts"
import * as Coordinators from "../../internal/coordinator.ts"
import type { MembershipLost } from "../../Membership.ts"
import * as Client from "./client.ts"
import type { Endpoints } from "./clients.ts"
import * as Guard from "./guard.ts"
import type { Settings } from "./settings.ts"
import * as Store from "./store.ts"

export interface Engine {
  readonly coordinator: Coordinator["Service"]
  readonly guarded: (
    claim: Claim,
    operations: ReadonlyArray<Guard.Operation>
  ) => Effect.Effect<Guard.Committed, CoordinatorError | MembershipLost | Guard.OperationRefused>
}

export interface Servers {
  /** `undefined` where only `attend` will name them. */
  readonly endpoints: Endpoints | undefined
  /** Gets hold of the store before anybody uses it, for as long as the scope. */
  readonly attend?: (store: Store.ZooKeeperStore) => Effect.Effect<Store.ZooKeeperStore, never, Scope.Scope>
}

export const make = Effect.fnUntraced(function* (
  settings: Settings,
  { attend = Effect.succeed, endpoints }: Servers,
  options: Options
): Effect.fn.Return<Engine, CoordinatorError, Scope.Scope> {
  const { credentials, label, transport } = settings
  const clock = yield* Clock.clockWith(Effect.succeed)
  const made = yield* Deferred.make<{ readonly store: Store.ZooKeeperStore; readonly guarding: Guard.Settings }>()
  const coordinator = yield* Coordinators.make(
    Store.facts(label),
    Effect.fnUntraced(function* ({ requestMillis }) {
      const guarding = { ...settings, endpoint: label, requestMillis }
      const store = yield* Store.make(
        ({ ttlMillis: timeoutMillis, ...rest }) => Client.make({ ...rest, timeoutMillis, credentials, transport }),
        { ...guarding, endpoints }
      )
      yield* Deferred.succeed(made, { store, guarding })
      return yield* attend(store)
    }),
    options
  )
  const { guarding, store } = yield* Deferred.await(made)
  return {
    coordinator,
    guarded: (claim, operations) =>
      Effect.provideService(Guard.run(store.clients, guarding, claim, operations), Clock.Clock, clock)
  }
})
