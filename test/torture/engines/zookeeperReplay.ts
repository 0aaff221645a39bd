/** What came of ZooKeeper's transactions: the members of all groups, and every change of them. */
import type { Write } from "../chronicle.ts"
import type { Entry } from "../engine.ts"
import type { Transaction } from "./zookeeperLog.ts"

export const root = "/torture"
export const prefix = `${root}/engine`
export const guarded = `${root}/guarded`

interface Node extends Entry {
  readonly path: string
  readonly session: bigint
}

const member = /^_c_[0-9A-Za-z]{32}-(.+)-\d{10}$/

/** `<prefix>/<kind>/<name>/_c_<guid>-<id>-<sequence>` of a path. */
const placeOf = (path: string): { readonly group: string; readonly id: string } | undefined => {
  if (!path.startsWith(`${prefix}/`)) return undefined
  const [kind, name, node = ""] = path.slice(prefix.length + 1).split("/")
  const id = member.exec(node)?.[1]
  return id === undefined ? undefined : { group: `${kind}/${name}`, id }
}

/** What came of transactions: the tree as far as members go, and every change of a member. */
export const replay = (transactions: ReadonlyArray<Transaction>, ahead: number) => {
  const writes: Array<Omit<Write, "forced"> & Pick<Node, "path" | "session">> = []
  const nodes = new Map<string, Node>()
  const sessions = new Set<bigint>()
  const shown = new Map<string, Node>()
  const revealed = new Set<bigint>()
  for (const { changes, session, wallMillis, zxid: revision } of transactions) {
    // Its millisecond may have been any part of it.
    const stamp = { at: wallMillis + 1 - ahead, epoch: 0, revision }
    const touched: Array<Pick<Node, "group" | "id">> = []
    const remove = (path: string) => {
      const node = nodes.get(path)
      if (node === undefined) return
      nodes.delete(path)
      touched.push(node)
    }
    for (const change of changes) {
      if (change._tag === "Opened") sessions.add(session)
      if (change._tag === "Closed") {
        sessions.delete(session)
        for (const node of Array.from(nodes.values())) if (node.session === session) remove(node.path)
      }
      if (change._tag === "Delete") remove(change.path)
      if (change._tag !== "Put") continue
      const { data: value, isNew, path } = change
      const place = placeOf(path)
      if (place !== undefined) {
        const before = isNew ? { token: revision, session } : nodes.get(path)
        if (before === undefined) continue
        nodes.set(path, { ...place, path, token: before.token, session: before.session, value })
        touched.push(place)
      } else if (path.startsWith(`${guarded}/`) && !isNew) {
        const [token = "0", id = ""] = value.split(" ")
        const group = path.slice(guarded.length + 1)
        writes.push({ ...stamp, of: "guarded", group, id, token: BigInt(token), value: "", path, session })
      }
    }
    for (const { group, id } of touched) {
      const key = `${group} ${id}`
      const before = shown.get(key)
      // Of several nodes with one id the oldest is the member.
      const [after] = Array.from(nodes.values())
        .filter((node) => node.group === group && node.id === id)
        .sort((a, b) => (a.token < b.token ? -1 : 1))
      if (before?.token === after?.token && before?.value === after?.value) continue
      if (before !== undefined && before.token !== after?.token) {
        const { path, session, token } = before
        writes.push({ ...stamp, of: "entry", group, id, token, path, session, value: undefined })
        shown.delete(key)
      }
      if (after === undefined) continue
      if (after.token !== before?.token && after.token !== revision) revealed.add(after.token)
      writes.push({ ...stamp, of: "entry", ...after })
      shown.set(key, after)
    }
  }
  return { writes, members: Array.from(shown.values()), nodes: Array.from(nodes.values()), sessions, revealed }
}
