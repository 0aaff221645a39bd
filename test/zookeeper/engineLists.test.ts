import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Result from "effect/Result"
import type { Answered } from "../../src/engines/zookeeper/client.ts"
import { ConnectionLost } from "../../src/engines/zookeeper/errors.ts"
import * as Lists from "../../src/engines/zookeeper/lists.ts"

const numbered = (id: string, sequence: number): string =>
  `_c_${"0".repeat(32)}-${id}-${String(sequence).padStart(10, "0")}`

const turnEnds = Effect.promise(() => Promise.resolve())

describe("a shared list", () => {
  const make = () => {
    const requests: Array<Answered<ReadonlyArray<string>>> = []
    const told: Array<string> = []
    let idle = 0
    const list = Lists.shared(
      (answered) => requests.push(answered),
      () => void idle++
    )
    const ask = (who: string) =>
      list((answer) => told.push(`${who}: ${Array.from(Result.getOrThrow(answer).byId.keys()).join()}`))
    return { requests, told, ask, idle: () => idle }
  }

  it.effect("is one for all who ask in one turn, at its end, and another for who asks in the next one", () =>
    Effect.gen(function* () {
      const { ask, idle, requests, told } = make()
      const giveUp = ask("first")
      ask("second")
      assert.lengthOf(requests, 0)
      yield* turnEnds
      assert.lengthOf(requests, 1)
      const giveUpThird = ask("third")
      ask("fourth")
      yield* turnEnds
      assert.lengthOf(requests, 2)
      // Whoever began it may give up: the others still get theirs.
      giveUp()
      giveUpThird()
      requests[0]?.(Result.succeed(["a"]))
      assert.deepStrictEqual(told, ["second: a"])
      yield* turnEnds
      assert.strictEqual(idle(), 0)
      requests[1]?.(Result.succeed(["a", "b"]))
      assert.deepStrictEqual(told, ["second: a", "fourth: a,b"])
      yield* turnEnds
      assert.strictEqual(idle(), 1)
      assert.lengthOf(requests, 2)
    })
  )

  it.effect("is asked for no more often than four times at once", () =>
    Effect.gen(function* () {
      const { ask, requests, told } = make()
      for (const who of ["a", "b", "c", "d", "e", "f"]) {
        ask(who)
        yield* turnEnds
      }
      assert.lengthOf(requests, 4)
      requests[0]?.(Result.succeed([]))
      yield* turnEnds
      assert.lengthOf(requests, 5)
      requests[4]?.(Result.succeed([]))
      assert.deepStrictEqual(told, ["a: ", "e: ", "f: "])
    })
  )

  it.effect("tells all of a failure, also of one within the call", () =>
    Effect.gen(function* () {
      const lost = new ConnectionLost({ sent: false, operation: "getChildren", detail: "not connected" })
      let told = 0
      const list = Lists.shared(
        (answered) => answered(Result.fail(lost)),
        () => {}
      )
      for (let i = 0; i < 2; i++) list((answer) => void (answer._tag === "Failure" && told++))
      yield* turnEnds
      assert.strictEqual(told, 2)
    })
  )

  it("names who is first by the numbers, where all have one", () => {
    const [a, b] = [numbered("a", 7), numbered("b", 5)]
    assert.strictEqual(Lists.listed([a, b]).first, b)
    assert.strictEqual(Lists.listed([]).first, undefined)
    assert.strictEqual(Lists.listed([a, "by hand", b]).first, undefined)
  })
})
