/** How many members join and leave in a second. */
import { Effect, Exit, Scope } from "effect"
import type { Group } from "effect-ensemble"
import { Memory } from "effect-ensemble"
import { Faults } from "effect-ensemble/testing"
import { request, startProcess } from "./fixture.ts"
import { interleaved, now, ratio, retained, times } from "./harness.ts"
import type { Case } from "./harness.ts"
import { count, digits, timesOf, verdict } from "./report.ts"
import type { Report } from "./report.ts"

const joiners = [1, 64]
/** Joins and leaves in one sample: enough for each of the joiners to come several times. */
const batch = 320
const samples = 5

const held = [100, 1_000, 10_000]
const fewest = held[0] ?? 1
const most = held[held.length - 1] ?? 1
/** Who joins at the same time as others in the tables of members that stay. */
const atOnce = 64

/** Small groups are filled several times in a round, until so many have joined. */
const steady = 1_000

const name: Group.GroupName = { kind: "discovery", name: "joins" }

/** Microseconds for each of so many runs of an effect that so many fibers share. */
const share = <E>(
  fibers: number,
  from: number,
  runs: number,
  run: (index: number) => Effect.Effect<unknown, E>
): Effect.Effect<number, E> =>
  Effect.gen(function* () {
    const indices = Array.from({ length: runs }, (_, index) => from + index)
    const started = now()
    yield* Effect.forEach(indices, run, { concurrency: fibers, discard: true })
    return (now() - started) / runs
  })

/** The two requests of a join and its end, around a plain map. */
const plainJoin = (members: Map<string, string>) => (index: number) =>
  Effect.scoped(
    Effect.acquireRelease(
      request(() => members.set(`member-${index}`, "value")),
      () => request(() => members.delete(`member-${index}`))
    )
  )

export const joins: Effect.Effect<Report, unknown> = Effect.scoped(
  Effect.gen(function* () {
    const store = yield* Memory.makeStore()
    const joiner = yield* startProcess(store, "joiner")
    const group = joiner.coordinator.group(name)
    const join = (index: number) => group.join({ id: `member-${index}`, value: "value" })
    const plain = plainJoin(new Map())

    const hold = Effect.fnUntraced(function* (size: number) {
      // What those who left before still have to clear away is not theirs who join now.
      yield* Effect.sleep("10 millis")
      const scope = yield* Scope.make()
      const taken = yield* times(size / fewest, (part) =>
        share(atOnce, part * fewest, fewest, (index) => Scope.provide(join(index), scope))
      )
      yield* Scope.close(scope, Exit.void)
      return taken
    })

    const cases: Array<Case<unknown>> = []
    for (const fibers of joiners) {
      cases.push({
        name: `join ${fibers}`,
        round: times(samples, () => share(fibers, 0, batch, (index) => Effect.scoped(join(index))))
      })
      cases.push({ name: `plain ${fibers}`, round: times(samples, () => share(fibers, 0, batch, plain)) })
    }
    for (const size of held) {
      cases.push({
        name: `held ${size}`,
        round: Effect.map(
          times(Math.max(1, steady / size), () => hold(size)),
          (taken) => taken.flat()
        )
      })
    }
    const measured = yield* interleaved(cases)

    const before = (yield* Faults.inspect(store)).requests
    yield* Effect.scoped(Effect.andThen(join(0), Effect.sleep("20 millis")))
    const after = (yield* Faults.inspect(store)).requests
    const requests = Object.entries(after)
      .map(([operation, number]) => ({ operation, made: number - (before[operation] ?? 0) }))
      .filter(({ made }) => made > 0)

    const keeping = yield* Scope.make()
    const { bytes } = yield* retained(
      Effect.andThen(
        share(atOnce, 0, most, (index) => Scope.provide(join(index), keeping)),
        Effect.sleep("100 millis")
      )
    )
    yield* Scope.close(keeping, Exit.void)

    const growth = (size: number) => ratio(measured(`held ${size}`), measured(`held ${fewest}`))
    const allowed = Math.log(most) / Math.log(fewest)
    return {
      name: "joins",
      title: "Joining and leaving",
      tables: [
        {
          title: "A scoped join and leave, one process",
          columns: ["joiners at once", "joins and leaves per second", "p50 for each, µs", "plain map, µs", "to plain"],
          rows: joiners.map((fibers) => [
            count(fibers),
            count(Math.round(1_000_000 / measured(`join ${fibers}`).p50)),
            digits(measured(`join ${fibers}`).p50),
            digits(measured(`plain ${fibers}`).p50),
            timesOf(ratio(measured(`join ${fibers}`), measured(`plain ${fibers}`)))
          ])
        },
        {
          title: "Joining and staying, 64 at once, one process, for each hundred that join",
          columns: [
            "members",
            "joins per second",
            "p50 for each, µs",
            `to ${count(fewest)} members`,
            "KiB kept for each"
          ],
          rows: held.map((size) => [
            count(size),
            count(Math.round(1_000_000 / measured(`held ${size}`).p50)),
            digits(measured(`held ${size}`).p50),
            timesOf(growth(size)),
            size === most ? digits(bytes / size / 1024) : ""
          ])
        },
        {
          title: "Requests to the store for one member that joins, stays a moment and leaves",
          columns: ["operation", "requests"],
          rows: requests.map(({ made, operation }) => [operation, count(made)])
        }
      ],
      verdicts: [
        verdict(
          `a join costs at most ${timesOf(allowed)} from ${count(fewest)} to ${count(most)} members held`,
          timesOf(growth(most)),
          growth(most) <= allowed
        )
      ]
    }
  })
)
