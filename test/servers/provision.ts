import { Config, Data, Effect, Option } from "effect"
import { createHash } from "node:crypto"
import { existsSync, globSync } from "node:fs"
import { dirname, join } from "node:path"
import process from "node:process"
import { fileURLToPath } from "node:url"
import { run } from "./run.ts"

/** Where a server's programs come from, or those that a server needs. */
export interface Distribution {
  readonly name: string
  /** The environment variable that names the program of an installation to be used instead. */
  readonly variable: string
  /** The environment variable that names a running server, for tests that only talk to one. */
  readonly running?: string
  /** The Debian suite and its packages, and the server's program in them. */
  readonly suite: string
  readonly packages: ReadonlyArray<string>
  readonly program: string
  /** Matches the first line of `program --version` when it is a version to test with. Bash reads it too: no `\d`. */
  readonly accepted: RegExp
  /** The same in words, for whoever has to install one. */
  readonly wanted: string
  /** Whether the program may also be one that is on the `PATH`. */
  readonly fromPath: boolean
}

export class ProvisionError extends Data.TaggedError("ProvisionError")<{
  readonly distribution: Distribution
  readonly reason: string
}> {
  override get message() {
    const { name, running, variable, wanted } = this.distribution
    const talk = `Tests that only talk to a server also take a running one: see docker-compose.yml, and set ${running}.`
    return `There is no "${name}" to test with: ${this.reason}
On a Debian machine with network it is unpacked into .cache/servers. Elsewhere, install ${wanted} and set
${variable} to the path of its program.${running === undefined ? "" : ` ${talk}`}`
  }
}

/** Programs, and what they need to have in their environment. */
export interface Installation {
  readonly folder: string
  readonly env: Readonly<Record<string, string>>
}

const cache = fileURLToPath(new URL("../../.cache/servers", import.meta.url))
const script = fileURLToPath(new URL("./provision.sh", import.meta.url))

/** A changed recipe is another folder, so that a folder that is there is always the right one. */
const folderOf = ({ name, packages, suite }: Distribution): string =>
  `${name}-${createHash("sha256")
    .update([suite, ...packages].join(" "))
    .digest("hex")
    .slice(0, 8)}`

const versionOf = (program: string) => Effect.map(run(program, ["--version"]), (output) => output.split("\n")[0] ?? "")

/** An installation that the environment names is used or refused: never silently replaced by another one. */
const named = Effect.fnUntraced(function* (distribution: Distribution, program: string) {
  const { accepted, variable, wanted } = distribution
  const refuse = (reason: string) => new ProvisionError({ distribution, reason: `${variable}=${program}: ${reason}` })
  const version = yield* Effect.mapError(versionOf(program), (error) => refuse(error.message))
  if (!accepted.test(version)) return yield* refuse(`it says "${version}", wanted is ${wanted}.`)
  const installation: Installation = { folder: dirname(program), env: {} }
  return installation
})

const onPath = Effect.fnUntraced(
  function* ({ accepted, fromPath, program }: Distribution) {
    const name = program.slice(program.lastIndexOf("/") + 1)
    const folder = (process.env["PATH"] ?? "").split(":").find((folder) => existsSync(join(folder, name)))
    if (!fromPath || folder === undefined) return undefined
    const installation: Installation = { folder, env: {} }
    return accepted.test(yield* versionOf(join(folder, name))) ? installation : undefined
  },
  Effect.orElseSucceed(() => undefined)
)

const unpacked = Effect.fnUntraced(function* (distribution: Distribution) {
  const { accepted, packages, program, suite } = distribution
  const root = yield* Config.String("ENSEMBLE_SERVERS").pipe(Config.withDefault(cache), Effect.orDie)
  const target = join(root, folderOf(distribution))
  if (!existsSync(target)) {
    const started = performance.now()
    const version = yield* run("bash", [script, target, suite, program, accepted.source, ...packages]).pipe(
      Effect.mapError((error) => new ProvisionError({ distribution, reason: error.output.trim() }))
    )
    // Empty when another process has unpacked it meanwhile.
    if (version !== "") {
      const seconds = ((performance.now() - started) / 1000).toFixed(1)
      process.stderr.write(`[servers] ${version.trim()} of Debian ${suite} unpacked in ${seconds} s\n`)
    }
  }
  const libraries = globSync("{usr/,}lib/*-linux-gnu", { cwd: target }).map((folder) => join(target, folder))
  const installation: Installation = {
    folder: join(target, dirname(program)),
    env: libraries.length === 0 ? {} : { LD_LIBRARY_PATH: libraries.join(":") }
  }
  return installation
})

/** A server's programs, unpacked first where that has not been done yet. */
export const installationOf = Effect.fnUntraced(function* (distribution: Distribution) {
  const given = yield* Config.String(distribution.variable).pipe(Config.option, Effect.orDie)
  if (Option.isSome(given)) return yield* named(distribution, given.value)
  return (yield* onPath(distribution)) ?? (yield* unpacked(distribution))
})

/** Their folder, where nothing but them is unpacked. */
export const programsOf = (distribution: Distribution) =>
  Effect.map(installationOf(distribution), ({ folder }) => folder)

/**
 * Sees to it that a server can be had, before any test needs it. Where a running one is named, tests that need one of
 * their own fail by themselves.
 */
export const provide = Effect.fnUntraced(function* (distribution: Distribution) {
  const running = distribution.running === undefined ? undefined : process.env[distribution.running]
  if (running === undefined) yield* installationOf(distribution)
})
