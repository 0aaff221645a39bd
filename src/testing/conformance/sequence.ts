/** Sequence: indices without a gap, told when they change, and with `exclusive` never two bodies for one division. */
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Ref from "effect/Ref"
import * as Sequence from "../../Sequence.ts"
import { conform, eventually, expect, expectEqual, fault, forTtls, holds } from "./harness.ts"
import type { Case, Harness, Need, TestProcess } from "./harness.ts"

const contract = "Sequence"

const Shards = Sequence.make("shards")

/** What every process is doing now, and whether any two bodies of different divisions ever ran at once. */
const makeBoard = Effect.fnUntraced(function* () {
  const seats = yield* Ref.make<Readonly<Record<string, Sequence.Seat>>>({})
  const overlaps = yield* Ref.make(0)
  const work = (name: string) => (seat: Sequence.Seat) =>
    Effect.acquireUseRelease(
      Effect.gen(function* () {
        const others = Object.values(yield* Ref.get(seats))
        const clash = others.some((other) => other.members.join() !== seat.members.join())
        if (clash) yield* Ref.update(overlaps, (n) => n + 1)
        yield* Ref.update(seats, (all) => ({ ...all, [name]: seat }))
      }),
      () => Effect.never,
      () =>
        Ref.update(seats, (all) => {
          const { [name]: _, ...rest } = all
          return rest
        })
    )
  const places = Effect.map(Ref.get(seats), (all) =>
    Object.entries(all)
      .map(([name, { count, index }]) => `${index}/${count} ${name}`)
      .sort()
      .join()
  )
  return { work, places, seats: Ref.get(seats), overlaps: Ref.get(overlaps) }
})

type Board = Effect.Success<ReturnType<typeof makeBoard>>

const settled = (harness: Harness, board: Board, wanted: string) =>
  eventually(
    harness,
    `the seats are ${wanted}`,
    Effect.map(board.places, (now) => now === wanted)
  )

const start = (process: TestProcess, board: Board, name: string, exclusive: boolean) =>
  Effect.forkScoped(process.run(Sequence.run(Shards, board.work(name), { exclusive })), { startImmediately: true })

const redivides = (
  exclusive: boolean,
  name: string,
  needs: ReadonlyArray<Need>,
  strike: (harness: Harness) => Effect.Effect<void>
) =>
  conform(contract, `${exclusive ? "exclusive " : ""}seats move up when one goes: ${name}`, needs, (harness) =>
    Effect.gen(function* () {
      const board = yield* makeBoard()
      const names = ["a", "b", "c"]
      const fibers: Array<Fiber.Fiber<unknown, unknown>> = []
      for (const node of names) {
        fibers.push(yield* start(yield* harness.process(node), board, node, exclusive))
        yield* eventually(
          harness,
          `${node} has a seat`,
          Effect.map(board.seats, (all) => node in all)
        )
      }
      yield* settled(harness, board, "0/3 a,1/3 b,2/3 c")
      yield* strike(harness)
      if (needs.length === 0) yield* Effect.forEach(fibers.slice(0, 1), Fiber.interrupt)
      yield* settled(harness, board, "0/2 b,1/2 c")
      if (needs.length > 0) {
        yield* fault(harness, "healAll")
        yield* settled(harness, board, "0/3 b,1/3 c,2/3 a")
      }
      if (exclusive) yield* expectEqual(yield* board.overlaps, 0, "bodies that ran beside another division")
      yield* Effect.forEach(fibers, Fiber.interrupt)
      yield* eventually(harness, "nothing is left", holds(harness, [], "sequence/shards"))
      yield* eventually(harness, "no acknowledgement is left", holds(harness, [], "sequence-ack/shards"))
    })
  )

export const cases: ReadonlyArray<Case> = [
  ...[false, true].flatMap((exclusive) => [
    redivides(exclusive, "it leaves", [], () => Effect.void),
    redivides(exclusive, "it is cut off and comes back", ["partition", "healAll"], (harness) =>
      fault(harness, "partition")("a")
    )
  ]),

  conform(
    contract,
    "exclusive bodies never run beside another division though one member hears of changes late",
    ["delayEvents", "healAll"],
    (harness) =>
      Effect.gen(function* () {
        const board = yield* makeBoard()
        const [a, b, c] = [yield* harness.process("a"), yield* harness.process("b"), yield* harness.process("c")]
        yield* start(a, board, "a", true)
        yield* settled(harness, board, "0/1 a")
        yield* fault(harness, "delayEvents")("a", harness.ttlMillis / 5)
        yield* start(b, board, "b", true)
        yield* settled(harness, board, "0/2 a,1/2 b")
        const last = yield* start(c, board, "c", true)
        yield* settled(harness, board, "0/3 a,1/3 b,2/3 c")
        yield* Fiber.interrupt(last)
        yield* settled(harness, board, "0/2 a,1/2 b")
        yield* expectEqual(yield* board.overlaps, 0, "bodies that ran beside another division")
      })
  ),

  conform(contract, "exclusive bodies never run beside another division while members come and go", [], (harness) =>
    Effect.gen(function* () {
      const board = yield* makeBoard()
      const processes = yield* Effect.forEach(["a", "b", "c", "d"], (node) =>
        Effect.map(harness.process(node), (process) => ({ node, process }))
      )
      for (let round = 0; round < 3; round++) {
        const running = yield* Effect.forEach(processes, ({ node, process }) => start(process, board, node, true), {
          concurrency: "unbounded"
        })
        yield* eventually(
          harness,
          "all four have seats of one division",
          Effect.map(
            board.seats,
            (all) => Object.values(all).length === 4 && Object.values(all).every((s) => s.count === 4)
          )
        )
        for (const fiber of running) {
          yield* Fiber.interrupt(fiber)
          yield* forTtls(harness, 0.05)
        }
      }
      yield* expectEqual(yield* board.overlaps, 0, "bodies that ran beside another division")
    })
  ),

  conform(contract, "a body stops when its place is lost, by its own clock", ["partition"], (harness) =>
    Effect.gen(function* () {
      const board = yield* makeBoard()
      const a = yield* harness.process("a")
      yield* start(a, board, "a", false)
      yield* settled(harness, board, "0/1 a")
      yield* fault(harness, "partition")("a")
      yield* eventually(
        harness,
        "the body has stopped",
        Effect.map(board.places, (now) => now === ""),
        1
      )
      yield* expect(yield* holds(harness, ["a"], "sequence/shards"), "before the store gave the place away")
    })
  )
]
