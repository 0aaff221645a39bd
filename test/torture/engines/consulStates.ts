/**
 * What Consul answers to blocking queries of the states that a group went through. There is no list of writes to be had:
 * a query that is answered late has missed what was in between, so of that nothing is said.
 */
import { Effect } from "effect"
import type { Ask } from "../../servers/consul.ts"
import { NoAnswer } from "../../servers/consul.ts"
import type { Write } from "../chronicle.ts"
import { now } from "../clock.ts"
import type { Entry } from "../engine.ts"

/** A member, the session that keeps it, and the index of its last change, where that is told. */
export interface Held extends Entry {
  readonly session: string | undefined
  readonly modified?: bigint
}

/** A group as a server had it at an index. */
export interface State {
  readonly index: bigint
  readonly at: number
  readonly held: ReadonlyMap<string, Held>
}

export interface Group {
  readonly label: string
  /** What is asked, and how its answer is read. */
  readonly path: string
  readonly read: (text: string) => ReadonlyArray<Held>
}

export interface States {
  /** In the order of their indexes. */
  readonly states: () => ReadonlyArray<State>
  /** Asks a majority. */
  readonly now: Effect.Effect<ReadonlyArray<Held>, NoAnswer>
  /** Whether what the group was at an index, between two that were seen, cannot be known. */
  readonly isVague: (index: bigint) => boolean
}

const isSame = (a: Held | undefined, b: Held | undefined): boolean => a?.token === b?.token && a?.value === b?.value

/**
 * Whether there may have been another state between two. There was none if all that differs can have come of one write, which
 * then was the later one's. A write that is not seen at all leaves its index.
 */
const mayHideSome = (before: State, after: State): boolean => {
  const puts = Array.from(after.held.values()).filter((one) => !isSame(before.held.get(one.id), one))
  const gone = Array.from(before.held.values()).filter((one) => after.held.get(one.id)?.token !== one.token)
  const [put] = puts
  // Of some groups also what is not shown has an index.
  if ([...puts, ...gone].some(({ modified }) => modified === undefined)) return true
  if (put === undefined) return new Set(gone.map(({ session }) => session)).size !== 1
  return puts.length > 1 || gone.length > 0 || put.modified !== after.index
}

/** Whether what a group was at an index cannot be known from the states that were seen. */
export const isVague = (states: ReadonlyArray<State>, index: bigint): boolean => {
  const next = states.findIndex((state) => state.index > index)
  const [before, after] = [states[next - 1], states[next]]
  return before !== undefined && after !== undefined && before.index !== index && mayHideSome(before, after)
}

/** What was written from each state to the next. */
export const writesOf = (
  states: ReadonlyArray<State>
): ReadonlyArray<Omit<Write, "forced"> & Pick<Held, "session">> => {
  let before: ReadonlyMap<string, Held> = new Map()
  let reached = 0n
  return states.flatMap(({ at, held, index }) => {
    const stamp = { at, epoch: 0, of: "entry" as const }
    const put = Array.from(held.values()).filter((one) => !isSame(before.get(one.id), one))
    const gone = Array.from(before.values()).filter(({ id, token }) => held.get(id)?.token !== token)
    const since = reached
    // A creation is known by its token. A removal is not: it was the last, or made room for who came under the same id.
    const revisionOf = (id: string) => {
      const token = held.get(id)?.token ?? 0n
      return token > since ? token : index
    }
    const writes = [
      ...gone.map((one) => ({ ...one, ...stamp, revision: revisionOf(one.id), value: undefined })),
      ...put.map((one) => ({ ...one, ...stamp, revision: revisionOf(one.id) }))
    ].sort((a, b) => (a.revision < b.revision ? -1 : a.revision > b.revision ? 1 : 0))
    before = held
    reached = index
    return writes
  })
}

/** How long a query waits for news; one that hangs with its server is given up by `ask`. */
const waitSeconds = 5

/** Each server is asked for what it has itself, so no election keeps the others from telling. */
export const follow = Effect.fnUntraced(function* ({ path, read }: Group, servers: ReadonlyArray<Ask>) {
  const known = new Map<bigint, State>()

  /** An answer comes whole, and each index is that of one state. */
  const note = ({
    index,
    status,
    text
  }: {
    readonly index: bigint
    readonly status: number
    readonly text: string
  }) => {
    const held = status === 404 ? [] : read(text)
    if (!known.has(index)) known.set(index, { index, at: now(), held: new Map(held.map((one) => [one.id, one])) })
    return held
  }
  const isAnswer = ({ status }: { readonly status: number }) => status === 200 || status === 404

  const poll = (ask: Ask) => {
    let index = 0n
    return Effect.gen(function* () {
      const answer = yield* ask("GET", `${path}&stale&index=${index}&wait=${waitSeconds}s`)
      if (!isAnswer(answer)) return yield* Effect.fail("not now")
      // One that has gone back must be asked for anew.
      index = answer.index < index ? 0n : answer.index
      note(answer)
      if (answer.index === 0n) yield* Effect.sleep("50 millis")
    }).pipe(
      Effect.catch(() => {
        index = 0n
        return Effect.sleep("50 millis")
      }),
      Effect.forever
    )
  }
  for (const ask of servers) yield* Effect.forkScoped(poll(ask))

  const ordered = () => Array.from(known.values()).sort((a, b) => (a.index < b.index ? -1 : 1))
  const states: States = {
    states: ordered,
    now: Effect.map(
      servers
        .map((ask) =>
          Effect.filterOrFail(
            ask("GET", `${path}&consistent`),
            isAnswer,
            ({ text }) => new NoAnswer({ path, reason: text })
          )
        )
        .reduce((first, next) => Effect.catch(first, () => next)),
      note
    ),
    isVague: (index) => isVague(ordered(), index)
  }
  return states
})
