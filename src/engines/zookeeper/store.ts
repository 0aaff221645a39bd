/** ZooKeeper as the store that `internal/coordinator.ts` makes a coordinator of. */
import * as Effect from "effect/Effect"
import * as FiberHandle from "effect/FiberHandle"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { Facts, Store } from "../../internal/store.ts"
import * as Abilities from "./abilities.ts"
import type { Client } from "./client.ts"
import * as Clients from "./clients.ts"
import { engine } from "./failure.ts"
import * as GroupStore from "./groupStore.ts"
import * as Strays from "./strays.ts"

/** No server ticks so fast by default that it would grant less than four seconds; one that does is asked for no less than this. */
const minimumTtlMillis = 1_000

/** The servers' `jute.maxbuffer` is one MiB for the whole request: the path and the access control list come on top. */
const maximumValueBytes = 1_000_000

/**
 * What is known of ZooKeeper before it is reached. The local stop is at half of the timeout: a follower tells its leader
 * of its sessions once in half a tick, and a tick may be half of the shortest timeout.
 */
export const facts = (endpoint: string): Facts => ({
  engine,
  endpoint,
  margin: 0.5,
  renewalsPerTtl: 6,
  minimumTtlMillis,
  maximumValueBytes
})

export interface Settings extends GroupStore.Settings, Clients.Settings {}

/** ZooKeeper's store, and its clients for what is written under guard. */
export interface ZooKeeperStore extends Store {
  readonly clients: Clients.Clients
}

export const make = Effect.fnUntraced(function* (
  connect: Clients.Connect,
  settings: Settings
): Effect.fn.Return<ZooKeeperStore, never, Scope.Scope> {
  const abilities: Abilities.Abilities = { recursive: undefined }
  const prefix = settings.prefix === "" ? "/" : settings.prefix
  const greet = (client: Client) => Abilities.find(abilities, client, prefix)
  const clients = yield* Clients.make(connect, { ...settings, greet })
  const housekeeping = yield* FiberHandle.make()

  const settleStrays = Effect.suspend(() => {
    const current = clients.nowUnsafe()
    if (current === undefined || current.strays.size === 0) return Effect.void
    // A failure leaves the rest for the next renewal.
    return FiberHandle.run(housekeeping, Effect.ignore(Strays.settle(current)), { onlyIfMissing: true })
  })

  return {
    clients,
    open: clients.open,
    // Those of creations that are still under way stand there too; settling one early finds nothing to remove that is wanted.
    renew: (session) => Effect.tap(clients.renew(session), settleStrays),
    revoke: clients.revoke,
    rewinds: Stream.fromPubSub(clients.rewinds),
    group: (name) => GroupStore.make(clients, abilities, settings, name)
  }
})
