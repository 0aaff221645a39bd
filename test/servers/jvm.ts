import { Config, Effect, Option } from "effect"
import { existsSync, globSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { distribution } from "./java.ts"
import type { Distribution } from "./provision.ts"
import { programsOf } from "./provision.ts"
import { run } from "./run.ts"

/** For servers that live for seconds: what makes a program fast in the long run makes its start slow. */
export const flags = (heap: string): ReadonlyArray<string> => [
  `-Xmx${heap}`,
  "-XX:+UseSerialGC",
  "-XX:TieredStopAtLevel=1",
  "-Xshare:auto",
  // A server without memory is to be seen as one that ended, not as one that answers now and then.
  "-XX:+ExitOnOutOfMemoryError",
  "-Djava.awt.headless=true"
]

/** Debian's runs on systems as new as its suite only, so an installation is looked for in more places than the path. */
const java21: Distribution = {
  ...distribution,
  name: "java-21",
  variable: "ENSEMBLE_JAVA21_BIN",
  suite: "trixie",
  packages: ["openjdk-21-jre-headless"],
  program: distribution.program.replace("java-17", "java-21"),
  accepted: /^(openjdk|java) (2[1-9]|[3-9][0-9])([. ]|$)/,
  wanted: "Java 21 or later"
}

const installed = Effect.gen(function* () {
  const home = yield* Config.String("JAVA_HOME").pipe(Config.withDefault("/nowhere"), Effect.orDie)
  for (const program of [join(home, "bin/java"), ...globSync("/usr/lib/jvm/*/bin/java").sort().reverse()]) {
    if (!existsSync(program)) continue
    const version = yield* Effect.orElseSucceed(run(program, ["--version"]), () => "")
    if (java21.accepted.test(version.split("\n")[0] ?? "")) return program
  }
  return undefined
})

/** The program `java` of a Java 21 or later. */
export const java21Program = Effect.gen(function* () {
  const given = yield* Config.String(java21.variable).pipe(Config.option, Effect.orDie)
  const found = Option.isSome(given) ? undefined : yield* installed
  return found ?? join(yield* programsOf(java21), "java")
})

/** Rows are `sl local_address rem_address st ...`, addresses `ip:port` in hexadecimal. */
const established = "01"

/**
 * How many connections of others a server has open on its port, as the system counts them (Linux): servers of this kind
 * know that of themselves in their own ways, and some only by way of a connection more.
 */
export const connectionsTo = (port: number): Effect.Effect<number> =>
  Effect.sync(() => {
    const end = `:${port.toString(16).toUpperCase().padStart(4, "0")}`
    const tables = ["/proc/net/tcp", "/proc/net/tcp6"].filter(existsSync)
    if (tables.length === 0) throw new Error("this system does not tell which connections there are")
    return tables
      .flatMap((table) => readFileSync(table, "utf8").split("\n"))
      .map((row) => row.trim().split(/\s+/))
      .filter(([, local, , state]) => local?.endsWith(end) === true && state === established).length
  })
