import { Data, Effect } from "effect"
import { execFile } from "node:child_process"

export class RunError extends Data.TaggedError("RunError")<{ readonly program: string; readonly output: string }> {
  override get message() {
    return `${this.program} failed: ${this.output.trim()}`
  }
}

/** Runs a program to its end, with its standard output as the result. */
export const run = (program: string, args: ReadonlyArray<string>): Effect.Effect<string, RunError> =>
  Effect.callback((resume) => {
    const child = execFile(program, args, { maxBuffer: 1 << 24 }, (error, stdout, stderr) =>
      resume(
        error === null
          ? Effect.succeed(stdout)
          : Effect.fail(
              new RunError({
                program,
                output:
                  stderr.trim() === "" ? `${error.message.trim()} (${error.signal ?? `exit ${error.code}`})` : stderr
              })
            )
      )
    )
    return Effect.sync(() => child.kill())
  })
