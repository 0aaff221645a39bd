/** What etcd itself tells of a run: every write under a root, as its members' own watches deliver it. */
import { Effect, Schedule } from "effect"
import { Buffer } from "node:buffer"
import * as http from "node:http"
import type { Gateway, GatewayError, KeyValue, Member } from "../../servers/etcd.ts"
import { until } from "../../servers/until.ts"
import type { Chronicle, Restore, Told, Write } from "../chronicle.ts"
import { now } from "../clock.ts"
import type { Entry } from "../engine.ts"

export const prefixOf = (root: string): string => `${root}/engine`

/** Where holders of a group write under guard, and what: `<token> <nonce>`. */
export const guardedKey = (root: string, group: string): string => `${root}/guarded/${group}`

export const guardedValue = (token: bigint, nonce: string): string => `${token} ${nonce}`

/** `<prefix>/<kind>/<name>/<id>` of a key. Other keys are nobody's place. */
export const placeOf = (root: string, key: string): Pick<Entry, "group" | "id"> | undefined => {
  const prefix = `${prefixOf(root)}/`
  if (!key.startsWith(prefix)) return undefined
  const [kind, name, ...id] = key.slice(prefix.length).split("/")
  return kind === undefined || name === undefined || id.length === 0
    ? undefined
    : { group: `${kind}/${name}`, id: id.join("/") }
}

export const membersOf = (root: string, entries: ReadonlyArray<KeyValue>): ReadonlyArray<Entry> =>
  entries.flatMap(({ createRevision: token, key, value }) => {
    const place = placeOf(root, key)
    return place === undefined ? [] : [{ ...place, token, value }]
  })

export interface EtcdChronicle extends Chronicle {
  /** Compaction is safe after that: answers with the last revision that is here. */
  readonly caughtUp: Effect.Effect<bigint, GatewayError>
  readonly told: Effect.Effect<Told>
  /** Runs what an operator does and answers with the revision that it made. */
  readonly operator: <E>(act: Effect.Effect<bigint, E>) => Effect.Effect<bigint, E>
  /** From now on, what goes with this lease goes because an operator revokes it. */
  readonly doomUnsafe: (lease: bigint) => void
  /** Runs a restore of the store: nothing is heard meanwhile. */
  readonly restored: <E>(restore: Effect.Effect<void, E>) => Effect.Effect<void, E | GatewayError>
}

interface Line {
  readonly result?: {
    readonly events?: ReadonlyArray<{
      readonly type?: "PUT" | "DELETE"
      readonly kv: {
        readonly key: string
        readonly value?: string
        readonly create_revision: string
        readonly mod_revision: string
        readonly lease?: string
      }
    }>
  }
}

const encode = (text: string) => Buffer.from(text, "utf8").toString("base64")
const decode = (base64: string | undefined) => Buffer.from(base64 ?? "", "base64").toString("utf8")

/** One watch by the JSON gateway: a line for each answer. Ends when the member does. */
const watch = (url: string, create: object, onLine: (line: Line) => void): Effect.Effect<void> =>
  Effect.callback((resume) => {
    const request = http.request(`${url}/v3/watch`, { method: "POST", agent: false })
    const end = () => {
      request.destroy()
      resume(Effect.void)
    }
    request.once("error", end)
    request.once("response", (answer) => {
      let text = ""
      answer.setEncoding("utf8")
      answer.once("error", end)
      answer.once("end", end)
      answer.on("data", (chunk: string) => {
        text += chunk
        const lines = text.split("\n")
        text = lines.pop() ?? ""
        for (const line of lines) onLine(JSON.parse(line) as Line)
      })
    })
    request.end(JSON.stringify({ create_request: create }))
    return Effect.sync(() => request.destroy())
  })

export const make = Effect.fnUntraced(function* (
  etcd: { readonly members: ReadonlyArray<Member>; readonly gateway: Gateway },
  root: string
) {
  const writes: Array<Omit<Write, "forced"> & { readonly lease: string }> = []
  const restores: Array<Restore> = []
  const forced = new Set<bigint>()
  const doomed = new Set<string>()
  const held = new Map<string, { readonly token: bigint; readonly lease: string }>()
  const guarded = guardedKey(root, "")
  let epoch = 0
  // All members tell the same: what one of them has told the others tell in vain, and where one has stopped another goes on.
  let reached = yield* etcd.gateway.revision
  let listening = true

  const hear = (of: number) => (line: Line) => {
    if (of !== epoch) return
    const at = now()
    const before = reached
    for (const { kv, type } of line.result?.events ?? []) {
      const revision = BigInt(kv.mod_revision)
      // An answer carries whole revisions, so one that is not newer than what was known before it is known whole.
      if (revision <= before) continue
      if (revision > reached) reached = revision
      const key = decode(kv.key)
      const stamp = { at, epoch, revision }
      const place = placeOf(root, key)
      if (place !== undefined) {
        const gone = type === "DELETE"
        const entry = gone
          ? (held.get(key) ?? { token: 0n, lease: "0" })
          : { token: BigInt(kv.create_revision), lease: kv.lease ?? "0" }
        if (gone) held.delete(key)
        else held.set(key, entry)
        writes.push({ ...stamp, of: "entry", ...place, ...entry, value: gone ? undefined : decode(kv.value) })
      } else if (key.startsWith(guarded) && type !== "DELETE") {
        const [token = "0", id = ""] = decode(kv.value).split(" ")
        const group = key.slice(guarded.length)
        writes.push({ ...stamp, of: "guarded", group, id, token: BigInt(token), lease: "0", value: "" })
      }
    }
  }

  const follow = (member: Member) =>
    Effect.suspend(() => {
      if (!listening) return Effect.void
      const range = { key: encode(`${root}/`), range_end: encode(`${root}0`) }
      return watch(member.clientUrl, { ...range, start_revision: String(reached + 1n) }, hear(epoch))
    }).pipe(Effect.repeat(Schedule.spaced("50 millis")))
  for (const member of etcd.members) yield* Effect.forkScoped(follow(member))

  const caughtUp = Effect.gen(function* () {
    const revision = yield* etcd.gateway.put(`${root}/~`, "")
    yield* until(
      Effect.suspend(() => (reached >= revision ? Effect.void : Effect.fail("behind"))),
      { within: "30 seconds" }
    ).pipe(Effect.catch((state) => Effect.die(new Error(`the chronicle is ${state}`))))
    return revision
  })

  const self: EtcdChronicle = {
    caughtUp,
    told: Effect.sync(() => ({
      writes: writes.map(({ lease, ...write }) => ({
        ...write,
        forced: forced.has(write.revision) || doomed.has(lease)
      })),
      restores
    })),
    operator: (act) => Effect.tap(act, (revision) => Effect.sync(() => forced.add(revision))),
    doomUnsafe: (lease) => void doomed.add(String(lease)),
    restored: Effect.fnUntraced(function* (restore) {
      yield* caughtUp
      listening = false
      epoch++
      const at = now()
      yield* restore
      const { entries, revision } = yield* etcd.gateway.range(`${root}/`)
      held.clear()
      for (const { createRevision: token, key, lease } of entries) held.set(key, { token, lease: String(lease) })
      restores.push({ at, epoch, revision, entries: membersOf(root, entries) })
      reached = revision
      listening = true
    })
  }
  return self
})
