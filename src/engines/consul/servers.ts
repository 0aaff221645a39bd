/** The servers of the cluster as this process reaches them: the one of the moment, and what speaks against it. */
import type * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import { isUnfit } from "./failure.ts"
import * as blocking from "./blocking.ts"
import type { HttpAnswer, HttpRequest, Link, Transport } from "./http.ts"
import { HttpError } from "./http.ts"

export interface Servers {
  /** Asks the server of the moment, and the others where that one fails and asking again does no harm. */
  readonly send: (request: HttpRequest) => Effect.Effect<HttpAnswer, HttpError>
  /** Asks the agent at the first address and no other: what is registered with it is known to it alone. */
  readonly pinned: (request: HttpRequest) => Effect.Effect<HttpAnswer, HttpError>
}

/**
 * The part of a request's time after which its silence speaks against the connection, when it is given up and nothing else was
 * heard either: less is somebody's change of mind.
 */
const impatience = 0.5

interface Server {
  readonly endpoint: string
  readonly send: (request: HttpRequest) => Effect.Effect<HttpAnswer, HttpError>
}

const serverOf = (
  link: Link,
  options: { readonly clock: Clock.Clock; readonly requestMillis: number; readonly silent: (endpoint: string) => void }
): Server => {
  const { clock, requestMillis, silent } = options
  const now = () => Number(clock.monotonicTimeNanosUnsafe()) / 1_000_000
  const running = new Set<(error: HttpError) => void>()
  let heardAt = now()

  /** Nothing gets through: whatever else waits on this address is told so now, and not by its own deadline. */
  const condemnUnsafe = (detail: string): void => {
    silent(link.endpoint)
    link.closeIdleUnsafe()
    const error = new HttpError({ endpoint: link.endpoint, detail, sent: true })
    for (const end of Array.from(running)) end(error)
  }

  return {
    endpoint: link.endpoint,
    send: (request) =>
      Effect.callback((resume) => {
        const sentAt = now()
        const patience = requestMillis * impatience + blocking.longestMillis(request.waitMillis ?? 0)
        const end = (error: HttpError) => {
          if (!running.delete(end)) return
          abort()
          resume(Effect.fail(error))
        }
        running.add(end)
        const abort = link.requestUnsafe(request, (answer) => {
          if (!running.delete(end)) return
          heardAt = now()
          resume(answer instanceof HttpError ? Effect.fail(answer) : Effect.succeed(answer))
        })
        return Effect.sync(() => {
          if (!running.delete(end)) return
          abort()
          const waited = now() - sentAt
          if (heardAt <= sentAt && waited >= patience) condemnUnsafe(`Nothing was heard for ${Math.round(waited)} ms`)
        })
      })
  }
}

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

  const attempt = (request: HttpRequest, left: number): Effect.Effect<HttpAnswer, HttpError> =>
    Effect.suspend(() => {
      const server = servers[current] ?? first
      const harmless = (failure: HttpAnswer | HttpError) =>
        request.effects === "read" || (failure instanceof HttpError && !failure.sent)
      const again = <A, E>(failure: HttpAnswer | HttpError, otherwise: Effect.Effect<A, E>) => {
        silent(server.endpoint)
        return left > 1 && harmless(failure) ? attempt(request, left - 1) : otherwise
      }
      return server.send(request).pipe(
        Effect.matchEffect({
          onFailure: (error) => again(error, Effect.fail(error)),
          onSuccess: (answer) => (isUnfit(answer) ? again(answer, Effect.succeed(answer)) : Effect.succeed(answer))
        })
      )
    })

  return {
    // Twice where there is one only: a connection that was kept open may have been closed by the server meanwhile.
    send: (request) => attempt(request, Math.max(2, servers.length)),
    pinned: first.send
  }
}
