/**
 * The layers without a name, built once for all who use them, as any `MemoMap` does; and which services are in them.
 *
 * A layer composed of services may be shared: whoever comes second is given the memoised result and meets none of the
 * services in it. It depends on them all the same, so what each memoised layer has met is remembered, and met again in
 * the name of everybody who shares it.
 */
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import type * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import type { Service } from "./service.ts"

/** A layer without a name that is being built, or was. */
export interface Part {
  readonly met: Set<Service>
  readonly parts: Set<Part>
  /** The services whose construction it is a part of. Shared with the part it is in, until it gets users of its own. */
  users: Set<Service>
  usersAreOwn: boolean
}

/** Who builds: a service by its own construction, a part of it, or the composition outside all services. */
export interface Builder {
  readonly service: Service | undefined
  readonly part: Part | undefined
}

export const CurrentBuilder = Context.Reference<Builder>("effect-ensemble/Maestro/CurrentBuilder", {
  defaultValue: () => ({ service: undefined, part: undefined })
})

/** Enters that a service depends on another. */
export type Depend = (dependent: Service, dependency: Service) => void

/** A builder has met a service. */
export const meet = (builder: Builder, service: Service, depend: Depend): void => {
  if (builder.part === undefined) {
    if (builder.service !== undefined) depend(builder.service, service)
    return
  }
  builder.part.met.add(service)
  for (const user of builder.part.users) depend(user, service)
}

const noUsers: ReadonlySet<Service> = new Set()

const makePart = (builder: Builder): Part => {
  const outer = builder.part
  const part: Part = {
    met: new Set(),
    parts: new Set(),
    users: outer?.users ?? new Set(builder.service === undefined ? noUsers : [builder.service]),
    usersAreOwn: outer === undefined
  }
  outer?.parts.add(part)
  return part
}

/**
 * One more service uses a part, and so everything in it. Who is among a part's users depends on all that the part has
 * met; a set shared with an outer part changes for both, so the inner one is visited even where it has the user already.
 */
const addUser = (part: Part, user: Service, depend: Depend): void => {
  const changed = new Set<Set<Service>>()
  const seen = new Set<Part>()
  const open = [part]
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    if (seen.has(next)) continue
    seen.add(next)
    if (!changed.has(next.users)) {
      if (next.users.has(user)) continue
      if (!next.usersAreOwn) next.users = new Set(next.users)
      next.usersAreOwn = true
      next.users.add(user)
      changed.add(next.users)
    }
    for (const service of next.met) depend(user, service)
    open.push(...next.parts)
  }
}

const share = (part: Part, builder: Builder, depend: Depend): void => {
  if (builder.part === part) return
  builder.part?.parts.add(part)
  const users = builder.part?.users ?? (builder.service === undefined ? noUsers : [builder.service])
  for (const user of users) addUser(part, user, depend)
}

interface Entry {
  readonly part: Part
  readonly scope: Scope.Closeable
  readonly deferred: Deferred.Deferred<Context.Context<never>, unknown>
  observers: number
}

/**
 * A `MemoMap` for a run. Besides remembering services it differs from Effect's own in one point: when whoever builds a
 * shared layer is interrupted, those who wait for it build it again instead of being interrupted with it. A start timeout of
 * one service would otherwise end all others that share a layer with it.
 */
export const makeMemoMap = (parent: Layer.MemoMap | undefined, depend: Depend): Layer.MemoMap => {
  const entries = new Map<unknown, Entry>()

  const finalizer = (layer: unknown, entry: Entry) => (exit: Exit.Exit<unknown, unknown>) =>
    Effect.suspend(() => {
      if (--entry.observers > 0) return Effect.void
      if (entries.get(layer) === entry) entries.delete(layer)
      return Scope.close(entry.scope, exit)
    })

  /** Counts and registers in one turn, so that an interruption in between cannot strand the entry. */
  const observe = (layer: unknown, entry: Entry, scope: Scope.Scope): boolean => {
    if (scope.state._tag === "Closed") return false
    entry.observers++
    Effect.runSync(Scope.addFinalizerExit(scope, finalizer(layer, entry)))
    return true
  }

  const join = <Out, E, R>(
    entry: Entry,
    again: (cause: Cause.Cause<E>) => Effect.Effect<Context.Context<Out>, E, R>
  ): Effect.Effect<Context.Context<Out>, E, R> =>
    Effect.flatMap(CurrentBuilder, (builder) => {
      share(entry.part, builder, depend)
      // The entry is kept under its layer, so it holds what that layer provides and fails with what that layer fails with.
      return Effect.catchCause(Deferred.await(entry.deferred) as Effect.Effect<Context.Context<Out>, E>, again)
    })

  const get = <Out, E, R>(
    layer: Layer.Layer<Out, E, R>,
    scope: Scope.Scope,
    again: (entry: Entry) => (cause: Cause.Cause<E>) => Effect.Effect<Context.Context<Out>, E, R>
  ): Effect.Effect<Context.Context<Out>, E, R> | undefined => {
    const entry = entries.get(layer)
    if (entry === undefined) return parent?.get(layer, scope)
    observe(layer, entry, scope)
    return join(entry, again(entry))
  }

  const self: Layer.MemoMap = {
    "~effect/Layer/MemoMap": "~effect/Layer/MemoMap",
    get: (layer, scope) => get(layer, scope, () => Effect.failCause),
    getOrElseMemoize: (layer, scope, build) =>
      Effect.suspend(() => {
        let mine: Entry | undefined
        const attempt = Effect.flatMap(CurrentBuilder, (builder) => {
          const known = get(
            layer,
            scope,
            (entry) => (cause) =>
              Cause.hasInterruptsOnly(cause) && entries.get(layer) !== entry
                ? self.getOrElseMemoize(layer, scope, build)
                : Effect.failCause(cause)
          )
          if (known !== undefined) return known
          const entry: Entry = {
            part: makePart(builder),
            scope: Scope.makeUnsafe(),
            deferred: Deferred.makeUnsafe(),
            observers: 0
          }
          // A closed scope cannot own an entry: what is built goes with that scope.
          if (!observe(layer, entry, scope)) return build(self, scope)
          mine = entry
          entries.set(layer, entry)
          return Effect.provideService(build(self, entry.scope), CurrentBuilder, {
            service: builder.service,
            part: entry.part
          })
        })
        // Put around everything before the entry can be seen: those who wait for it must hear of any end.
        return Effect.onExit(attempt, (exit) => {
          const entry = mine
          if (entry === undefined) return Effect.void
          const tell = Effect.sync(() => Deferred.doneUnsafe(entry.deferred, exit))
          if (exit._tag === "Success" || !Cause.hasInterruptsOnly(exit.cause)) return tell
          return Effect.ensuring(
            Scope.close(entry.scope, exit),
            Effect.suspend(() => {
              if (entries.get(layer) === entry) entries.delete(layer)
              return tell
            })
          )
        })
      })
  }
  return self
}
