/** The story, step by step. It waits for what it tells of, and assumes nothing. */
import { Cause, Effect, Fiber, Stream } from "effect"
import { Barrier, Discovery } from "effect-ensemble"
import { gate, Nodes, partitions } from "./definitions.ts"
import type { Engine, Stage } from "./engines.ts"
import type { Event, History, Report } from "./events.ts"
import { all, awayAt, ownersAt, presentAt } from "./events.ts"
import type { Journal } from "./journal.ts"
import { Stopped } from "./journal.ts"
import type * as Node from "./node.ts"

export interface Cast {
  readonly engine: Engine
  readonly endpoints: ReadonlyArray<string>
  readonly nodes: number
  readonly ttlMillis: number
}

/** Between two steps, for the eye only: nothing depends on it. */
const beat = Effect.sleep("900 millis")

/** One node after the other, the faster the more there are. */
const between = (nodes: number): number => Math.min(350, 2_000 / nodes)

const specs = (count: number): ReadonlyArray<Node.Spec> =>
  Array.from({ length: count }, (_, index) => {
    // They come to be ready when all are there, and in another order than they came in: the even ones first.
    const turn = index % 2 === 0 ? index / 2 : Math.ceil(count / 2) + (index - 1) / 2
    return {
      name: `app-${String(index + 1).padStart(2, "0")}`,
      port: 8001 + index,
      zone: ["a", "b", "c"][index % 3] ?? "a",
      together: count,
      warmUpMillis: Math.round((count - index) * between(count) + 1_000 + turn * Math.min(450, 3_000 / count))
    }
  })

const seen = (tag: "Changed" | "Passed", nodes: ReadonlyArray<string>) => (history: History) => {
  const those = new Set(all(history, tag).map(({ node }) => node))
  return nodes.every((node) => those.has(node))
}

const present = (nodes: ReadonlyArray<string>) => (history: History) => {
  const here = presentAt(history)
  return nodes.every((node) => here.has(node))
}

const gone = (node: string) => (history: History) => !presentAt(history).has(node)

/** All of these nodes act on one and the same division of the work. */
const divided = (nodes: ReadonlyArray<string>) => (history: History) => {
  const owners = ownersAt(history)
  return owners.size === nodes.length && nodes.every((node) => owners.get(node)?.of === nodes.length)
}

/** The leader after so many others, and so many of its lines. */
const hasWritten = (others: number, lines: number) => (history: History) => {
  const leader = all(history, "Leads")[others]
  return leader !== undefined && all(history, "Wrote").filter(({ token }) => token === leader.token).length >= lines
}

const leaderOf = (history: History): string => all(history, "Leads").at(-1)?.node ?? "nobody"

const ownersOf = (history: History): Event => ({
  _tag: "Divided",
  owners: Array.from(ownersAt(history).values(), ({ node, partitions }) => ({ node, partitions })).sort((a, b) =>
    a.node < b.node ? -1 : 1
  )
})

/** Runs in the background for as long as the scope is open; a failure is told instead of being lost. */
const perform = <E, R>(who: string, part: Effect.Effect<unknown, E, R>, report: Report) =>
  part.pipe(
    Effect.catchCause((cause) =>
      Cause.hasInterruptsOnly(cause)
        ? Effect.interrupt
        : report({ _tag: "Failed", node: who, reason: String(Cause.squash(cause)) })
    ),
    Effect.forkScoped
  )

const watchNodes = Discovery.changes(Nodes).pipe(
  Stream.map(({ _tag, member: { id: node, value } }): Event => {
    if (_tag === "Left") return { _tag, node }
    if (_tag === "Updated") return { _tag: "Changed", node, phase: value.attributes.phase }
    return { _tag: "Joined", node, listens: `${value.address}:${value.port}`, zone: value.attributes.zone }
  })
)

const watchGate = (minimum: number) =>
  Barrier.progress(gate(minimum)).pipe(
    Stream.map(({ open, present, ready }) => ({ _tag: "Gathered", minimum, present, ready, open }) as const),
    Stream.takeUntil(({ open }) => open)
  )

/** The program that watches is a process too: the `Coordinator` in here is its own. */
const chapters = Effect.fnUntraced(function* (cast: Cast, stage: Stage, journal: Journal, report: Report) {
  const { history, record, until } = journal
  const { network } = stage
  const nodes = specs(cast.nodes)
  const names = nodes.map(({ name }) => name)
  const programs = new Map<string, Fiber.Fiber<unknown>>()
  let number = 0
  const chapter = (title: string) => record({ _tag: "Chapter", number: ++number, title })

  const end = Effect.fnUntraced(function* (node: string) {
    const program = programs.get(node)
    if (program !== undefined) yield* Fiber.interrupt(program)
  })
  const leave = Effect.fnUntraced(function* (node: string) {
    yield* record({ _tag: "AskedToLeave", node })
    yield* end(node)
    yield* until(`${node} leaves`, gone(node))
  })

  yield* chapter("They find each other")
  yield* perform("watcher", Stream.runForEach(watchNodes, record), record)
  for (const node of nodes) {
    programs.set(node.name, yield* perform(node.name, stage.perform(node, report), record))
    yield* Effect.sleep(between(cast.nodes))
  }
  // A story that is broken off, by Ctrl-C for example, ends for all of them in the same way.
  yield* Effect.addFinalizer(() =>
    Effect.flatMap(history, (history) =>
      Effect.forEach(
        Array.from(presentAt(history)).filter((node) => !awayAt(history).has(node)),
        (node) => record({ _tag: "AskedToLeave", node }),
        {
          discard: true
        }
      )
    )
  )
  yield* until("every node joins", present(names))

  yield* chapter("They wait for one another")
  yield* perform("watcher", Stream.runForEach(watchGate(cast.nodes), record), record)
  yield* until("every node passes the barrier", seen("Passed", names))
  yield* until("every node serves", seen("Changed", names))
  yield* beat

  yield* chapter(
    network === undefined
      ? "They elect a leader, and it crashes"
      : "They elect a leader; it is killed, and the next one is cut off"
  )
  const first = leaderOf(yield* until("a leader writes three lines", hasWritten(0, 3)))
  yield* Effect.sleep("300 millis")
  yield* stage.crash(first)
  let leader = leaderOf(yield* until("the next leader writes three lines", hasWritten(1, 3)))
  yield* until(`the store drops ${first}`, gone(first))
  yield* end(first)
  if (network !== undefined) {
    const silent = leader
    yield* record({ _tag: "Unreachable", node: silent })
    yield* network.silence(silent)
    leader = leaderOf(yield* until("one more leader writes three lines", hasWritten(2, 3)))
    yield* until(`the store drops ${silent}`, gone(silent))
    yield* record({ _tag: "Reachable", node: silent })
    yield* network.heal(silent)
    yield* until(`${silent} joins again`, present([silent]))
  }
  yield* beat

  yield* chapter("They divide the work")
  const working = names.filter((node) => node !== first)
  yield* record(ownersOf(yield* until("the work is divided", divided(working))))
  yield* beat
  if (network !== undefined) {
    yield* record({ _tag: "ConnectionsReset", nodes: working })
    yield* network.reset(working)
    yield* record({ _tag: "ConnectionsBack", nodes: working })
    yield* beat
  }
  const followers = working.filter((node) => node !== leader)
  const leaver = followers.pop() ?? leader
  yield* leave(leaver)
  yield* record(ownersOf(yield* until("the work is divided anew", divided([...followers, leader]))))
  yield* beat

  yield* chapter("They leave in order, the leader last")
  for (const node of [...followers.reverse(), leader]) {
    yield* leave(node)
    yield* beat
  }
})

/** Tells the story from beginning to end, and looks at what it left in the store. */
export const tell = Effect.fnUntraced(function* (cast: Cast, journal: Journal, lie: (report: Report) => Report) {
  const { engine, nodes, ttlMillis } = cast
  const { record } = journal
  const names = specs(nodes).map(({ name }) => name)
  yield* record({ _tag: "Began", engine: engine.name, ttlMillis, partitions, nodes: names })
  const stage = yield* engine.make({ ttlMillis, endpoints: cast.endpoints, record })
  yield* chapters(cast, stage, journal, lie(record)).pipe(
    Effect.scoped,
    Effect.provide(stage.coordinator("watcher")),
    Effect.catchTag("CoordinatorError", (error) => Effect.fail(new Stopped({ message: error.message })))
  )
  yield* record({ _tag: "LookedInside", ...(yield* stage.remains) })
}, Effect.scoped)
