import { Config, Data, Effect } from "effect"
import { createHash } from "node:crypto"
import { existsSync, globSync, readFileSync } from "node:fs"
import { dirname, join } from "node:path"
import process from "node:process"
import { fileURLToPath } from "node:url"
import { javaProgram } from "./java.ts"
import type { Distribution } from "./provision.ts"
import { programsOf } from "./provision.ts"
import { run } from "./run.ts"

/** What Maven's package links to in others. */
const libraries = [
  "maven-resolver",
  "maven-shared-utils",
  "maven3-core",
  "wagon-file",
  "wagon-http-shaded",
  "wagon-provider-api",
  "plexus-cipher",
  "plexus-classworlds",
  "plexus-component-annotations",
  "plexus-interpolation",
  "plexus-sec-dispatcher",
  "plexus-utils2",
  "sisu-inject",
  "sisu-plexus",
  "guice",
  "guava",
  "cdi-api",
  "aopalliance",
  "atinject-jsr330-api",
  "geronimo-annotation-1.3-spec",
  "jansi",
  "slf4j",
  "commons-cli",
  "commons-io",
  "commons-lang3"
]

/** Maven itself. */
const distribution: Distribution = {
  name: "maven",
  variable: "ENSEMBLE_MAVEN_BIN",
  suite: "bookworm",
  packages: ["maven", ...libraries.map((name) => `lib${name}-java`)],
  program: "usr/share/maven/bin/mvn",
  accepted: /Apache Maven (3[.]([6-9]|[1-9][0-9])|[4-9])[.]/,
  wanted: "Maven 3.6 or later",
  fromPath: true
}

/** What a server written in Java consists of, by a POM in the folder `maven` that lays it into a folder. */
export interface Artifacts {
  readonly name: string
  /** Of the files that the recipe consists of: the POM first, and what it compiles. Patterns may be among them. */
  readonly files: readonly [string, ...ReadonlyArray<string>]
  /** Properties of the POM. */
  readonly properties?: Readonly<Record<string, string>>
}

export class MavenError extends Data.TaggedError("MavenError")<{
  readonly artifacts: Artifacts
  readonly reason: string
}> {
  override get message() {
    return `There is no "${this.artifacts.name}" to test with: ${this.reason}
Maven resolves it into .cache/servers. That takes bash, flock, and a network on which Maven reaches its central repository:
a mirror or a proxy is named in its own settings.xml.`
  }
}

const cache = fileURLToPath(new URL("../../.cache/servers", import.meta.url))
const recipes = fileURLToPath(new URL("./maven/", import.meta.url))

/** A changed recipe is another folder, so that a folder that is there is always the right one. */
const folderOf = ({ files, name, properties = {} }: Artifacts): string => {
  const hash = createHash("sha256").update(JSON.stringify(properties))
  for (const file of globSync([...files], { cwd: recipes }).sort())
    hash.update(file).update(readFileSync(join(recipes, file)))
  return `${name}-${hash.digest("hex").slice(0, 8)}`
}

/** The folder of a server's jars, resolved first where that has not been done yet. */
export const folderFor = Effect.fnUntraced(function* (artifacts: Artifacts) {
  const root = yield* Config.String("ENSEMBLE_SERVERS").pipe(Config.withDefault(cache), Effect.orDie)
  const target = join(root, folderOf(artifacts))
  if (existsSync(target)) return target
  const [pom] = artifacts.files
  const properties = Object.entries(artifacts.properties ?? {}).map(([name, value]) => `-D${name}=${value}`)
  const java = yield* javaProgram
  // Maven looks for Java there, also when it only says its version.
  process.env["JAVA_HOME"] ??= dirname(dirname(java))
  const maven = join(yield* programsOf(distribution), "mvn")
  const started = performance.now()
  const done = yield* run("bash", [join(recipes, "resolve.sh"), target, maven, join(recipes, pom), ...properties]).pipe(
    Effect.mapError((error) => new MavenError({ artifacts, reason: error.output.trim() }))
  )
  // Empty when another process has resolved it meanwhile.
  if (done !== "") {
    const seconds = ((performance.now() - started) / 1000).toFixed(1)
    process.stderr.write(`[servers] ${artifacts.name} resolved by Maven in ${seconds} s\n`)
  }
  return target
})

/** The class path of the jars in a folder. */
export const classpathOf = (folder: string): string => join(folder, "*")
