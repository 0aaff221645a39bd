/** One group of ZooKeeper's: its requests, its feed, and the following of single entries. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import type { CoordinatorError } from "../../CoordinatorError.ts"
import type { GroupName } from "../../Group.ts"
import { label } from "../../Group.ts"
import { resync } from "../../internal/resync.ts"
import type * as Store from "../../internal/store.ts"
import type { Entry, Feed, GroupStore, Holding, Snapshot, Turn, Update } from "../../internal/store.ts"
import type { Abilities } from "./abilities.ts"
import * as Attention from "./attention.ts"
import type { Client } from "./client.ts"
import type { Clients, Current } from "./clients.ts"
import * as Creation from "./creation.ts"
import type { RequestError } from "./errors.ts"
import { failing, isSessionOver } from "./failure.ts"
import * as Follow from "./follow.ts"
import { find, hintOf, linearNamesOf, locate, remember } from "./hints.ts"
import type { Names, Node, Places } from "./nodes.ts"
import { groupNode, memberAmong, membersOf, namesOfUnsafe, nodeAt, nodesOf } from "./nodes.ts"
import type { Acl } from "./protocol.ts"
import * as P from "./protocol.ts"
import * as Turns from "./turns.ts"
import * as Upstream from "./upstream.ts"

export interface Settings extends Places {
  readonly endpoint: string
  readonly acl: ReadonlyArray<Acl>
  readonly requestMillis: number
}

/** A group that changes while it is read is read again this often, before it is shown as it was found. */
const readings = 3

const refusedUpdate: Effect.Effect<Update> = Effect.succeed({ _tag: "Refused" })

const unbounded = { concurrency: "unbounded" } as const

export const make = (clients: Clients, abilities: Abilities, settings: Settings, name: GroupName): GroupStore => {
  const { acl, endpoint, requestMillis } = settings
  const group = groupNode(settings, name)
  const path = label(name)
  const createNode = Creation.make(group, acl)
  /** Since when those are registered that were created here, in the form that says so: a new value does not make it later. */
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

  const create = (session: string, id: string, value: string): Effect.Effect<Store.Creation, CoordinatorError> => {
    const failure = failing(endpoint, "Group.create", "write")
    return Effect.catch(
      Effect.withFiber((fiber) => {
        const registeredAt = fiber.getRef(Clock.Clock).currentTimeMillisUnsafe()
        if (group.names === "id") registrations.set(id, registeredAt)
        const data = group.encode(value, { id, registeredAt })
        const made: Creation.New = { id, value, data, random: fiber.getRef(Random.Random) }
        return clients.write((current) =>
          current.id === session ? createNode(current, made) : Effect.succeed<Store.Creation>({ _tag: "SessionGone" })
        )
      }),
      (error) =>
        isSessionOver(error) && error._tag !== "AuthFailed"
          ? Effect.succeed<Store.Creation>({ _tag: "SessionGone" })
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
        registrations.delete(id)
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
