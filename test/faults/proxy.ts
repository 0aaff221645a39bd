import type { Scope } from "effect"
import { Effect } from "effect"
import type { Counters, Direction } from "./link.ts"
import { makeLink } from "./link.ts"
import * as Listener from "./listener.ts"
import { host } from "./listener.ts"

export type { Counters, Direction } from "./link.ts"

/**
 * A server's address with a network in front that can be made to fail. Faults add up until `heal`; connections that are
 * opened later meet them too.
 *
 * A TCP handshake is the kernel's, so no fault can keep a client from connecting except `refuse`. A server that does not
 * listen shows as a reset after the handshake.
 */
export interface Proxy {
  readonly host: string
  readonly port: number
  /** `host:port` */
  readonly address: string
  readonly url: string
  /** Ends every fault. What was held is delivered, late and in order; for the other outcome, `cut` before `heal`. */
  readonly heal: Effect.Effect<void>
  /** Resets every connection, with what it held, once. New ones pass. */
  readonly cut: Effect.Effect<void>
  /** Resets every connection, and nobody listens any more. */
  readonly refuse: Effect.Effect<void>
  /**
   * Silent both ways: bytes and closings are held. New connections are accepted and reach the server with `heal`.
   */
  readonly blackhole: Effect.Effect<void>
  /** The connections of now are silent for ever, also after `heal`. New ones pass. */
  readonly halfOpen: Effect.Effect<void>
  readonly silence: (direction: Direction) => Effect.Effect<void>
  /** One way, or each way. */
  readonly delay: (millis: number, direction?: Direction) => Effect.Effect<void>
  readonly throttle: (bytesPerSecond: number, direction?: Direction) => Effect.Effect<void>
  /** Each connection of now passes this many more bytes of its server, and is reset where it would send more. */
  readonly cutMidFrame: (bytes: number) => Effect.Effect<void>
  readonly counters: Effect.Effect<Counters>
}

export interface Options {
  readonly upstream: { readonly host: string; readonly port: number }
  /** Of `url`. The proxy never looks into the bytes. */
  readonly scheme?: "http" | "https"
}

export const make = Effect.fnUntraced(function* ({ scheme = "http", upstream }: Options) {
  const link = makeLink(upstream)
  const { port, start, stop } = yield* Listener.make(link.accept, link.close)
  const proxy: Proxy = {
    host,
    port,
    address: `${host}:${port}`,
    url: `${scheme}://${host}:${port}`,
    heal: Effect.andThen(Effect.sync(link.heal), start),
    cut: Effect.sync(link.cut),
    refuse: Effect.andThen(stop, Effect.sync(link.refuse)),
    blackhole: Effect.sync(link.blackhole),
    halfOpen: Effect.sync(link.halfOpen),
    silence: (direction) => Effect.sync(() => link.silence(direction)),
    delay: (millis, direction) => Effect.sync(() => link.delay(millis, direction)),
    throttle: (bytesPerSecond, direction) => Effect.sync(() => link.throttle(bytesPerSecond, direction)),
    cutMidFrame: (bytes) => Effect.sync(() => link.cutMidFrame(bytes)),
    counters: Effect.sync(link.counters)
  }
  return proxy
}) satisfies (options: Options) => Effect.Effect<Proxy, never, Scope.Scope>
