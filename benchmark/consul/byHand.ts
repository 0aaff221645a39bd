/**
 * The npm client `consul` with the least that is right, by hand: one session, keys that are acquired with it, and blocking
 * queries whose answers are compared with the ones before.
 */
import Consul from "consul"
import { Effect } from "effect"
import { EventEmitter } from "node:events"
import type { Place, Seen, Way } from "../stores/way.ts"
import { forEachAtOnce, makeHeld, valueOf } from "../stores/way.ts"

interface Pair {
  readonly Key: string
  readonly Value: string | null
  readonly Session?: string
  readonly ModifyIndex: number
}

const connect = (place: Place) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const { hostname, port } = new URL(place.endpoints[0] ?? "")
      return new Consul({ host: hostname, port: Number(port) })
    }),
    (client) => Effect.sync(() => client.destroy())
  )

const createSession = async (client: Consul, { ttlSeconds }: Place): Promise<string> => {
  // The delay is for resources that check nothing; the client sends none of its own as 0.
  const { ID } = await client.session.create({ ttl: `${ttlSeconds}s`, behavior: "delete", lockdelay: "1ms" })
  return ID
}

/** A session that is renewed every third of its TTL, and one after it where everything is taken back at once. */
const acquireSession = Effect.fnUntraced(function* (client: Consul, place: Place) {
  const session = { id: yield* Effect.promise(() => createSession(client, place)) }
  const renewal = setInterval(
    () => void client.session.renew(session.id).catch(() => {}),
    (place.ttlSeconds * 1_000) / 3
  )
  const destroy = () => client.session.destroy(session.id).catch(() => {})
  yield* Effect.addFinalizer(() =>
    Effect.promise(() => {
      clearInterval(renewal)
      return destroy()
    })
  )
  return {
    id: () => session.id,
    replace: async () => {
      await destroy()
      session.id = await createSession(client, place)
    }
  }
})

/** A program that gives up its query at its end: the package cuts the connection when the context of a request says so. */
class Reading extends EventEmitter {
  readonly includeResponse = true
}

interface Answer {
  readonly pairs: ReadonlyArray<Pair>
  readonly index: string
}

const query = async (
  client: Consul,
  key: string,
  options: { readonly recurse?: boolean; readonly index?: string; readonly ctx: Reading }
): Promise<Answer> => {
  const asked = { key, ...options, ...(options.index === undefined ? {} : { wait: "10s" }) }
  // With a context, the package's answer has the response in front, which its declarations do not say.
  const [response, found] = (await client.kv.get(asked)) as unknown as readonly [
    { readonly headers: Readonly<Record<string, string>> },
    Pair | ReadonlyArray<Pair> | undefined
  ]
  const pairs = found === undefined ? [] : Array.isArray(found) ? (found as ReadonlyArray<Pair>) : [found as Pair]
  return { pairs, index: response.headers["x-consul-index"] ?? "0" }
}

const reading = Effect.acquireRelease(
  Effect.sync(() => new Reading()),
  (ctx) => Effect.sync(() => ctx.emit("cancel"))
)

/** An index that goes backwards starts anew. */
const nextIndex = (before: string | undefined, now: string): string =>
  before !== undefined && BigInt(now) < BigInt(before) ? "0" : now

/** Tells of each difference between an answer and the one before. */
const follow = async (client: Consul, prefix: string, ctx: Reading, tell: (what: Seen) => void): Promise<void> => {
  let known = new Map<string, number>()
  let index: string | undefined
  while (true) {
    const answer = await query(client, prefix, { recurse: true, ctx, ...(index === undefined ? {} : { index }) })
    index = nextIndex(index, answer.index)
    const now = new Map(answer.pairs.map(({ Key, ModifyIndex }) => [Key, ModifyIndex]))
    const before = known
    known = now
    for (const key of before.keys()) if (!now.has(key)) tell("Left")
    for (const [key, modified] of now) {
      const told = before.get(key)
      if (told === undefined) tell("Joined")
      else if (told !== modified) tell("Updated")
    }
  }
}

/** Tries, and waits for the key to be free where it is not. */
const campaign = async (client: Consul, key: string, session: string, ctx: Reading): Promise<void> => {
  while (!(await client.kv.set({ key, value: "", acquire: session }))) {
    let answer = await query(client, key, { ctx })
    while (answer.pairs[0]?.Session !== undefined) {
      answer = await query(client, key, { ctx, index: answer.index })
    }
  }
}

const acquired = async (acquiring: Promise<boolean>): Promise<void> => {
  if (!(await acquiring)) throw new Error("Somebody else has the key")
}

export const byHand: Way = {
  name: "consul",
  title: "`consul` by hand",
  pair: Effect.fnUntraced(function* (place) {
    const writer = yield* connect(place)
    const reader = yield* connect(place)
    const session = yield* acquireSession(writer, place)
    const ctx = yield* reading
    const prefix = `${place.prefix}/members/`
    const keyOf = (index: number) => `${prefix}${index}`
    const held = makeHeld<true>()
    let seen: (what: Seen) => void = () => {}
    // It ends with its query, which is cut when the scope ends.
    void follow(reader, prefix, ctx, (what) => seen(what)).catch(() => {})
    const put = (index: number, value: string) =>
      acquired(writer.kv.set({ key: keyOf(index), value, acquire: session.id() }))
    return {
      join: (from, count, atOnce) =>
        Effect.promise(() =>
          forEachAtOnce(from, count, atOnce, async (index) => {
            await put(index, valueOf(index))
            held.add(index, true)
          })
        ),
      set: (index, value) => Effect.promise(() => put(index, value)),
      leave: (index) =>
        Effect.promise(() => {
          held.take(index)
          return writer.kv.del(keyOf(index))
        }),
      clear: Effect.promise(() => {
        held.takeAll()
        return session.replace()
      }),
      onSeen: (to) => {
        seen = to
      }
    }
  }),
  candidate: Effect.fnUntraced(function* (place, _node) {
    const client = yield* connect(place)
    const session = yield* acquireSession(client, place)
    const ctx = yield* reading
    const leader = `${place.prefix}/leader`
    const lock = `${place.prefix}/lock`
    const release = (key: string) => client.kv.set({ key, value: "", release: session.id() })
    return {
      lead: Effect.acquireRelease(Effect.void, () => Effect.promise(() => release(leader).catch(() => {}))).pipe(
        Effect.andThen(Effect.promise(() => campaign(client, leader, session.id(), ctx)))
      ),
      lock: Effect.promise(async () => {
        await acquired(client.kv.set({ key: lock, value: "", acquire: session.id() }))
        await release(lock)
      })
    }
  })
}
