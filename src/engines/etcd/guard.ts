/** A transaction on the program's own keys under the condition that a place is still held. */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { CoordinatorError } from "../../CoordinatorError.ts"
import type { Claim } from "../../Group.ts"
import { label } from "../../Group.ts"
import { MembershipLost } from "../../Membership.ts"
import type { EtcdStore } from "./client.ts"
import { bytesOf, groupKeys, textOf } from "./keys.ts"
import type { RequestOp } from "./rpc.ts"

export type Operation =
  | { readonly _tag: "Put"; readonly key: string; readonly value: string }
  | { readonly _tag: "Remove"; readonly key: string }
  | { readonly _tag: "Get"; readonly key: string }

export interface Committed {
  readonly revision: bigint
  readonly values: ReadonlyArray<Option.Option<string>>
}

const requestOf = (operation: Operation): RequestOp => {
  const key = bytesOf(operation.key)
  switch (operation._tag) {
    case "Put":
      return { request_put: { key, value: bytesOf(operation.value) } }
    case "Remove":
      return { request_delete_range: { key } }
    case "Get":
      return { request_range: { key } }
  }
}

/** The clocks are asked first: a place that is lost by them alone costs no request. */
export const run = Effect.fnUntraced(function* (
  store: EtcdStore,
  prefix: string,
  claim: Claim,
  operations: ReadonlyArray<Operation>
): Effect.fn.Return<Committed, CoordinatorError | MembershipLost> {
  const token = yield* claim.ensure
  const key = groupKeys(prefix, claim.group).member(claim.id)
  const answer = yield* store.transaction("Etcd.guarded", {
    compare: [{ target: "Create", result: "Equal", key, create_revision: String(token) }],
    success: operations.map(requestOf),
    failure: []
  })
  if (!answer.succeeded) {
    return yield* new MembershipLost({ group: label(claim.group), id: claim.id, cause: "EntryGone" })
  }
  const values = answer.responses.flatMap(({ response_range: range }) =>
    range === undefined || range === null
      ? []
      : [Option.map(Option.fromNullishOr(range.kvs[0]), (kv) => textOf(kv.value))]
  )
  return { revision: BigInt(answer.header.revision), values }
})
