/** The torture on ZooKeeper. Every write is read from the servers' own transaction logs. */
import { Effect, Layer } from "effect"
import { Buffer } from "node:buffer"
import { join } from "node:path"
import * as Client from "../../../src/engines/zookeeper/client.ts"
import * as Connection from "../../../src/engines/zookeeper/connection.ts"
import * as P from "../../../src/engines/zookeeper/protocol.ts"
import { tcp } from "../../../src/engines/zookeeper/transport.ts"
import { label } from "../../../src/Group.ts"
import { ZooKeeper } from "../../../src/zookeeper.ts"
import * as Servers from "../../servers/zookeeper.ts"
import { now } from "../clock.ts"
import type { Engine } from "../engine.ts"
import { draw, Guard } from "../engine.ts"
import type { Orders } from "../protocol.ts"
import { Chief, Keys } from "../roles.ts"
import * as Log from "./zookeeperLog.ts"
import { guarded, prefix, replay, root } from "./zookeeperReplay.ts"

/** Servers grant up to 20 ticks, and the library stops after half of it. */
const tickMillis = 300
const ttlMillis = 20 * tickMillis

/** How far the wall clock is ahead of ours. They go at one rate, so once is enough. */
const wallAhead = (): number => {
  const first = Date.now()
  let wall = first
  while (wall === first) wall = Date.now()
  return wall - now()
}

/**
 * The password of a session, which the servers do not draw but compute (`ZooKeeperServer.generatePasswd`): sixteen bytes of
 * `java.util.Random`, whose seed is the session's id and a constant.
 */
const passwordOf = (session: bigint): Uint8Array => {
  const mask = (1n << 48n) - 1n
  let seed = (session ^ 0xb3415c00n ^ 0x5deece66dn) & mask
  const bytes = Buffer.alloc(16)
  for (let at = 0; at < bytes.length; at += 4) {
    seed = (seed * 0x5deece66dn + 0xbn) & mask
    bytes.writeInt32LE(Number(BigInt.asIntN(32, seed >> 16n)), at)
  }
  return bytes
}

const start: Engine["start"] = Effect.fnUntraced(function* (size) {
  const cluster = yield* Servers.cluster(size, {
    tickMillis,
    // The logs are read while they are written: not 64 MiB of reserved zeros each time.
    javaOptions: ["-Dzookeeper.preAllocSize=256"]
  })
  const { members } = cluster
  const ahead = wallAhead()
  const logs = Log.make(members.map(({ folder }) => join(folder, "data")))
  const forced = new Set<string>()
  const doomed = new Set<bigint>()
  const history = Effect.sync(() => replay(logs(), ahead))

  /** Somebody with zkCli. */
  const admin = <A>(use: (client: Client.Client) => Effect.Effect<A, { readonly message: string }>) =>
    Effect.scoped(
      Effect.gen(function* () {
        const client = yield* Client.make({ endpoints: members, transport: tcp, timeoutMillis: ttlMillis })
        yield* client.attached
        return yield* use(client)
      })
    )

  /** Takes the session over and closes it, as nobody can who does not know its password. */
  const end = (sessionId: bigint) =>
    Effect.scoped(
      Effect.gen(function* () {
        const connection = yield* Connection.open({
          transport: tcp,
          endpoint: yield* cluster.leader,
          handshake: { lastZxidSeen: 0n, timeoutMillis: ttlMillis, sessionId, password: passwordOf(sessionId) },
          connectMillis: 5_000,
          silence: 1,
          requestLimit: Connection.defaultRequestLimit,
          answerLimit: 1_000_000,
          chroot: "",
          onEvent: () => {},
          onEnd: () => {}
        })
        yield* connection.request(P.closeSession)
      })
    )

  const kinds = Array.from(new Set([Chief, ...Keys].map(({ group }) => group.kind)), (kind) => `${guarded}/${kind}`)
  const written = [Chief, ...Keys].map(({ group }) => `${guarded}/${label(group)}`)
  yield* admin((client) =>
    Effect.forEach([root, guarded, ...kinds, ...written], (path) => client.create(path), { discard: true })
  )

  return {
    servers: members,
    leader: cluster.leader,
    isolate: (server) => Effect.suspend(() => cluster.isolate(members.find((one) => one === server) ?? members[0])),
    heal: cluster.heal,
    chronicle: {
      // Whatever anybody was answered is on the disks of a majority.
      caughtUp: Effect.void,
      told: Effect.map(history, ({ revealed, writes }) => ({
        writes: writes.map(({ path, session, ...write }) => ({
          ...write,
          forced: forced.has(path) || doomed.has(session)
        })),
        // One that was created while an older node had its id is a member only since that is gone, after others with higher tokens.
        excuses: ({ events: [, later], name }) =>
          name === "TokenDidNotGrow" && later?._tag === "Stored" && revealed.has(later.token)
      }))
    },
    entries: Effect.map(history, ({ members }) => members),
    left: Effect.map(history, ({ nodes, sessions }) => [
      ...nodes.map(({ path }) => path),
      ...Array.from(sessions, (session) => `session 0x${BigInt.asUintN(64, session).toString(16)}`)
    ]),
    operate: Effect.fnUntraced(function* (fault, dice) {
      const node = draw((yield* history).nodes, dice)
      if (node === undefined) return
      if (fault === "entry deleted") {
        forced.add(node.path)
        yield* admin((client) => client.remove(node.path))
      } else {
        doomed.add(node.session)
        yield* end(node.session)
      }
    })
  }
})

const layer = ({ endpoints, node, requestMillis }: Orders) =>
  Layer.effect(
    Guard,
    Effect.map(ZooKeeper.Transactions, (transactions) => ({
      write: (claim, token, nonce) =>
        transactions.guarded(claim, [ZooKeeper.set(`${guarded}/${label(claim.group)}`, `${token} ${nonce}`)])
    }))
  ).pipe(
    Layer.provideMerge(
      ZooKeeper.layer({ node, endpoints, prefix, ttl: ttlMillis, connect: "background", requestTimeout: requestMillis })
    )
  )

export const engine: Engine = {
  name: "zookeeper",
  root,
  expiryMillis: ttlMillis,
  // An election takes some seconds, in which no session ends; the rest is as on the other stores.
  quietMillis: 40_000,
  goneMillis: 20_000,
  storeFaults: ["session ended", "entry deleted"],
  start,
  layer
}
