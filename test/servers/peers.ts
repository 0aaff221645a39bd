import { Effect } from "effect"
import type { Socket } from "node:net"
import type { Link } from "../faults/link.ts"
import { makeLink } from "../faults/link.ts"
import * as Listener from "../faults/listener.ts"
import { host } from "../faults/listener.ts"
import { ownerOf } from "./sockets.ts"

/**
 * The network between the members of a cluster: each member is advertised to the others at an address of ours, behind
 * which there is one link for each of them.
 *
 * All members must be told the same addresses, and their requests do not always say who asks (a follower forwards lease
 * renewals anonymously). So a connection's origin is found as the operating system knows it: by the process that owns
 * the other end.
 */
export interface Peers {
  readonly urls: ReadonlyArray<string>
  /** The connections that `from` opens towards `to`. Messages flow both ways on them. */
  readonly link: (from: number, to: number) => Link
  /** All connections between a member and the others, whoever opened them. */
  readonly linksOf: (member: number) => ReadonlyArray<Link>
  readonly links: ReadonlyArray<Link>
}

/**
 * `ports` are those that the members listen on, `pidOf` tells which process a member is now. The others reach a member at a
 * free port, or at `hostOf` and the member's own port where servers know no other.
 */
export const make = Effect.fnUntraced(function* (
  ports: ReadonlyArray<number>,
  pidOf: (member: number) => number,
  hostOf?: (member: number) => string
) {
  const members = ports.map((_, index) => index)
  // The last row is for an origin that is gone before it is found.
  const unknown = ports.length
  const matrix = [...members, unknown].map(() => ports.map((port) => makeLink({ host, port })))
  const link = (from: number, to: number): Link => {
    const found = matrix[from]?.[to]
    if (found === undefined) throw new Error(`no link from member ${from} to member ${to}`)
    return found
  }

  const originOf = (socket: Socket): number => {
    const pids = members.map(pidOf)
    const owner = ownerOf({ local: socket.remotePort ?? 0, remote: socket.localPort ?? 0 }, pids)
    return owner === undefined ? unknown : pids.indexOf(owner)
  }

  const links = matrix.flat()
  const urls = yield* Effect.forEach(
    members,
    Effect.fnUntraced(function* (to) {
      const { port } = yield* Listener.make(
        (socket) => link(originOf(socket), to).accept(socket),
        () => matrix.forEach((row) => row[to]?.close()),
        hostOf === undefined ? undefined : { host: hostOf(to), port: ports[to] ?? 0 }
      )
      return `http://${hostOf?.(to) ?? host}:${port}`
    })
  )

  const peers: Peers = {
    urls,
    link,
    linksOf: (member) => [
      ...members.flatMap((other) => (other === member ? [] : [link(other, member), link(member, other)])),
      link(unknown, member)
    ],
    links
  }
  return peers
})
