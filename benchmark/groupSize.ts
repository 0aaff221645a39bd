/** The cost of one change of a group against the number of its members. */
import { Effect, Exit, Scope } from "effect"
import { Group } from "effect-ensemble"
import { Faults } from "effect-ensemble/testing"
import { comeAndGo, comeAndGoPlain, filled, follow, makePlain, memberOf, startProcess, untilRead } from "./fixture.ts"
import { interleaved, now, ratio, times } from "./harness.ts"
import type { Case, Measured } from "./harness.ts"
import { count, digits, timesOf, verdict } from "./report.ts"
import type { Report } from "./report.ts"

const sizes = [10, 100, 1_000, 10_000]
const smallest = sizes[0] ?? 10

const samples = 100
/** One fold is far shorter than the clock's resolution: so many are one sample. */
const foldsPerSample = 100

const name: Group.GroupName = { kind: "discovery", name: "size" }

const kinds = [
  { key: "changes", title: "store write to `changes`" },
  { key: "join", title: "join or leave to `changes`" },
  { key: "watch", title: "store write to `watch`, unread" },
  { key: "fold", title: "the fold alone" },
  { key: "plain", title: "plain map and `PubSub`" },
  { key: "members", title: "store write to `watch`, members read" }
] as const

type Kind = (typeof kinds)[number]["key"]

const caseName = (kind: Kind, size: number): string => `${kind} ${size}`

const ofChanges = Effect.fnUntraced(function* (size: number) {
  const store = yield* filled(name, size)
  const faults = Faults.make(store)
  const reader = yield* startProcess(store, "reader")
  const joiner = yield* startProcess(store, "joiner")
  const probe = yield* follow(reader.coordinator.group(name).changes, { first: size })
  const group = joiner.coordinator.group(name)
  const written: Case<never> = {
    name: caseName("changes", size),
    round: times(samples, (index) => comeAndGo(probe, faults, name, `probe-${index}`))
  }
  const joined: Case<never> = {
    name: caseName("join", size),
    round: times(samples, (index) =>
      Effect.gen(function* () {
        const scope = yield* Scope.make()
        const entry = { id: `probe-${index}`, value: "value" }
        const come = yield* untilRead(probe, Scope.provide(group.join(entry), scope), 1)
        const go = yield* untilRead(probe, Scope.close(scope, Exit.void), 1)
        return (come + go) / 2
      })
    ).pipe(Effect.orDie)
  }
  return [written, joined]
})

const ofWatch = Effect.fnUntraced(function* (
  kind: "watch" | "members",
  size: number,
  read: (view: Group.GroupView<string>) => void
) {
  const store = yield* filled(name, size)
  const faults = Faults.make(store)
  const reader = yield* startProcess(store, "reader")
  const probe = yield* follow(reader.coordinator.group(name).watch, { first: 1, read })
  const watched: Case<never> = {
    name: caseName(kind, size),
    // To read all members takes as long as there are members: fewer samples keep the rounds short.
    round: times(kind === "members" ? 10 : samples, (index) => comeAndGo(probe, faults, name, `probe-${index}`))
  }
  return watched
})

const ofFold = (size: number): Case<never> => {
  const view = Group.makeView({ members: Array.from({ length: size }, (_, index) => memberOf(index)), revision: 1n })
  const members = Array.from({ length: foldsPerSample / 2 }, (_, index) => memberOf(size + index))
  return {
    name: caseName("fold", size),
    round: times(samples, () =>
      Effect.sync(() => {
        const started = now()
        let folded = view
        for (const member of members) {
          folded = Group.applyChanges(folded, [{ _tag: "Joined", member }])
          folded = Group.applyChanges(folded, [{ _tag: "Left", member }])
        }
        return (now() - started) / foldsPerSample
      })
    )
  }
}

const ofPlain = Effect.fnUntraced(function* (size: number) {
  const plain = yield* makePlain
  for (let index = 0; index < size; index++) yield* plain.change({ _tag: "Joined", member: memberOf(index) })
  const probe = yield* follow(plain.changes, { first: 0 })
  const changed: Case<never> = {
    name: caseName("plain", size),
    round: times(samples, (index) => comeAndGoPlain(probe, plain, size + index))
  }
  return changed
})

export const groupSize: Effect.Effect<Report, unknown> = Effect.scoped(
  Effect.gen(function* () {
    const cases: Array<Case<never>> = []
    for (const size of sizes) {
      cases.push(...(yield* ofChanges(size)))
      cases.push(yield* ofWatch("watch", size, () => {}))
      cases.push(yield* ofWatch("members", size, (view) => view.members.length))
      cases.push(ofFold(size))
      cases.push(yield* ofPlain(size))
    }
    const measured = yield* interleaved(cases)
    const of = (kind: Kind, size: number): Measured => measured(caseName(kind, size))
    const growth = (kind: Kind, size: number) => ratio(of(kind, size), of(kind, smallest))
    const logarithm = (size: number) => Math.log(size) / Math.log(smallest)

    const largest = sizes[sizes.length - 1] ?? smallest
    return {
      name: "size",
      title: "One change against the size of the group",
      tables: kinds.map(({ key, title }) => ({
        title,
        columns: ["members", "p50, µs", "p99, µs", `to ${smallest} members`, "log n allows", "to plain"],
        rows: sizes.map((size) => [
          count(size),
          digits(of(key, size).p50),
          digits(of(key, size).p99),
          timesOf(growth(key, size)),
          key === "members" ? "" : timesOf(logarithm(size)),
          key === "plain" ? "1" : timesOf(ratio(of(key, size), of("plain", size)))
        ])
      })),
      verdicts: (["changes", "join", "watch", "fold"] as const).map((key) => {
        const title = kinds.find((kind) => kind.key === key)?.title ?? key
        const worst = Math.max(...sizes.map((size) => growth(key, size) / logarithm(size)))
        return verdict(
          `${title}: at most ${timesOf(logarithm(largest))} from ${smallest} to ${count(largest)} members, and log n between`,
          timesOf(growth(key, largest)),
          worst <= 1
        )
      })
    }
  })
)
