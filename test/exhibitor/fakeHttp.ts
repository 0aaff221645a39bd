import { Clock, Effect } from "effect"
import { HttpClient, HttpClientResponse } from "effect/http"

/** What one Exhibitor does with a request: answers, never does, or cannot be reached at all. */
export type Behaviour =
  | { readonly status?: number; readonly body: unknown; readonly raw?: boolean }
  | "silent"
  | "endless"
  | "broken"

export interface Asked {
  readonly url: string
  readonly at: number
  readonly headers: Readonly<Record<string, string | undefined>>
}

export interface FakeHttp {
  readonly client: HttpClient.HttpClient
  readonly asked: Array<Asked>
  /** By host, as in `http://host:port`. */
  readonly behaviours: Map<string, Behaviour>
  /** Requests that were aborted before their answer. */
  aborted: () => number
}

export const list = (servers: ReadonlyArray<string>, port = 2181): Behaviour => ({ body: { servers, port } })

/** A body whose first bytes arrive, and whose end never does. */
const endlessBody = () =>
  new ReadableStream<Uint8Array>({ start: (controller) => controller.enqueue(new TextEncoder().encode("{")) })

/** An HTTP client without a network. */
export const make = (behaviours: Record<string, Behaviour> = {}): FakeHttp => {
  const asked: Array<Asked> = []
  const table = new Map(Object.entries(behaviours))
  let aborted = 0
  const client = HttpClient.make((request, url, signal) =>
    Effect.gen(function* () {
      asked.push({ url: url.href, at: yield* Clock.currentTimeMillis, headers: { ...request.headers } })
      signal.addEventListener("abort", () => aborted++)
      const behaviour = table.get(url.hostname) ?? "silent"
      if (behaviour === "silent") return yield* Effect.never
      if (behaviour === "broken") return yield* Effect.die(new Error("no such thing"))
      const response =
        behaviour === "endless"
          ? new Response(endlessBody())
          : new Response(behaviour.raw === true ? String(behaviour.body) : JSON.stringify(behaviour.body), {
              status: behaviour.status ?? 200
            })
      return HttpClientResponse.fromWeb(request, response)
    })
  )
  return { client, asked, behaviours: table, aborted: () => aborted }
}
