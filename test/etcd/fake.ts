/** A server that is scripted: what it is asked is seen, and it answers when the test says so. */
import { Effect } from "effect"
import type { Duplex, Link, Streams, Transport, Unary } from "../../src/engines/etcd/rpc.ts"
import { RpcError } from "../../src/engines/etcd/rpc.ts"

export const lost = (endpoint: string, detail = "Connection dropped", code = 14) =>
  new RpcError({ endpoint, code, detail, sent: true })

export interface OpenStream<S extends keyof Streams = keyof Streams> {
  readonly method: S
  readonly written: Array<Streams[S][0]>
  readonly message: (message: Streams[S][1]) => void
  readonly end: (error: RpcError) => void
  cancelled: boolean
}

export interface Server {
  readonly endpoint: string
  /** What is answered; silence where it returns nothing. */
  answer: (method: keyof Unary, request: unknown) => object | RpcError | undefined
  readonly requests: Array<keyof Unary>
  readonly tokens: Array<string>
  readonly streams: Array<OpenStream>
  dialled: number
  closed: number
}

export const server = (endpoint: string, answer: Server["answer"]): Server => ({
  endpoint,
  answer,
  requests: [],
  tokens: [],
  streams: [],
  dialled: 0,
  closed: 0
})

const linkTo = (server: Server): Link => ({
  endpoint: server.endpoint,
  setTokenUnsafe: (token) => void server.tokens.push(token),
  closeUnsafe: () => void server.closed++,
  unaryUnsafe: <M extends keyof Unary>(
    method: M,
    request: Unary[M][0],
    answered: (answer: Unary[M][1] | RpcError) => void
  ) => {
    server.requests.push(method)
    const answer = server.answer(method, request)
    if (answer !== undefined) queueMicrotask(() => answered(answer as Unary[M][1]))
    return () => {}
  },
  streamUnsafe: <S extends keyof Streams>(
    method: S,
    on: { readonly message: (message: Streams[S][1]) => void; readonly end: (error: RpcError) => void }
  ): Duplex<Streams[S][0]> => {
    const opened: OpenStream<S> = { method, written: [], message: on.message, end: on.end, cancelled: false }
    server.streams.push(opened as unknown as OpenStream)
    return {
      _tag: "Duplex",
      writeUnsafe: (request) => void opened.written.push(request),
      cancelUnsafe: () => {
        opened.cancelled = true
      }
    }
  }
})

/** Takes the servers in their order, the next one where one is to be avoided. */
export const transport = (...servers: ReadonlyArray<Server>): Transport => ({
  endpoints: servers.length,
  reauthenticate: undefined,
  dial: (avoid) =>
    Effect.sync(() => {
      const at = (servers.findIndex(({ endpoint }) => endpoint === avoid) + 1) % servers.length
      const chosen = servers[at] as Server
      chosen.dialled++
      return linkTo(chosen)
    })
})

export const status = (version = "3.5.16", errors: ReadonlyArray<string> = []) => ({
  header: { cluster_id: "1", revision: "1", raft_term: "1" },
  version,
  errors
})
