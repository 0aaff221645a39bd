/** What this process asks by HTTP, on whatever way: Consul's own counts are told only every ten seconds. */
import { Effect } from "effect"
import { subscribe, unsubscribe } from "node:diagnostics_channel"

const channel = "http.client.request.start"

/** Counts as long as the scope; gives the count so far. */
export const requests = Effect.gen(function* () {
  let sent = 0
  const onRequest = () => void sent++
  yield* Effect.acquireRelease(
    Effect.sync(() => subscribe(channel, onRequest)),
    () => Effect.sync(() => unsubscribe(channel, onRequest))
  )
  return Effect.sync(() => sent)
})
