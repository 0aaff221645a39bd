/** Where everything stands in ZooKeeper, and how a node is read as a member. */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type { GroupName } from "../../Group.ts"
import type { Entry } from "../../internal/store.ts"
import type { Answered, Client } from "./client.ts"
import type { RequestError } from "./errors.ts"
import * as Curator from "./curator.ts"
import type { GiveUp } from "./exchange.ts"
import * as P from "./protocol.ts"
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

/** A protected name is `_c_`, a guid of 32 letters and digits, `-`, the id, `-`, and a sequence number of 10 digits. */
const guidAt = 3
const idAt = guidAt + 32 + 1
const digits = 10

const dash = 0x2d

const isDigit = (code: number): boolean => code >= 0x30 && code <= 0x39

const isLetter = (code: number): boolean => (code >= 0x41 && code <= 0x5a) || (code >= 0x61 && code <= 0x7a)

/** Where a protected name's id ends, -1 for any other name. By hand: a list of thousands is looked through for each new member. */
const endOfId = (name: string): number => {
  const end = name.length - digits - 1
  if (end <= idAt || !name.startsWith("_c_")) return -1
  if (name.charCodeAt(idAt - 1) !== dash || name.charCodeAt(end) !== dash) return -1
  for (let at = end + 1; at < name.length; at++) if (!isDigit(name.charCodeAt(at))) return -1
  for (let at = guidAt; at < idAt - 1; at++) {
    const code = name.charCodeAt(at)
    if (!isDigit(code) && !isLetter(code)) return -1
  }
  return end
}

/** What a member's node is called until the server appends the sequence number: found again by the guid when the answer is lost. */
export const protectedName = (guid: string, id: string): string => `_c_${guid}-${id}-`

/**
 * What a name says by itself. A node that another program has named in its own way is a member under that name, and its
 * place in the order is known only to who reads it.
 */
export const parse = (name: string): { readonly id: string; readonly sequence: number | undefined } => {
  const end = endOfId(name)
  return end < 0
    ? { id: name, sequence: undefined }
    : { id: name.slice(idAt, end), sequence: Number(name.slice(end + 1)) }
}

export const idOf = (name: string): string => {
  const end = endOfId(name)
  return end < 0 ? name : name.slice(idAt, end)
}

/** A session as `zkCli` and the servers' logs write it. */
export const sessionName = (id: bigint): string => `0x${BigInt.asUintN(64, id).toString(16)}`

/** What a container and a node with a time to live have in the place of an owner (`EphemeralType`); a server's id is below 0xff. */
const isNoSession = (bits: bigint): boolean => bits === 0n || bits === 1n << 63n || bits >> 56n === 0xffn

export const ownerOf = (ephemeralOwner: bigint): string | undefined =>
  isNoSession(BigInt.asUintN(64, ephemeralOwner)) ? undefined : sessionName(ephemeralOwner)

/** A node as a member. Its token is the transaction that created it; its version is what a write of its data compares. */
export interface Node extends Entry {
  readonly name: string
}

export const nodeOf = (group: GroupNode, name: string, { data, stat }: P.Data): Node => ({
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
  nodes.length === 1
    ? nodes[0]
    : nodes.reduce<N | undefined>(
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
export interface Names {
  readonly names: ReadonlyArray<string>
  readonly zxid: bigint
}

export const namesOfUnsafe = (client: Client, path: string, answered: Answered<Names>): GiveUp =>
  client.requestUnsafe(P.getChildren(path, false), (answer) => {
    if (answer._tag === "Success") {
      answered(Result.succeed({ names: answer.success.children, zxid: answer.success.zxid }))
    } else if (answer.failure._tag === "NoNode") answered(Result.succeed({ names: [], zxid: answer.failure.zxid }))
    else answered(Result.fail(answer.failure))
  })

export const namesOf = (client: Client, path: string): Effect.Effect<Names, RequestError> =>
  Effect.callback((resume) => Effect.sync(namesOfUnsafe(client, path, (answer) => resume(Effect.fromResult(answer)))))

/** What was found under a name: nothing where the node is gone. `mzxid` is its last change. */
export interface Found {
  readonly node: Node | undefined
  readonly zxid: bigint
  readonly mzxid: bigint
}

/** What the answer to a read of a node says of it. */
export const found = (
  group: GroupNode,
  name: string,
  answer: Result.Result<P.Data, RequestError>
): Result.Result<Found, RequestError> => {
  if (answer._tag === "Success") {
    const { stat, zxid } = answer.success
    return Result.succeed({ node: nodeOf(group, name, answer.success), zxid, mzxid: stat.mzxid })
  }
  const { failure } = answer
  return failure._tag === "NoNode"
    ? Result.succeed({ node: undefined, zxid: failure.zxid, mzxid: failure.zxid })
    : Result.fail(failure)
}

/** One node of a group. */
export const nodeAtUnsafe = (client: Client, group: GroupNode, name: string, answered: Answered<Found>): GiveUp =>
  client.requestUnsafe(P.getData(`${group.path}/${name}`, false), (answer) => answered(found(group, name, answer)))

export const nodeAt = (client: Client, group: GroupNode, name: string): Effect.Effect<Found, RequestError> =>
  Effect.callback((resume) =>
    Effect.sync(nodeAtUnsafe(client, group, name, (answer) => resume(Effect.fromResult(answer))))
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
    (all) => all.flatMap(({ node }) => node ?? [])
  )
