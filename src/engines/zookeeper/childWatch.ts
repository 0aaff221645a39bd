/**
 * A watch of a node's children made of one-shot watches, for servers before 3.6, which know no other.
 *
 * A one-shot watch is used up by what it tells, so it is set again by a read, and the listener is told after that: as with
 * a recursive watch, whatever is read after a notice is followed by its changes. Several changes in a row may be told as
 * one, and each is told a read later than a recursive watch would.
 */
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import type * as Scope from "effect/Scope"
import type { Client } from "./client.ts"
import type { RequestError } from "./errors.ts"
import type { EventType, WatchEvent } from "./protocol.ts"
import type { Listener } from "./watches.ts"

/** What is to be done: one change, or everything again on a new connection. */
type Work = WatchEvent | "resume"

/**
 * Tells the listener of every creation, deletion and change of data of the children, and of the creation and deletion of
 * the node itself, which need not exist. The notices are those of `Client.watch`.
 */
export const watchChildren = Effect.fnUntraced(function* (
  client: Client,
  path: string,
  listener: Listener
): Effect.fn.Return<void, RequestError, Scope.Scope> {
  const work = yield* Queue.unbounded<Work>()
  const prefix = path === "/" ? "/" : `${path}/`
  let children: ReadonlySet<string> = new Set()

  const tell = (type: EventType, at: string): void =>
    listener({ _tag: "Event", event: { type, path: at, zxid: client.lastZxid() } })

  // One function for all, so that setting a watch that is still set does not make a second one.
  const changed: Listener = (notice) => {
    if (notice._tag === "Event") Queue.offerUnsafe(work, notice.event)
  }

  /** Not `exists`: for a child that is gone by now, that would leave a watch that nobody ever needs. */
  const watchChild = (name: string) =>
    client.getData(`${prefix}${name}`, changed).pipe(
      Effect.as(true),
      Effect.catchTag("NoNode", () => Effect.succeed(false))
    )

  const list: Effect.Effect<ReadonlyArray<string>, RequestError> = client.getChildren(path, changed).pipe(
    Effect.map((answer) => answer.children),
    Effect.catchTag("NoNode", () =>
      Effect.flatMap(client.exists(path, changed), ({ stat }) => (stat === undefined ? Effect.succeed([]) : list))
    )
  )

  const watchAll = (names: ReadonlyArray<string>) =>
    Effect.map(Effect.forEach(names, watchChild, { concurrency: "unbounded" }), (there) =>
      names.filter((_, index) => there[index])
    )

  /** Watches who has come and tells of who came and went. */
  const compare = Effect.gen(function* () {
    const before = children
    const now = new Set(yield* list)
    // Whoever is gone again by now has asked for another comparison by going.
    const come = yield* watchAll([...now].filter((name) => !before.has(name)))
    const gone = [...before].filter((name) => !now.has(name))
    children = new Set([...before].filter((name) => now.has(name)).concat(come))
    for (const name of gone) tell("deleted", `${prefix}${name}`)
    for (const name of come) tell("created", `${prefix}${name}`)
  })

  const begin = Effect.gen(function* () {
    children = new Set(yield* watchAll(yield* list))
  })

  const handle = Effect.fnUntraced(function* (one: Work) {
    if (one === "resume") {
      yield* begin
      listener({ _tag: "Restored" })
    } else if (one.path === path) {
      yield* compare
      if (one.type === "created" || one.type === "deleted") tell(one.type, path)
    } else if (yield* watchChild(one.path.slice(prefix.length))) {
      // Deleted and there: another one of the same name, which no comparison of names would show.
      if (one.type === "deleted") tell("deleted", one.path)
      tell(one.type === "deleted" ? "created" : one.type, one.path)
    }
    // A deletion without a successor is told by the comparison that it causes.
  })

  yield* client.follow((notice) => {
    if (notice._tag === "Restored") Queue.offerUnsafe(work, "resume")
    else listener(notice)
  })
  yield* begin
  yield* Queue.take(work).pipe(
    // A read that failed with the connection is made again with the next one, and one that was refused cannot be.
    Effect.flatMap((one) => Effect.ignore(handle(one), { log: "Debug" })),
    Effect.forever,
    Effect.forkScoped
  )
})
