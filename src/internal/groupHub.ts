/**
 * One group as this process sees it: the one upstream watch, folded into views and changes for any number of local
 * subscribers.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { CoordinatorError } from "../CoordinatorError.ts"
import type { Change, Freshness, GroupView, Member } from "../Group.ts"
import * as Group from "../Group.ts"
import * as metrics from "./metrics.ts"
import * as Notifier from "./notifier.ts"
import type { Entry, Feed, Snapshot } from "./store.ts"

/**
 * How many published steps are kept for readers of `changes` that lag. One who is further behind is given the difference
 * of two views instead: the memory of a reader that never comes back is bounded by this and one view.
 */
const keptSteps = 1024

/** Whether this coordinator created the session that owns an entry. */
export type Owns = (session: string) => boolean

export const memberOf = (entry: Entry, owns: Owns): Member<string> => ({
  id: entry.id,
  token: entry.token,
  value: entry.value,
  mine: entry.owner !== undefined && owns(entry.owner)
})

/** A store's snapshot as a view. */
export const viewOf = (snapshot: Snapshot, owns: Owns): GroupView<string> =>
  Group.makeView({
    members: snapshot.entries.map((entry) => memberOf(entry, owns)),
    revision: snapshot.revision,
    epoch: snapshot.epoch
  })

/** One step of the fold: the next view, and the changes that lead to it. */
export interface Step {
  readonly view: GroupView<string>
  readonly changes: ReadonlyArray<Change<string>>
}

/** A view that was stale already has been so since then, whatever the cause is now. */
const freshnessOf = (
  { freshness }: GroupView<string>,
  unsettled: CoordinatorError | undefined,
  at: number
): Freshness =>
  unsettled === undefined
    ? { _tag: "Fresh" }
    : { _tag: "Stale", since: freshness._tag === "Stale" ? freshness.since : at, cause: unsettled }

const max = (a: bigint, b: bigint): bigint => (a > b ? a : b)

const put = (view: GroupView<string>, member: Member<string>): ReadonlyArray<Change<string>> => {
  const previous = Option.getOrUndefined(view.get(member.id))
  if (previous === undefined) return [{ _tag: "Joined", member }]
  if (previous.token !== member.token) {
    return [
      { _tag: "Left", member: previous },
      { _tag: "Joined", member }
    ]
  }
  return previous.value === member.value ? [] : [{ _tag: "Updated", member, previous }]
}

/**
 * The shared fold. Total over feeds; `at` is the wall time in milliseconds, for views that become stale. Revisions never
 * go backwards within an epoch, whatever number an engine reports.
 */
export const fold = (view: GroupView<string>, feed: Feed, owns: Owns, at: number): Step => {
  switch (feed._tag) {
    case "Snapshot": {
      const { epoch, revision } = feed.snapshot
      const changes = Group.diff(view, viewOf(feed.snapshot, owns))
      const reached = epoch === view.epoch ? max(view.revision, revision) : revision
      const freshness = freshnessOf(view, feed.unsettled, at)
      return { changes, view: Group.applyChanges(view, changes, { revision: reached, epoch, freshness }) }
    }
    case "Changes": {
      // What is not settled lies beyond its revision by nature, so the number cannot tell that it is old.
      if (feed.unsettled === undefined && feed.revision <= view.revision) return { view, changes: [] }
      const changes: Array<Change<string>> = []
      for (const id of feed.removes) {
        const member = Option.getOrUndefined(view.get(id))
        if (member !== undefined) changes.push({ _tag: "Left", member })
      }
      for (const entry of feed.puts) changes.push(...put(view, memberOf(entry, owns)))
      return {
        changes,
        view: Group.applyChanges(view, changes, {
          revision: max(view.revision, feed.revision),
          epoch: view.epoch,
          freshness: freshnessOf(view, feed.unsettled, at)
        })
      }
    }
    case "Progress": {
      if (view.freshness._tag === "Fresh" && feed.revision <= view.revision) return { view, changes: [] }
      const freshness = freshnessOf(view, undefined, at)
      const reached = { revision: max(view.revision, feed.revision), epoch: view.epoch, freshness }
      return { changes: [], view: Group.applyChanges(view, [], reached) }
    }
    case "Disconnected": {
      if (view.freshness._tag === "Stale") return { view, changes: [] }
      const freshness = { _tag: "Stale", since: at, cause: feed.cause } as const
      return {
        changes: [],
        view: Group.applyChanges(view, [], { revision: view.revision, epoch: view.epoch, freshness })
      }
    }
  }
}

export interface GroupHub {
  readonly watch: Stream.Stream<GroupView<string>, CoordinatorError>
  readonly changes: Stream.Stream<Change<string>, CoordinatorError>
}

export const make = Effect.fnUntraced(function* (options: {
  readonly label: string
  readonly feed: Stream.Stream<Feed, CoordinatorError>
  readonly owns: Owns
  readonly wallUnsafe: () => number
}): Effect.fn.Return<GroupHub, never, Scope.Scope> {
  const published = Notifier.make()
  const log: Array<ReadonlyArray<Change<string>>> = []
  let view: GroupView<string> = Group.empty<string>()
  /** Steps published; 0 until the first snapshot has come. */
  let steps = 0
  let failure: CoordinatorError | undefined

  const attributes = { group: options.label }
  const gauge = metrics.members(attributes)
  const staleness = metrics.stale(attributes)
  const counters = {
    Joined: metrics.changes({ ...attributes, change: "joined" }),
    Updated: metrics.changes({ ...attributes, change: "updated" }),
    Left: metrics.changes({ ...attributes, change: "left" })
  }
  const context = yield* Effect.context<never>()

  const publishUnsafe = (feed: Feed): void => {
    // What is known before the first snapshot is nothing, which is not the same as an empty group.
    if (steps === 0 && feed._tag !== "Snapshot") return
    const step = fold(view, feed, options.owns, options.wallUnsafe())
    if (steps > 0 && step.changes.length === 0 && step.view.freshness._tag === view.freshness._tag) {
      // Progress: the same members at a later revision. Known to the next reader, but nothing to wake anybody for.
      view = step.view
      return
    }
    if (step.view.freshness._tag !== view.freshness._tag || steps === 0) {
      staleness.updateUnsafe(step.view.freshness._tag === "Stale" ? 1 : 0, context)
    }
    if (step.changes.length > 0 || steps === 0) gauge.updateUnsafe(step.view.size, context)
    for (const change of step.changes) counters[change._tag].updateUnsafe(1, context)
    view = step.view
    log[steps % keptSteps] = step.changes
    steps++
    published.wakeUnsafe()
  }

  yield* options.feed.pipe(
    Stream.runForEach((feed) => Effect.sync(() => publishUnsafe(feed))),
    Effect.catch((error) =>
      Effect.sync(() => {
        failure = error
        published.wakeUnsafe()
      })
    ),
    Effect.forkScoped({ startImmediately: true })
  )

  const next = (seen: number) =>
    Effect.flatMap(
      published.until(() => steps > seen || failure !== undefined),
      () => (failure !== undefined ? Effect.fail(failure) : Effect.void)
    )

  return {
    watch: Stream.suspend(() => {
      let seen = 0
      return Stream.fromPull(
        Effect.succeed(
          Effect.map(
            Effect.suspend(() => next(seen)),
            () => {
              seen = steps
              return [view] as const
            }
          )
        )
      )
    }),
    changes: Stream.suspend(() => {
      let seen = 0
      let mine: GroupView<string> = Group.empty<string>()
      const missed = (): ReadonlyArray<Change<string>> => {
        const behind = steps - seen
        const from = seen
        const before = mine
        seen = steps
        mine = view
        if (from === 0 || behind > keptSteps) return Group.diff(before, view)
        if (behind === 1) return log[from % keptSteps] ?? []
        const all: Array<Change<string>> = []
        for (let step = from; step < seen; step++) all.push(...(log[step % keptSteps] ?? []))
        return all
      }
      const pull: Effect.Effect<readonly [Change<string>, ...Array<Change<string>>], CoordinatorError> = Effect.flatMap(
        Effect.suspend(() => next(seen)),
        () => {
          const [first, ...rest] = missed()
          return first === undefined ? pull : Effect.succeed([first, ...rest] as const)
        }
      )
      return Stream.fromPull(Effect.succeed(pull))
    })
  }
})
