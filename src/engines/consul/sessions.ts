/** Consul's sessions: opened, read back, renewed and ended. */
import * as Effect from "effect/Effect"
import { CoordinatorError, NotThisServer } from "../../CoordinatorError.ts"
import type { Renewal } from "../../internal/store.ts"
import type { Ask } from "./requests.ts"

/** The lock-delay protects resources that check nothing; here tokens do. Nil would mean Consul's default of 15 seconds. */
const lockDelayMillis = 1

interface Session {
  readonly ID: string
  readonly Behavior: string
  /** In nanoseconds. */
  readonly LockDelay: number
  readonly TTL: string
  readonly NodeChecks: ReadonlyArray<string> | null
  readonly ServiceChecks: ReadonlyArray<unknown> | null
}

const units: Readonly<Record<string, number>> = { h: 3_600_000, m: 60_000, s: 1_000, ms: 1 }

/** Reads a duration as Go writes it: "15s", "1m30s", "1.5s". Nothing where it is none. */
export const millisOf = (duration: string): number | undefined => {
  if (!/^(\d+(\.\d+)?(h|ms|m|s))+$/.test(duration)) return undefined
  const parts = Array.from(duration.matchAll(/(\d+(?:\.\d+)?)(ms|h|m|s)/g))
  return parts.reduce((sum, [, amount, unit]) => sum + Number(amount) * (units[unit ?? ""] ?? 0), 0)
}

/** What is wrong with a session that came out otherwise than it was asked for, if anything is. */
export const differenceOf = (session: Session, ttlMillis: number): string | undefined => {
  const { Behavior, LockDelay, NodeChecks, ServiceChecks, TTL } = session
  if (millisOf(TTL) !== ttlMillis) return `its TTL is "${TTL}" and not ${ttlMillis} ms`
  if (Behavior !== "delete") return `its behavior is "${Behavior}" and not "delete"`
  if (LockDelay !== lockDelayMillis * 1_000_000)
    return `its lock-delay is ${LockDelay} ns and not ${lockDelayMillis} ms`
  if ((NodeChecks ?? []).length + (ServiceChecks ?? []).length > 0) return "it is tied to health checks"
  return undefined
}

const sessionsOf = (body: unknown): ReadonlyArray<Session> => (Array.isArray(body) ? (body as Array<Session>) : [])

const idOf = (body: unknown): string | undefined => {
  const id = (body as { readonly ID?: unknown } | null)?.ID
  return typeof id === "string" ? id : undefined
}

export interface Sessions {
  readonly open: (
    ttlMillis: number
  ) => Effect.Effect<{ readonly id: string; readonly ttlMillis: number }, CoordinatorError>
  readonly renew: (session: string) => Effect.Effect<Renewal, CoordinatorError>
  readonly revoke: (session: string) => Effect.Effect<void, CoordinatorError>
}

export const make = (request: Ask, endpoint: string): Sessions => {
  const strange = (detail: string) =>
    new CoordinatorError({
      engine: "consul",
      operation: "Session.open",
      endpoint,
      reason: new NotThisServer({ detail })
    })

  const revoke: Sessions["revoke"] = (session) =>
    Effect.asVoid(
      request("Session.revoke", { method: "PUT", path: `/session/destroy/${session}`, effects: "write" }, [200])
    )

  return {
    open: Effect.fnUntraced(function* (ttlMillis) {
      const wanted = Math.ceil(ttlMillis)
      const created = yield* request(
        "Session.open",
        {
          method: "PUT",
          path: "/session/create",
          effects: "write",
          body: {
            Name: "effect-ensemble",
            TTL: `${wanted}ms`,
            LockDelay: `${lockDelayMillis}ms`,
            Behavior: "delete",
            // Named and empty, or the session dies with the node's health, at a slow network for example. Consul before 1.7 knows
            // only the first of them.
            Checks: [],
            NodeChecks: [],
            ServiceChecks: []
          }
        },
        [200]
      )
      const id = idOf(created.body)
      if (id === undefined) return yield* strange("What answers is not Consul: it names no session")
      const path = `/session/info/${id}`
      const read = yield* request(
        "Session.open",
        { method: "GET", path, query: { consistent: "" }, effects: "read" },
        [200]
      )
      const session = sessionsOf(read.body).find(({ ID }) => ID === id)
      const difference = session === undefined ? "it is gone" : differenceOf(session, wanted)
      if (difference === undefined) return { id, ttlMillis: wanted }
      yield* Effect.ignore(revoke(id))
      return yield* strange(
        `A new session is not what was asked for: ${difference}. Something in between changes requests`
      )
    }),
    renew: Effect.fnUntraced(function* (session) {
      const { body, status } = yield* request(
        "Session.renew",
        { method: "PUT", path: `/session/renew/${session}`, effects: "read" },
        [200, 404]
      )
      const renewed = sessionsOf(body).find(({ ID }) => ID === session)
      const ttlMillis = renewed === undefined ? undefined : millisOf(renewed.TTL)
      return status === 404 || ttlMillis === undefined ? { _tag: "Gone" } : { _tag: "Renewed", ttlMillis }
    }),
    revoke
  }
}
