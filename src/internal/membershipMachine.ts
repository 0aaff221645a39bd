/** A membership's whole behaviour as one total function; `membership.ts` hangs the effects off it. */
import type { MembershipStatus } from "../Membership.ts"
import type { LossCause } from "../Session.ts"

/** A holding that the store has confirmed, and the session it lives by. */
export interface Held {
  readonly _tag: "Held"
  readonly token: bigint
  readonly session: string
}

export type MembershipState = Exclude<MembershipStatus, { readonly _tag: "Held" }> | Held

export type MembershipEvent =
  | { readonly _tag: "Confirmed"; readonly token: bigint; readonly session: string }
  | { readonly _tag: "Blocked"; readonly holder: string }
  | { readonly _tag: "SessionLost"; readonly session: string; readonly cause: LossCause }
  | { readonly _tag: "EntryGone"; readonly token: bigint }
  | { readonly _tag: "Withdrawn" }

export const initial: MembershipState = { _tag: "Joining" }

const lose = (rejoin: boolean, cause: LossCause): MembershipState =>
  // A closed coordinator opens no further session, so there is nothing to rejoin with.
  rejoin && cause !== "Closed" ? { _tag: "Rejoining", cause } : { _tag: "Lost", cause }

/**
 * The next state. Events of another session or token speak of a holding that is over, and change nothing.
 */
export const transition = (rejoin: boolean, state: MembershipState, event: MembershipEvent): MembershipState => {
  // A loss keeps its cause also when the scope closes after it, as it mostly does.
  if (state._tag === "Closed" || state._tag === "Lost") return state
  if (event._tag === "Withdrawn") return { _tag: "Closed" }
  switch (event._tag) {
    case "Confirmed":
      return state._tag === "Held" ? state : { _tag: "Held", token: event.token, session: event.session }
    case "Blocked":
      return state._tag === "Held" ? state : { _tag: "Conflict", holder: event.holder }
    case "SessionLost":
      if (state._tag === "Held") return state.session === event.session ? lose(rejoin, event.cause) : state
      return event.cause === "Closed" ? { _tag: "Lost", cause: "Closed" } : state
    case "EntryGone":
      return state._tag === "Held" && state.token === event.token ? lose(rejoin, "EntryGone") : state
  }
}

/** What a user sees of a state. */
export const status = (state: MembershipState): MembershipStatus =>
  state._tag === "Held" ? { _tag: "Held", token: state.token } : state
