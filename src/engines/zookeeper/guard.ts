/** A transaction on the program's own nodes under the condition that a place is still held. */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { CoordinatorError, OutcomeUnknown } from "../../CoordinatorError.ts"
import type { Claim } from "../../Group.ts"
import { label } from "../../Group.ts"
import { within } from "../../internal/within.ts"
import { MembershipLost } from "../../Membership.ts"
import type { Clients } from "./clients.ts"
import type { RequestError } from "./errors.ts"
import { engine, failing } from "./failure.ts"
import { locate } from "./hints.ts"
import type { Places } from "./nodes.ts"
import { groupNode } from "./nodes.ts"
import type { Acl, Write } from "./protocol.ts"
import * as P from "./protocol.ts"
import * as Utf8 from "./utf8.ts"

export type Operation =
  | { readonly _tag: "Create"; readonly path: string; readonly value: string }
  | { readonly _tag: "Set"; readonly path: string; readonly value: string; readonly version: number }
  | { readonly _tag: "Remove"; readonly path: string; readonly version: number }
  | { readonly _tag: "Check"; readonly path: string; readonly version: number }

export interface Committed {
  readonly revision: bigint
}

const problems = {
  NodeExists: "exists already",
  NoNode: "does not exist, or its parent does not",
  BadVersion: "has another version",
  NotEmpty: "has children"
} as const

const Problem = Schema.Literals(["NodeExists", "NoNode", "BadVersion", "NotEmpty"])

const isProblem = Schema.is(Problem)

export class OperationRefused extends Schema.TaggedError<OperationRefused>(
  "effect-ensemble/ZooKeeper/OperationRefused"
)("OperationRefused", { index: Schema.Int, path: Schema.String, problem: Problem }) {
  override get message(): string {
    return `Nothing was written, because ${this.path} ${problems[this.problem]} (operation ${this.index})`
  }
}

export interface Settings extends Places {
  readonly endpoint: string
  readonly chroot: string
  readonly acl: ReadonlyArray<Acl>
  readonly requestMillis: number
}

const writeOf =
  ({ acl, chroot }: Settings) =>
  (operation: Operation): Write => {
    const path = `${chroot}${operation.path}`
    switch (operation._tag) {
      case "Create":
        return P.create(path, { data: Utf8.encode(operation.value), acl })
      case "Set":
        return P.setData(path, Utf8.encode(operation.value), operation.version)
      case "Remove":
        return P.remove(path, operation.version)
      case "Check":
        return P.check(path, operation.version)
    }
  }

/** The clocks are asked first: a place that is lost by them alone costs no request. */
export const run = Effect.fnUntraced(function* (
  clients: Clients,
  settings: Settings,
  claim: Claim,
  operations: ReadonlyArray<Operation>
): Effect.fn.Return<Committed, CoordinatorError | MembershipLost | OperationRefused> {
  const { endpoint, requestMillis } = settings
  const operation = "ZooKeeper.guarded"
  const token = yield* claim.ensure
  const group = groupNode(settings, claim.group)
  const gone = () => new MembershipLost({ group: label(claim.group), id: claim.id, cause: "EntryGone" })
  const judge = (error: RequestError): CoordinatorError | MembershipLost | OperationRefused => {
    const index = "index" in error ? (error.index ?? -1) : -1
    // The first is the guard's own: the member's node has a name that no other one ever has.
    if (index === 0 && error._tag === "NoNode") return gone()
    const { _tag: problem } = error
    const refused = operations[index - 1]
    return refused !== undefined && isProblem(problem)
      ? new OperationRefused({ index: index - 1, path: refused.path, problem })
      : failing(endpoint, operation, "write")(error)
  }
  const transaction = clients
    .write((current) =>
      Effect.flatMap(locate(current, group, { id: claim.id, token, owner: current.id }), (path) =>
        path === undefined
          ? Effect.undefined
          : current.client.multi([P.check(path), ...operations.map(writeOf(settings))])
      )
    )
    .pipe(Effect.mapError(judge))
  const detail = `No answer within ${Math.round(requestMillis)} ms`
  const late = new CoordinatorError({ engine, operation, endpoint, reason: new OutcomeUnknown({ detail }) })
  const answer = yield* within(transaction, { millis: requestMillis, orElse: Effect.fail(late) })
  return answer === undefined ? yield* gone() : { revision: answer.zxid }
})
