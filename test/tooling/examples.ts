import { existsSync } from "node:fs"
import { dirname, join } from "node:path"
import { lineAt, read, root } from "./source.ts"

export interface Example {
  /** Where it stands, as file:line of its first line. */
  readonly at: string
  readonly file: string
  /** The line of the source file that holds the example's first line. */
  readonly line: number
  readonly code: string
  readonly runs: boolean
}

/** The entry points that the package exports, as sources. */
const entryPoints = (): ReadonlyArray<string> => {
  const { exports } = JSON.parse(read("package.json")) as { readonly exports: Readonly<Record<string, string | null>> }
  return Object.values(exports)
    .filter((target) => target?.endsWith(".js") === true)
    .map((target) => String(target).replace(/^\.\/dist\/(.*)\.js$/, "src/$1.ts"))
}

/** What a user can import: the entry points, and the modules that they export. */
export const publicFiles = (): ReadonlyArray<string> =>
  entryPoints().flatMap((entry) => [
    entry,
    ...Array.from(read(entry).matchAll(/^export \* (?:as \w+ )?from "(.+)"$/gm), ([, to]) =>
      join(dirname(entry), to ?? "")
    )
  ])

const fence = /^( *)```ts(?:[ \t][^\n]*)?\n([\s\S]*?)^ *```[ \t]*$/gm

const fencesOf = (file: string, text: string, firstLine: number): ReadonlyArray<Example> =>
  [...text.matchAll(fence)].map((match) => {
    const line = firstLine + lineAt(text, match.index)
    const indent = new RegExp(`^${match[1] ?? ""}`, "gm")
    const code = (match[2] ?? "").replace(indent, "")
    return { at: `${file}:${line}`, file, line, code, runs: !/^\s*\/\/ no-run\b/.test(code) }
  })

/** Every `ts` fence in the JSDoc of a source file. */
export const examplesOfSource = (file: string, text: string): ReadonlyArray<Example> =>
  [...text.matchAll(/\/\*\*[\s\S]*?\*\//g)].flatMap((match) =>
    fencesOf(file, match[0].replace(/^[ \t]*\* ?/gm, ""), lineAt(text, match.index))
  )

/** Every `ts` fence of a Markdown file. */
export const examplesOfMarkdown = (file: string, text: string): ReadonlyArray<Example> => fencesOf(file, text, 1)

/** The examples of the README and of every documented module. */
export const examples = (): ReadonlyArray<Example> => [
  ...(existsSync(join(root, "README.md")) ? examplesOfMarkdown("README.md", read("README.md")) : []),
  ...publicFiles().flatMap((file) => examplesOfSource(file, read(file)))
]

/** What one `console.log` printed, and the line of the example it stands on where the call itself shows it. */
export interface Printed {
  readonly line: number | null
  readonly text: string
}

const squeeze = (texts: ReadonlyArray<string>): string => texts.join(" ").replace(/\s+/g, " ").trim()

/**
 * Compares the `// => value` comments of an example with what it printed. A comment belongs to the nearest
 * `console.log` on its own line or above; several comments of one call are its outputs in order.
 */
export const mismatches = (example: Example, printed: ReadonlyArray<Printed>): ReadonlyArray<string> => {
  const found: Array<string> = []
  const expected = new Map<number, Array<string>>()
  let site = 0
  for (const [index, text] of example.code.split("\n").entries()) {
    const comment = /\/\/ => ?(.*)$/.exec(text)
    if (/^(?!\s*\/\/).*\bconsole\.log\b/i.test(text)) site = index + 1
    if (comment === null) continue
    if (site === 0) found.push(`${example.file}:${example.line + index} asserts a value, but nothing above prints one`)
    else expected.set(site, [...(expected.get(site) ?? []), comment[1] ?? ""])
  }
  // A print through Console.log or .then(console.log) does not show its line: these are taken in order.
  const unplaced = printed.filter(({ line }) => line === null).map(({ text }) => text)
  for (const [line, values] of expected) {
    const placed = printed.filter((one) => one.line === line).map(({ text }) => text)
    const actual = placed.length > 0 ? placed : unplaced.splice(0, values.length)
    if (squeeze(actual) !== squeeze(values)) {
      const outcome = actual.length === 0 ? "printed nothing" : `printed ${squeeze(actual)}`
      found.push(`${example.file}:${example.line + line - 1} ${outcome}, expected ${squeeze(values)}`)
    }
  }
  return found
}

interface Export {
  readonly at: string
  readonly name: string
  readonly doc: string
  readonly required: ReadonlyArray<string>
}

const declaration =
  /^export (?:declare )?(?:abstract )?(?:async )?(?:const|let|function\*?|class|interface|type|namespace|enum) +(\w+)/gm
const reExport = /^export (?:type )?(?:\*(?: as (\w+))?|\{([^}]*)\})/gm

/** The JSDoc that ends right above an offset. */
const docAbove = (text: string, offset: number): string => {
  const lines = text.slice(0, offset).split("\n")
  while (/^\s*(?:\/\/.*)?$/.test(lines.at(-1) ?? "end")) lines.pop()
  const above = lines.join("\n").trimEnd()
  return above.endsWith("*/") ? above.slice(above.lastIndexOf("/**")) : ""
}

const exportsOf = (file: string, text: string): ReadonlyArray<Export> => {
  const make = (required: ReadonlyArray<string>) => (match: RegExpMatchArray) => {
    const offset = match.index ?? 0
    const name = (match[1] ?? match[2] ?? match[0]).trim().replace(/\s+/g, " ")
    return { at: `${file}:${lineAt(text, offset)}`, name, doc: docAbove(text, offset), required }
  }
  return [
    ...[...text.matchAll(declaration)].map(make(["@since", "@category"])),
    ...[...text.matchAll(reExport)].map(make(["@since"]))
  ]
}

/** The exports whose documentation lacks a tag: of several declarations of one name, one has to be documented. */
export const undocumented = (file: string, text: string): ReadonlyArray<string> => {
  const byName = new Map<string, Array<Export>>()
  for (const one of exportsOf(file, text)) byName.set(one.name, [...(byName.get(one.name) ?? []), one])
  return [...byName.values()].flatMap((declarations) => {
    const missing = declarations.map(({ doc, required }) =>
      doc.includes("@internal") ? [] : required.filter((tag) => !new RegExp(`${tag}\\b[ \\t]+\\S`).test(doc))
    )
    const [first] = declarations
    const least = missing.toSorted((a, b) => a.length - b.length)[0] ?? []
    return first === undefined || least.length === 0 ? [] : [`${first.at} ${first.name} lacks ${least.join(" and ")}`]
  })
}
