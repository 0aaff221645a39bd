import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { Discovery } from "effect-ensemble"
import * as Curator from "../../src/engines/zookeeper/curator.ts"
import * as Utf8 from "../../src/engines/zookeeper/utf8.ts"
import { recorded } from "./curatorRecorded.ts"

const definition = Discovery.make("api")

/** The instance as a reader of the definition is given it. */
const read = (text: string) => {
  const value = Curator.decode(Utf8.encode(text))
  const decoded = definition.decode({ id: "a", token: 1n, value, mine: false })
  return decoded._tag === "Decoded" ? decoded.member.value : decoded.undecoded.detail
}

const registration: Curator.Registration = { service: "api", id: "web-1", registeredAt: 1_795_340_500_197 }

const write = (value: string): unknown => JSON.parse(Utf8.decode(Curator.encode(value, registration)))

describe("what Curator wrote", () => {
  const table: ReadonlyArray<readonly [string, Discovery.Instance<Readonly<Record<string, string>>>]> = [
    ["none", { address: "10.0.0.1", port: 80, attributes: {} }],
    ["map", { address: "10.0.0.2", port: 81, attributes: { "@class": "java.util.LinkedHashMap", zone: "a" } }],
    ["object", { address: "10.0.0.3", port: 82, attributes: { "@class": "Interop$Point", zone: "b", weight: "3" } }],
    ["text", { address: "10.0.0.4", port: 83, attributes: { payload: "a text" } }],
    ["enabled", { address: "10.0.0.6", port: 85, attributes: {} }],
    ["tls", { address: "10.0.0.7", port: 8443, attributes: {} }],
    ["numbered-0000000007", { address: "10.0.0.8", port: 86, attributes: {} }],
    ["lasting", { address: "10.0.0.9", port: 87, attributes: {} }],
    ["number", { address: "10.0.0.10", port: 88, attributes: { payload: '["java.lang.Long",7]' } }]
  ]
  it.each(table)("is read: %s", (name, instance) => {
    assert.deepStrictEqual(read(recorded[name] ?? ""), instance)
  })

  it("is no instance to be used where it is not enabled, and says so", () => {
    const disabled = recorded["disabled"] ?? ""
    assert.isString(read(disabled))
    assert.match(Curator.decode(Utf8.encode(disabled)), /registered and not enabled/)
  })

  it("may have fields that nobody knows, and lack others", () => {
    const text = `{"name":"api","id":"a","address":"b","port":1,"further":{"x":1},"payload":{"a":null,"b":{"c":[1]}}}`
    assert.deepStrictEqual(read(text), { address: "b", port: 1, attributes: { b: '{"c":[1]}' } })
    assert.match(String(read(`{"name":"api","id":"a","port":1}`)), /address/)
    assert.match(String(read(`{"name":"api","id":"a","address":null,"port":null,"sslPort":null}`)), /address/)
  })
})

describe("what is written for Curator", () => {
  it.effect("is what its serializer writes", () =>
    Effect.gen(function* () {
      const bare = yield* definition.encode({ address: "10.0.0.1", port: 80, attributes: {} })
      const wanted = (recorded["none"] ?? "").replaceAll('"none"', '"web-1"')
      assert.strictEqual(Utf8.decode(Curator.encode(bare, registration)), wanted)
      const attributes = { "@class": "java.util.LinkedHashMap", zone: "a" }
      const zoned = yield* definition.encode({ address: "10.0.0.2", port: 81, attributes })
      assert.deepInclude(write(zoned) as object, { payload: attributes, serviceType: "DYNAMIC", address: "10.0.0.2" })
    })
  )

  it("comes back as it was", () => {
    for (const value of [
      `{"address":"10.0.0.1","port":80,"attributes":{}}`,
      `{"address":"é","port":0,"attributes":{"zone":"a","@class":"x"}}`,
      "",
      "text",
      "null",
      "[]",
      "{}",
      `{"address":"a"}`,
      `"name"`
    ]) {
      assert.strictEqual(Curator.decode(Curator.encode(value, registration)), value)
    }
  })
})
