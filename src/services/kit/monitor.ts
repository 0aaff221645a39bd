/**
 * Tells a Maestro when a service's server is lost, and when it is there again.
 *
 * Clients differ in what they notice: some tell when a connection breaks, none when a server is frozen. So every service probes
 * its server by itself, and what a client tells only makes it look sooner. Only an answer counts as recovery: a connection that
 * stands again may lead to a server that is still reading its log.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import type * as Scope from "effect/Scope"
import * as Maestro from "../../Maestro.ts"
import type { ServiceUnavailable } from "./errors.ts"

/** What a client's listeners say. Both may be called at any moment, from anywhere, any number of times. */
export interface Link {
  /** A connection was lost. */
  readonly lost: (reason: string) => void
  /** Something has changed, and perhaps a connection stands again: the server is to be probed now. */
  readonly look: () => void
}

type Word = { readonly _tag: "Lost"; readonly reason: string } | { readonly _tag: "Look" }

export interface Signals extends Link {
  readonly words: Queue.Queue<Word>
}

/** Two are enough: the oldest that nobody has read, and what it turned into. A client that flaps would fill anything. */
const kept = 2

export const makeLink = (): Signals => {
  const words = Effect.runSync(Queue.sliding<Word>(kept))
  return {
    words,
    lost: (reason) => void Queue.offerUnsafe(words, { _tag: "Lost", reason }),
    look: () => void Queue.offerUnsafe(words, { _tag: "Look" })
  }
}

/** While a server is away, it is looked for more often than it is probed otherwise: what waits for it is out of work. */
const whileLost = Duration.seconds(1)

/** Watches until the scope closes. */
export const run = ({
  health,
  interval,
  link: { words },
  renew
}: {
  readonly link: Signals
  readonly health: Effect.Effect<void, ServiceUnavailable>
  readonly interval: Duration.Duration
  /** Called after each probe that fails. */
  readonly renew: (cause: unknown) => Effect.Effect<unknown, unknown>
}): Effect.Effect<void, never, Scope.Scope> =>
  Effect.gen(function* () {
    let lost = false

    const degrade = (reason: string) =>
      Effect.suspend(() => {
        lost = true
        return Maestro.degraded(reason)
      })
    const look = Effect.matchEffect(health, {
      onFailure: ({ cause, reason }) =>
        Effect.andThen(lost ? Effect.void : degrade(reason), Effect.ignoreCause(renew(cause))),
      onSuccess: () =>
        Effect.suspend(() => {
          if (!lost) return Effect.void
          lost = false
          return Maestro.recovered
        })
    })
    const next = Effect.suspend(() =>
      Effect.timeoutOption(Queue.take(words), lost ? Duration.min(interval, whileLost) : interval)
    )

    yield* next.pipe(
      Effect.flatMap((word) =>
        word._tag === "Some" && word.value._tag === "Lost" ? degrade(word.value.reason) : look
      ),
      Effect.forever,
      Effect.forkScoped
    )
  })
