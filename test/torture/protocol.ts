/** What a node and the run tell each other, a line of JSON for each message. */
import { Schema } from "effect"
import { History } from "../../src/testing/index.ts"

/** A node's own account. */
export const Told = Schema.TaggedUnion({
  /** Something for the history. */
  Event: { event: History.Event },
  /** The event loop stood still: the process was paused, or the machine was too busy. */
  Stalled: { from: Schema.Finite, to: Schema.Finite },
  /** What became of a guarded write. */
  Attempted: { nonce: Schema.String, outcome: Schema.Literals(["done", "refused", "unknown"]) },
  /** The value that the registration should have from now on. */
  Wants: { n: Schema.Int },
  /** What no program should do. */
  Broken: { detail: Schema.String }
})

export type Told = typeof Told.Type

const wire = Schema.fromJsonString(Schema.toCodecJson(Told))

export const encode = Schema.encodeSync(wire)

export const decode = Schema.decodeSync(wire)

/** What a node is told when it starts. */
export interface Orders {
  readonly engine: string
  readonly root: string
  /** Of this process: a node that starts again is another process. */
  readonly label: string
  readonly node: string
  /** As `host:port`. */
  readonly endpoints: ReadonlyArray<string>
  readonly seed: number
  /** Left out: the default. */
  readonly requestMillis?: number
}

/** What it is told later, as one word on a line: to change nothing more, to go on, to end. */
export type Word = "rest" | "work" | "end"
