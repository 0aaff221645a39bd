/** One node: a whole program that needs a `Coordinator` and nothing else of the tour. */
import { Effect, Fiber } from "effect"
import { Barrier, Discovery, Election, Membership, Sequence } from "effect-ensemble"
import { gate, Nodes, partitions, Scribe, Work } from "./definitions.ts"
import type { Report } from "./events.ts"

export interface Spec {
  readonly name: string
  readonly port: number
  readonly zone: string
  /** How many nodes have to be ready before any of them begins. */
  readonly together: number
  readonly warmUpMillis: number
}

/** What only the leader does: it asks for its token before every line that it writes. */
const write = (node: string, tenure: Election.Tenure, report: Report) =>
  Effect.gen(function* () {
    yield* report({ _tag: "Leads", node, token: tenure.token })
    for (let line = 1; ; line++) {
      const token = yield* tenure.ensure
      yield* report({ _tag: "Wrote", node, token, line })
      yield* Effect.sleep("600 millis")
    }
  }).pipe(
    Effect.ensuring(
      Effect.gen(function* () {
        const why = yield* Effect.match(tenure.ensure, {
          onFailure: ({ cause }) => Membership.describeCause(cause),
          onSuccess: () => null
        })
        yield* report({ _tag: "StoppedLeading", node, token: tenure.token, why })
      })
    )
  )

/** What every node does for as long as it has this seat. */
const work = (node: string, seat: Sequence.Seat, report: Report) => {
  const mine = Sequence.assign(seat, partitions)
  return Effect.acquireUseRelease(
    report({ _tag: "Owns", node, partitions: mine, of: seat.count }),
    () => Effect.never,
    () => report({ _tag: "GaveUp", node, partitions: mine })
  )
}

/**
 * Runs until it is interrupted, and then leaves in the order opposite to the one in which it came: it stops its work,
 * resigns, gives up its place at the gate, and withdraws.
 */
export const run = Effect.fnUntraced(function* (spec: Spec, report: Report) {
  const { name: node, port, zone } = spec
  const self = yield* Discovery.register(Nodes, {
    address: "10.0.0.1",
    port,
    attributes: { zone, phase: "starting" }
  })

  const together = gate(spec.together)
  const place = yield* Barrier.announce(together, "warming up")
  yield* Effect.sleep(spec.warmUpMillis)
  yield* report({ _tag: "Ready", node })
  yield* place.set("ready")
  yield* Barrier.wait(together, { timeout: "30 seconds" })
  yield* report({ _tag: "Passed", node })
  yield* self.set({ zone, phase: "serving" })

  const leading = yield* Election.lead(Scribe, (tenure) => write(node, tenure, report)).pipe(Effect.forkScoped)
  const working = yield* Sequence.run(Work, (seat) => work(node, seat, report), {
    exclusive: true,
    settle: "200 millis"
  }).pipe(Effect.forkScoped)
  // Both go on for ever: joined, so that a failure of either is one of the node.
  return yield* Effect.raceFirst(Fiber.join(leading), Fiber.join(working))
}, Effect.scoped)
