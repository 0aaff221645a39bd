import { execFileSync } from "node:child_process"
import { existsSync } from "node:fs"
import { join } from "node:path"
import { pathToFileURL } from "node:url"
import { assert, describe, it } from "vitest"
import { root } from "./source.ts"

const built = join(root, "dist/index.js")

// Loads the built core with a hook that notes what each of our own files asks for, and where that led.
const probe = `
import { registerHooks } from "node:module"
const dist = ${JSON.stringify(pathToFileURL(join(root, "dist/")).href)}
const asked = []
registerHooks({
  resolve(specifier, context, next) {
    const found = next(specifier, context)
    if (context.parentURL?.startsWith(dist)) asked.push([context.parentURL.slice(dist.length), specifier, found.url])
    return found
  }
})
await import(dist + "index.js")
console.log(JSON.stringify(asked))
`

describe("the built core", () => {
  it("loads nothing but its own files and effect", () => {
    assert.isTrue(existsSync(built), "dist/index.js is missing: run `npm run build` first")
    const output = execFileSync(process.execPath, ["--input-type=module", "-e", probe], { cwd: root, encoding: "utf8" })
    const asked: ReadonlyArray<[from: string, specifier: string, url: string]> = JSON.parse(output)
    const dist = pathToFileURL(join(root, "dist/")).href
    const foreign = asked
      .filter(([, specifier, url]) => !url.startsWith(dist) && !specifier.startsWith("effect/"))
      .map(([from, specifier]) => `  dist/${from} imports "${specifier}"`)
    assert.isEmpty(foreign, `The core must load nothing but effect.\n${foreign.join("\n")}\n`)
    assert.isNotEmpty(asked, "the hook saw no import at all")
  })
})
