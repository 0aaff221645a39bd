/** What the tests of the tour on each real store have in common. */
import { assert } from "vitest"
import { assertInOrder, run } from "../tooling/startExample.ts"

/** Real leases, on a machine that may be busy. */
export const patience = { timeout: 120_000 }

export const isAlive = (pid: number): boolean => {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}

export const pidsIn = (stdout: string): ReadonlyArray<number> =>
  Array.from(stdout.matchAll(/ starts +process (\d+)$/gm), ([, pid]) => Number(pid))

/** The whole story as a person reads it. */
export const assertTold = async (
  options: ReadonlyArray<string>,
  { began, left, provided }: { readonly began: RegExp; readonly provided: RegExp; readonly left: RegExp }
): Promise<void> => {
  const { code, stderr, stdout } = await run("tour", ...options)
  assert.strictEqual(code, 0, stdout + stderr)
  assert.strictEqual(stderr, "")
  assertInOrder(stdout, [
    began,
    provided,
    / app-01 .* starts .* process \d+$/m,
    / app-01 .* joins /m,
    /■■■■■ {2}5 of 5 ready$/m,
    / leads .* with token \d+$/m,
    / crashes .* SIGKILL to process \d+/,
    / - gone .* the store has ended its session$/m,
    / leads .* with token \d+, larger than \d+$/m,
    / cut off /,
    / stops .* by its own clock, /,
    / leads .* with token \d+, larger than \d+$/m,
    / is back .* \+ joins /s,
    / 12 partitions over 4 nodes$/m,
    / resets .* every connection of 4 nodes$/m,
    / is back .* 4 nodes have connected again$/m,
    / 12 partitions over 3 nodes/,
    / resigns [^]* - leaves /,
    left,
    /^All of it is true\./m
  ])
  for (const line of stdout.split("\n")) assert.isAtMost(line.length, 82, line)
  const pids = pidsIn(stdout)
  assert.strictEqual(new Set(pids).size, 5)
  assert.deepStrictEqual(pids.filter(isAlive), [])
}

/** What is said of endpoints that cannot be used. */
export const assertRefused = async (
  options: ReadonlyArray<string>,
  given: ReadonlyArray<readonly [endpoints: string, reason: RegExp]>
): Promise<void> => {
  for (const [endpoints, reason] of given) {
    const { code, stdout } = await run("tour", ...options, "--endpoints", endpoints)
    assert.strictEqual(code, 1)
    assert.match(stdout, reason)
  }
}
