/** Turns: one holder at a time, in token order, granted only on proof, at a constant cost. */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import { background, conform, election, eventually, expect, expectEqual, fault, forTtls, groupOf } from "./harness.ts"
import type { Case, Harness, Need, TestProcess } from "./harness.ts"

const contract = "Turn"

interface Candidate {
  readonly granted: Effect.Effect<bigint | undefined>
  readonly failed: Effect.Effect<boolean>
  readonly held: Effect.Effect<boolean>
  readonly leave: Effect.Effect<void>
}

/** Joins and waits for its turn in the background. */
const stand = Effect.fnUntraced(function* (process: TestProcess, id?: string) {
  const scope = yield* Scope.make()
  yield* Effect.addFinalizer((exit) => Scope.close(scope, exit))
  const membership = yield* groupOf(process).join({ id, value: "" }).pipe(Scope.provide(scope))
  const turn = yield* background(groupOf(process).awaitTurn(membership))
  const candidate: Candidate = {
    granted: Effect.map(turn, (ended) => (ended?.exit._tag === "Success" ? ended.exit.value : undefined)),
    failed: Effect.map(turn, (ended) => ended?.exit._tag === "Failure"),
    held: Effect.match(membership.ensure, { onFailure: () => false, onSuccess: () => true }),
    leave: Scope.close(scope, Exit.void)
  }
  return candidate
})

const elected = (harness: Harness, candidate: Candidate, what: string) =>
  eventually(
    harness,
    `${what} is granted its turn`,
    Effect.map(candidate.granted, (token) => token !== undefined)
  )

/** A leader in trouble: the next one is granted its turn, and never while the first still believes in its own. */
const handsOver = (name: string, needs: ReadonlyArray<Need>, strike: (harness: Harness) => Effect.Effect<void>): Case =>
  conform(contract, `no two hold it at once: ${name}`, needs, (harness) =>
    Effect.gen(function* () {
      const a = yield* harness.process("a")
      const b = yield* harness.process("b")
      const first = yield* stand(a)
      yield* elected(harness, first, "a")
      const second = yield* stand(b)
      yield* strike(harness)
      yield* eventually(
        harness,
        "b is granted its turn",
        Effect.gen(function* () {
          const granted = (yield* second.granted) !== undefined
          yield* expect(!granted || !(yield* first.held), "b was granted the turn while a still believed in its own")
          return granted
        })
      )
      const [before, after] = [yield* first.granted, yield* second.granted]
      yield* expect(before !== undefined && after !== undefined && after > before, "the token is larger")
    })
  )

export const cases: ReadonlyArray<Case> = [
  conform(contract, "is granted in the order of joining", [], (harness) =>
    Effect.gen(function* () {
      const names = ["a", "b", "c", "d"]
      const candidates: Array<Candidate> = []
      for (const name of names) candidates.push(yield* stand(yield* harness.process(name)))
      for (const [index, candidate] of candidates.entries()) {
        yield* elected(harness, candidate, names[index] ?? "")
        for (const later of candidates.slice(index + 1)) {
          yield* expectEqual(yield* later.granted, undefined, "the turn of those who joined later")
        }
        yield* candidate.leave
      }
    })
  ),

  conform(contract, "passes over a candidate that leaves while it waits", [], (harness) =>
    Effect.gen(function* () {
      const [a, b, c] = [yield* harness.process("a"), yield* harness.process("b"), yield* harness.process("c")]
      const first = yield* stand(a)
      yield* elected(harness, first, "a")
      const second = yield* stand(b)
      const third = yield* stand(c)
      yield* second.leave
      yield* forTtls(harness, 0.5)
      yield* expectEqual(yield* third.granted, undefined, "c's turn while a holds it")
      yield* first.leave
      yield* elected(harness, third, "c")
    })
  ),

  handsOver("the holder is cut off", ["partition"], (harness) => fault(harness, "partition")("a")),
  handsOver("the holder's answers are lost", ["partition"], (harness) =>
    fault(harness, "partition")("a", "answers-lost")
  ),
  handsOver("the holder's renewals are frozen", ["freezeRenewals"], (harness) => fault(harness, "freezeRenewals")("a")),
  handsOver("the holder's clock is slow, within the margin", ["partition", "skewClock"], (harness) =>
    Effect.andThen(fault(harness, "skewClock")("a", 0.85), fault(harness, "partition")("a"))
  ),
  handsOver("the holder's clock is fast", ["partition", "skewClock"], (harness) =>
    Effect.andThen(fault(harness, "skewClock")("a", 1.5), fault(harness, "partition")("a"))
  ),
  handsOver("the holder is paused", ["pause"], (harness) => fault(harness, "pause")("a")),

  conform(
    contract,
    "a holder whose session the store ends hears of it, and the next is granted",
    ["expireSession"],
    (harness) =>
      Effect.gen(function* () {
        const a = yield* harness.process("a")
        const b = yield* harness.process("b")
        const first = yield* stand(a)
        yield* elected(harness, first, "a")
        const second = yield* stand(b)
        yield* fault(harness, "expireSession")("a")
        yield* elected(harness, second, "b")
        yield* eventually(
          harness,
          "a knows",
          Effect.map(first.held, (held) => !held),
          1
        )
      })
  ),

  conform(contract, "a candidate whose entry was deleted while it waited is never granted it", ["remove"], (harness) =>
    Effect.gen(function* () {
      const [a, b] = [yield* harness.process("a"), yield* harness.process("b")]
      const first = yield* stand(a)
      yield* elected(harness, first, "a")
      const ghost = yield* stand(b)
      yield* fault(harness, "remove")(election, "b")
      yield* first.leave
      yield* eventually(harness, "the ghost's wait fails", ghost.failed)
      yield* expectEqual(yield* ghost.granted, undefined, "the ghost's turn")
    })
  ),

  conform(
    contract,
    "is proved by the store: an entry that is gone is not granted, also when no event has told so",
    ["remove", "delayEvents"],
    (harness) =>
      Effect.gen(function* () {
        const a = yield* harness.process("a")
        const membership = yield* groupOf(a).join({ value: "" })
        yield* fault(harness, "delayEvents")("a", harness.ttlMillis * 5)
        yield* fault(harness, "remove")(election, "a")
        const turn = yield* background(Effect.flip(groupOf(a).awaitTurn(membership)))
        yield* eventually(
          harness,
          "the wait fails",
          Effect.map(turn, (ended) => ended?.exit._tag === "Success"),
          0.5
        )
      })
  ),

  conform(contract, "waiting for it ends with the membership, though nobody else moves", ["remove"], (harness) =>
    Effect.gen(function* () {
      const [a, b] = [yield* harness.process("a"), yield* harness.process("b")]
      const first = yield* stand(a)
      yield* elected(harness, first, "a")
      const ghost = yield* stand(b)
      yield* forTtls(harness, 0.1)
      yield* fault(harness, "remove")(election, "b")
      yield* eventually(harness, "the ghost's wait fails", ghost.failed, 2)
      yield* expect(yield* first.held, "a still holds it")
    })
  ),

  conform(
    contract,
    "a candidate that lost its session while it waited is never granted it",
    ["partition", "heal"],
    (harness) =>
      Effect.gen(function* () {
        const [a, b] = [yield* harness.process("a"), yield* harness.process("b")]
        const first = yield* stand(a)
        yield* elected(harness, first, "a")
        const ghost = yield* stand(b)
        yield* fault(harness, "partition")("b")
        yield* forTtls(harness, 3)
        yield* first.leave
        yield* fault(harness, "heal")("b")
        yield* eventually(harness, "the ghost's wait fails", ghost.failed)
        yield* expectEqual(yield* ghost.granted, undefined, "the ghost's turn")
      })
  ),

  conform(
    contract,
    "a candidate that is cut off when its turn comes is not granted it until it can prove it",
    ["partition", "heal"],
    (harness) =>
      Effect.gen(function* () {
        const [a, b] = [yield* harness.process("a"), yield* harness.process("b")]
        const first = yield* stand(a)
        yield* elected(harness, first, "a")
        const second = yield* stand(b)
        yield* fault(harness, "partition")("b")
        yield* first.leave
        yield* forTtls(harness, 0.4)
        yield* expectEqual(yield* second.granted, undefined, "b's turn while it is cut off")
        yield* fault(harness, "heal")("b")
        yield* elected(harness, second, "b")
      })
  ),

  conform(
    contract,
    "a predecessor that came back under the same id with a higher token counts as gone",
    [],
    (harness) =>
      Effect.gen(function* () {
        const [a, b] = [yield* harness.process("a"), yield* harness.process("b")]
        const first = yield* stand(a, "same")
        yield* elected(harness, first, "a")
        const second = yield* stand(b)
        yield* first.leave
        const again = yield* stand(a, "same")
        yield* elected(harness, second, "b")
        yield* expectEqual(yield* again.granted, undefined, "the turn of the one that came back")
        yield* second.leave
        yield* elected(harness, again, "the one that came back")
      })
  ),

  conform(contract, "so does one that left and came back while nobody could see it", ["partition", "heal"], (harness) =>
    Effect.gen(function* () {
      const [a, b] = [yield* harness.process("a"), yield* harness.process("b")]
      const first = yield* stand(a, "same")
      yield* elected(harness, first, "a")
      const second = yield* stand(b)
      yield* forTtls(harness, 0.1)
      yield* fault(harness, "partition")("b")
      yield* first.leave
      const again = yield* stand(a, "same")
      yield* forTtls(harness, 0.3)
      yield* fault(harness, "heal")("b")
      yield* elected(harness, second, "b")
      yield* expectEqual(yield* again.granted, undefined, "the turn of the one that came back")
    })
  ),

  conform(
    contract,
    "costs a constant number of requests for each hand-over, however many wait",
    ["counted-requests"],
    (harness) =>
      Effect.gen(function* () {
        const process = yield* harness.process("a")
        const count = harness.requests ?? Effect.succeed(0)
        const cost = (waiting: number) =>
          Effect.scoped(
            Effect.gen(function* () {
              const first = yield* stand(process, "first")
              yield* elected(harness, first, "the first")
              const next = yield* stand(process, "next")
              yield* Effect.forEach(Array.from({ length: waiting }), (_, index) => stand(process, `waits-${index}`))
              const before = yield* count
              yield* first.leave
              yield* elected(harness, next, "the next")
              return (yield* count) - before
            })
          )
        const few = yield* cost(1)
        const many = yield* cost(60)
        yield* expect(many <= few, `${many} requests with 60 waiting, ${few} with one`)
      })
  )
]
