/** The servers of an ensemble: read from a connection string, and taken in turn from a random beginning. */
import * as Arr from "effect/Array"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import * as Result from "effect/Result"
import type { Endpoint } from "./transport.ts"
import { show } from "./transport.ts"

/** ZooKeeper's client port where none is named. */
export const defaultPort = 2181

export interface Ensemble {
  readonly endpoints: Arr.NonEmptyReadonlyArray<Endpoint>
  /** Empty, or a path without a slash at its end. */
  readonly chroot: string
}

const server = /^(?:\[([0-9A-Fa-f:.%\w]+)\]|([^:\s[\]]+))(?::(\d{1,5}))?$/

/** What is wrong with a chroot, if anything is. */
export const chrootProblem = (chroot: string): string | undefined =>
  chroot === "" || (/^(?:\/[^/]+)+$/.test(chroot) && !/\/\.{1,2}(?:\/|$)/.test(chroot))
    ? undefined
    : `The chroot "${chroot}" has an empty or relative part. Give a path like /services`

/** Whether two lists name the same servers, in whatever order. */
export const areSame = (a: ReadonlyArray<Endpoint>, b: ReadonlyArray<Endpoint>): boolean => {
  const [left, right] = [a.map(show), b.map(show)]
  return left.every((one) => right.includes(one)) && right.every((one) => left.includes(one))
}

/**
 * Reads `host[:port][,host[:port]…][/chroot]`, as ZooKeeper's own clients do (`ConnectStringParser`); an IPv6 address stands
 * in brackets. Fails with what is wrong.
 */
export const parse = (connectionString: string): Result.Result<Ensemble, string> => {
  const slash = connectionString.indexOf("/")
  const hosts = slash < 0 ? connectionString : connectionString.slice(0, slash)
  const chroot = slash < 0 ? "" : connectionString.slice(slash).replace(/\/+$/, "")
  const problem = chrootProblem(chroot)
  const read: Array<Endpoint> = []
  for (const text of hosts.split(",")) {
    const match = server.exec(text.trim())
    const port = Number(match?.[3] ?? defaultPort)
    const host = match?.[1] ?? match?.[2]
    if (host === undefined || port < 1 || port > 65_535) {
      return Result.fail(`"${text}" is not a server. Give host:port, several of them separated by commas`)
    }
    read.push({ host, port })
  }
  if (problem !== undefined) return Result.fail(problem)
  // Splitting a text gives one part at least, and each part has become a server.
  return Arr.isArrayNonEmpty(read) ? Result.succeed({ endpoints: read, chroot }) : Result.fail("No server is named")
}

/** The order in which servers are tried. */
export interface Rotation {
  /** The next server, never the same twice in a row while there are others. */
  readonly next: () => Endpoint
  readonly size: () => number
  readonly has: (endpoint: Endpoint) => boolean
}

/** A random order, so that the clients of an ensemble spread over its servers and do not all move on to the same one. */
export const rotation = (endpoints: Arr.NonEmptyReadonlyArray<Endpoint>): Effect.Effect<Rotation> =>
  Effect.map(Random.shuffle(endpoints), (order) => {
    const names = new Set(order.map(show))
    let at = 0
    return {
      next: () => order[at++ % order.length] as Endpoint,
      size: () => order.length,
      has: (endpoint) => names.has(show(endpoint))
    }
  })
