/**
 * Instances in the form of Apache Curator's service discovery, as its `JsonInstanceSerializer` writes and reads them: what
 * stands in a node is a `ServiceInstance`, and the node has the instance's id as its name.
 *
 * A payload is an instance of a Java class. With a text under `@class` it is one of that class, without it a map, and `null`
 * is one of every class: readers cast it to theirs and fail at others.
 */
import * as Utf8 from "./utf8.ts"

export interface Registration {
  readonly service: string
  readonly id: string
  /** Wall time in milliseconds. */
  readonly registeredAt: number
}

type Fields = Readonly<Record<string, unknown>>

const isFields = (value: unknown): value is Fields =>
  typeof value === "object" && value !== null && !Array.isArray(value)

const parse = (text: string): Fields | undefined => {
  try {
    const parsed: unknown = JSON.parse(text)
    return isFields(parsed) ? parsed : undefined
  } catch {
    return undefined
  }
}

/**
 * Makes a `ServiceInstance` of an instance as `Discovery` writes it. What is none stays as it is.
 *
 * `enabled` is left out, as by Curator's own serializer unless told otherwise: readers before it was there (CURATOR-275) fail at
 * fields that they do not know, and take nothing for `true`.
 */
export const encode = (value: string, { id, registeredAt, service }: Registration): Uint8Array => {
  const { address, attributes, port } = parse(value) ?? {}
  if (typeof address !== "string" || typeof port !== "number") return Utf8.encode(value)
  return Utf8.encode(
    JSON.stringify({
      name: service,
      id,
      address,
      port,
      sslPort: null,
      payload: isFields(attributes) && Object.keys(attributes).length > 0 ? attributes : null,
      registrationTimeUTC: registeredAt,
      serviceType: "DYNAMIC",
      uriSpec: null
    })
  )
}

const textOf = (value: unknown): string => (typeof value === "string" ? value : JSON.stringify(value))

/** Attributes are a flat record of texts: what is no text becomes its JSON, and a payload without fields is one by itself. */
const attributesOf = (payload: unknown): Readonly<Record<string, string>> => {
  if (payload === null || payload === undefined) return {}
  if (!isFields(payload)) return { payload: textOf(payload) }
  return Object.fromEntries(
    Object.entries(payload).flatMap(([key, value]) => (value === null ? [] : [[key, textOf(value)]]))
  )
}

/** In the place of an instance that must not be used: no definition decodes it, so that it is shown beside the good ones. */
const disabled = JSON.stringify("The instance is registered and not enabled")

/** The instance as `Discovery` reads it. What is no `ServiceInstance` stays as it is. */
export const decode = (data: Uint8Array): string => {
  const text = Utf8.decode(data)
  const instance = parse(text)
  if (instance === undefined || typeof instance["name"] !== "string" || typeof instance["id"] !== "string") return text
  const { address, enabled, payload, port, sslPort } = instance
  if (enabled === false) return disabled
  // Fields that are absent are so in what is read too: which of them a definition needs is its own matter.
  return JSON.stringify({
    address: address ?? undefined,
    port: port ?? sslPort ?? undefined,
    attributes: attributesOf(payload)
  })
}
