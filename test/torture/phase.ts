/** One server, its nodes, and storms of faults with quiet in between; judged at the end. */
import { Effect, Fiber } from "effect"
import { Group } from "../../src/index.ts"
import { History } from "../../src/testing/index.ts"
import { now } from "./clock.ts"
import type { Engine, Server, Trouble } from "./engine.ts"
import * as Faults from "./faults.ts"
import * as Fencing from "./fencing.ts"
import { merge } from "./merge.ts"
import type { Account, Node } from "./node.ts"
import * as Nodes from "./node.ts"
import type { Fault, Phase } from "./plan.ts"
import * as Quiet from "./quiet.ts"
import { Api, Chief } from "./roles.ts"

export interface Counts {
  readonly faults: Partial<Record<Fault, number>>
  tenures: number
  handOvers: number
  longestGapMillis: number
  guardedWrites: number
  registrationsRestored: number
  convergences: number
  stalls: number
  /** What the engine's chronicle excuses. */
  excused: number
  processes: number
}

export interface Outcome {
  readonly phase: Phase
  readonly counts: Counts
  readonly violations: ReadonlyArray<string>
  readonly history: ReadonlyArray<History.Event>
}

export interface Reporter {
  /** One line about what is going on. */
  readonly say: (line: string) => void
}

const api = Group.label(Api.group)
const chief = Group.label(Chief.group)

const countTenures = (history: ReadonlyArray<History.Event>, counts: Counts): void => {
  let last: string | undefined
  let open = 0
  let freeSince: number | undefined
  for (const event of history) {
    if (event._tag === "Granted") counts.tenures++
    if (!("group" in event) || event.group !== chief) continue
    if (event._tag === "Granted") {
      if (last !== undefined && last !== event.process) counts.handOvers++
      last = event.process
      open++
      if (freeSince !== undefined) counts.longestGapMillis = Math.max(counts.longestGapMillis, event.at - freeSince)
      freeSince = undefined
    }
    if (event._tag === "Stopped" && --open === 0) freeSince = event.at
  }
}

const waitFor = Effect.fnUntraced(function* (limitMillis: number, look: Effect.Effect<ReadonlyArray<string>, Trouble>) {
  const end = now() + limitMillis
  while (true) {
    const found = yield* Effect.catch(look, (error) => Effect.succeed([error.message]))
    if (found.length === 0 || now() > end) return found
    yield* Effect.sleep("100 millis")
  }
})

const pausesOf = (account: Account): ReadonlyArray<History.Event> =>
  account.stalls.flatMap(({ from, process, to }) => [
    { _tag: "Paused" as const, process, at: from, order: 0 },
    { _tag: "Resumed" as const, process, at: to, order: 0 }
  ])

export const run = Effect.fnUntraced(function* (
  phase: Phase,
  options: { readonly engine: Engine; readonly nodes: number; readonly reporter: Reporter }
) {
  const { engine, reporter } = options
  const violations: Array<string> = []
  const account = Nodes.makeAccount()
  const counts: Counts = {
    faults: {},
    tenures: 0,
    handOvers: 0,
    longestGapMillis: 0,
    guardedWrites: 0,
    registrationsRestored: 0,
    convergences: 0,
    stalls: 0,
    excused: 0,
    processes: 0
  }
  const stage = yield* engine.start(phase.members)
  const { chronicle, servers } = stage
  const nodes: Array<Node> = []
  for (let index = 0; index < options.nodes; index++) {
    const name = `n${index}`
    const node = yield* Nodes.make(
      {
        engine: engine.name,
        root: engine.root,
        name,
        seed: phase.seed + index * 1_000,
        // Not all ask the same one first.
        servers: servers.map((_, at) => servers[(at + index) % servers.length] as Server),
        // All but one wait longer for an answer than by default, so that late ones count.
        ...(index === 0 ? {} : { requestMillis: 2_500 })
      },
      account
    )
    yield* node.start
    nodes.push(node)
  }
  const leading = () => {
    const last = account.events.findLast((event) => event._tag === "Granted" && event.group === chief)
    return nodes.find((node) => node.label() === last?.process)
  }
  const struck: Faults.Struck = { stage, nodes, busy: new Set(), leading }

  const progress = Effect.sync(() => {
    const lasting = Object.values(counts.faults).reduce((sum, count) => sum + count, 0)
    const granted = account.events.filter(({ _tag }) => _tag === "Granted").length
    reporter.say(
      `phase ${phase.index} (${phase.members === 1 ? "one server" : `${phase.members} servers`}): ${lasting} faults, ` +
        `${granted} tenures, ${account.attempts.length} guarded writes, ${account.stalls.length} pauses, ` +
        `${violations.length + account.broken.length} violations`
    )
  })
  yield* Effect.forkScoped(Effect.andThen(Effect.sleep("10 seconds"), progress).pipe(Effect.forever))

  const quiet = Effect.fnUntraced(function* (when: string) {
    for (const node of nodes) node.say("rest")
    const left = yield* waitFor(
      engine.quietMillis,
      Effect.map(stage.entries, (entries) => Quiet.problems(entries, nodes, account))
    )
    for (const problem of left) violations.push(`DidNotConverge ${when}: ${problem}`)
    yield* chronicle.caughtUp
    if (left.length === 0) counts.convergences += nodes.length
    account.events.push({ _tag: "Settled", process: "the run", at: now(), order: 0 })
    for (const node of nodes) node.say("work")
  })

  yield* quiet("at the start")
  for (const [index, storm] of phase.storms.entries()) {
    const begin = now()
    const fibers: Array<Fiber.Fiber<void>> = []
    for (const step of storm.steps) {
      yield* Effect.sleep(Math.max(0, begin + step.at - now()))
      const onStruck = () => void (counts.faults[step.fault] = (counts.faults[step.fault] ?? 0) + 1)
      fibers.push(yield* Effect.forkChild(Faults.carryOut(step, struck, onStruck)))
    }
    yield* Effect.sleep(Math.max(0, begin + storm.millis - now()))
    for (const fiber of fibers) yield* Fiber.await(fiber)
    yield* Faults.healAll(struck)
    yield* quiet(`after storm ${index}`)
  }

  const endings = yield* Effect.forEach(nodes, (node) => node.end, { concurrency: "unbounded" })
  for (const [index, ending] of endings.entries()) {
    if (ending === "stuck") violations.push(`DidNotEnd: ${nodes[index]?.label()} was told to end and did not`)
  }
  const left = yield* waitFor(engine.goneMillis, stage.left)
  for (const one of left) violations.push(`LeftInStore: ${one}`)
  yield* chronicle.caughtUp

  for (const detail of account.broken) violations.push(`Broken: ${detail}`)
  const told = yield* chronicle.told
  const history = merge([...account.events, ...pausesOf(account)], told)
  for (const violation of History.check(history)) {
    if (told.excuses?.(violation)) counts.excused++
    else violations.push(History.format(violation))
  }
  const fenced = Fencing.check(told, account.attempts)
  counts.excused += fenced.unknown
  for (const violation of fenced.violations) violations.push(`NotFenced: ${violation}`)

  countTenures(history, counts)
  counts.guardedWrites = fenced.written
  counts.stalls = account.stalls.length
  counts.processes = nodes.reduce((sum, node) => sum + node.starts(), 0)
  const created = new Set(
    history.flatMap((event) => (event._tag === "Stored" && event.group === api ? [`${event.id} ${event.token}`] : []))
  )
  counts.registrationsRestored = Math.max(0, created.size - counts.processes)
  for (const { from, process: who, to } of account.stalls) {
    reporter.say(`${who} stood still for ${Math.round(to - from)} ms: counted as a pause of the client`)
  }
  const outcome: Outcome = { phase, counts, violations, history }
  return outcome
}, Effect.scoped)
