/** How long a leader that is killed keeps its place, by what the next one sees. */
import { Effect, Fiber } from "effect"
import { spawn } from "node:child_process"
import { once } from "node:events"
import { fileURLToPath } from "node:url"
import { now } from "../harness.ts"
import type { Place, Way } from "./way.ts"

const script = fileURLToPath(new URL("candidate.ts", import.meta.url))

const startCandidate = (store: string, way: Way, place: Place) =>
  Effect.acquireRelease(
    Effect.promise(async () => {
      const child = spawn(process.execPath, [script, store, way.name, JSON.stringify(place)], {
        stdio: ["pipe", "pipe", "inherit"]
      })
      await once(child.stdout, "data")
      return child
    }),
    (child) => Effect.sync(() => child.kill("SIGKILL"))
  )

/** So that the kill falls anywhere between two renewals, which are a third of the TTL apart or less. */
const anywhere = (place: Place) => Effect.sleep(`${Math.random() * place.ttlSeconds * 333 + 100} millis`)

/** Until the next one stands in line, which takes less. */
const inLine = Effect.sleep("500 millis")

/** Microseconds from the SIGKILL of the leader to the election of the next one, which is in this process. */
export const killed = Effect.fnUntraced(function* (store: string, way: Way, place: Place) {
  const child = yield* startCandidate(store, way, place)
  const candidate = yield* way.candidate(place, "next")
  const elected = yield* Effect.forkScoped(
    Effect.map(candidate.lead, () => now()),
    { startImmediately: true }
  )
  yield* inLine
  yield* anywhere(place)
  const started = now()
  child.kill("SIGKILL")
  return (yield* Fiber.join(elected)) - started
}, Effect.scoped)
