import { Effect } from "effect"
import { readFileSync } from "node:fs"
import nodeProcess from "node:process"
import type { Process } from "./process.ts"
import { until } from "./until.ts"

/** As "T" when it is stopped; none when it is gone, or has ended and nobody has asked about it yet. */
const stateOf = (pid: number): string | undefined => {
  try {
    const state = /.*\) (\w)/s.exec(readFileSync(`/proc/${pid}/stat`, "utf8"))?.[1]
    return state === "Z" ? undefined : state
  } catch {
    return undefined
  }
}

const childrenOf = (pid: number): ReadonlyArray<number> => {
  try {
    return (readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").match(/\d+/g) ?? []).map(Number)
  } catch {
    return []
  }
}

const signal = (pid: number, name: NodeJS.Signals): void => {
  try {
    nodeProcess.kill(pid, name)
  } catch {
    // It has ended.
  }
}

/** Children end by themselves when they see that their server has, but not while they are stopped. */
const stopped = new Set<number>()
nodeProcess.once("exit", () => {
  for (const pid of stopped) signal(pid, "SIGKILL")
})

const eventually = (condition: () => boolean) =>
  until(
    Effect.suspend(() => (condition() ? Effect.void : Effect.fail("not yet"))),
    { within: "5 seconds" }
  ).pipe(Effect.orDie)

/** For a server that gives work to processes of its own: what is done to the server is done to them. */
export const withChildren = (server: Process): Process => {
  // A stopped server makes no more of them.
  const pause = Effect.andThen(
    server.pause,
    eventually(() => {
      // One that has ended stays so until the server goes on.
      const running = childrenOf(server.pid()).filter((pid) => ![undefined, "T"].includes(stateOf(pid)))
      for (const pid of running) {
        signal(pid, "SIGSTOP")
        stopped.add(pid)
      }
      return running.length === 0
    })
  )
  const resume = Effect.suspend(() => {
    for (const pid of childrenOf(server.pid())) {
      signal(pid, "SIGCONT")
      stopped.delete(pid)
    }
    return server.resume
  })
  const kill = Effect.gen(function* () {
    if (!server.isRunning()) return
    yield* server.pause
    const children = childrenOf(server.pid())
    for (const pid of children) {
      signal(pid, "SIGKILL")
      stopped.delete(pid)
    }
    yield* server.kill
    // What one of them holds keeps the server from starting again.
    yield* eventually(() => children.every((pid) => stateOf(pid) === undefined))
  })
  return {
    ...server,
    pause,
    resume,
    kill,
    restart: Effect.andThen(kill, server.start),
    stop: Effect.andThen(resume, server.stop)
  }
}
