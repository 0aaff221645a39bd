/**
 * A tour of the library: nodes find each other, wait for one another, elect a leader that crashes, divide their work
 * and leave in order. It ends with 0 only if what it showed was right.
 *
 * `npm run demo`, or `npm run demo -- --help` for what can be chosen.
 */
import { NodeRuntime, NodeServices } from "@effect/platform-node"
import { Clock, Data, Effect, Logger, Option, Runtime } from "effect"
import { Command, Flag } from "effect/cli"
import packageJson from "../package.json" with { type: "json" }
import { engines } from "./tour/engines.ts"
import type { Stamped } from "./tour/events.ts"
import { toJson } from "./tour/events.ts"
import * as Journal from "./tour/journal.ts"
import * as Sabotage from "./tour/sabotage.ts"
import * as Screen from "./tour/screen.ts"
import { tell } from "./tour/story.ts"
import { verify } from "./tour/verify.ts"

/** The story went wrong. It has been said already how. */
class WentWrong extends Data.TaggedError("WentWrong") {
  override readonly [Runtime.errorReported] = false
}

const known = Array.from(engines.keys()).join(", ")

const ttls = Array.from(
  engines.values(),
  ({ name, ttl, ttlGiven }) => `${ttl} on ${name}${ttlGiven === undefined ? "" : ` (${ttlGiven} with --endpoints)`}`
).join(", ")

const flags = {
  nodes: Flag.Int("nodes").pipe(
    Flag.withDescription("How many nodes, from 3 to 12"),
    Flag.withDefault(5),
    Flag.filter(
      (nodes) => nodes >= 3 && nodes <= 12,
      () => "a number from 3 to 12: fewer cannot tell this story"
    )
  ),
  engine: Flag.String("engine").pipe(
    Flag.withDescription(`What keeps the group: ${known}`),
    Flag.withDefault("memory"),
    Flag.filterMap(
      (name) => Option.fromUndefinedOr(engines.get(name)),
      () => `one of the engines that the tour knows: ${known}`
    )
  ),
  endpoints: Flag.String("endpoints").pipe(
    Flag.withDescription(
      "A store that is there already: http://host:port (host:port of ZooKeeper), several separated by commas"
    ),
    Flag.map((urls) => urls.split(",").map((url) => url.trim())),
    Flag.withDefault<ReadonlyArray<string>>([])
  ),
  ttl: Flag.Finite("ttl").pipe(
    Flag.withDescription(`Seconds that the store keeps a session that is not renewed; by default ${ttls}`),
    Flag.optional
  ),
  json: Flag.Boolean("json").pipe(
    Flag.withDescription("Print one JSON object for each event, and nothing else"),
    Flag.withDefault(false)
  ),
  verbose: Flag.Boolean("verbose").pipe(
    Flag.withDescription("Print the library's log lines too, on stderr"),
    Flag.withDefault(false)
  ),
  sabotage: Flag.Literals("sabotage", Sabotage.lies).pipe(Flag.withHidden, Flag.optional)
}

/** The last chapter: what speaks against the story. */
const check = Effect.fnUntraced(function* (journal: Journal.Journal) {
  const verdicts = verify(yield* journal.history)
  yield* journal.record({ _tag: "Chapter", number: 6, title: "Was it true?" })
  for (const verdict of verdicts) yield* journal.record({ _tag: "Checked", ...verdict })
  return verdicts.flatMap(({ problems }) => problems.slice(0, 1))
})

/** The longest time for which this process stood still: it explains a session that was lost by itself. */
const stalls = Effect.gen(function* () {
  let longest = 0
  let before = yield* Clock.currentTimeMillis
  yield* Effect.gen(function* () {
    yield* Effect.sleep(100)
    const now = yield* Clock.currentTimeMillis
    longest = Math.max(longest, now - before - 100)
    before = now
  }).pipe(Effect.forever, Effect.forkScoped)
  return Effect.sync(() => longest)
})

const tour = Command.make(
  "tour",
  flags,
  Effect.fnUntraced(
    function* ({ endpoints, engine, json, nodes, sabotage, ttl }) {
      const print = (line: string) => console.log(line)
      const draw = json ? (stamped: Stamped) => print(toJson(stamped)) : Screen.make(print)
      const standard = (endpoints.length > 0 ? engine.ttlGiven : undefined) ?? engine.ttl
      const ttlMillis = Option.getOrElse(ttl, () => standard) * 1_000
      // The store may take two TTLs to notice a crash.
      const journal = yield* Journal.make({ draw, patienceMillis: 10_000 + 3 * ttlMillis })
      const stalled = yield* stalls

      const lie = Sabotage.twist(Option.getOrUndefined(sabotage))
      const stopped = yield* tell({ engine, endpoints, nodes, ttlMillis }, journal, lie).pipe(
        Effect.match({ onFailure: (error) => error.message, onSuccess: () => undefined })
      )

      const problems = stopped === undefined ? yield* check(journal) : [stopped]
      const still = yield* stalled
      if (problems.length > 0 && still > ttlMillis / 3) {
        problems.push(`This machine stood still for ${still} ms, and a session lasts ${ttlMillis} ms`)
      }
      yield* journal.record({ _tag: "Ended", ok: problems.length === 0, reason: problems.join(". ") })
      if (problems.length > 0) return yield* new WentWrong()
    },
    Effect.scoped,
    (self, { verbose }) =>
      Effect.provide(self, Logger.layer(verbose ? [Logger.withConsoleError(Logger.formatSimple)] : []))
  )
).pipe(Command.withDescription("Nodes find each other, elect a leader, divide their work, and leave in order"))

// A reader that has seen enough, `| head` for example, is no failure to be reported.
process.stdout.once("error", () => process.exit(1))

// The first Ctrl-C lets the nodes leave. Who cannot wait for them asks twice.
let interrupts = 0
process.on("SIGINT", () => ++interrupts > 1 && process.exit(130))

tour.pipe(
  Command.run({ version: packageJson.version }),
  Effect.provide(NodeServices.layer),
  NodeRuntime.runMain({
    // Nothing is left. Node 24.21, left to itself, was seen to spin for ever in the teardown of its own handles.
    teardown: (exit) => Runtime.defaultTeardown(exit, (code) => process.exit(code))
  })
)
