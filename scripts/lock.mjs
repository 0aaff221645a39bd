// `npm ci` refuses a lock that leaves out a package of another platform, and `npm install` leaves out those that the
// registry at hand does not carry. This adds them; with --check it only reports, also addresses of a registry.
import { readFileSync, writeFileSync } from "node:fs"

const file = new URL("../package-lock.json", import.meta.url)
const lock = JSON.parse(readFileSync(file, "utf8"))
const platform = /-(darwin|linux|win32|freebsd|openbsd|android|sunos)-(x64|arm64|arm|ia32|ppc64|riscv64|s390x)\b/

const missing = Object.values(lock.packages).flatMap(({ dev, optionalDependencies = {} }) =>
  Object.entries(optionalDependencies)
    .filter(([name]) => lock.packages[`node_modules/${name}`] === undefined)
    .map(([name, version]) => ({ name, version, dev }))
)
const addresses = Object.entries(lock.packages).filter(([, { resolved }]) => resolved !== undefined)

if (process.argv.includes("--check")) {
  for (const { name, version } of missing) console.error(`package-lock.json lacks ${name}@${version}: npm run lock`)
  for (const [name] of addresses) console.error(`package-lock.json names the address of ${name}: npm run lock`)
  process.exitCode = missing.length + addresses.length > 0 ? 1 : 0
} else {
  for (const { name, version, dev } of missing) {
    const [, os, cpu] = platform.exec(name) ?? []
    if (os === undefined) throw new Error(`${name} names no platform: install it by hand`)
    lock.packages[`node_modules/${name}`] = { version, cpu: [cpu], dev, optional: true, os: [os] }
  }
  for (const [, entry] of addresses) delete entry.resolved
  lock.packages = Object.fromEntries(Object.entries(lock.packages).sort(([a], [b]) => (a < b ? -1 : 1)))
  writeFileSync(file, `${JSON.stringify(lock, null, 2)}\n`)
}
