import { readdirSync, readFileSync } from "node:fs"
import { dirname, join, relative, sep } from "node:path"
import { fileURLToPath } from "node:url"

/** The project's root folder. */
export const root = fileURLToPath(new URL("../../", import.meta.url))

/** The text of a file named from the root. */
export const read = (file: string): string => readFileSync(join(root, file), "utf8")

/** Every TypeScript file under a folder, named from the root with forward slashes. */
export const filesOf = (folder: string): ReadonlyArray<string> =>
  readdirSync(join(root, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith(".ts"))
    .map((entry) => relative(root, join(entry.parentPath, entry.name)).split(sep).join("/"))
    .sort()

/** The line, counted from 1, of an offset in a text. */
export const lineAt = (text: string, offset: number): number => text.slice(0, offset).split("\n").length

// Strings and templates are matched so that a comment opener inside one is left alone.
const token = /\/\*[\s\S]*?\*\/|\/\/[^\n]*|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|`(?:\\[\s\S]|[^`\\])*`/g

/** The text with its comments blanked out, every other character where it was. */
export const withoutComments = (text: string): string =>
  text.replace(token, (found) => (found.startsWith("/") ? found.replace(/[^\n]/g, " ") : found))

export interface Import {
  readonly specifier: string
  readonly typeOnly: boolean
  readonly line: number
}

// An import clause holds none of the excluded characters, so a match cannot start in one statement and end in another.
const statement = /^(?:import|export)\b(?:([^'"`;=(:<]*?)\bfrom\b)?\s*["']([^"']+)["']/gm
const dynamic = /\bimport\s*\(\s*["']([^"']+)["']/g

/** Every import, re-export and dynamic import of a file. */
export const importsOf = (file: string): ReadonlyArray<Import> => {
  const text = withoutComments(read(file))
  const found: Array<Import> = []
  for (const match of text.matchAll(statement)) {
    const typeOnly = match[1]?.trimStart().startsWith("type ") ?? false
    found.push({ specifier: match[2] ?? "", typeOnly, line: lineAt(text, match.index + match[0].length) })
  }
  for (const match of text.matchAll(dynamic)) {
    found.push({ specifier: match[1] ?? "", typeOnly: false, line: lineAt(text, match.index) })
  }
  return found
}

/** The file that a relative import names. */
export const resolve = (from: string, specifier: string): string => join(dirname(from), specifier).split(sep).join("/")
