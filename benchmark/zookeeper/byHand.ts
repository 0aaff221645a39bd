/**
 * The npm client `node-zookeeper-client` with the least that is right, by hand: ephemeral nodes, watches that tell of one change and
 * are set again by the reading that follows it, and the documented recipe of a line with sequence numbers.
 */
import { Effect } from "effect"
import type { Client, Stat } from "node-zookeeper-client"
import zookeeper from "node-zookeeper-client"
import type { Place, Seen, Way } from "../stores/way.ts"
import { forEachAtOnce, makeHeld, valueOf } from "../stores/way.ts"

const { CreateMode } = zookeeper

export const connect = (place: Place) =>
  Effect.acquireRelease(
    Effect.promise(
      () =>
        new Promise<Client>((resolve) => {
          const options = { sessionTimeout: place.ttlSeconds * 1_000, spinDelay: 50, retries: 0 }
          const client = zookeeper.createClient(place.endpoints.join(","), options)
          client.once("connected", () => resolve(client))
          client.connect()
        })
    ),
    (client) => Effect.sync(() => client.close())
  )

/** A call whose last argument takes an error or the result. */
const called = <A>(call: (done: (error: Error | null | undefined, result: A) => void) => void): Promise<A> =>
  new Promise((resolve, reject) => call((error, result) => (error ? reject(error) : resolve(result))))

const parent = (client: Client, path: string) =>
  Effect.promise(() => called<string>((done) => client.mkdirp(path, done)))

export const create = (client: Client, path: string, value: string, mode = CreateMode.EPHEMERAL): Promise<string> =>
  called((done) => client.create(path, Buffer.from(value), mode, done))

export const remove = (client: Client, path: string): Promise<void> =>
  called((done) => client.remove(path, (error) => done(error)))

/** Tells of each child that comes, changes and goes. */
const follow = (client: Client, path: string, tell: (what: Seen) => void): void => {
  const known = new Set<string>()
  const read = (name: string, what: "Joined" | "Updated") => {
    client.getData(
      `${path}/${name}`,
      (event) => {
        // Of its removal the children's watch tells.
        if (event.getType() !== zookeeper.Event.NODE_DELETED) read(name, "Updated")
      },
      (error, data) => {
        if (error) return
        // As the library does: whoever reads members wants their value.
        data.toString("utf8")
        tell(what)
      }
    )
  }
  const list = () => {
    client.getChildren(path, list, (error, children) => {
      if (error) return
      const now = new Set(children)
      for (const name of known) {
        if (now.has(name)) continue
        known.delete(name)
        tell("Left")
      }
      for (const name of children) {
        if (known.has(name)) continue
        known.add(name)
        read(name, "Joined")
      }
    })
  }
  list()
}

const byNumber = (names: ReadonlyArray<string>): ReadonlyArray<string> =>
  names.toSorted((one, other) => Number(one.slice(-10)) - Number(other.slice(-10)))

/** Waits until nobody stands before the node: watches the one before it, and looks again when that is gone. */
const awaitTurn = async (client: Client, line: string, created: string): Promise<void> => {
  const own = created.slice(line.length + 1)
  while (true) {
    const names = byNumber(await called<ReadonlyArray<string>>((done) => client.getChildren(line, done)))
    const ahead = names[names.indexOf(own) - 1]
    if (ahead === undefined) return
    await new Promise<void>((resolve, reject) => {
      client.exists(
        `${line}/${ahead}`,
        () => resolve(),
        (error, stat) => {
          if (error) reject(error)
          else if (stat === null || stat === undefined) resolve()
        }
      )
    })
  }
}

const clearedAtOnce = 64

export const byHand: Way = {
  name: "node-zookeeper-client",
  title: "`node-zookeeper-client` by hand",
  pair: Effect.fnUntraced(function* (place) {
    const writer = yield* connect(place)
    const reader = yield* connect(place)
    const path = `${place.prefix}/members`
    yield* parent(writer, path)
    const held = makeHeld<string>()
    let seen: (what: Seen) => void = () => {}
    follow(reader, path, (what) => seen(what))
    return {
      join: (from, count, atOnce) =>
        Effect.promise(() =>
          forEachAtOnce(from, count, atOnce, async (index) =>
            held.add(index, await create(writer, `${path}/${index}`, valueOf(index)))
          )
        ),
      set: (index, value) =>
        Effect.asVoid(
          Effect.promise(() => called<Stat>((done) => writer.setData(held.get(index), Buffer.from(value), done)))
        ),
      leave: (index) => Effect.promise(() => remove(writer, held.take(index))),
      clear: Effect.promise(() => {
        const nodes = held.takeAll().map(([, node]) => node)
        return forEachAtOnce(0, nodes.length, clearedAtOnce, (at) => remove(writer, nodes[at] ?? ""))
      }),
      onSeen: (to) => {
        seen = to
      }
    }
  }),
  candidate: Effect.fnUntraced(function* (place, _node) {
    const client = yield* connect(place)
    const line = `${place.prefix}/line`
    const lock = `${place.prefix}/lock`
    yield* parent(client, line)
    yield* parent(client, lock)
    const enter = (path: string) => create(client, `${path}/n-`, "", CreateMode.EPHEMERAL_SEQUENTIAL)
    return {
      lead: Effect.acquireRelease(
        Effect.promise(() => enter(line)),
        (node) => Effect.promise(() => remove(client, node))
      ).pipe(Effect.flatMap((node) => Effect.promise(() => awaitTurn(client, line, node)))),
      lock: Effect.promise(async () => {
        const node = await enter(lock)
        await awaitTurn(client, lock, node)
        await remove(client, node)
      })
    }
  })
}
