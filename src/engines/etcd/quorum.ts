/** Requests that the quorum answers, and what their answers say of the store itself. */
import * as Effect from "effect/Effect"
import * as PubSub from "effect/PubSub"
import { CoordinatorError, OutcomeUnknown, Unreachable } from "../../CoordinatorError.ts"
import type { Connections } from "./connections.ts"
import type { Effects } from "./failure.ts"
import { failureOf } from "./failure.ts"
import type { Header, RangeRequest, RangeResponse, TxnRequest, TxnResponse, Unary } from "./rpc.ts"
import { RpcError } from "./rpc.ts"

export interface Quorum {
  readonly range: (operation: string, request: RangeRequest) => Effect.Effect<RangeResponse, CoordinatorError>
  readonly txn: (
    operation: string,
    effects: Effects,
    request: TxnRequest
  ) => Effect.Effect<TxnResponse, CoordinatorError>
  /** The same, with a failure as the server has put it. */
  readonly send: <M extends "range" | "txn" | "leaseGrant">(
    operation: string,
    effects: Effects,
    method: M,
    request: Unary[M][0]
  ) => Effect.Effect<Unary[M][1], CoordinatorError | RpcError>
  /** Grows each time the store is found to have been put back to an earlier state. */
  readonly epochUnsafe: () => number
  readonly rewinds: PubSub.PubSub<void>
  /** Runs what is to run as soon as that is found; returns the way to take it back. */
  readonly onRewindUnsafe: (run: () => void) => () => void
  /** A revision that this process has been told of. */
  readonly sawUnsafe: (revision: bigint) => void
  /** Whether a single server's word hints at a rewind; it may merely lag. */
  readonly doubtsUnsafe: (header: Header, seen: bigint) => boolean
  readonly highestUnsafe: () => bigint
}

export const failing =
  (operation: string, effects: Effects) =>
  (error: CoordinatorError | RpcError): CoordinatorError =>
    error instanceof RpcError ? failureOf(operation, effects, error) : error

export const make = Effect.fnUntraced(function* (connections: Connections, endpoint: string) {
  const rewinds = yield* PubSub.unbounded<void>()
  const listeners = new Set<() => void>()
  let cluster: string | undefined
  let highest = 0n
  let highestTerm = 0n
  let epoch = 0

  /** The store was put back to an earlier state, or is another one: what was seen before says nothing any more. */
  const rewoundUnsafe = (header: Header): void => {
    cluster = header.cluster_id
    highest = BigInt(header.revision)
    highestTerm = BigInt(header.raft_term)
    epoch++
    PubSub.publishUnsafe(rewinds, undefined)
    for (const run of Array.from(listeners)) run()
  }

  const outdated = (operation: string, effects: Effects) => {
    const detail = "The store was rewound before the answer came"
    const reason = effects === "read" ? new Unreachable({ detail }) : new OutcomeUnknown({ detail })
    return new CoordinatorError({ engine: "etcd", operation, endpoint, reason })
  }

  /**
   * What a quorum answers may not show less than what had been seen when it was asked: neither the revision nor the term of the
   * election that its leader won. The term finds a store that was restored and has grown past the revision since. An answer to
   * what was asked before a rewind tells nothing.
   */
  const send: Quorum["send"] = (operation, effects, method, request) =>
    Effect.suspend(() => {
      const seen = highest
      const seenTerm = highestTerm
      const since = epoch
      return Effect.flatMap(connections.call(method, request), (answer) => {
        const { header }: { readonly header: Header } = answer
        const revision = BigInt(header.revision)
        const term = BigInt(header.raft_term)
        cluster ??= header.cluster_id
        const lessThanSeen = header.cluster_id !== cluster || revision < seen || term < seenTerm
        if (since === epoch && lessThanSeen) rewoundUnsafe(header)
        if (since !== epoch) return Effect.fail(outdated(operation, effects))
        if (revision > highest) highest = revision
        if (term > highestTerm) highestTerm = term
        return Effect.succeed(answer)
      })
    })

  const quorum: Quorum = {
    send,
    range: (operation, request) =>
      Effect.mapError(send(operation, "read", "range", request), failing(operation, "read")),
    txn: (operation, effects, request) =>
      Effect.mapError(send(operation, effects, "txn", request), failing(operation, effects)),
    epochUnsafe: () => epoch,
    rewinds,
    onRewindUnsafe: (run) => {
      listeners.add(run)
      return () => listeners.delete(run)
    },
    sawUnsafe: (revision) => {
      if (revision > highest) highest = revision
    },
    doubtsUnsafe: (header, seen) =>
      BigInt(header.revision) < seen ||
      BigInt(header.raft_term) < highestTerm ||
      (cluster !== undefined && header.cluster_id !== cluster),
    highestUnsafe: () => highest
  }
  return quorum
})
