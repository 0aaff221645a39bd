/** The fibers that keep systemd informed. */
import type { Cause } from "effect/Cause"
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { Maestro } from "../../Maestro.ts"
import * as Notifier from "../notifier.ts"
import type { Registry } from "./registry.ts"
import type { NotifyFailed } from "./systemd.ts"
import { nothing, notice } from "./systemd.ts"

type Send = (assignments: ReadonlyArray<string>) => Effect.Effect<void, NotifyFailed>

const environment = Config.all({
  socket: Config.option(Config.String("NOTIFY_SOCKET")),
  watchdogMicros: Config.option(Config.Finite("WATCHDOG_USEC"))
})

/** Follows the run and tells what has changed. While one notice is on its way, what happens meanwhile becomes the next one. */
const follow = Effect.fnUntraced(function* (maestro: Maestro["Service"], send: Send) {
  const notifier = Notifier.make()
  let isDirty = true
  let extendMillis = 0
  const touch = (millis: number) =>
    Effect.sync(() => {
      isDirty = true
      extendMillis = Math.max(extendMillis, millis)
      notifier.wakeUnsafe()
    })
  yield* maestro.phases.pipe(
    Stream.runForEach(() => touch(0)),
    Effect.forkScoped
  )
  yield* maestro.events.pipe(
    Stream.runForEach(({ happening }) =>
      touch(
        happening._tag === "AttemptFailed"
          ? (happening.delayMillis ?? 0)
          : happening._tag === "Stopping"
            ? happening.budgetMillis
            : 0
      )
    ),
    Effect.forkScoped
  )
  let told = nothing
  const step = Effect.gen(function* () {
    yield* notifier.until(() => isDirty)
    isDirty = false
    const announced = extendMillis
    extendMillis = 0
    const phase = yield* maestro.phase
    const services = yield* maestro.states
    const [assignments, next] = notice(told, { phase, services, extendMillis: announced })
    if (assignments.length > 0) yield* send(assignments)
    told = next
  })
  yield* Effect.forkScoped(Effect.forever(step))
})

/** Keeps the watchdog quiet for as long as the process is alive by its own checks. */
const feed = (report: Registry["report"], send: Send, everyMillis: number) =>
  Effect.gen(function* () {
    const { status, checks } = yield* report("live")
    if (status !== "fail") yield* send(["WATCHDOG=1"])
    else {
      const failed = checks.filter((check) => check.status === "fail").map(({ name }) => name)
      yield* Effect.logError(
        `Not alive by ${failed.join(", ")}: the watchdog is not fed, systemd will end this process`
      )
    }
    yield* Effect.sleep(everyMillis)
  }).pipe(Effect.forever, Effect.forkScoped)

/** Does nothing where there is no socket, which is everywhere but under systemd. */
export const run = Effect.fnUntraced(function* (
  maestro: Maestro["Service"],
  report: Registry["report"],
  sendOnce: Send
): Effect.fn.Return<void, Config.ConfigError, Scope.Scope> {
  const { socket, watchdogMicros } = yield* environment
  if (Option.isNone(socket)) return
  const warn = (cause: Cause<NotifyFailed>) => Effect.logWarning("A notice to systemd was lost", cause)
  // A program that works is not ended because nobody hears it say so.
  const send: Send = (assignments) => Effect.catchCause(sendOnce(assignments), warn)
  yield* follow(maestro, send)
  // Half the interval, as sd_watchdog_enabled(3) advises.
  if (Option.isSome(watchdogMicros) && watchdogMicros.value > 0) {
    yield* feed(report, send, watchdogMicros.value / 1_000 / 2)
  }
})
