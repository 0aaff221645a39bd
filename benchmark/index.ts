/**
 * Runs the named benchmarks, or all, each in a process of its own: what one leaves behind, in the heap and in what the
 * compiler has learnt, is no part of the next one's numbers.
 */
import { spawnSync } from "node:child_process"
import { cpus, loadavg, totalmem } from "node:os"
import { fileURLToPath } from "node:url"
import { benchmarks, onlyByName } from "./benchmarks.ts"
import { markdown } from "./report.ts"
import type { Report } from "./report.ts"

const flags = process.argv.slice(2).filter((argument) => argument.startsWith("--"))
const named = process.argv.slice(2).filter((argument) => !argument.startsWith("--"))
const unknown = [...named.filter((name) => !(name in benchmarks)), ...flags.filter((flag) => flag !== "--json")]
const names = named.length > 0 ? named : Object.keys(benchmarks).filter((name) => !onlyByName.has(name))

const run = (name: string): Report | undefined => {
  const script = fileURLToPath(new URL("run.ts", import.meta.url))
  const { status, stdout } = spawnSync(process.execPath, ["--expose-gc", script, name], {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "inherit"],
    maxBuffer: 16 * 1024 * 1024
  })
  return status === 0 ? (JSON.parse(stdout) as Report) : undefined
}

if (unknown.length > 0) {
  console.error(`Unknown: ${unknown.join(", ")}. npm run bench [-- ${Object.keys(benchmarks).join(" | ")} ... --json]`)
  process.exitCode = 1
} else {
  const json = flags.includes("--json")
  const gibibytes = Math.round(totalmem() / 1024 ** 3)
  const machine = `${cpus().length} processors, ${gibibytes} GiB, ${process.platform}, Node ${process.versions.node}, load ${loadavg()[0]?.toFixed(1)}`
  const reports: Array<Report> = []
  if (!json) console.log(`${new Date().toISOString().slice(0, 10)}, ${machine}\n`)
  for (const name of names) {
    const report = run(name)
    if (report === undefined) process.exitCode = 1
    else if (json) reports.push(report)
    else console.log(`${markdown(report)}\n`)
  }
  if (json) console.log(JSON.stringify({ machine, reports }, undefined, 2))
}
