/** The torture on Consul. States of the groups are told by blocking queries to each server, asked by hand. */
import { Effect, Layer } from "effect"
import { Buffer } from "node:buffer"
import { Consul } from "../../../src/consul.ts"
import { label } from "../../../src/Group.ts"
import * as Servers from "../../servers/consul.ts"
import { demand } from "../../servers/consul.ts"
import type { Write } from "../chronicle.ts"
import type { Engine } from "../engine.ts"
import { draw, Guard } from "../engine.ts"
import type { Orders } from "../protocol.ts"
import { Api, Chief, Keys, Workers } from "../roles.ts"
import type { Group, Held, States } from "./consulStates.ts"
import * as Follow from "./consulStates.ts"

/** Consul's own floor is twice as much; the servers of a run have a lower one. */
const ttlMillis = 5_000

const root = "torture"
const prefix = `${root}/engine`
const guarded = `${root}/guarded`

interface Pair {
  readonly Key: string
  readonly Value: string | null
  readonly Session?: string
  readonly CreateIndex: number
  readonly ModifyIndex: number
}

interface Listed {
  readonly Service: {
    readonly ID: string
    readonly Address: string
    readonly Port: number
    readonly Tags: readonly [string]
    readonly Meta: Readonly<Record<string, string>>
    readonly CreateIndex: number
  }
  readonly Checks: ReadonlyArray<{ readonly Status: string }>
}

const pairsOf = (text: string) => (text === "" ? [] : (JSON.parse(text) as ReadonlyArray<Pair>))

const textOf = ({ Value }: Pair): string => Buffer.from(Value ?? "", "base64").toString("utf8")

const keysOf = (group: string): Group => ({
  label: group,
  path: `/kv/${prefix}/${group}/?recurse`,
  read: (text) =>
    pairsOf(text).map((pair) => ({
      group,
      id: pair.Key.slice(`${prefix}/${group}/`.length),
      token: BigInt(pair.CreateIndex),
      value: textOf(pair),
      session: pair.Session,
      modified: BigInt(pair.ModifyIndex)
    }))
})

/** Instances are services of the catalog, there for others while nothing says that they are ill. */
const api: Group = {
  label: label(Api.group),
  path: `/health/service/${Api.name}?dc=dc1`,
  read: (text) =>
    (JSON.parse(text) as ReadonlyArray<Listed>)
      .filter(({ Checks }) => Checks.every(({ Status }) => Status !== "critical"))
      .map(({ Service: { Address, CreateIndex, Meta, Port, Tags } }) => ({
        group: label(Api.group),
        id: Meta["ensemble-id"] ?? "",
        token: BigInt(CreateIndex),
        value: JSON.stringify({ address: Address, port: Port, attributes: JSON.parse(Tags[0]) as unknown }),
        session: Meta["ensemble-session"]
      }))
}

const groups: ReadonlyArray<Group> = [api, ...[Chief, ...Keys, Workers].map(({ group }) => keysOf(label(group)))]

const start: Engine["start"] = Effect.fnUntraced(function* (size) {
  const cluster = yield* Servers.cluster(size, {
    // Its own is a factor of five, for slow machines.
    settings: { performance: { raft_multiplier: 1 } }
  })
  const { members } = cluster
  const asks = members.map(({ ask }) => ask)
  /** Of the first server that a majority answers by. */
  const asked: Servers.Ask = (method, path, body) =>
    asks.map((ask) => demand(ask)(method, path, body)).reduce((first, next) => Effect.catch(first, () => next))
  const states = new Map<string, States>()
  for (const group of groups) states.set(group.label, yield* Follow.follow(group, asks))
  const forced = new Set<string>()
  const doomed = new Set<string>()
  const nameOf = ({ group, id, token }: Pick<Held, "group" | "id" | "token">) => `${group} ${id} ${token}`

  const held = Effect.map(
    Effect.forEach(Array.from(states.values()), ({ now }) => now, { concurrency: "unbounded" }),
    (all) => all.flat()
  )
  const isVague = (group: string, revision: bigint) => states.get(group)?.isVague(revision) ?? false

  return {
    servers: members,
    leader: cluster.leader,
    isolate: (server) => Effect.suspend(() => cluster.isolate(members.find((one) => one === server) ?? members[0])),
    heal: cluster.heal,
    chronicle: {
      caughtUp: Effect.asVoid(held),
      told: Effect.gen(function* () {
        const entries = Array.from(states.values(), (one) => Follow.writesOf(one.states()))
          .flat()
          .map(({ session, ...write }) => ({
            ...write,
            forced: forced.has(nameOf(write)) || (session !== undefined && doomed.has(session))
          }))
        const pairs = pairsOf(
          (yield* asks[0]?.("GET", `/kv/${guarded}/?recurse&consistent`) ?? Effect.die("none")).text
        )
        // Each has a key of its own, so that none hides another.
        const guardedWrites = pairs.flatMap((pair): ReadonlyArray<Write> => {
          const [kind, name, id = ""] = pair.Key.slice(guarded.length + 1).split("/")
          const token = BigInt(textOf(pair))
          return Array.from(new Set([pair.CreateIndex, pair.ModifyIndex]), (index) => ({
            at: Infinity,
            epoch: 0,
            revision: BigInt(index),
            of: "guarded",
            group: `${kind}/${name}`,
            id,
            token,
            value: "",
            forced: false
          }))
        })
        const writes = [...entries, ...guardedWrites].sort((a, b) =>
          a.revision < b.revision ? -1 : a.revision > b.revision ? 1 : 0
        )
        return {
          writes,
          isVague,
          excuses: ({ events: [event], name }) => {
            // A service keeps its number when it is registered again or well again: it is an order there, and no fence.
            if (name === "TokenDidNotGrow") return event?._tag === "Stored" && event.group === api.label
            return name === "ViewIsWrong" && event?._tag === "Viewed" && isVague(event.group, event.revision)
          }
        }
      })
    },
    entries: held,
    left: Effect.gen(function* () {
      const keys = pairsOf((yield* cluster.ask("GET", `/kv/${prefix}/?recurse&consistent`)).text)
      const sessions = JSON.parse((yield* asked("GET", "/session/list?consistent")).text) as ReadonlyArray<{
        readonly ID: string
      }>
      const services = JSON.parse(
        (yield* asked("GET", `/catalog/service/${Api.name}?consistent`)).text
      ) as ReadonlyArray<{
        readonly ServiceID: string
      }>
      return [
        ...keys.map(({ Key }) => Key),
        ...sessions.map(({ ID }) => `session ${ID}`),
        ...services.map(({ ServiceID }) => `service ${ServiceID}`)
      ]
    }),
    operate: Effect.fnUntraced(function* (fault, dice) {
      const one = draw(yield* held, dice)
      if (one === undefined) return
      if (fault === "session ended") {
        if (one.session === undefined) return
        doomed.add(one.session)
        yield* asked("PUT", `/session/destroy/${one.session}`)
        return
      }
      forced.add(nameOf(one))
      if (one.group !== api.label) {
        yield* asked("DELETE", `/kv/${prefix}/${one.group}/${one.id}`)
        return
      }
      // Only its own agent knows it; the others say that they do not.
      const path = `/agent/service/deregister/${Api.name}:${one.id}`
      yield* Effect.forEach(asks, (ask) => ask("PUT", path), { concurrency: "unbounded" })
    })
  }
})

const layer = ({ endpoints, node, requestMillis }: Orders) =>
  Layer.effect(
    Guard,
    Effect.map(Consul.Transactions, (transactions) => ({
      write: (claim, token, nonce) =>
        transactions.guarded(claim, [Consul.put(`${guarded}/${label(claim.group)}/${nonce}`, String(token))])
    }))
  ).pipe(
    Layer.provideMerge(
      Consul.layer({
        node,
        endpoints: endpoints.map((address) => `http://${address}`),
        prefix,
        ttl: ttlMillis,
        minimumTtl: 1_000,
        connect: "background",
        requestTimeout: requestMillis
      })
    )
  )

export const engine: Engine = {
  name: "consul",
  root,
  // Its servers wait for twice the TTL.
  expiryMillis: 2 * ttlMillis,
  // Sessions of the dead end within two TTLs, and begin anew when another server leads; and an agent that could not tell the
  // catalog what it knows waits for a quarter of a minute and more before it tries again.
  quietMillis: 60_000,
  goneMillis: 30_000,
  storeFaults: ["session ended", "entry deleted"],
  start,
  layer
}
