/** Programs on a real etcd, each behind a network of its own, whose history is recorded and judged. */
import { assert } from "@effect/vitest"
import { Clock, Context, Effect, Exit, Layer, Logger, Option, Ref, Scope, Stream } from "effect"
import { Coordinator, Discovery, Election, Group } from "effect-ensemble"
import type { Membership, Session } from "effect-ensemble"
import { Etcd } from "effect-ensemble/etcd"
import { History } from "effect-ensemble/testing"
import * as Proxy from "../../faults/proxy.ts"
import type * as Servers from "../../servers/etcd.ts"
import { until } from "../../servers/until.ts"
import { shared } from "../../torture/clock.ts"
import * as Chronicle from "../../torture/engines/etcdChronicle.ts"
import * as Fencing from "../../torture/fencing.ts"
import { merge } from "../../torture/merge.ts"

/** Its margin is a second: no pause of this process, which all cases of a file share, should come near that. */
export const ttl = "5 seconds"

export const Api = Discovery.make("api")
export const Chief = Election.make("chief")

/** What the engine logs about the faults that a test makes is of no use. */
export const silent = Logger.layer([])

/** Tries until a condition holds, with ten times the slack that it should need. */
export const eventually = <E, R>(
  what: string,
  condition: Effect.Effect<boolean, E, R>
): Effect.Effect<void, never, R> =>
  until(
    Effect.flatMap(condition, (holds) => (holds ? Effect.void : Effect.fail("not yet"))),
    { within: "60 seconds" }
  ).pipe(Effect.catch((state) => Effect.die(new Error(`${what}: ${String(state)}`))))

type Services = Coordinator.Coordinator | Etcd.Transactions

/** One program with an engine behind a proxy. */
export interface Node {
  readonly name: string
  readonly proxy: Proxy.Proxy
  readonly coordinator: Coordinator.Coordinator["Service"]
  readonly run: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, Exclude<R, Services>>
  /** Gives everything back, as a program that ends does. */
  readonly close: Effect.Effect<void>
}

export interface NodeOptions extends Etcd.Options {
  /** The member behind the proxy. Default: the first. */
  readonly member?: Servers.Member
}

export const makeNode = Effect.fnUntraced(function* (
  etcd: Servers.Etcd,
  name: string,
  { member = etcd.members[0], ...options }: NodeOptions
) {
  const proxy = yield* Proxy.make({ upstream: member })
  const scope = yield* Scope.fork(yield* Effect.scope)
  const engine = Etcd.layer({ ttl, endpoints: proxy.url, node: name, ...options })
  const services = yield* Layer.buildWithScope(engine, scope)
  const node: Node = {
    name,
    proxy,
    coordinator: Context.get(services, Coordinator.Coordinator),
    run: Effect.provide(services),
    close: Scope.close(scope, Exit.void)
  }
  return node
})

/** What runs on a node, until its scope closes. */
export interface Leading {
  /** How many tenures it has had so far. */
  readonly tenures: () => number
}

export interface Registered {
  readonly set: (n: number) => Effect.Effect<void>
}

export interface World {
  readonly root: string
  readonly prefix: string
  readonly recorder: History.Recorder
  readonly chronicle: Chronicle.EtcdChronicle
  readonly node: (name: string, options?: NodeOptions) => Effect.Effect<Node, never, Scope.Scope>
  /** Campaigns, writes under guard while it leads, and asks `ensure` for ever of every tenure that it has had. */
  readonly lead: (node: Node) => Effect.Effect<Leading, never, Scope.Scope>
  readonly register: (node: Node, id?: string) => Effect.Effect<Registered, never, Scope.Scope>
  /** Views and changes of the registrations. Answers with what the latest view has. */
  readonly watch: (node: Node) => Effect.Effect<() => string, never, Scope.Scope>
  /** The registrations as etcd has them, as `watch` shows views. */
  readonly truth: Effect.Effect<string, Servers.GatewayError>
  /** Waits until a node's watch shows what etcd has. */
  readonly converged: (shown: () => string) => Effect.Effect<void>
  /** Judges all that has happened, at a moment at which all should be quiet. */
  readonly judge: Effect.Effect<void, Servers.GatewayError>
}

const show = (members: ReadonlyArray<{ id: string; token: bigint; value: string }>) =>
  members
    .toSorted((a, b) => (a.token < b.token ? -1 : 1))
    .map(({ id, token, value }) => `${id}#${token}=${value}`)
    .join("\n")

let worlds = 0

/** A world of its own on a server that others may use at the same time: the prefix keeps them apart. */
export const makeWorld = Effect.fnUntraced(function* (etcd: Servers.Etcd) {
  const root = `/world-${++worlds}`
  const prefix = Chronicle.prefixOf(root)
  const recorder = yield* Effect.provideServiceEffect(History.make, Clock.Clock, shared)
  const chronicle = yield* Effect.orDie(Chronicle.make(etcd, root))
  const attempts: Array<Fencing.Attempt> = []

  const lead: World["lead"] = Effect.fnUntraced(function* (node) {
    const holder = { process: node.name, group: Chief.group }
    const group = Group.label(Chief.group)
    const scope = yield* Effect.scope
    let tenures = 0
    const write = Effect.fnUntraced(function* (tenure: Election.Tenure) {
      const nonce = `${node.name}-${attempts.length}`
      const value = Chronicle.guardedValue(tenure.token, nonce)
      const exit = yield* Effect.exit(Etcd.guarded(tenure, [Etcd.put(Chronicle.guardedKey(root, group), value)]))
      const error = Exit.isFailure(exit) ? Option.getOrUndefined(Exit.findErrorOption(exit)) : undefined
      attempts.push({
        nonce,
        outcome: Exit.isSuccess(exit) ? "done" : error?._tag === "MembershipLost" ? "refused" : "unknown"
      })
    })
    yield* Election.lead(Chief, (tenure) => {
      tenures++
      const asking = Effect.ignore(History.recordEnsure(recorder, holder, tenure)).pipe(
        Effect.andThen(Effect.sleep("25 millis")),
        Effect.forever
      )
      const writing = Effect.andThen(write(tenure), Effect.sleep("50 millis")).pipe(Effect.forever)
      return Effect.andThen(Effect.forkIn(asking, scope), History.recordTenure(recorder, holder, tenure, writing))
    }).pipe(node.run, Effect.forkScoped)
    return { tenures: () => tenures }
  })

  const register: World["register"] = Effect.fnUntraced(function* (node, id = node.name) {
    const at = (n: number) => ({ n: String(n) })
    const registration = yield* Discovery.register(Api, { id, address: "127.0.0.1", port: 1, attributes: at(0) }).pipe(
      node.run,
      Effect.orDie
    )
    return { set: (n) => Effect.ignore(registration.set(at(n))) }
  })

  const watch: World["watch"] = Effect.fnUntraced(function* (node) {
    const group = node.coordinator.group(Api.group)
    const reader = { process: node.name, reader: `${node.name}'s` }
    const latest = yield* Ref.make("")
    yield* Effect.forkScoped(History.recordViews(recorder, reader, group))
    yield* Effect.forkScoped(History.recordChanges(recorder, reader, group))
    yield* Effect.forkScoped(
      Stream.runForEach(group.watch, (view) =>
        Ref.set(latest, view.freshness._tag === "Fresh" ? show(view.members) : "stale")
      )
    )
    return () => Ref.getUnsafe(latest)
  })

  const truth = Effect.map(etcd.gateway.range(`${prefix}/${Api.group.kind}/${Api.group.name}/`), ({ entries }) =>
    show(
      entries.map(({ createRevision, key, value }) => ({
        id: key.split("/").at(-1) ?? "",
        token: createRevision,
        value
      }))
    )
  )

  const judge = Effect.gen(function* () {
    yield* chronicle.caughtUp
    yield* Effect.provideServiceEffect(
      History.record(recorder, { _tag: "Settled", process: "the test" }),
      Clock.Clock,
      shared
    )
    const told = yield* chronicle.told
    const history = merge(yield* recorder.events, told)
    assert.deepStrictEqual(History.check(history).map(History.format), [])
    assert.deepStrictEqual(Fencing.check(told, attempts).violations, [])
  })

  const world: World = {
    root,
    prefix,
    recorder,
    chronicle,
    node: (name, options) => Effect.orDie(makeNode(etcd, name, { prefix, ...options })),
    lead,
    register,
    watch,
    truth,
    converged: (shown) =>
      eventually(
        "the watch shows what the store has",
        Effect.map(truth, (held) => held === shown())
      ),
    judge
  }
  return world
})

const seen = (node: Node, wanted: (state: Session.SessionState) => boolean) =>
  node.coordinator.session.pipe(Stream.filter(wanted), Stream.runHead, Effect.asVoid)

/** Waits until a renewal has failed. */
export const suspended = (node: Node) => seen(node, (state) => state._tag === "Suspended")

/** Waits until a node's first session is over. A reader of states may be shown only the later ones. */
export const lost = (node: Node) =>
  seen(node, (state) => {
    if (state._tag === "Lost") return true
    return (state._tag === "Connecting" ? state.generation : "lease" in state ? state.lease.generation : 1) > 1
  })

/** Whether a membership is held by the clocks at this moment. */
export const holds = (membership: Pick<Membership.Membership, "ensure">): Effect.Effect<boolean> =>
  Effect.match(membership.ensure, { onFailure: () => false, onSuccess: () => true })

/** Two that campaign, the first of them behind the network that is struck; it has registered, and watches. */
export const stage = Effect.fnUntraced(function* (
  world: World,
  nodes?: { readonly struck: Node; readonly other: Node }
) {
  const struck = nodes?.struck ?? (yield* world.node("struck"))
  const other = nodes?.other ?? (yield* world.node("other"))
  const first = yield* world.lead(struck)
  yield* eventually(
    "the first leads",
    Effect.sync(() => first.tenures() === 1)
  )
  const second = yield* world.lead(other)
  const registered = yield* world.register(struck)
  const shown = yield* world.watch(struck)
  const passing = yield* Scope.fork(yield* Effect.scope)
  yield* world.register(other, "before").pipe(Scope.provide(passing))
  yield* world.converged(shown)
  return {
    struck,
    other,
    first,
    second,
    registered,
    shown,
    /** One leaves and one comes while nobody tells the struck one. */
    churn: Effect.andThen(Scope.close(passing, Exit.void), world.register(other, "meanwhile"))
  }
})

/** The last of what follows a fault: the registration and the watch are as if nothing had been. */
export const recovered = Effect.fnUntraced(function* (world: World, staged: Effect.Success<ReturnType<typeof stage>>) {
  yield* world.converged(staged.shown)
  yield* eventually(
    "the registration has the latest value",
    Effect.map(world.truth, (held) => /struck#.*"n":"1"/.test(held))
  )
  yield* world.converged(staged.shown)
  yield* world.judge
})
