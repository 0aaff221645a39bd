import { Effect } from "effect"
import { readFileSync } from "node:fs"

/** Rows are `sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode`, addresses `ip:port` in hexadecimal. */
const rows = (): ReadonlyArray<ReadonlyArray<string>> =>
  ["/proc/net/tcp", "/proc/net/tcp6"].flatMap((table) =>
    readFileSync(table, "utf8")
      .split("\n")
      .map((row) => row.trim().split(/\s+/))
  )

/**
 * The sockets that some process holds towards a port, connected or not yet: what a client has open, whatever the other end knows of
 * it. A socket that was closed has no inode, however long the kernel still says goodbye.
 */
export const heldTowards = (port: number): Effect.Effect<number> =>
  Effect.sync(() => {
    const end = `:${port.toString(16).toUpperCase().padStart(4, "0")}`
    return rows().filter(([, , remote, , , , , , , inode]) => remote?.endsWith(end) && inode !== "0").length
  })
