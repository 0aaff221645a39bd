/** What every node does at the same time, under the names that all nodes share. */
import { Discovery, Election, Lock, Sequence } from "../../src/index.ts"

/** A stall that is longer than this may break what a lease can promise: the least margin of all engines. */
export const marginMillis = 1_000

export const Api = Discovery.make("api")
export const Chief = Election.make("chief")
export const Keys = [Lock.make("red"), Lock.make("blue")] as const
export const Workers = Sequence.make("workers")
