/** What arrives at a server, by its own count. */
import { Effect } from "effect"

/** Messages of requests that the server has received so far, by the name of the gRPC method. */
export const messages = (endpoint: string): Effect.Effect<Readonly<Record<string, number>>> =>
  Effect.promise(async () => {
    const text = await (await fetch(`${endpoint}/metrics`)).text()
    const found: Record<string, number> = {}
    for (const line of text.split("\n")) {
      if (!line.startsWith("grpc_server_msg_received_total{")) continue
      const method = /grpc_method="(\w+)"/.exec(line)?.[1] ?? ""
      const count = Number(line.slice(line.lastIndexOf(" ") + 1))
      if (count > 0) found[method] = (found[method] ?? 0) + count
    }
    return found
  })

export const total = (received: Readonly<Record<string, number>>): number =>
  Object.values(received).reduce((sum, count) => sum + count, 0)
