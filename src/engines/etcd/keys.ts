/** Where everything stands in etcd: `<prefix>/<kind>/<group>/<member>`. */
import type { GroupName } from "../../Group.ts"
import type { Entry } from "../../internal/store.ts"
import type { Bytes, KeyValue } from "./rpc.ts"

export const bytesOf = (text: string): Bytes => Buffer.from(text, "utf8")

export const textOf = (bytes: Bytes): string =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("utf8")

/**
 * The keys of one group. The delimiter closes the group's own name, so `svc` never sees `svc-two`; the end of the range is the
 * delimiter's successor (`/` is 0x2f, `0` is 0x30).
 */
export interface GroupKeys {
  readonly start: Bytes
  readonly end: Bytes
  readonly member: (id: string) => Bytes
  readonly idOf: (key: Bytes) => string
}

export const groupKeys = (prefix: string, name: GroupName): GroupKeys => {
  const path = `${prefix}/${name.kind}/${name.name}`
  const start = bytesOf(`${path}/`)
  return {
    start,
    end: bytesOf(`${path}0`),
    member: (id) => bytesOf(`${path}/${id}`),
    idOf: (key) => textOf(key.subarray(start.byteLength))
  }
}

/** Everything that this prefix holds. */
export const prefixRange = (prefix: string): { readonly key: Bytes; readonly range_end: Bytes } => ({
  key: bytesOf(`${prefix}/`),
  range_end: bytesOf(`${prefix}0`)
})

/** A key and its value as a member. Its token is the revision of its creation; lease 0 means none. */
export const entryOf = (keys: GroupKeys, kv: KeyValue): Entry => ({
  id: keys.idOf(kv.key),
  value: textOf(kv.value),
  token: BigInt(kv.create_revision),
  version: BigInt(kv.mod_revision),
  owner: kv.lease === "0" ? undefined : kv.lease
})
