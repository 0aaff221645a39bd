/** What a conformance case is given, and the few words it speaks. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Ref from "effect/Ref"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { Coordinator, Options } from "../../Coordinator.ts"
import type { CoordinatorError } from "../../CoordinatorError.ts"
import type { GroupName, GroupView } from "../../Group.ts"
import type { Faults } from "../Faults.ts"

/** A contract that an engine does not keep, in words. */
export class ConformanceFailure extends Schema.TaggedError<ConformanceFailure>(
  "effect-ensemble/testing/ConformanceFailure"
)("ConformanceFailure", { detail: Schema.String }) {
  override get message(): string {
    return this.detail
  }
}

/** One process on the store under test. `run` gives an effect its coordinator and, where it has its own, its clock. */
export interface TestProcess {
  readonly coordinator: Coordinator["Service"]
  readonly run: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, Exclude<R, Coordinator>>
}

/** What the store itself holds, whatever any process believes. Members are `kind/group/id`. */
export interface StoreTruth {
  readonly members: ReadonlyArray<string>
  readonly watches: number
}

export interface Harness {
  /** The TTL that processes are to ask for: the shortest at which the engine is still exact. */
  readonly ttlMillis: number
  readonly process: (
    node: string,
    options?: Pick<Options, "connect" | "connectTimeout">
  ) => Effect.Effect<TestProcess, CoordinatorError, Scope.Scope>
  /** Lets time pass: moves a test clock, or waits. */
  readonly advance: (millis: number) => Effect.Effect<void>
  readonly faults: Partial<Faults>
  readonly truth: Effect.Effect<StoreTruth>
  /** Requests that have reached the store so far, where the engine's tests can count them. */
  readonly requests?: Effect.Effect<number> | undefined
  /** Interruption is swept at every so manieth point; above 1 where a point costs real time. Default 1. */
  readonly stride?: number | undefined
}

/** What a case needs beyond the contract: a fault, or a promise that not every engine makes for every kind. */
export type Need = keyof Faults | "counted-requests" | "discovery-conflict"

export interface Case {
  readonly contract: string
  readonly name: string
  readonly needs: ReadonlyArray<Need>
  readonly run: (harness: Harness) => Effect.Effect<void, unknown, Scope.Scope>
}

export const conform = (
  contract: string,
  name: string,
  needs: ReadonlyArray<Need>,
  run: (harness: Harness) => Effect.Effect<void, unknown, Scope.Scope>
): Case => ({ contract, name, needs, run })

export const expect = (condition: boolean, detail: string): Effect.Effect<void, ConformanceFailure> =>
  condition ? Effect.void : Effect.fail(new ConformanceFailure({ detail }))

const show = (value: unknown): string =>
  JSON.stringify(value, (_, inner: unknown) => (typeof inner === "bigint" ? String(inner) : inner)) ?? String(value)

export const expectEqual = <A>(actual: A, wanted: A, what: string): Effect.Effect<void, ConformanceFailure> =>
  expect(show(actual) === show(wanted), `${what}: expected ${show(wanted)} and got ${show(actual)}`)

/** A fault that the case's `needs` has asked for. */
export const fault = <K extends keyof Faults>(harness: Harness, name: K): Faults[K] => {
  const found = harness.faults[name]
  // The suite leaves out cases whose needs are not declared, so a missing one is a wrong declaration.
  if (found === undefined) throw new Error(`The harness declares the fault "${name}" and does not have it`)
  return found
}

/** How long, in TTLs, anything that must happen in the end may take: an expiry of two TTLs with room for backoffs. */
const patienceTtls = 10

/** Small enough that an order of events within a TTL shows, large enough that a case takes few steps. */
const stepsPerTtl = 40

/** Lets time pass until the condition holds. */
export const eventually = <E>(
  harness: Harness,
  what: string,
  condition: Effect.Effect<boolean, E>,
  within = patienceTtls
): Effect.Effect<void, E | ConformanceFailure> =>
  Effect.gen(function* () {
    for (let step = 0; step <= within * stepsPerTtl; step++) {
      if (yield* condition) return
      yield* harness.advance(harness.ttlMillis / stepsPerTtl)
    }
    return yield* new ConformanceFailure({ detail: `${what}: not so within ${within} TTLs` })
  })

/** Lets time pass while the condition holds at every step. */
export const always = <E>(
  harness: Harness,
  what: string,
  ttls: number,
  condition: Effect.Effect<boolean, E>
): Effect.Effect<void, E | ConformanceFailure> =>
  Effect.gen(function* () {
    for (let step = 0; step <= ttls * stepsPerTtl; step++) {
      yield* expect(yield* condition, `${what}: not so after ${(step / stepsPerTtl).toFixed(2)} TTLs`)
      yield* harness.advance(harness.ttlMillis / stepsPerTtl)
    }
  })

/** Runs a stream in the background and keeps what it has emitted. */
export const collect = Effect.fnUntraced(function* <A, E, R>(
  stream: Stream.Stream<A, E, R>
): Effect.fn.Return<Effect.Effect<ReadonlyArray<A>>, never, R | Scope.Scope> {
  const seen = yield* Ref.make<ReadonlyArray<A>>([])
  yield* stream.pipe(
    Stream.runForEach((element) => Ref.update(seen, (before) => [...before, element])),
    Effect.forkScoped({ startImmediately: true })
  )
  return Ref.get(seen)
})

/** The newest element of a stream, as far as it has come. */
export const latest = Effect.fnUntraced(function* <A, E, R>(
  stream: Stream.Stream<A, E, R>
): Effect.fn.Return<Effect.Effect<A | undefined>, never, R | Scope.Scope> {
  const ref = yield* Ref.make<Option.Option<A>>(Option.none())
  yield* stream.pipe(
    Stream.runForEach((element) => Ref.set(ref, Option.some(element))),
    Effect.forkScoped({ startImmediately: true })
  )
  return Effect.map(Ref.get(ref), Option.getOrUndefined)
})

/** Runs an effect in the background; tells how it ended, once it has. */
export const background = Effect.fnUntraced(function* <A, E, R>(
  effect: Effect.Effect<A, E, R>
): Effect.fn.Return<Effect.Effect<{ readonly exit: Exit.Exit<A, E> } | undefined>, never, R | Scope.Scope> {
  const fiber = yield* Effect.forkScoped(effect, { startImmediately: true })
  return Effect.sync(() => {
    const exit = fiber.pollUnsafe()
    return exit === undefined ? undefined : { exit }
  })
})

/** Runs an effect in the background for the rest of the case. */
export const launch = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<void, never, R | Scope.Scope> =>
  Effect.asVoid(Effect.forkScoped(effect, { startImmediately: true }))

export const ids = (view: GroupView<unknown>): ReadonlyArray<string> => view.members.map((member) => member.id)

/** The name of the group that a case works in. */
export const election: GroupName = { kind: "election", name: "group" }

/** The group that a case works in. Each case has a store of its own, so the name need not be unique. */
export const groupOf = (process: TestProcess, name = election) => process.coordinator.group(name)

/** Whether the store's truth has exactly these members of one group. */
export const holds = (
  harness: Harness,
  members: ReadonlyArray<string>,
  group = "election/group"
): Effect.Effect<boolean> =>
  Effect.map(harness.truth, (truth) => {
    const mine = truth.members
      .filter((member) => member.startsWith(`${group}/`))
      .map((key) => key.slice(group.length + 1))
    return show([...mine].sort()) === show([...members].sort())
  })

export const now = Clock.currentTimeMillis

export const forTtls = (harness: Harness, ttls: number): Effect.Effect<void> =>
  harness.advance(harness.ttlMillis * ttls)

/** Joins under an id, as desired state. */
export const joinAs = (process: TestProcess, id: string, value = "1") =>
  groupOf(process).join({ id, value }, { rejoin: true })

/** `id=value`, in token order. */
export const content = (view: GroupView<string> | undefined) =>
  view?.members.map((member) => `${member.id}=${member.value}`)

export const valueOf = (process: TestProcess, id: string) =>
  Effect.map(groupOf(process).list, (view) => {
    const member = view.get(id)
    return member._tag === "Some" ? member.value.value : undefined
  })

export const tokenOf = (process: TestProcess, id: string) =>
  Effect.map(groupOf(process).list, (view) => {
    const member = view.get(id)
    return member._tag === "Some" ? member.value.token : undefined
  })

/** Joins in a scope of its own and gives the way to close it. */
export const joinScoped = Effect.fnUntraced(function* (
  process: TestProcess,
  value: string,
  rejoin = false,
  id?: string
) {
  const scope = yield* Scope.make()
  yield* Effect.addFinalizer((exit) => Scope.close(scope, exit))
  const membership = yield* groupOf(process).join({ id, value }, { rejoin }).pipe(Scope.provide(scope))
  return { membership, leave: Scope.close(scope, Exit.void) }
})

export const isHeld = (harness: Harness, process: TestProcess, id: string) =>
  eventually(
    harness,
    `${id} is a member`,
    Effect.map(groupOf(process).list, (view) => ids(view).includes(id))
  )
