/** A program of the tour as a process of the operating system, which tells what it does in lines on its stdout. */
import { NodeStream } from "@effect/platform-node"
import type { Scope } from "effect"
import { Data, Effect, Fiber, Stream } from "effect"
import type { ChildProcess } from "node:child_process"
import { spawn } from "node:child_process"
import type { Readable } from "node:stream"
import { fileURLToPath } from "node:url"

/** A process that ended, and the last that it wrote on stderr. */
export class Ended extends Data.TaggedError("Ended")<{ readonly how: string; readonly complaint: string }> {
  override get message() {
    return this.complaint === "" ? `its process ended with ${this.how}` : this.complaint
  }
}

export interface Child {
  readonly pid: number
  /** Ends with the process, after its last line has been handled. */
  readonly ended: Effect.Effect<Ended>
  /** SIGKILL. */
  readonly kill: Effect.Effect<void>
  /** SIGTERM, and SIGKILL when the time is up; tells whether it ended by itself. */
  readonly stop: Effect.Effect<boolean>
}

/** Leaving takes milliseconds. Who needs longer than this hangs. */
const stopWithin = "5 seconds"

/** What is left when this process exits is killed here: finalizers do not run then. If it is killed, they see their stdin end. */
const alive = new Set<ChildProcess>()
process.once("exit", () => {
  for (const child of alive) child.kill("SIGKILL")
})

const linesOf = (evaluate: () => Readable) =>
  NodeStream.fromReadable({ evaluate, onError: () => "unreadable" as const }).pipe(Stream.decodeText, Stream.splitLines)

/**
 * Starts a script of this folder with one argument, as JSON. It lives no longer than the scope.
 *
 * It is in a process group of its own: a Ctrl-C at the terminal reaches the tour alone, which asks the others in order.
 */
export const start = Effect.fnUntraced(function* (
  script: string,
  argument: unknown,
  handle: (line: string) => Effect.Effect<void>
): Effect.fn.Return<Child, never, Scope.Scope> {
  const path = fileURLToPath(new URL(script, import.meta.url))
  const child = spawn(process.execPath, [path, JSON.stringify(argument)], { stdio: "pipe", detached: true })
  alive.add(child)
  let complaint = ""
  const closed = Effect.callback<string>((resume) => {
    child.once("error", (error) => resume(Effect.succeed(error.message)))
    child.once("close", (code, signal) => resume(Effect.succeed(signal ?? `code ${code}`)))
  })
  const handled = Effect.ignore(
    Stream.runForEach(
      linesOf(() => child.stdout),
      handle
    )
  )
  const heard = linesOf(() => child.stderr).pipe(
    Stream.filter((line) => line.trim() !== ""),
    Stream.runForEach((line) => {
      complaint = line
      return Effect.logInfo(line)
    }),
    Effect.ignore
  )
  const life = yield* Effect.all([closed, handled, heard], { concurrency: "unbounded" }).pipe(
    Effect.map(([how]) => {
      alive.delete(child)
      return new Ended({ how, complaint })
    }),
    Effect.forkScoped({ startImmediately: true })
  )
  const ended = Fiber.join(life)
  const signal = (name: NodeJS.Signals) => Effect.sync(() => child.kill(name))
  const kill = Effect.andThen(signal("SIGKILL"), Effect.asVoid(ended))
  yield* Effect.addFinalizer(() => kill)
  return {
    pid: child.pid ?? 0,
    ended,
    kill,
    stop: Effect.andThen(signal("SIGTERM"), Effect.as(ended, true)).pipe(
      Effect.timeoutOrElse({ duration: stopWithin, orElse: () => Effect.as(kill, false) })
    )
  }
})

/** In a script that was started so: its argument. */
export const argument = (): unknown => JSON.parse(process.argv[2] ?? "null")

/** In a script that was started so: waits for the end of whoever has started it. */
export const orphaned: Effect.Effect<void> = Effect.callback((resume) => {
  const done = () => resume(Effect.void)
  process.stdin.once("close", done).resume()
  return Effect.sync(() => process.stdin.off("close", done).pause())
})
