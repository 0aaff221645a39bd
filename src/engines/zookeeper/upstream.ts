/** A group's watch and the reads that follow it, as a stream. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { CoordinatorError, Unreachable } from "../../CoordinatorError.ts"
import type { Feed } from "../../internal/store.ts"
import type { Abilities } from "./abilities.ts"
import type { Begun, Gap } from "./childWatch.ts"
import { watchChildren } from "./childWatch.ts"
import type { Client } from "./client.ts"
import type { Current } from "./clients.ts"
import type { RequestError } from "./errors.ts"
import { engine, failing } from "./failure.ts"
import type { GroupNode, Node } from "./nodes.ts"
import { namesOf, nodeAtUnsafe } from "./nodes.ts"
import * as P from "./protocol.ts"
import * as Views from "./views.ts"
import type { Listener } from "./watches.ts"

export interface Settings {
  readonly endpoint: string
  readonly requestMillis: number
}

/** For how long what is known is held back because the group does not stop changing. */
const longestUnsettledMillis = 1_000

/** A recursive watch, where the servers are thought to know such. */
const watchRecursively = (abilities: Abilities, client: Client, path: string, listener: Listener) =>
  Effect.tapError(client.watch(path, listener), (error) =>
    Effect.sync(() => {
      // The server hangs up after this answer; the next attempt watches in the way that it knows.
      if (error._tag === "Unimplemented") abilities.recursive = false
    })
  )

/** Watches the path and what is right below it. */
export const watch = (
  abilities: Abilities,
  client: Client,
  path: string,
  listener: Listener
): Effect.Effect<void, RequestError, Scope.Scope> =>
  abilities.recursive === false
    ? Effect.asVoid(watchChildren(client, path, listener))
    : watchRecursively(abilities, client, path, listener)

/** Watches a group and lists it: what the list does not show the watch tells, and the server has caught up before it lists. */
const begin = (
  abilities: Abilities,
  client: Client,
  path: string,
  listener: Listener,
  onGap: (gap: Gap) => void
): Effect.Effect<Begun, RequestError, Scope.Scope> =>
  // All at once, in this order.
  abilities.recursive === false
    ? Effect.map(
        Effect.all([client.sync(path), watchChildren(client, path, listener, onGap)], { concurrency: "unbounded" }),
        ([, begun]) => begun
      )
    : Effect.map(
        Effect.all([watchRecursively(abilities, client, path, listener), client.sync(path), namesOf(client, path)], {
          concurrency: "unbounded"
        }),
        ([, , listed]) => listed
      )

/** Why a watch cannot go on, as the failure of the stream. */
export const broken = (endpoint: string, detail: string): CoordinatorError =>
  new CoordinatorError({ engine, operation: "Group.watch", endpoint, reason: new Unreachable({ detail }) })

/** A notice that ends what is watched on this connection. */
export const endOf = (endpoint: string, notice: Parameters<Listener>[0]): CoordinatorError | undefined => {
  switch (notice._tag) {
    case "Interrupted":
    case "Restored":
      return broken(endpoint, "The connection was interrupted")
    case "Over":
      return broken(endpoint, notice.reason.message)
    case "Event":
      return undefined
  }
}

/** The feed as it is put together: what arrives in one turn is worked on at its end, whether anybody waits for it or not. */
class Assembly {
  private readonly current: Current
  private readonly group: GroupNode
  private readonly settings: Settings
  private readonly clock: Clock.Clock
  /** Begins to watch over what is due, which is ended by {@link isDue}. */
  private readonly guardUnsafe: () => void
  private arrived: Array<Views.Event> = []
  private isTurning = false
  private readonly state = Views.make()
  /** Whether anything came since it was last shown. */
  private hasNews = false
  /** The revision up to which everything was shown. */
  private shown: bigint | undefined
  private unsettledSince: number | undefined
  private heardAt: number
  private isGuarded = false
  private failure: Effect.Effect<never, CoordinatorError> | undefined
  private waiting: ((feed: Effect.Effect<[Feed], CoordinatorError>) => void) | undefined

  constructor(
    current: Current,
    group: GroupNode,
    settings: Settings,
    clock: Clock.Clock,
    guardUnsafe: (self: Assembly) => void
  ) {
    this.current = current
    this.group = group
    this.settings = settings
    this.clock = clock
    this.guardUnsafe = () => guardUnsafe(this)
    this.heardAt = clock.currentTimeMillisUnsafe()
  }

  readonly next = Effect.callback<[Feed], CoordinatorError>((resume) => {
    this.waiting = resume
    this.offer()
  })

  hear(event: Views.Event): void {
    this.arrived.push(event)
    this.wake()
  }

  /** Nothing is told after it but what is known already. */
  fail(error: CoordinatorError): void {
    this.failure ??= Effect.fail(error)
    this.wake()
  }

  /** For how long what is due may still take; 0 where nothing is, or nothing is any more. */
  leftMillis(): number {
    this.isGuarded = this.failure === undefined && !Views.isSettled(this.state)
    if (!this.isGuarded) return 0
    const left = this.heardAt + this.settings.requestMillis - this.clock.currentTimeMillisUnsafe()
    if (left > 0) return left
    this.isGuarded = false
    const { endpoint, requestMillis } = this.settings
    this.fail(broken(endpoint, `No answer within ${Math.round(requestMillis)} ms`))
    return 0
  }

  private wake(): void {
    if (this.isTurning) return
    this.isTurning = true
    void Promise.resolve().then(() => this.turn())
  }

  private turn(): void {
    this.isTurning = false
    try {
      this.work()
    } catch (defect) {
      this.failure ??= Effect.die(defect)
    }
    this.offer()
  }

  private work(): void {
    if (this.arrived.length === 0) return
    const { arrived } = this
    this.arrived = []
    this.hasNews = true
    this.heardAt = this.clock.currentTimeMillisUnsafe()
    const reads = Views.steps(this.state, arrived)
    if (this.failure !== undefined) return
    for (const one of reads) this.read(one)
    if (this.isGuarded || Views.isSettled(this.state)) return
    this.isGuarded = true
    this.guardUnsafe()
  }

  private read({ name, read }: Views.Read): void {
    const { client } = this.current
    if (name === Views.theGroup) {
      client.requestUnsafe(P.exists(this.group.path, false), (answer) => {
        if (answer._tag === "Success") this.answered(name, read, undefined, answer.success.zxid)
        else if (answer.failure._tag === "NoNode") this.answered(name, read, undefined, answer.failure.zxid)
        else this.refused(answer.failure)
      })
    } else {
      nodeAtUnsafe(client, this.group, name, (answer) => {
        if (answer._tag === "Success") this.answered(name, read, answer.success.node, answer.success.zxid)
        else this.refused(answer.failure)
      })
    }
  }

  private answered(name: string, read: number, node: Node | undefined, revision: bigint): void {
    this.hear({ _tag: "Read", name, read, node, revision })
  }

  private refused(error: RequestError): void {
    this.fail(failing(this.settings.endpoint, "Group.watch", "read")(error))
  }

  private offer(): void {
    if (this.waiting === undefined) return
    const feed = this.due()
    if (feed === undefined && this.failure === undefined) return
    const { waiting } = this
    this.waiting = undefined
    if (feed !== undefined) waiting(Effect.succeed([feed]))
    else if (this.failure !== undefined) waiting(this.failure)
  }

  /** What is to be shown, if anything is: the group when it is known exactly, and now and then when it has not been for long. */
  private due(): Feed | undefined {
    if (!this.hasNews) return undefined
    if (Views.isSettled(this.state)) {
      this.unsettledSince = undefined
      return this.show(undefined)
    }
    const now = this.clock.currentTimeMillisUnsafe()
    this.unsettledSince ??= now
    if (!Views.isComplete(this.state) || now - this.unsettledSince < longestUnsettledMillis) return undefined
    this.unsettledSince = now
    return this.show(broken(this.settings.endpoint, "The group changes faster than it can be read"))
  }

  private show(unsettled: CoordinatorError | undefined): Feed {
    this.hasNews = false
    const { state } = this
    const { puts, removes } = Views.differences(state)
    const before = this.shown
    // What is shown unsettled may lack anything that came after the last time that the group was known, or was listed.
    const revision = unsettled === undefined ? state.revision : (before ?? state.listedAt ?? 0n)
    this.shown = revision
    // Changes of no later revision would be taken for old ones. ZooKeeper orders its events before its answers, so that none
    // should come; if one does, nobody may stay deaf to it.
    if (before !== undefined && (revision > before || unsettled !== undefined)) {
      return { _tag: "Changes", revision, puts, removes, unsettled }
    }
    const { epoch } = this.current
    return { _tag: "Snapshot", snapshot: { entries: Views.members(state), revision, epoch }, unsettled }
  }
}

/**
 * Begins to watch and lists; what follows begins with a snapshot and goes on for as long as the connection. It is told when
 * the group is known exactly, and of a group that changes faster than it can be read, what is known of it now and then.
 */
export const start = Effect.fnUntraced(function* (
  current: Current,
  abilities: Abilities,
  group: GroupNode,
  settings: Settings
): Effect.fn.Return<Stream.Stream<Feed, CoordinatorError>, RequestError, Scope.Scope> {
  const { client } = current
  const { endpoint } = settings
  const run = Effect.runForkWith(yield* Effect.context<never>())
  let guard: Fiber.Fiber<void> | undefined
  // The silence of a connection is noticed below; a server that answers everything but what is due is noticed here. By one timer
  // for all that is due, which outlives most of it.
  const assembly = new Assembly(current, group, settings, yield* Clock.Clock, (self) => {
    const wait: Effect.Effect<void> = Effect.suspend(() => {
      const left = self.leftMillis()
      return left === 0 ? Effect.void : Effect.andThen(Effect.sleep(left), wait)
    })
    guard = run(wait)
  })
  const prefix = `${group.path}/`
  const listener: Listener = (notice) => {
    if (notice._tag !== "Event")
      return assembly.fail(endOf(endpoint, notice) ?? broken(endpoint, "The watch has ended"))
    const { path, type } = notice.event
    const name = path.slice(prefix.length)
    // The group's own coming and going, and what is below its members.
    if (!path.startsWith(prefix) || name.includes("/")) return
    assembly.hear({ _tag: type === "deleted" ? "Removed" : "Changed", name })
  }
  yield* Effect.addFinalizer(() =>
    Effect.sync(() => {
      assembly.fail(broken(endpoint, "Nobody watches any more"))
      guard?.interruptUnsafe()
    })
  )
  const listed = yield* begin(abilities, client, group.path, listener, (gap) => assembly.hear(gap))
  assembly.hear({ _tag: "Listed", names: listed.names, revision: listed.zxid })
  return Stream.fromPull(Effect.succeed(assembly.next))
})
