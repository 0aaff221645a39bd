/**
 * How bytes reach a server: Effect's sockets over Node's `net` and `tls`. The one file here that knows a platform.
 *
 * Effect's socket bounds an attempt by interruption, reports every end, and writes with back-pressure. Silence it does not
 * report: that is for whoever waits for answers. Its own release flushes before it closes, and a peer that is gone takes
 * no bytes: {@link destroy} closes at once.
 */
import * as NodeSocket from "@effect/platform-node/NodeSocket"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Socket from "effect/socket/Socket"

/** Where one server listens for clients. */
export interface Endpoint {
  readonly host: string
  readonly port: number
}

/** `host:port`, with brackets around an IPv6 address. */
export const show = ({ host, port }: Endpoint): string => (host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`)

/** Makes the socket of one attempt. Nothing happens before its reader is acquired. */
export type Transport = (endpoint: Endpoint) => Effect.Effect<Socket.Socket>

/** Settings of TLS, in PEM. The server's name is checked unless `rejectUnauthorized` is false. */
export interface TlsOptions {
  readonly ca?: string | undefined
  readonly cert?: string | undefined
  readonly key?: Redacted.Redacted<string> | undefined
  readonly servername?: string | undefined
  readonly rejectUnauthorized?: boolean | undefined
}

/** Without encryption. Small requests must not wait for the answers to others, so Nagle's algorithm is off. */
export const tcp: Transport = ({ host, port }) => NodeSocket.makeNet({ host, port, noDelay: true })

/** With encryption: the servers' `secureClientPort`. */
export const tls =
  (options: TlsOptions): Transport =>
  ({ host, port }) =>
    NodeSocket.makeTls({
      host,
      port,
      ...(options.ca !== undefined && { ca: options.ca }),
      ...(options.cert !== undefined && { cert: options.cert }),
      ...(options.key !== undefined && { key: Redacted.value(options.key) }),
      ...(options.servername !== undefined && { servername: options.servername }),
      ...(options.rejectUnauthorized !== undefined && { rejectUnauthorized: options.rejectUnauthorized })
    })

/** Closes at once, whatever is still unwritten. */
export const destroy = (writer: Socket.Writer): Effect.Effect<void> =>
  Effect.ignore(writer.write(new Socket.CloseEvent()))
