/**
 * Alone for a moment: one body at a time, of all processes that use the lock, in the order in which they asked.
 *
 * **When to use**
 *
 * Use it for work that ends: a migration, a report, a change of something shared. Work that goes on for as long as the
 * process lives is an `Election`.
 *
 * **Gotchas**
 *
 * What a lock does not promise comes first: a process may be paused between its last look at the clock and the act that
 * follows, and wake up when another holds the lock. No lease can prevent that. Call `tenure.ensure` before every act on
 * the outside world, and where two holders must never both be obeyed, hand `tenure.token` to the resource that is
 * written and let it refuse a token lower than one that it has seen.
 *
 * The lock is not reentrant: a body that asks for the lock that it holds waits for itself.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import type * as Option from "effect/Option"
import * as Random from "effect/Random"
import * as Scope from "effect/Scope"
import { Coordinator } from "./Coordinator.ts"
import type { CoordinatorError } from "./CoordinatorError.ts"
import type * as Election from "./Election.ts"
import type { Group, GroupName } from "./Group.ts"
import { label } from "./Group.ts"
import * as internal from "./internal/tenure.ts"
import type { Membership, MembershipLost } from "./Membership.ts"

/**
 * What the users of a lock agree on. Made by {@link make}.
 *
 * **Details**
 *
 * `group` is the group of the holder and of those who wait, for programs that use it directly.
 *
 * @category models
 * @since 0.1.0
 */
export interface Definition {
  readonly name: string
  readonly group: GroupName
}

/**
 * One holding of a lock. Each has an id and a token of its own.
 *
 * @category models
 * @since 0.1.0
 */
export type Tenure = Election.Tenure

/**
 * What runs under the lock: an effect, or an effect made from the tenure.
 *
 * @category models
 * @since 0.1.0
 */
export type Body<A, E, R> = Effect.Effect<A, E, R> | ((tenure: Tenure) => Effect.Effect<A, E, R>)

/**
 * Defines a lock. It never throws: a name that cannot be used is an `InvalidOptions` failure of the first operation.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (name: string): Definition => ({ name, group: { kind: "lock", name } })

/** Room for a dot and 16 hexadecimal digits within the 128 characters of a member's name. */
const longestNode = 111

const word = Effect.map(Random.nextIntBetween(0, 0xffff_ffff), (n) => n.toString(16).padStart(8, "0"))

/** Fibers of one process queue like processes do, so each acquisition is a member of its own. */
const makeId = (node: string): Effect.Effect<string> =>
  Effect.zipWith(word, word, (a, b) => `${node.slice(0, longestNode)}.${a}${b}`)

/** Joins under an id of its own and settles what becomes of that, in a scope that the body does not see. */
const acquire = <A>(
  self: Definition,
  scope: Scope.Scope,
  settle: (group: Group, membership: Membership) => Effect.Effect<A, CoordinatorError | MembershipLost>
): Effect.Effect<A, CoordinatorError | MembershipLost, Coordinator> =>
  Effect.gen(function* () {
    const coordinator = yield* Coordinator
    const group = coordinator.group(self.group)
    const id = yield* makeId(coordinator.node)
    yield* Effect.annotateCurrentSpan({ group: label(self.group), id })
    return yield* settle(group, yield* group.join({ id, value: "" }))
  }).pipe(
    Scope.provide(scope),
    // Sixty-four random bits that met another's are no condition to handle.
    Effect.catchTag("MemberConflict", Effect.die),
    // Where it was called from, the span around it tells.
    Effect.withSpan("Lock.acquire", undefined, { captureStackTrace: false })
  )

/** The tenure of a membership that has nobody before it. A missing own entry is for the grant to judge. */
const ifFirst = Effect.fnUntraced(function* (group: Group, membership: Membership) {
  const own = yield* membership.token
  const { members } = yield* group.list
  return members.some(({ token }) => token < own) ? undefined : yield* internal.awaitTenure(group, membership)
})

/** Runs the body for no longer than the lock is held. */
const hold = Effect.fnUntraced(function* <A, E, R>(self: Definition, tenure: Tenure, body: Body<A, E, R>) {
  const coordinator = yield* Coordinator
  yield* Effect.logDebug(`${tenure.id} holds ${label(self.group)} with token ${tenure.token}`)
  const outcome = yield* internal.hold(coordinator, coordinator.group(self.group), tenure, {
    verb: "holds",
    body: Effect.isEffect(body) ? body : Effect.suspend(() => body(tenure)),
    onOverrun: () => Effect.void
  })
  return yield* outcome._tag === "Lost" ? outcome.loss : outcome.exit
})

const wait = <A, E, R>(
  self: Definition,
  body: Body<A, E, R>
): Effect.Effect<A, E | CoordinatorError | MembershipLost, Coordinator | R> =>
  Effect.scopedWith((scope) =>
    Effect.flatMap(acquire(self, scope, internal.awaitTenure), (tenure) => hold(self, tenure, body))
  ).pipe(Effect.withSpan("Lock.withLock"))

/**
 * Waits for the lock, runs the body while holding it, and gives it back.
 *
 * **Details**
 *
 * Whoever asked first is first. A loss of the lock interrupts the body by the session's deadline, and once the body has
 * stopped, fails with `MembershipLost`: whether to begin again is the caller's to say. Interrupted while it waits, it leaves
 * the queue. What the body acquires in a scope belongs to the caller's scope, as with a semaphore.
 *
 * **Gotchas**
 *
 * A body that cannot be interrupted goes on after a loss. When it is still running at the moment when the store may give
 * the lock to another, that is logged at error level and counted as an overrun.
 *
 * **Example** (One migration at a time)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Lock, Memory } from "effect-ensemble"
 *
 * const Schema = Lock.make("schema")
 * const migrate = Effect.succeed("migrated").pipe(Lock.withLock(Schema))
 * console.log(await Effect.runPromise(migrate.pipe(Effect.provide(Memory.layer())))) // => migrated
 * ```
 *
 * **Example** (Handing the token to what is written)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Lock, Memory } from "effect-ensemble"
 *
 * const Ledger = Lock.make("ledger")
 * const write = (line: string, token: bigint) => Effect.succeed(token > 0n ? line : "refused")
 * const program = Lock.withLock(Ledger, (tenure) =>
 *   Effect.flatMap(tenure.ensure, (token) => write("paid", token)))
 * console.log(await Effect.runPromise(program.pipe(Effect.provide(Memory.layer())))) // => paid
 * ```
 *
 * @category combinators
 * @since 0.1.0
 */
export const withLock: {
  (
    self: Definition
  ): <A, E, R>(body: Body<A, E, R>) => Effect.Effect<A, E | CoordinatorError | MembershipLost, Coordinator | R>
  <A, E, R>(
    self: Definition,
    body: Body<A, E, R>
  ): Effect.Effect<A, E | CoordinatorError | MembershipLost, Coordinator | R>
  // The overloads say which; one signature cannot give both.
} = <A, E, R>(self: Definition, body?: Body<A, E, R>): never =>
  (body === undefined ? <A, E, R>(body: Body<A, E, R>) => wait(self, body) : wait(self, body)) as never

const attempt = <A, E, R>(
  self: Definition,
  body: Body<A, E, R>
): Effect.Effect<Option.Option<A>, E | CoordinatorError | MembershipLost, Coordinator | R> =>
  Effect.scopedWith((scope) =>
    Effect.flatMap(acquire(self, scope, ifFirst), (tenure) =>
      tenure === undefined ? Effect.succeedNone : Effect.asSome(hold(self, tenure, body))
    )
  ).pipe(Effect.withSpan("Lock.tryLock"))

/**
 * Runs the body if nobody holds the lock or waits for it, and gives `None` otherwise, without waiting.
 *
 * **Details**
 *
 * It asks the store once to join and once who is there. Otherwise it does what {@link withLock} does.
 *
 * **Example** (Leaving it to the one who does it already)
 *
 * ```ts
 * import { Effect, Option } from "effect"
 * import { Lock, Memory } from "effect-ensemble"
 *
 * const Cleanup = Lock.make("cleanup")
 * const program = Lock.withLock(Cleanup, Lock.tryLock(Cleanup, Effect.succeed("cleaned")))
 * const result = await Effect.runPromise(program.pipe(Effect.provide(Memory.layer())))
 * console.log(Option.getOrElse(result, () => "somebody else is at it")) // => somebody else is at it
 * ```
 *
 * @category combinators
 * @since 0.1.0
 */
export const tryLock: {
  (
    self: Definition
  ): <A, E, R>(
    body: Body<A, E, R>
  ) => Effect.Effect<Option.Option<A>, E | CoordinatorError | MembershipLost, Coordinator | R>
  <A, E, R>(
    self: Definition,
    body: Body<A, E, R>
  ): Effect.Effect<Option.Option<A>, E | CoordinatorError | MembershipLost, Coordinator | R>
  // The overloads say which; one signature cannot give both.
} = <A, E, R>(self: Definition, body?: Body<A, E, R>): never =>
  (body === undefined ? <A, E, R>(body: Body<A, E, R>) => attempt(self, body) : attempt(self, body)) as never
