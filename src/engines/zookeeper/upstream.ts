/** A group's watch and the reads that follow it, as a stream. */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { CoordinatorError, Unreachable } from "../../CoordinatorError.ts"
import type { Feed } from "../../internal/store.ts"
import type { Abilities } from "./abilities.ts"
import type { Begun, Gap } from "./childWatch.ts"
import { watchChildren } from "./childWatch.ts"
import type { Client } from "./client.ts"
import type { Current } from "./clients.ts"
import type { RequestError } from "./errors.ts"
import { engine, failing } from "./failure.ts"
import type { Found, GroupNode } from "./nodes.ts"
import { namesOf, nodeAt } from "./nodes.ts"
import * as Views from "./views.ts"
import type { Listener } from "./watches.ts"

export interface Settings {
  readonly endpoint: string
  readonly requestMillis: number
}

/** For how long what is known is held back because the group does not stop changing. */
const longestUnsettledMillis = 1_000

/** A recursive watch, where the servers are thought to know such. */
const watchRecursively = (abilities: Abilities, client: Client, path: string, listener: Listener) =>
  Effect.tapError(client.watch(path, listener), (error) =>
    Effect.sync(() => {
      // The server hangs up after this answer; the next attempt watches in the way that it knows.
      if (error._tag === "Unimplemented") abilities.recursive = false
    })
  )

/** Watches the path and what is right below it. */
export const watch = (
  abilities: Abilities,
  client: Client,
  path: string,
  listener: Listener
): Effect.Effect<void, RequestError, Scope.Scope> =>
  abilities.recursive === false
    ? Effect.asVoid(watchChildren(client, path, listener))
    : watchRecursively(abilities, client, path, listener)

/** Watches a group and lists it: what the list does not show the watch tells, and the server has caught up before it lists. */
const begin = (
  abilities: Abilities,
  client: Client,
  path: string,
  listener: Listener,
  onGap: (gap: Gap) => void
): Effect.Effect<Begun, RequestError, Scope.Scope> =>
  // All at once, in this order.
  abilities.recursive === false
    ? Effect.map(
        Effect.all([client.sync(path), watchChildren(client, path, listener, onGap)], { concurrency: "unbounded" }),
        ([, begun]) => begun
      )
    : Effect.map(
        Effect.all([watchRecursively(abilities, client, path, listener), client.sync(path), namesOf(client, path)], {
          concurrency: "unbounded"
        }),
        ([, , listed]) => listed
      )

/** Why a watch cannot go on, as the failure of the stream. */
export const broken = (endpoint: string, detail: string): CoordinatorError =>
  new CoordinatorError({ engine, operation: "Group.watch", endpoint, reason: new Unreachable({ detail }) })

/** A notice that ends what is watched on this connection. */
export const endOf = (endpoint: string, notice: Parameters<Listener>[0]): CoordinatorError | undefined => {
  switch (notice._tag) {
    case "Interrupted":
    case "Restored":
      return broken(endpoint, "The connection was interrupted")
    case "Over":
      return broken(endpoint, notice.reason.message)
    case "Event":
      return undefined
  }
}

/**
 * Begins to watch and lists; what follows begins with a snapshot and goes on for as long as the connection. It is told when
 * the group is known exactly, and of a group that changes faster than it can be read, what is known of it now and then.
 */
export const start = Effect.fnUntraced(function* (
  { client, epoch }: Current,
  abilities: Abilities,
  group: GroupNode,
  { endpoint, requestMillis }: Settings
): Effect.fn.Return<Stream.Stream<Feed, CoordinatorError>, RequestError, Scope.Scope> {
  const queue = yield* Queue.unbounded<Views.Event, CoordinatorError>()
  const prefix = `${group.path}/`
  const fail = (error: CoordinatorError) => Queue.failCauseUnsafe(queue, Cause.fail(error))
  const listener: Listener = (notice) => {
    if (notice._tag !== "Event") return void fail(endOf(endpoint, notice) ?? broken(endpoint, "The watch has ended"))
    const { path, type } = notice.event
    const name = path.slice(prefix.length)
    // The group's own coming and going, and what is below its members.
    if (!path.startsWith(prefix) || name.includes("/")) return
    Queue.offerUnsafe(queue, type === "deleted" ? { _tag: "Removed", name } : { _tag: "Changed", name })
  }
  const onGap = (gap: Gap) => void Queue.offerUnsafe(queue, gap)
  const scope = yield* Effect.scope
  const listed = yield* begin(abilities, client, group.path, listener, onGap)
  Queue.offerUnsafe(queue, { _tag: "Listed", names: listed.names, revision: listed.zxid })

  const look = (name: string): Effect.Effect<Pick<Found, "node" | "zxid">, RequestError> =>
    name === Views.theGroup
      ? Effect.map(client.exists(group.path), ({ zxid }) => ({ node: undefined, zxid }))
      : nodeAt(client, group, name)

  const read = ({ name, read: number }: Views.Read) =>
    look(name).pipe(
      Effect.match({
        onFailure: (error) => void fail(failing(endpoint, "Group.watch", "read")(error)),
        onSuccess: ({ node, zxid }) =>
          void Queue.offerUnsafe(queue, { _tag: "Read", name, read: number, node, revision: zxid })
      }),
      Effect.forkIn(scope, { startImmediately: true })
    )

  let state = Views.initial
  /** The revision up to which everything was shown. */
  let shown: bigint | undefined
  let unsettledSince: number | undefined

  const late = broken(endpoint, `No answer within ${Math.round(requestMillis)} ms`)

  /** The silence of a connection is noticed below; a server that answers everything but what is due is noticed here. */
  const events = Effect.suspend(() =>
    Views.isSettled(state)
      ? Queue.takeAll(queue)
      : Effect.timeoutOrElse(Queue.takeAll(queue), { duration: requestMillis, orElse: () => Effect.fail(late) })
  )

  /** Whether the group has not been known exactly for so long that it is shown as it is known. */
  const isOverdue = Effect.map(Clock.currentTimeMillis, (now) => {
    unsettledSince ??= now
    if (!Views.isComplete(state) || now - unsettledSince < longestUnsettledMillis) return false
    unsettledSince = now
    return true
  })

  const show = (unsettled: CoordinatorError | undefined): Feed => {
    const { puts, removes, state: told } = Views.differences(state)
    state = told
    const before = shown
    // What is shown unsettled may lack anything that came after the last time that the group was known, or was listed.
    const revision = unsettled === undefined ? state.revision : (shown ?? state.listedAt ?? 0n)
    shown = revision
    // Changes of no later revision would be taken for old ones. ZooKeeper orders its events before its answers, so that none
    // should come; if one does, nobody may stay deaf to it.
    return before !== undefined && (revision > before || unsettled !== undefined)
      ? { _tag: "Changes", revision, puts, removes, unsettled }
      : { _tag: "Snapshot", snapshot: { entries: Views.members(state), revision, epoch }, unsettled }
  }

  const next: Effect.Effect<Feed, CoordinatorError> = Effect.gen(function* () {
    while (true) {
      const step = Views.steps(state, yield* events)
      state = step.state
      for (const one of step.reads) yield* read(one)
      if (Views.isSettled(state)) {
        unsettledSince = undefined
        return show(undefined)
      }
      if (yield* isOverdue) return show(broken(endpoint, "The group changes faster than it can be read"))
    }
  })

  return Stream.fromEffectRepeat(next)
})
