import type { Duration } from "effect"
import { Data, Effect } from "effect"
import { connect } from "node:net"

/** A server did not say what it was asked for, or not in time. */
export class NoAnswer extends Data.TaggedError("NoAnswer")<{ readonly reason: string }> {
  override get message() {
    return this.reason
  }
}

/** A server that can answer does so much faster. */
const answerWithin: Duration.Input = "1 second"

/**
 * All that a server on the loopback interface says to a text, on a connection of its own which the server has to close:
 * where it does not by itself, the text must ask it to.
 */
export const ask = (port: number, text: string): Effect.Effect<string, NoAnswer> =>
  Effect.callback<string, NoAnswer>((resume) => {
    let answer = ""
    const socket = connect(port, "127.0.0.1", () => socket.write(text))
    socket.on("data", (bytes) => {
      answer += String(bytes)
    })
    socket.on("error", ({ message }) => resume(Effect.fail(new NoAnswer({ reason: message }))))
    socket.on("close", () => resume(Effect.succeed(answer)))
    return Effect.sync(() => socket.destroy())
  }).pipe(
    Effect.timeoutOrElse({
      duration: answerWithin,
      orElse: () => Effect.fail(new NoAnswer({ reason: `no answer from port ${port} in time` }))
    })
  )
