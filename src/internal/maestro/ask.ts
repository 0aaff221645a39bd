/** Asking for a service by its layer. */
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import * as Tracer from "effect/Tracer"
import type { AnyLayer } from "./erased.ts"
import { DuplicateService } from "./errors.ts"
import { met } from "./machine.ts"
import { isMachinery, originsIn } from "./output.ts"
import type { Builder } from "./parts.ts"
import { CurrentBuilder, meet } from "./parts.ts"
import type { Run } from "./run.ts"
import { abort, CurrentRun, make as makeRun, now, publish } from "./run.ts"
import type { Definition, Service } from "./service.ts"
import { make as makeService } from "./service.ts"
import { depend, launch } from "./start.ts"
import { letGo } from "./stop.ts"

/** Keys that differ at each place of a composition and never hold a resource. */
const ambient: ReadonlySet<string> = new Set([Scope.Scope.key, Tracer.ParentSpanKey])

const isAmbient = (key: string): boolean => ambient.has(key) || isMachinery(key) || key.startsWith("effect/References/")

/**
 * Whether a service met during another's construction is given something that comes out of that very construction. It cannot
 * then outlive the attempt: an attempt that fails releases what it has constructed.
 */
const isCaptive = (owner: Service, context: Context.Context<never>): boolean => {
  const before = owner.context.mapUnsafe
  const own: Array<unknown> = []
  for (const [key, value] of context.mapUnsafe) if (before.get(key) !== value && !isAmbient(key)) own.push(value)
  if (own.length === 0) return false
  const provided = new Set<unknown>()
  for (const { output } of originsIn(context)) for (const value of output?.mapUnsafe.values() ?? []) provided.add(value)
  return own.some((value) => !provided.has(value))
}

/** Enters a service that is met for the first time; nothing if another layer has its name. */
const enroll = (
  run: Run,
  key: object,
  definition: Definition,
  builder: Builder,
  context: Context.Context<never>
): Service | undefined => {
  const namesake = run.services.get(definition.name)
  if (namesake !== undefined && !run.implicit && !Deferred.isDoneUnsafe(namesake.gone)) return undefined
  const service = makeService(definition, key, met(definition, now(run)))
  service.context = context.pipe(
    Context.add(CurrentRun, run),
    Context.add(CurrentBuilder, { service, part: undefined })
  )
  service.captive = builder.service !== undefined && isCaptive(builder.service, context)
  run.services.set(definition.name, service)
  run.byLayer.set(key, service)
  publish(run, service.last)
  for (const origin of originsIn(context)) depend(run, service, origin)
  return service
}

/** Holds a service for as long as the scope is open. In one turn: an interruption in between would hold it for ever. */
const hold = (run: Run, service: Service, scope: Scope.Scope): void => {
  service.scopes++
  const finalizer = (exit: Exit.Exit<unknown, unknown>) =>
    Effect.suspend(() => {
      service.scopes--
      return letGo(run, service, exit)
    })
  Effect.runSync(Scope.addFinalizerExit(scope, finalizer))
}

/** What the service of a layer provides: started by the first who asks, shared by all. */
const ask = (
  run: Run,
  key: object,
  definition: Definition,
  scope: Scope.Scope
): Effect.Effect<Context.Context<never>, unknown> =>
  Effect.contextWith((context: Context.Context<never>) => {
    if (run.ending || scope.state._tag === "Closed") return Effect.interrupt
    const known = run.byLayer.get(key)
    if (known?.stopping === true) {
      return Effect.flatMap(Deferred.await(known.gone), () => ask(run, key, definition, scope))
    }
    const builder = Context.get(context, CurrentBuilder)
    const service = known ?? enroll(run, key, definition, builder, context)
    if (service === undefined) {
      abort(run, new DuplicateService({ service: definition.name }))
      return Effect.never
    }
    hold(run, service, scope)
    meet(builder, service, (dependent, dependency) => depend(run, dependent, dependency))
    if (known === undefined) launch(run, service)
    return Deferred.await(service.result)
  })

/** Runs for services without a Maestro, one for each memo map: what is shared there is shared here. */
const implicitRuns = new WeakMap<Layer.MemoMap, Run>()

const implicitRun = (memoMap: Layer.MemoMap): Effect.Effect<Run> =>
  Effect.map(makeRun({ stopMillis: Number.POSITIVE_INFINITY, implicit: true }), (made) => {
    const run = implicitRuns.get(memoMap) ?? made
    run.memoMap = memoMap
    implicitRuns.set(memoMap, run)
    return run
  })

/** The layer that stands for a service. */
export const toLayer = (definition: Definition): AnyLayer => {
  const self: AnyLayer = Layer.fromBuild((memoMap, scope) =>
    Effect.flatMap(CurrentRun, (run) =>
      run === undefined
        ? memoMap.getOrElseMemoize(self, scope, (inner, innerScope) =>
            Effect.flatMap(implicitRun(inner), (implicit) => ask(implicit, self, definition, innerScope))
          )
        : ask(run, self, definition, scope)
    )
  )
  return self
}
