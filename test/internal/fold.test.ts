import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import { CoordinatorError, Group } from "effect-ensemble"
import { fold } from "../../src/internal/groupHub.ts"
import type { Entry, Feed } from "../../src/internal/store.ts"

const cause = new CoordinatorError.CoordinatorError({
  engine: "memory",
  operation: "Group.watch",
  endpoint: "memory://a",
  reason: new CoordinatorError.Unreachable({ detail: "No answer" })
})

const owns = (session: string) => session === "mine"

/** A random history of one group: joins, updates, removals and replacements, as a store would make it. */
const Step = Schema.Struct({
  id: Schema.Literals(["a", "b", "c", "d"]),
  act: Schema.Literals(["put", "remove", "replace"]),
  value: Schema.Literals(["1", "2"]),
  deliver: Schema.Literals(["changes", "snapshot", "nothing", "stale"])
})

const content = (view: Group.GroupView<string>) =>
  view.members.map((member) => `${member.id}=${member.value}@${member.token}`)

describe("the fold", () => {
  it.effect.prop(
    "changes folded from the empty view give the latest view, whatever the feed is made of",
    [Schema.Array(Step)],
    ([steps]) =>
      Effect.sync(() => {
        let revision = 0n
        const entries = new Map<string, Entry>()
        let view = Group.empty<string>()
        let folded = Group.empty<string>()
        let missed = true
        const deliver = (feed: Feed) => {
          const before = view
          const step = fold(view, feed, owns, 0)
          view = step.view
          folded = Group.applyChanges(folded, step.changes)
          assert.isTrue(view.revision >= before.revision)
        }
        for (const { act, deliver: how, id, value } of steps) {
          revision++
          const present = entries.get(id)
          let feed: Feed
          if (act === "remove") {
            entries.delete(id)
            feed = { _tag: "Changes", revision, puts: [], removes: [id] }
          } else {
            const token = present === undefined || act === "replace" ? revision : present.token
            const entry: Entry = { id, value, token, version: revision, owner: "mine" }
            entries.set(id, entry)
            feed = { _tag: "Changes", revision, puts: [entry], removes: [] }
          }
          // A feed never goes on after something was missed: it starts with a snapshot again.
          if (how === "changes" && !missed) deliver(feed)
          else if (how === "snapshot" || how === "changes") {
            deliver({ _tag: "Snapshot", snapshot: { entries: [...entries.values()], revision, epoch: 0 } })
            missed = false
          } else {
            missed = true
            if (how === "stale") deliver({ _tag: "Disconnected", cause })
          }
          assert.deepStrictEqual(content(folded), content(view))
        }
        deliver({ _tag: "Snapshot", snapshot: { entries: [...entries.values()], revision, epoch: 0 } })
        assert.deepStrictEqual(
          content(view),
          [...entries.values()]
            .sort((a, b) => Number(a.token - b.token))
            .map((entry) => `${entry.id}=${entry.value}@${entry.token}`)
        )
        assert.deepStrictEqual(content(folded), content(view))
      })
  )

  const entry = (id: string, token: bigint, value = "1"): Entry => ({
    id,
    token,
    value,
    version: token,
    owner: "other"
  })
  const start = fold(
    Group.empty<string>(),
    { _tag: "Snapshot", snapshot: { entries: [entry("a", 5n)], revision: 9n, epoch: 0 } },
    owns,
    0
  ).view

  it("an event that is not newer than the view changes nothing", () => {
    const step = fold(start, { _tag: "Changes", revision: 9n, puts: [entry("a", 5n, "old")], removes: [] }, owns, 0)
    assert.strictEqual(step.view, start)
    assert.deepStrictEqual(step.changes, [])
  })

  it("a snapshot under a lower number is accepted without going backwards", () => {
    const step = fold(
      start,
      { _tag: "Snapshot", snapshot: { entries: [entry("b", 8n)], revision: 8n, epoch: 0 } },
      owns,
      0
    )
    assert.strictEqual(step.view.revision, 9n)
    assert.deepStrictEqual(
      step.changes.map((change) => `${change._tag} ${change.member.id}`),
      ["Left a", "Joined b"]
    )
  })

  it("a snapshot of the next epoch counts from its own number", () => {
    const step = fold(
      start,
      { _tag: "Snapshot", snapshot: { entries: [entry("a", 5n)], revision: 6n, epoch: 1 } },
      owns,
      0
    )
    assert.strictEqual(step.view.revision, 6n)
    assert.strictEqual(step.view.epoch, 1)
  })

  it("the same id under another token is a Left and a Joined", () => {
    const step = fold(start, { _tag: "Changes", revision: 10n, puts: [entry("a", 10n)], removes: [] }, owns, 0)
    assert.deepStrictEqual(
      step.changes.map((change) => change._tag),
      ["Left", "Joined"]
    )
  })

  it("what is not settled is shown as stale, loses nobody, and claims no revision that it has not reached", () => {
    const churned = fold(
      start,
      { _tag: "Changes", revision: 9n, puts: [entry("b", 12n)], removes: [], unsettled: cause },
      owns,
      42
    )
    assert.deepStrictEqual(
      churned.changes.map((change) => `${change._tag} ${change.member.id}`),
      ["Joined b"]
    )
    assert.deepStrictEqual(content(churned.view), ["a=1@5", "b=1@12"])
    assert.strictEqual(churned.view.revision, 9n)
    assert.deepStrictEqual(churned.view.freshness, { _tag: "Stale", since: 42, cause })
    const again: Feed = { _tag: "Changes", revision: 9n, puts: [], removes: ["a"], unsettled: cause }
    const later = fold(churned.view, again, owns, 43).view
    assert.deepStrictEqual(content(later), ["b=1@12"])
    assert.deepStrictEqual(later.freshness, { _tag: "Stale", since: 42, cause })
    const settled = fold(later, { _tag: "Changes", revision: 13n, puts: [], removes: [] }, owns, 44).view
    assert.deepStrictEqual([settled.revision, settled.freshness._tag], [13n, "Fresh"])
  })

  it("a snapshot that is not settled is stale as well", () => {
    const snapshot = { entries: [entry("a", 5n)], revision: 9n, epoch: 0 }
    const { view } = fold(Group.empty<string>(), { _tag: "Snapshot", snapshot, unsettled: cause }, owns, 42)
    assert.deepStrictEqual(content(view), ["a=1@5"])
    assert.deepStrictEqual(view.freshness, { _tag: "Stale", since: 42, cause })
    assert.strictEqual(fold(view, { _tag: "Snapshot", snapshot }, owns, 43).view.freshness._tag, "Fresh")
  })

  it("a broken link makes the view stale once, progress makes it fresh", () => {
    const stale = fold(start, { _tag: "Disconnected", cause }, owns, 42).view
    assert.deepStrictEqual(stale.freshness, { _tag: "Stale", since: 42, cause })
    assert.strictEqual(fold(stale, { _tag: "Disconnected", cause }, owns, 43).view, stale)
    assert.strictEqual(fold(stale, { _tag: "Progress", revision: 9n }, owns, 0).view.freshness._tag, "Fresh")
  })
})
