/**
 * Nodes that may have been created and that nobody answers for, since whoever created them was interrupted or did not get the
 * answer.
 *
 * One that is the member of its id is seen by everybody who reads the id, and is made good by who has to. One that stands
 * behind another of the same id is seen by nobody, and would be the member as soon as that one goes. A session's
 * requests are carried out in their order, so one list that was asked for later tells for good which of them are there.
 */
import * as Effect from "effect/Effect"
import type { Current } from "./clients.ts"
import type { RequestError } from "./errors.ts"
import type { GroupNode } from "./nodes.ts"
import { memberAmong, namesOf, nodesOf } from "./nodes.ts"

export interface Stray {
  readonly group: GroupNode
  readonly id: string
  /** The node's name up to the number that the server appends. */
  readonly unique: string
}

/** Removes what stands behind another, and forgets what was found out. */
export const settle = Effect.fnUntraced(function* ({ client, strays }: Current): Effect.fn.Return<void, RequestError> {
  for (const stray of Array.from(strays)) {
    const { group, id, unique } = stray
    if (!strays.has(stray)) continue
    const { names } = yield* namesOf(client, group.path)
    const name = names.find((one) => one.startsWith(unique))
    if (name !== undefined) {
      const member = memberAmong(yield* nodesOf(client, group, names, id))
      if (member !== undefined && member.name !== name) {
        yield* Effect.catchTag(client.remove(`${group.path}/${name}`), "NoNode", () => Effect.void)
      }
    }
    strays.delete(stray)
  }
})
