/** Where everything stands in Consul's key-value store. */
import type { GroupKind, GroupName } from "../../Group.ts"
import type { Entry } from "../../internal/store.ts"

/** A pair as Consul answers. JSON carries its numbers exactly up to 2^53, far above any number of writes. */
export interface Pair {
  readonly Key: string
  /** Base64; `null` when it is empty. */
  readonly Value: string | null
  readonly Session?: string
  readonly CreateIndex: number
  readonly ModifyIndex: number
}

/**
 * The keys of one group. Barriers have the layout that the Go library Waiter reads and writes, `<prefix>/<name>/<member>` with the
 * raw state as the value; all others have their kind in between. The delimiter closes the group's own name, so `svc` never sees `svc-two`.
 */
export const pathOf = (prefix: string, { kind, name }: GroupName): string =>
  kind === "barrier" ? `${prefix}/${name}/` : `${prefix}/${kind}/${name}/`

const kinds: Readonly<Record<GroupKind, true>> = {
  discovery: true,
  election: true,
  lock: true,
  barrier: true,
  sequence: true,
  "barrier-opening": true,
  "sequence-ack": true
}

/** What is wrong with a group's name in this layout: a barrier of a kind's name would take that kind's groups for its members. */
export const problemOf = ({ kind, name }: GroupName): string | undefined =>
  kind === "barrier" && name in kinds
    ? `A barrier cannot be called "${name}" on Consul, where groups of that kind stand. Choose another name`
    : undefined

/** Encoded for a request's path. */
export const encode = (key: string): string => key.split("/").map(encodeURIComponent).join("/")

export const base64Of = (text: string): string => Buffer.from(text, "utf8").toString("base64")

export const valueOf = ({ Value }: Pair): string =>
  Value === null ? "" : Buffer.from(Value, "base64").toString("utf8")

/** A pair as a member. Its token is the index of its creation. */
export const entryOf = (path: string, pair: Pair): Entry => ({
  id: pair.Key.slice(path.length),
  value: valueOf(pair),
  token: BigInt(pair.CreateIndex),
  version: BigInt(pair.ModifyIndex),
  owner: pair.Session === undefined || pair.Session === "" ? undefined : pair.Session
})

/** Whether a pair is a member: the directory marker that Waiter writes, the path itself, is none. */
export const isMember = (path: string, pair: Pair): boolean => pair.Key.length > path.length
