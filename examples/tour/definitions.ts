/** What all programs of the tour agree on. In a project of your own this is the file that every service imports. */
import { Schema } from "effect"
import { Barrier, Discovery, Election, Sequence } from "effect-ensemble"

export const Nodes = Discovery.make("tour", {
  attributes: Schema.Struct({ zone: Schema.String, phase: Schema.Literals(["starting", "serving"]) })
})

export const gate = (minimum: number) =>
  Barrier.make("tour", {
    state: Schema.Literals(["warming up", "ready"]),
    minimum,
    isReady: (state) => state === "ready"
  })

export const Scribe = Election.make("tour")

export const Work = Sequence.make("tour")

export const partitions = 12
