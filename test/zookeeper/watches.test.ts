import { assert, describe, it } from "@effect/vitest"
import { SessionExpired } from "../../src/engines/zookeeper/errors.ts"
import type { EventType } from "../../src/engines/zookeeper/protocol.ts"
import * as Watches from "../../src/engines/zookeeper/watches.ts"

const recorder = () => {
  const told: Array<string> = []
  const listener =
    (name: string): Watches.Listener =>
    (notice) =>
      told.push(`${name} ${notice._tag === "Event" ? `${notice.event.type} ${notice.event.path}` : notice._tag}`)
  return { told, listener }
}

describe("the watches", () => {
  const kinds: ReadonlyArray<readonly [EventType, ReadonlyArray<Watches.Kind>]> = [
    ["created", ["data", "exist"]],
    ["dataChanged", ["data", "exist"]],
    ["deleted", ["data", "exist", "child"]],
    ["childrenChanged", ["child"]],
    ["none", []]
  ]

  it.each(kinds)("%s uses up one-shot watches of its kinds at its path, once", (type, used) => {
    const registry = Watches.make()
    const { listener, told } = recorder()
    for (const kind of ["data", "exist", "child"] as const) {
      registry.addOnce(kind, "/a", listener(kind))
      registry.addOnce(kind, "/a/b", listener("below"))
    }
    registry.dispatch({ type, path: "/a", zxid: 1n })
    registry.dispatch({ type, path: "/a", zxid: 2n })
    assert.deepStrictEqual(
      told,
      used.map((kind) => `${kind} ${type} /a`)
    )
  })

  it("recursive ones hear of their path and everything below it, again and again", () => {
    const registry = Watches.make()
    const { listener, told } = recorder()
    registry.addRecursive("/", listener("root"))
    registry.addRecursive("/a", listener("a"))
    registry.addRecursive("/a/b", listener("b"))
    registry.addRecursive("/ab", listener("ab"))
    for (const path of ["/a", "/a/b/c", "/ab", "/"]) registry.dispatch({ type: "created", path, zxid: 1n })
    registry.dispatch({ type: "childrenChanged", path: "/a", zxid: 1n })
    assert.deepStrictEqual(told, [
      "a created /a",
      "root created /a",
      "b created /a/b/c",
      "a created /a/b/c",
      "root created /a/b/c",
      "ab created /ab",
      "root created /ab",
      "root created /"
    ])
  })

  it("one function that watches in several ways hears of an event once", () => {
    const registry = Watches.make()
    const { listener, told } = recorder()
    const one = listener("one")
    registry.addOnce("data", "/a", one)
    registry.addOnce("child", "/a", one)
    registry.dispatch({ type: "deleted", path: "/a", zxid: 1n })
    assert.deepStrictEqual(told, ["one deleted /a"])
  })

  it("are the last at a path only when nobody else watches it in any way", () => {
    const registry = Watches.make()
    const { listener } = recorder()
    const one = listener("one")
    const first = registry.addRecursive("/a", one)
    const second = registry.addRecursive("/a", one)
    assert.isFalse(first())
    assert.isFalse(first())
    assert.isTrue(second())
    const third = registry.addRecursive("/a", one)
    registry.addOnce("data", "/a", one)
    assert.isFalse(third())
    assert.deepStrictEqual(registry.lists().persistentRecursive, [])
  })

  it("may be changed by a listener while it is told", () => {
    const registry = Watches.make()
    const { listener, told } = recorder()
    const again: Watches.Listener = (notice) => {
      listener("again")(notice)
      if (notice._tag === "Event") registry.addOnce("data", "/a", again)
    }
    registry.addOnce("data", "/a", again)
    registry.dispatch({ type: "dataChanged", path: "/a", zxid: 1n })
    registry.dispatch({ type: "dataChanged", path: "/a", zxid: 2n })
    assert.strictEqual(told.length, 2)
    registry.end(new SessionExpired({}), "all")
    assert.deepStrictEqual(told.slice(2), ["again Over"])
    assert.deepStrictEqual(Watches.chunks(registry.lists(), ""), [])
  })

  it("are split below the limit, keep their kinds, and lose none", () => {
    const many = (prefix: string, count: number) => Array.from({ length: count }, (_, i) => `/${prefix}é${i}`)
    const lists = {
      data: many("d", 40),
      exist: many("e", 1),
      child: many("c", 30),
      persistent: [],
      persistentRecursive: [...many("r", 50), `/${"long".repeat(300)}`]
    }
    const parts = Watches.chunks(lists, "/root", 1000)
    assert.isAbove(parts.length, 2)
    for (const part of parts) {
      const paths = Object.values(part).flat()
      const bytes = paths.reduce((sum, path) => sum + 4 + Buffer.byteLength(`/root${path}`), 0)
      assert.isTrue(bytes <= 1000 || paths.length === 1, `${bytes} bytes`)
    }
    for (const kind of ["data", "exist", "child", "persistent", "persistentRecursive"] as const) {
      assert.deepStrictEqual(
        parts.flatMap((part) => part[kind]),
        lists[kind]
      )
    }
  })
})
