import { assert, describe, it } from "vitest"
import type { Import } from "./source.ts"
import { filesOf, importsOf, read, resolve, withoutComments } from "./source.ts"

interface Edge extends Import {
  readonly from: string
  readonly to: string
}

const files = filesOf("src")
const imports: ReadonlyMap<string, ReadonlyArray<Import>> = new Map(files.map((file) => [file, importsOf(file)]))
const edges: ReadonlyArray<Edge> = files.flatMap((from) =>
  (imports.get(from) ?? [])
    .filter(({ specifier }) => specifier.startsWith("."))
    .map((one) => Object.assign({ from, to: resolve(from, one.specifier) }, one))
)

const recipe = /^src\/(?:Discovery|Election|Lock|Barrier|Sequence)\.ts$/
const lifecycle = /^src\/(?:Maestro|Supervisor|Health)\.ts$/
const engine = /^src\/engines\//
const service = /^src\/services\//
const internal = /^src\/internal\//
/** The entry points of engines that load a client of their own, and are apart from the index for that. */
const entry = /^src\/(?:etcd|consul|zookeeper|exhibitor)\.ts$/

const show = ({ from, line, to }: Edge): string => `${from}:${line} imports ${to}`

const assertNone = (rule: string, offences: ReadonlyArray<string>): void => {
  if (offences.length > 0) assert.fail(`${rule}\n${offences.map((offence) => `  ${offence}`).join("\n")}`)
}

/** The chain of imports that leads from each reachable file back to the start. */
const reachable = (start: string): ReadonlyMap<string, string> => {
  const chains = new Map([[start, start]])
  for (const [file, chain] of chains) {
    for (const { from, to } of edges) {
      if (from === file && !chains.has(to)) chains.set(to, `${chain} -> ${to}`)
    }
  }
  return chains
}

/** Circles of imports that exist when the program runs: type imports are erased. */
const circles = (): ReadonlyArray<string> => {
  const done = new Set<string>()
  const found: Array<string> = []
  const visit = (file: string, path: ReadonlyArray<string>): void => {
    const at = path.indexOf(file)
    if (at >= 0) {
      found.push([...path.slice(at), file].join(" -> "))
      return
    }
    if (done.has(file)) return
    const here = [...path, file]
    for (const { from, to, typeOnly } of edges) if (from === file && !typeOnly) visit(to, here)
    done.add(file)
  }
  for (const file of files) visit(file, [])
  return found
}

describe("the house", () => {
  it("has no circular imports", () => {
    assertNone("Modules must not import each other in a circle.", circles())
  })

  it("imports every file of its own by its name, with the extension", () => {
    assertNone(
      "A relative import must name an existing file, as in ./X.ts.",
      edges.filter(({ to }) => !imports.has(to)).map(({ from, line, specifier }) => `${from}:${line} "${specifier}"`)
    )
  })

  it("keeps recipes and lifecycle ignorant of engines, also through other files", () => {
    const starts = files.filter((file) => recipe.test(file) || lifecycle.test(file))
    assertNone(
      "A recipe or lifecycle module knows the contract and no engine.",
      starts.flatMap((file) => [...reachable(file)].filter(([to]) => engine.test(to)).map(([, chain]) => chain))
    )
  })

  it("imports engines only from engines, the index, and testing (Memory only)", () => {
    assertNone(
      "Only src/engines and the entry points may import an engine; src/testing may import the Memory engine.",
      edges
        .filter(({ from, to }) => engine.test(to) && !engine.test(from) && from !== "src/index.ts" && !entry.test(from))
        .filter(({ from, to }) => !(from.startsWith("src/testing/") && /^src\/engines\/(Memory|memory\/)/.test(to)))
        .map(show)
    )
  })

  it("keeps engines ignorant of recipes", () => {
    assertNone(
      "An engine implements the contract and knows no recipe.",
      edges.filter(({ from, to }) => engine.test(from) && recipe.test(to)).map(show)
    )
  })

  it("keeps services on the lifecycle, ignorant of engines and recipes", () => {
    assertNone(
      "A service knows Effect, its client, and Maestro.",
      files
        .filter((file) => service.test(file))
        .flatMap((file) => [...reachable(file)])
        .filter(([to]) => engine.test(to) || recipe.test(to))
        .map(([, chain]) => chain)
    )
  })

  it("keeps internal modules below engines and recipes", () => {
    assertNone(
      "src/internal imports no engine, no recipe and no service.",
      edges
        .filter(({ from, to }) => internal.test(from) && (engine.test(to) || recipe.test(to) || service.test(to)))
        .map(show)
    )
  })

  it("needs nothing but effect for the core", () => {
    const core = [...reachable("src/index.ts").keys()]
    assertNone(
      'What src/index.ts reaches may import "effect/X" and its own files, nothing else.',
      core.flatMap((file) =>
        (imports.get(file) ?? [])
          .filter(({ specifier }) => !specifier.startsWith(".") && !specifier.startsWith("effect/"))
          .map(({ line, specifier }) => `${file}:${line} imports "${specifier}"`)
      )
    )
  })

  it("runs every test", () => {
    const focused = /\b(?:it|test|describe)(?:\.[a-z]+)*\.(?:only|skip|todo|skipIf)\b/
    assertNone(
      "No test is focused, skipped or left to do.",
      filesOf("test").flatMap((file) =>
        withoutComments(read(file))
          .split("\n")
          .flatMap((text, index) => (focused.test(text) ? [`${file}:${index + 1} ${text.trim()}`] : []))
      )
    )
  })
})
