/** The watch over a member's own node: whether it may no longer be this holding. */
import type { Holding } from "../../internal/store.ts"
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
  disturbed: () => void
): (() => void) => {
  let isOver = false
  let giveUp: (() => void) | undefined
  const end = (): void => {
    if (isOver) return
    isOver = true
    giveUp?.()
    disturbed()
  }
  const key = `${group.path}/${id}`
  const hint = current?.hints.get(key)
  if (current === undefined || current.id !== owner || hint?.token !== token) end()
  else {
    const question = P.getChildren(`${group.path}/${hint.name}`, true)
    giveUp = readAndWatch(
      current.client,
      "child",
      question,
      (answer) => {
        if (answer._tag === "Failure") return end()
        const { czxid, ephemeralOwner } = answer.success.stat
        if (czxid !== token || ownerOf(ephemeralOwner) !== owner) end()
      },
      (notice) => {
        // Who asks what became of it must not wait for an answer: whoever stands next is told at the same time.
        const last = current.hints.get(key)
        if (!isOver && notice._tag === "Event" && notice.event.type === "deleted" && last?.token === token) {
          current.hints.set(key, { ...last, isGone: true })
        }
        end()
      }
    )
  }
  return () => {
    if (isOver) return
    isOver = true
    giveUp?.()
  }
}
