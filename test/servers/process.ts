import type { Duration } from "effect"
import { Data, Effect, Exit, Scope } from "effect"
import type { ChildProcess } from "node:child_process"
import { spawn, spawnSync } from "node:child_process"
import { closeSync, existsSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import process from "node:process"
import { freePorts } from "./ports.ts"
import * as Sockets from "./sockets.ts"
import { realTime, until } from "./until.ts"

export class ServerError extends Data.TaggedError("ServerError")<{
  readonly server: string
  readonly reason: string
  /** The end of what the server wrote. */
  readonly log: string
}> {
  override get message() {
    return `${this.server}: ${this.reason}${this.log === "" ? "" : `\n${this.log}`}`
  }
}

export interface Command {
  readonly program: string
  readonly args: ReadonlyArray<string>
  readonly env?: Readonly<Record<string, string>>
}

export interface Options {
  readonly name: string
  /** What to run in a folder of its own. It must stay in the foreground. */
  readonly command: (folder: string) => Command
  /** The ports that it listens on. An answer from another process there is none of this server. */
  readonly ports: ReadonlyArray<number>
  /** One try, with a deadline of its own: fails while the server does not serve. */
  readonly ready: Effect.Effect<unknown, { readonly message: string }>
}

/** An operating system's process that serves, in a folder of its own, gone with its scope. */
export interface Process {
  readonly name: string
  readonly folder: string
  /** Of the last start. */
  readonly pid: () => number
  readonly isRunning: () => boolean
  readonly log: Effect.Effect<string>
  /** SIGTERM, then SIGKILL. */
  readonly stop: Effect.Effect<void>
  /** SIGKILL. */
  readonly kill: Effect.Effect<void>
  /** Starts it again on the same data and ports, without waiting until it serves. */
  readonly launch: Effect.Effect<void, ServerError>
  /** Waits until it serves. */
  readonly ready: Effect.Effect<void, ServerError>
  /** `launch` and `ready`. */
  readonly start: Effect.Effect<void, ServerError>
  /** `kill` and `start`. */
  readonly restart: Effect.Effect<void, ServerError>
  /** SIGSTOP: it keeps its connections and answers nothing. */
  readonly pause: Effect.Effect<void>
  /** SIGCONT. */
  readonly resume: Effect.Effect<void>
}

/** The slowest server of all takes four seconds on an idle machine, and was seen to take forty on a very busy one. */
const readyWithin: Duration.Input = "120 seconds"

/** A server that hands over its work before it ends may wait for others that are gone. */
const stopWithin: Duration.Input = "5 seconds"

const logTail = 3000

/** What is left when this process exits is removed here: finalizers do not run then. */
const alive = new Set<ChildProcess>()
const folders = new Set<string>()
const remove = (folder: string): void => {
  folders.delete(folder)
  rmSync(folder, { recursive: true, force: true })
}
process.once("exit", () => {
  for (const child of alive) child.kill("SIGKILL")
  for (const folder of folders) remove(folder)
})

/**
 * The kernel kills the server when this process dies without a word, as by SIGKILL. `setpriv` replaces itself by the
 * server, so the process id is the server's. Where there is none (outside Linux), such a server outlives us.
 */
const diesWithUs: ReadonlyArray<string> =
  spawnSync("setpriv", ["--pdeathsig", "KILL", "true"], { stdio: "ignore" }).status === 0
    ? ["setpriv", "--pdeathsig", "KILL"]
    : []

const exited = (child: ChildProcess): boolean => child.exitCode !== null || child.signalCode !== null

const awaitExit = (child: ChildProcess): Effect.Effect<void> =>
  Effect.callback((resume) => {
    if (exited(child)) return resume(Effect.void)
    const done = () => resume(Effect.void)
    child.once("exit", done)
    return Effect.sync(() => child.off("exit", done))
  })

/** A signal is delivered some time after it was sent, so the test that paused a server would race with it. */
const awaitStopped = (pid: number): Effect.Effect<void> => {
  const stat = `/proc/${pid}/stat`
  if (!existsSync(stat)) return Effect.void
  return Effect.try(() => readFileSync(stat, "utf8")).pipe(
    Effect.filterOrFail((text) => / T /.test(text)),
    (stopped) => until(stopped, { within: "1 second" }),
    Effect.ignore
  )
}

/** A folder that is gone with its scope. */
export const temporaryFolder = (name: string): Effect.Effect<string, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const folder = mkdtempSync(join(tmpdir(), `ensemble-${name}-`))
      folders.add(folder)
      return folder
    }),
    (folder) => Effect.sync(() => remove(folder))
  )

export const make = Effect.fnUntraced(function* (options: Options) {
  const { name } = options
  const folder = yield* temporaryFolder(name)
  const logFile = join(folder, "log")
  const { args, env, program } = options.command(folder)
  let child: ChildProcess | undefined

  const log = Effect.sync(() => (existsSync(logFile) ? readFileSync(logFile, "utf8") : ""))
  const fail = (reason: string) =>
    Effect.flatMap(log, (text) => Effect.fail(new ServerError({ server: name, reason, log: text.slice(-logTail) })))
  const running = (): ChildProcess | undefined => (child === undefined || exited(child) ? undefined : child)
  const signal = (signal: NodeJS.Signals) => Effect.sync(() => running()?.kill(signal))

  const launch = Effect.callback<void, ServerError>((resume) => {
    if (running() !== undefined) return resume(Effect.void)
    // The server writes to the file itself: through a pipe of ours it would wait for us whenever we do not read.
    const out = openSync(logFile, "a")
    const [file = program, ...rest] = [...diesWithUs, program, ...args]
    const started = spawn(file, rest, { cwd: folder, env: { ...process.env, ...env }, stdio: ["ignore", out, out] })
    closeSync(out)
    child = started
    alive.add(started)
    started.once("exit", () => alive.delete(started))
    started.once("error", (error) => {
      alive.delete(started)
      resume(fail(`cannot run ${program}: ${error.message}`))
    })
    started.once("spawn", () => resume(Effect.void))
  })

  const listens = (pid: number) =>
    !Sockets.known || options.ports.every((local) => Sockets.ownerOf({ local, remote: 0 }, [pid]) !== undefined)

  const ready = Effect.suspend(() => {
    const target = running()
    const serves = Effect.suspend(() =>
      listens(target?.pid ?? 0) ? options.ready : Effect.fail({ message: "it does not listen" })
    )
    return until(serves, { within: readyWithin }).pipe(
      Effect.catch(({ message }) => fail(`does not serve: ${message}`)),
      Effect.raceFirst(
        Effect.andThen(
          target === undefined ? Effect.void : awaitExit(target),
          Effect.suspend(() => fail(`ended before it served, with ${child?.exitCode ?? child?.signalCode}`))
        )
      ),
      Effect.asVoid
    )
  })

  const kill = Effect.suspend(() => {
    const target = running()
    return target === undefined ? Effect.void : Effect.andThen(signal("SIGKILL"), awaitExit(target))
  })

  const stop = Effect.suspend(() => {
    const target = running()
    if (target === undefined) return Effect.void
    // A paused server takes the SIGTERM when it goes on.
    return signal("SIGTERM").pipe(
      Effect.andThen(signal("SIGCONT")),
      Effect.andThen(awaitExit(target)),
      Effect.timeoutOrElse({ duration: stopWithin, orElse: () => kill }),
      realTime
    )
  })

  const start = Effect.andThen(launch, ready)
  yield* Effect.addFinalizer(() => kill)

  const self: Process = {
    name,
    folder,
    pid: () => child?.pid ?? 0,
    isRunning: () => running() !== undefined,
    log,
    stop,
    kill,
    launch,
    ready,
    start,
    restart: Effect.andThen(kill, start),
    pause: Effect.suspend(() => {
      const target = running()
      return target?.pid === undefined ? Effect.void : Effect.andThen(signal("SIGSTOP"), awaitStopped(target.pid))
    }),
    resume: Effect.asVoid(signal("SIGCONT"))
  }
  return self
})

const portTaken = /address already in use|bind: address in use|EADDRINUSE/i

/**
 * Makes servers on ports that were free a moment ago, again on other ones when somebody was faster. What an attempt
 * acquired goes before the next begins.
 */
export const onFreePorts = <A, R>(
  count: number,
  make: (ports: ReadonlyArray<number>) => Effect.Effect<A, ServerError, R>
): Effect.Effect<A, ServerError, R | Scope.Scope> =>
  Effect.gen(function* () {
    const ports = yield* freePorts(count)
    const scope = yield* Scope.fork(yield* Effect.scope)
    return yield* make(ports).pipe(
      Scope.provide(scope),
      Effect.onExit((exit) => (Exit.isFailure(exit) ? Scope.close(scope, exit) : Effect.void))
    )
  }).pipe(Effect.retry({ times: 4, while: (error) => portTaken.test(error.log) }))
