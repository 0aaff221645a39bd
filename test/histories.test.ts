import { assert, it } from "@effect/vitest"
import { Arbitrary, Effect } from "effect"
import { History } from "effect-ensemble/testing"
import type { Script } from "./histories/commands.ts"
import { scripts, show } from "./histories/commands.ts"
import { run } from "./histories/world.ts"

/** `HISTORIES=500 HISTORIES_SEED=7` runs more of them from another seed; `HISTORIES_REPLAY=token` runs a failed one again. */
const runs = Number(process.env["HISTORIES"] ?? 100)
const seed = process.env["HISTORIES_SEED"] ?? "1"
const replay = process.env["HISTORIES_REPLAY"]

interface Failure {
  readonly failure: string
}

const judge = (script: Script) =>
  Effect.flatMap(run(script), ({ troubles, violations }): Effect.Effect<boolean, Failure> => {
    const all = [...violations.map(History.format), ...troubles]
    return all.length === 0 ? Effect.succeed(true) : Effect.fail({ failure: all.join("\n") })
  })

it.effect(
  "random histories keep every guarantee",
  () =>
    Effect.gen(function* () {
      const result = yield* Arbitrary.checkEffect(scripts, judge, {
        runs,
        seed,
        size: 40,
        maxShrinks: 400,
        ...(replay === undefined ? {} : { replay })
      })
      if (result._tag === "Passed") return
      if (result._tag !== "Falsified") return assert.fail(Arbitrary.formatCheckFailure(result))
      const { failure, shrunkInput } = result
      assert.fail(
        [
          `A history broke a guarantee (seed ${seed}, run ${result.runs}, ${result.shrinks} shrinks):`,
          `  store seed ${shrunkInput.seed}, all play ${shrunkInput.cast.join(", ")}`,
          ...shrunkInput.steps.map((step) => `  ${show(step)}`),
          failure._tag === "PropertyError" ? failure.error.failure : "",
          `Run it again: HISTORIES_REPLAY='${result.replay}' npx vitest run test/histories.test.ts`
        ].join("\n")
      )
    }),
  3_600_000
)
