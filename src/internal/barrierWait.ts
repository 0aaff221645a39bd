/** The effects of one `wait`: what it decides is in `barrierRound.ts`. */
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { Coordinator } from "../Coordinator.ts"
import type { CoordinatorError } from "../CoordinatorError.ts"
import type { GroupView } from "../Group.ts"
import type { MemberConflict, Membership, MembershipLost } from "../Membership.ts"
import { backoff } from "./backoff.ts"
import type { Opening, Round } from "./barrierRound.ts"
import * as Rounds from "./barrierRound.ts"
import type { Judgement, Rule } from "./barrierRule.ts"
import { judge } from "./barrierRule.ts"
import * as Notifier from "./notifier.ts"

/** How a wait ended. The judgement is the last one, if any view came at all. */
export type Outcome =
  | { readonly _tag: "Opened"; readonly opening: Opening }
  | { readonly _tag: "TimedOut"; readonly judgement: Judgement | undefined }

/** Requests of a wait outlive a store that does not answer for a while: the timeout bounds them. */
const patiently = <A, E extends CoordinatorError | MemberConflict | MembershipLost, R>(
  self: Effect.Effect<A, E, R>
): Effect.Effect<A, E, R> =>
  Effect.retry(self, {
    schedule: backoff(100, 1_000),
    while: (error: E) => error._tag === "MembershipLost" || (error._tag === "CoordinatorError" && error.isTransient)
  })

/** A member id allows 128 characters, and a node's name may take them all. */
const longestNode = 100

const uniqueId = Effect.fnUntraced(function* (node: string) {
  const half = Effect.map(Random.nextIntBetween(0, 0xffffffff), (bits) => bits.toString(16).padStart(8, "0"))
  return `${node.slice(0, longestNode)}.${yield* half}${yield* half}`
})

/** What an engine's sessions last when none was ever granted. */
const defaultTtlMillis = 15_000

const ttlOf = (coordinator: Coordinator["Service"]): Effect.Effect<number> =>
  Effect.map(Stream.runHead(coordinator.session), (state) =>
    Option.isSome(state) && "lease" in state.value ? state.value.lease.ttlMillis : defaultTtlMillis
  )

/** The tokens that have passed a barrier, for each coordinator: none passes twice by one opening. */
const passed = new WeakMap<Coordinator["Service"], Map<string, ReadonlySet<bigint>>>()

const passedOf = (coordinator: Coordinator["Service"]): Map<string, ReadonlySet<bigint>> => {
  const known = passed.get(coordinator) ?? new Map<string, ReadonlySet<bigint>>()
  passed.set(coordinator, known)
  return known
}

/** The effects of a record: how long it is kept, once its writing was begun. */
interface Record {
  /** Waits until nobody whom it concerns waits any more. */
  readonly read: Effect.Effect<void>
  /** Whether all whom it names have been seen waiting. */
  readonly isHeard: () => boolean
  /** The same, in the background. */
  readonly linger: Effect.Effect<void>
}

export const run = Effect.fnUntraced(function* <S, E>(
  coordinator: Coordinator["Service"],
  name: string,
  rule: Rule<S>,
  options: {
    readonly timeoutMillis: number
    /** Runs once the wait is in progress. */
    readonly onWaiting: Effect.Effect<void, E>
  }
): Effect.fn.Return<Outcome, CoordinatorError | E> {
  const { onWaiting, timeoutMillis } = options
  const members = coordinator.group({ kind: "barrier", name })
  const beside = coordinator.group({ kind: "barrier-opening", name })
  const changed = Notifier.make()
  const broken = Deferred.makeUnsafe<never, CoordinatorError>()
  const deadline = (yield* Clock.currentTimeMillis) + timeoutMillis
  const spent = passedOf(coordinator)
  const heard = new Set<bigint>()
  let judgement: Judgement | undefined
  let round: Round | undefined
  let entries: GroupView<string> | undefined
  let record: Record | undefined

  const seeUnsafe = (view: GroupView<string>): void => {
    judgement = judge(rule, view)
    round =
      round === undefined ? Rounds.begin(rule, view, judgement, spent.get(name)) : Rounds.see(round, view, judgement)
    changed.wakeUnsafe()
  }

  const follow = (
    views: Stream.Stream<GroupView<string>, CoordinatorError>,
    onView: (view: GroupView<string>) => void
  ) =>
    Stream.runForEach(views, (view) => Effect.sync(() => onView(view))).pipe(
      // A defect too, of the definition's isReady for example: nobody else would see it.
      Effect.catchCause((cause) => Effect.andThen(Deferred.failCause(broken, cause), Effect.sync(changed.wakeUnsafe))),
      Effect.forkScoped
    )

  const recordOf = (id: string, mine: Membership, opening: Opening, epoch: number, until: number): Record => {
    const isOver = () => Deferred.isDoneUnsafe(broken) || round === undefined || round.epoch !== epoch
    const isRead = () => isOver() || (round !== undefined && Rounds.isSettled(round, opening, entries, id))
    const isHeard = () =>
      isOver() || opening.members.every(({ token }) => heard.has(token) || round?.own.has(token) === true)
    const wait = (condition: () => boolean) =>
      Effect.flatMap(Clock.currentTimeMillis, (now) =>
        Effect.asVoid(Effect.timeoutOption(changed.until(condition), Math.max(0, until - now)))
      )
    return {
      read: wait(isRead),
      isHeard,
      // A coordinator that closes takes the record with it.
      linger: Effect.raceFirst(
        wait(() => isRead() && isHeard()),
        Effect.ignore(mine.lost)
      )
    }
  }

  const search = Effect.gen(function* () {
    const first = yield* patiently(members.list)
    seeUnsafe(first)
    const started = Rounds.begin(rule, first, judge(rule, first), spent.get(name))
    yield* follow(members.watch, seeUnsafe)
    yield* follow(beside.watch, (view) => {
      entries = view
      for (const token of Rounds.heard(view)) heard.add(token)
      changed.wakeUnsafe()
    })
    const id = yield* uniqueId(coordinator.node)
    const entry = { id, value: Rounds.waitingText(started) }
    const mine = yield* patiently(beside.join(entry, { rejoin: true })).pipe(
      // The id is unique, and its holder, if there were one, would be waited for.
      Effect.catchTag("MemberConflict", Effect.die)
    )
    // Before the entry is withdrawn, whatever ends the wait: others may have passed by the record already.
    yield* Effect.addFinalizer(() => Effect.suspend(() => record?.read ?? Effect.void))
    const place = yield* Effect.orElseSucceed(mine.token, () => 0n)
    yield* onWaiting

    const verdict = () => (round === undefined ? Rounds.wait : Rounds.verdict(round, entries, place))
    const isDue = () => {
      const now = verdict()
      return now._tag === "Pass" || (now._tag === "Record" && now.ahead === 0)
    }
    while (true) {
      yield* changed.until(() => verdict()._tag !== "Wait")
      const found = verdict()
      if (found._tag === "Record" && found.ahead > 0) {
        const remaining = deadline - (yield* Clock.currentTimeMillis)
        yield* Effect.timeoutOption(changed.until(isDue), Rounds.patienceMillis(found.ahead, remaining))
      }
      const due = verdict()
      if (due._tag === "Pass") return due.opening
      // The store was rewound meanwhile: what was seen open has never been.
      if (due._tag === "Wait") continue
      const until = (yield* Clock.currentTimeMillis) + (yield* ttlOf(coordinator))
      // From the moment it is sent: somebody may pass by it before its answer is here.
      record = recordOf(id, mine, due.opening, round?.epoch ?? 0, until)
      // Between two sessions it is refused and tried again; lost for good it is only with the coordinator.
      yield* patiently(mine.set(Rounds.openedText(due.opening))).pipe(Effect.catchTag("MembershipLost", Effect.die))
      return due.opening
    }
  }).pipe(Effect.raceFirst(Deferred.await(broken)))

  return yield* Effect.uninterruptibleMask(
    Effect.fnUntraced(function* (restore) {
      const scope = yield* Scope.make()
      const exit = yield* restore(search.pipe(Scope.provide(scope), Effect.timeoutOption(timeoutMillis))).pipe(
        Effect.exit
      )
      const close = Scope.close(scope, exit)
      if (Exit.isFailure(exit)) {
        // A record that was sent and not confirmed is kept apart: its answer may take as long as the store is gone.
        yield* record === undefined ? close : Effect.forkDetach(close)
        return yield* Effect.failCause(exit.cause)
      }
      const opening = Option.getOrUndefined(exit.value)
      if (opening === undefined) {
        // Apart: on a dead connection the withdrawal takes as long as a request may, and the timeout is exact.
        yield* Effect.forkDetach(close)
        return { _tag: "TimedOut", judgement } as const
      }
      // Also the opening's: a record may name an own member that no view has shown yet.
      spent.set(name, new Set([...(round?.own.keys() ?? []), ...opening.members.map(({ token }) => token)]))
      if (record !== undefined) {
        yield* restore(record.read).pipe(Effect.onInterrupt(() => close))
      }
      if (record === undefined || record.isHeard()) yield* close
      else yield* Effect.forkDetach(Effect.andThen(record.linger, close))
      return { _tag: "Opened", opening } as const
    })
  )
})
