import { spawnSync } from "node:child_process"

// All checks run, so that one report names everything that is wrong.
const checks = ["types", "effect", "lint", "format", "house", "lock", "package"]
const failed = checks.filter((name) => {
  const started = performance.now()
  const { status, stdout, stderr } = spawnSync("npm", ["run", "--silent", `check:${name}`], { encoding: "utf8" })
  const seconds = ((performance.now() - started) / 1000).toFixed(1)
  console.log(`${status === 0 ? "ok    " : "FAILED"} check:${name} (${seconds} s)`)
  if (status !== 0) console.log(`${stdout}${stderr}`)
  return status !== 0
})
if (failed.length > 0) {
  console.log(`failed: ${failed.map((name) => `npm run check:${name}`).join(", ")}`)
  process.exitCode = 1
}
