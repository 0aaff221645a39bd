/**
 * One leader among many candidates: whoever joined first leads, and the others wait.
 *
 * **When to use**
 *
 * Use it for work that one process should do at a time for as long as it lives: a scheduler, a compaction, a consumer
 * that must not run twice. For a short piece of work that ends, use `Lock`.
 *
 * **Gotchas**
 *
 * What an election does not promise comes first: a process may be paused between its last look at the clock and the act
 * that follows, and wake up when another leads. No lease can prevent that. Call `tenure.ensure` before every act on the
 * outside world, and where two leaders must never both be obeyed, hand `tenure.token` to the resource that is written
 * and let it refuse a token lower than one that it has seen.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import type * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { Coordinator } from "./Coordinator.ts"
import type { CoordinatorError } from "./CoordinatorError.ts"
import type { GroupName, Member } from "./Group.ts"
import { label } from "./Group.ts"
import { backoff } from "./internal/backoff.ts"
import * as metrics from "./internal/metrics.ts"
import * as internal from "./internal/tenure.ts"
import type { MemberConflict, MembershipLost } from "./Membership.ts"

/**
 * What the candidates and their observers agree on. Made by {@link make}.
 *
 * **Details**
 *
 * `group` is the group of the candidates, for programs that use it directly.
 *
 * @category models
 * @since 0.1.0
 */
export interface Definition {
  readonly name: string
  readonly group: GroupName
}

/**
 * One term of leading.
 *
 * **Details**
 *
 * - `group` is where it is held, and `id` is the candidate's.
 * - `token` is larger than that of every leader before: the fencing token.
 * - `ensure` is the token, or `MembershipLost`. It reads the clocks when asked and does no I/O.
 * - `lost` never succeeds; it fails at the moment when the place is lost.
 *
 * @category models
 * @since 0.1.0
 */
export interface Tenure {
  readonly group: GroupName
  readonly id: string
  readonly token: bigint
  readonly ensure: Effect.Effect<bigint, MembershipLost>
  readonly lost: Effect.Effect<never, MembershipLost>
}

/**
 * A body that was still running when the store could already have given its place to another.
 *
 * @category models
 * @since 0.1.0
 */
export interface Overrun {
  readonly tenure: Tenure
  readonly loss: MembershipLost
}

/**
 * The candidate that leads: `value` is what it published when it joined, `mine` whether it is of this process.
 *
 * @category models
 * @since 0.1.0
 */
export type Leader = Member<string>

/**
 * Why a campaign was not won.
 *
 * @category errors
 * @since 0.1.0
 */
export type CampaignError = CoordinatorError | MemberConflict | MembershipLost

/**
 * Who campaigns, and what the others are told of it.
 *
 * **Details**
 *
 * - `id`: names the candidate. Default: the coordinator's node.
 * - `value`: what {@link observe} shows of it, an address for example. Default: the empty text.
 *
 * @category models
 * @since 0.1.0
 */
export interface CampaignOptions {
  readonly id?: string | undefined
  readonly value?: string | undefined
}

/**
 * How to lead.
 *
 * **Details**
 *
 * - `retry`: when to campaign again after a loss, and after a `CoordinatorError` that time may cure. Its input is that
 *   failure; it starts anew with each election; when it ends, so does `lead`, with the failure. Default: for ever, after
 *   100 milliseconds at first and 5 seconds at most, jittered.
 * - `onOverrun`: runs once in a tenure whose body is still running when the store may give its place to another. It
 *   runs to its end before the next campaign. Let it do what stops the body for certain, ending the process if need be.
 *
 * @category models
 * @since 0.1.0
 */
export interface LeadOptions<out R = never> extends CampaignOptions {
  readonly retry?: Schedule.Schedule<unknown, CampaignError> | undefined
  readonly onOverrun?: ((overrun: Overrun) => Effect.Effect<unknown, never, R>) | undefined
}

/**
 * What a leader does: an effect, or an effect made from the tenure.
 *
 * @category models
 * @since 0.1.0
 */
export type Body<A, E, R> = Effect.Effect<A, E, R> | ((tenure: Tenure) => Effect.Effect<A, E, R>)

/**
 * Defines an election. It never throws: a name that cannot be used is an `InvalidOptions` failure of the first operation.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (name: string): Definition => ({ name, group: { kind: "election", name } })

/**
 * Campaigns until elected, and leads for as long as the scope stays open.
 *
 * **When to use**
 *
 * Use {@link lead}, which stops the work when the tenure is lost. Use this where the work is not one effect, and follow
 * `tenure.lost` yourself.
 *
 * **Details**
 *
 * Closing the scope resigns. A campaign that fails or is interrupted withdraws the candidate at once.
 *
 * **Example** (Being elected)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Election, Memory } from "effect-ensemble"
 *
 * const Report = Election.make("nightly-report")
 * const program = Effect.scoped(Effect.gen(function*() {
 *   const tenure = yield* Election.campaign(Report, { id: "web-1" })
 *   const token = yield* tenure.ensure
 *   return token === tenure.token ? `${tenure.id} leads` : "never"
 * }))
 * console.log(await Effect.runPromise(program.pipe(Effect.provide(Memory.layer())))) // => web-1 leads
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const campaign = Effect.fn("Election.campaign")(function* (
  self: Definition,
  options: CampaignOptions = {}
): Effect.fn.Return<Tenure, CampaignError, Coordinator | Scope.Scope> {
  const coordinator = yield* Coordinator
  const group = coordinator.group(self.group)
  const name = label(self.group)
  const id = options.id ?? coordinator.node
  yield* Effect.annotateCurrentSpan({ group: name, id })
  yield* Effect.logDebug(`${id} campaigns for ${name}`)
  const [duration, tenure] = yield* internal
    .enter(group, { id, value: options.value ?? "" }, (membership) => internal.awaitTenure(group, membership))
    .pipe(Effect.timed)
  yield* Metric.update(Metric.withAttributes(metrics.campaignTime, { group: name }), duration)
  yield* Effect.annotateCurrentSpan({ token: String(tenure.token) })
  yield* Effect.logInfo(`${id} leads ${name} with token ${tenure.token}`)
  return tenure
})

/** From campaigning to resigning. It fails only by its campaign; the member goes after the body has stopped. */
const term = Effect.fnUntraced(function* <A, E, R, R2>(
  self: Definition,
  body: Body<A, E, R>,
  options: LeadOptions<R2>
) {
  const tenure = yield* campaign(self, options)
  const coordinator = yield* Coordinator
  const name = label(self.group)
  const leading = Metric.withAttributes(metrics.leading, { group: name })
  const { id, token } = tenure
  yield* Metric.update(leading, 1)
  const outcome = yield* internal
    .hold(coordinator, coordinator.group(self.group), tenure, {
      verb: "leads",
      body: Effect.scoped(Effect.isEffect(body) ? body : Effect.suspend(() => body(tenure))),
      onOverrun: (loss) => options.onOverrun?.({ tenure, loss }) ?? Effect.void
    })
    .pipe(
      Effect.withSpan("Election.tenure", { attributes: { group: name, id, token: String(token) } }),
      Effect.ensuring(Metric.update(leading, 0))
    )
  if (outcome._tag === "Ended") {
    const how = Exit.isSuccess(outcome.exit) ? "ended" : "failed"
    yield* Effect.logInfo(`${id} resigns from ${name}: its work has ${how}`)
  }
  return outcome
}, Effect.scoped)

const repeatTerms = Effect.fnUntraced(function* <A, E, R, R2>(
  self: Definition,
  body: Body<A, E, R>,
  options: LeadOptions<R2>
): Effect.fn.Return<A, E | CampaignError, Coordinator | Exclude<R, Scope.Scope> | R2> {
  const name = label(self.group)
  const retry = {
    schedule: options.retry ?? backoff(100, 5_000),
    while: (error: CampaignError) =>
      error._tag === "MembershipLost" || (error._tag === "CoordinatorError" && error.isTransient)
  } as const
  // The loss of one tenure is the first failure of the next campaign: the schedule decides when that begins.
  let loss: MembershipLost | undefined
  while (true) {
    const outcome = yield* Effect.suspend(() => {
      const before = loss
      loss = undefined
      return before === undefined ? term(self, body, options) : Effect.fail(before)
    }).pipe(
      Effect.tapError((error) =>
        retry.while(error) ? Effect.logWarning(`Not leading ${name}, campaigning again: ${error.message}`) : Effect.void
      ),
      Effect.retry(retry)
    )
    if (outcome._tag === "Ended") return yield* outcome.exit
    loss = outcome.loss
  }
})

/**
 * Leads again and again: campaigns, runs the body while elected, and campaigns anew after each loss.
 *
 * **When to use**
 *
 * Use it for work that one process of many should do at a time.
 *
 * **Details**
 *
 * - The body's value ends `lead` and resigns; its failure resigns and fails.
 * - A loss interrupts the body by the session's deadline. `lead` waits until the body has stopped, and then campaigns
 *   again by `options.retry`. A body that fails because its tenure's `ensure` refused counts as interrupted.
 * - The body has a scope of its own, which closes before the place is given up.
 * - A `CoordinatorError` of the campaign that time does not cure, and `MemberConflict`, fail `lead`.
 *
 * **Gotchas**
 *
 * Work that cannot be interrupted goes on after the loss. From the moment when the store may give the place to another,
 * that is an overrun: it is logged at error level, counted, and given to `options.onOverrun`.
 *
 * **Example** (Work for the leader only)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Election, Memory } from "effect-ensemble"
 *
 * const Report = Election.make("nightly-report")
 * const program = Election.lead(Report, (tenure) =>
 *   Effect.gen(function*() {
 *     yield* tenure.ensure // before every act on the outside world
 *     return `written by ${tenure.id}`
 *   })
 * )
 * console.log(await Effect.runPromise(program.pipe(Effect.provide(Memory.layer({ node: "web-1" }))))) // => written by web-1
 * ```
 *
 * @category combinators
 * @since 0.1.0
 */
export const lead: {
  <A, E, R, R2 = never>(
    self: Definition,
    body: Body<A, E, R>,
    options?: LeadOptions<R2>
  ): Effect.Effect<A, E | CampaignError, Coordinator | Exclude<R, Scope.Scope> | R2>
  <R2 = never>(
    self: Definition,
    options?: LeadOptions<R2>
  ): <A, E, R>(body: Body<A, E, R>) => Effect.Effect<A, E | CampaignError, Coordinator | Exclude<R, Scope.Scope> | R2>
} = <A, E, R, R2>(
  self: Definition,
  bodyOrOptions?: Body<A, E, R> | LeadOptions<R2>,
  options: LeadOptions<R2> = {}
  // The overloads say which; one signature cannot give both.
): never => {
  const isBody = Effect.isEffect(bodyOrOptions) || typeof bodyOrOptions === "function"
  return (
    isBody
      ? repeatTerms(self, bodyOrOptions, options)
      : <A, E, R>(body: Body<A, E, R>) => repeatTerms(self, body, bodyOrOptions ?? {})
  ) as never
}

/**
 * The present leader, then each next one; `None` while nobody leads.
 *
 * **Details**
 *
 * The leader is the candidate with the lowest token. Its first moment may be shown before it has been granted the place
 * itself, and repetitions are left out.
 *
 * **Gotchas**
 *
 * While the store cannot be reached, the last known leader stays. It is a hint for sending requests to, and no proof that
 * it still leads.
 *
 * **Example** (Asking who leads)
 *
 * ```ts
 * import { Effect, Option, Stream } from "effect"
 * import { Election, Memory } from "effect-ensemble"
 *
 * const Report = Election.make("nightly-report")
 * const program = Effect.scoped(Effect.gen(function*() {
 *   yield* Election.campaign(Report, { id: "web-1", value: "10.0.0.1:8080" })
 *   const [leader] = yield* Election.observe(Report).pipe(Stream.take(1), Stream.runCollect)
 *   return Option.map(leader ?? Option.none(), ({ id, value }) => `${id} at ${value}`)
 * }))
 * console.log(Option.getOrNull(await Effect.runPromise(program.pipe(Effect.provide(Memory.layer()))))) // => web-1 at 10.0.0.1:8080
 * ```
 *
 * @category streams
 * @since 0.1.0
 */
export const observe = (self: Definition): Stream.Stream<Option.Option<Leader>, CoordinatorError, Coordinator> =>
  Stream.unwrap(
    Coordinator.useSync((coordinator) =>
      coordinator.group(self.group).watch.pipe(
        Stream.map(({ epoch, members }) => ({ epoch, leader: members[0] })),
        // Tokens compare only within an epoch: after a restored store the same number may be somebody else's.
        Stream.changesWith((a, b) => a.epoch === b.epoch && a.leader?.token === b.leader?.token),
        Stream.map(({ leader }) => Option.fromUndefinedOr(leader))
      )
    )
  )

/**
 * Leads in the background for the life of a layer.
 *
 * **Details**
 *
 * Building reads the group once, so that a name, credentials or permissions that cannot work fail the layer; it waits
 * neither for being elected nor for a store that is down. Closing the layer interrupts the body, waits until it has
 * stopped, and resigns.
 *
 * **Gotchas**
 *
 * When the body fails, this process no longer campaigns: that is logged at error level, and the rest of the program goes
 * on. A body that should start again after a failure has to be retried within.
 *
 * **Example** (A leader's background work)
 *
 * ```ts
 * import { Deferred, Effect, Layer } from "effect"
 * import { Election, Memory } from "effect-ensemble"
 *
 * const Report = Election.make("nightly-report")
 * const program = Effect.gen(function*() {
 *   const written = yield* Deferred.make<string>()
 *   const Reporter = Election.layer(Report, (tenure) =>
 *     Effect.andThen(Deferred.succeed(written, tenure.id), Effect.never))
 *   return yield* Deferred.await(written).pipe(
 *     Effect.provide(Reporter.pipe(Layer.provide(Memory.layer({ node: "web-1" }))))
 *   )
 * })
 * console.log(await Effect.runPromise(program)) // => web-1
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = <A, E, R, R2 = never>(
  self: Definition,
  body: Body<A, E, R>,
  options?: LeadOptions<R2>
): Layer.Layer<never, CoordinatorError, Coordinator | Exclude<R, Scope.Scope> | R2> =>
  Layer.effectDiscard(
    Effect.gen(function* () {
      const coordinator = yield* Coordinator
      yield* coordinator.group(self.group).list.pipe(
        Effect.catchIf(
          (error) => error.isTransient,
          () => Effect.void
        )
      )
      const name = label(self.group)
      yield* lead(self, body, options).pipe(
        Effect.onExit((exit) => {
          if (Exit.isSuccess(exit))
            return Effect.logInfo(`The work for ${name} has ended: this process no longer campaigns`)
          return Cause.hasInterruptsOnly(exit.cause)
            ? Effect.void
            : Effect.logError(`Leading ${name} has failed: this process no longer campaigns`, exit.cause)
        }),
        Effect.forkScoped
      )
    })
  )
