import { describe, it } from "vitest"
import { assertRefused, assertTold, patience } from "../tours.ts"

const onZooKeeper = ["--engine", "zookeeper"]

describe("the tour on ZooKeeper", () => {
  it("tells its story with a process for each node, the first leader of which is killed", patience, () =>
    assertTold(onZooKeeper, {
      began: /^5 nodes on zookeeper, sessions of 4 s/m,
      provided: /^zookeeper 3\.\S+ at 127\.0\.0\.1:\d+, each node a process of its own$/m,
      left: /^ {3}✓ {2}Nothing was left in the store$/m
    })
  )

  it("says what is wrong with the endpoints that it is given", patience, () =>
    assertRefused(onZooKeeper, [
      ["127.0.0.1:1", /^This went wrong: 127\.0\.0\.1:1: connect ECONNREFUSED /m],
      ["http://127.0.0.1:2181", /^This went wrong: "http:\S+ cannot be used here\. Give it as host:port$/m]
    ])
  )
})
