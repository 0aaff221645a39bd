import * as Cause from "effect/Cause"
import * as Schema from "effect/Schema"
import type { GraphProblem } from "./definitions.ts"
import { describeProblem } from "./definitions.ts"
import { describeCause, describeStatus } from "./describe.ts"
import type { ServiceStatus } from "./model.ts"

const CauseOfAnything = Schema.declare((u: unknown): u is Cause.Cause<unknown> => Cause.isCause(u))
const Status = Schema.declare((u: unknown): u is ServiceStatus => typeof u === "object" && u !== null && "state" in u)

const Problem = Schema.declare((u: unknown): u is GraphProblem => typeof u === "object" && u !== null && "_tag" in u)

/**
 * One attempt to start a service took longer than its `startTimeout`.
 *
 * @category errors
 * @since 0.1.0
 */
export class StartTimeout extends Schema.TaggedError<StartTimeout>("effect-ensemble/Maestro/StartTimeout")(
  "StartTimeout",
  { service: Schema.String, attempt: Schema.Finite, timeoutMillis: Schema.Finite }
) {
  override get message(): string {
    return (
      `Attempt ${this.attempt} to start ${this.service} took longer than ${this.timeoutMillis} ms. ` +
      `Raise its startTimeout, or look at what its constructor waits for`
    )
  }
}

/**
 * Two different layers carry one service name.
 *
 * **Gotchas**
 *
 * Usually a function that returns a layer was called twice: layers are shared by reference, so call it once and keep
 * the value.
 *
 * @category errors
 * @since 0.1.0
 */
export class DuplicateService extends Schema.TaggedError<DuplicateService>("effect-ensemble/Maestro/DuplicateService")(
  "DuplicateService",
  { service: Schema.String }
) {
  override get message(): string {
    return (
      `Two different layers are named ${this.service}. Layers are shared by reference: ` +
      `make the layer once, keep it in a constant, and use that constant everywhere`
    )
  }
}

/**
 * Services that wait for one another in a circle, each named once, in the order of who waits for whom.
 *
 * **Gotchas**
 *
 * Layers that are values cannot form one. It takes `Layer.suspend`, or a layer that is made while another is built.
 *
 * @category errors
 * @since 0.1.0
 */
export class CircularDependency extends Schema.TaggedError<CircularDependency>(
  "effect-ensemble/Maestro/CircularDependency"
)("CircularDependency", { services: Schema.Array(Schema.String) }) {
  override get message(): string {
    return (
      `Services wait for one another: ${[...this.services, this.services[0]].join(" -> ")}. ` +
      `Take what they share into a service of its own that both depend on`
    )
  }
}

/**
 * The start of a program failed, and everything that had started was released again.
 *
 * **Details**
 *
 * `services` are all services that were known, as they were left; `neverAttempted` names those of them whose own
 * construction never began. `cause` is that of the start, with every failure in it.
 *
 * @category errors
 * @since 0.1.0
 */
export class StartFailed extends Schema.TaggedError<StartFailed>("effect-ensemble/Maestro/StartFailed")("StartFailed", {
  services: Schema.Array(Status),
  neverAttempted: Schema.Array(Schema.String),
  cause: CauseOfAnything
}) {
  override get message(): string {
    const lines = this.services.map((status) => `  ${describeStatus(status)}`)
    return [`The start failed: ${describeCause(this.cause)}`, ...lines].join("\n")
  }
}

/**
 * A service cannot become ready any more in this run.
 *
 * @category errors
 * @since 0.1.0
 */
export class ServiceNotReady extends Schema.TaggedError<ServiceNotReady>("effect-ensemble/Maestro/ServiceNotReady")(
  "ServiceNotReady",
  { status: Status }
) {
  override get message(): string {
    return `A service is not available: ${describeStatus(this.status)}`
  }
}

/**
 * The start has ended and no layer of this name was met.
 *
 * @category errors
 * @since 0.1.0
 */
export class UnknownService extends Schema.TaggedError<UnknownService>("effect-ensemble/Maestro/UnknownService")(
  "UnknownService",
  { service: Schema.String, known: Schema.Array(Schema.String) }
) {
  override get message(): string {
    const known = this.known.length === 0 ? "none" : this.known.join(", ")
    return `No service is named ${this.service}. Known services: ${known}`
  }
}

/**
 * A graph of definitions cannot be started, for all these reasons. Nothing was started.
 *
 * @category errors
 * @since 0.1.0
 */
export class InvalidGraph extends Schema.TaggedError<InvalidGraph>("effect-ensemble/Maestro/InvalidGraph")(
  "InvalidGraph",
  { problems: Schema.Array(Problem) }
) {
  override get message(): string {
    const lines = this.problems.map((problem) => `  ${describeProblem(problem)}`)
    return ["The graph of services cannot be started:", ...lines].join("\n")
  }
}

/**
 * A constructor has read a named dependency that it does not have, or that does not provide what was read.
 *
 * @category errors
 * @since 0.1.0
 */
export class MissingDependency extends Schema.TaggedError<MissingDependency>(
  "effect-ensemble/Maestro/MissingDependency"
)("MissingDependency", { service: Schema.String, dependency: Schema.String, tag: Schema.String }) {
  override get message(): string {
    return (
      `${this.service} reads ${this.tag} of ${this.dependency}, and was not given it. ` +
      `Name ${this.dependency} in its dependsOn, and see that its layer provides ${this.tag} and has started`
    )
  }
}
