/** A program of its own that leads until it is killed: `candidate.ts <store> <way> <place as JSON>` says so on stdout. */
import { Effect, References } from "effect"
import type { Place, Way } from "./way.ts"

const [, , store = "", name = "", json = ""] = process.argv
const place = JSON.parse(json) as Place
const { ways } = (await import(`../${store}/ways.ts`)) as { readonly ways: ReadonlyArray<Way> }
const way = ways.find((way) => way.name === name)
if (way === undefined) throw new Error(`There is no way "${name}" on ${store}`)

process.stdin.once("close", () => process.exit()).resume()
await Effect.runPromise(
  Effect.scoped(
    Effect.flatMap(way.candidate(place, "killed"), ({ lead }) => lead).pipe(
      Effect.andThen(Effect.sync(() => process.stdout.write("leads\n"))),
      Effect.andThen(Effect.never),
      // Nothing but that it leads is said on stdout.
      Effect.provideService(References.MinimumLogLevel, "None")
    )
  )
)
