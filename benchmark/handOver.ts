/** What the end of a leader's tenure costs until the next one leads, against the number of candidates. */
import { Deferred, Effect, Exit, Scope } from "effect"
import { Election, Memory } from "effect-ensemble"
import { Faults } from "effect-ensemble/testing"
import { makeProbe, request, startProcess, untilRead } from "./fixture.ts"
import { interleaved, ratio, times } from "./harness.ts"
import type { Case } from "./harness.ts"
import { count, digits, timesOf, verdict } from "./report.ts"
import type { Report } from "./report.ts"

const sizes = [2, 10, 100, 1_000]
const fewest = sizes[0] ?? 2
const samples = 10

const Leader = Election.make("hand-over")

/** How a tenure ends: the leader resigns, or the store ends its session as it does for a process that died. */
const ends = ["resign", "expire"] as const

type End = (typeof ends)[number]

const titles: Record<End, string> = { resign: "the leader resigns", expire: "the leader's session ends" }

type Requests = Readonly<Record<string, number>>

const difference = (before: Requests, after: Requests): Requests =>
  Object.fromEntries(
    Object.entries(after)
      .map(([operation, made]) => [operation, made - (before[operation] ?? 0)] as const)
      .filter(([, made]) => made > 0)
  )

const total = (requests: Requests): number => Object.values(requests).reduce((sum, made) => sum + made, 0)

const caseName = (end: End, size: number): string => `${end} ${size}`

/** Waits until nobody asks the store for anything any more. */
const quiet = Effect.fnUntraced(function* (store: Memory.Store) {
  let before: Requests = {}
  let calm = 0
  while (calm < 2) {
    // Many turns of the scheduler: more than one request and its answer take.
    yield* Effect.sleep("2 millis")
    const { requests } = yield* Faults.inspect(store)
    calm = total(requests) === total(before) ? calm + 1 : 0
    before = requests
  }
  return before
})

/** So many processes that all campaign: one leads, the others stand in line. */
const ofLine = Effect.fnUntraced(function* (size: number) {
  const store = yield* Memory.makeStore()
  const faults = Faults.make(store)
  const lifetime = yield* Effect.scope
  const probe = makeProbe()
  let leader: { readonly process: Memory.Process; readonly scope: Scope.Closeable } | undefined
  const made: Record<End, Array<Requests>> = { resign: [], expire: [] }

  const campaign = Effect.fnUntraced(function* (process: Memory.Process) {
    const scope = yield* Scope.make()
    yield* process.run(Election.campaign(Leader)).pipe(
      Scope.provide(scope),
      Effect.tap(() =>
        Effect.sync(() => {
          leader = { process, scope }
          probe.read()
        })
      ),
      Effect.forkIn(lifetime, { startImmediately: true })
    )
  })
  for (let index = 0; index < size; index++) yield* campaign(yield* startProcess(store, `node-${index}`))

  const handOver = Effect.fnUntraced(function* (end: End) {
    const before = yield* quiet(store)
    if (leader === undefined) throw new Error("Nobody leads")
    const { process, scope } = leader
    const resign = Scope.close(scope, Exit.void)
    const taken = yield* untilRead(probe, end === "resign" ? resign : faults.expireSession(process.node), 1)
    made[end].push(difference(before, yield* quiet(store)))
    yield* resign
    // Back to the end of the line, so that it stays as long as it was.
    yield* campaign(process)
    return taken
  })
  const measures = ends.map((end): Case<never> => ({
    name: caseName(end, size),
    round: times(samples, () => handOver(end))
  }))
  return { measures, made }
})

/**
 * The least that a hand-over between two fibers takes: the two requests with their turns of the scheduler, and one who
 * waits for the other. As cold as the real one, which happens after a while in which nobody asks for anything.
 */
const ofPlain: Case<never> = {
  name: "plain",
  round: times(samples, () =>
    Effect.gen(function* () {
      const probe = makeProbe()
      const gone = yield* Deferred.make<void>()
      yield* Effect.forkChild(
        Deferred.await(gone).pipe(Effect.andThen(request(() => {})), Effect.andThen(Effect.sync(() => probe.read()))),
        { startImmediately: true }
      )
      yield* Effect.sleep("6 millis")
      return yield* untilRead(
        probe,
        request(() => Deferred.doneUnsafe(gone, Effect.void)),
        1
      )
    })
  )
}

export const handOver: Effect.Effect<Report, unknown> = Effect.scoped(
  Effect.gen(function* () {
    const cases: Array<Case<never>> = [ofPlain]
    const made = new Map<number, Record<End, Array<Requests>>>()
    for (const size of sizes) {
      const line = yield* ofLine(size)
      cases.push(...line.measures)
      made.set(size, line.made)
    }
    const measured = yield* interleaved(cases)
    const of = (end: End, size: number) => measured(caseName(end, size))
    const requestsOf = (end: End, size: number): ReadonlyArray<Requests> => made.get(size)?.[end] ?? []
    const totals = (end: End, size: number) => requestsOf(end, size).map(total)
    const operations = (end: End) =>
      Array.from(new Set(sizes.flatMap((size) => requestsOf(end, size).flatMap((requests) => Object.keys(requests)))))
    const average = (numbers: ReadonlyArray<number>) =>
      numbers.reduce((sum, number) => sum + number, 0) / Math.max(1, numbers.length)

    return {
      name: "election",
      title: "Hand-over of an election",
      tables: ends.flatMap((end) => [
        {
          title: `Store requests when ${titles[end]}, until nobody asks for anything any more`,
          columns: [
            "candidates",
            "hand-overs",
            "requests for each",
            "most",
            ...operations(end).map((name) => `\`${name}\``)
          ],
          rows: sizes.map((size) => [
            count(size),
            count(requestsOf(end, size).length),
            digits(average(totals(end, size))),
            count(Math.max(...totals(end, size))),
            ...operations(end).map((name) => digits(average(requestsOf(end, size).map((made) => made[name] ?? 0))))
          ])
        },
        {
          title: `Time from the moment when ${titles[end]} to the next one's election`,
          columns: ["candidates", "p50, µs", "p99, µs", `to ${fewest} candidates`, "to plain"],
          rows: sizes.map((size) => [
            count(size),
            digits(of(end, size).p50),
            digits(of(end, size).p99),
            timesOf(ratio(of(end, size), of(end, fewest))),
            timesOf(ratio(of(end, size), measured("plain")))
          ])
        }
      ]),
      verdicts: ends.map((end) => {
        const most = sizes.map((size) => Math.max(...totals(end, size)))
        return verdict(
          `when ${titles[end]}: as many store requests with ${count(sizes.at(-1) ?? 0)} candidates as with ${fewest}`,
          most.join(", "),
          new Set(most).size === 1
        )
      })
    }
  })
)
