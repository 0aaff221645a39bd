/** One group of ZooKeeper's: its requests, its feed, and the following of single entries. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import type { CoordinatorError } from "../../CoordinatorError.ts"
import type { GroupName } from "../../Group.ts"
import { label } from "../../Group.ts"
import { resync } from "../../internal/resync.ts"
import type { Creation, Feed, GroupStore, Holding, Snapshot, Update } from "../../internal/store.ts"
import type { Abilities } from "./abilities.ts"
import type { Client } from "./client.ts"
import type { Clients, Current } from "./clients.ts"
import type { NoNode, RequestError } from "./errors.ts"
import { failing, isSessionOver } from "./failure.ts"
import * as Follow from "./follow.ts"
import * as Lists from "./lists.ts"
import type { GroupNode, Node, Places } from "./nodes.ts"
import { groupNode, memberAmong, membersOf, namesOf, nodeAt, nodesOf, protectedName } from "./nodes.ts"
import type { Acl } from "./protocol.ts"
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

const unbounded = { concurrency: "unbounded" } as const

/** What tells the node of a creation whose answer is lost from every other. */
const guid = Effect.map(
  Effect.forEach([0, 1, 2, 3], () => Random.nextIntBetween(0, 0x7fffffff)),
  (parts) => parts.map((part) => part.toString(16).padStart(8, "0")).join("")
)

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
const hintOf = ({ hints }: Current, group: GroupNode, { id, token }: Holding): string | undefined => {
  const hint = hints.get(`${group.path}/${id}`)
  return hint?.token === token ? hint.name : undefined
}

const remember = (current: Current, group: GroupNode, node: Node): void => {
  const own = node.owner === current.id
  current.hints.set(`${group.path}/${node.id}`, { name: node.name, token: node.token, own })
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
  Effect.gen(function* () {
    const { client } = current
    if (group.names === "id") {
      // What ZooKeeper compares in a write is the version alone, which another program's node may have as well.
      const [, { node }] = yield* Effect.all([client.sync(group.path), nodeAt(client, group, holding.id)], unbounded)
      return isHolding(node, holding) ? `${group.path}/${holding.id}` : undefined
    }
    const hint = hintOf(current, group, holding)
    if (hint !== undefined) return `${group.path}/${hint}`
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

  /** The node of a creation whose answer was lost. By the time of the next connection nothing of the old one can be applied any more. */
  const recover = Effect.fnUntraced(function* (client: Client, unique: string) {
    yield* client.attached
    const { names } = yield* linearNamesOf(client, group)
    const name = names.find((one) => one.startsWith(unique))
    return name === undefined ? undefined : (yield* nodeAt(client, group, name)).node
  })

  const createNode = (client: Client, unique: string, data: Uint8Array) =>
    client.create(`${group.path}/${unique}`, { mode: "ephemeralSequential", data, acl }).pipe(
      Effect.map(({ path: created, stat }) => ({
        name: created.slice(group.path.length + 1),
        token: stat?.czxid ?? 0n
      })),
      Effect.catchIf(
        (error) => error._tag === "ConnectionLost" && error.sent,
        (error) =>
          Effect.flatMap(recover(client, unique), (found) =>
            found === undefined ? Effect.fail(error) : Effect.succeed({ name: found.name, token: found.token })
          )
      )
    )

  /** The names as they are after whatever was asked for in this session before. */
  const namesSince = ({ client, lists }: Current) => {
    const known = lists.get(group.path)
    if (known !== undefined) return known
    const names = Effect.map(namesOf(client, group.path), (found) => Lists.listed(found.names))
    const list = Lists.shared(names, () => lists.delete(group.path))
    lists.set(group.path, list)
    return list
  }

  /** Creates the node that has the id as its name, unless there is one. */
  const createNamed = Effect.fnUntraced(function* (
    current: Current,
    id: string,
    data: Uint8Array
  ): Effect.fn.Return<Creation, RequestError> {
    const { client } = current
    for (let left = creations; ; left--) {
      const created = yield* Effect.result(client.create(`${group.path}/${id}`, { mode: "ephemeral", data, acl }))
      if (created._tag === "Success") {
        const token = created.success.stat?.czxid ?? 0n
        current.hints.set(`${group.path}/${id}`, { name: id, token, own: true })
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

  /** Creates a node, and looks in the same go who else is there under the id. */
  const createProtected = Effect.fnUntraced(function* (
    current: Current,
    id: string,
    data: Uint8Array
  ): Effect.fn.Return<Creation, RequestError> {
    const { client, strays } = current
    const stray = { group, id, unique: protectedName(yield* guid, id) }
    strays.add(stray)
    const [created, listed] = yield* Effect.all(
      [Effect.result(createNode(client, stray.unique, data)), Effect.result(namesSince(current))],
      unbounded
    )
    if (created._tag === "Failure") {
      const { failure } = created
      if (failure._tag !== "ConnectionLost" || !failure.sent) strays.delete(stray)
      return yield* failure
    }
    const { name, token } = created.success
    // A list that does not show the node was answered before it was there, and may lack others that were.
    const { byId } =
      listed._tag === "Success" && listed.success.names.has(name) ? listed.success : yield* namesSince(current)
    const others = (byId.get(id) ?? []).filter((one) => one !== name)
    const rivals = yield* nodesOf(client, group, others, id)
    const holder = memberAmong(rivals.filter((rival) => rival.token < token))
    if (holder === undefined) {
      strays.delete(stray)
      current.hints.set(`${group.path}/${id}`, { name, token, own: true })
      return { _tag: "Created", token, version: 0n }
    }
    yield* Effect.catchTag(client.remove(`${group.path}/${name}`), "NoNode", () => Effect.void)
    strays.delete(stray)
    remember(current, group, holder)
    return { _tag: "Occupied", entry: holder }
  })

  const createOnce = group.names === "id" ? createNamed : createProtected

  const create = (session: string, id: string, value: string): Effect.Effect<Creation, CoordinatorError> => {
    const attempt = (current: Current, data: Uint8Array, left: number): Effect.Effect<Creation, RequestError> =>
      current.id === session
        ? Effect.catchTag(createOnce(current, id, data), "NoNode", (error: NoNode) =>
            left === 0
              ? Effect.fail(error)
              : Effect.andThen(makeNode(current.client, acl, group.path, group.mode), attempt(current, data, left - 1))
          )
        : Effect.succeed({ _tag: "SessionGone" })
    return clients
      .write((current) =>
        Effect.flatMap(Clock.currentTimeMillis, (registeredAt) => {
          registrations.set(id, registeredAt)
          return attempt(current, group.encode(value, { id, registeredAt }), creations)
        })
      )
      .pipe(
        Effect.catchIf(
          (error) => isSessionOver(error) && error._tag !== "AuthFailed",
          () => Effect.succeed<Creation>({ _tag: "SessionGone" })
        ),
        Effect.mapError(failing(endpoint, "Group.create", "write"))
      )
  }

  return {
    feed,
    follow: (id, known) => Follow.make(clients, abilities, group, { endpoint, label: path, patience }, id, known),
    list,
    read: (id) => clients.ask("Group.read", "read", (current) => find(current, group, id)),
    turn: (id, token) =>
      clients.ask("Group.turn", "read", (current) =>
        Effect.gen(function* () {
          const { client } = current
          const hint = hintOf(current, group, { id, token, owner: current.id })
          const [, { names, zxid }, hinted] = yield* Effect.all(
            [
              client.sync(group.path),
              namesOf(client, group.path),
              hint === undefined ? Effect.undefined : nodeAt(client, group, hint)
            ],
            unbounded
          )
          const own = hinted?.node ?? memberAmong(yield* nodesOf(client, group, names, id))
          const ahead = own === undefined ? undefined : yield* Turns.ahead(client, group, names, own)
          if (ahead !== undefined) remember(current, group, ahead)
          return { own: Option.fromNullishOr(own), ahead: Option.fromNullishOr(ahead), revision: zxid }
        })
      ),
    create,
    update: (holding, value) =>
      clients
        .write((current) =>
          Effect.gen(function* () {
            const at = yield* locate(current, group, holding)
            if (at === undefined) return { _tag: "Refused" } as const
            const registeredAt = registrations.get(holding.id) ?? 0
            const data = group.encode(value, { id: holding.id, registeredAt })
            const { stat } = yield* current.client.setData(at, data, Number(holding.version))
            return { _tag: "Updated", version: BigInt(stat?.version ?? 0) } as const
          })
        )
        .pipe(
          Effect.catchTag(["NoNode", "BadVersion"], () => Effect.succeed<Update>({ _tag: "Refused" })),
          Effect.mapError(failing(endpoint, "Group.update", "write"))
        ),
    // A protected name is never used again, so deleting it twice deletes nothing else.
    remove: (holding) =>
      clients.ask("Group.remove", "write", (current) =>
        Effect.gen(function* () {
          const at = yield* locate(current, group, holding)
          if (at !== undefined) yield* Effect.catchTag(current.client.remove(at), "NoNode", () => Effect.void)
          const key = `${group.path}/${holding.id}`
          if (current.hints.get(key)?.token === holding.token) current.hints.delete(key)
        })
      )
  }
}
