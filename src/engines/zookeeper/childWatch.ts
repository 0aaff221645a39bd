/**
 * A watch of a node's children made of one-shot watches, for servers before 3.6, which know no other.
 *
 * A one-shot watch is used up by what it tells, so it is set again by a read, and the listener is told after that: as with
 * a recursive watch, whatever is read after a notice is followed by its changes. Several changes in a row may be told as
 * one, and each is told a read later than a recursive watch would. Between the two there is a gap in which changes are not
 * noticed, so that an answer which comes meanwhile does not show how things are.
 *
 * A deletion is told at once: there is nothing to be read of what has gone, and whoever had it must not hear of it later than
 * the one who comes next.
 */
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import type * as Scope from "effect/Scope"
import type { Client } from "./client.ts"
import type { RequestError } from "./errors.ts"
import type { Answer, Children, EventType, WatchEvent } from "./protocol.ts"
import type { Listener } from "./watches.ts"

/** For how long changes may go unnoticed. All that happened up to `revision` has been told when it closes. */
export type Gap = { readonly _tag: "GapOpened" } | { readonly _tag: "GapClosed"; readonly revision: bigint }

/** What is to be done: one change, or everything again on a new connection. */
type Work = WatchEvent | "resume"

/** The children that were there when the watch began, and the transaction at which they were. */
export interface Begun {
  readonly names: ReadonlyArray<string>
  readonly zxid: bigint
}

/**
 * Tells the listener of every creation, deletion and change of data of the children, and of the creation and deletion of
 * the node itself, which need not exist. The notices are those of `Client.watch`.
 */
export const watchChildren = Effect.fnUntraced(function* (
  client: Client,
  path: string,
  listener: Listener,
  /** A gap opens in the turn in which a watch is used up. */
  onGap: (gap: Gap) => void = () => {}
): Effect.fn.Return<Begun, RequestError, Scope.Scope> {
  const work = yield* Queue.unbounded<Work>()
  const prefix = path === "/" ? "/" : `${path}/`
  let isThere = false
  let children: ReadonlySet<string> = new Set()

  const tell = (type: EventType, at: string): void =>
    listener({ _tag: "Event", event: { type, path: at, zxid: client.lastZxid() } })

  // One function for all, so that setting a watch that is still set does not make a second one.
  const changed: Listener = (notice) => {
    if (notice._tag !== "Event") return
    if (notice.event.type === "deleted") {
      if (notice.event.path === path) isThere = false
      listener(notice)
    }
    onGap({ _tag: "GapOpened" })
    Queue.offerUnsafe(work, notice.event)
  }

  /** Not `exists`: for a child that is gone by now, that would leave a watch that nobody ever needs. */
  const watchChild = (name: string) =>
    client.getData(`${prefix}${name}`, changed).pipe(
      Effect.as(true),
      Effect.catchTag("NoNode", () => Effect.succeed(false))
    )

  /** The children are absent where the node is. */
  const list: Effect.Effect<Partial<Children> & Answer, RequestError> = client
    .getChildren(path, changed)
    .pipe(
      Effect.catchTag("NoNode", () =>
        Effect.flatMap(client.exists(path, changed), ({ stat, zxid }) =>
          stat === undefined ? Effect.succeed({ zxid }) : list
        )
      )
    )

  const watchAll = (names: ReadonlyArray<string>) =>
    Effect.map(Effect.forEach(names, watchChild, { concurrency: "unbounded" }), (there) =>
      names.filter((_, index) => there[index])
    )

  /** Watches who has come and tells of who came and went, the node itself among them. */
  const compare = Effect.gen(function* () {
    const before = children
    const listed = yield* list
    const now = new Set(listed.children)
    const was = isThere
    isThere = listed.children !== undefined
    // Whoever is gone again by now has asked for another comparison by going.
    const come = yield* watchAll([...now].filter((name) => !before.has(name)))
    const gone = [...before].filter((name) => !now.has(name))
    children = new Set([...before].filter((name) => now.has(name)).concat(come))
    for (const name of gone) tell("deleted", `${prefix}${name}`)
    if (was !== isThere) tell(isThere ? "created" : "deleted", path)
    for (const name of come) tell("created", `${prefix}${name}`)
  })

  const begin = Effect.gen(function* () {
    const listed = yield* list
    isThere = listed.children !== undefined
    const names = yield* watchAll(listed.children ?? [])
    children = new Set(names)
    return { names, zxid: listed.zxid } satisfies Begun
  })

  const handle = Effect.fnUntraced(function* (one: Work) {
    if (one === "resume") {
      yield* begin
      listener({ _tag: "Restored" })
    } else if (one.path === path) {
      yield* compare
    } else {
      const name = one.path.slice(prefix.length)
      // Deleted and there: another one of the same name, which no comparison of names would show.
      if (yield* watchChild(name)) return tell(one.type === "deleted" ? "created" : one.type, one.path)
      // Should another one come after this, the comparison that it causes must not take it for the one that has gone.
      children = new Set([...children].filter((other) => other !== name))
      // It has gone after its watch was used up, so that nothing has told of it.
      if (one.type !== "deleted") tell("deleted", one.path)
    }
  })

  yield* client.follow((notice) => {
    if (notice._tag === "Restored") Queue.offerUnsafe(work, "resume")
    else listener(notice)
  })
  const begun = yield* begin
  yield* Queue.take(work).pipe(
    // A read that failed with the connection is made again with the next one, and one that was refused cannot be.
    Effect.flatMap((one) =>
      Effect.ignore(handle(one), { log: "Debug" }).pipe(
        Effect.andThen(
          Effect.sync(() => {
            if (one !== "resume") onGap({ _tag: "GapClosed", revision: client.lastZxid() })
          })
        )
      )
    ),
    Effect.forever,
    Effect.forkScoped
  )
  return begun
})
