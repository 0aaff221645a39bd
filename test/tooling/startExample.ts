import { spawn } from "node:child_process"
import { once } from "node:events"
import { join } from "node:path"
import { assert } from "vitest"
import { root } from "./source.ts"

export interface Ran {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

/** Starts an example the way its reader does. What it imports of the project is what has been built. */
export const start = (name: string, ...args: ReadonlyArray<string>) => {
  const child = spawn(process.execPath, [join(root, "examples", `${name}.ts`), ...args], {
    stdio: "pipe",
    timeout: 80_000
  })
  let stdout = ""
  let stderr = ""
  child.stdout.setEncoding("utf8").on("data", (chunk: string) => (stdout += chunk))
  child.stderr.setEncoding("utf8").on("data", (chunk: string) => (stderr += chunk))
  const ended: Promise<Ran> = once(child, "close").then(([code]) => ({ code, stdout, stderr }))
  const printed = async (text: string): Promise<void> => {
    const never = ended.then(({ stderr }) => assert.fail(`It ended without "${text}":\n${stdout}${stderr}`))
    // It ends some time in any case: after the wait that is no failure.
    never.catch(() => {})
    while (!stdout.includes(text)) await Promise.race([once(child.stdout, "data"), never])
  }
  return { child, ended, printed, told: () => stdout }
}

export const run = (name: string, ...args: ReadonlyArray<string>): Promise<Ran> => start(name, ...args).ended

/** Lines that occur in this order, whatever stands between them. */
export const assertInOrder = (text: string, lines: ReadonlyArray<RegExp>): void => {
  let rest = text
  for (const line of lines) {
    const found = line.exec(rest)
    assert.isNotNull(found, `${line} does not occur, or not in this order, in:\n${text}`)
    rest = rest.slice((found?.index ?? 0) + (found?.[0].length ?? 0))
  }
}
