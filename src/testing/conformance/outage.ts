/** Watches through every trouble: nothing is missed, nothing goes backwards, nothing stays deaf. */
import * as Effect from "effect/Effect"
import * as Ref from "effect/Ref"
import * as Stream from "effect/Stream"
import * as Group from "../../Group.ts"
import {
  collect,
  conform,
  content,
  election,
  eventually,
  expect,
  expectEqual,
  fault,
  forTtls,
  groupOf,
  ids,
  joinAs as join
} from "./harness.ts"
import type { Case, Harness, Need, TestProcess } from "./harness.ts"

const contract = "Watch"

/** A watcher that records views and changes, and what is wrong with them. */
const observe = Effect.fnUntraced(function* (process: TestProcess) {
  const views = yield* collect(groupOf(process).watch)
  const folded = yield* Ref.make(Group.empty<string>())
  const problems = yield* Ref.make<ReadonlyArray<string>>([])
  const gone = new Set<string>()
  yield* groupOf(process).changes.pipe(
    Stream.runForEach((change) =>
      Effect.gen(function* () {
        const before = yield* Ref.get(folded)
        const { id, token, value } = change.member
        const known = before.get(id)._tag === "Some"
        const holding = `${id}@${token}`
        const wrong =
          (change._tag === "Joined" ? known || gone.has(holding) : !known) ||
          // Values of these cases only grow, so a smaller one is an older one.
          (change._tag === "Updated" && Number(value) < Number(change.previous.value))
        if (change._tag === "Left") gone.add(holding)
        if (wrong) {
          yield* Ref.update(problems, (all) => [...all, `${change._tag} ${holding}=${value} out of place`])
        }
        yield* Ref.set(folded, Group.applyChanges(before, [change]))
      })
    ),
    Effect.forkScoped({ startImmediately: true })
  )
  return { views, folded: Ref.get(folded), problems: Ref.get(problems) }
})

type Observer = Effect.Success<ReturnType<typeof observe>>

/** Waits until a watcher has the store's truth, and checks everything that it saw on the way. */
const converge = Effect.fnUntraced(function* (
  harness: Harness,
  observer: Observer,
  truth: TestProcess,
  // A store that was rewound gives old tokens and values again.
  rewound = false
) {
  yield* eventually(
    harness,
    "the watcher and the fold of its changes show what the store holds",
    Effect.gen(function* () {
      const wanted = JSON.stringify(content(yield* groupOf(truth).list))
      const views = yield* observer.views
      const newest = views[views.length - 1]
      return (
        newest?.freshness._tag === "Fresh" &&
        JSON.stringify(content(newest)) === wanted &&
        JSON.stringify(content(yield* observer.folded)) === wanted
      )
    })
  )
  if (!rewound) yield* expectEqual(yield* observer.problems, [], "changes that do not fit the view before")
  const views = yield* observer.views
  for (let i = 1; i < views.length; i++) {
    const [before, after] = [views[i - 1], views[i]]
    if (before === undefined || after === undefined) continue
    yield* expect(after.epoch >= before.epoch, "epochs never go backwards")
    yield* expect(
      after.epoch > before.epoch || after.revision >= before.revision,
      `revisions never go backwards: ${before.revision} then ${after.revision}`
    )
  }
})

/** Watches through a trouble: members come, change and go before, during and after it. */
const through = (
  name: string,
  needs: ReadonlyArray<Need>,
  strike: (harness: Harness) => Effect.Effect<void>,
  end: (harness: Harness) => Effect.Effect<void>
): Case =>
  conform(contract, `misses no net change: ${name}`, needs, (harness) =>
    Effect.gen(function* () {
      const writer = yield* harness.process("writer")
      const reader = yield* harness.process("reader")
      const stays = yield* join(writer, "stays")
      const changes = yield* join(writer, "changes")
      const observer = yield* observe(reader)
      yield* converge(harness, observer, writer)
      yield* strike(harness)
      yield* changes.set("2")
      yield* Effect.scoped(join(writer, "passes"))
      yield* join(writer, "comes")
      yield* stays.set("1")
      yield* forTtls(harness, 0.5)
      yield* changes.set("3")
      yield* forTtls(harness, 0.5)
      yield* end(harness)
      yield* converge(harness, observer, writer)
      yield* join(writer, "after")
      yield* converge(harness, observer, writer)
      yield* expect(ids(yield* observer.folded).includes("after"), "the watch is not deaf")
    })
  )

const heal = (harness: Harness) => fault(harness, "heal")("reader")

export const cases: ReadonlyArray<Case> = [
  through(
    "the reader is cut off in silence",
    ["partition", "heal"],
    (harness) => fault(harness, "partition")("reader"),
    heal
  ),
  through(
    "the reader's connection is refused",
    ["partition", "heal"],
    (harness) => fault(harness, "partition")("reader", "refused"),
    heal
  ),
  through(
    "the store forgets history meanwhile",
    ["partition", "heal", "compact"],
    (harness) => Effect.andThen(fault(harness, "partition")("reader"), fault(harness, "compact")),
    (harness) => Effect.andThen(fault(harness, "compact"), heal(harness))
  ),
  through(
    "events are dropped",
    ["dropEvents"],
    (harness) => fault(harness, "dropEvents")("reader", 4),
    () => Effect.void
  ),
  through(
    "the last event is dropped",
    ["dropEvents"],
    () => Effect.void,
    (harness) => fault(harness, "dropEvents")("reader", 1)
  ),
  through(
    "events arrive twice",
    ["duplicateEvents", "heal"],
    (harness) => fault(harness, "duplicateEvents")("reader"),
    heal
  ),
  through(
    "events are late",
    ["delayEvents", "heal"],
    (harness) => fault(harness, "delayEvents")("reader", harness.ttlMillis / 3),
    heal
  ),
  through(
    "the reader reconnects to a server that lags",
    ["lag", "partition", "heal"],
    (harness) => fault(harness, "partition")("reader", "refused"),
    (harness) => Effect.andThen(heal(harness), fault(harness, "lag")("reader", harness.ttlMillis * 2))
  ),
  through(
    "the index falls",
    ["lowerIndex", "partition", "heal"],
    (harness) => Effect.andThen(fault(harness, "lowerIndex")(election), fault(harness, "partition")("reader")),
    heal
  ),
  through(
    "the reader's own session expires",
    ["expireSession"],
    (harness) => fault(harness, "expireSession")("reader"),
    () => Effect.void
  ),
  through(
    "the reader is paused",
    ["pause", "resume"],
    (harness) => fault(harness, "pause")("reader"),
    (harness) => fault(harness, "resume")("reader")
  ),

  conform(
    contract,
    "an index that falls below what was seen is not older data: revisions stay, the members are read",
    ["lowerIndex", "partition", "heal"],
    (harness) =>
      Effect.gen(function* () {
        const writer = yield* harness.process("writer")
        const reader = yield* harness.process("reader")
        yield* join(writer, "stays")
        const observer = yield* observe(reader)
        // The last write is a removal, so the entries that are left are older than the newest revision.
        yield* Effect.scoped(join(writer, "passes"))
        yield* converge(harness, observer, writer)
        yield* fault(harness, "lowerIndex")(election)
        yield* fault(harness, "partition")("reader")
        yield* forTtls(harness, 1)
        yield* fault(harness, "heal")("reader")
        yield* converge(harness, observer, writer)
        yield* join(writer, "after")
        yield* converge(harness, observer, writer)
      })
  ),

  conform(
    contract,
    "misses nothing when the store forgets what came between the list and the watch",
    ["delayRequests", "compact", "healAll"],
    (harness) =>
      Effect.gen(function* () {
        const writer = yield* harness.process("writer")
        const reader = yield* harness.process("reader")
        yield* join(writer, "before")
        yield* fault(harness, "delayRequests")("reader", harness.ttlMillis / 10)
        const observer = yield* observe(reader)
        // The list has been read in the store, and its answer is on the way.
        yield* forTtls(harness, 0.15)
        yield* join(writer, "between")
        yield* fault(harness, "compact")
        yield* converge(harness, observer, writer)
      })
  ),

  conform(
    contract,
    "a store that is rewound starts a new epoch: sessions end, watches re-list, members join anew",
    ["backup", "rewind"],
    (harness) =>
      Effect.gen(function* () {
        const writer = yield* harness.process("writer")
        const reader = yield* harness.process("reader")
        const kept = yield* join(writer, "kept")
        const observer = yield* observe(reader)
        const states = yield* collect(writer.coordinator.session)
        yield* converge(harness, observer, writer)
        const backup = yield* fault(harness, "backup")
        yield* join(writer, "later")
        yield* kept.set("2")
        yield* converge(harness, observer, writer)
        yield* fault(harness, "rewind")(backup)
        yield* eventually(
          harness,
          "the writer's session is lost because the store was rewound",
          Effect.map(states, (all) => all.some((state) => state._tag === "Lost" && state.cause === "StoreRewound"))
        )
        yield* eventually(
          harness,
          "both members are back with their latest values",
          Effect.map(
            groupOf(writer).list,
            (view) => JSON.stringify([...(content(view) ?? [])].sort()) === JSON.stringify(["kept=2", "later=1"])
          )
        )
        yield* converge(harness, observer, writer, true)
        const views = yield* observer.views
        yield* expect(views[views.length - 1]?.epoch === 1, "the view is of the next epoch")
      })
  )
]
