/** Where everything stands in ZooKeeper, and how a node is read as a member. */
import * as Effect from "effect/Effect"
import type { GroupName } from "../../Group.ts"
import type { Entry } from "../../internal/store.ts"
import type { Client } from "./client.ts"
import type { RequestError } from "./errors.ts"
import * as Curator from "./curator.ts"
import type { Data } from "./protocol.ts"
import * as Utf8 from "./utf8.ts"

/**
 * How groups are laid out below the prefix. `ensemble`: `<kind>/<group>`. `reception`: discovery and election share
 * `<group>`, as the Go library of that name has them; everything else stands aside, where it does not look.
 */
export type Layout = "ensemble" | "reception"

/** What is written beside a member's value, in the forms that have a place for it. */
export interface Registration {
  readonly id: string
  /** Wall time in milliseconds. */
  readonly registeredAt: number
}

/** A group's node. Those of `reception` are persistent: its programs create their members without expecting a parent to go. */
export interface GroupNode {
  readonly path: string
  readonly mode: "container" | "persistent"
  /** `protected`: by a guid and a number, never twice ({@link protectedName}). `id`: a name says nothing of who is under it now. */
  readonly names: "protected" | "id"
  readonly encode: (value: string, of: Registration) => Uint8Array
  readonly decode: (data: Uint8Array) => string
}

const plain = {
  names: "protected",
  encode: (value: string) => Utf8.encode(value),
  decode: (data: Uint8Array) => Utf8.decode(data)
} as const

/**
 * A candidate in reception's form: a service without an address, which its programs would pass over if it were no JSON, and
 * so elect another leader than ours.
 */
const candidate = {
  names: "protected",
  encode: (value: string) => Utf8.encode(JSON.stringify({ address: "", port: 0, attributes: { value } })),
  decode: (data: Uint8Array): string => {
    const text = Utf8.decode(data)
    try {
      const read: unknown = JSON.parse(text)
      const attributes = typeof read === "object" && read !== null && "attributes" in read ? read.attributes : undefined
      const value =
        typeof attributes === "object" && attributes !== null && "value" in attributes ? attributes.value : undefined
      return typeof value === "string" ? value : text
    } catch {
      return text
    }
  }
} as const

/** Where everything stands. */
export interface Places {
  readonly prefix: string
  readonly layout: Layout
  /** Where services stand in the form of Apache Curator. */
  readonly curatorBasePath?: string | undefined
}

export const groupNode = ({ curatorBasePath, layout, prefix }: Places, { kind, name }: GroupName): GroupNode => {
  if (kind === "discovery" && curatorBasePath !== undefined) {
    return {
      path: `${curatorBasePath}/${name}`,
      mode: "container",
      names: "id",
      encode: (value, registration) => Curator.encode(value, { service: name, ...registration }),
      decode: Curator.decode
    }
  }
  if (layout === "ensemble") return { path: `${prefix}/${kind}/${name}`, mode: "container", ...plain }
  if (kind === "discovery") return { path: `${prefix}/${name}`, mode: "persistent", ...plain }
  if (kind === "election") return { path: `${prefix}/${name}`, mode: "persistent", ...candidate }
  return { path: `${prefix}/_ensemble/${kind}/${name}`, mode: "container", ...plain }
}

/** What stands before an id and its sequence number in the name of a protected node. */
const protection = /^_c_[0-9A-Za-z]{32}-(.+)-(\d{10})$/

/** What a member's node is called until the server appends the sequence number: found again by the guid when the answer is lost. */
export const protectedName = (guid: string, id: string): string => `_c_${guid}-${id}-`

/**
 * What a name says by itself. A node that another program has named in its own way is a member under that name, and its
 * place in the order is known only to who reads it.
 */
export const parse = (name: string): { readonly id: string; readonly sequence: number | undefined } => {
  const match = protection.exec(name)
  const id = match?.[1]
  return id === undefined ? { id: name, sequence: undefined } : { id, sequence: Number(match?.[2]) }
}

export const idOf = (name: string): string => parse(name).id

/** A session as `zkCli` and the servers' logs write it. */
export const sessionName = (id: bigint): string => `0x${BigInt.asUintN(64, id).toString(16)}`

/** What a container and a node with a time to live have in the place of an owner (`EphemeralType`); a server's id is below 0xff. */
const isNoSession = (bits: bigint): boolean => bits === 0n || bits === 1n << 63n || bits >> 56n === 0xffn

const ownerOf = (ephemeralOwner: bigint): string | undefined =>
  isNoSession(BigInt.asUintN(64, ephemeralOwner)) ? undefined : sessionName(ephemeralOwner)

/** A node as a member. Its token is the transaction that created it; its version is what a write of its data compares. */
export interface Node extends Entry {
  readonly name: string
}

export const nodeOf = (group: GroupNode, name: string, { data, stat }: Data): Node => ({
  name,
  id: idOf(name),
  value: group.decode(data),
  token: stat.czxid,
  version: BigInt(stat.version),
  owner: ownerOf(stat.ephemeralOwner)
})

/**
 * Of several nodes with one id the oldest is the member, since nothing in ZooKeeper keeps the others from being created: whoever
 * made them takes them back.
 */
export const memberAmong = <N extends Pick<Entry, "token">>(nodes: ReadonlyArray<N>): N | undefined =>
  nodes.reduce<N | undefined>(
    (oldest, node) => (oldest === undefined || node.token < oldest.token ? node : oldest),
    undefined
  )

/** The members among a group's nodes. */
export const membersOf = (nodes: ReadonlyArray<Node>): ReadonlyArray<Node> => {
  const oldest = new Map<string, Node>()
  for (const node of nodes) {
    const other = oldest.get(node.id)
    if (other === undefined || node.token < other.token) oldest.set(node.id, node)
  }
  return Array.from(oldest.values())
}

/** The names of a group's nodes, none where there is no group. */
export const namesOf = (
  client: Client,
  path: string
): Effect.Effect<{ readonly names: ReadonlyArray<string>; readonly zxid: bigint }, RequestError> =>
  client.getChildren(path).pipe(
    Effect.map(({ children, zxid }) => ({ names: children, zxid })),
    Effect.catchTag("NoNode", ({ zxid }) => Effect.succeed({ names: [], zxid }))
  )

/** What was found under a name: nothing where the node is gone. `mzxid` is its last change. */
export interface Found {
  readonly node: Node | undefined
  readonly zxid: bigint
  readonly mzxid: bigint
}

/** One node of a group. */
export const nodeAt = (client: Client, group: GroupNode, name: string): Effect.Effect<Found, RequestError> =>
  client.getData(`${group.path}/${name}`).pipe(
    Effect.map((data) => ({ node: nodeOf(group, name, data), zxid: data.zxid, mzxid: data.stat.mzxid })),
    Effect.catchTag("NoNode", ({ zxid }) => Effect.succeed({ node: undefined, zxid, mzxid: zxid }))
  )

/** All nodes of one id. */
export const nodesOf = (
  client: Client,
  group: GroupNode,
  names: ReadonlyArray<string>,
  id: string
): Effect.Effect<ReadonlyArray<Node>, RequestError> =>
  Effect.map(
    Effect.forEach(
      names.filter((name) => idOf(name) === id),
      (name) => nodeAt(client, group, name),
      { concurrency: "unbounded" }
    ),
    (found) => found.flatMap(({ node }) => node ?? [])
  )
