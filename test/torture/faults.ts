/** Carries out one step of a plan: strikes, waits, and takes the fault back. */
import { Effect } from "effect"
import type { Proxy } from "../faults/proxy.ts"
import type { Cluster, Etcd, Member } from "../servers/etcd.ts"
import type { Chronicle } from "./chronicle.ts"
import { placeOf } from "./merge.ts"
import type { Node } from "./node.ts"
import type { Fault, Step } from "./plan.ts"
import { networkFaults } from "./plan.ts"

export interface Struck {
  readonly etcd: Etcd
  /** The same, where there are several members. */
  readonly cluster: Cluster | undefined
  readonly nodes: ReadonlyArray<Node>
  readonly chronicle: Chronicle
  readonly prefix: string
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

const onMember = (member: Member, what: "paused" | "killed" | "isolated", cluster: Cluster | undefined): Striking => {
  if (what === "paused") return { strike: member.pause, end: member.resume }
  if (what === "killed") return { strike: member.kill, end: member.launch }
  return {
    strike: cluster?.isolate(member) ?? Effect.void,
    // All silences of the cluster end together.
    end: cluster?.heal ?? Effect.void
  }
}

/** What an operator does to the store by hand. */
const onStore = (fault: Fault, { chronicle, etcd, prefix }: Struck, dice: number): Effect.Effect<unknown, unknown> => {
  const { gateway } = etcd
  if (fault === "compaction") {
    return Effect.andThen(chronicle.caughtUp, (revision) => gateway.compact(revision))
  }
  return Effect.flatMap(gateway.range(`${prefix}/`), ({ entries }): Effect.Effect<unknown, unknown> => {
    const places = entries.filter(({ key, lease }) => lease !== 0n && placeOf(prefix, key) !== undefined)
    const entry = places[Math.floor(dice * places.length)]
    if (entry === undefined) return Effect.fail("nothing there")
    if (fault === "entry deleted") return chronicle.operator(gateway.remove(entry.key))
    chronicle.doomUnsafe(entry.lease)
    return gateway.revoke(entry.lease)
  })
}

/** Faults look for whom they hurt most: half of them strike who leads. The end of one must not be taken for another's. */
const nodeOf = ({ dice, target }: Step, { busy, leading, nodes }: Struck): Node | undefined =>
  [(dice * 100) % 1 < 0.5 ? leading() : undefined, nodes[target]].find((node) => node !== undefined && !busy.has(node))

const strikingOf = Effect.fnUntraced(function* (step: Step, struck: Struck): Effect.fn.Return<Striking | undefined> {
  const { cluster, etcd } = struck
  const { fault, target } = step
  const node = nodeOf(step, struck)
  if (isNetwork(fault)) return node === undefined ? undefined : onNetwork(node, fault, step)
  switch (fault) {
    case "client paused":
      return node?.isRunning() ? { node, strike: node.pause, end: node.resume } : undefined
    case "client killed":
      return node?.isRunning() ? { node, strike: node.kill, end: node.start } : undefined
    case "compaction":
    case "lease revoked":
    case "entry deleted":
      return { strike: onStore(fault, struck, step.dice), end: Effect.void }
    default: {
      const what = fault.endsWith("paused") ? "paused" : fault.endsWith("killed") ? "killed" : "isolated"
      const leader = fault.startsWith("leader")
        ? yield* etcd.leader.pipe(Effect.timeout("2 seconds"), Effect.option)
        : undefined
      const member = leader === undefined ? etcd.members[target] : leader._tag === "Some" ? leader.value : undefined
      return member?.isRunning() ? onMember(member, what, cluster) : undefined
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
export const healAll = Effect.fnUntraced(function* ({ cluster, etcd, nodes }: Struck) {
  for (const node of nodes) {
    for (const proxy of node.proxies) yield* proxy.heal
    yield* node.resume
    yield* node.start
  }
  if (cluster !== undefined) yield* cluster.heal
  for (const member of etcd.members) {
    yield* member.resume
    yield* member.launch
  }
  yield* Effect.forEach(etcd.members, (member) => member.ready, { concurrency: "unbounded" })
})
