import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import type { Answered } from "../../src/engines/zookeeper/client.ts"
import { ConnectionLost } from "../../src/engines/zookeeper/errors.ts"
import * as Lists from "../../src/engines/zookeeper/lists.ts"

const numbered = (id: string, sequence: number): string =>
  `_c_${"0".repeat(32)}-${id}-${String(sequence).padStart(10, "0")}`

describe("a shared list", () => {
  it("is one for all who ask before it is sent, and another for who asks while it is under way", () => {
    const requests: Array<Answered<ReadonlyArray<string>>> = []
    const told: Array<string> = []
    let idle = 0
    const list = Lists.shared(
      (answered) => requests.push(answered),
      () => void idle++
    )
    const ask = (who: string) =>
      list((answer) => told.push(`${who}: ${Array.from(Result.getOrThrow(answer).byId.keys()).join()}`))
    const giveUp = ask("first")
    assert.lengthOf(requests, 1)
    ask("second")
    const giveUpThird = ask("third")
    ask("fourth")
    assert.lengthOf(requests, 1)
    // Whoever began it may give up: the others still get theirs.
    giveUp()
    giveUpThird()
    requests[0]?.(Result.succeed([]))
    assert.deepStrictEqual(told, [])
    assert.lengthOf(requests, 2)
    requests[1]?.(Result.succeed(["a", "b"]))
    assert.deepStrictEqual(told, ["second: a,b", "fourth: a,b"])
    assert.strictEqual(idle, 1)
  })

  it("tells all of a failure, also of one within the call", () => {
    const lost = new ConnectionLost({ sent: false, operation: "getChildren", detail: "not connected" })
    let told = 0
    const list = Lists.shared(
      (answered) => answered(Result.fail(lost)),
      () => {}
    )
    for (let i = 0; i < 2; i++) list((answer) => void (answer._tag === "Failure" && told++))
    assert.strictEqual(told, 2)
  })

  it("names who is first by the numbers, where all have one", () => {
    const [a, b] = [numbered("a", 7), numbered("b", 5)]
    assert.strictEqual(Lists.listed([a, b]).first, b)
    assert.strictEqual(Lists.listed([]).first, undefined)
    assert.strictEqual(Lists.listed([a, "by hand", b]).first, undefined)
  })
})
