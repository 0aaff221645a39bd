/** What etcd itself tells of a run: every write under a prefix, as its members' own watches deliver it. */
import { Effect, Schedule } from "effect"
import { Buffer } from "node:buffer"
import * as http from "node:http"
import type { Gateway, GatewayError, Member } from "../servers/etcd.ts"
import { until } from "../servers/until.ts"
import { now } from "./clock.ts"

/** A key as one transaction left it. `value` is undefined where the key was deleted. */
export interface Write {
  readonly at: number
  readonly epoch: number
  readonly revision: bigint
  readonly key: string
  readonly value: string | undefined
  /** The revision of the key's creation. */
  readonly token: bigint
  readonly lease: string
}

/** The store was put back: from here on it has these keys, and revisions begin anew. */
export interface Restore {
  readonly at: number
  readonly epoch: number
  readonly revision: bigint
  readonly entries: ReadonlyArray<{ readonly key: string; readonly value: string; readonly token: bigint }>
}

export interface Chronicle {
  readonly writes: ReadonlyArray<Write>
  readonly restores: ReadonlyArray<Restore>
  /** Whether an operator made this write. */
  readonly isForced: (write: Write) => boolean
  /** Waits until all that has been written so far is here. Compaction is safe after that. */
  readonly caughtUp: Effect.Effect<bigint, GatewayError>
  /** Runs what an operator does and answers with the revision that it made. */
  readonly operator: <E>(act: Effect.Effect<bigint, E>) => Effect.Effect<bigint, E>
  /** From now on, what goes with this lease goes because an operator revokes it. */
  readonly doomUnsafe: (lease: bigint) => void
  /** Runs a restore of the store: nothing is heard meanwhile. */
  readonly restored: <E>(restore: Effect.Effect<void, E>) => Effect.Effect<void, E | GatewayError>
}

interface Event {
  readonly type?: "PUT" | "DELETE"
  readonly kv: {
    readonly key: string
    readonly value?: string
    readonly create_revision: string
    mod_revision: string
    readonly lease?: string
  }
}

interface Line {
  readonly result?: { readonly events?: ReadonlyArray<Event> }
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
  const writes: Array<Write> = []
  const restores: Array<Restore> = []
  const forced = new Set<bigint>()
  const doomed = new Set<string>()
  const tokens = new Map<string, { readonly token: bigint; readonly lease: string }>()
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
      const key = decode(kv.key)
      if (type === "DELETE") {
        const { lease, token } = tokens.get(key) ?? { lease: "0", token: 0n }
        writes.push({ at, epoch, revision, key, value: undefined, token, lease })
        tokens.delete(key)
      } else {
        const token = BigInt(kv.create_revision)
        const lease = kv.lease ?? "0"
        tokens.set(key, { token, lease })
        writes.push({ at, epoch, revision, key, value: decode(kv.value), token, lease })
      }
      if (revision > reached) reached = revision
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

  const self: Chronicle = {
    writes,
    restores,
    isForced: ({ lease, revision }) => forced.has(revision) || doomed.has(lease),
    doomUnsafe: (lease) => void doomed.add(String(lease)),
    caughtUp,
    operator: (act) => Effect.tap(act, (revision) => Effect.sync(() => forced.add(revision))),
    restored: Effect.fnUntraced(function* (restore) {
      yield* caughtUp
      listening = false
      epoch++
      const at = now()
      yield* restore
      const { entries, revision } = yield* etcd.gateway.range(`${root}/`)
      tokens.clear()
      for (const { createRevision, key, lease } of entries) {
        tokens.set(key, { token: createRevision, lease: String(lease) })
      }
      restores.push({
        at,
        epoch,
        revision,
        entries: entries.map(({ createRevision, key, value }) => ({ key, value, token: createRevision }))
      })
      reached = revision
      listening = true
    })
  }
  return self
})
