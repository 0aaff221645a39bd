/** One node as a process of its own, started by the tour on a real store: it reports on stdout, and leaves on SIGTERM. */
import { NodeRuntime } from "@effect/platform-node"
import { Cause, Clock, Data, Effect, Logger, Runtime } from "effect"
import { argument, orphaned } from "./child.ts"
import type { Event } from "./events.ts"
import { toJson } from "./events.ts"
import * as Node from "./node.ts"
import type { Part } from "./processes.ts"
import { storeOf } from "./stores.ts"

const { place, spec, store } = argument() as Part

const report = (event: Event) =>
  Effect.map(Clock.currentTimeMillis, (at) => void process.stdout.write(`${toJson({ at, event })}\n`))

/** It has been reported already why. */
class Failed extends Data.TaggedError("Failed") {
  override readonly [Runtime.errorReported] = false
}

Node.run(spec, report).pipe(
  Effect.provide(storeOf(store).coordinator(place)),
  Effect.raceFirst(orphaned),
  Effect.catchCause((cause) =>
    Cause.hasInterruptsOnly(cause)
      ? Effect.interrupt
      : Effect.andThen(
          report({ _tag: "Failed", node: spec.name, reason: String(Cause.squash(cause)) }),
          Effect.fail(new Failed())
        )
  ),
  Effect.provide(Logger.layer([Logger.withConsoleError(Logger.formatSimple)])),
  NodeRuntime.runMain
)
