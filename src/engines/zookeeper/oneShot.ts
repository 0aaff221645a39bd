/**
 * A read that sets a one-shot watch of what it reads: one request, and none to give it up. The watch outlives the connection: set again on
 * the next one, it is told at once of what has changed meanwhile (`DataTree.setWatches`).
 */
import type { Answered, Client } from "./client.ts"
import type { GiveUp } from "./exchange.ts"
import type { Operation } from "./protocol.ts"
import type { Kind, Listener } from "./watches.ts"

/** Tells the answer, and if that is no refusal, the next event or the session's end. After it was given up it tells nothing. */
export const readAndWatch = <A>(
  client: Client,
  kind: Kind,
  operation: Operation<A>,
  answered: Answered<A>,
  listener: Listener
): GiveUp => {
  const forget = client.listenUnsafe(kind, operation.path, listener)
  const giveUp = client.requestUnsafe(operation, (answer) => {
    if (answer._tag === "Failure") forget()
    answered(answer)
  })
  return () => {
    giveUp()
    forget()
  }
}
