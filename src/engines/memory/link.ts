/**
 * The network between one simulated process and the store, with everything that can go wrong on it. With no fault set it
 * costs two turns of the scheduler: a request and its answer are never one step.
 */
import type * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import { CoordinatorError, OutcomeUnknown, Unreachable } from "../../CoordinatorError.ts"
import type { ProcessClock } from "./processClock.ts"

/**
 * What a cut-off process meets: silence, a refusal, or requests that arrive while their answers do not.
 */
export type Partition = "silent" | "refused" | "answers-lost"

/** What becomes of one write whose answer is lost. */
export type LostWrite =
  | { readonly _tag: "Applied" }
  | { readonly _tag: "NotApplied" }
  | { readonly _tag: "AppliedAfter"; readonly millis: number }

export type RequestKind = "read" | "write" | "renew" | "release"

interface Delivery {
  readonly due: number
  readonly run: () => void
}

export class MemoryLink {
  readonly node: string
  readonly clock: ProcessClock
  readonly base: Clock.Clock
  partition: Partition | undefined
  renewalsFrozen = false
  eventDelayMillis = 0
  lagMillis = 0
  latencyMillis = 0
  duplicating = false
  dropping = 0
  readonly lostWrites: Array<LostWrite> = []
  /** Requests that reached the store, by operation. */
  readonly requests = new Map<string, number>()
  /** The sessions that this process has opened. */
  readonly sessions = new Set<string>()
  /** Called when the connection is found broken: ends the watches that ran over it. */
  readonly onReset = new Set<() => void>()
  private readonly releases = Latch.makeUnsafe(true)
  private readonly pending: Array<Delivery> = []
  private pumping = false
  private readonly fork: (effect: Effect.Effect<void>) => unknown

  constructor(options: {
    readonly node: string
    readonly clock: ProcessClock
    readonly base: Clock.Clock
    readonly fork: (effect: Effect.Effect<void>) => unknown
  }) {
    this.node = options.node
    this.clock = options.clock
    this.base = options.base
    this.fork = options.fork
  }

  hangReleases(hang: boolean): void {
    if (hang) this.releases.closeUnsafe()
    else this.releases.openUnsafe()
  }

  /** Takes every fault back. */
  healUnsafe(): void {
    this.partition = undefined
    this.renewalsFrozen = false
    this.eventDelayMillis = 0
    this.lagMillis = 0
    this.latencyMillis = 0
    this.duplicating = false
    this.dropping = 0
    this.lostWrites.length = 0
    this.hangReleases(false)
    this.clock.setRateUnsafe(1)
    this.clock.running.openUnsafe()
  }

  resetUnsafe(): void {
    for (const reset of Array.from(this.onReset)) reset()
  }

  error(operation: string, reason: Unreachable | OutcomeUnknown): CoordinatorError {
    return new CoordinatorError({ engine: "memory", operation, endpoint: `memory://${this.node}`, reason })
  }

  private sleep(millis: number): Effect.Effect<void> {
    return millis > 0 ? this.base.sleep(Duration.millis(millis)) : Effect.void
  }

  /** One request and its answer. `apply` runs in the store. */
  call<A>(kind: RequestKind, operation: string, apply: Effect.Effect<A>): Effect.Effect<A, CoordinatorError> {
    const refused = () => this.error(operation, new Unreachable({ detail: "The connection was refused" }))
    const sent = Effect.suspend(() => {
      if (this.partition === "refused") return Effect.fail(refused())
      if (this.partition === "silent") return Effect.never
      if (kind === "renew" && this.renewalsFrozen) return Effect.never
      return Effect.void
    })
    const arrived = Effect.suspend(() => {
      this.requests.set(operation, (this.requests.get(operation) ?? 0) + 1)
      const lost = kind === "write" || kind === "release" ? this.lostWrites.shift() : undefined
      return lost === undefined ? apply : this.loseAnswer(operation, lost, apply)
    })
    const answered = Effect.suspend(() => {
      if (this.partition === "silent" || this.partition === "answers-lost") return Effect.never
      return this.partition === "refused" ? Effect.fail(this.unknownIfWrite(kind, operation)) : Effect.void
    })
    const exchange = Effect.gen({ self: this }, function* () {
      yield* this.clock.running.await
      yield* Effect.yieldNow
      yield* sent
      const answer = yield* this.latencyMillis > 0 ? this.travel(arrived) : arrived
      yield* answered
      yield* this.clock.running.await
      yield* Effect.yieldNow
      return answer
    })
    return kind === "release"
      ? Effect.suspend(() =>
          // A release that hangs does so against interruption too: a caller that waits for it waits forever.
          this.releases.isOpen() ? exchange : Effect.andThen(Effect.uninterruptible(this.releases.await), exchange)
        )
      : exchange
  }

  /** What is on its way arrives, whatever becomes of who sent it. */
  private travel<A>(arrived: Effect.Effect<A, CoordinatorError>): Effect.Effect<A, CoordinatorError> {
    const way = this.sleep(this.latencyMillis)
    return Effect.flatMap(Effect.forkDetach(Effect.andThen(way, arrived), { startImmediately: true }), (fiber) =>
      Effect.tap(Fiber.join(fiber), () => way)
    )
  }

  private unknownIfWrite(kind: RequestKind, operation: string): CoordinatorError {
    const detail = "The connection broke before the answer came"
    return this.error(operation, kind === "read" ? new Unreachable({ detail }) : new OutcomeUnknown({ detail }))
  }

  private loseAnswer<A>(
    operation: string,
    lost: LostWrite,
    apply: Effect.Effect<A>
  ): Effect.Effect<never, CoordinatorError> {
    const failed = Effect.fail(this.unknownIfWrite("write", operation))
    switch (lost._tag) {
      case "Applied":
        return Effect.andThen(apply, failed)
      case "NotApplied":
        return failed
      case "AppliedAfter":
        return Effect.andThen(Effect.forkDetach(Effect.andThen(this.sleep(lost.millis), apply)), failed)
    }
  }

  /** Carries one watch message to the process, in order with those before it, whatever delays are set in between. */
  sendUnsafe(run: () => void): void {
    if (this.partition !== undefined) return
    const delay = this.eventDelayMillis + this.lagMillis
    if (delay === 0 && this.pending.length === 0 && this.clock.running.isOpen()) return run()
    this.pending.push({ due: this.base.currentTimeMillisUnsafe() + delay, run })
    if (!this.pumping) {
      this.pumping = true
      this.fork(this.pump)
    }
  }

  /** The same, for messages that count as events: those can be dropped and doubled. */
  sendEventUnsafe(run: () => void): void {
    if (this.dropping > 0) {
      this.dropping--
      return
    }
    this.sendUnsafe(run)
    if (this.duplicating) this.sendUnsafe(run)
  }

  private readonly pump: Effect.Effect<void> = Effect.suspend(() => {
    const next = this.pending[0]
    if (next === undefined) {
      this.pumping = false
      return Effect.void
    }
    const wait = next.due - this.base.currentTimeMillisUnsafe()
    // Whole milliseconds, or a remainder below the clock's resolution would be slept in no time for ever.
    if (wait > 0) return Effect.andThen(this.sleep(Math.ceil(wait)), this.pump)
    return Effect.andThen(
      this.clock.running.await,
      Effect.suspend(() => {
        this.pending.shift()
        next.run()
        return this.pump
      })
    )
  })
}
