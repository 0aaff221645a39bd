/** Carries out one step of a plan: strikes, waits, and takes the fault back. */
import { Effect, Option } from "effect"
import type { Proxy } from "../faults/proxy.ts"
import type { Server, Stage } from "./engine.ts"
import type { Node } from "./node.ts"
import type { Fault, Step } from "./plan.ts"
import { isOnStore, networkFaults } from "./plan.ts"

export interface Struck {
  readonly stage: Stage
  readonly nodes: ReadonlyArray<Node>
  /** Nodes that a fault has hold of. */
  readonly busy: Set<Node>
  /** The node that leads, as far as it is known. */
  readonly leading: () => Node | undefined
}

/** What a fault does and how it ends. Undefined where there was nothing to strike. */
interface Striking {
  readonly strike: Effect.Effect<unknown, unknown>
  readonly end: Effect.Effect<unknown, unknown>
  readonly node?: Node
}

const networks: Record<(typeof networkFaults)[number], (proxy: Proxy, step: Step) => Effect.Effect<void>> = {
  cut: (proxy) => proxy.cut,
  "cut mid-frame": (proxy, { dice }) => proxy.cutMidFrame(1 + Math.floor(dice * 60)),
  refuse: (proxy) => proxy.refuse,
  "black hole": (proxy) => proxy.blackhole,
  "half-open": (proxy) => proxy.halfOpen,
  "silence up": (proxy) => proxy.silence("up"),
  "silence down": (proxy) => proxy.silence("down"),
  delay: (proxy, { dice }) => proxy.delay(20 + dice * 600),
  throttle: (proxy, { dice }) => proxy.throttle(2_000 + dice * 20_000),
  // One renewal reaches the store, and its answer is the last: counted from its answer it would last too long.
  "late, then silent": (proxy) =>
    Effect.gen(function* () {
      yield* proxy.delay(2_050, "down")
      yield* Effect.sleep(1_900)
      yield* proxy.silence("up")
    })
}

const isNetwork = (fault: Fault): fault is (typeof networkFaults)[number] =>
  (networkFaults as ReadonlyArray<string>).includes(fault)

const onNetwork = (node: Node, fault: (typeof networkFaults)[number], step: Step): Striking => {
  // One way in three only one of the servers is out of reach.
  const one = node.proxies.length > 1 && step.dice < 0.33
  const proxies = one ? node.proxies.slice(0, 1) : node.proxies
  return {
    node,
    strike: Effect.forEach(proxies, (proxy) => networks[fault](proxy, step), { concurrency: "unbounded" }),
    end: Effect.forEach(proxies, (proxy) => proxy.heal)
  }
}

const onServer = (server: Server, what: "paused" | "killed" | "isolated", stage: Stage): Striking => {
  if (what === "paused") return { strike: server.pause, end: server.resume }
  if (what === "killed") return { strike: server.kill, end: server.launch }
  // All silences of the cluster end together.
  return { strike: stage.isolate(server), end: stage.heal }
}

/** Faults look for whom they hurt most: half of them strike who leads. The end of one must not be taken for another's. */
const nodeOf = ({ dice, target }: Step, { busy, leading, nodes }: Struck): Node | undefined =>
  [(dice * 100) % 1 < 0.5 ? leading() : undefined, nodes[target]].find((node) => node !== undefined && !busy.has(node))

const strikingOf = Effect.fnUntraced(function* (step: Step, struck: Struck): Effect.fn.Return<Striking | undefined> {
  const { stage } = struck
  const { dice, fault, target } = step
  if (isOnStore(fault)) return { strike: stage.operate(fault, dice), end: Effect.void }
  const node = nodeOf(step, struck)
  if (isNetwork(fault)) return node === undefined ? undefined : onNetwork(node, fault, step)
  switch (fault) {
    case "client paused":
      return node?.isRunning() ? { node, strike: node.pause, end: node.resume } : undefined
    case "client killed":
      return node?.isRunning() ? { node, strike: node.kill, end: node.start } : undefined
    default: {
      const what = fault.endsWith("paused") ? "paused" : fault.endsWith("killed") ? "killed" : "isolated"
      const server = fault.startsWith("leader")
        ? Option.getOrUndefined(yield* stage.leader.pipe(Effect.timeout("2 seconds"), Effect.option))
        : stage.servers[target]
      return server?.isRunning() ? onServer(server, what, stage) : undefined
    }
  }
})

/** Answers with whether it struck. What an operator does may fail, because the store itself is struck. */
export const carryOut = Effect.fnUntraced(function* (step: Step, struck: Struck, onStruck: (step: Step) => void) {
  const striking = yield* strikingOf(step, struck)
  if (striking === undefined) return
  const { node } = striking
  if (node !== undefined) struck.busy.add(node)
  const staged = yield* Effect.forkChild(Effect.exit(striking.strike), { startImmediately: true })
  onStruck(step)
  yield* Effect.sleep(step.millis)
  // A strike in stages is over when its time is.
  staged.interruptUnsafe()
  yield* Effect.ignore(striking.end)
  if (node !== undefined) struck.busy.delete(node)
})

/** Ends whatever still lasts. */
export const healAll = Effect.fnUntraced(function* ({ nodes, stage }: Struck) {
  for (const node of nodes) {
    for (const proxy of node.proxies) yield* proxy.heal
    yield* node.resume
    yield* node.start
  }
  yield* stage.heal
  for (const server of stage.servers) {
    yield* server.resume
    yield* server.launch
  }
  yield* Effect.forEach(stage.servers, (server) => server.ready, { concurrency: "unbounded" })
})
