/** A transaction on the program's own keys under the condition that a place is still held. */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { CoordinatorError } from "../../CoordinatorError.ts"
import { CoordinatorError as Failure, InvalidOptions, Unreachable } from "../../CoordinatorError.ts"
import type { Claim } from "../../Group.ts"
import { label } from "../../Group.ts"
import { MembershipLost } from "../../Membership.ts"
import type { ConsulStore } from "./client.ts"
import { unchanged } from "./groupStore.ts"
import { base64Of, pathOf, valueOf } from "./keys.ts"
import type { TxnAnswer, TxnStep } from "./kv.ts"

export type Operation =
  | { readonly _tag: "Put"; readonly key: string; readonly value: string }
  | { readonly _tag: "Remove"; readonly key: string }
  | { readonly _tag: "Get"; readonly key: string }

export interface Committed {
  readonly values: ReadonlyArray<Option.Option<string>>
}

/** A refused transaction has changed nothing, so it may be tried again with other conditions, as long as others do not outpace it. */
const tries = 5

/** Consul refuses to read a key that is not there, and with it the whole transaction: that it is not there is then the condition. */
const stepOf = (operation: Operation, absent: boolean): TxnStep => {
  const Key = operation.key
  switch (operation._tag) {
    case "Put":
      return { KV: { Verb: "set", Key, Value: base64Of(operation.value) } }
    case "Remove":
      return { KV: { Verb: "delete", Key } }
    case "Get":
      return { KV: { Verb: absent ? "check-not-exists" : "get", Key } }
  }
}

/** The values that the reading steps found. A step that checks or deletes has a result only where there is a key, hence by order. */
const valuesOf = (
  operations: ReadonlyArray<Operation>,
  absent: ReadonlySet<number>,
  answer: Extract<TxnAnswer, { _tag: "Applied" }>,
  conditions: number
): ReadonlyArray<Option.Option<string>> => {
  let at = conditions
  return operations.flatMap((operation, index): ReadonlyArray<Option.Option<string>> => {
    if (operation._tag === "Remove") return []
    if (operation._tag === "Get" && absent.has(index)) return [Option.none()]
    const pair = answer.pairs[at++]
    return operation._tag === "Get" ? [Option.map(Option.fromNullishOr(pair), valueOf)] : []
  })
}

/** The clocks are asked first: a place that is lost by them alone costs no request. */
export const run = Effect.fnUntraced(function* (
  store: ConsulStore,
  prefix: string,
  claim: Claim,
  operations: ReadonlyArray<Operation>
): Effect.fn.Return<Committed, CoordinatorError | MembershipLost> {
  const token = yield* claim.ensure
  const { group, id } = claim
  const refuse = (reason: InvalidOptions | Unreachable) =>
    new Failure({ engine: "consul", operation: "Consul.guarded", endpoint: store.endpoint, reason })
  if (group.kind === "discovery") {
    return yield* refuse(
      new InvalidOptions({ detail: "An instance of Consul's catalog holds nothing to compare with" })
    )
  }
  const lost = new MembershipLost({ group: label(group), id, cause: "EntryGone" })
  const key = `${pathOf(prefix, group)}${id}`
  const absent = new Set<number>()
  let held = store.written.get(key)
  for (let left = tries; left > 0; left--) {
    if (held?.token !== token) {
      const [found] = (yield* store.bounded("Consul.guarded", store.kv.read("Consul.guarded", key))).pairs
      if (found?.Session === undefined || BigInt(found.CreateIndex) !== token) return yield* lost
      held = { token, version: BigInt(found.ModifyIndex), owner: found.Session }
    }
    // The session alone would not do: one that has lost its place and has it anew holds the same key under another token.
    const conditions = unchanged(key, held.owner, held.version)
    const steps = operations.map((operation, index) => stepOf(operation, absent.has(index)))
    const answer = yield* store.bounded("Consul.guarded", store.kv.txn("Consul.guarded", [...conditions, ...steps]))
    if (answer._tag === "Applied") return { values: valuesOf(operations, absent, answer, conditions.length) }
    held = undefined
    for (const { OpIndex } of answer.refusals) {
      const index = OpIndex - conditions.length
      if (index < 0) continue
      if (!absent.delete(index)) absent.add(index)
    }
  }
  return yield* refuse(new Unreachable({ detail: "The keys are changed all the time by others; nothing was written" }))
})
