/**
 * An etcd for one tour, which ends with it. In a process of its own, so that a Ctrl-C at the terminal does not end the server
 * before the nodes have left.
 */
import { NodeRuntime } from "@effect/platform-node"
import { Effect, Logger } from "effect"
import * as Etcd from "../../test/servers/etcd.ts"
import { orphaned } from "./child.ts"

Effect.gen(function* () {
  const { endpoints } = yield* Etcd.single({ elections: "standard", fsync: true })
  process.stdout.write(`${endpoints[0]}\n`)
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
