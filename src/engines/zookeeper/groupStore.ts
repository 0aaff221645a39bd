/** One group of ZooKeeper's: its requests, its feed, and the following of single entries. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import * as Result from "effect/Result"
import type { CoordinatorError } from "../../CoordinatorError.ts"
import type { GroupName } from "../../Group.ts"
import { label } from "../../Group.ts"
import { resync } from "../../internal/resync.ts"
import type { Creation, Entry, Feed, GroupStore, Holding, Snapshot, Turn, Update } from "../../internal/store.ts"
import type { Abilities } from "./abilities.ts"
import * as Attention from "./attention.ts"
import type { Answered, Client } from "./client.ts"
import type { Clients, Current } from "./clients.ts"
import type { ConnectionLost, NoNode, RequestError } from "./errors.ts"
import { failing, isSessionOver } from "./failure.ts"
import * as Follow from "./follow.ts"
import * as Lists from "./lists.ts"
import type { GroupNode, Names, Node, Places } from "./nodes.ts"
import { groupNode, memberAmong, membersOf, namesOf, namesOfUnsafe, nodeAt, nodesOf, protectedName } from "./nodes.ts"
import type { Acl } from "./protocol.ts"
import * as P from "./protocol.ts"
import type { Stray } from "./strays.ts"
import * as Turns from "./turns.ts"
import * as Upstream from "./upstream.ts"

export interface Settings extends Places {
  readonly endpoint: string
  readonly acl: ReadonlyArray<Acl>
  readonly requestMillis: number
}

/** A group that changes while it is read is read again this often, before it is shown as it was found. */
const readings = 3

/** A container may go away between being made and being used, but not several times in a row. */
const creations = 3

/** A member to be made. */
interface New {
  readonly id: string
  readonly value: string
  readonly data: Uint8Array
  readonly random: (typeof Random.Random)["Service"]
}

const refusedUpdate: Effect.Effect<Update> = Effect.succeed({ _tag: "Refused" })

const unbounded = { concurrency: "unbounded" } as const

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

/** The node of a holding, if this process knows it. */
const hintOf = ({ hints }: Current, group: GroupNode, { id, token }: Omit<Holding, "owner">): Node | undefined => {
  const hint = hints.get(`${group.path}/${id}`)
  return hint?.token === token ? hint : undefined
}

const remember = ({ hints }: Current, group: GroupNode, node: Node): void => {
  hints.set(`${group.path}/${node.id}`, node)
}

/** The names, as the quorum knows them. */
const linearNamesOf = (client: Client, group: GroupNode) =>
  Effect.map(Effect.all([client.sync(group.path), namesOf(client, group.path)], unbounded), ([, listed]) => listed)

const find = (current: Current, group: GroupNode, id: string) =>
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

export const make = (clients: Clients, abilities: Abilities, settings: Settings, name: GroupName): GroupStore => {
  const { acl, endpoint, requestMillis } = settings
  const group = groupNode(settings, name)
  const path = label(name)
  /** Since when those are registered that were created here: a new value does not make it later. */
  const registrations = new Map<string, number>()

  /** Everything at once. It is exact when nothing that was read is younger than the list of names. */
  const readAll = Effect.fnUntraced(function* (client: Client) {
    const { names, zxid } = yield* linearNamesOf(client, group)
    const found = yield* Effect.forEach(names, (one) => nodeAt(client, group, one), unbounded)
    const exact = found.every(({ mzxid, node }) => node !== undefined && mzxid <= zxid)
    return { exact, entries: membersOf(found.flatMap(({ node }) => node ?? [])), revision: zxid }
  })

  const list = clients.ask("Group.list", "read", ({ client, epoch }) =>
    Effect.gen(function* () {
      for (let reading = 1; ; reading++) {
        const { entries, exact, revision } = yield* readAll(client)
        if (exact || reading === readings) return { entries, revision, epoch } satisfies Snapshot
      }
    })
  )

  const patience = {
    millis: requestMillis,
    orElse: Upstream.broken(endpoint, `No answer within ${Math.round(requestMillis)} ms`)
  }

  const feed = resync<Feed>({
    label: path,
    within: patience,
    start: Effect.flatMap(clients.attached, (current) =>
      Effect.mapError(
        Upstream.start(current, abilities, group, { endpoint, requestMillis }),
        failing(endpoint, "Group.watch", "read")
      )
    ),
    disconnected: (cause) => [{ _tag: "Disconnected", cause }]
  })

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
      const found = yield* Effect.forEach(others, (one) => nodeAt(client, group, one), unbounded)
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

  const create = (session: string, id: string, value: string): Effect.Effect<Creation, CoordinatorError> => {
    const attempt = (current: Current, made: New, left: number): Effect.Effect<Creation, RequestError> =>
      current.id === session
        ? Effect.catchTag(createOnce(current, made), "NoNode", (error: NoNode) =>
            left === 0
              ? Effect.fail(error)
              : Effect.andThen(makeNode(current.client, acl, group.path, group.mode), attempt(current, made, left - 1))
          )
        : Effect.succeed({ _tag: "SessionGone" })
    const failure = failing(endpoint, "Group.create", "write")
    return Effect.catch(
      Effect.withFiber((fiber) => {
        const registeredAt = fiber.getRef(Clock.Clock).currentTimeMillisUnsafe()
        registrations.set(id, registeredAt)
        const data = group.encode(value, { id, registeredAt })
        const made: New = { id, value, data, random: fiber.getRef(Random.Random) }
        return clients.write((current) => attempt(current, made, creations))
      }),
      (error) =>
        isSessionOver(error) && error._tag !== "AuthFailed"
          ? Effect.succeed<Creation>({ _tag: "SessionGone" })
          : Effect.fail(failure(error))
    )
  }

  /** A look at somebody's place by whatever the names say and the nodes that they name. */
  const turnAmong = Effect.fnUntraced(function* (
    current: Current,
    { names, zxid }: Names,
    known: Node | undefined,
    id: string
  ): Effect.fn.Return<Turn, RequestError> {
    const { client } = current
    const own = known ?? memberAmong(yield* nodesOf(client, group, names, id))
    const ahead = own === undefined ? undefined : yield* Turns.ahead(client, group, names, own)
    if (ahead !== undefined) remember(current, group, ahead)
    return { own: Option.fromNullishOr(own), ahead: Option.fromNullishOr(ahead), revision: zxid }
  })

  const turn = (current: Current, id: string, token: bigint): Effect.Effect<Turn, RequestError> => {
    const { client } = current
    const hint = hintOf(current, group, { id, token })
    if (hint === undefined || group.names === "id") {
      const node = hint === undefined ? Effect.undefined : nodeAt(client, group, hint.name)
      return Effect.flatMap(Effect.all([linearNamesOf(client, group), node], unbounded), ([listed, found]) =>
        turnAmong(current, listed, found?.node, id)
      )
    }
    return Effect.callback((resume) => {
      let failed = false
      const fail = (error: RequestError): void => {
        if (!failed) resume(Effect.fail(error))
        failed = true
      }
      const giveUpSync = client.requestUnsafe(P.sync(group.path), (answer) => {
        if (answer._tag === "Failure") fail(answer.failure)
      })
      // Answered after the `sync`.
      const giveUpList = namesOfUnsafe(client, group.path, (answer) => {
        if (answer._tag === "Failure") return fail(answer.failure)
        if (failed) return
        // A protected name is never used twice and a node's owner never changes: who finds the name finds that very node.
        const { names, zxid } = answer.success
        const own = names.includes(hint.name) ? hint : undefined
        resume(
          own !== undefined && Turns.isFirst(names, own.name)
            ? Effect.succeed({ own: Option.some(own), ahead: Option.none(), revision: zxid })
            : turnAmong(current, answer.success, own, id)
        )
      })
      return Effect.sync(() => {
        giveUpSync()
        giveUpList()
      })
    })
  }

  const set = (
    { client, hints }: Current,
    { id, version }: Holding & Pick<Entry, "version">,
    value: string,
    at: string
  ): Effect.Effect<Update, RequestError> =>
    Effect.callback((resume) => {
      const data = group.encode(value, { id, registeredAt: registrations.get(id) ?? 0 })
      return Effect.sync(
        client.requestUnsafe(P.setData(at, data, Number(version)), (answer) => {
          if (answer._tag === "Success") {
            const written = BigInt(answer.success.stat?.version ?? 0)
            const key = `${group.path}/${id}`
            const hint = hints.get(key)
            if (hint !== undefined) hints.set(key, { ...hint, value, version: written })
            return resume(Effect.succeed({ _tag: "Updated", version: written }))
          }
          const { failure } = answer
          const isRefusal = failure._tag === "NoNode" || failure._tag === "BadVersion"
          resume(isRefusal ? refusedUpdate : Effect.fail(failure))
        })
      )
    })

  /** A protected name is never used again, so deleting it twice deletes nothing else. */
  const remove = ({ client, hints }: Current, { id, token }: Holding, at: string | undefined) =>
    Effect.callback<void, RequestError>((resume) => {
      const forget = (): void => {
        const key = `${group.path}/${id}`
        if (hints.get(key)?.token === token) hints.delete(key)
        resume(Effect.void)
      }
      if (at === undefined) return forget()
      return Effect.sync(
        client.requestUnsafe(P.remove(at), (answer) => {
          if (answer._tag === "Success" || answer.failure._tag === "NoNode") forget()
          else resume(Effect.fail(answer.failure))
        })
      )
    })

  return {
    feed,
    follow: (id, known) => Follow.make(clients, abilities, group, { endpoint, label: path, patience }, id, known),
    list,
    read: (id) => clients.ask("Group.read", "read", (current) => find(current, group, id)),
    turn: (id, token) => clients.ask("Group.turn", "read", (current) => turn(current, id, token)),
    create,
    update: (holding, value) =>
      Effect.mapError(
        clients.write((current) =>
          Effect.flatMap(locate(current, group, holding), (at) =>
            at === undefined ? refusedUpdate : set(current, holding, value, at)
          )
        ),
        failing(endpoint, "Group.update", "write")
      ),
    remove: (holding) =>
      clients.ask("Group.remove", "write", (current) =>
        Effect.flatMap(locate(current, group, holding), (at) => remove(current, holding, at))
      ),
    attendUnsafe: (holding, _known, disturbed) => Attention.attendUnsafe(clients.nowUnsafe(), group, holding, disturbed)
  }
}
