/** A node as the run sees it: an operating system's process after another under one name, each behind proxies of its own. */
import { Effect } from "effect"
import type { ChildProcess } from "node:child_process"
import { spawn, spawnSync } from "node:child_process"
import process from "node:process"
import { createInterface } from "node:readline"
import { fileURLToPath } from "node:url"
import type { History } from "../../src/testing/index.ts"
import * as Proxy from "../faults/proxy.ts"
import { now } from "./clock.ts"
import type { Server } from "./engine.ts"
import type { Attempt } from "./fencing.ts"
import type { Orders, Word } from "./protocol.ts"
import { decode } from "./protocol.ts"

/** What the processes of a run have told so far. */
export interface Account {
  readonly events: Array<History.Event>
  readonly attempts: Array<Attempt>
  readonly stalls: Array<{ readonly process: string; readonly from: number; readonly to: number }>
  readonly broken: Array<string>
}

export const makeAccount = (): Account => ({ events: [], attempts: [], stalls: [], broken: [] })

export interface Node {
  readonly name: string
  readonly proxies: ReadonlyArray<Proxy.Proxy>
  /** Of the process that runs now. */
  readonly label: () => string
  readonly starts: () => number
  /** The value that its registration should have. */
  readonly wants: () => number
  readonly isRunning: () => boolean
  readonly say: (word: Word) => void
  readonly start: Effect.Effect<void>
  readonly pause: Effect.Effect<void>
  readonly resume: Effect.Effect<void>
  readonly kill: Effect.Effect<void>
  /** Ends as a program does, by itself. */
  readonly end: Effect.Effect<"ended" | "stuck">
}

/** The kernel ends a node whose run has died without a word. */
const diesWithUs: ReadonlyArray<string> =
  spawnSync("setpriv", ["--pdeathsig", "KILL", "true"], { stdio: "ignore" }).status === 0
    ? ["setpriv", "--pdeathsig", "KILL"]
    : []

/** A program that gives everything back in vain takes a request's deadline for each of the few things that it asks in turn. */
const endWithin = "20 seconds"

/** Nodes start often, and starting is mostly compiling: the second one finds it done. */
const env = { ...process.env, NODE_COMPILE_CACHE: fileURLToPath(new URL("../../.cache/compile", import.meta.url)) }

const script = fileURLToPath(new URL("worker.ts", import.meta.url))

/** What a process had not ended when it was killed ended with it. */
export const bury = (events: Array<History.Event>, label: string, at: number): void => {
  const open = new Map<string, Extract<History.Event, { readonly _tag: "Stopped" }>>()
  const readers = new Set<string>()
  const stamp = { process: label, at, order: 0 }
  for (const event of events) {
    if (event.process !== label) continue
    if ("reader" in event) {
      if (event._tag === "Detached") readers.delete(event.reader)
      else readers.add(event.reader)
    } else if ("token" in event && "group" in event) {
      const key = `${event.group} ${event.id} ${event.token}`
      const { group, id, token } = event
      if (event._tag === "Granted" || event._tag === "Began") {
        open.set(key, { _tag: "Stopped", ...stamp, group, id, token, lost: false })
      }
      if (event._tag === "Stopped") open.delete(key)
    }
  }
  events.push(...open.values())
  for (const reader of readers) events.push({ _tag: "Detached", ...stamp, reader })
}

export const make = Effect.fnUntraced(function* (
  options: {
    readonly engine: string
    readonly root: string
    readonly name: string
    readonly seed: number
    readonly requestMillis?: number
    /** The first is the one that it asks first. */
    readonly servers: ReadonlyArray<Server>
  },
  account: Account
) {
  const { engine, name, root, servers } = options
  const proxies = yield* Effect.forEach(servers, (server) => Proxy.make({ upstream: server }))
  let child: ChildProcess | undefined
  let ended: Promise<void> = Promise.resolve()
  let starts = 0
  let wants = 0
  let word: Word = "work"
  let pausedAt: number | undefined
  /** Whether its end was asked for. */
  let expected = false

  const label = () => `${name}.${starts}`

  const hear = (from: string, line: string) => {
    let told
    try {
      told = decode(line)
    } catch {
      // The last line of a process that was killed may be half of one.
      return
    }
    switch (told._tag) {
      case "Event":
        account.events.push(told.event)
        break
      case "Attempted":
        account.attempts.push(told)
        break
      case "Stalled":
        account.stalls.push({ process: from, from: told.from, to: told.to })
        break
      case "Wants":
        if (from === label()) wants = told.n
        break
      case "Broken":
        account.broken.push(`${from}: ${told.detail}`)
    }
  }

  const start = Effect.sync(() => {
    if (child !== undefined) return
    starts++
    expected = false
    pausedAt = undefined
    const mine = label()
    const endpoints = proxies.map(({ address }) => address)
    const { requestMillis, seed } = options
    const orders: Orders = {
      engine,
      root,
      label: mine,
      node: name,
      endpoints,
      seed: seed + starts,
      ...(requestMillis === undefined ? {} : { requestMillis })
    }
    const [file = process.execPath, ...rest] = [...diesWithUs, process.execPath, script, JSON.stringify(orders)]
    const started = spawn(file, rest, { env, stdio: ["pipe", "pipe", "pipe"] })
    child = started
    // Its reader may be gone before the writer knows.
    started.stdin.on("error", () => {})
    started.stdin.write(`${word}\n`)
    let errors = ""
    started.stderr.on("data", (chunk: Buffer) => (errors = `${errors}${String(chunk)}`.slice(-2_000)))
    const lines = createInterface({ input: started.stdout })
    lines.on("line", (line) => hear(mine, line))
    ended = new Promise((resolve) => {
      let left = 2
      const done = () => {
        if (--left === 0) resolve()
      }
      lines.once("close", done)
      started.once("exit", (code, signal) => {
        if (!expected) account.broken.push(`${mine} ended with ${code ?? signal}: ${errors}`)
        done()
      })
    })
  })

  const kill = Effect.gen(function* () {
    if (child === undefined) return
    const mine = label()
    // A process that was stopped has not acted since.
    const at = pausedAt ?? now()
    expected = true
    child.kill("SIGKILL")
    yield* Effect.promise(() => ended)
    child = undefined
    bury(account.events, mine, at)
  })

  yield* Effect.addFinalizer(() => kill)

  const self: Node = {
    name,
    proxies,
    label,
    starts: () => starts,
    wants: () => wants,
    isRunning: () => child !== undefined,
    say: (next) => {
      word = next
      child?.stdin?.write(`${next}\n`)
    },
    start,
    pause: Effect.sync(() => {
      pausedAt = now()
      child?.kill("SIGSTOP")
    }),
    resume: Effect.sync(() => {
      pausedAt = undefined
      child?.kill("SIGCONT")
    }),
    kill,
    end: Effect.suspend(() => {
      if (child === undefined) return Effect.succeed("ended" as const)
      expected = true
      child.stdin?.write("end\n")
      return Effect.promise(() => ended).pipe(
        Effect.as("ended" as const),
        Effect.timeoutOrElse({ duration: endWithin, orElse: () => Effect.as(kill, "stuck" as const) }),
        Effect.tap(() => Effect.sync(() => (child = undefined)))
      )
    })
  }
  return self
})
