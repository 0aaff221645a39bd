// Runs in a process of its own: imports the given modules one after the other and sends what each one printed.
import { pathToFileURL } from "node:url"
import { format } from "node:util"
import type { Printed } from "./examples.ts"

export interface Outcome {
  readonly file: string
  readonly printed: ReadonlyArray<Printed>
  readonly error?: string
}

const deadline = 10_000
let printed: Array<Printed> = []
let fail: (error: unknown) => void = () => undefined
let current = ""

/** The line of the running module that made this call, if it did so itself. */
const callerLine = (above: (...args: Array<unknown>) => void): number | null => {
  const limit = Error.stackTraceLimit
  const holder: { stack?: string } = {}
  Error.stackTraceLimit = 1
  Error.captureStackTrace(holder, above)
  Error.stackTraceLimit = limit
  const frame = holder.stack?.split("\n")[1] ?? ""
  const at = frame.indexOf(`${current}:`)
  return at < 0 ? null : Number.parseInt(frame.slice(at + current.length + 1), 10)
}

// Log lines of the runtime carry the time of day: no example can assert them.
const isLogLine = (text: string): boolean => /^(?:\[\d\d:\d\d|timestamp=)/.test(text)

console.log = (...args: Array<unknown>) => {
  const line = callerLine(console.log)
  const text = format(...args)
  if (line !== null || !isLogLine(text)) printed.push({ line, text })
}
for (const method of ["debug", "info", "warn", "error"] as const) console[method] = () => undefined
process.on("unhandledRejection", (error) => fail(error))
process.on("uncaughtException", (error) => fail(error))

const run = (file: string): Promise<Outcome> =>
  new Promise((done) => {
    printed = []
    current = pathToFileURL(file).href
    const end = (error?: unknown): void => {
      clearTimeout(timer)
      done(error === undefined ? { file, printed } : { file, printed, error: format(error) })
    }
    const timer = setTimeout(() => end(`still running after ${deadline / 1000} s`), deadline)
    fail = end
    // One more turn lets a rejection that nobody handles be reported before the next module begins.
    import(current).then(() => setImmediate(end), end)
  })

for (const file of process.argv.slice(2)) {
  const outcome = await run(file)
  await new Promise((sent) => process.send?.(outcome, sent))
  // What failed or hangs may go on in the background: the rest is run by a fresh process.
  if (outcome.error !== undefined) break
}
process.exit(0)
