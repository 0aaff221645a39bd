/**
 * ZooKeeper's transaction logs, read from the servers' disks: every write, in its order, with the time at which it was proposed.
 *
 * A log is `FileHeader`, then for each transaction a checksum, `TxnHeader` with the transaction's record, and the byte `B`; zeros are what
 * was reserved for more (`FileTxnLog`, and `zookeeper.jute` for the records).
 */
import { closeSync, existsSync, fstatSync, openSync, readdirSync, readSync } from "node:fs"
import { join } from "node:path"

export type Change =
  | { readonly _tag: "Put"; readonly path: string; readonly data: string; readonly isNew: boolean }
  | { readonly _tag: "Delete"; readonly path: string }
  | { readonly _tag: "Opened" }
  | { readonly _tag: "Closed" }

export interface Transaction {
  readonly zxid: bigint
  /** Milliseconds of the wall clock of the server that led. */
  readonly wallMillis: number
  readonly session: bigint
  readonly changes: ReadonlyArray<Change>
}

/** `ZooDefs.OpCode`. */
const types = {
  create: 1,
  delete: 2,
  setData: 5,
  multi: 14,
  create2: 15,
  createContainer: 19,
  deleteContainer: 20,
  createTtl: 21,
  createSession: -10,
  closeSession: -11
} as const

const fileHeaderBytes = 16
const recordHeaderBytes = 12
const endOfRecord = 0x42

const changesOf = (type: number, body: Buffer): ReadonlyArray<Change> => {
  let at = 0
  const int = () => body.readInt32BE((at += 4) - 4)
  const bytes = () => {
    const length = Math.max(0, int())
    at += length
    return body.subarray(at - length, at)
  }
  const text = () => bytes().toString("utf8")
  switch (type) {
    case types.create:
    case types.create2:
    case types.createContainer:
    case types.createTtl:
      return [{ _tag: "Put", path: text(), data: text(), isNew: true }]
    case types.setData:
      return [{ _tag: "Put", path: text(), data: text(), isNew: false }]
    case types.delete:
    case types.deleteContainer:
      return [{ _tag: "Delete", path: text() }]
    case types.multi:
      return Array.from({ length: int() }, () => changesOf(int(), bytes())).flat()
    case types.createSession:
      return [{ _tag: "Opened" }]
    case types.closeSession:
      return [{ _tag: "Closed" }]
    default:
      return []
  }
}

const transactionOf = (record: Buffer): Transaction => ({
  session: record.readBigInt64BE(0),
  zxid: record.readBigInt64BE(12),
  wallMillis: Number(record.readBigInt64BE(20)),
  changes: changesOf(record.readInt32BE(28), record.subarray(32))
})

interface Read {
  readonly end: number
  readonly transactions: ReadonlyArray<Transaction>
}

const nothing: Read = { end: fileHeaderBytes, transactions: [] }

/** Reads on from where the last reading ended. A file that has become shorter was cut back to what was committed. */
const readOn = (file: string, before: Read): Read => {
  const fd = openSync(file, "r")
  try {
    const { size } = fstatSync(fd)
    const { end, transactions } = size < before.end ? nothing : before
    const bytes = Buffer.alloc(Math.max(0, size - end))
    readSync(fd, bytes, 0, bytes.length, end)
    const more: Array<Transaction> = []
    let at = 0
    while (at + recordHeaderBytes < bytes.length) {
      const length = bytes.readInt32BE(at + 8)
      const last = at + recordHeaderBytes + length
      // Also what a server had not finished when it was killed.
      if (length <= 0 || bytes[last] !== endOfRecord) break
      more.push(transactionOf(bytes.subarray(at + recordHeaderBytes, last)))
      at = last + 1
    }
    return { end: end + at, transactions: [...transactions, ...more] }
  } finally {
    closeSync(fd)
  }
}

/** Reads what servers have on their disks. The answer is in order, and what no majority of them has was not committed. */
export const make = (folders: ReadonlyArray<string>): (() => ReadonlyArray<Transaction>) => {
  const known = new Map<string, Read>()
  const majority = Math.floor(folders.length / 2) + 1
  return () => {
    const found = new Map<bigint, { readonly transaction: Transaction; readonly folders: Set<string> }>()
    for (const folder of folders) {
      const logs = join(folder, "version-2")
      for (const name of existsSync(logs) ? readdirSync(logs) : []) {
        if (!name.startsWith("log.")) continue
        const file = join(logs, name)
        const read = readOn(file, known.get(file) ?? nothing)
        known.set(file, read)
        for (const transaction of read.transactions) {
          const one = found.get(transaction.zxid) ?? { transaction, folders: new Set() }
          found.set(transaction.zxid, one)
          one.folders.add(folder)
        }
      }
    }
    return Array.from(found.values())
      .filter((one) => one.folders.size >= majority)
      .map(({ transaction }) => transaction)
      .sort((a, b) => (a.zxid < b.zxid ? -1 : 1))
  }
}
