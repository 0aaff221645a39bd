/** Watches: the present first, then the newest, shared by all readers of a process. */
import * as Effect from "effect/Effect"
import * as Ref from "effect/Ref"
import * as Stream from "effect/Stream"
import type { Change } from "../../Group.ts"
import * as Group from "../../Group.ts"
import {
  background,
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
  joinAs as join,
  latest
} from "./harness.ts"
import type { Case } from "./harness.ts"

const contract = "Watch"

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
            // Never more than one; but a store that is watched by one question after another is watched by none for a moment.
            const { watches } = yield* harness.truth
            yield* expect(watches <= before + 1, `at most one upstream watch: found ${watches - before}`)
            yield* eventually(
              harness,
              "one upstream watch serves all",
              Effect.map(harness.truth, (truth) => truth.watches === before + 1)
            )
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
