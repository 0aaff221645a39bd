import { Effect } from "effect"
import { join } from "node:path"
import process from "node:process"
import type { Distribution, ProvisionError } from "./provision.ts"
import { programsOf } from "./provision.ts"

/** Debian has its own names of architectures, and they are in the paths of Java. */
const architecture = process.arch === "x64" ? "amd64" : process.arch

export const distribution: Distribution = {
  name: "java",
  variable: "ENSEMBLE_JAVA_BIN",
  suite: "bookworm",
  packages: ["openjdk-17-jre-headless"],
  program: `usr/lib/jvm/java-17-openjdk-${architecture}/bin/java`,
  accepted: /^(openjdk|java) (1[7-9]|[2-9][0-9])([-. ]|$)/,
  wanted: "Java 17 or later",
  fromPath: true
}

/** The program `java` of a Java 17 or later, for servers that are written in Java. */
export const javaProgram: Effect.Effect<string, ProvisionError> = Effect.map(programsOf(distribution), (folder) =>
  join(folder, "java")
)
