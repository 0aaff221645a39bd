/** Instances as Consul's catalog holds them. */
import type { Entry } from "../../internal/store.ts"

/** A service of the health endpoint, as far as it is read. */
export interface Listed {
  readonly Node: { readonly Node: string; readonly Address: string }
  readonly Service: {
    readonly ID: string
    readonly Address: string
    readonly Port: number
    readonly Tags: ReadonlyArray<string> | null
    readonly Meta: Readonly<Record<string, string>> | null
    readonly CreateIndex: number
    readonly ModifyIndex: number
  }
  readonly Checks: ReadonlyArray<{ readonly Status: string }> | null
}

/** An instance as the recipe writes it. */
export interface Instance {
  readonly address: string
  readonly port: number
  readonly attributes: Readonly<Record<string, string>>
}

/** What the engine writes beside the attributes. No attribute begins with it. */
const own = "ensemble-"
const idKey = `${own}id`
const sessionKey = `${own}session`

/** Consul's limits for the metadata of a service. Attributes beyond them stand in the tag only. */
const pairs = 64
const keyShape = /^(?!consul-|ensemble-)[A-Za-z0-9_-]{1,128}$/
const valueLength = 512

/** A service's id is unique on its agent, whatever its service: without the name, one process could register for one service only. */
export const serviceIdOf = (service: string, id: string): string => `${service}:${id}`

const isText = (value: unknown): value is string => typeof value === "string"

const isTexts = (value: unknown): value is Readonly<Record<string, string>> =>
  typeof value === "object" && value !== null && !Array.isArray(value) && Object.values(value).every(isText)

const parse = (json: string): unknown => {
  try {
    return JSON.parse(json)
  } catch {
    return undefined
  }
}

/** Reads an entry's value, or nothing where it is none that the catalog can hold. */
export const instanceOf = (value: string): Instance | undefined => {
  const { address, attributes, port } = (parse(value) ?? {}) as Partial<Instance>
  if (!isText(address) || address === "" || typeof port !== "number" || !isTexts(attributes)) return undefined
  return { address, port, attributes }
}

/** What is registered, the check aside. */
export const registrationOf = (
  service: string,
  id: string,
  session: string,
  { address, attributes, port }: Instance
): Readonly<Record<string, unknown>> => {
  const known = Object.entries(attributes).filter(([key, value]) => keyShape.test(key) && value.length <= valueLength)
  return {
    ID: serviceIdOf(service, id),
    Name: service,
    Address: address,
    Port: port,
    // The Go library reception writes and reads exactly this tag.
    Tags: [JSON.stringify(attributes)],
    Meta: { ...Object.fromEntries(known.slice(0, pairs - 2)), [idKey]: id, [sessionKey]: session }
  }
}

/** The session that keeps an instance, where it is one of ours. */
export const ownerOf = (meta: Readonly<Record<string, string>> | null | undefined): string | undefined =>
  meta?.[sessionKey]

/** Those of the tag that reception writes, which is `null` for none; of other programs the metadata. */
const attributesOf = ({ Meta, Tags }: Listed["Service"]): Readonly<Record<string, string>> => {
  const tagged = parse(Tags?.[0] ?? "")
  if (tagged === null) return {}
  if (isTexts(tagged)) return tagged
  return Object.fromEntries(Object.entries(Meta ?? {}).filter(([key]) => !key.startsWith(own)))
}

export const isCritical = ({ Checks }: Listed): boolean => (Checks ?? []).some(({ Status }) => Status === "critical")

const ordered = (a: Listed, b: Listed): number =>
  a.Service.CreateIndex - b.Service.CreateIndex ||
  (a.Node.Node < b.Node.Node ? -1 : a.Node.Node > b.Node.Node ? 1 : a.Service.ID < b.Service.ID ? -1 : 1)

const entryOf = (id: string, { Node, Service }: Listed): Entry => ({
  id,
  value: JSON.stringify({
    address: Service.Address === "" ? Node.Address : Service.Address,
    port: Service.Port,
    attributes: attributesOf(Service)
  }),
  token: BigInt(Service.CreateIndex),
  version: BigInt(Service.ModifyIndex),
  owner: ownerOf(Service.Meta)
})

/**
 * The instances of a service as members, in the order of their creation. Ids are unique on each agent only: of several
 * with one id the first has it, the others are named with their node too.
 */
export const entriesOf = (listed: ReadonlyArray<Listed>): ReadonlyArray<Entry> => {
  const taken = new Set<string>()
  return Array.from(listed)
    .sort(ordered)
    .map((each) => {
      const bare = each.Service.Meta?.[idKey] ?? each.Service.ID
      const id = taken.has(bare) ? `${bare}@${each.Node.Node}` : bare
      taken.add(id)
      return entryOf(id, each)
    })
}
