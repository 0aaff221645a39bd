/** Election and lock: one at a time, told when it is over, handed on in order. */
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Ref from "effect/Ref"
import * as Stream from "effect/Stream"
import { Coordinator } from "../../Coordinator.ts"
import * as Election from "../../Election.ts"
import * as Lock from "../../Lock.ts"
import {
  background,
  launch,
  collect,
  conform,
  eventually,
  expect,
  expectEqual,
  fault,
  forTtls,
  holds
} from "./harness.ts"
import type { Case, Harness, Need, TestProcess } from "./harness.ts"

const Report = Election.make("report")
const Ledger = Lock.make("ledger")

interface Work {
  readonly active: ReadonlyArray<string>
  readonly most: number
  readonly tokens: ReadonlyArray<bigint>
}

/** Work that notes who is at it, for as long as it is not interrupted. */
const makeWork = Effect.fnUntraced(function* () {
  const ref = yield* Ref.make<Work>({ active: [], most: 0, tokens: [] })
  const by = (name: string) => (tenure: Election.Tenure) =>
    Effect.acquireUseRelease(
      Ref.update(ref, ({ active, most, tokens }) => ({
        active: [...active, name],
        most: Math.max(most, active.length + 1),
        tokens: [...tokens, tenure.token]
      })),
      () => Effect.never,
      () => Ref.update(ref, (work) => ({ ...work, active: work.active.filter((other) => other !== name) }))
    )
  return { by, read: Ref.get(ref) }
})

const isAt = (harness: Harness, work: Effect.Success<ReturnType<typeof makeWork>>, name: string) =>
  eventually(
    harness,
    `${name} is at work`,
    Effect.map(work.read, ({ active }) => active.includes(name))
  )

const fails = (name: string, needs: ReadonlyArray<Need>, strike: (harness: Harness) => Effect.Effect<void>): Case =>
  conform("Election", `the work moves on and never runs twice: ${name}`, needs, (harness) =>
    Effect.gen(function* () {
      const [a, b] = [yield* harness.process("a"), yield* harness.process("b")]
      const work = yield* makeWork()
      yield* launch(a.run(Election.lead(Report, work.by("a"))))
      yield* isAt(harness, work, "a")
      yield* launch(b.run(Election.lead(Report, work.by("b"))))
      // Whoever comes first and finds nobody leads at once: what is promised is about a candidate that stands in line.
      yield* eventually(
        harness,
        "b stands in line",
        Effect.map(harness.truth, ({ members }) => members.includes(`${Report.group.kind}/${Report.group.name}/b`))
      )
      yield* strike(harness)
      yield* isAt(harness, work, "b")
      yield* fault(harness, "healAll")
      yield* forTtls(harness, 3)
      const { most, tokens } = yield* work.read
      yield* expectEqual(most, 1, "the most that were at work at once")
      yield* expect(
        tokens.every((token, index) => index === 0 || token > (tokens[index - 1] ?? 0n)),
        `tokens grow: ${tokens.join(", ")}`
      )
    })
  )

const leaders = (process: TestProcess) =>
  collect(
    Election.observe(Report).pipe(
      Stream.map(Option.match({ onNone: () => "nobody", onSome: (leader) => leader.id })),
      Stream.provideService(Coordinator, process.coordinator)
    )
  )

export const cases: ReadonlyArray<Case> = [
  fails("the leader is cut off", ["partition", "healAll"], (harness) => fault(harness, "partition")("a")),
  fails("the leader's renewals are frozen", ["freezeRenewals", "healAll"], (harness) =>
    fault(harness, "freezeRenewals")("a")
  ),
  fails("the leader's entry is deleted by hand", ["remove", "healAll"], (harness) =>
    fault(harness, "remove")(Report.group, "a")
  ),

  conform("Election", "a body that ends resigns, and its value is the result", [], (harness) =>
    Effect.gen(function* () {
      const [a, b] = [yield* harness.process("a"), yield* harness.process("b")]
      const work = yield* makeWork()
      const first = yield* background(a.run(Election.lead(Report, (tenure) => Effect.succeed(tenure.token))))
      yield* eventually(
        harness,
        "a has led",
        Effect.map(first, (ended) => ended?.exit._tag === "Success")
      )
      yield* launch(b.run(Election.lead(Report, work.by("b"))))
      yield* isAt(harness, work, "b")
    })
  ),

  conform("Election", "an observer sees nobody, who leads, and who leads next", [], (harness) =>
    Effect.gen(function* () {
      const [a, b, c] = [yield* harness.process("a"), yield* harness.process("b"), yield* harness.process("c")]
      const seen = yield* leaders(c)
      const sees = (who: string) =>
        eventually(
          harness,
          `the observer sees ${who}`,
          Effect.map(seen, (all) => all[all.length - 1] === who)
        )
      yield* sees("nobody")
      const first = yield* Effect.forkScoped(a.run(Election.lead(Report, Effect.never)), { startImmediately: true })
      yield* sees("a")
      yield* Effect.forkScoped(b.run(Election.lead(Report, Effect.never)), { startImmediately: true })
      yield* forTtls(harness, 0.5)
      yield* sees("a")
      yield* Fiber.interrupt(first)
      yield* sees("b")
      const late = yield* leaders(c)
      yield* eventually(
        harness,
        "a late observer sees b at once",
        Effect.map(late, (all) => all[0] === "b")
      )
    })
  ),

  conform("Lock", "one at a time, all in the end, nothing left", [], (harness) =>
    Effect.gen(function* () {
      const [a, b] = [yield* harness.process("a"), yield* harness.process("b")]
      const inside = yield* Ref.make({ now: 0, most: 0, total: 0 })
      const section = (process: TestProcess) =>
        process.run(
          Lock.withLock(
            Ledger,
            Effect.acquireUseRelease(
              Ref.update(inside, ({ most, now, total }) => ({
                now: now + 1,
                most: Math.max(most, now + 1),
                total: total + 1
              })),
              () => Effect.yieldNow,
              () => Ref.update(inside, (state) => ({ ...state, now: state.now - 1 }))
            )
          )
        )
      const all = yield* background(
        Effect.all([a, b, a, b, a].map(section), { concurrency: "unbounded", discard: true })
      )
      yield* eventually(
        harness,
        "all have been inside",
        Effect.map(all, (ended) => ended?.exit._tag === "Success")
      )
      const { most, total } = yield* Ref.get(inside)
      yield* expectEqual([most, total], [1, 5], "the most at once, and all")
      yield* expect(yield* holds(harness, [], "lock/ledger"), "nothing is left")
    })
  ),

  conform("Lock", "tryLock takes it when it is free and says so when it is not", [], (harness) =>
    Effect.gen(function* () {
      const [a, b] = [yield* harness.process("a"), yield* harness.process("b")]
      const free = yield* a.run(Lock.tryLock(Ledger, Effect.succeed("mine")))
      yield* expectEqual(Option.getOrUndefined(free), "mine", "while it is free")
      const holding = yield* Ref.make(false)
      yield* launch(a.run(Lock.withLock(Ledger, Effect.andThen(Ref.set(holding, true), Effect.never))))
      yield* eventually(harness, "a holds it", Ref.get(holding))
      const taken = yield* b.run(Lock.tryLock(Ledger, Effect.succeed("mine")))
      yield* expect(Option.isNone(taken), "none while a holds it")
    })
  ),

  conform(
    "Lock",
    "a holder that loses it is interrupted and fails, and does not come back",
    ["partition", "healAll"],
    (harness) =>
      Effect.gen(function* () {
        const a = yield* harness.process("a")
        const holding = yield* Ref.make(0)
        const held = yield* background(
          a.run(
            Lock.withLock(
              Ledger,
              Effect.acquireUseRelease(
                Ref.update(holding, (n) => n + 1),
                () => Effect.never,
                () => Ref.update(holding, (n) => n - 1)
              )
            )
          )
        )
        yield* eventually(
          harness,
          "a holds it",
          Effect.map(Ref.get(holding), (n) => n === 1)
        )
        yield* fault(harness, "partition")("a")
        yield* eventually(
          harness,
          "it has failed",
          Effect.map(held, (ended) => ended?.exit._tag === "Failure"),
          2
        )
        yield* fault(harness, "healAll")
        yield* forTtls(harness, 3)
        yield* expectEqual(yield* Ref.get(holding), 0, "holders in the end")
      })
  )
]
