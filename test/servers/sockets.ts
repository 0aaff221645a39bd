import { existsSync, readdirSync, readFileSync, readlinkSync } from "node:fs"

/** A socket by its two ports. One that listens has 0 for the remote one. */
export interface Ports {
  readonly local: number
  readonly remote: number
}

const tables = ["/proc/net/tcp", "/proc/net/tcp6"].filter(existsSync)

/** Whether this system tells which process owns a socket (Linux does). */
export const known = tables.length > 0

/** Rows are `sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode`, addresses `ip:port` in hexadecimal. */
const inodesOf = ({ local, remote }: Ports): ReadonlyArray<string> => {
  const end = (port: number) => `:${port.toString(16).toUpperCase().padStart(4, "0")}`
  return tables
    .flatMap((table) => readFileSync(table, "utf8").split("\n"))
    .map((row) => row.trim().split(/\s+/))
    .flatMap(([, from, to, , , , , , , inode = ""]) =>
      from?.endsWith(end(local)) && to?.endsWith(end(remote)) ? [inode] : []
    )
}

const owns = (pid: number, sockets: ReadonlyArray<string>): boolean => {
  const folder = `/proc/${pid}/fd`
  try {
    return readdirSync(folder).some((fd) => {
      try {
        return sockets.includes(readlinkSync(`${folder}/${fd}`))
      } catch {
        return false // closed since it was listed
      }
    })
  } catch {
    return false // no such process any more
  }
}

/** Which of the processes owns a socket. */
export const ownerOf = (ports: Ports, pids: ReadonlyArray<number>): number | undefined => {
  const sockets = inodesOf(ports).map((inode) => `socket:[${inode}]`)
  return pids.find((pid) => owns(pid, sockets))
}
