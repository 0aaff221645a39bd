/** A program of its own that leads until it is killed: `candidate.ts <way> <place as JSON>` says so on stdout. */
import { Effect, References } from "effect"
import * as Etcd3 from "./etcd3.ts"
import * as Library from "./library.ts"
import type { Place } from "./way.ts"

const place = JSON.parse(process.argv[3] ?? "") as Place

const lead = async () => {
  const client = Etcd3.connect(place)
  await Etcd3.create(client, client.lease(place.ttlSeconds), `${place.prefix}/killed`, "")
}

const program =
  process.argv[2] === "etcd3"
    ? Effect.promise(lead)
    : Effect.flatMap(Library.program(place, "killed"), (context) => Library.campaign(context))

process.stdin.once("close", () => process.exit()).resume()
await Effect.runPromise(
  Effect.scoped(
    program.pipe(
      Effect.andThen(Effect.sync(() => process.stdout.write("leads\n"))),
      Effect.andThen(Effect.never),
      // Nothing but that it leads is said on stdout.
      Effect.provideService(References.MinimumLogLevel, "None")
    )
  )
)
