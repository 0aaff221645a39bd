/**
 * Calls of a client, each with a bound.
 *
 * A call takes little more than the client itself needs, so a timer and a fiber for each would be most of it. All calls of a service have
 * the same bound: they end in the order in which they began, and one timer, for the oldest, serves them all.
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type * as Scope from "effect/Scope"
import { OutOfTime } from "./outOfTime.ts"

/**
 * The signal that is aborted when nobody waits for a call any longer: an `AbortSignal`. It is named by way of Effect because the core
 * knows no host's types.
 */
export type Signal = Parameters<Extract<Parameters<typeof Effect.tryPromise>[0], { readonly catch: unknown }>["try"]>[0]

/** Every host has it, and no type of it is declared in the core. */
const { AbortController } = globalThis as unknown as {
  readonly AbortController: new () => { readonly signal: Signal; readonly abort: () => void }
}

interface Call {
  readonly deadline: number
  readonly end: (cause: Error) => void
}

export interface Calls {
  /** Fails with what `call` raises, or with `OutOfTime`. */
  readonly make: <A, E>(
    call: (signal: Signal) => PromiseLike<A>,
    takesSignal: boolean,
    onError: (cause: unknown) => E
  ) => Effect.Effect<A, E>
}

/** The scope has to be that of the client, and entered before it: what is left when the client is gone ends then. */
export const make = (limit: Duration.Duration): Effect.Effect<Calls, never, Scope.Scope> =>
  Effect.gen(function* () {
    const clock = yield* Clock.Clock
    const runFork = Effect.runForkWith(yield* Effect.context<never>())
    const millis = Duration.toMillis(limit)
    const open = new Set<Call>()
    let watch: Fiber.Fiber<void> | undefined
    yield* Effect.addFinalizer(() =>
      Effect.suspend(() => {
        // Clients do not settle all that they were asked when they are cut, and nobody will look after these any more.
        for (const call of open) call.end(new Error("The service has stopped"))
        open.clear()
        return watch === undefined ? Effect.void : Fiber.interrupt(watch)
      })
    )

    const now = () => clock.currentTimeMillisUnsafe()

    /** Sleeps for the oldest call, as long as there is one. */
    const watching = Effect.gen(function* () {
      for (let [oldest] = open; oldest !== undefined; [oldest] = open) {
        const left = oldest.deadline - now()
        if (left > 0) yield* Effect.sleep(left)
        else {
          open.delete(oldest)
          oldest.end(new OutOfTime(`No answer within ${Duration.format(limit)}`))
        }
      }
      watch = undefined
    })

    const enter = (call: Call): void => {
      open.add(call)
      watch ??= runFork(watching)
    }

    return {
      make: <A, E>(
        call: (signal: Signal) => PromiseLike<A>,
        takesSignal: boolean,
        onError: (cause: unknown) => E
      ): Effect.Effect<A, E> =>
        Effect.callback((resume) => {
          const controller = takesSignal ? new AbortController() : undefined
          const entry: Call = {
            deadline: now() + millis,
            end: (cause) => {
              controller?.abort()
              resume(Effect.fail(onError(cause)))
            }
          }
          const fail = (cause: unknown): void => {
            open.delete(entry)
            resume(Effect.fail(onError(cause)))
          }
          try {
            // A function that takes no signal is given none: making one costs as much as all the rest.
            call(controller?.signal as Signal).then((value) => {
              open.delete(entry)
              resume(Effect.succeed(value))
            }, fail)
          } catch (cause) {
            return fail(cause)
          }
          enter(entry)
          return Effect.sync(() => {
            open.delete(entry)
            controller?.abort()
          })
        })
    }
  })
