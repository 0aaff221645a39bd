/** A single entry, followed by the watch of its own node. */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import * as Stream from "effect/Stream"
import type { CoordinatorError } from "../../CoordinatorError.ts"
import { resync, WatchBroken } from "../../internal/resync.ts"
import type { Followed } from "../../internal/store.ts"
import type { Abilities } from "./abilities.ts"
import type { Clients } from "./clients.ts"
import { failing } from "./failure.ts"
import type { GroupNode } from "./nodes.ts"
import { idOf, memberAmong, namesOf, nodeAt, nodesOf } from "./nodes.ts"
import { endOf, watch } from "./upstream.ts"

export interface Settings {
  readonly endpoint: string
  readonly label: string
  readonly patience: { readonly millis: number; readonly orElse: CoordinatorError }
}

/**
 * Follows a member by its id. Its node's name is known to who has just read or created it; otherwise the group is asked, and
 * watched, because a member that is not there yet has no name. What ends the watch, such as the member's going, has the next round
 * find out who is there then.
 */
export const make = (
  clients: Clients,
  abilities: Abilities,
  group: GroupNode,
  { endpoint, label, patience }: Settings,
  id: string,
  known = 0n
): Stream.Stream<Followed, CoordinatorError> =>
  Stream.suspend(() => {
    const key = `${group.path}/${id}`

    const start = Effect.gen(function* () {
      const current = yield* clients.attached
      const { client, hints } = current
      const hint = hints.get(key)
      const queue = yield* Queue.unbounded<"changed" | "gone", CoordinatorError>()
      const isMine = (name: string): boolean => (hint === undefined ? idOf(name) === id : name === hint.name)
      const watching = watch(
        abilities,
        client,
        hint === undefined ? group.path : `${group.path}/${hint.name}`,
        (notice) => {
          const error = endOf(endpoint, notice)
          if (error !== undefined) return void Queue.failCauseUnsafe(queue, Cause.fail(error))
          if (notice._tag !== "Event" || !isMine(notice.event.path.slice(group.path.length + 1))) return
          Queue.offerUnsafe(queue, notice.event.type === "deleted" ? "gone" : "changed")
        }
      )
      const read = Effect.gen(function* () {
        if (hint !== undefined) return yield* nodeAt(client, group, hint.name)
        const { names, zxid } = yield* namesOf(client, group.path)
        return { node: memberAmong(yield* nodesOf(client, group, names, id)), zxid }
      })
      const failure = failing(endpoint, "Group.follow", "read")
      const look = Effect.map(Effect.mapError(read, failure), ({ node, zxid }): Followed => {
        if (node === undefined) hints.delete(key)
        return { entry: Option.fromNullishOr(node), revision: zxid }
      })
      const [, first] = yield* Effect.all([Effect.mapError(watching, failure), look], {
        concurrency: abilities.recursive === false ? 1 : "unbounded"
      })
      if (hint !== undefined && Option.isNone(first.entry)) {
        return Stream.concat(Stream.make(first), Stream.fail(new WatchBroken({ why: "ended" })))
      }
      const changes = Stream.mapEffect(Stream.fromQueue(queue), (what) => {
        if (what === "changed" || hint === undefined) return look
        hints.delete(key)
        // Told at once, without a further question: who waits for a turn waits for this. It is not older than what was known.
        const seen = client.lastZxid()
        return Effect.succeed<Followed>({ entry: Option.none(), revision: seen > known ? seen : known })
      })
      return hint === undefined
        ? Stream.concat(Stream.make(first), changes)
        : Stream.concat(
            Stream.make(first),
            Stream.takeUntil(changes, ({ entry }) => Option.isNone(entry))
          )
    })

    return resync<Followed>({ label, within: patience, start, disconnected: () => [] }).pipe(
      Stream.ensuring(
        Effect.map(
          Effect.sync(() => clients.nowUnsafe()),
          (current) => {
            // Others' names are of use while somebody waits for them; one's own until one leaves.
            if (current?.hints.get(key)?.own === false) current.hints.delete(key)
          }
        )
      )
    )
  })
