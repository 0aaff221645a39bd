import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Schema } from "effect"
import { Barrier, Election, Memory, Sequence } from "effect-ensemble"
import { Faults, History } from "effect-ensemble/testing"
import { TestClock } from "effect/testing"

/** Events in order, one every 100 ms unless a number in between moves the clock to that time. */
const events = (...parts: ReadonlyArray<History.Report | number>): ReadonlyArray<History.Event> => {
  let at = 0
  const found: Array<History.Event> = []
  for (const part of parts) {
    if (typeof part === "number") at = part
    else {
      found.push({ ...part, at, order: found.length } as History.Event)
      at += 100
    }
  }
  return found
}

const names = (history: ReadonlyArray<History.Event>, options?: History.CheckOptions) =>
  History.check(history, options).map(({ name }) => name)

const group = "election/chief"
const process = "store"

interface In {
  readonly group?: string
  readonly epoch?: number
}

const stored = (
  id: string,
  token: bigint,
  options: In & { readonly value?: string; readonly revision?: bigint } = {}
) =>
  ({
    _tag: "Stored",
    process,
    group: options.group ?? group,
    id,
    token,
    value: options.value ?? "",
    revision: options.revision ?? token,
    epoch: options.epoch ?? 0
  }) as const

const removed = (id: string, token: bigint, revision: bigint, options: In & { readonly forced?: boolean } = {}) =>
  ({
    _tag: "Removed",
    process,
    group: options.group ?? group,
    id,
    token,
    revision,
    epoch: options.epoch ?? 0,
    forced: options.forced ?? false
  }) as const

const restored = (revision: bigint, epoch: number, ...members: ReadonlyArray<readonly [string, bigint]>) =>
  ({
    _tag: "Restored",
    process,
    revision,
    epoch,
    entries: members.map(([id, token]) => ({ group, id, token, value: "" }))
  }) as const

const place = (id: string, token: bigint) => ({ process: id, group, id, token })
const granted = (id: string, token: bigint) => ({ _tag: "Granted", ...place(id, token) }) as const
const acted = (id: string, token: bigint) => ({ _tag: "Acted", ...place(id, token) }) as const
const interrupted = (id: string, token: bigint, lost = true) =>
  ({ _tag: "Interrupted", ...place(id, token), lost }) as const
const stopped = (id: string, token: bigint, lost = false) => ({ _tag: "Stopped", ...place(id, token), lost }) as const
const paused = (process: string) => ({ _tag: "Paused", process }) as const
const resumed = (process: string) => ({ _tag: "Resumed", process }) as const
const settled = { _tag: "Settled", process: "test" } as const

const member = (id: string, token: bigint, value = "") => ({ id, token, value })

const viewed = (
  revision: bigint,
  members: ReadonlyArray<{ readonly id: string; readonly token: bigint; readonly value: string }>,
  options: In & { readonly fresh?: boolean } = {}
) =>
  ({
    _tag: "Viewed",
    process: "r",
    reader: "r",
    group: options.group ?? group,
    epoch: options.epoch ?? 0,
    revision,
    fresh: options.fresh ?? true,
    members
  }) as const

const changed = (change: "Joined" | "Updated" | "Left", id: string, token: bigint, value = "") =>
  ({ _tag: "Changed", process: "r", reader: "r", group, change, member: { id, token, value } }) as const

describe("views", () => {
  it("accepts what the store had, and a restored store's lower revisions in a new epoch", () => {
    assert.deepStrictEqual(
      names(
        events(
          viewed(0n, []),
          stored("a", 1n),
          viewed(1n, [member("a", 1n)]),
          stored("a", 1n, { value: "x", revision: 2n }),
          removed("a", 1n, 3n),
          // Late, and still exact at its revision.
          viewed(2n, [member("a", 1n, "x")]),
          viewed(4n, []),
          restored(1n, 1, ["a", 1n]),
          viewed(1n, [member("a", 1n)], { epoch: 1 }),
          settled
        )
      ),
      []
    )
  })

  it("finds a revision that goes back within an epoch", () => {
    const history = events(stored("a", 1n), removed("a", 1n, 2n), viewed(2n, []), viewed(1n, [member("a", 1n)]))
    assert.deepStrictEqual(names(history), ["ViewWentBack"])
  })

  it("finds an epoch that goes back", () => {
    const history = events(viewed(5n, [], { epoch: 1 }), viewed(5n, [], { epoch: 0 }))
    assert.deepStrictEqual(names(history), ["ViewWentBack"])
  })

  it("finds a fresh view that is not what the store had at its revision", () => {
    const store = [stored("a", 1n), removed("a", 1n, 2n), stored("b", 3n)] as const
    for (const wrong of [
      viewed(3n, [member("a", 1n), member("b", 3n)]),
      viewed(3n, []),
      viewed(2n, [member("a", 1n)]),
      viewed(3n, [member("b", 3n, "other")]),
      viewed(3n, [member("b", 1n)])
    ]) {
      assert.deepStrictEqual(names(events(...store, wrong)), ["ViewIsWrong"])
    }
    assert.deepStrictEqual(names(events(...store, viewed(3n, [member("a", 1n)], { fresh: false }))), [])
  })

  it("finds a view of the former store under the new epoch", () => {
    const history = events(
      stored("a", 1n),
      viewed(1n, [member("a", 1n)]),
      stored("b", 2n),
      restored(0n, 1),
      stored("c", 1n, { epoch: 1 }),
      viewed(1n, [member("c", 1n)], { epoch: 1 }),
      viewed(2n, [member("a", 1n), member("b", 2n)], { epoch: 1 })
    )
    assert.deepStrictEqual(names(history), ["ViewIsWrong"])
  })

  it("judges a lowered index by the data alone", () => {
    const store = [stored("a", 1n), stored("b", 2n), removed("b", 2n, 3n)] as const
    const low = viewed(1n, [member("a", 1n)])
    const lower = { _tag: "IndexLowered", process, group } as const
    assert.deepStrictEqual(names(events(...store, lower, low)), [])
    assert.deepStrictEqual(names(events(...store, lower, viewed(1n, [member("b", 2n)]))), ["ViewIsWrong"])
    assert.deepStrictEqual(names(events(...store, lower, viewed(0n, []))), [])
  })

  it("finds a reader that is behind, or stale, once all is quiet", () => {
    const store = [stored("a", 1n), viewed(1n, [member("a", 1n)])] as const
    assert.deepStrictEqual(names(events(...store, settled)), [])
    assert.deepStrictEqual(names(events(...store, removed("a", 1n, 2n), settled)), ["ViewIsBehind"])
    assert.deepStrictEqual(names(events(...store, viewed(1n, [member("a", 1n)], { fresh: false }), settled)), [
      "ViewIsBehind"
    ])
    const detached = { _tag: "Detached", process: "r", reader: "r" } as const
    assert.deepStrictEqual(names(events(...store, removed("a", 1n, 2n), detached, settled)), [])
  })
})

describe("changes", () => {
  it("folds to the latest view and the store", () => {
    const history = events(
      stored("a", 1n),
      changed("Joined", "a", 1n),
      stored("a", 1n, { value: "x", revision: 2n }),
      changed("Updated", "a", 1n, "x"),
      stored("b", 3n),
      changed("Joined", "b", 3n),
      removed("a", 1n, 4n),
      changed("Left", "a", 1n, "x"),
      viewed(4n, [member("b", 3n)]),
      settled
    )
    assert.deepStrictEqual(names(history), [])
  })

  it("finds changes that do not fit what came before", () => {
    for (const wrong of [
      [changed("Left", "a", 1n)],
      [changed("Updated", "a", 1n)],
      [changed("Joined", "a", 1n), changed("Joined", "a", 2n)],
      [changed("Joined", "a", 1n), changed("Updated", "a", 2n)]
    ]) {
      assert.deepStrictEqual(names(events(...wrong)), ["ChangeDoesNotFit"])
    }
  })

  it("finds a fold that is not the latest view, with and without the store's own word", () => {
    const view = [viewed(1n, [member("a", 1n)]), changed("Joined", "b", 2n)] as const
    assert.deepStrictEqual(names(events(...view, settled)), ["FoldIsWrong"])
    assert.deepStrictEqual(names(events(stored("a", 1n), changed("Joined", "a", 1n, "x"), settled)), ["FoldIsWrong"])
  })
})

describe("tenures", () => {
  const a = [stored("a", 1n), granted("a", 1n)] as const
  const b = [stored("b", 2n), granted("b", 2n)] as const

  it("accepts a hand-over, by resignation and by loss", () => {
    const resigned = events(
      ...a,
      acted("a", 1n),
      stopped("a", 1n),
      removed("a", 1n, 2n),
      stored("b", 3n),
      granted("b", 3n)
    )
    assert.deepStrictEqual(names(resigned), [])
    const lost = events(
      ...a,
      stored("b", 2n),
      interrupted("a", 1n),
      removed("a", 1n, 3n),
      granted("b", 2n),
      // Still cleaning up: an overrun perhaps, but its interruption was issued in time.
      stopped("a", 1n, true),
      settled
    )
    assert.deepStrictEqual(names(lost), [])
  })

  it("finds two at once", () => {
    const history = events(granted("a", 1n), granted("b", 2n), stopped("a", 1n))
    assert.deepStrictEqual(names(history), ["TenuresOverlap"])
    assert.include(History.check(history)[0]?.message, "from 100 to 200 ms")
  })

  it("finds a grant while another one is ahead", () => {
    assert.deepStrictEqual(names(events(...a, ...b)), ["GrantedOutOfTurn"])
  })

  it("finds a grant without an entry", () => {
    assert.deepStrictEqual(names(events(stored("b", 1n), granted("a", 2n))), ["GrantedWithoutEntry"])
    assert.deepStrictEqual(
      names(events(stored("a", 1n), removed("a", 1n, 2n), granted("a", 1n), stopped("a", 1n, true))),
      ["GrantedWithoutEntry", "HeldAfterRemoval"]
    )
  })

  it("finds a holder that goes on after its entry has gone", () => {
    assert.deepStrictEqual(names(events(...a, removed("a", 1n, 2n), interrupted("a", 1n), stopped("a", 1n, true))), [
      "HeldAfterRemoval"
    ])
  })

  it("finds one that gave its place up before its body had stopped, also in one instant", () => {
    const history = events(...a, interrupted("a", 1n, false), 500, removed("a", 1n, 2n), 500, stopped("a", 1n))
    assert.deepStrictEqual(names(history), ["RemovedBeforeStopped"])
    const late = events(...a, interrupted("a", 1n, false), removed("a", 1n, 2n), stopped("a", 1n))
    assert.deepStrictEqual(names(late), ["HeldAfterRemoval"])
  })

  it("finds one whose entry went before its interruption was issued, in one instant", () => {
    const entry = removed("a", 1n, 2n)
    assert.deepStrictEqual(names(events(...a, 500, entry, 500, interrupted("a", 1n), stopped("a", 1n, true))), [
      "RemovedBeforeStopped"
    ])
    assert.deepStrictEqual(names(events(...a, 500, interrupted("a", 1n), 500, entry, stopped("a", 1n, true))), [])
  })

  it("finds one that is never interrupted, also when an operator took its entry", () => {
    const history = events(...a, removed("a", 1n, 2n, { forced: true }), settled)
    assert.deepStrictEqual(names(history), ["NeverInterrupted"])
  })

  it("does not hold an operator's deletion against the holder", () => {
    const history = events(
      ...a,
      stored("b", 2n),
      removed("a", 1n, 3n, { forced: true }),
      granted("b", 2n),
      acted("a", 1n),
      interrupted("a", 1n),
      stopped("a", 1n, true),
      settled
    )
    assert.deepStrictEqual(names(history), [])
  })

  it("judges a paused holder by tokens only, and by what it does after", () => {
    const until = [
      ...a,
      stored("b", 2n),
      paused("a"),
      removed("a", 1n, 3n),
      granted("b", 2n),
      1_000,
      resumed("a")
    ] as const
    assert.deepStrictEqual(
      names(events(...until, 1_000, interrupted("a", 1n), 1_000, stopped("a", 1n, true), settled)),
      []
    )
    assert.deepStrictEqual(names(events(...until, 1_500, interrupted("a", 1n), stopped("a", 1n, true))), [
      "HeldAfterRemoval",
      "TenuresOverlap"
    ])
    assert.deepStrictEqual(
      names(events(...until, 1_000, acted("a", 1n), 1_000, interrupted("a", 1n), 1_000, stopped("a", 1n, true))),
      ["ActedWithoutEntry"]
    )
  })

  it("finds an act by a token that the store has never had, or has no more", () => {
    assert.deepStrictEqual(names(events(stored("a", 1n), acted("a", 2n))), ["ActedWithoutEntry"])
    assert.deepStrictEqual(names(events(stored("a", 1n), removed("a", 1n, 2n), acted("a", 1n))), ["ActedWithoutEntry"])
    assert.deepStrictEqual(names(events(stored("a", 1n), removed("a", 1n, 2n, { forced: true }), acted("a", 1n))), [])
  })

  it("finds tokens that do not grow, in grants and in entries", () => {
    const grants = events(granted("b", 2n), stopped("b", 2n), granted("a", 1n))
    assert.deepStrictEqual(names(grants), ["TokenDidNotGrow"])
    assert.deepStrictEqual(names(events(granted("b", 2n), stopped("b", 2n), granted("b", 2n))), ["TokenDidNotGrow"])
    const entries = [stored("a", 2n), removed("a", 2n, 3n)] as const
    assert.deepStrictEqual(names(events(...entries, stored("b", 2n, { revision: 4n }))), ["TokenDidNotGrow"])
    assert.deepStrictEqual(names(events(...entries, stored("b", 4n))), [])
    assert.deepStrictEqual(names(events(...entries, restored(0n, 1), stored("b", 1n, { epoch: 1 }))), [])
  })

  it("compares nothing across a restore", () => {
    const history = events(
      ...a,
      restored(0n, 1),
      stored("b", 1n, { epoch: 1 }),
      granted("b", 1n),
      interrupted("a", 1n),
      stopped("a", 1n, true),
      settled
    )
    assert.deepStrictEqual(names(history), [])
  })
})

describe("barriers", () => {
  const gate = "barrier/gate"
  const rule = { barriers: { [gate]: { minimum: 2, isReady: (value: string) => value === "ready" } } }
  const at = (id: string, token: bigint, value: string, revision = token) =>
    stored(id, token, { group: gate, value, revision })
  const ready = [at("a", 1n, "ready"), at("b", 2n, "ready")] as const
  const waiting = (
    process: string,
    wait: number,
    ...mine: ReadonlyArray<{ readonly id: string; readonly token: bigint }>
  ) => ({ _tag: "Waiting", process, group: gate, wait, mine }) as const
  const passed = (
    process: string,
    wait: number,
    revision: bigint,
    ...members: ReadonlyArray<{ readonly id: string; readonly token: bigint }>
  ) => ({ _tag: "Passed", process, group: gate, wait, revision, members }) as const
  const one = { id: "a", token: 1n }
  const two = { id: "b", token: 2n }

  it("accepts an opening, and one who passes by it long after it has closed again", () => {
    const history = events(
      ...ready,
      waiting("a", 0, one),
      waiting("b", 1, two),
      passed("a", 0, 2n, one, two),
      removed("a", 1n, 3n, { group: gate }),
      at("c", 4n, "busy"),
      passed("b", 1, 2n, one, two),
      settled
    )
    assert.deepStrictEqual(names(history, rule), [])
  })

  it("finds an opening at a revision at which somebody was not ready, was not named, or too few were there", () => {
    const wait = waiting("a", 0, one)
    const early = events(at("a", 1n, "ready"), at("b", 2n, "busy"), wait, passed("a", 0, 2n, one, two))
    assert.deepStrictEqual(names(early, rule), ["OpenedTooEarly"])
    const later = events(
      at("a", 1n, "ready"),
      at("b", 2n, "busy"),
      wait,
      at("b", 2n, "ready", 3n),
      passed("a", 0, 2n, one, two)
    )
    assert.deepStrictEqual(names(later, rule), ["OpenedTooEarly"])
    const third = events(...ready, at("c", 3n, "busy"), wait, passed("a", 0, 3n, one, two))
    assert.deepStrictEqual(names(third, rule), ["OpenedTooEarly"])
    const few = events(at("a", 1n, "ready"), wait, passed("a", 0, 1n, one))
    assert.deepStrictEqual(names(few, rule), ["OpenedTooEarly"])
  })

  it("finds one who passes by an opening that does not name it", () => {
    const late = events(
      ...ready,
      at("c", 3n, "busy"),
      waiting("c", 0, { id: "c", token: 3n }),
      passed("c", 0, 2n, one, two)
    )
    assert.deepStrictEqual(names(late, rule), ["PassedUnnamed"])
    assert.deepStrictEqual(names(events(...ready, waiting("c", 0), passed("c", 0, 2n, one, two)), rule), [])
  })

  it("finds one who passes twice by one opening", () => {
    const once = [...ready, waiting("a", 0, one), passed("a", 0, 2n, one, two)] as const
    const again = [waiting("a", 1, one), passed("a", 1, 2n, one, two)] as const
    assert.deepStrictEqual(names(events(...once, ...again), rule), [])
    assert.deepStrictEqual(names(events(...once, at("b", 2n, "busy", 3n), ...again), rule), ["PassedTwice"])
  })

  it("finds one who was named and waiting and did not pass", () => {
    const before = [...ready, waiting("a", 0, one), waiting("b", 1, two), passed("a", 0, 2n, one, two)] as const
    const gaveUp = (timedOut: boolean) => ({ _tag: "GaveUp", process: "b", group: gate, wait: 1, timedOut }) as const
    const cut = { _tag: "Cut", process: "b" } as const
    assert.deepStrictEqual(names(events(...before, 60_000, settled), rule), ["LeftBehindBarrier"])
    assert.deepStrictEqual(names(events(...before, 60_000, gaveUp(true)), rule), ["LeftBehindBarrier"])
    assert.deepStrictEqual(names(events(...before, 60_000, gaveUp(false)), rule), [])
    assert.deepStrictEqual(names(events(...before, gaveUp(true)), rule), [])
    const earlier = [waiting("b", 2, two), passed("b", 2, 2n, one, two)] as const
    const spent = [
      ...ready,
      ...earlier,
      waiting("b", 1, two),
      waiting("a", 0, one),
      passed("a", 0, 2n, one, two)
    ] as const
    assert.deepStrictEqual(names(events(...spent, 60_000, gaveUp(true)), rule), [])
    assert.deepStrictEqual(names(events(cut, ...before, 60_000, settled), rule), [])
    assert.deepStrictEqual(names(events(...before, cut, 60_000, settled), rule), [])
  })
})

describe("sequences", () => {
  const shards = "sequence/shards"
  const store = [stored("a", 1n, { group: shards }), stored("b", 2n, { group: shards })] as const
  const seated = (id: string, token: bigint, index: number, count: number) =>
    ({ _tag: "Seated", process: id, reader: id, group: shards, id, token, index, count }) as const
  const began = (id: string, token: bigint, index: number, count: number, exclusive = true) =>
    ({ _tag: "Began", process: id, group: shards, id, token, index, count, exclusive }) as const
  const ceased = (id: string, token: bigint) =>
    ({ _tag: "Stopped", process: id, group: shards, id, token, lost: false }) as const

  it("accepts indices without gap, and a leaver's absence", () => {
    const both = [...store, seated("a", 1n, 0, 2), seated("b", 2n, 1, 2)] as const
    assert.deepStrictEqual(names(events(...both, settled)), [])
    const left = { _tag: "Detached", process: "a", reader: "a" } as const
    const one = [left, removed("a", 1n, 3n, { group: shards }), seated("b", 2n, 0, 1)] as const
    assert.deepStrictEqual(names(events(...both, ...one, settled)), [])
  })

  it("finds a gap, an index held twice, and a count that is wrong", () => {
    for (const wrong of [
      [seated("a", 1n, 0, 2)],
      [seated("a", 1n, 0, 2), seated("b", 2n, 0, 2)],
      [seated("a", 1n, 0, 2), seated("b", 2n, 1, 3)],
      [seated("a", 1n, 0, 2), seated("b", 2n, 2, 2)],
      [
        seated("a", 1n, 0, 2),
        seated("b", 2n, 1, 2),
        { _tag: "Unseated", process: "b", reader: "b", group: shards } as const
      ]
    ]) {
      assert.deepStrictEqual(names(events(...store, ...wrong, settled)), ["IndicesDoNotFit"])
    }
  })

  it("finds exclusive bodies of one index that overlap, and lets others", () => {
    const change = [began("a", 1n, 0, 1), began("b", 2n, 0, 1), ceased("a", 1n)] as const
    assert.deepStrictEqual(names(events(...store, ...change)), ["BodiesOverlap"])
    const free = change.map((event) => (event._tag === "Began" ? { ...event, exclusive: false } : event))
    assert.deepStrictEqual(names(events(...store, ...free)), [])
    const apart = [began("a", 1n, 0, 2), began("b", 2n, 1, 2), ceased("a", 1n), began("a", 1n, 0, 2)] as const
    assert.deepStrictEqual(names(events(...store, ...apart, settled)), [])
  })
})

describe("what is left", () => {
  const counted = { _tag: "Counted", process: "test", entries: [], sessions: 0, watches: 0 } as const

  it("finds entries, sessions and watches", () => {
    assert.deepStrictEqual(names(events(counted)), [])
    const entry = { group, id: "a", token: 1n }
    const found = History.check(events(stored("a", 1n), { ...counted, entries: [entry], sessions: 1, watches: 2 }))
    assert.deepStrictEqual(
      found.map(({ name, events }) => [name, events.map(({ _tag }) => _tag)]),
      [["LeftInStore", ["Stored", "Counted"]]]
    )
    assert.include(found[0]?.message, "election/chief/a#1, 1 sessions, 2 watches")
  })
})

describe("recording", () => {
  it("keeps events that its schema encodes and reads again", () => {
    const history = events(stored("a", 1n), granted("a", 1n), stopped("a", 1n), settled)
    const codec = Schema.fromJsonString(Schema.toCodecJson(Schema.Array(History.Event)))
    const text = Schema.encodeSync(codec)(history)
    assert.deepStrictEqual(Schema.decodeSync(codec)(text), history)
  })

  it.effect("records a run that keeps every guarantee, and finds it broken when the holder lies", () =>
    Effect.gen(function* () {
      const Chief = Election.make("chief")
      const history = yield* History.make
      const store = yield* Memory.makeStore()
      yield* History.recordStore(history, store)
      const faults = History.recordFaults(history, Faults.make(store))
      for (const node of ["a", "b"]) {
        const process = yield* Memory.makeProcess(store, { node, ttl: "10 seconds" })
        const holder = { process: node, group: Chief.group }
        yield* Effect.forkScoped(
          process.run(
            Election.lead(Chief, (tenure) =>
              History.recordTenure(
                history,
                holder,
                tenure,
                Effect.andThen(History.recordEnsure(history, holder, tenure), Effect.never)
              )
            )
          )
        )
        const here = process.coordinator.group(Chief.group)
        yield* Effect.forkScoped(History.recordViews(history, { process: node, reader: node }, here))
        yield* Effect.forkScoped(History.recordChanges(history, { process: node, reader: node }, here))
      }
      yield* TestClock.adjust("1 second")
      yield* faults.partition("a")
      yield* TestClock.adjust("30 seconds")
      yield* faults.healAll
      yield* TestClock.adjust("10 seconds")
      yield* faults.remove(Chief.group, "b")
      yield* TestClock.adjust("30 seconds")
      yield* History.record(history, { _tag: "Settled", process: "test" })

      const good = yield* history.events
      assert.deepStrictEqual(History.check(good).map(History.format), [])
      assert.deepStrictEqual(
        good.flatMap((event) => (event._tag === "Granted" ? [event.id] : [])),
        ["a", "b", "a"]
      )
      const lying = good.filter((event) => event._tag !== "Interrupted" || event.process !== "a")
      assert.include(
        names(lying.filter((event) => event._tag !== "Stopped" || event.process !== "a")),
        "TenuresOverlap"
      )
      const blind = good.filter((event) => event._tag !== "Changed" || event.change !== "Left")
      assert.include(names(blind), "ChangeDoesNotFit")
    })
  )

  it.effect("tells a restore from a removal, and a loss from a resignation", () =>
    Effect.gen(function* () {
      const Chief = Election.make("chief")
      const history = yield* History.make
      const store = yield* Memory.makeStore()
      yield* History.recordStore(history, store)
      const faults = History.recordFaults(history, Faults.make(store))
      const a = yield* Memory.makeProcess(store, { node: "a", ttl: "10 seconds" })
      const backup = yield* faults.backup
      const fiber = yield* Effect.forkChild(
        a.run(
          Election.lead(Chief, (tenure) =>
            History.recordTenure(history, { process: "a", group: Chief.group }, tenure, Effect.never)
          )
        )
      )
      yield* TestClock.adjust("1 second")
      yield* faults.rewind(backup)
      yield* TestClock.adjust("10 seconds")
      yield* Fiber.interrupt(fiber)
      assert.deepStrictEqual(
        (yield* history.events).flatMap((event) => {
          if (event._tag === "Restored") return [`Restored ${event.epoch}`]
          if (event._tag === "Interrupted") return [`Interrupted ${event.lost ? "by loss" : "by itself"}`]
          return event._tag === "Removed" || event._tag === "Stopped" ? [event._tag] : []
        }),
        ["Restored 1", "Interrupted by loss", "Stopped", "Interrupted by itself", "Stopped", "Removed"]
      )
    })
  )

  it.effect("records waits, seats and bodies", () =>
    Effect.gen(function* () {
      const Gate = Barrier.make("gate", { state: Schema.String, minimum: 1 })
      const Shards = Sequence.make("shards")
      const history = yield* History.make
      const store = yield* Memory.makeStore()
      yield* History.recordStore(history, store)
      const a = yield* Memory.makeProcess(store, { node: "a", ttl: "10 seconds" })
      const gate = { process: "a", group: Gate.group, mine: [{ id: "a", token: 1n }] }
      const shards = { process: "a", group: Shards.group }
      const wait = (name: Barrier.Definition<string>, timeout: number) =>
        Effect.forkChild(a.run(Effect.exit(History.recordWait(history, gate, Barrier.wait(name, { timeout })))))

      yield* a.run(Barrier.announce(Gate, "here"))
      yield* wait(Gate, 5_000)
      yield* wait(Barrier.make("other", { state: Schema.String, minimum: 2 }), 5_000)
      yield* TestClock.adjust("10 seconds")
      const seat = yield* Effect.forkChild(a.run(History.recordSeats(history, shards, Sequence.join(Shards))))
      yield* TestClock.adjust("1 second")
      yield* Fiber.interrupt(seat)
      const body = yield* Effect.forkChild(
        a.run(
          Sequence.run(Shards, (seat) =>
            History.recordSeat(history, { ...shards, coordinator: a.coordinator }, seat, Effect.never)
          )
        )
      )
      yield* TestClock.adjust("1 second")
      yield* Fiber.interrupt(body)
      const recorded = (yield* history.events).filter(({ process }) => process === "a")
      assert.sameMembers(
        recorded.map((event) => (event._tag === "GaveUp" ? `GaveUp ${event.timedOut}` : event._tag)),
        [
          "Waiting",
          "Waiting",
          "Passed",
          "GaveUp true",
          "Unseated",
          "Seated",
          "Detached",
          "Began",
          "Interrupted",
          "Stopped"
        ]
      )
    })
  )
})
