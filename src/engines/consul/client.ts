/** Consul as the store that `internal/coordinator.ts` makes a coordinator of. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { CoordinatorError, OutcomeUnknown } from "../../CoordinatorError.ts"
import type { Facts, Store } from "../../internal/store.ts"
import { within } from "../../internal/within.ts"
import * as CatalogStore from "./catalogStore.ts"
import { IncludeCritical } from "./checks.ts"
import * as Follows from "./follows.ts"
import * as GroupStore from "./groupStore.ts"
import type { Transport } from "./http.ts"
import * as Kv from "./kv.ts"
import * as Requests from "./requests.ts"
import * as Servers from "./servers.ts"
import * as Sessions from "./sessions.ts"

/** The server's own floor, unless its `session_ttl_min` says otherwise. */
export const standardMinimumTtlMillis = 10_000

/**
 * A transaction is refused above 512 KiB (`txn_max_req_len`), and its values travel as base64, three bytes in four: 393,216 bytes,
 * less what the key and the conditions take.
 */
const maximumValueBytes = 390_000

/** What is known of Consul before it is reached. */
export const facts = (endpoint: string, minimumTtlMillis: number): Facts => ({
  engine: "consul",
  endpoint,
  // The server waits for up to twice the TTL. It counts from when it was asked, so what was granted is what can be relied on.
  margin: 0.8,
  minimumTtlMillis,
  maximumValueBytes
})

/** Consul's store, and what transactions of the program's own need of it. */
export interface ConsulStore extends Store {
  readonly kv: Kv.Kv
  readonly written: GroupStore.Written
  readonly endpoint: string
  /** Bounds a request of the program's own as the kit bounds its own. */
  readonly bounded: <A>(
    operation: string,
    request: Effect.Effect<A, CoordinatorError>
  ) => Effect.Effect<A, CoordinatorError>
}

export interface Settings extends GroupStore.Settings {
  /** What a group of the kind `discovery` is called in the catalog. Default: its own name. */
  readonly serviceOf?: (name: string) => string
}

export const make = Effect.fnUntraced(function* (
  transport: Transport,
  settings: Settings
): Effect.fn.Return<ConsulStore, never, Scope.Scope> {
  const { endpoint, prefix, requestMillis } = settings
  const clock = yield* Clock.clockWith(Effect.succeed)
  const requests = Requests.make(Servers.make(transport, { clock, requestMillis }))
  const kv = yield* Kv.make(requests.any, prefix)
  const sessions = Sessions.make(requests.any, endpoint)
  const follows = yield* Follows.make(kv, settings)
  const catalog = CatalogStore.make(requests, kv, {
    endpoint,
    requestMillis,
    includeCritical: yield* IncludeCritical,
    serviceOf: settings.serviceOf ?? ((name) => name)
  })
  const written: GroupStore.Written = new Map()
  const scope = yield* Effect.scope
  let permitted = false

  /** What no renewal waits for. */
  const apart = (effect: Effect.Effect<void, CoordinatorError>) =>
    within(Effect.ignore(effect), { millis: requestMillis, orElse: Effect.void }).pipe(
      Effect.provideService(Clock.Clock, clock),
      Effect.forkIn(scope)
    )

  /** The leader says that the session lives; whether its store is still the same, and what its agent knows, are other questions. */
  const renew = Effect.fnUntraced(function* (session: string) {
    yield* apart(kv.probe("Session.renew"))
    const renewal = yield* sessions.renew(session)
    if (renewal._tag === "Renewed") yield* apart(catalog.pass(session))
    return renewal
  })

  return {
    open: Effect.fnUntraced(function* (ttlMillis): Effect.fn.Return<
      { readonly id: string; readonly ttlMillis: number },
      CoordinatorError
    > {
      if (!permitted) {
        // Whoever may not even read the prefix, or has not reached Consul, is told so at the start, and not by the first join.
        yield* kv.probe("Session.open")
        permitted = true
      }
      const opened = yield* sessions.open(ttlMillis)
      catalog.opened(opened.id, opened.ttlMillis)
      return opened
    }),
    renew,
    revoke: (session) =>
      Effect.all([sessions.revoke(session), catalog.forget(session)], { concurrency: "unbounded", discard: true }),
    rewinds: Stream.fromPubSub(kv.rewinds),
    group: (name) =>
      name.kind === "discovery" ? catalog.group(name) : GroupStore.make({ kv, follows, written }, settings, name),
    kv,
    written,
    endpoint,
    bounded: (operation, request) => {
      const reason = new OutcomeUnknown({ detail: `No answer within ${Math.round(requestMillis)} ms` })
      const late = Effect.suspend(() =>
        Effect.fail(new CoordinatorError({ engine: "consul", operation, endpoint, reason }))
      )
      return within(request, { millis: requestMillis, orElse: late }).pipe(Effect.provideService(Clock.Clock, clock))
    }
  }
})
