/** What the servers know, found out once for all sessions of a coordinator. */
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import type { Client } from "./client.ts"
import type { RequestError } from "./errors.ts"

/** Whether the servers know recursive watches: those before 3.6 do not. Absent before one was asked. */
export interface Abilities {
  recursive: boolean | undefined
}

/** A server hangs up right after it has refused a request that it does not know; one that does not is left as it is. */
const hangsUpWithinMillis = 1_000

/** Waits until the connection has been replaced that now carries the session. */
const replaced = (client: Client, attachments: number): Effect.Effect<void> =>
  client.states.pipe(
    Stream.filter((state) => state._tag === "Over" || (state._tag === "Attached" && state.attachments > attachments)),
    Stream.runHead,
    Effect.timeoutOption(hangsUpWithinMillis),
    Effect.asVoid
  )

/**
 * Asks for a recursive watch and gives it up again. It is asked before anything else has been: the hanging up that follows a refusal
 * would leave a write that is under way in doubt.
 */
export const find = (abilities: Abilities, client: Client, path: string): Effect.Effect<void, RequestError> =>
  Effect.gen(function* () {
    if (abilities.recursive !== undefined) return
    const { attachments } = yield* client.attached
    abilities.recursive = yield* Effect.scoped(client.watch(path, () => {})).pipe(
      Effect.as(true),
      Effect.catchTag("Unimplemented", () => Effect.as(replaced(client, attachments), false))
    )
  })
