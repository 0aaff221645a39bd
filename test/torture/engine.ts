/** What a run needs of a store: its servers, the truth about it, and what a node and an operator do there. */
import type { Effect, Layer, Scope } from "effect"
import { Context } from "effect"
import type { CoordinatorError } from "../../src/CoordinatorError.ts"
import type { Claim } from "../../src/Group.ts"
import type { Coordinator } from "../../src/index.ts"
import type { Process } from "../servers/process.ts"
import type { Chronicle } from "./chronicle.ts"
import type { StoreFault } from "./plan.ts"
import type { Orders } from "./protocol.ts"

/** What went wrong with a server, or with the question that it was asked. */
export interface Trouble {
  readonly message: string
}

export interface Server extends Pick<Process, "isRunning" | "pause" | "resume" | "kill" | "launch" | "ready"> {
  readonly host: string
  readonly port: number
}

/** A member of a group as the store has it. */
export interface Entry {
  readonly group: string
  readonly id: string
  readonly token: bigint
  readonly value: string
}

/** The servers of one phase. Nothing here goes through the library under test. */
export interface Stage {
  readonly servers: ReadonlyArray<Server>
  /** The one that leads, where one does. */
  readonly leader: Effect.Effect<Server, Trouble>
  /** Silence between a server and the others. */
  readonly isolate: (server: Server) => Effect.Effect<void>
  /** Ends every such silence. */
  readonly heal: Effect.Effect<void>
  readonly chronicle: Chronicle
  /** All members of all groups, as a majority has them. */
  readonly entries: Effect.Effect<ReadonlyArray<Entry>, Trouble>
  /** Whatever is still there when everything was given back. */
  readonly left: Effect.Effect<ReadonlyArray<string>, Trouble>
  /** What an operator does by hand. `dice` chooses to whom. */
  readonly operate: (fault: StoreFault, dice: number) => Effect.Effect<unknown, Trouble>
}

/** Writes under guard, in a way that the chronicle finds again. */
export class Guard extends Context.Service<
  Guard,
  { readonly write: (claim: Claim, token: bigint, nonce: string) => Effect.Effect<unknown, { readonly _tag: string }> }
>()("torture/Guard") {}

export interface Engine {
  readonly name: string
  /** What all keys of a run begin with. */
  readonly root: string
  /** After so long without a renewal the store ends a session. */
  readonly expiryMillis: number
  /** How long all may take to come to rest. */
  readonly quietMillis: number
  /** How long the sessions of those that were killed may stay. */
  readonly goneMillis: number
  readonly storeFaults: ReadonlyArray<StoreFault>
  /** Starts servers: one, or several behind networks that can be cut. */
  readonly start: (servers: number) => Effect.Effect<Stage, Trouble, Scope.Scope>
  /** What a node stands on, in its own process. */
  readonly layer: (orders: Orders) => Layer.Layer<Coordinator.Coordinator | Guard, CoordinatorError>
}

/** One of the members, drawn. */
export const draw = <A>(all: ReadonlyArray<A>, dice: number): A | undefined => all[Math.floor(dice * all.length)]
