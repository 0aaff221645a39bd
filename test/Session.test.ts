import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import { CoordinatorError, Session } from "effect-ensemble"

const at = (millis: number): Session.Instant => ({ monotonic: BigInt(millis) * 1_000_000n, wall: millis })

const lease = (overrides: Partial<Session.Lease> = {}): Session.Lease => ({
  id: "s1",
  generation: 1,
  sentAt: at(0),
  ttlMillis: 10_000,
  margin: 0.8,
  ...overrides
})

const cause = new CoordinatorError.CoordinatorError({
  engine: "memory",
  operation: "Session.renew",
  endpoint: "memory://a",
  reason: new CoordinatorError.Unreachable({ detail: "No answer" })
})

const connecting: Session.SessionState = { _tag: "Connecting", generation: 1, cause: undefined }
const connected: Session.SessionState = { _tag: "Connected", lease: lease() }
const suspended: Session.SessionState = { _tag: "Suspended", lease: lease(), since: 1000, deadline: 8000, cause }
const lost: Session.SessionState = { _tag: "Lost", lease: lease(), cause: "Expired" }
const closed: Session.SessionState = { _tag: "Closed" }

const surrendered = (loss: Session.LossCause, id = "s1"): ReadonlyArray<Session.SessionAction> => [
  { _tag: "Surrender", id, cause: loss },
  { _tag: "Revoke", id }
]

const renewed = (sentAt: number, now: number, id = "s1"): Session.SessionEvent => ({
  _tag: "Renewed",
  id,
  sentAt: at(sentAt),
  ttlMillis: 10_000,
  now: at(now)
})

const failed = (now: number, id = "s1"): Session.SessionEvent => ({ _tag: "RenewalFailed", id, cause, now: at(now) })

const rows: ReadonlyArray<
  readonly [
    string,
    Session.SessionState,
    Session.SessionEvent,
    Session.SessionState,
    ReadonlyArray<Session.SessionAction>
  ]
> = [
  ["an opening connects", connecting, { _tag: "Opened", lease: lease(), now: at(10) }, connected, []],
  [
    "an opening answered after its own deadline is lost at once",
    connecting,
    { _tag: "Opened", lease: lease(), now: at(8000) },
    { _tag: "Lost", lease: lease(), cause: "DeadlinePassed" },
    surrendered("DeadlinePassed")
  ],
  ["a failed opening says why", connecting, { _tag: "OpenFailed", cause }, { ...connecting, cause }, []],
  [
    "a second opening is revoked",
    connected,
    { _tag: "Opened", lease: lease({ id: "s2" }), now: at(10) },
    connected,
    [{ _tag: "Revoke", id: "s2" }]
  ],
  [
    "a renewal moves the deadline to its sending",
    connected,
    renewed(3000, 3100),
    { _tag: "Connected", lease: lease({ sentAt: at(3000) }) },
    []
  ],
  [
    "an overtaken renewal moves nothing back",
    { _tag: "Connected", lease: lease({ sentAt: at(3000) }) },
    renewed(2000, 3500),
    { _tag: "Connected", lease: lease({ sentAt: at(3000) }) },
    []
  ],
  ["another session's renewal is nothing", connected, renewed(3000, 3100, "s0"), connected, []],
  [
    "a renewal ends a suspension",
    suspended,
    renewed(3000, 3100),
    { _tag: "Connected", lease: lease({ sentAt: at(3000) }) },
    []
  ],
  [
    "a renewal answered after the deadline does not revive",
    suspended,
    renewed(3000, 8000),
    { _tag: "Lost", lease: lease(), cause: "DeadlinePassed" },
    surrendered("DeadlinePassed")
  ],
  ["a failed renewal suspends", connected, failed(1000), { ...suspended, since: 1000 }, []],
  ["a second failure keeps the first moment", suspended, failed(2000), { ...suspended, since: 1000 }, []],
  [
    "a failure at the deadline loses",
    suspended,
    failed(8000),
    { _tag: "Lost", lease: lease(), cause: "DeadlinePassed" },
    surrendered("DeadlinePassed")
  ],
  ["another session's failure is nothing", connected, failed(1000, "s0"), connected, []],
  [
    "the store's word ends it",
    connected,
    { _tag: "Expired", id: "s1", cause: "Expired" },
    lost,
    surrendered("Expired")
  ],
  ["also while suspended", suspended, { _tag: "Expired", id: "s1", cause: "Expired" }, lost, surrendered("Expired")],
  ["another session's end is nothing", connected, { _tag: "Expired", id: "s0", cause: "Expired" }, connected, []],
  ["a tick before the deadline is nothing", connected, { _tag: "Ticked", now: at(7999) }, connected, []],
  [
    "a tick at the deadline loses",
    connected,
    { _tag: "Ticked", now: at(8000) },
    { _tag: "Lost", lease: lease(), cause: "DeadlinePassed" },
    surrendered("DeadlinePassed")
  ],
  ["lost is final for a late renewal", lost, renewed(3000, 3100), lost, []],
  ["lost is final for a late failure", lost, failed(1000), lost, []],
  ["lost is lost once", lost, { _tag: "Expired", id: "s1", cause: "Expired" }, lost, []],
  [
    "after a loss the next generation opens",
    lost,
    { _tag: "Reopened" },
    { _tag: "Connecting", generation: 2, cause: undefined },
    [{ _tag: "Open", generation: 2 }]
  ],
  ["only a loss reopens", connected, { _tag: "Reopened" }, connected, []],
  ["closing surrenders and revokes", connected, { _tag: "Closed" }, closed, surrendered("Closed")],
  ["closing before the first session has nothing to revoke", connecting, { _tag: "Closed" }, closed, []],
  ["closed is final", closed, { _tag: "Reopened" }, closed, []],
  ["closed ignores answers", closed, renewed(3000, 3100), closed, []]
]

describe("transition", () => {
  for (const [name, state, event, after, actions] of rows) {
    it(name, () => {
      assert.deepStrictEqual(Session.transition(state, event), { state: after, actions })
    })
  }

  it("is total: every state takes every event", () => {
    const states = [connecting, connected, suspended, lost, closed]
    for (const state of states) {
      for (const [, , event] of rows) {
        const next = Session.transition(state, event)
        assert.include(["Connecting", "Connected", "Suspended", "Lost", "Closed"], next.state._tag)
      }
    }
  })
})

const Millis = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 100_000 }))
const Skew = Schema.Int.check(Schema.isBetween({ minimum: -100_000, maximum: 100_000 }))
const Margin = Schema.Literals([0.5, 0.8])

describe("the deadline", () => {
  it.effect.prop(
    "passes before the store's, whatever the clocks have done",
    [Millis, Millis, Skew, Millis, Margin],
    ([sent, elapsed, jump, ttlMillis, margin]) =>
      Effect.sync(() => {
        const held = lease({ sentAt: at(sent), ttlMillis, margin })
        const now = { monotonic: BigInt(sent + elapsed) * 1_000_000n, wall: sent + elapsed + jump }
        // The store counts from some moment after the sending, so it cannot expire before a TTL of true time has passed.
        if (elapsed >= ttlMillis) assert.isFalse(Session.isCurrent(held, now))
        if (Session.isCurrent(held, now)) assert.isTrue(Session.untilStoreExpiryMillis(held, now) > 0)
      })
  )

  it.effect.prop("a suspended monotonic clock does not lengthen it", [Millis, Millis], ([sent, asleep]) =>
    Effect.sync(() => {
      const held = lease({ sentAt: at(sent) })
      const now = { monotonic: held.sentAt.monotonic, wall: sent + asleep }
      assert.strictEqual(Session.isCurrent(held, now), asleep < 8000)
    })
  )

  it.effect.prop("elapsed time is the larger of the two and never negative", [Skew, Skew], ([monotonic, wall]) =>
    Effect.sync(() => {
      const now = { monotonic: BigInt(monotonic) * 1_000_000n, wall }
      assert.strictEqual(Session.elapsedMillis(at(0), now), Math.max(0, monotonic, wall))
    })
  )

  const later = rows.map(([, , event]) => event).filter((event) => event._tag !== "Opened")

  it.effect.prop("no answer brings a lost lease back", [Schema.Array(Schema.Int)], ([picks]) =>
    Effect.sync(() => {
      let state: Session.SessionState = lost
      for (const pick of picks) {
        const event = later[Math.abs(pick) % later.length]
        if (event !== undefined) state = Session.transition(state, event).state
        assert.notInclude(["Connected", "Suspended"], state._tag)
      }
    })
  )
})
