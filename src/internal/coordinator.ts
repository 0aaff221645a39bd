/** Makes the `Coordinator` of a store: one session, its memberships and its shared watches. */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import * as RcMap from "effect/RcMap"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { Coordinator, Options } from "../Coordinator.ts"
import { CoordinatorError, InvalidOptions, OutcomeUnknown, TooLarge, Unreachable } from "../CoordinatorError.ts"
import type { Reason } from "../CoordinatorError.ts"
import type { Group, GroupName, JoinOptions } from "../Group.ts"
import * as Groups from "../Group.ts"
import * as Membership from "../Membership.ts"
import * as awaitTurn from "./awaitTurn.ts"
import * as Cell from "./cell.ts"
import * as Deadlines from "./deadlines.ts"
import * as Debts from "./debts.ts"
import * as GroupHub from "./groupHub.ts"
import * as Leases from "./leases.ts"
import type { Ask, Environment, LocalMembership } from "./localMembership.ts"
import { localOf } from "./localMembership.ts"
import * as LocalMemberships from "./membership.ts"
import { durationProblem, nameProblem } from "./options.ts"
import * as SessionKeeper from "./sessionKeeper.ts"
import type { Facts, GroupStore, Store } from "./store.ts"
import { unexpected } from "./unexpected.ts"
import { byteLength } from "./utf8.ts"

const defaultTtlMillis = 15_000

/** A request never takes longer than this by default: one that does is better sent again to somebody else. */
const mostRequestMillis = 5_000

const defaultConnectMillis = 10_000

/** A lock is asked for its group each time it is taken. Those of a program that has more of them than this are made anew. */
const rememberedGroups = 256

/**
 * How long after its creation an entry of one's own is not attended to; what happened until then is told when that begins. A lock
 * that is held for a moment would pay as much for being attended to as for itself. A leader is attended to from the start: it leads for
 * long, and when its entry is deleted the next one leads at once. By what else stands in groups nobody acts alone.
 */
const unattendedMillis = { lock: 10, others: 100 }

/** What is known of a group whatever is asked of it. */
interface Known {
  readonly kind: GroupName["kind"]
  readonly label: string
  readonly problem: string | undefined
  readonly store: GroupStore
}

interface Settings extends SessionKeeper.SessionOptions {
  readonly node: string
}

const settingsOf = Effect.fnUntraced(function* (store: Facts, options: Options) {
  const refuse = (detail: string) =>
    new CoordinatorError({
      engine: store.engine,
      operation: "layer",
      endpoint: store.endpoint,
      reason: new InvalidOptions({ detail })
    })
  for (const [what, value] of [
    ["ttl", options.ttl],
    ["requestTimeout", options.requestTimeout],
    ["connectTimeout", options.connectTimeout]
  ] as const) {
    const problem = value === undefined ? undefined : durationProblem(what, value)
    if (problem !== undefined) return yield* refuse(problem)
  }
  const millis = (value: Duration.Input | undefined, otherwise: number) =>
    value === undefined ? otherwise : Duration.toMillis(Duration.fromInputUnsafe(value))
  const ttlMillis = millis(options.ttl, defaultTtlMillis)
  if (ttlMillis < store.minimumTtlMillis) {
    return yield* refuse(
      `A ttl of ${ttlMillis} ms is below what ${store.engine} can keep. Give at least ${store.minimumTtlMillis} ms`
    )
  }
  const requestMillis = millis(options.requestTimeout, Math.min(mostRequestMillis, ttlMillis / 3))
  if (requestMillis <= 0)
    return yield* refuse("requestTimeout is zero: no request could be answered. Give at least 1 ms")
  const node = options.node ?? `node-${(yield* Random.nextIntBetween(0, 0x7fffffff)).toString(16).padStart(8, "0")}`
  const problem = nameProblem("node", node)
  if (problem !== undefined) return yield* refuse(problem)
  const settings: Settings = {
    node,
    ttlMillis,
    requestMillis,
    connect: options.connect ?? "wait",
    connectMillis: millis(options.connectTimeout, defaultConnectMillis)
  }
  return settings
})

/** Builds the service; the scope ends the session and everything that lives by it. */
export const make = Effect.fnUntraced(function* (
  facts: Facts,
  connect: (settings: { readonly requestMillis: number }) => Effect.Effect<Store, CoordinatorError, Scope.Scope>,
  options: Options
): Effect.fn.Return<Coordinator["Service"], CoordinatorError, Scope.Scope> {
  const settings = yield* settingsOf(facts, options)
  const store = yield* connect(settings)
  const clock = yield* Clock.clockWith(Effect.succeed)
  /** Mostly it is the caller's own, and nothing need be provided. */
  const local = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    Clock.clockWith((now) => (now === clock ? effect : Effect.provideService(effect, Clock.Clock, clock)))
  const deadlines = yield* Deadlines.make({ clock, millis: settings.requestMillis })
  const memberships = new Map<string, LocalMembership>()

  const failure = (operation: string, reason: Reason) =>
    new CoordinatorError({ engine: facts.engine, operation, endpoint: facts.endpoint, reason })
  const late = `No answer within ${Math.round(settings.requestMillis)} ms`
  const bounded =
    (kind: "read" | "write", reason: () => Reason): Ask =>
    (operation, request, cut, context) =>
      deadlines.bound(request, {
        context,
        orElse: Effect.suspend(() => Effect.fail(failure(operation, reason()))),
        onDefect: unexpected(facts, operation, kind),
        cut
      })
  const read = bounded("read", () => new Unreachable({ detail: late }))
  const write = bounded("write", () => new OutcomeUnknown({ detail: late }))

  /** Whether the last removal of a withdrawn member was left unanswered. */
  let releasesHang = false
  const unawaited = "Not waited for, because the removal before it has no answer yet"
  const release: Environment["release"] = (request, unconfirmed) =>
    Effect.suspend(() => {
      const send = write("Membership.withdraw", request).pipe(
        Effect.tap(() =>
          Effect.sync(() => {
            releasesHang = false
          })
        ),
        Effect.tapError((error) =>
          Effect.sync(() => {
            releasesHang = error.reason._tag === "OutcomeUnknown"
          })
        )
      )
      if (!releasesHang) return Effect.catch(send, unconfirmed)
      // Owed before the key is free again: who joins under it next must not take the entry for its own.
      return Effect.andThen(
        unconfirmed(failure("Membership.withdraw", new OutcomeUnknown({ detail: unawaited }))),
        Effect.asVoid(Effect.forkDetach(Effect.ignore(send)))
      )
    })

  const debts: Debts.Debts = Debts.make({
    clock,
    alive: (session) => keeper.leaseUnsafe()?.id === session,
    claimed: (key) => memberships.has(key),
    call: (request) => write("Session.settle", request)
  })

  const keeper: SessionKeeper.SessionKeeper = yield* SessionKeeper.make(facts, store, settings, {
    surrenderUnsafe: (session, cause) => {
      debts.forgetUnsafe(session)
      for (const membership of memberships.values()) membership.stepUnsafe({ _tag: "SessionLost", session, cause })
    },
    renewed: (lease) =>
      Effect.map(debts.settle(lease), (result) => {
        if (result === "Overdue") keeper.stepUnsafe({ _tag: "Expired", id: lease.id, cause: "DebtUnsettled" })
      })
  })

  const checkSize = (operation: string, value: string): CoordinatorError | undefined => {
    const bytes = byteLength(value)
    if (bytes <= facts.maximumValueBytes) return undefined
    const detail = `The value has ${bytes} bytes; ${facts.engine} takes ${facts.maximumValueBytes}`
    return failure(operation, new TooLarge({ detail }))
  }

  const locks = yield* Deadlines.make({ clock, millis: unattendedMillis.lock })
  const others = yield* Deadlines.make({ clock, millis: unattendedMillis.others })
  const env: Environment = {
    checkSize,
    keeper,
    debts,
    read,
    write,
    release,
    attendance: (kind) => (kind === "election" ? undefined : kind === "lock" ? locks : others),
    local,
    requestMillis: settings.requestMillis,
    background: settings.connect === "background",
    unreachable: (operation) => failure(operation, new Unreachable({ detail: `No session, or no answer, in time` }))
  }

  const hubs: RcMap.RcMap<GroupName, GroupHub.GroupHub> = yield* RcMap.make({
    lookup: (name: GroupName) =>
      GroupHub.make({
        label: Groups.label(name),
        // A watch that was refused serves those who have it; who comes after the cause was cured gets a new one.
        feed: Stream.tapError(store.group(name).feed, () => RcMap.invalidate(hubs, name)),
        owns: keeper.owns,
        wallUnsafe: () => clock.currentTimeMillisUnsafe()
      }).pipe(local)
  })

  /** Made once for all groups: what traces an operation is dear to make. */
  const join = Effect.fn("Group.join")(function* (
    { kind, label, problem, store: inGroup }: Known,
    entry: { readonly id?: string | undefined; readonly value: string },
    joinOptions: JoinOptions,
    /** Of the program, outside the span, which is over when the membership begins. */
    context: Context.Context<Scope.Scope>
  ) {
    yield* Effect.annotateCurrentSpan("group", label)
    const id = entry.id ?? settings.node
    const idProblem = problem ?? nameProblem(`member id in ${label}`, id)
    if (idProblem !== undefined) {
      return yield* failure("Group.join", new InvalidOptions({ detail: idProblem }))
    }
    const tooLarge = checkSize("Group.join", entry.value)
    if (tooLarge !== undefined) return yield* tooLarge
    const key = `${label}/${id}`
    const request = { kind, label, key, group: inGroup, id, value: entry.value, options: joinOptions }
    const scope = Context.get(context, Scope.Scope)
    const timed = Context.get(context, Clock.Clock) === clock ? context : Context.add(context, Clock.Clock, clock)
    return yield* LocalMemberships.join(env, request, scope, timed, (joined) => {
      if (memberships.has(key)) return undefined
      memberships.set(key, joined)
      return () => memberships.delete(key)
    })
  })

  const makeGroup = (name: GroupName): Group => {
    const label = Groups.label(name)
    const inGroup = store.group(name)
    const problem = nameProblem(`name of the ${name.kind}`, name.name)
    const known: Known = { kind: name.kind, label, problem, store: inGroup }
    const checked = <A, E, R>(
      operation: string,
      effect: Effect.Effect<A, E, R>
    ): Effect.Effect<A, E | CoordinatorError, R> =>
      problem === undefined ? effect : Effect.fail(failure(operation, new InvalidOptions({ detail: problem })))

    return {
      name,
      join: (entry, joinOptions = {}) =>
        Effect.contextWith((context: Context.Context<Scope.Scope>) => join(known, entry, joinOptions, context)),
      list: checked(
        "Group.list",
        Effect.map(local(read("Group.list", inGroup.list)), (snapshot) => GroupHub.viewOf(snapshot, keeper.owns))
      ).pipe(Effect.withSpan("Group.list", { attributes: { group: label } })),
      watch: Stream.unwrap(
        checked(
          "Group.watch",
          Effect.map(RcMap.get(hubs, name), (hub) => hub.watch)
        )
      ),
      changes: Stream.unwrap(
        checked(
          "Group.changes",
          Effect.map(RcMap.get(hubs, name), (hub) => hub.changes)
        )
      ),
      awaitTurn: (mine) => {
        const joined = localOf(mine)
        return joined?.env !== env
          ? Effect.fail(new Membership.MembershipLost({ group: label, id: mine.id, cause: "NotYetHeld" }))
          : awaitTurn.make(inGroup, mine, joined)
      }
    }
  }

  const groups = new Map<string, Group>()
  const group = (name: GroupName): Group => {
    const key = Groups.label(name)
    const made = groups.get(key)
    if (made !== undefined) return made
    if (groups.size >= rememberedGroups) groups.clear()
    const anew = makeGroup(name)
    groups.set(key, anew)
    return anew
  }

  const session = Cell.changes(keeper.state)
  Leases.register(session, keeper)
  return { engine: facts.engine, node: settings.node, session, group }
})
