/** Watches: the present first, nothing missed, never backwards, never deaf, shared. */
import * as Effect from "effect/Effect"
import * as Ref from "effect/Ref"
import * as Stream from "effect/Stream"
import type { Change, GroupView } from "../../Group.ts"
import * as Group from "../../Group.ts"
import {
  background,
  collect,
  conform,
  eventually,
  expect,
  expectEqual,
  fault,
  forTtls,
  groupOf,
  ids,
  latest
} from "./harness.ts"
import type { Case, Harness, Need, TestProcess } from "./harness.ts"

const contract = "Watch"

const election = { kind: "election", name: "group" } as const

const join = (process: TestProcess, id: string, value = "1") => groupOf(process).join({ id, value }, { rejoin: true })

/** `id=value`, in token order. */
const content = (view: GroupView<string> | undefined) => view?.members.map((member) => `${member.id}=${member.value}`)

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
  conform(contract, "emits the present view first, then later ones", [], (harness) =>
    Effect.gen(function* () {
      const a = yield* harness.process("a")
      const b = yield* harness.process("b")
      yield* join(a, "one")
      const views = yield* collect(groupOf(b).watch)
      yield* eventually(
        harness,
        "the first view has come",
        Effect.map(views, (all) => all.length > 0)
      )
      yield* expectEqual(content((yield* views)[0]), ["one=1"], "the first view")
      yield* join(a, "two")
      yield* eventually(
        harness,
        "a later view shows the newcomer",
        Effect.map(views, (all) => content(all[all.length - 1])?.length === 2)
      )
    })
  ),

  conform(contract, "of an empty group emits an empty view first", [], (harness) =>
    Effect.gen(function* () {
      const a = yield* harness.process("a")
      const view = yield* latest(groupOf(a).watch)
      yield* eventually(
        harness,
        "an empty, fresh view",
        Effect.map(view, (now) => now?.size === 0 && now.freshness._tag === "Fresh")
      )
    })
  ),

  conform(contract, "changes begin with one Joined for each present member", [], (harness) =>
    Effect.gen(function* () {
      const a = yield* harness.process("a")
      yield* join(a, "one")
      yield* join(a, "two")
      const changes = yield* collect(groupOf(a).changes)
      yield* eventually(
        harness,
        "both have come",
        Effect.map(changes, (all) => all.length === 2)
      )
      yield* expectEqual(
        (yield* changes).map((change: Change<string>) => `${change._tag} ${change.member.id}`),
        ["Joined one", "Joined two"],
        "the changes"
      )
    })
  ),

  conform(contract, "a slow reader gets the newest view, not a backlog", [], (harness) =>
    Effect.gen(function* () {
      const a = yield* harness.process("a")
      const mine = yield* join(a, "one", "0")
      const seen = yield* Ref.make<ReadonlyArray<string>>([])
      const slow = yield* Effect.forkScoped(
        groupOf(a).watch.pipe(
          Stream.runForEach((view) =>
            Effect.andThen(
              Ref.update(seen, (all) => [...all, ...(content(view) ?? [])]),
              a.run(Effect.sleep(harness.ttlMillis))
            )
          )
        ),
        { startImmediately: true }
      )
      yield* eventually(
        harness,
        "the reader has begun",
        Effect.map(Ref.get(seen), (all) => all.length === 1)
      )
      for (let value = 1; value <= 20; value++) yield* mine.set(String(value))
      yield* eventually(
        harness,
        "the reader has the newest",
        Effect.map(Ref.get(seen), (all) => all.includes("one=20"))
      )
      yield* expect((yield* Ref.get(seen)).length <= 4, "the reader skipped what was overtaken")
      yield* expect(slow.pollUnsafe() === undefined, "the watch goes on")
    })
  ),

  conform(contract, "a reader of changes that falls far behind still folds to the latest view", [], (harness) =>
    Effect.gen(function* () {
      const a = yield* harness.process("a")
      const mine = yield* join(a, "one", "0")
      yield* join(a, "leaver")
      const folded = yield* Ref.make(Group.empty<string>())
      let held = true
      yield* groupOf(a).changes.pipe(
        Stream.runForEach((change) =>
          Effect.andThen(
            Ref.update(folded, (view) => Group.applyChanges(view, [change])),
            Effect.suspend(() => (held ? a.run(Effect.sleep(harness.ttlMillis)) : Effect.void))
          )
        ),
        Effect.forkScoped({ startImmediately: true })
      )
      yield* eventually(
        harness,
        "the reader has begun",
        Effect.map(Ref.get(folded), (view) => view.size > 0)
      )
      // Told only at the beginning of what the reader misses, so it must not be lost with the rest.
      yield* join(a, "early")
      for (let value = 1; value <= 1500; value++) yield* mine.set(String(value))
      held = false
      yield* eventually(
        harness,
        "the fold is the latest view",
        Effect.map(Ref.get(folded), (view) => content(view)?.join() === "one=1500,leaver=1,early=1")
      )
    })
  ),

  conform(
    contract,
    "says that it is stale while it is cut off, and fresh again after",
    ["partition", "heal"],
    (harness) =>
      Effect.gen(function* () {
        const writer = yield* harness.process("writer")
        const reader = yield* harness.process("reader")
        yield* join(writer, "one")
        const view = yield* latest(groupOf(reader).watch)
        yield* eventually(
          harness,
          "the view is fresh",
          Effect.map(view, (now) => now?.size === 1)
        )
        yield* fault(harness, "partition")("reader")
        yield* eventually(
          harness,
          "the view is stale and keeps its members",
          Effect.map(view, (now) => now?.freshness._tag === "Stale" && now.size === 1)
        )
        yield* fault(harness, "heal")("reader")
        yield* eventually(
          harness,
          "the view is fresh again",
          Effect.map(view, (now) => now?.freshness._tag === "Fresh")
        )
      })
  ),

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
  ),

  conform(
    contract,
    "any number of local subscribers share one upstream watch, which ends with the last of them",
    [],
    (harness) =>
      Effect.gen(function* () {
        const a = yield* harness.process("a")
        const before = (yield* harness.truth).watches
        yield* Effect.scoped(
          Effect.gen(function* () {
            const readers = yield* Effect.forEach(Array.from({ length: 50 }), () => latest(groupOf(a).watch))
            yield* Effect.forEach(Array.from({ length: 50 }), () => collect(groupOf(a).changes))
            yield* eventually(
              harness,
              "all have a view",
              Effect.map(Effect.all(readers), (views) => views.every((view) => view !== undefined))
            )
            yield* expectEqual((yield* harness.truth).watches, before + 1, "upstream watches")
          })
        )
        yield* eventually(
          harness,
          "the upstream watch has ended",
          Effect.map(harness.truth, (truth) => truth.watches === before)
        )
      })
  ),

  conform(contract, "counts entries that other programs wrote, with or without a session", ["put"], (harness) =>
    Effect.gen(function* () {
      const a = yield* harness.process("a")
      yield* fault(harness, "put")(election, "foreign", "")
      const view = yield* groupOf(a).list
      yield* expectEqual(content(view), ["foreign="], "the members")
      yield* expect(view.members[0]?.mine === false, "a foreign member is not mine")
    })
  ),

  conform(contract, "tells which members this coordinator created", [], (harness) =>
    Effect.gen(function* () {
      const a = yield* harness.process("a")
      const b = yield* harness.process("b")
      yield* join(a, "of-a")
      yield* join(b, "of-b")
      const mine = (yield* groupOf(a).list).members.filter((member) => member.mine).map((member) => member.id)
      yield* expectEqual(mine, ["of-a"], "members of a")
    })
  ),

  conform(contract, "interrupted before its first view, leaves nothing behind", ["partition"], (harness) =>
    Effect.gen(function* () {
      const a = yield* harness.process("a")
      yield* fault(harness, "partition")("a")
      const before = (yield* harness.truth).watches
      yield* Effect.scoped(
        Effect.gen(function* () {
          const watching = yield* background(Stream.runDrain(groupOf(a).watch))
          yield* forTtls(harness, 0.5)
          yield* expect((yield* watching) === undefined, "the watch waits for the store")
        })
      )
      yield* expectEqual((yield* harness.truth).watches, before, "upstream watches")
    })
  )
]
