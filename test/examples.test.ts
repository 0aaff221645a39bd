import { assert, describe, it } from "vitest"
import { all, fromJson, toJson } from "../examples/tour/events.ts"
import { assertInOrder, run, start } from "./tooling/startExample.ts"
import type { Lie } from "./tooling/tourLies.ts"
import { changed, inserted, moved, problemsOf, without } from "./tooling/tourLies.ts"

const everything = Array.from({ length: 12 }, (_, partition) => partition)

/** A true story told wrongly in one way, and what has to be found. */
const falsehoods: ReadonlyArray<readonly [told: string, lie: Lie, problem: RegExp]> = [
  ["a node is not seen joining", without("Joined", 0), /was seen as Joined 0 times instead of 1$/],
  ["a node is not seen changing", without("Changed", 1), /was seen as Changed 0 times instead of 1$/],
  ["a node is not seen leaving", without("Left", 0), /was seen as Left 0 times instead of 1$/],
  [
    "a node comes twice",
    inserted({ _tag: "Joined", node: "app-01", listens: "", zone: "a" }, "Chapter", 2),
    /^app-01 was seen as Joined 2 times instead of 1$/
  ],
  [
    "a stranger leaves",
    inserted({ _tag: "Left", node: "x" }, "Chapter", 2),
    /^x was seen as Left 1 times instead of 0$/
  ],
  ["a node fails", inserted({ _tag: "Failed", node: "x", reason: "so" }, "Chapter", -1), /^x failed: so$/],

  ["one passes early", inserted({ _tag: "Passed", node: "x" }, "Ready", -1), /^x passed before app-0\d was ready$/],
  ["it opens early", changed("Gathered", 1, (event) => ({ ...event, open: true })), /^it opened before app-0\d/],
  ["one never passes", without("Passed", -1), /^app-0\d never passed$/],
  ["one was never ready", without("Ready", 0), /passed before app-0\d was ready$/],

  [
    "the token falls",
    changed("Leads", 1, (event) => ({ ...event, token: 0n })),
    /with token 0, not larger than \d+ before$/
  ],
  ["two lead", without("StoppedLeading", 0), /^app-0\d leads while app-0\d still does$/],
  ["the last leader never stops", without("StoppedLeading", -1), /^app-0\d never stopped leading$/],
  [
    "a former leader writes",
    moved("Wrote", 0, "Chapter", -1),
    /^app-0\d wrote with token \d+ when it was not the leader$/
  ],
  [
    "the leader writes with another token",
    changed("Wrote", 1, (event) => ({ ...event, token: 0n })),
    /^app-0\d wrote with token 0 when it was not the leader$/
  ],

  ["somebody else crashed", changed("CutOff", 0, (event) => ({ ...event, node: "x" })), /^the first .* did not crash$/],
  ["a third one leads", inserted({ _tag: "Leads", node: "x", token: 999n }, "Chapter", -1), /^there were 3 leaders/],
  ["nobody takes over", without("Leads", 1), /^there were 1 leaders instead of 2: /],
  [
    "the crashed one takes over",
    (history) => {
      const [first] = all(history, "Leads")
      return changed("Leads", 1, (event) => ({ ...event, node: first?.node ?? "" }))(history)
    },
    /took over from itself$/
  ],
  [
    "a leader writes nothing",
    (history) => history.filter(({ event }) => event._tag !== "Wrote"),
    /^app-0\d led without writing a line$/
  ],

  [
    "a partition has no owner",
    changed("Divided", 0, ({ _tag, owners }) => ({
      _tag,
      owners: owners.filter((owner) => owner.partitions.length === 0)
    })),
    /^nobody owned 0, 1, 2,/
  ],
  [
    "a partition has two owners",
    changed("Divided", 1, ({ _tag, owners }) => ({
      _tag,
      owners: owners.map(({ node }) => ({ node, partitions: everything }))
    })),
    /^partition 0 had two owners: /
  ],
  [
    "what is shown was not reported",
    changed("Divided", 1, ({ _tag, owners }) => ({ _tag, owners: [{ node: "x", partitions: everything }, ...owners] })),
    /^what was shown for x is not what it reported$/
  ],
  ["the work is not divided anew", without("Divided", 1), /^1 divisions were shown instead of 2$/],
  [
    "partitions move between nodes that stay",
    changed("Divided", 1, ({ _tag, owners }) => ({
      _tag,
      owners: owners.map(({ node }, index) => ({ node, partitions: owners.at(index - 1)?.partitions ?? [] }))
    })),
    /^partition \d+ moved although app-0\d stayed$/
  ],
  [
    "one works on the partitions of another",
    inserted({ _tag: "Owns", node: "x", partitions: everything, of: 5 }, "AskedToLeave", 0),
    /^x took partition 0 while app-0\d worked on it$/
  ],

  ["one is never asked to leave", without("AskedToLeave", 0), /^app-0\d was never asked to leave$/],
  [
    "they leave in another order",
    moved("AskedToLeave", 0, "Chapter", -1),
    /^they left in the order .*, asked in the order/
  ],
  ["one leaves while it works", without("GaveUp", -1), /^app-0\d left without giving up its work$/],
  ["one works after it has left", moved("GaveUp", -1, "Chapter", -1), /^app-0\d had left before it stopped its work$/],

  [
    "something is left",
    changed("LookedInside", 0, (event) => ({ ...event, remains: ["election/tour/app-01"] })),
    /^election\/tour\/app-01 is still there$/
  ],
  ["nobody looks", without("LookedInside", 0), /^nobody looked$/]
]

// Longer sessions than by default: a machine that runs all tests at once may stand still for a while.
const ttl = ["--ttl", "4"]
const patience = { timeout: 90_000 }

describe.concurrent("the tour", () => {
  // The one that takes longest comes first.
  const sabotages = [
    { lie: "silent", reason: /waited \d+ s in vain for this: every node passes the barrier/ },
    { lie: "impatient", reason: /passed before .* was ready/ },
    { lie: "stubborn", reason: /wrote with token \d+ when it was not the leader/ },
    { lie: "greedy", reason: /partition 0 / }
  ]
  for (const { lie, reason } of sabotages) {
    it(`ends with 1 and the reason when a node lies: ${lie}`, patience, async () => {
      const { code, stderr, stdout } = await run("tour", "--nodes", "3", "--sabotage", lie, ...ttl)
      assert.strictEqual(code, 1, stdout + stderr)
      assert.strictEqual(stderr, "")
      const last = stdout.trimEnd().split("\n").at(-1) ?? ""
      assert.match(last, /^This went wrong: /)
      assert.match(last, reason)
    })
  }

  it("tells its story in plain lines where there is no terminal", patience, async () => {
    const { code, stderr, stdout } = await run("tour", ...ttl)
    assert.strictEqual(code, 0, stdout + stderr)
    assert.strictEqual(stderr, "")
    assert.notInclude(stdout, "\u001b")
    assertInOrder(stdout, [
      /^5 nodes on memory, sessions of 4 s/m,
      /^1 {2}They find each other$/m,
      / app-01 .* joins .* 10\.0\.0\.1:8001, zone a$/m,
      / app-05 .* joins .* 10\.0\.0\.1:8005, zone b$/m,
      /^2 {2}They wait for one another$/m,
      /□□□□□ {2}0 of 5 ready$/m,
      /■■■■■ {2}5 of 5 ready$/m,
      / app-0\d .* changes .* serving$/m,
      /^3 {2}They elect a leader, and it crashes$/m,
      / leads .* with token \d+$/m,
      / crashes /,
      / stops .* by its own clock, /,
      / - gone .* the store has ended its session$/m,
      / leads .* with token \d+, larger than \d+$/m,
      /^4 {2}They divide the work$/m,
      / 12 partitions over 4 nodes$/m,
      / - leaves /,
      / 12 partitions over 3 nodes/,
      /^5 {2}They leave in order, the leader last$/m,
      / - leaves [^]* - leaves [^]* resigns [^]* - leaves /,
      /^6 {2}Was it true\?$/m,
      /^ {3}✓ {2}Nothing was left in the store$/m,
      /^All of it is true\./m
    ])
    for (const line of stdout.split("\n")) assert.isAtMost(line.length, 82, line)
  })

  it(
    "prints JSON lines and nothing else with --json, and its judge refuses each way of telling them wrongly",
    patience,
    async () => {
      const { code, stderr, stdout } = await run("tour", "--json", "--nodes", "4", ...ttl)
      assert.strictEqual(code, 0, stdout + stderr)
      assert.strictEqual(stderr, "")
      const history = stdout.trimEnd().split("\n").map(fromJson)
      assert.strictEqual(history.map(toJson).join("\n"), stdout.trimEnd())
      assert.deepStrictEqual(history.at(-1)?.event, { _tag: "Ended", ok: true, reason: "" })
      assert.deepStrictEqual(problemsOf(history), [])
      for (const [told, lie, expected] of falsehoods) {
        const problems = problemsOf(lie(history))
        assert.isTrue(
          problems.some((problem) => expected.test(problem)),
          `When ${told}, ${expected} is not among: ${problems.join("; ")}`
        )
      }
    }
  )

  it("names the engines that there are when asked for another", async () => {
    const { code, stderr, stdout } = await run("tour", "--engine", "nonesuch")
    assert.strictEqual(code, 1)
    assert.match(stdout + stderr, /"nonesuch".*one of the engines that the tour knows: memory/)
  })

  it("lets the nodes leave when it is interrupted", patience, async () => {
    const { child, ended, printed } = start("tour", ...ttl)
    await printed("5 of 5 ready")
    child.kill("SIGINT")
    const { code, stdout } = await ended
    assert.strictEqual(code, 130, stdout)
    for (let node = 1; node <= 5; node++) assert.match(stdout, new RegExp(` app-0${node} .* - leaves `))
  })
})

describe.concurrent("an example", () => {
  const examples: Readonly<Record<string, ReadonlyArray<RegExp>>> = {
    "discovery-server": [/^api-1, version 1\.2\.0, says: hello$/m],
    "discovery-client": [
      /^request: nobody there$/m,
      /^Joined {2}api-1 at port 8081$/m,
      /^Joined {2}api-2 at port 8082$/m,
      /^request: api-2$/m,
      /^request: api-1$/m,
      /^Left {4}api-2 at port 8082$/m,
      /^request: api-1$/m,
      /^request: api-1$/m
    ],
    "leader-cron": [
      /^one wrote line 1 with token \d+$/m,
      /^one is paused between asking and writing$/m,
      /^two wrote line 2 with token \d+$/m,
      /^one wakes up and is refused: token \d+ is lower than \d+$/m,
      /^two wrote line 3 with token \d+$/m
    ],
    maestro: [
      /^mc-x: attempt 2 failed, the next in 200 ms$/m,
      /^work: mc-x is not there, and that is fine$/m,
      /^flowchart TD$/m,
      /^mc-2: stopped$/m,
      /^gantt$/m
    ],
    "migration-gate": [
      /Missing: app-1, app-2, app-3$/m,
      /has stopped writing\n.*has stopped writing\n.*has stopped writing$/m,
      /^app-\d migrates the table$/m,
      /goes on with version 2\n.*goes on with version 2\n.*goes on with version 2$/m
    ],
    "partitioned-consumer": [
      /^consumer-03 comes$/m,
      /, \d of 3, takes /,
      /^consumer-02 goes$/m,
      /^consumer-0\d, \d of 2, takes /m,
      /^handled 180 messages, 0 of them twice$/m
    ],
    "testing-your-service": [/^two has taken over$/m, /^one is back and waits for its turn$/m]
  }
  for (const [name, lines] of Object.entries(examples)) {
    it(`runs and ends by itself: ${name}`, patience, async () => {
      const { code, stderr, stdout } = await run(name)
      assert.strictEqual(code, 0, stdout + stderr)
      assertInOrder(stdout, lines)
    })
  }
})
