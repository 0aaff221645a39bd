/** How a member's node is made, and who else is found under its id. */
import * as Effect from "effect/Effect"
import type * as Random from "effect/Random"
import * as Result from "effect/Result"
import type { Creation } from "../../internal/store.ts"
import type { Answered, Client } from "./client.ts"
import type { Current } from "./clients.ts"
import type { ConnectionLost, NoNode, RequestError } from "./errors.ts"
import { linearNamesOf, remember } from "./hints.ts"
import * as Lists from "./lists.ts"
import type { GroupNode, Node } from "./nodes.ts"
import { memberAmong, namesOfUnsafe, nodeAt, protectedName } from "./nodes.ts"
import type { Acl } from "./protocol.ts"
import * as P from "./protocol.ts"
import type { Stray } from "./strays.ts"

/** A container may go away between being made and being used, but not several times in a row. */
const creations = 3

/** A member to be made. */
export interface New {
  readonly id: string
  readonly value: string
  readonly data: Uint8Array
  readonly random: (typeof Random.Random)["Service"]
}

/** What tells the node of a creation whose answer is lost from every other: 32 hexadecimal digits. */
const guidUnsafe = (random: (typeof Random.Random)["Service"]): string => {
  let guid = ""
  while (guid.length < 32) {
    guid += Math.floor(random.nextDoubleUnsafe() * 0x1_0000_0000)
      .toString(16)
      .padStart(8, "0")
  }
  return guid
}

/** Makes a node and those above it. They are looked for from below: who may use a group need not be permitted above it. */
const makeNode = (
  client: Client,
  acl: ReadonlyArray<Acl>,
  path: string,
  mode: GroupNode["mode"]
): Effect.Effect<void, RequestError> => {
  const above = path.slice(0, path.lastIndexOf("/"))
  const create = Effect.catchTag(Effect.asVoid(client.create(path, { mode, acl })), "NodeExists", () => Effect.void)
  return Effect.catchTag(create, "NoNode", (error) =>
    above === "" ? Effect.fail(error) : Effect.andThen(makeNode(client, acl, above, "persistent"), create)
  )
}

/** Makes members of a group, and the group's own node where there is none. */
export const make = (
  group: GroupNode,
  acl: ReadonlyArray<Acl>
): ((current: Current, made: New) => Effect.Effect<Creation, RequestError>) => {
  /** The names as they are after whatever was asked for in this session before. */
  const namesSince = ({ client, lists }: Current): Lists.Shared => {
    const known = lists.get(group.path)
    if (known !== undefined) return known
    const request = (answered: Answered<ReadonlyArray<string>>): void =>
      void namesOfUnsafe(client, group.path, (found) => answered(Result.map(found, ({ names }) => names)))
    const list = Lists.shared(request, () => lists.delete(group.path))
    lists.set(group.path, list)
    return list
  }

  /** Creates the node that has the id as its name, unless there is one. */
  const createNamed = Effect.fnUntraced(function* (
    current: Current,
    { data, id, value }: New
  ): Effect.fn.Return<Creation, RequestError> {
    const { client } = current
    for (let left = creations; ; left--) {
      const created = yield* Effect.result(client.create(`${group.path}/${id}`, { mode: "ephemeral", data, acl }))
      if (created._tag === "Success") {
        const token = created.success.stat?.czxid ?? 0n
        remember(current, group, { name: id, id, value, token, version: 0n, owner: current.id })
        return { _tag: "Created", token, version: 0n }
      }
      if (created.failure._tag !== "NodeExists") return yield* created.failure
      const { node } = yield* nodeAt(client, group, id)
      // It may have gone in between, but not several times in a row.
      if (node === undefined && left > 0) continue
      if (node === undefined) return yield* created.failure
      remember(current, group, node)
      return { _tag: "Occupied", entry: node }
    }
  })

  /** The node of a creation whose answer was lost. By the time of the next connection nothing of the old one can be applied any more. */
  const recover = (current: Current, made: New, stray: Stray, error: ConnectionLost) =>
    Effect.gen(function* () {
      const { client } = current
      yield* client.attached
      const { names } = yield* linearNamesOf(client, group)
      const name = names.find((one) => one.startsWith(stray.unique))
      const node = name === undefined ? undefined : (yield* nodeAt(client, group, name)).node
      return node === undefined ? yield* error : yield* place(current, made, stray, node)
    }).pipe(
      // Whatever connection was lost since: the creation itself may have been carried out.
      Effect.catchTag("ConnectionLost", () => Effect.fail(error))
    )

  /** Whether the node is the member of its id; one that is none is taken back. */
  const place = (
    current: Current,
    { id, value }: New,
    stray: Stray,
    { name, token }: Pick<Node, "name" | "token">,
    known?: Lists.Listed
  ): Effect.Effect<Creation, RequestError> => {
    const own = { id, name, token, value }
    const sameId = known?.byId.get(id)
    if (known !== undefined && sameId?.includes(name) === true) return rivals(current, stray, own, known)
    // A list that does not show the node was answered before it was there, and may lack others that were.
    const afresh = Effect.callback<Lists.Listed, RequestError>((resume) =>
      Effect.sync(namesSince(current)((answer) => resume(Effect.fromResult(answer))))
    )
    return Effect.flatMap(afresh, (list) => rivals(current, stray, own, list))
  }

  const rivals = (
    current: Current,
    stray: Stray,
    own: Pick<Node, "name" | "token" | "id" | "value">,
    { byId, first }: Lists.Listed
  ): Effect.Effect<Creation, RequestError> => {
    const { client, strays } = current
    const { id, name, token } = own
    const hold = (): Creation => {
      strays.delete(stray)
      remember(current, group, { ...own, version: 0n, owner: current.id })
      // The list is of a state that has the node, so whatever was created before the node and still stood was in it: transactions
      // are applied in their order, on whatever server. It was asked for after the creation was, so it is as fresh as one that follows
      // a `sync`: what anybody had been told by then was committed before the creation. And sequence numbers follow
      // creation for as long as the group's node stands, so that nobody with a lower token is left where nobody has a lower number.
      return { _tag: "Created", token, version: 0n, isFirst: first === name }
    }
    const others = (byId.get(id) ?? []).filter((one) => one !== name)
    if (others.length === 0) return Effect.sync(hold)
    return Effect.gen(function* () {
      const found = yield* Effect.forEach(others, (one) => nodeAt(client, group, one), { concurrency: "unbounded" })
      const holder = memberAmong(found.flatMap(({ node }) => (node === undefined || node.token > token ? [] : node)))
      if (holder === undefined) return hold()
      yield* Effect.catchTag(client.remove(`${group.path}/${name}`), "NoNode", () => Effect.void)
      strays.delete(stray)
      remember(current, group, holder)
      return { _tag: "Occupied", entry: holder }
    })
  }

  /** Creates a node, and looks in the same go who else is there under the id. */
  const createProtected = (current: Current, made: New): Effect.Effect<Creation, RequestError> =>
    Effect.callback((resume) => {
      const { client, strays } = current
      const { data, id, random } = made
      const stray: Stray = { group, id, unique: protectedName(guidUnsafe(random), id) }
      strays.add(stray)
      let created: Result.Result<P.Written, RequestError> | undefined
      let listed: Result.Result<Lists.Listed, RequestError> | undefined
      const meet = (): void => {
        if (created === undefined || listed === undefined) return
        if (created._tag === "Success") {
          const { path: at, stat } = created.success
          const node = { name: at.slice(group.path.length + 1), token: stat?.czxid ?? 0n }
          return resume(place(current, made, stray, node, Result.getOrUndefined(listed)))
        }
        const { failure } = created
        if (failure._tag === "ConnectionLost" && failure.sent) return resume(recover(current, made, stray, failure))
        strays.delete(stray)
        resume(Effect.fail(failure))
      }
      const creation = P.create(`${group.path}/${stray.unique}`, { mode: "ephemeralSequential", data, acl })
      const giveUpCreation = client.requestUnsafe(creation, (answer) => {
        created = answer
        meet()
      })
      const giveUpList = namesSince(current)((answer) => {
        listed = answer
        meet()
      })
      return Effect.sync(() => {
        giveUpCreation()
        giveUpList()
      })
    })

  const createOnce = group.names === "id" ? createNamed : createProtected

  const attempt = (current: Current, made: New, left: number): Effect.Effect<Creation, RequestError> =>
    Effect.catchTag(createOnce(current, made), "NoNode", (error: NoNode) =>
      left === 0
        ? Effect.fail(error)
        : Effect.andThen(makeNode(current.client, acl, group.path, group.mode), attempt(current, made, left - 1))
    )
  return (current, made) => attempt(current, made, creations)
}
