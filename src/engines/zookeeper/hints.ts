/** Which node a member is: as this process has learnt it, or as the quorum knows it. */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { Holding } from "../../internal/store.ts"
import type { Client } from "./client.ts"
import type { Current } from "./clients.ts"
import type { RequestError } from "./errors.ts"
import type { GroupNode, Node } from "./nodes.ts"
import { memberAmong, namesOf, nodeAt, nodesOf } from "./nodes.ts"

const unbounded = { concurrency: "unbounded" } as const

/** The node of a holding, if this process knows it. */
export const hintOf = (
  { hints }: Current,
  group: GroupNode,
  { id, token }: Omit<Holding, "owner">
): Node | undefined => {
  const hint = hints.get(`${group.path}/${id}`)
  return hint?.token === token ? hint : undefined
}

export const remember = ({ hints }: Current, group: GroupNode, node: Node): void => {
  hints.set(`${group.path}/${node.id}`, node)
}

/** The names, as the quorum knows them. */
export const linearNamesOf = (client: Client, group: GroupNode) =>
  Effect.map(Effect.all([client.sync(group.path), namesOf(client, group.path)], unbounded), ([, listed]) => listed)

export const find = (current: Current, group: GroupNode, id: string) =>
  Effect.gen(function* () {
    const { names } = yield* linearNamesOf(current.client, group)
    const node = memberAmong(yield* nodesOf(current.client, group, names, id))
    if (node !== undefined) remember(current, group, node)
    return Option.fromNullishOr(node)
  })

/** Whether a node is this holding. */
const isHolding = (node: Node | undefined, { owner, token }: Holding): boolean =>
  node !== undefined && node.token === token && node.owner === owner

/** The path of the node that is this holding; nothing where there is none. */
export const locate = (
  current: Current,
  group: GroupNode,
  holding: Holding
): Effect.Effect<string | undefined, RequestError> =>
  Effect.suspend(() => {
    const hint = group.names === "id" ? undefined : hintOf(current, group, holding)
    return hint === undefined ? lookFor(current, group, holding) : Effect.succeed(`${group.path}/${hint.name}`)
  })

const lookFor = (
  current: Current,
  group: GroupNode,
  holding: Holding
): Effect.Effect<string | undefined, RequestError> =>
  Effect.gen(function* () {
    const { client } = current
    if (group.names === "id") {
      // What ZooKeeper compares in a write is the version alone, which another program's node may have as well.
      const [, { node }] = yield* Effect.all([client.sync(group.path), nodeAt(client, group, holding.id)], unbounded)
      return isHolding(node, holding) ? `${group.path}/${holding.id}` : undefined
    }
    const { names } = yield* linearNamesOf(client, group)
    const node = (yield* nodesOf(client, group, names, holding.id)).find((one) => isHolding(one, holding))
    return node === undefined ? undefined : `${group.path}/${node.name}`
  })
