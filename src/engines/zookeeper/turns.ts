/** Who stands next before a member. */
import * as Effect from "effect/Effect"
import type { Client } from "./client.ts"
import type { RequestError } from "./errors.ts"
import type { GroupNode, Node } from "./nodes.ts"
import { nodeAt, parse } from "./nodes.ts"

/**
 * The nodes of a group before a place in it, nearest first, as far as names tell.
 *
 * As long as a group has nodes its sequence numbers follow their creation, so the order is in the names. Of several nodes with
 * one id the oldest is the member, so only that one is named.
 */
export const before = (names: ReadonlyArray<string>, sequence: number): ReadonlyArray<string> => {
  const oldest = new Map<string, { readonly name: string; readonly sequence: number }>()
  for (const name of names) {
    const { id, sequence: at } = parse(name)
    if (at === undefined) continue
    const other = oldest.get(id)
    if (other === undefined || at < other.sequence) oldest.set(id, { name, sequence: at })
  }
  return Array.from(oldest.values())
    .filter((one) => one.sequence < sequence)
    .sort((a, b) => b.sequence - a.sequence)
    .map(({ name }) => name)
}

/** Whether the names alone tell that nobody stands before this one. */
export const isFirst = (names: ReadonlyArray<string>, own: string): boolean => {
  const { sequence } = parse(own)
  if (sequence === undefined) return false
  for (const name of names) {
    const { sequence: at } = parse(name)
    if (at === undefined || at < sequence) return false
  }
  return true
}

/** The member with the next lower token. A name without a number says nothing of the order, so its node is always asked. */
export const ahead = Effect.fnUntraced(function* (
  client: Client,
  group: GroupNode,
  names: ReadonlyArray<string>,
  own: Node
): Effect.fn.Return<Node | undefined, RequestError> {
  const unnumbered = names.filter((name) => name !== own.name && parse(name).sequence === undefined)
  const found = yield* Effect.forEach(unnumbered, (name) => nodeAt(client, group, name), { concurrency: "unbounded" })
  let nearest: Node | undefined
  const consider = (node: Node | undefined): void => {
    if (node !== undefined && node.token < own.token && (nearest === undefined || node.token > nearest.token)) {
      nearest = node
    }
  }
  for (const { node } of found) consider(node)
  for (const name of before(names, parse(own.name).sequence ?? 0)) {
    const { node } = yield* nodeAt(client, group, name)
    consider(node)
    // One that has gone since it was listed leaves the place to the next.
    if (node !== undefined) break
  }
  return nearest
})
