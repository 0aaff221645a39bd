/** Requests to the key-value store that the quorum answers, and what their answers say of the store itself. */
import * as Effect from "effect/Effect"
import * as PubSub from "effect/PubSub"
import { CoordinatorError, NotThisServer, OutcomeUnknown, Unreachable } from "../../CoordinatorError.ts"
import { failureOf, textOf } from "./failure.ts"
import type { Effects, HttpAnswer } from "./http.ts"
import type { Pair } from "./keys.ts"
import { encode } from "./keys.ts"
import type { Ask } from "./requests.ts"

/** One step of a transaction, as Consul takes it. */
export interface TxnStep {
  readonly KV: {
    readonly Verb: "check-not-exists" | "check-session" | "check-index" | "lock" | "set" | "delete" | "get"
    readonly Key: string
    readonly Value?: string
    readonly Session?: string
    readonly Index?: number
  }
}

/** Where a transaction was refused, and why; nothing of it was carried out. */
export interface Refusal {
  readonly OpIndex: number
  readonly What: string
}

export type TxnAnswer =
  | { readonly _tag: "Applied"; readonly pairs: ReadonlyArray<Pair> }
  | { readonly _tag: "Refused"; readonly refusals: ReadonlyArray<Refusal>; readonly endpoint: string }

/** What a reading found. */
export interface Found {
  readonly pairs: ReadonlyArray<Pair>
  /** As Consul says it, for the next blocking query. It may fall while the data stay: removals are forgotten after a quarter of an hour. */
  readonly index: bigint | undefined
  /** A revision at which this was the state: no lower than what this process had been told of when it asked. */
  readonly revision: bigint
  readonly epoch: number
}

/** How to ask: for all keys below, or for one; now, or when there is more than an index. */
export interface Asking {
  readonly recurse?: boolean
  readonly index?: bigint
  readonly waitMillis?: number
}

export interface Kv {
  readonly read: (operation: string, key: string, asking?: Asking) => Effect.Effect<Found, CoordinatorError>
  readonly txn: (operation: string, steps: ReadonlyArray<TxnStep>) => Effect.Effect<TxnAnswer, CoordinatorError>
  /** Asks whether the store still knows everything that this process was told of. */
  readonly probe: (operation: string) => Effect.Effect<void, CoordinatorError>
  /** An answer contradicts what was read before it: the store was put back to an earlier state. */
  readonly contradictedUnsafe: (by: Found) => void
  /** Grows each time the store is found to have been put back to an earlier state. */
  readonly epochUnsafe: () => number
  readonly rewinds: PubSub.PubSub<void>
}

const isObject = (body: unknown): body is Readonly<Record<string, unknown>> => typeof body === "object" && body !== null

/** What is not as Consul answers comes from something else. */
export const strange = (operation: string, { body, endpoint, status }: HttpAnswer) =>
  new CoordinatorError({
    engine: "consul",
    operation,
    endpoint,
    reason: new NotThisServer({
      detail: `What answers is not Consul: status ${status}, ${textOf(body).slice(0, 100)}`
    })
  })

const isPair = (value: unknown): value is Pair =>
  isObject(value) && typeof value["Key"] === "string" && typeof value["CreateIndex"] === "number"

export const make = Effect.fnUntraced(function* (request: Ask, prefix: string) {
  const rewinds = yield* PubSub.unbounded<void>()
  /** The highest index of a key that any answer has named. */
  let highest = 0n
  let epoch = 0

  const saw = (index: bigint | number | undefined) => {
    if (index !== undefined && BigInt(index) > highest) highest = BigInt(index)
  }

  const rewoundUnsafe = (index: bigint) => {
    highest = index
    epoch++
    PubSub.publishUnsafe(rewinds, undefined)
  }

  /** What was asked before a rewind says nothing after it. */
  const outdated = (operation: string, effects: Effects, endpoint: string) => {
    const detail = "The store was rewound before the answer came"
    const reason = effects === "read" ? new Unreachable({ detail }) : new OutcomeUnknown({ detail })
    return new CoordinatorError({ engine: "consul", operation, endpoint, reason })
  }

  const read: Kv["read"] = (operation, key, { index, recurse = false, waitMillis } = {}) =>
    Effect.suspend(() => {
      const since = epoch
      const before = highest
      const query = {
        consistent: "",
        ...(recurse ? { recurse: "" } : {}),
        ...(index === undefined ? {} : { index: String(index) })
      }
      return Effect.flatMap(
        request(
          operation,
          {
            method: "GET",
            path: `/kv/${encode(key)}`,
            query,
            effects: "read",
            ...(waitMillis === undefined ? {} : { waitMillis })
          },
          [200, 404]
        ),
        (answer) => {
          const pairs = answer.status === 404 ? [] : answer.body
          if (answer.index === undefined || !Array.isArray(pairs) || !pairs.every(isPair)) {
            return Effect.fail(strange(operation, answer))
          }
          if (since !== epoch) return Effect.fail(outdated(operation, "read", answer.endpoint))
          saw(answer.index)
          const revision = answer.index > before ? answer.index : before
          return Effect.succeed({ pairs, index: answer.index, revision, epoch })
        }
      )
    })

  const txn: Kv["txn"] = (operation, steps) =>
    Effect.suspend(() => {
      const since = epoch
      return Effect.flatMap(
        request(operation, { method: "PUT", path: "/txn", body: steps, effects: "write" }, [200, 409]),
        (answer): Effect.Effect<TxnAnswer, CoordinatorError> => {
          const { body, endpoint, status } = answer
          if (!isObject(body)) return Effect.fail(strange(operation, answer))
          if (since !== epoch) return Effect.fail(outdated(operation, "write", endpoint))
          if (status === 200) {
            const results = (Array.isArray(body["Results"]) ? body["Results"] : []) as ReadonlyArray<{ KV?: unknown }>
            const pairs = results.flatMap(({ KV }) => (isPair(KV) ? [KV] : []))
            for (const pair of pairs) saw(pair.ModifyIndex)
            return Effect.succeed({ _tag: "Applied", pairs })
          }
          const refusals = (Array.isArray(body["Errors"]) ? body["Errors"] : []) as ReadonlyArray<Refusal>
          const denied = refusals.find(({ What }) => /permission denied|ACL not found/i.test(What))
          if (denied !== undefined) {
            return Effect.fail(failureOf(operation, "write", { ...answer, status: 403, body: denied.What }))
          }
          return Effect.succeed({ _tag: "Refused", refusals, endpoint })
        }
      )
    })

  const kv: Kv = {
    read,
    txn,
    probe: (operation) =>
      Effect.suspend(() => {
        const before = highest
        const since = epoch
        // A key that is never written: the index of its absence is that of the whole key-value store, and never falls by itself.
        return Effect.flatMap(
          request(
            operation,
            { method: "GET", path: `/kv/${encode(`${prefix}/`)}`, query: { consistent: "" }, effects: "read" },
            [200, 404]
          ),
          (answer) =>
            Effect.suspend(() => {
              if (answer.index === undefined) return Effect.fail(strange(operation, answer))
              if (since !== epoch || answer.status === 200 || answer.index >= before) {
                saw(answer.index)
                return Effect.void
              }
              rewoundUnsafe(answer.index)
              return Effect.void
            })
        )
      }),
    contradictedUnsafe: (by) => {
      if (by.epoch === epoch) rewoundUnsafe(by.index ?? 0n)
    },
    epochUnsafe: () => epoch,
    rewinds
  }
  return kv
})
