/**
 * The leases behind a coordinator's session, for what must know how long the store would still keep a place that was lost: its public
 * states say nothing of a lease that is over.
 */
import type * as Stream from "effect/Stream"
import type { Lease, SessionState } from "../Session.ts"

export interface Leases {
  /** The lease of the session of the moment. */
  readonly leaseUnsafe: () => Lease | undefined
  /** The newest lease that a session had. */
  readonly lastUnsafe: (session: string) => Lease | undefined
}

/** By the stream of the session's states, which whoever wraps a coordinator hands on. */
const known = new WeakMap<Stream.Stream<SessionState>, Leases>()

export const register = (session: Stream.Stream<SessionState>, leases: Leases): void => {
  known.set(session, leases)
}

export const of = (coordinator: { readonly session: Stream.Stream<SessionState> }): Leases | undefined =>
  known.get(coordinator.session)
