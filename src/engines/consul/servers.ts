/** The servers of the cluster as this process reaches them: the one of the moment, and what speaks against it. */
import type * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import { isUnfit } from "./failure.ts"
import * as blocking from "./blocking.ts"
import type { HttpAnswer, HttpRequest, Link, Transport } from "./http.ts"
import { HttpError } from "./http.ts"

/** Sends a request; returns the way to give it up, after which nothing is answered. */
export type Send = (request: HttpRequest, answered: (answer: HttpAnswer | HttpError) => void) => () => void

export interface Servers {
  /** Asks the server of the moment, and the others where that one fails and asking again does no harm. */
  readonly sendUnsafe: Send
  /** Asks the agent at the first address and no other: what is registered with it is known to it alone. */
  readonly pinnedUnsafe: Send
  readonly send: (request: HttpRequest) => Effect.Effect<HttpAnswer, HttpError>
  readonly pinned: (request: HttpRequest) => Effect.Effect<HttpAnswer, HttpError>
}

/**
 * The part of a request's time after which its silence speaks against the connection, when it is given up and nothing else was
 * heard either: less is somebody's change of mind.
 */
const impatience = 0.5

interface Server {
  readonly endpoint: string
  readonly sendUnsafe: Send
}

const serverOf = (
  link: Link,
  options: { readonly clock: Clock.Clock; readonly requestMillis: number; readonly silent: (endpoint: string) => void }
): Server => {
  const { clock, requestMillis, silent } = options
  const now = () => Number(clock.monotonicTimeNanosUnsafe()) / 1_000_000
  const running = new Set<(error: HttpError) => void>()
  let heard = 0

  /** Nothing gets through: whatever else waits on this address is told so now, and not by its own deadline. */
  const condemnUnsafe = (detail: string): void => {
    silent(link.endpoint)
    link.closeIdleUnsafe()
    const error = new HttpError({ endpoint: link.endpoint, detail, sent: true })
    for (const end of Array.from(running)) end(error)
  }

  return {
    endpoint: link.endpoint,
    sendUnsafe: (request, answered) => {
      const sentAt = now()
      const heardBefore = heard
      const end = (error: HttpError) => {
        if (!running.delete(end)) return
        abort()
        answered(error)
      }
      running.add(end)
      const abort = link.requestUnsafe(request, (answer) => {
        if (!running.delete(end)) return
        heard++
        answered(answer)
      })
      return () => {
        if (!running.delete(end)) return
        abort()
        const patience = requestMillis * impatience + blocking.longestMillis(request.waitMillis ?? 0)
        const waited = now() - sentAt
        if (heard === heardBefore && waited >= patience) condemnUnsafe(`Nothing was heard for ${Math.round(waited)} ms`)
      }
    }
  }
}

const effectOf =
  (send: Send) =>
  (request: HttpRequest): Effect.Effect<HttpAnswer, HttpError> =>
    Effect.callback((resume) => {
      const giveUp = send(request, (answer) =>
        resume(answer instanceof HttpError ? Effect.fail(answer) : Effect.succeed(answer))
      )
      return Effect.sync(giveUp)
    })

export const make = (
  transport: Transport,
  { clock, requestMillis }: { readonly clock: Clock.Clock; readonly requestMillis: number }
): Servers => {
  let current = 0
  const silent = (endpoint: string) => {
    if (endpointAt(current) === endpoint) current = (current + 1) % servers.length
  }
  const one = (link: Link) => serverOf(link, { clock, requestMillis, silent })
  const [firstLink, ...otherLinks] = transport.links
  const first = one(firstLink)
  const servers = [first, ...otherLinks.map(one)]
  const endpointAt = (at: number) => servers[at]?.endpoint

  const sendUnsafe: Send = (request, answered) => {
    // Twice where there is one only: a connection that was kept open may have been closed by the server meanwhile.
    let left = Math.max(2, servers.length)
    const attempt = (): (() => void) => {
      const server = servers[current] ?? first
      left--
      return server.sendUnsafe(request, (answer) => {
        const isError = answer instanceof HttpError
        if (isError || isUnfit(answer)) {
          silent(server.endpoint)
          const isHarmless = request.effects === "read" || (isError && !answer.sent)
          if (left > 0 && isHarmless) {
            giveUp = attempt()
            return
          }
        }
        answered(answer)
      })
    }
    let giveUp = attempt()
    return () => giveUp()
  }

  return {
    sendUnsafe,
    pinnedUnsafe: first.sendUnsafe,
    send: effectOf(sendUnsafe),
    pinned: effectOf(first.sendUnsafe)
  }
}
