/**
 * Waiting until enough processes are here and every one of them is ready.
 *
 * **When to use**
 *
 * Use it where many programs have to reach a point before any of them goes on: a migration that starts when all old
 * writers have stopped, a test cluster that is loaded when every node is up.
 *
 * **Details**
 *
 * Each participant announces itself with a state and changes the state as it gets on. A wait passes when at least
 * `minimum` participants are present and each one that is present, also beyond the minimum, is ready. It is judged over
 * all participants at every fresh view of the store, and whoever sees it open first records the opening beside the barrier:
 * every participant named in it that is waiting passes, whatever joins, leaves or changes afterwards. Who joins later is
 * not named, and waits for an opening of its own.
 *
 * The state stands in the store as the encoded string itself. Participants of other programs count too: one whose state
 * does not decode is present and not ready, and so is one with an empty state.
 *
 * **Gotchas**
 *
 * - Every participant that is named passes if it is waiting when the opening is recorded, that is, from the moment at which
 *   the store has confirmed its wait. For one that comes to `wait` later the record is kept where it is needed, for one
 *   TTL at most, and only as long as the process that recorded it runs. `arrive` on the participant begins to wait
 *   before it publishes the state, so it is never late.
 * - An opening lets each participant pass once. A second wait needs an opening of its own: change the states in
 *   between, announce anew, or use another name.
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { Coordinator } from "./Coordinator.ts"
import type { CoordinatorError } from "./CoordinatorError.ts"
import * as Group from "./Group.ts"
import type { Judgement, Rule } from "./internal/barrierRule.ts"
import { judge, same } from "./internal/barrierRule.ts"
import * as barrierWait from "./internal/barrierWait.ts"
import { invalid, millisOf } from "./internal/options.ts"
import * as payload from "./internal/payload.ts"
import type { MemberConflict, MembershipLost, MembershipStatus, PayloadRejected } from "./Membership.ts"

/**
 * The barrier did not open in time.
 *
 * **Details**
 *
 * `notReady` names who is present and not ready. `missing` names the absent ones of the ids that were expected, and
 * `short` is the number that lacks to the minimum. `stale` tells that the store could not be seen at the end: the
 * numbers are then the last ones known.
 *
 * @category errors
 * @since 0.1.0
 */
export class BarrierTimeout extends Schema.TaggedError<BarrierTimeout>("effect-ensemble/Barrier/BarrierTimeout")(
  "BarrierTimeout",
  {
    barrier: Schema.String,
    timeoutMillis: Schema.Finite,
    minimum: Schema.Finite,
    present: Schema.Finite,
    ready: Schema.Finite,
    notReady: Schema.Array(Schema.String),
    missing: Schema.Array(Schema.String),
    short: Schema.Finite,
    stale: Schema.Boolean
  }
) {
  override get message(): string {
    const parts = [
      `The barrier ${this.barrier} did not open within ${this.timeoutMillis} ms: ` +
        `${this.present} of at least ${this.minimum} present, ${this.ready} of them ready`
    ]
    if (this.notReady.length > 0) parts.push(`Not ready: ${this.notReady.join(", ")}`)
    if (this.missing.length > 0) parts.push(`Missing: ${this.missing.join(", ")}`)
    else if (this.short > 0) parts.push(`${this.short} more must come`)
    if (this.stale) parts.push(`The store could not be seen at the end: check that this process reaches it`)
    return parts.join(". ")
  }
}

/**
 * What participants and waiters agree on. Made by {@link make}.
 *
 * **Details**
 *
 * `group` is the group that holds the participants; `encode` and `decode` are the form of a state there, for programs
 * that use the group directly.
 *
 * @category models
 * @since 0.1.0
 */
export interface Definition<in out S> {
  readonly name: string
  readonly minimum: number
  readonly isReady: (state: S) => boolean
  readonly group: Group.GroupName
  readonly encode: (state: S) => Effect.Effect<string, PayloadRejected>
  readonly decode: Group.Decoder<S>
}

/**
 * One who takes part, for as long as its scope is open.
 *
 * **Details**
 *
 * - `status` replays where the place stands, then follows it. After the loss of a session it comes back by itself, with
 *   the newest state and as a later joiner.
 * - `set` publishes another state and returns when the store has confirmed it. When it fails with a `CoordinatorError`
 *   the state is written as soon as the store answers again.
 * - `arrive` publishes the state and waits for the barrier, in the order that leaves no gap: the wait is in progress before
 *   the state can open the barrier. Give it the state that is ready.
 *
 * @category models
 * @since 0.1.0
 */
export interface Participant<in S> {
  readonly id: string
  readonly status: Stream.Stream<MembershipStatus>
  readonly set: (state: S) => Effect.Effect<void, PayloadRejected | MembershipLost | CoordinatorError>
  readonly arrive: (
    state: S,
    options: WaitOptions
  ) => Effect.Effect<Opening, BarrierTimeout | PayloadRejected | MembershipLost | CoordinatorError>
}

/**
 * How to take part.
 *
 * **Details**
 *
 * - `id`: names the participant. Default: the coordinator's node.
 * - `onConflict`: what to do while another live process holds the id. Default `"wait"`.
 *
 * @category models
 * @since 0.1.0
 */
export interface AnnounceOptions {
  readonly id?: string | undefined
  readonly onConflict?: "wait" | "fail" | undefined
}

/**
 * Who has to be there beyond the minimum.
 *
 * **Details**
 *
 * With `expected` the barrier opens only when each of these ids is present, and the absent ones can be named. Give the
 * same ids in every process: an opening recorded by a wait that expected others does not count for this one.
 *
 * @category models
 * @since 0.1.0
 */
export interface ProgressOptions {
  readonly expected?: ReadonlyArray<string> | undefined
}

/**
 * How long to wait, and for whom.
 *
 * @category models
 * @since 0.1.0
 */
export interface WaitOptions extends ProgressOptions {
  readonly timeout: Duration.Input
}

/**
 * The opening by which a wait passed: a revision at which every participant was ready, and who they were.
 *
 * @category models
 * @since 0.1.0
 */
export interface Opening {
  readonly revision: bigint
  readonly members: ReadonlyArray<{ readonly id: string; readonly token: bigint }>
}

/**
 * How far a barrier has come.
 *
 * **Details**
 *
 * - `present` and `ready` are numbers of participants; `notReady` names the others that are present.
 * - `missing` names the expected ids that are absent; `short` is the number that lacks to the `minimum`.
 * - `stale` tells that the store cannot be seen now. `open` is never true then.
 *
 * @category models
 * @since 0.1.0
 */
export interface Progress {
  readonly revision: bigint
  readonly minimum: number
  readonly present: number
  readonly ready: number
  readonly notReady: ReadonlyArray<string>
  readonly missing: ReadonlyArray<string>
  readonly short: number
  readonly stale: boolean
  readonly open: boolean
}

/**
 * Defines a barrier. It never throws: a name or a number that cannot be used is an `InvalidOptions` failure of the first
 * operation.
 *
 * **Details**
 *
 * - `state`: encodes a participant's state to the string that stands in the store.
 * - `minimum`: how many participants must be present, a whole number from 1.
 * - `isReady`: whether a state is ready. Left out, every state that decodes and is not empty is.
 *
 * **Example** (Starting together)
 *
 * ```ts
 * import { Effect, Schema } from "effect"
 * import { Barrier, Memory } from "effect-ensemble"
 *
 * const Migration = Barrier.make("migration", {
 *   state: Schema.Literals(["starting", "ready"]),
 *   minimum: 2,
 *   isReady: (state) => state === "ready"
 * })
 * const program = Effect.scoped(Effect.gen(function*() {
 *   const a = yield* Barrier.announce(Migration, "starting", { id: "a" })
 *   yield* Barrier.announce(Migration, "ready", { id: "b" })
 *   const opening = yield* a.arrive("ready", { timeout: "2 minutes" })
 *   return opening.members.map((member) => member.id)
 * }))
 * console.log(await Effect.runPromise(program.pipe(Effect.provide(Memory.layer())))) // => [ 'a', 'b' ]
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <S>(
  name: string,
  options: {
    readonly state: Schema.Codec<S, string>
    readonly minimum: number
    readonly isReady?: ((state: S) => boolean) | undefined
  }
): Definition<S> => {
  const group: Group.GroupName = { kind: "barrier", name }
  const { decode, encode } = payload.codec(options.state)
  return {
    name,
    minimum: options.minimum,
    isReady: options.isReady ?? (() => true),
    group,
    decode,
    encode: (state) => encode(Group.label(group), state)
  }
}

const problemOf = (minimum: number, expected: ReadonlyArray<string> | undefined): string | undefined => {
  if (!Number.isInteger(minimum) || minimum < 1) {
    return `The minimum is ${minimum}. Give the number of participants to wait for, a whole number from 1`
  }
  if (expected === undefined) return undefined
  if (expected.length === 0)
    return "The expected ids are empty. Name at least one, or leave them out to wait for a number"
  return expected.includes("")
    ? "One of the expected ids is empty. Give the ids with which participants announce"
    : undefined
}

const ruleOf = <S>(
  coordinator: Coordinator["Service"],
  operation: string,
  self: Definition<S>,
  expected: ReadonlyArray<string> | undefined
): Effect.Effect<Rule<S>, CoordinatorError> => {
  const problem = problemOf(self.minimum, expected)
  if (problem !== undefined) return Effect.fail(invalid(coordinator, operation, problem))
  return Effect.succeed({
    minimum: self.minimum,
    expected: Array.from(new Set(expected)).sort(),
    decode: self.decode,
    isReady: self.isReady
  })
}

const waitWith = Effect.fnUntraced(function* <S, E>(
  coordinator: Coordinator["Service"],
  operation: string,
  self: Definition<S>,
  options: WaitOptions,
  onWaiting: Effect.Effect<void, E>
): Effect.fn.Return<Opening, BarrierTimeout | CoordinatorError | E> {
  const rule = yield* ruleOf(coordinator, operation, self, options.expected)
  const timeoutMillis = yield* millisOf(coordinator, operation, "The timeout", options.timeout)
  const outcome = yield* barrierWait.run(coordinator, self.name, rule, { timeoutMillis, onWaiting })
  if (outcome._tag === "Opened") {
    const { members, revision } = outcome.opening
    yield* Effect.logDebug(
      `${coordinator.node} passes the barrier ${self.name}: ${members.length} ready at ${revision}`
    )
    return outcome.opening
  }
  const known: Judgement = outcome.judgement ?? { ...judge(rule, Group.empty<string>()), stale: true }
  const { minimum, missing, notReady, present, ready, short, stale } = known
  return yield* new BarrierTimeout({
    barrier: self.name,
    timeoutMillis,
    minimum,
    missing,
    notReady,
    present,
    ready,
    short,
    stale
  })
})

/**
 * Takes part in a barrier until the scope closes.
 *
 * **Details**
 *
 * It returns when the store has confirmed the state. From then on the place is a wish that is kept true: after the loss of
 * a session it is taken again, with the newest state and a new token, so that it counts as a later joiner.
 *
 * **Gotchas**
 *
 * A state that encodes to the empty string is never ready: other writers take their place with an empty value first.
 *
 * @category constructors
 * @since 0.1.0
 */
export const announce = Effect.fn("Barrier.announce")(function* <S>(
  self: Definition<S>,
  state: S,
  options: AnnounceOptions = {}
): Effect.fn.Return<Participant<S>, CoordinatorError | MemberConflict | PayloadRejected, Coordinator | Scope.Scope> {
  const coordinator = yield* Coordinator
  const group = Group.label(self.group)
  const id = options.id ?? coordinator.node
  yield* Effect.annotateCurrentSpan({ group, id })
  yield* ruleOf(coordinator, "Barrier.announce", self, undefined)
  const value = yield* self.encode(state)
  const membership = yield* coordinator
    .group(self.group)
    .join({ id, value }, { rejoin: true, onConflict: options.onConflict })
  return {
    id,
    status: membership.status,
    set: Effect.fn("Participant.set", { attributes: { group, id } })(function* (state: S) {
      yield* membership.set(yield* self.encode(state))
    }),
    arrive: Effect.fn("Participant.arrive", { attributes: { group, id } })(function* (state: S, options: WaitOptions) {
      const value = yield* self.encode(state)
      const publish = membership.set(value).pipe(
        // It stays the wanted state and is written when the store answers again: the timeout bounds that.
        Effect.catchIf(
          (error) => error._tag === "CoordinatorError" && error.isTransient,
          () => Effect.void
        )
      )
      return yield* waitWith(coordinator, "Participant.arrive", self, options, publish)
    })
  }
})

/**
 * Waits until the barrier opens, and gives the opening; fails with {@link BarrierTimeout} when it does not open in time.
 *
 * **When to use**
 *
 * Use it in a process that only observes, or in a participant whose state somebody else sets. A participant that has
 * become ready uses `arrive`.
 *
 * **Details**
 *
 * - The timeout is exact: it fails at that time whatever the store is doing. An opening that was confirmed before it wins.
 * - A request that fails because the store does not answer is tried again until the timeout.
 * - A wait that has recorded the opening returns when the others that are waiting have read it, within one TTL at most.
 *   Where a participant was not waiting yet, the record stays a little longer, in the background.
 * - A wait that times out or is interrupted leaves nothing behind. Only a record that was just being written is withdrawn
 *   later, in the background, because others may have passed by it.
 *
 * **Gotchas**
 *
 * A process that only observes passes by what opens after its wait has begun. A participant that joins meanwhile, and is
 * not ready, closes the barrier again for those who begin to wait later.
 *
 * **Example** (Who is late)
 *
 * ```ts
 * import { Effect, Schema } from "effect"
 * import { Barrier, Memory } from "effect-ensemble"
 *
 * const Migration = Barrier.make("migration", { state: Schema.String, minimum: 2, isReady: (state) => state === "ready" })
 * const program = Effect.scoped(Effect.gen(function*() {
 *   yield* Barrier.announce(Migration, "starting", { id: "a" })
 *   return yield* Effect.flip(Barrier.wait(Migration, { timeout: "50 millis", expected: ["a", "b"] }))
 * }))
 * const error = await Effect.runPromise(program.pipe(Effect.provide(Memory.layer())))
 * if (error._tag === "BarrierTimeout") console.log(error.notReady, error.missing) // => [ 'a' ] [ 'b' ]
 * ```
 *
 * @category accessors
 * @since 0.1.0
 */
export const wait = Effect.fn("Barrier.wait")(function* <S>(
  self: Definition<S>,
  options: WaitOptions
): Effect.fn.Return<Opening, BarrierTimeout | CoordinatorError, Coordinator> {
  yield* Effect.annotateCurrentSpan({ group: Group.label(self.group) })
  return yield* waitWith(yield* Coordinator, "Barrier.wait", self, options, Effect.void)
})

/**
 * How far the barrier has come, now and at every change; a slow reader gets the newest, not a backlog.
 *
 * **When to use**
 *
 * Use it to show what everybody waits for. It does not decide: only {@link wait} passes by an opening that was recorded.
 *
 * **Example** (Watching a barrier)
 *
 * ```ts
 * import { Effect, Schema, Stream } from "effect"
 * import { Barrier, Memory } from "effect-ensemble"
 *
 * const Migration = Barrier.make("migration", { state: Schema.String, minimum: 3 })
 * const program = Effect.scoped(Effect.gen(function*() {
 *   yield* Barrier.announce(Migration, "ready", { id: "a" })
 *   return yield* Barrier.progress(Migration, { expected: ["a", "b"] }).pipe(
 *     Stream.map(({ missing, ready, short }) => `${ready} ready, ${short} short, ${missing} missing`),
 *     Stream.take(1),
 *     Stream.runCollect
 *   )
 * }))
 * console.log(await Effect.runPromise(program.pipe(Effect.provide(Memory.layer())))) // => [ '1 ready, 2 short, b missing' ]
 * ```
 *
 * @category streams
 * @since 0.1.0
 */
export const progress = <S>(
  self: Definition<S>,
  options: ProgressOptions = {}
): Stream.Stream<Progress, CoordinatorError, Coordinator> =>
  Stream.unwrap(
    Effect.gen(function* () {
      const coordinator = yield* Coordinator
      const rule = yield* ruleOf(coordinator, "Barrier.progress", self, options.expected)
      return coordinator.group(self.group).watch.pipe(
        Stream.map((view): Progress => judge(rule, view)),
        Stream.changesWith(same)
      )
    })
  )
