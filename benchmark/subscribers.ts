/** The cost of one change against the number of local subscribers, who all share one upstream watch. */
import { Effect } from "effect"
import type { Group } from "effect-ensemble"
import { Faults } from "effect-ensemble/testing"
import { comeAndGo, comeAndGoPlain, filled, follow, makePlain, startProcess } from "./fixture.ts"
import { interleaved, ratio, retained, times } from "./harness.ts"
import type { Case } from "./harness.ts"
import { count, digits, timesOf, verdict } from "./report.ts"
import type { Report } from "./report.ts"

const sizes = [1, 10, 100, 1_000, 10_000]
const most = sizes[sizes.length - 1] ?? 1
const members = 10

const name: Group.GroupName = { kind: "discovery", name: "subscribers" }

/** Ten thousand readings are a long sample: fewer of them keep the rounds short. */
const samplesOf = (subscribers: number): number => Math.max(10, Math.min(200, 40_000 / subscribers))

const kinds = ["changes", "watch", "plain"] as const

type Kind = (typeof kinds)[number]

const titles: Record<Kind, string> = { changes: "`changes`", watch: "`watch`", plain: "plain map and `PubSub`" }

const caseName = (kind: Kind, subscribers: number): string => `${kind} ${subscribers}`

interface Subscribed {
  readonly measure: Case<never>
  readonly bytes: number
  /** What the store was asked for, to be looked at when all subscribers have been reading for a while. */
  readonly upstream: Effect.Effect<{ readonly watches: number; readonly lists: number } | undefined>
}

const ofGroup = Effect.fnUntraced(function* (kind: "changes" | "watch", subscribers: number) {
  const store = yield* filled(name, members)
  const faults = Faults.make(store)
  const group = (yield* startProcess(store, "reader")).coordinator.group(name)
  const { bytes, result: probe } = yield* retained(
    kind === "changes"
      ? follow(group.changes, { first: members, readers: subscribers })
      : follow(group.watch, { first: 1, readers: subscribers })
  )
  const subscribed: Subscribed = {
    measure: {
      name: caseName(kind, subscribers),
      round: times(samplesOf(subscribers), (index) => comeAndGo(probe, faults, name, `probe-${index}`, subscribers))
    },
    bytes,
    upstream: Effect.map(Faults.inspect(store), ({ requests, watches }) => ({
      watches,
      lists: requests["Group.watch.list"] ?? 0
    }))
  }
  return subscribed
})

const ofPlain = Effect.fnUntraced(function* (subscribers: number) {
  const plain = yield* makePlain
  const { bytes, result: probe } = yield* retained(follow(plain.changes, { first: 0, readers: subscribers }))
  const subscribed: Subscribed = {
    measure: {
      name: caseName("plain", subscribers),
      round: times(samplesOf(subscribers), (index) => comeAndGoPlain(probe, plain, index, subscribers))
    },
    bytes,
    upstream: Effect.succeed(undefined)
  }
  return subscribed
})

export const subscribers: Effect.Effect<Report, unknown> = Effect.scoped(
  Effect.gen(function* () {
    const started = new Map<string, Subscribed>()
    for (const size of sizes) {
      started.set(caseName("changes", size), yield* ofGroup("changes", size))
      started.set(caseName("watch", size), yield* ofGroup("watch", size))
      started.set(caseName("plain", size), yield* ofPlain(size))
    }
    const measured = yield* interleaved(Array.from(started.values(), ({ measure }) => measure))
    const of = (kind: Kind, size: number) => measured(caseName(kind, size))
    const at = (kind: Kind, size: number) => started.get(caseName(kind, size))
    const upstream = new Map<string, { readonly watches: number; readonly lists: number }>()
    for (const [key, subscribed] of started) {
      const found = yield* subscribed.upstream
      if (found !== undefined) upstream.set(key, found)
    }
    const asked = (kind: Kind, size: number) => upstream.get(caseName(kind, size))
    const watches = (kind: Kind) => sizes.map((size) => asked(kind, size)?.watches ?? 0)
    const toPlain = (kind: Kind, size: number) => ratio(of(kind, size), of("plain", size))

    return {
      name: "subscribers",
      title: "One change against the number of local subscribers",
      tables: kinds.map((kind) => ({
        title: titles[kind],
        columns: [
          "subscribers",
          "p50, µs, until the last has read",
          "p99, µs",
          "p50 for each, µs",
          "to plain",
          "KiB kept for each",
          "upstream watches",
          "upstream lists"
        ],
        rows: sizes.map((size) => [
          count(size),
          digits(of(kind, size).p50),
          digits(of(kind, size).p99),
          digits(of(kind, size).p50 / size),
          kind === "plain" ? "1" : timesOf(toPlain(kind, size)),
          // With few of them the collector's own leftovers outweigh theirs.
          size < 1_000 ? "" : digits((at(kind, size)?.bytes ?? 0) / size / 1024),
          kind === "plain" ? "" : count(asked(kind, size)?.watches ?? 0),
          kind === "plain" ? "" : count(asked(kind, size)?.lists ?? 0)
        ])
      })),
      verdicts: (["changes", "watch"] as const).flatMap((kind) => [
        verdict(
          `${titles[kind]}: one upstream watch for ${sizes.map(count).join(", ")} subscribers`,
          watches(kind).join(", "),
          watches(kind).every((number) => number === 1)
        ),
        verdict(
          `${titles[kind]}: ${count(most)} subscribers at no more than the cost of a plain \`PubSub\``,
          timesOf(toPlain(kind, most)),
          toPlain(kind, most) <= 1
        )
      ])
    }
  })
)
