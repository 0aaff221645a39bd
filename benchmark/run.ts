/** Runs one benchmark in this process and prints its report as JSON: what `index.ts` starts, and what a profiler is given. */
import { Effect, References } from "effect"
import { benchmarks } from "./benchmarks.ts"

const name = process.argv[2] ?? ""
const benchmark = benchmarks[name]
if (benchmark === undefined)
  throw new Error(`There is no benchmark "${name}". There are: ${Object.keys(benchmarks).join(", ")}`)

const report = await Effect.runPromise(benchmark.pipe(Effect.provideService(References.MinimumLogLevel, "None")))
// A client may leave a timer or a connection behind; what was to be said is said.
process.stdout.write(`${JSON.stringify(report)}\n`, () => process.exit())
