/**
 * What the store has not confirmed gone: an abandoned create, an unanswered delete.
 *
 * The session is shared by all memberships, so it would keep such an entry alive for as long as the process runs: a
 * leader that nobody is. A debt is read and removed at each renewal until it was seen absent for one whole TTL, because
 * a create that was sent may be applied late. One that is still there after two TTLs costs the session: nothing
 * outlives that.
 */
import type * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Iterable from "effect/Iterable"
import * as Option from "effect/Option"
import type { CoordinatorError } from "../CoordinatorError.ts"
import * as Session from "../Session.ts"
import type { GroupStore } from "./store.ts"

interface Debt {
  readonly group: GroupStore
  readonly key: string
  readonly id: string
  /** `undefined` where the answer that would have named it never came. */
  readonly token: bigint | undefined
  readonly session: string
  /** The membership that made it. */
  readonly by: object
  since: Session.Instant
  absentSince: Session.Instant | undefined
}

export interface Debts {
  readonly addUnsafe: (debt: Omit<Debt, "since" | "absentSince">) => void
  /** Whether another membership than this one has left a debt under the key. */
  readonly inherited: (key: string, by: object) => boolean
  /** Debts end with the session that keeps their entries alive. */
  readonly forgetUnsafe: (session: string) => void
  readonly settle: (lease: Session.Lease) => Effect.Effect<"Settled" | "Overdue">
}

/** Time that has surely passed: the larger of the clocks ends things early, and an absence must not end early. */
const certainMillis = (since: Session.Instant, now: Session.Instant): number =>
  Number(now.monotonic - since.monotonic) / 1_000_000

export const make = (options: {
  readonly clock: Clock.Clock
  /** Whether the session still keeps entries alive: one that is lost owes nothing, and its end must not cost the next. */
  readonly alive: (session: string) => boolean
  /** Whether a membership of this process holds or wants the entry: it answers for the entry itself. */
  readonly claimed: (key: string) => boolean
  readonly call: <A>(request: Effect.Effect<A, CoordinatorError>) => Effect.Effect<A, CoordinatorError>
}): Debts => {
  const debts = new Set<Debt>()
  const now = () => Session.instantUnsafe(options.clock)

  /** The debt's claimant answers for the entry: as long as it is there, the debt only waits. */
  const deferred = (debt: Debt): boolean => {
    if (!options.claimed(debt.key)) return false
    debt.since = now()
    debt.absentSince = undefined
    return true
  }

  /** Reads the entry and removes it if it is the debt's; tells whether it was absent. */
  const collect = Effect.fnUntraced(function* (debt: Debt) {
    const found = Option.getOrUndefined(yield* options.call(debt.group.read(debt.id)))
    const owed =
      found !== undefined && found.owner === debt.session && (debt.token === undefined || found.token === debt.token)
    if (!owed) return true
    // Seen, so not absent, whatever becomes of the removal.
    debt.absentSince = undefined
    // Asked again: what was joined while the reading was under way may be the very entry that it found.
    if (!deferred(debt)) yield* options.call(debt.group.remove(found))
    return false
  })

  const settleOne = Effect.fnUntraced(function* (debt: Debt, lease: Session.Lease) {
    if (deferred(debt)) return "Open"
    const absent = yield* collect(debt).pipe(Effect.catch(() => Effect.succeed(false)))
    const at = now()
    if (absent) debt.absentSince ??= at
    if (absent && debt.absentSince !== undefined && certainMillis(debt.absentSince, at) >= lease.ttlMillis)
      return "Paid"
    return Session.elapsedMillis(debt.since, at) >= 2 * lease.ttlMillis ? "Overdue" : "Open"
  })

  return {
    addUnsafe: (debt) => {
      if (!options.alive(debt.session)) return
      for (const known of debts) {
        if (known.key !== debt.key || known.session !== debt.session || known.token !== debt.token) continue
        // Sent once more, so it may be applied as late as if it were the first.
        known.since = now()
        known.absentSince = undefined
        return
      }
      debts.add({ ...debt, since: now(), absentSince: undefined })
    },
    inherited: (key, by) => Iterable.some(debts, (debt) => debt.key === key && debt.by !== by),
    forgetUnsafe: (session) => {
      for (const debt of debts) if (debt.session === session) debts.delete(debt)
    },
    settle: Effect.fnUntraced(function* (lease) {
      // One after another: a store that has just come back should not meet all debts at once. Each may take its whole
      // time, so the first that is overdue ends the round, and those of a session lost meanwhile are passed over.
      for (const debt of Array.from(debts)) {
        if (!debts.has(debt)) continue
        const result = yield* settleOne(debt, lease)
        if (result === "Overdue") return "Overdue"
        if (result === "Paid") debts.delete(debt)
      }
      return "Settled"
    })
  }
}
