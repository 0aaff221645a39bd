/** Layers that tell what happens to them, and a run whose events are collected. */
import { Clock, Context, Effect, Exit, Fiber, Graph, Layer, Option, Scope, Stream } from "effect"
import type { Duration } from "effect"
import { Maestro } from "effect-ensemble"

export interface Probe {
  readonly name: string
}

/** A service key that is as good as any other. */
export const tag = (name: string) => Context.Service<Probe, Probe>(`test/${name}`)

export class Log {
  readonly lines: Array<string> = []
  add(line: string) {
    return Effect.map(Clock.currentTimeMillis, (at) => {
      this.lines.push(`${at} ${line}`)
    })
  }
  names(): ReadonlyArray<string> {
    return this.lines.map((line) => line.slice(line.indexOf(" ") + 1))
  }
  /** Whether all that was opened was closed, once. */
  isBalanced(): boolean {
    const open = new Map<string, number>()
    for (const line of this.names()) {
      const [name = "", what] = line.split(" ")
      if (what === "open") open.set(name, (open.get(name) ?? 0) + 1)
      if (what === "closed") open.set(name, (open.get(name) ?? 0) - 1)
    }
    return [...open.values()].every((count) => count === 0)
  }
  count(line: string): number {
    return this.lines.filter((one) => one.endsWith(` ${line}`)).length
  }
}

export interface Behaviour {
  readonly start?: Duration.Input
  readonly stop?: Duration.Input
  /** Attempts that fail before one succeeds. */
  readonly failures?: number
  readonly defect?: boolean
  readonly uninterruptible?: boolean
  readonly stopUninterruptible?: boolean
  readonly dieOnStop?: boolean
}

/** Every `open` of a layer is followed by exactly one `close`, whatever happened: `balance` says where it is not. */
export const probe = (log: Log, name: string, behaviour: Behaviour = {}) => {
  let attempts = 0
  const wait = (input: Duration.Input | undefined) => (input === undefined ? Effect.void : Effect.sleep(input))
  return Layer.effect(
    tag(name),
    Effect.gen(function* () {
      const attempt = ++attempts
      yield* Effect.acquireRelease(
        Effect.andThen(
          log.add(`${name} open`),
          behaviour.uninterruptible === true ? wait(behaviour.start) : Effect.void
        ),
        () =>
          Effect.gen(function* () {
            yield* log.add(`${name} closing`)
            const waiting = wait(behaviour.stop)
            yield* behaviour.stopUninterruptible === true ? Effect.uninterruptible(waiting) : waiting
            yield* log.add(`${name} closed`)
            if (behaviour.dieOnStop === true) return yield* Effect.die(`${name} does not close`)
          })
      )
      if (behaviour.uninterruptible !== true) yield* wait(behaviour.start)
      if (attempt <= (behaviour.failures ?? 0)) {
        if (behaviour.defect === true) return yield* Effect.die(`${name} is broken`)
        return yield* Effect.fail(`${name} fails`)
      }
      yield* log.add(`${name} up`)
      return { name }
    })
  )
}

/** A started run, with its events. */
export const launch = <Out, E>(app: Layer.Layer<Out, E, Maestro.Maestro>, options?: Maestro.Options) =>
  Effect.gen(function* () {
    const scope = yield* Scope.make()
    const context = yield* Layer.buildWithScope(Maestro.layer(options), scope)
    const maestro = Context.get(context, Maestro.Maestro)
    const events: Array<string> = []
    yield* maestro.events.pipe(
      Stream.runForEach((event) => Effect.sync(() => events.push(describe(event)))),
      Effect.forkChild({ startImmediately: true })
    )
    const fiber = yield* Effect.forkChild(
      Effect.provideContext(Layer.buildWithScope(Maestro.boot(app), scope), context),
      { startImmediately: true }
    )
    return {
      maestro,
      events,
      eventsOf: (name: string) =>
        events.filter((event) => event.split(" ")[1] === name).map((event) => event.replace(` ${name} `, " ")),
      edges: (graph: Maestro.ServiceGraph) =>
        [...Graph.values(Graph.edges(graph))]
          .map(({ source, target }) => `${nameOf(graph, source)} -> ${nameOf(graph, target)}`)
          .toSorted(),
      fiber,
      started: Fiber.join(fiber),
      close: Scope.close(scope, Exit.void)
    }
  })

const nameOf = (graph: Maestro.ServiceGraph, index: Graph.NodeIndex): string =>
  Option.match(Graph.getNode(graph, index), { onNone: () => "?", onSome: ({ name }) => name })

/** Any number of layers side by side. */
export const merge = (layers: ReadonlyArray<Layer.Layer<never, unknown>>): Layer.Layer<never, unknown> =>
  layers.reduce<Layer.Layer<never, unknown>>((all, layer) => Layer.merge(all, layer), Layer.empty)

export const describe = ({ at, happening, service }: Maestro.ServiceEvent): string => {
  const detail =
    happening._tag === "AttemptFailed"
      ? ` ${happening.attempt} +${happening.delayMillis}`
      : happening._tag === "Starting"
        ? ` ${happening.attempt}`
        : happening._tag === "Stopping"
          ? ` ${Math.round(happening.budgetMillis)}`
          : happening._tag === "Failed" && happening.failure._tag === "DependencyUnavailable"
            ? ` by ${happening.failure.dependency}`
            : happening._tag === "Stopped" && happening.failure !== undefined
              ? " failed"
              : ""
  return `${Math.round(at)} ${service} ${happening._tag}${detail}`
}
