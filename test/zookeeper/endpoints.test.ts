import { assert, describe, it } from "@effect/vitest"
import { Array as Arr, Effect, Result } from "effect"
import * as Endpoints from "../../src/engines/zookeeper/endpoints.ts"
import { show } from "../../src/engines/zookeeper/transport.ts"

describe("a connection string", () => {
  it.each([
    ["a", "a:2181", ""],
    ["a:1, b:2,c", "a:1 b:2 c:2181", ""],
    ["a:1,b:2/app/one", "a:1 b:2", "/app/one"],
    ["a:1/", "a:1", ""],
    ["a:1/app/", "a:1", "/app"],
    ["[::1]:5,10.0.0.1:6", "[::1]:5 10.0.0.1:6", ""],
    ["[fe80::1%eth0]", "[fe80::1%eth0]:2181", ""]
  ])("%s", (text, endpoints, chroot) => {
    const parsed = Endpoints.parse(text)
    assert.isTrue(Result.isSuccess(parsed))
    if (Result.isFailure(parsed)) return
    assert.strictEqual(parsed.success.endpoints.map(show).join(" "), endpoints)
    assert.strictEqual(parsed.success.chroot, chroot)
  })

  it.each([
    ["", /"" is not a server/],
    ["a,,b", /"" is not a server/],
    ["a:0", /"a:0" is not a server/],
    ["a:65536", /is not a server/],
    ["a:b", /is not a server/],
    ["::1", /is not a server/],
    ["http://a:1", /is not a server/],
    ["a/x//y", /chroot/],
    ["a/../b", /chroot/],
    ["a/b/.", /chroot/]
  ])("refuses %s", (text, message) => {
    const parsed = Endpoints.parse(text)
    assert.isTrue(Result.isFailure(parsed))
    if (Result.isFailure(parsed)) assert.match(parsed.failure, message)
  })
})

describe("the rotation", () => {
  const endpoints = Arr.map(["a", "b", "c", "d"] as const, (host) => ({ host, port: 1 }))

  it.effect("goes round all servers in one order, from a random one", () =>
    Effect.gen(function* () {
      const starts = new Set<string>()
      for (let i = 0; i < 60; i++) {
        const { has, next, size } = yield* Endpoints.rotation(endpoints)
        const rounds = Array.from({ length: 8 }, () => next().host)
        assert.deepStrictEqual(rounds.slice(0, 4).toSorted(), ["a", "b", "c", "d"])
        assert.deepStrictEqual(rounds.slice(4), rounds.slice(0, 4))
        assert.strictEqual(size(), 4)
        assert.isTrue(has({ host: "c", port: 1 }))
        assert.isFalse(has({ host: "c", port: 2 }))
        starts.add(rounds[0] ?? "")
      }
      assert.strictEqual(starts.size, 4)
    })
  )
})
