import { execFile, fork } from "node:child_process"
import { existsSync, mkdirSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { afterAll, assert, beforeAll, describe, it } from "vitest"
import type { Example } from "./examples.ts"
import { examples, examplesOfMarkdown, mismatches, publicFiles, undocumented } from "./examples.ts"
import type { Outcome } from "./runExamples.ts"
import { read, root } from "./source.ts"

const all = examples()
// Inside the project, so that its own name leads to dist; a folder per run, so that two runs do not meet.
const folder = join(root, ".cache/docs", String(process.pid))
const pathOf = (index: number): string => join(folder, `example${index}.ts`)
const indent = (text: string): string => text.trimEnd().replace(/^/gm, "  ")
const assertNone = (complaints: ReadonlyArray<string>): void => {
  if (complaints.length > 0) assert.fail(`\n${indent(complaints.join("\n"))}`)
}

/** The compiler's complaints, each with the place of the example it is about. */
const compile = (): Promise<string> =>
  new Promise((done) => {
    const tsc = join(root, "node_modules/typescript/bin/tsc")
    const args = [tsc, "--pretty", "false", "-p", join(folder, "tsconfig.json")]
    execFile(process.execPath, args, { cwd: root, maxBuffer: 1 << 26 }, (error, stdout, stderr) => {
      const text = stdout.replace(/^.*\bexample(\d+)\.ts\((\d+),(\d+)\)/gm, (found, index, line, column) => {
        const example = all[Number(index)]
        return example === undefined ? found : `${example.file}:${example.line + Number(line) - 1}:${column}`
      })
      done(error === null ? "" : `${text}${stderr}` || String(error))
    })
  })

const runIn = (files: ReadonlyArray<string>): Promise<ReadonlyArray<Outcome>> =>
  new Promise((done) => {
    const outcomes: Array<Outcome> = []
    const child = fork(join(root, "test/tooling/runExamples.ts"), files, { cwd: root, execArgv: [], stdio: "pipe" })
    let stderr = ""
    child.stderr?.on("data", (chunk) => (stderr += String(chunk)))
    child.stdout?.resume()
    child.on("message", (outcome: Outcome) => outcomes.push(outcome))
    child.on("close", () => done(outcomes.at(-1)?.error === undefined ? complete(files, outcomes, stderr) : outcomes))
  })

/** A process that ended early took the example down that it was at. */
const complete = (files: ReadonlyArray<string>, outcomes: ReadonlyArray<Outcome>, stderr: string) => {
  const at = files[outcomes.length]
  return at === undefined ? outcomes : [...outcomes, { file: at, printed: [], error: `ended the process\n${stderr}` }]
}

const runAll = async (files: ReadonlyArray<string>): Promise<ReadonlyArray<Outcome>> => {
  const outcomes: Array<Outcome> = []
  while (outcomes.length < files.length) outcomes.push(...(await runIn(files.slice(outcomes.length))))
  return outcomes
}

let compiled = ""
const outcomes = new Map<string, Outcome>()

beforeAll(async () => {
  assert.isTrue(existsSync(join(root, "dist/index.js")), "dist/index.js is missing: run `npm run build` first")
  mkdirSync(folder, { recursive: true })
  const tsconfig = {
    extends: "../../../tsconfig.json",
    compilerOptions: { noUnusedLocals: false, noUnusedParameters: false },
    include: ["*.ts"]
  }
  writeFileSync(join(folder, "tsconfig.json"), JSON.stringify(tsconfig))
  for (const [index, { code }] of all.entries()) writeFileSync(pathOf(index), code)
  const runnable = all.flatMap(({ runs }, index) => (runs ? [pathOf(index)] : []))
  const half = Math.ceil(runnable.length / 2)
  const [first, second, text] = await Promise.all([
    runAll(runnable.slice(0, half)),
    runAll(runnable.slice(half)),
    all.length === 0 ? "" : compile()
  ])
  compiled = text
  for (const outcome of [...first, ...second]) outcomes.set(outcome.file, outcome)
}, 300_000)

afterAll(() => rmSync(folder, { force: true, recursive: true }))

describe("documentation", () => {
  it("has examples that type-check", () => {
    if (compiled !== "") assert.fail(`\n${indent(compiled)}`)
  })

  it.each(all.map((example, index) => ({ ...example, index })).filter(({ runs }) => runs))(
    "has an example that runs at $at",
    (example) => {
      const outcome = outcomes.get(pathOf(example.index))
      assert.isDefined(outcome, `${example.at} was not run`)
      if (outcome.error !== undefined) assert.fail(`${example.at}\n${indent(place(outcome.error, example))}`)
      assertNone(mismatches(example, outcome.printed))
    }
  )

  it("gives every public export its @since and @category", () => {
    assertNone(publicFiles().flatMap((file) => undocumented(file, read(file))))
  })
})

/** Stack frames of the extracted module, named by where the example stands. */
const place = (text: string, example: Example): string =>
  text.replace(
    /(?:file:\/\/)?\S*\bexample\d+\.ts:(\d+)/g,
    (_, line) => `${example.file}:${example.line + Number(line) - 1}`
  )

describe("the reading of examples", () => {
  const text = [
    "```ts",
    "console.log(1)",
    "// => 1",
    "for (const n of [1, 2]) console.log(n) // => 1",
    "// => 2",
    "```",
    "```ts",
    "// no-run",
    "```"
  ].join("\n")

  it("finds fences, their lines and their marks", () => {
    assert.deepStrictEqual(
      examplesOfMarkdown("A.md", text).map(({ at, runs }) => [at, runs]),
      [
        ["A.md:2", true],
        ["A.md:8", false]
      ]
    )
  })

  it("compares what was printed, line by line", () => {
    const [example] = examplesOfMarkdown("A.md", text)
    assert.isDefined(example)
    const printed = (last: string) => [
      { line: 1, text: "1" },
      { line: 3, text: "1" },
      { line: 3, text: last }
    ]
    assert.deepStrictEqual(mismatches(example, printed("2")), [])
    assert.deepStrictEqual(mismatches(example, printed("3")), ["A.md:4 printed 1 3, expected 1 2"])
    assert.deepStrictEqual(mismatches(example, []), [
      "A.md:2 printed nothing, expected 1",
      "A.md:4 printed nothing, expected 1 2"
    ])
  })

  it("reports exports without tags", () => {
    const source = [
      "/** @since 0.1.0 */",
      'export * as A from "./A.ts"',
      "/**",
      " * @category models",
      " * @since 0.1.0",
      " */",
      "export interface B {}",
      "export const B = 1",
      "/** @internal */",
      "export const c = 1",
      "/** @since 0.1.0 */",
      "export class D {}",
      "export function e() {}"
    ].join("\n")
    assert.deepStrictEqual(undocumented("A.ts", source), [
      "A.ts:12 D lacks @category",
      "A.ts:13 e lacks @since and @category"
    ])
  })
})
