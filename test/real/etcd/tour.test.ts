import { assert, describe, it } from "vitest"
import { all, fromJson } from "../../../examples/tour/events.ts"
import { run, start } from "../../tooling/startExample.ts"
import type { Lie } from "../../tooling/tourLies.ts"
import { changed, inserted, moved, problemsOf, without } from "../../tooling/tourLies.ts"
import { assertTold, assertRefused, isAlive, patience, pidsIn } from "../tours.ts"

/** What a true story on real processes becomes when it is told wrongly, and what has to be found. */
const falsehoods: ReadonlyArray<readonly [told: string, lie: Lie, problem: RegExp]> = [
  ["nobody was killed", without("Killed", 0), /^app-0\d leads while app-0\d still does$/],
  [
    "somebody else was killed",
    changed("Killed", 0, (event) => ({ ...event, node: "x" })),
    /^the first leader, app-0\d, did not crash$/
  ],
  ["nobody was cut off", without("Unreachable", 0), /^there were 3 leaders instead of 2/],
  [
    "the leader that was cut off stopped too late",
    moved("StoppedLeading", 0, "Chapter", -1),
    /^app-0\d leads while app-0\d still does$/
  ],
  ["its place was never given away", without("Leads", 2), /^there were 2 leaders instead of 3/],
  ["it never came back", without("Joined", -1), /^app-0\d was seen as Joined 1 times instead of 2$/],
  [
    "one left because its connections were reset",
    inserted({ _tag: "Left", node: "x" }, "ConnectionsBack", 0),
    /^x left$/
  ],
  ["not all came back", without("ConnectionsBack", 0), /^not all were connected again$/]
]

const onEtcd = ["--engine", "etcd", "--ttl", "4"]

describe("the tour on etcd", () => {
  it("tells its story with a process for each node, the first leader of which is killed", patience, () =>
    assertTold(onEtcd, {
      began: /^5 nodes on etcd, sessions of 4 s/m,
      provided: /^etcd 3\.\S+ at http:\S+, each node a process of its own$/m,
      left: /^ {3}✓ {2}Nothing was left in the store$/m
    })
  )

  it("has its story refused when it is told wrongly", patience, async () => {
    const { code, stderr, stdout } = await run("tour", ...onEtcd, "--json", "--nodes", "3")
    assert.strictEqual(code, 0, stdout + stderr)
    const history = stdout.trimEnd().split("\n").map(fromJson)
    assert.deepStrictEqual(problemsOf(history), [])
    assert.strictEqual(all(history, "Started").length, 3)
    for (const [told, lie, expected] of falsehoods) {
      const problems = problemsOf(lie(history))
      assert.isTrue(
        problems.some((problem) => expected.test(problem)),
        `When ${told}, ${expected} is not among: ${problems.join("; ")}`
      )
    }
  })

  it(
    "lets the nodes leave when it is interrupted, kills the one that hangs, and leaves no process",
    patience,
    async () => {
      const { child, ended, printed, told } = start("tour", ...onEtcd, "--nodes", "3")
      await printed("3 of 3 ready")
      process.kill(pidsIn(told())[2] ?? 0, "SIGSTOP")
      child.kill("SIGINT")
      const { code, stderr, stdout } = await ended
      assert.strictEqual(code, 130, stdout)
      assert.strictEqual(stderr, "")
      for (const node of ["app-01", "app-02"]) assert.match(stdout, new RegExp(` ${node} .* - leaves `))
      assert.match(stdout, / app-03 .* fails .* it did not end when asked to, and was killed$/m)
      assert.deepStrictEqual(pidsIn(stdout).filter(isAlive), [])
    }
  )

  it("says what is wrong with the endpoints that it is given", patience, () =>
    assertRefused(onEtcd, [
      ["http://127.0.0.1:1", /^This went wrong: http:\/\/127\.0\.0\.1:1\/\S+: no answer: /m],
      ["https://127.0.0.1:2379", /^This went wrong: "https:\S+ cannot be used here\. Give it as http:\/\/host:port$/m]
    ])
  )
})
