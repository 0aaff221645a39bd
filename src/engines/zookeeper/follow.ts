/** A single entry, followed by the watch of its own node. */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { CoordinatorError } from "../../CoordinatorError.ts"
import { resync, WatchBroken } from "../../internal/resync.ts"
import type { Followed } from "../../internal/store.ts"
import type { Abilities } from "./abilities.ts"
import type { Clients, Current } from "./clients.ts"
import type { GiveUp } from "./exchange.ts"
import { failing } from "./failure.ts"
import type { GroupNode, Node } from "./nodes.ts"
import { found, idOf, memberAmong, namesOf, nodesOf } from "./nodes.ts"
import { readAndWatch } from "./oneShot.ts"
import * as P from "./protocol.ts"
import { endOf, watch } from "./upstream.ts"
import type { Listener } from "./watches.ts"

export interface Settings {
  readonly endpoint: string
  readonly label: string
  readonly patience: { readonly millis: number; readonly orElse: CoordinatorError }
}

type Told = Stream.Stream<Followed, CoordinatorError | WatchBroken>

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
    const failure = failing(endpoint, "Group.follow", "read")

    /** Each reading sets the watch that tells of the next change, on the next connection too. */
    const byNode = ({ client, hints }: Current, hint: Node): Effect.Effect<Told, never, Scope.Scope> => {
      const question = P.getData(`${group.path}/${hint.name}`, true)
      let newest: Followed | undefined
      let ended: Effect.Effect<never, CoordinatorError | WatchBroken> | undefined
      let begun: (() => void) | undefined
      let waiting: ((next: Effect.Effect<[Followed], CoordinatorError | WatchBroken>) => void) | undefined
      let giveUp: GiveUp = () => {}

      const tell = (): void => {
        begun?.()
        begun = undefined
        if (waiting === undefined) return
        const resume = waiting
        if (newest !== undefined) {
          const told = newest
          newest = undefined
          waiting = undefined
          resume(Effect.succeed([told]))
        } else if (ended !== undefined) {
          waiting = undefined
          resume(ended)
        }
      }
      const end = (error: CoordinatorError | WatchBroken): void => {
        ended = Effect.fail(error)
        tell()
      }
      const isGone = (revision: bigint): void => {
        if (hints.get(key)?.name === hint.name) hints.delete(key)
        newest = { entry: Option.none(), revision }
        end(new WatchBroken({ why: "ended" }))
      }
      /** Told at once, without a further question: who waits for a turn waits for this. It is not older than what was known. */
      const hasGone = (): void => {
        const seen = client.lastZxid()
        isGone(seen > known ? seen : known)
      }
      const hear: Listener = (notice) => {
        if (notice._tag !== "Event") {
          const over = endOf(endpoint, notice)
          return over === undefined ? undefined : end(over)
        }
        if (notice.event.type !== "deleted") return look()
        hasGone()
      }
      const look = (): void => {
        giveUp = readAndWatch(
          client,
          "data",
          question,
          (answer) => {
            const read = found(group, hint.name, answer)
            if (read._tag === "Failure") return end(failure(read.failure))
            const { node, zxid } = read.success
            if (node === undefined) return isGone(zxid)
            newest = { entry: Option.some(node), revision: zxid }
            tell()
          },
          hear
        )
      }
      const next = Effect.callback<[Followed], CoordinatorError | WatchBroken>((resume) => {
        waiting = resume
        tell()
      })
      const first = Effect.callback<void>((resume) => {
        begun = () => resume(Effect.void)
        look()
      })
      return Effect.addFinalizer(() => Effect.sync(() => giveUp())).pipe(
        Effect.andThen(first),
        Effect.as(Stream.fromPull(Effect.succeed(next)))
      )
    }

    const byGroup = Effect.fnUntraced(function* ({
      client,
      hints
    }: Current): Effect.fn.Return<Told, CoordinatorError, Scope.Scope> {
      const queue = yield* Queue.unbounded<"changed", CoordinatorError>()
      const watching = watch(abilities, client, group.path, (notice) => {
        const error = endOf(endpoint, notice)
        if (error !== undefined) return void Queue.failCauseUnsafe(queue, Cause.fail(error))
        if (notice._tag !== "Event" || idOf(notice.event.path.slice(group.path.length + 1)) !== id) return
        Queue.offerUnsafe(queue, "changed")
      })
      const look = Effect.gen(function* () {
        const { names, zxid } = yield* namesOf(client, group.path)
        const node = memberAmong(yield* nodesOf(client, group, names, id))
        if (node === undefined) hints.delete(key)
        return { entry: Option.fromNullishOr(node), revision: zxid } satisfies Followed
      }).pipe(Effect.mapError(failure))
      const [, first] = yield* Effect.all([Effect.mapError(watching, failure), look], {
        concurrency: abilities.recursive === false ? 1 : "unbounded"
      })
      return Stream.concat(
        Stream.make(first),
        Stream.mapEffect(Stream.fromQueue(queue), () => look)
      )
    })

    const start = Effect.flatMap(clients.attached, (current): Effect.Effect<Told, CoordinatorError, Scope.Scope> => {
      const hint = current.hints.get(key)
      return hint === undefined ? byGroup(current) : byNode(current, hint)
    })

    return resync<Followed>({ label, within: patience, start, disconnected: () => [] }).pipe(
      Stream.ensuring(
        Effect.map(
          Effect.sync(() => clients.nowUnsafe()),
          (current) => {
            const hint = current?.hints.get(key)
            // Others' names are of use while somebody waits for them; one's own until one leaves.
            if (hint !== undefined && hint.owner !== current?.id) current?.hints.delete(key)
          }
        )
      )
    )
  })
