import { assert, describe, it } from "vitest"
import { all, fromJson } from "../../../examples/tour/events.ts"
import { run } from "../../tooling/startExample.ts"
import { changed, problemsOf } from "../../tooling/tourLies.ts"
import { assertRefused, assertTold, patience } from "../tours.ts"

const onConsul = ["--engine", "consul"]

describe("the tour on Consul", () => {
  it("tells its story with a process for each node, the first leader of which is killed", patience, () =>
    assertTold(onConsul, {
      began: /^5 nodes on consul, sessions of 4 s/m,
      provided: /^consul 1\.\S+ at http:\S+, each node a process of its own$/m,
      left: /^ {3}✓ {2}Nothing was left in the store but app-0\d, critical, soon to be deregistered$/m
    })
  )

  it("lets nobody leave an instance behind but the one that was killed", patience, async () => {
    const { code, stderr, stdout } = await run("tour", ...onConsul, "--json", "--nodes", "3")
    assert.strictEqual(code, 0, stdout + stderr)
    const history = stdout.trimEnd().split("\n").map(fromJson)
    assert.deepStrictEqual(problemsOf(history), [])
    const killed = all(history, "Killed").map(({ node }) => node)
    assert.deepStrictEqual(
      all(history, "LookedInside").flatMap(({ dying }) => dying),
      killed
    )
    const lie = changed("LookedInside", 0, (event) => ({ ...event, dying: ["app-09"] }))
    assert.deepStrictEqual(problemsOf(lie(history)), ["app-09 is still there"])
  })

  it("says what is wrong with the endpoints that it is given", patience, () =>
    assertRefused(onConsul, [
      ["http://127.0.0.1:1", /^This went wrong: http:\/\/127\.0\.0\.1:1: connect ECONNREFUSED /m],
      ["https://127.0.0.1:8500", /^This went wrong: "https:\S+ cannot be used here\. Give it as http:\/\/host:port$/m]
    ])
  )
})
