/** The client of the npm package `memcache` over nodes that are safe to lose, and without its silence about failures. */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import type { ExecuteOptions, MemcacheNode } from "memcache"
import { Memcache } from "memcache"
import * as Calls from "../kit/calls.ts"
import type { Settings } from "./node.ts"
import { Node } from "./node.ts"

interface Found {
  readonly foundKeys: ReadonlyArray<string>
  readonly values: ReadonlyArray<string> | undefined
}

/**
 * The package takes a command that failed for one that was answered with nothing: a value that could not be read is one that was never
 * written. Here it is a failure.
 */
export class Client extends Memcache {
  readonly #all: ReadonlyArray<Node>
  readonly #life: Scope.Closeable

  constructor(addresses: ReadonlyArray<string>, settings: Omit<Settings, "answers">) {
    const life = Effect.runSync(Scope.make())
    const answers = Effect.runSync(Scope.provide(Calls.make(settings.timeout), life))
    // Once each: the package rejects a promise that nobody has when an address is there twice.
    const all = [...new Set(addresses)].map((address) => nodeAt(address, { ...settings, answers }))
    super({ nodes: all })
    this.#all = all
    this.#life = life
  }

  /** Cuts every connection for good. */
  readonly end: Effect.Effect<void> = Effect.suspend(() => {
    for (const node of this.#all) node.end()
    return Scope.close(this.#life, Exit.void)
  })

  override get(key: string): Promise<string | undefined> {
    return promised(() => {
      const asked = this.#checked(key)
      return this.#read(this.#nodeOf(asked), [asked]).then(({ values }) => values?.[0])
    })
  }

  override gets(keys: Array<string>): Promise<Map<string, string>> {
    return promised(() => {
      const asked = Map.groupBy(new Set(keys.map((key) => this.#checked(key))), (key) => this.#nodeOf(key))
      return Promise.all([...asked].map(([node, some]) => this.#read(node, some))).then((answers) => {
        const found = new Map(
          answers.flatMap(({ foundKeys, values = [] }) => foundKeys.map((key, at) => [key, values[at]]))
        )
        return new Map(
          keys.flatMap((key): ReadonlyArray<[string, string]> => {
            const value = found.get(this.resolveKey(key))
            return value === undefined ? [] : [[key, value]]
          })
        )
      })
    })
  }

  override execute(command: string, nodes: Array<MemcacheNode>, options?: ExecuteOptions): Promise<Array<unknown>> {
    return Promise.all(nodes.map((node) => node.command(command, options?.commandOptions)))
  }

  /** The key as it is sent. */
  #checked(key: string): string {
    const resolved = this.resolveKey(key)
    this.validateKey(resolved)
    return resolved
  }

  #nodeOf(key: string): MemcacheNode {
    const [node] = this.hash.getNodesByKey(key)
    if (node === undefined) throw new Error("There is no address to ask")
    return node
  }

  #read(node: MemcacheNode, keys: Array<string>): Promise<Found> {
    if (!node.isConnected()) return node.connect().then(() => this.#read(node, keys))
    return node.command(`get ${keys.join(" ")}`, { isMultiline: true, requestedKeys: keys })
  }
}

/** What is thrown, too, has to reject. */
const promised = <A>(make: () => Promise<A>): Promise<A> => {
  try {
    return make()
  } catch (error) {
    return Promise.reject(error)
  }
}

const nodeAt = (address: string, settings: Settings): Node => {
  const colon = address.lastIndexOf(":")
  const host = address.slice(0, colon).replace(/^\[(.*)\]$/, "$1")
  return new Node(host, Number(address.slice(colon + 1)), settings)
}
