/** What arrives at a server, by its own count. */
import { Effect } from "effect"
import type { Member } from "../../test/servers/zookeeper.ts"

/** Packets of sessions so far, pings among them. */
export const packets = (member: Member) => {
  // The server counts the question too.
  let asked = 0
  return Effect.map(
    Effect.suspend(() => {
      asked++
      return member.ask("srvr")
    }),
    (text) => Number(/^Received: (\d+)$/m.exec(text)?.[1] ?? Number.NaN) - asked
  )
}

export const version = (member: Member) =>
  Effect.map(member.ask("srvr"), (text) => /version: ([\d.]+)/.exec(text)?.[1] ?? "of an unknown version")
