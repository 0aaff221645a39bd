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

export const make = (options: {
  readonly clock: Clock.Clock
  /** Whether a membership of this process holds or wants the entry: it answers for the entry itself. */
  readonly claimed: (key: string) => boolean
  readonly call: <A>(request: Effect.Effect<A, CoordinatorError>) => Effect.Effect<A, CoordinatorError>
}): Debts => {
  let debts: ReadonlyArray<Debt> = []
  const now = () => Session.instantUnsafe(options.clock)

  /** Reads the entry and removes it if it is the debt's; tells whether it was absent. */
  const collect = Effect.fnUntraced(function* (debt: Debt) {
    const found = Option.getOrUndefined(yield* options.call(debt.group.read(debt.id)))
    const owed =
      found !== undefined && found.owner === debt.session && (debt.token === undefined || found.token === debt.token)
    if (!owed) return true
    // Seen, so not absent, whatever becomes of the removal.
    debt.absentSince = undefined
    yield* options.call(debt.group.remove(found))
    return false
  })

  const settleOne = Effect.fnUntraced(function* (debt: Debt, lease: Session.Lease) {
    if (options.claimed(debt.key)) {
      debt.since = now()
      debt.absentSince = undefined
      return "Open" as const
    }
    const absent = yield* collect(debt).pipe(Effect.catch(() => Effect.succeed(false)))
    const at = now()
    if (absent) debt.absentSince ??= at
    if (absent && debt.absentSince !== undefined && Session.elapsedMillis(debt.absentSince, at) >= lease.ttlMillis)
      return "Paid"
    return Session.elapsedMillis(debt.since, at) >= 2 * lease.ttlMillis ? "Overdue" : "Open"
  })

  return {
    addUnsafe: (debt) => {
      const same = (other: Debt) =>
        other.key === debt.key && other.session === debt.session && other.token === debt.token
      const known = debts.find(same)
      if (known !== undefined) {
        // Sent once more, so it may be applied as late as if it were the first.
        known.since = now()
        known.absentSince = undefined
        return
      }
      debts = [...debts, { ...debt, since: now(), absentSince: undefined }]
    },
    inherited: (key, by) => debts.some((debt) => debt.key === key && debt.by !== by),
    forgetUnsafe: (session) => {
      debts = debts.filter((debt) => debt.session !== session)
    },
    settle: Effect.fnUntraced(function* (lease) {
      const open = debts
      // One after another: a store that has just come back should not meet all debts at once.
      const results = yield* Effect.forEach(open, (debt) => settleOne(debt, lease))
      const paid = new Set(open.filter((_, index) => results[index] === "Paid"))
      debts = debts.filter((debt) => !paid.has(debt))
      return results.includes("Overdue") ? "Overdue" : "Settled"
    })
  }
}
