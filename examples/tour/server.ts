/**
 * A server for one tour, which ends with it. In a process of its own, so that a Ctrl-C at the terminal does not end the server
 * before the nodes have left.
 */
import { NodeRuntime } from "@effect/platform-node"
import { Effect, Logger } from "effect"
import { argument, orphaned } from "./child.ts"
import { storeOf } from "./stores.ts"

Effect.gen(function* () {
  process.stdout.write(`${yield* storeOf(argument() as string).serve}\n`)
  yield* orphaned
}).pipe(
  Effect.scoped,
  Effect.catch(({ message }) =>
    Effect.sync(() => {
      process.stderr.write(`${message.replaceAll("\n", " ")}\n`)
      process.exitCode = 1
    })
  ),
  Effect.provide(Logger.layer([])),
  NodeRuntime.runMain
)
