/**
 * Which one of how many am I: a place in line for each process, and work divided by it.
 *
 * **When to use**
 *
 * Use it where the same program runs several times and each process takes its share: partitions of a queue, shards of a
 * table, one slot of a schedule.
 *
 * **Gotchas**
 *
 * Between processes seats may overlap for as long as their watches differ: each learns of a change on its own, so for that
 * moment, and for as long as one cannot reach the store (at most until its session's deadline), two may hold one index. With
 * `exclusive: true` a body starts only when every member of the new division has stopped its old one. The token fences an
 * index, not a partition: a partition whose writes need a fence takes a `Lock`.
 *
 * **Details**
 *
 * Seats are given in the order of joining: index 0 has been here longest. Who leaves or loses its session moves those
 * behind it up by one. A process that comes back sits at the end.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { dual } from "effect/Function"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { Coordinator } from "./Coordinator.ts"
import type { CoordinatorError } from "./CoordinatorError.ts"
import type { GroupName } from "./Group.ts"
import { label } from "./Group.ts"
import * as metrics from "./internal/metrics.ts"
import { millisOf } from "./internal/options.ts"
import * as rendezvous from "./internal/rendezvous.ts"
import type { Seated } from "./internal/sequenceAcks.ts"
import * as sequenceExclusive from "./internal/sequenceExclusive.ts"
import type { Seating } from "./internal/sequencePlace.ts"
import * as sequencePlace from "./internal/sequencePlace.ts"
import type { Tenure } from "./internal/tenure.ts"
import { hold } from "./internal/tenure.ts"
import { MembershipLost } from "./Membership.ts"
import type { MemberConflict } from "./Membership.ts"

/**
 * The name that all members share. Made by {@link make}.
 *
 * @category models
 * @since 0.1.0
 */
export interface Definition {
  readonly name: string
  readonly group: GroupName
}

/**
 * One place in the line, as one view of the group showed it.
 *
 * **Details**
 *
 * - `index` counts from 0 to `count - 1`; `members` are all ids in that order, the own `id` among them.
 * - `token` is the place's fencing token. It changes only when the place was lost and taken again.
 * - `revision` is the view's.
 *
 * @category models
 * @since 0.1.0
 */
export interface Seat {
  readonly id: string
  readonly index: number
  readonly count: number
  readonly token: bigint
  readonly revision: bigint
  readonly members: ReadonlyArray<string>
}

/**
 * How to take a place.
 *
 * **Details**
 *
 * - `id`: names the member. Default: the coordinator's node.
 * - `onConflict`: what to do while another live process holds the id. Default `"wait"`.
 *
 * @category models
 * @since 0.1.0
 */
export interface JoinOptions {
  readonly id?: string | undefined
  readonly onConflict?: "wait" | "fail" | undefined
}

/**
 * How to run a body by its seat.
 *
 * **Details**
 *
 * - `settle`: how long the members must stay the same before the body starts, so that a burst of changes costs one
 *   restart. Default: none. The old body stops at the first change, not after this.
 * - `exclusive`: start only when every member of the view has stopped its old body. Default `false`. All members of a
 *   sequence must agree on it: one that does not take part keeps the others from starting.
 *
 * @category models
 * @since 0.1.0
 */
export interface RunOptions extends JoinOptions {
  readonly settle?: Duration.Input | undefined
  readonly exclusive?: boolean | undefined
}

/**
 * Defines a sequence. It never throws: a name that cannot be used is an `InvalidOptions` failure of the first operation.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (name: string): Definition => ({ name, group: { kind: "sequence", name } })

/**
 * Takes a place while the stream runs, and tells which one: now, and at every change.
 *
 * **Details**
 *
 * None means that the place is not known to be held: not seen in a view yet, lost, or the store cannot be seen. Repeats are
 * dropped, and a slow reader gets the newest seat, not a backlog. The place is left when the stream ends.
 *
 * **Example** (Joining a line)
 *
 * ```ts
 * import { Effect, Option, Stream } from "effect"
 * import { Memory, Sequence } from "effect-ensemble"
 *
 * const Shards = Sequence.make("shards")
 * const program = Sequence.join(Shards).pipe(
 *   Stream.filter(Option.isSome),
 *   Stream.map((seat) => `${seat.value.index} of ${seat.value.count}`),
 *   Stream.take(1),
 *   Stream.runCollect
 * )
 * console.log(await Effect.runPromise(program.pipe(Effect.provide(Memory.layer())))) // => [ '0 of 1' ]
 * ```
 *
 * @category streams
 * @since 0.1.0
 */
export const join = (
  self: Definition,
  options: JoinOptions = {}
): Stream.Stream<Option.Option<Seat>, CoordinatorError | MemberConflict, Coordinator> =>
  Stream.unwrap(
    Effect.gen(function* () {
      const coordinator = yield* Coordinator
      return sequencePlace.seats(yield* sequencePlace.sit(coordinator.group(self.group), options))
    })
  )

/** Waits until the place is seated and its members have stayed the same for that long. */
const quiet = Effect.fnUntraced(function* ({ changed, place }: Seating, settleMillis: number) {
  while (true) {
    yield* changed.until(() => place()._tag === "Seated")
    const before = place()
    if (before._tag !== "Seated") continue
    if (settleMillis === 0) return before
    const moved = yield* Effect.timeoutOption(
      changed.until(() => {
        const now = place()
        return now._tag !== "Seated" || !sequencePlace.sameContent(now.content, before.content)
      }),
      settleMillis
    )
    if (Option.isNone(moved)) return before
  }
})

/** The seat as something to be held: over when its token is. */
const tenureOf = (self: Definition, { changed, mine, place, status }: Seating, seat: Seat): Tenure => {
  const loss = Effect.suspend(() => {
    const now = status()
    const cause = now._tag === "Rejoining" || now._tag === "Lost" ? now.cause : "EntryGone"
    return Effect.fail(new MembershipLost({ group: label(self.group), id: seat.id, cause }))
  })
  return {
    group: self.group,
    id: seat.id,
    token: seat.token,
    ensure: Effect.flatMap(mine.ensure, (token) => (token === seat.token ? Effect.succeed(token) : loss)),
    lost: Effect.andThen(
      changed.until(() => sequencePlace.isOver(place(), seat.token)),
      loss
    )
  }
}

/** A seat that a body may run for, and whether it has to stop though the place is held. */
interface Turn {
  readonly seat: Seat
  readonly isMoved: () => boolean
}

/**
 * Takes a place and runs a body by its seat, anew whenever the seat changes. It never returns: it ends by
 * interruption, or by the failure of the body, of the store for good, or of joining.
 *
 * **When to use**
 *
 * Use it for work that is divided by {@link assign}: each process works on its partitions and begins again with others when
 * somebody comes or goes.
 *
 * **Details**
 *
 * - The body starts anew when the index, the count or the members change. The old one has stopped, with its finalizers,
 *   before the new one starts. The body's own scope closes with it.
 * - A body that returns has done its work for this seat: the seat is kept, and the body starts again at the next change.
 * - When the place is lost the body is interrupted, by the session's deadline at the latest. The place is then taken again,
 *   at the end of the line.
 * - While the store cannot be seen the body goes on until that deadline: others count the seat until then as well.
 * - With `exclusive` a member that has died is waited for until its session ends, and one whose body does not stop is
 *   waited for without end.
 *
 * **Gotchas**
 *
 * Without `exclusive` the body may run for a moment beside another process's body of the former division.
 *
 * **Example** (Dividing partitions)
 *
 * ```ts
 * import { Deferred, Effect } from "effect"
 * import { Memory, Sequence } from "effect-ensemble"
 *
 * const Shards = Sequence.make("shards")
 * const program = Effect.gen(function*() {
 *   const done = yield* Deferred.make<ReadonlyArray<number>>()
 *   const consumer = Sequence.run(Shards, (seat) => Deferred.succeed(done, Sequence.assign(seat, 4)), {
 *     settle: "10 millis",
 *     exclusive: true
 *   })
 *   return yield* Effect.raceFirst(consumer, Deferred.await(done))
 * })
 * console.log(await Effect.runPromise(program.pipe(Effect.provide(Memory.layer())))) // => [ 0, 1, 2, 3 ]
 * ```
 *
 * @category running
 * @since 0.1.0
 */
export const run = <A, E, R>(
  self: Definition,
  body: (seat: Seat) => Effect.Effect<A, E, R>,
  options: RunOptions = {}
): Effect.Effect<never, E | CoordinatorError | MemberConflict, Coordinator | Exclude<R, Scope.Scope>> =>
  Effect.gen(function* () {
    const coordinator = yield* Coordinator
    const settleMillis = yield* millisOf(coordinator, "Sequence.run", "settle", options.settle ?? 0)
    const group = coordinator.group(self.group)
    const name = label(self.group)
    const seating = yield* sequencePlace.sit(group, options)
    const exclusive = options.exclusive
      ? yield* sequenceExclusive.join(group, coordinator.group({ kind: "sequence-ack", name: self.name }), seating)
      : undefined

    const clear = (at: Seated): Effect.Effect<Turn | undefined, CoordinatorError> =>
      exclusive === undefined
        ? Effect.succeed({
            seat: at.seat,
            isMoved: () => {
              const now = seating.place()
              return now._tag === "Seated" && !sequencePlace.sameSeat(now.seat, at.seat)
            }
          })
        : Effect.map(exclusive.clear(at), (standing) =>
            standing === undefined ? undefined : { seat: standing.seat, isMoved: () => exclusive.isMoved(standing) }
          ).pipe(Effect.withSpan("Sequence.clear", { attributes: { group: name, id: at.seat.id } }))

    /** Runs the body until it has failed, or until the seat is another one; by then it has stopped. */
    const sitThrough = Effect.fnUntraced(function* ({ isMoved, seat }: Turn) {
      const { count, id, index } = seat
      const tenure = tenureOf(self, seating, seat)
      const outcome = yield* Effect.raceFirst(
        seating.changed.until(isMoved),
        hold(coordinator, group, tenure, {
          verb: "holds",
          body: Effect.scoped(body(seat)).pipe(
            Effect.withSpan("Sequence.seat", {
              attributes: { group: name, id, index, count, token: String(seat.token) }
            })
          ),
          onOverrun: () => Effect.void
        })
      )
      if (outcome === undefined) return
      if (outcome._tag === "Ended" && Exit.isFailure(outcome.exit)) return yield* Effect.failCause(outcome.exit.cause)
      // Also after a loss: the clocks may have told it before the membership's status did.
      yield* seating.changed.until(() => isMoved() || sequencePlace.isOver(seating.place(), seat.token))
    })

    const work = Effect.gen(function* () {
      const restarts = Metric.withAttributes(metrics.restarts, { group: name })
      let before: Seat | undefined
      while (true) {
        const turn = yield* clear(yield* quiet(seating, settleMillis))
        if (turn === undefined) continue
        const { count, id, index } = turn.seat
        if (before !== undefined) yield* Metric.update(restarts, 1)
        before = turn.seat
        yield* Effect.logDebug(`${id} takes seat ${index} of ${count} in ${name}`)
        yield* sitThrough(turn)
      }
    })
    const broken = exclusive === undefined ? seating.broken : Effect.raceFirst(seating.broken, exclusive.broken)
    return yield* Effect.raceFirst(work, broken)
  }).pipe(Effect.scoped)

/**
 * Runs a body by its seat in the background for the life of a layer.
 *
 * **Details**
 *
 * Building reads the group once, so that a name, credentials or permissions that cannot work fail the layer; it waits
 * neither for a seat nor for a store that is down. Closing the layer interrupts the body, waits until it has stopped, and
 * leaves the place.
 *
 * **Gotchas**
 *
 * When the body fails, this process no longer takes part: that is logged at error level, and the rest of the program goes on.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = <A, E, R>(
  self: Definition,
  body: (seat: Seat) => Effect.Effect<A, E, R>,
  options?: RunOptions
): Layer.Layer<never, CoordinatorError, Coordinator | Exclude<R, Scope.Scope>> =>
  Layer.effectDiscard(
    Effect.gen(function* () {
      const coordinator = yield* Coordinator
      yield* millisOf(coordinator, "Sequence.layer", "settle", options?.settle ?? 0)
      yield* coordinator.group(self.group).list.pipe(
        Effect.catchIf(
          (error) => error.isTransient,
          () => Effect.void
        )
      )
      yield* run(self, body, options).pipe(
        Effect.onExit((exit) =>
          Exit.isFailure(exit) && !Cause.hasInterruptsOnly(exit.cause)
            ? Effect.logError(
                `The work for ${label(self.group)} has failed: this process no longer takes part in it`,
                exit.cause
              )
            : Effect.void
        ),
        Effect.forkScoped
      )
    })
  )

/**
 * Which of `partitions` partitions, counted from 0, a seat owns.
 *
 * **When to use**
 *
 * Use it in the body of {@link run} instead of the index modulo the count, which moves almost every partition at every
 * change. By rendezvous hashing, one who leaves moves only its own partitions, and one who comes takes only what it then
 * owns.
 *
 * **Details**
 *
 * Among the members of one view every partition has exactly one owner, whatever their order. The shares are equal only on
 * average: give several partitions to each member you expect. The result is the same in every process and every version.
 *
 * **Gotchas**
 *
 * It never throws: for anything but a positive whole number of partitions there is nothing to own.
 *
 * **Example** (Two members share four partitions)
 *
 * ```ts
 * import { Sequence } from "effect-ensemble"
 *
 * const members = ["web-1", "web-2"]
 * console.log(Sequence.assign({ id: "web-1", members }, 4)) // => [ 0, 1, 2 ]
 * console.log(Sequence.assign({ id: "web-2", members }, 4)) // => [ 3 ]
 * ```
 *
 * @category accessors
 * @since 0.1.0
 */
export const assign: {
  (partitions: number): (seat: Pick<Seat, "id" | "members">) => ReadonlyArray<number>
  (seat: Pick<Seat, "id" | "members">, partitions: number): ReadonlyArray<number>
} = dual(2, (seat: Pick<Seat, "id" | "members">, partitions: number): ReadonlyArray<number> =>
  rendezvous.owners(seat.members, partitions).flatMap((owner, partition) => (owner === seat.id ? [partition] : []))
)

/**
 * The owner of each of `partitions` partitions among members: what {@link assign} gives to all of them at once.
 *
 * @category accessors
 * @since 0.1.0
 */
export const owners: {
  (partitions: number): (members: ReadonlyArray<string>) => ReadonlyArray<string>
  (members: ReadonlyArray<string>, partitions: number): ReadonlyArray<string>
} = dual(2, rendezvous.owners)
