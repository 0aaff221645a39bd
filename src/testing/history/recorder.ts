/** Writes a history while programs run: wrappers around what is recorded, which change nothing of it. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import type { BarrierTimeout, Opening } from "../../Barrier.ts"
import type { Coordinator } from "../../Coordinator.ts"
import type { CoordinatorError } from "../../CoordinatorError.ts"
import * as Group from "../../Group.ts"
import type { Change, GroupName, GroupView, Member } from "../../Group.ts"
import type { Seat } from "../../Sequence.ts"
import type { Event } from "./events.ts"

type Stamp = "at" | "order"

/**
 * An event as somebody reports it: its time and order are the recorder's to give.
 *
 * @category models
 * @since 0.1.0
 */
export type Report = Event extends infer E ? (E extends Event ? Omit<E, Stamp> : never) : never

const TypeId = "~effect-ensemble/testing/History/Recorder"

interface Pen {
  readonly recordUnsafe: (report: Report) => void
  /** A number that this recorder has not given before. */
  readonly nextUnsafe: () => number
  /** Whether the writes of this moment are an operator's. */
  isForcing: boolean
  /** Run after each forced effect: whoever knows the store looks whether it was restored. */
  readonly afterForced: Set<() => void>
}

/**
 * Where the events of a run come together. Made by {@link make}.
 *
 * **Details**
 *
 * `events` are those recorded so far, in their order.
 *
 * @category models
 * @since 0.1.0
 */
export interface Recorder {
  readonly events: Effect.Effect<ReadonlyArray<Event>>
  readonly [TypeId]: Pen
}

/**
 * The inside of a recorder, for the recordings of this folder.
 *
 * @internal
 */
export const penOf = (self: Recorder): Pen => self[TypeId]

/**
 * Makes a recorder, which stamps events by the clock of the fiber that makes it: under a `TestClock` the test's, whatever
 * clocks the processes have.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make: Effect.Effect<Recorder> = Clock.clockWith((clock) =>
  Effect.sync(() => {
    const events: Array<Event> = []
    let numbers = 0
    return {
      events: Effect.sync(() => events.slice()),
      [TypeId]: {
        recordUnsafe: (report) => {
          // The report is an event but for its stamp, kind by kind.
          events.push({ ...report, at: clock.currentTimeMillisUnsafe(), order: events.length } as Event)
        },
        nextUnsafe: () => numbers++,
        isForcing: false,
        afterForced: new Set()
      }
    }
  })
)

/**
 * Records one event: what no other recording of this module sees, and the marks of a test.
 *
 * **Details**
 *
 * `Settled` says that everything asked for should have come true by now; `Counted` what was found after everything had been closed.
 *
 * @category recording
 * @since 0.1.0
 */
export const record = (self: Recorder, report: Report): Effect.Effect<void> =>
  Effect.sync(() => penOf(self).recordUnsafe(report))

/**
 * Runs what an operator does to the store, so that what it removes is not held against the holders: no lease foresees it.
 *
 * @category recording
 * @since 0.1.0
 */
export const forced = <A, E, R>(self: Recorder, effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> => {
  const pen = penOf(self)
  return Effect.acquireUseRelease(
    Effect.sync(() => {
      const before = pen.isForcing
      pen.isForcing = true
      return before
    }),
    () => effect,
    (before) =>
      Effect.sync(() => {
        pen.isForcing = before
        for (const look of pen.afterForced) look()
      })
  )
}

/**
 * The process under whose name something is recorded, and the group that it is about.
 *
 * @category models
 * @since 0.1.0
 */
export interface Holder {
  readonly process: string
  readonly group: GroupName
}

interface Holding {
  readonly id: string
  readonly token: bigint
}

const held = <A, E, R>(
  self: Recorder,
  place: { readonly process: string; readonly group: string; readonly id: string; readonly token: bigint },
  isLost: Effect.Effect<boolean>,
  body: Effect.Effect<A, E, R>
): Effect.Effect<A, E, R> =>
  Effect.suspend(() => {
    let ended = false
    // Beside the body, because a body may put its own interruption off; this one is where the interruption is issued.
    const probe = Effect.onInterrupt(Effect.never, () =>
      ended
        ? Effect.void
        : Effect.map(isLost, (lost) => penOf(self).recordUnsafe({ _tag: "Interrupted", ...place, lost }))
    )
    const watched = Effect.onExit(body, () =>
      Effect.sync(() => {
        ended = true
      })
    )
    return Effect.raceFirst(probe, watched).pipe(
      Effect.ensuring(Effect.map(isLost, (lost) => penOf(self).recordUnsafe({ _tag: "Stopped", ...place, lost })))
    )
  })

/**
 * Runs a body that holds a place alone, and records when it was granted, when its interruption was issued and when it had
 * stopped.
 *
 * **Details**
 *
 * Use it as the body of `Election.lead` or `Lock.withLock`, or after `Group.awaitTurn`. A body that was interrupted while
 * `ensure` refused has lost its tenure: it counts as ended when the interruption is issued. Any other counts until it
 * has stopped.
 *
 * @category recording
 * @since 0.1.0
 */
export const recordTenure = <A, E, R>(
  self: Recorder,
  holder: Holder,
  tenure: Holding & { readonly ensure: Effect.Effect<bigint, unknown> },
  body: Effect.Effect<A, E, R>
): Effect.Effect<A, E, R> =>
  Effect.suspend(() => {
    const { id, token } = tenure
    const place = { process: holder.process, group: Group.label(holder.group), id, token }
    penOf(self).recordUnsafe({ _tag: "Granted", ...place })
    const isLost = Effect.match(tenure.ensure, { onFailure: () => true, onSuccess: () => false })
    return held(self, place, isLost, body)
  })

const leaseOf = (coordinator: Coordinator["Service"]): Effect.Effect<string | undefined> =>
  Effect.map(Stream.runHead(coordinator.session), (state) =>
    Option.isSome(state) && (state.value._tag === "Connected" || state.value._tag === "Suspended")
      ? state.value.lease.id
      : undefined
  )

/**
 * Runs the body of a seat as given by `Sequence.run`, and records what {@link recordTenure} does.
 *
 * @category recording
 * @since 0.1.0
 */
export const recordSeat = <A, E, R>(
  self: Recorder,
  holder: Holder & { readonly coordinator: Coordinator["Service"]; readonly exclusive?: boolean | undefined },
  seat: Seat,
  body: Effect.Effect<A, E, R>
): Effect.Effect<A, E, R> =>
  Effect.suspend(() => {
    const { count, id, index, token } = seat
    const place = { process: holder.process, group: Group.label(holder.group), id, token }
    penOf(self).recordUnsafe({ _tag: "Began", ...place, index, count, exclusive: holder.exclusive ?? false })
    return Effect.flatMap(leaseOf(holder.coordinator), (lease) =>
      held(
        self,
        place,
        Effect.map(leaseOf(holder.coordinator), (now) => now === undefined || now !== lease),
        body
      )
    )
  })

/**
 * Asks `ensure`, and records that it gave the token.
 *
 * @category recording
 * @since 0.1.0
 */
export const recordEnsure = <E>(
  self: Recorder,
  holder: Holder,
  membership: { readonly id: string; readonly ensure: Effect.Effect<bigint, E> }
): Effect.Effect<bigint, E> =>
  Effect.map(membership.ensure, (token) => {
    const group = Group.label(holder.group)
    penOf(self).recordUnsafe({ _tag: "Acted", process: holder.process, group, id: membership.id, token })
    return token
  })

/**
 * A reader: the process under whose name it is recorded, and its own name. Views and changes recorded under one name are
 * held against each other; left out, the reader gets a name that no other has.
 *
 * @category models
 * @since 0.1.0
 */
export interface Reader {
  readonly process: string
  readonly reader?: string | undefined
}

const readerOf = (self: Recorder, { process, reader }: Reader, label: string): string =>
  reader ?? `${process} ${label} ${penOf(self).nextUnsafe()}`

const valued = ({ id, token, value }: Member<string>) => ({ id, token, value })

const attached = <A, E, R>(
  self: Recorder,
  reader: { readonly process: string; readonly reader: string },
  effect: Effect.Effect<A, E, R>
) => Effect.ensuring(effect, record(self, { _tag: "Detached", ...reader }))

/**
 * Records each view that a group's watch shows, until interrupted.
 *
 * @category recording
 * @since 0.1.0
 */
export const recordViews = (self: Recorder, who: Reader, group: Group.Group): Effect.Effect<void, CoordinatorError> =>
  Effect.suspend(() => {
    const label = Group.label(group.name)
    const reader = { process: who.process, reader: readerOf(self, who, label) }
    const see = (view: GroupView<string>) =>
      record(self, {
        _tag: "Viewed",
        ...reader,
        group: label,
        epoch: view.epoch,
        revision: view.revision,
        fresh: view.freshness._tag === "Fresh",
        members: view.members.map(valued)
      })
    return attached(self, reader, Stream.runForEach(group.watch, see))
  })

/**
 * Records each change of a group, until interrupted.
 *
 * @category recording
 * @since 0.1.0
 */
export const recordChanges = (self: Recorder, who: Reader, group: Group.Group): Effect.Effect<void, CoordinatorError> =>
  Effect.suspend(() => {
    const label = Group.label(group.name)
    const reader = { process: who.process, reader: readerOf(self, who, label) }
    const see = (change: Change<string>) =>
      record(self, { _tag: "Changed", ...reader, group: label, change: change._tag, member: valued(change.member) })
    return attached(self, reader, Stream.runForEach(group.changes, see))
  })

/**
 * Records the seats of `Sequence.join`, until the stream ends.
 *
 * @category recording
 * @since 0.1.0
 */
export const recordSeats = <E, R>(
  self: Recorder,
  holder: Holder,
  seats: Stream.Stream<Option.Option<Seat>, E, R>
): Effect.Effect<void, E, R> =>
  Effect.suspend(() => {
    const group = Group.label(holder.group)
    const reader = { process: holder.process, reader: readerOf(self, holder, group) }
    const see = (seat: Option.Option<Seat>) =>
      Option.match(seat, {
        onNone: () => record(self, { _tag: "Unseated", ...reader, group }),
        onSome: ({ count, id, index, token }) =>
          record(self, { _tag: "Seated", ...reader, group, id, token, index, count })
      })
    return attached(self, reader, Stream.runForEach(seats, see))
  })

/**
 * Records a wait at a barrier: its beginning, and the opening by which it passed or that it gave up.
 *
 * **Details**
 *
 * `mine` are the places of the process's own participants, also those that it has lost while the store may still have
 * them; none for one who only observes.
 *
 * @category recording
 * @since 0.1.0
 */
export const recordWait = <E extends { readonly _tag: string }, R>(
  self: Recorder,
  holder: Holder & { readonly mine: ReadonlyArray<Holding> },
  wait: Effect.Effect<Opening, E | BarrierTimeout, R>
): Effect.Effect<Opening, E | BarrierTimeout, R> =>
  Effect.suspend(() => {
    const { process } = holder
    const here = { process, group: Group.label(holder.group), wait: penOf(self).nextUnsafe() }
    const mine = holder.mine.map(({ id, token }) => ({ id, token }))
    penOf(self).recordUnsafe({ _tag: "Waiting", ...here, mine })
    return wait.pipe(
      Effect.onExit((exit) => {
        if (exit._tag === "Success") {
          const { members, revision } = exit.value
          return record(self, { _tag: "Passed", ...here, revision, members })
        }
        const timedOut = exit.cause.reasons.some(
          (reason) => reason._tag === "Fail" && reason.error._tag === "BarrierTimeout"
        )
        return record(self, { _tag: "GaveUp", ...here, timedOut })
      })
    )
  })
