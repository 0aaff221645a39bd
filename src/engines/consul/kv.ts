/** Requests to the key-value store that the quorum answers, and what their answers say of the store itself. */
import * as Effect from "effect/Effect"
import * as PubSub from "effect/PubSub"
import { CoordinatorError, NotThisServer, OutcomeUnknown, Unreachable } from "../../CoordinatorError.ts"
import { unexpected } from "../../internal/unexpected.ts"
import { failureOf, textOf } from "./failure.ts"
import type { Effects, HttpAnswer, HttpRequest } from "./http.ts"
import type { Pair } from "./keys.ts"
import { encode } from "./keys.ts"
import * as Polls from "./polls.ts"
import type { Ask } from "./requests.ts"
import * as Timers from "./timers.ts"

/** One step of a transaction, as Consul takes it. */
export interface TxnStep {
  readonly KV: {
    readonly Verb: "check-not-exists" | "check-session" | "check-index" | "lock" | "set" | "delete" | "get" | "get-tree"
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

export interface Polling extends Pick<Polls.Polling<Found>, "from" | "burst" | "endpoint" | "requestMillis"> {
  readonly recurse: boolean
}

export interface Kv {
  readonly read: (operation: string, key: string, asking?: Asking) => Effect.Effect<Found, CoordinatorError>
  /** A blocking query for a key, or for all below it, that goes on from an index. */
  readonly poll: (operation: string, key: string, polling: Polling) => Polls.Poll<Found>
  readonly timers: Timers.Timers
  readonly txn: (operation: string, steps: ReadonlyArray<TxnStep>) => Effect.Effect<TxnAnswer, CoordinatorError>
  /** Asks whether the store still knows everything that this process was told of. */
  readonly probe: (operation: string) => Effect.Effect<void, CoordinatorError>
  /** An answer contradicts what was read before it: the store was put back to an earlier state. */
  readonly contradictedUnsafe: (by: Found) => void
  /** Grows each time the store is found to have been put back to an earlier state. */
  readonly epochUnsafe: () => number
  readonly rewinds: PubSub.PubSub<void>
}

const readStatuses = [200, 404]
const txnStatuses = [200, 409]

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
  isObject(value) &&
  typeof value["Key"] === "string" &&
  Number.isSafeInteger(value["CreateIndex"]) &&
  Number.isSafeInteger(value["ModifyIndex"])

const arePairs = (body: unknown): body is ReadonlyArray<Pair> => Array.isArray(body) && body.every(isPair)

const none: ReadonlyArray<Pair> = []

export const make = Effect.fnUntraced(function* (request: Ask, prefix: string) {
  const rewinds = yield* PubSub.unbounded<void>()
  const timers = yield* Timers.make
  /** The highest index of a key that any answer has named. */
  let highest = 0n
  let epoch = 0

  const saw = (index: bigint | number) => {
    if (index > highest) highest = BigInt(index)
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

  const readingOf = (key: string, { index, recurse = false, waitMillis }: Asking): HttpRequest => ({
    method: "GET",
    path: `/kv/${encode(key)}`,
    query: {
      consistent: "",
      ...(recurse ? { recurse: "" } : {}),
      ...(index === undefined ? {} : { index: String(index) })
    },
    effects: "read",
    ...(waitMillis === undefined ? {} : { waitMillis })
  })

  /** What an answer says, given what was known when it was asked for. */
  const foundIn = (operation: string, since: number, before: bigint, answer: HttpAnswer): Found | CoordinatorError => {
    const { index } = answer
    const pairs = answer.status === 404 ? none : answer.body
    if (index === undefined || !arePairs(pairs)) return strange(operation, answer)
    if (since !== epoch) return outdated(operation, "read", answer.endpoint)
    saw(index)
    return { pairs, index, revision: index > before ? index : before, epoch }
  }

  const read: Kv["read"] = (operation, key, asking = {}) =>
    Effect.suspend(() => {
      const since = epoch
      const before = highest
      return Effect.flatMap(request(operation, readingOf(key, asking), readStatuses), (answer) => {
        const found = foundIn(operation, since, before, answer)
        return Polls.isFailure(found) ? Effect.fail(found) : Effect.succeed(found)
      })
    })

  const poll: Kv["poll"] = (operation, key, { recurse, ...polling }) => {
    const thrown = unexpected({ engine: "consul", endpoint: polling.endpoint }, operation)
    const ask =
      (asking: Asking): Polls.Question<Found> =>
      (told) => {
        const since = epoch
        const before = highest
        return request.unsafe(operation, readingOf(key, asking), readStatuses, (answer) => {
          let found: Found | CoordinatorError
          try {
            found = Polls.isFailure(answer) ? answer : foundIn(operation, since, before, answer)
          } catch (defect) {
            found = thrown(defect)
          }
          told(found)
        })
      }
    return Polls.make({
      ...polling,
      ask: (index, waitMillis) => ask(index === undefined ? { recurse } : { recurse, index, waitMillis }),
      indexOf: ({ index }) => index,
      onReset: probe(operation),
      timers
    })
  }

  const applied = (body: Readonly<Record<string, unknown>>): TxnAnswer => {
    const results = (Array.isArray(body["Results"]) ? body["Results"] : none) as ReadonlyArray<{ KV?: unknown }>
    const pairs: Array<Pair> = []
    for (const { KV } of results) {
      if (!isPair(KV)) continue
      pairs.push(KV)
      saw(KV.ModifyIndex)
    }
    return { _tag: "Applied", pairs }
  }

  const txn: Kv["txn"] = (operation, steps) =>
    Effect.suspend(() => {
      const since = epoch
      return Effect.flatMap(
        request(operation, { method: "PUT", path: "/txn", body: steps, effects: "write" }, txnStatuses),
        (answer): Effect.Effect<TxnAnswer, CoordinatorError> => {
          const { body, endpoint, status } = answer
          if (!isObject(body)) return Effect.fail(strange(operation, answer))
          if (since !== epoch) return Effect.fail(outdated(operation, "write", endpoint))
          if (status === 200) return Effect.succeed(applied(body))
          const refusals = (Array.isArray(body["Errors"]) ? body["Errors"] : []) as ReadonlyArray<Refusal>
          const denied = refusals.find(({ What }) => /permission denied|ACL not found/i.test(What))
          if (denied !== undefined) {
            return Effect.fail(failureOf(operation, "write", { ...answer, status: 403, body: denied.What }))
          }
          return Effect.succeed({ _tag: "Refused", refusals, endpoint })
        }
      )
    })

  const probe: Kv["probe"] = (operation) =>
    Effect.suspend(() => {
      const before = highest
      const since = epoch
      // A key that is never written: the index of its absence is that of the whole key-value store, and never falls by itself.
      return Effect.flatMap(
        request(
          operation,
          { method: "GET", path: `/kv/${encode(`${prefix}/`)}`, query: { consistent: "" }, effects: "read" },
          readStatuses
        ),
        (answer) => {
          if (answer.index === undefined) return Effect.fail(strange(operation, answer))
          if (since !== epoch || answer.status === 200 || answer.index >= before) saw(answer.index)
          else rewoundUnsafe(answer.index)
          return Effect.void
        }
      )
    })

  const kv: Kv = {
    read,
    poll,
    txn,
    probe,
    contradictedUnsafe: (by) => {
      if (by.epoch === epoch) rewoundUnsafe(by.index ?? 0n)
    },
    epochUnsafe: () => epoch,
    rewinds,
    timers
  }
  return kv
})
