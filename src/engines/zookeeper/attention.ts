/** The watch over a member's own node: whether it may no longer be this holding. */
import * as Option from "effect/Option"
import type { Disturbed, Holding } from "../../internal/store.ts"
import type { Current } from "./clients.ts"
import type { GroupNode } from "./nodes.ts"
import { ownerOf } from "./nodes.ts"
import { readAndWatch } from "./oneShot.ts"
import * as P from "./protocol.ts"

/**
 * Calls back once when the node has gone, is another one, or cannot be watched. Answers the way to give it up.
 *
 * It is a one-shot watch of the node's children, of which an ephemeral node has none. So it is told of the deletion alone
 * (`DataTree.deleteNode` triggers it, `setData` does not), which uses it up: a new value costs no reading, and a departure no request
 * to take the watch back. It survives the connection. When it is set again the server tells at once of a node that is
 * gone, and of another one under the name, whose `pzxid` is newer than what this session had seen (`DataTree.setWatches`).
 *
 * The first answer covers everything before it: a node that had come in the place of this one would show a later transaction.
 */
export const attendUnsafe = (
  current: Current | undefined,
  group: GroupNode,
  { id, owner, token }: Holding,
  disturbed: Disturbed
): (() => void) => {
  const key = `${group.path}/${id}`
  let isOver = false
  let giveUp: (() => void) | undefined
  const end: Disturbed = (found) => {
    if (isOver) return
    isOver = true
    giveUp?.()
    disturbed(found)
  }
  const gone = ({ hints }: Current, zxid: bigint): void => {
    if (hints.get(key)?.token === token) hints.delete(key)
    end({ entry: Option.none(), revision: zxid > token ? zxid : token })
  }
  const hint = current?.hints.get(key)
  if (current === undefined || current.id !== owner || hint?.token !== token) end()
  else {
    const question = P.getChildren(`${group.path}/${hint.name}`, true)
    giveUp = readAndWatch(
      current.client,
      "child",
      question,
      (answer) => {
        if (answer._tag === "Failure") {
          return answer.failure._tag === "NoNode" ? gone(current, answer.failure.zxid) : end()
        }
        const { czxid, ephemeralOwner } = answer.success.stat
        if (czxid !== token || ownerOf(ephemeralOwner) !== owner) end()
      },
      (notice) =>
        notice._tag === "Event" && notice.event.type === "deleted" ? gone(current, current.client.lastZxid()) : end()
    )
  }
  return () => {
    if (isOver) return
    isOver = true
    giveUp?.()
  }
}
