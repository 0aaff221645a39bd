/**
 * The records of ZooKeeper's client protocol, as values: what each operation writes, and how its answer is read.
 *
 * Layouts are those of `zookeeper.jute`; operation codes of `ZooDefs.OpCode`; fixed request numbers of `ClientCnxn`;
 * refusals of `KeeperException.Code`.
 */
import type { Reader, Writer } from "./jute.ts"

/** `ZooDefs.OpCode` */
export const OpCode = {
  error: -1,
  create: 1,
  delete: 2,
  exists: 3,
  getData: 4,
  setData: 5,
  sync: 9,
  ping: 11,
  getChildren2: 12,
  check: 13,
  multi: 14,
  create2: 15,
  removeWatches: 18,
  createContainer: 19,
  auth: 100,
  setWatches: 101,
  setWatches2: 105,
  addWatch: 106,
  closeSession: -11
} as const

/** Request numbers that are no place in the order of requests (`ClientCnxn`). */
export const Xid = { notification: -1, ping: -2, auth: -4, setWatches: -8 } as const

/** `KeeperException.Code`, as far as a client can meet it. */
export const Code = {
  SystemError: -1,
  RuntimeInconsistency: -2,
  DataInconsistency: -3,
  ConnectionLoss: -4,
  MarshallingError: -5,
  Unimplemented: -6,
  OperationTimeout: -7,
  BadArguments: -8,
  NewConfigNoQuorum: -13,
  ReconfigInProgress: -14,
  ApiError: -100,
  NoNode: -101,
  NoAuth: -102,
  BadVersion: -103,
  NoChildrenForEphemerals: -108,
  NodeExists: -110,
  NotEmpty: -111,
  SessionExpired: -112,
  InvalidCallback: -113,
  InvalidAcl: -114,
  AuthFailed: -115,
  SessionMoved: -118,
  NotReadOnly: -119,
  EphemeralOnLocalSession: -120,
  NoWatcher: -121,
  RequestTimeout: -122,
  ReconfigDisabled: -123,
  SessionClosedRequireSaslAuth: -124,
  QuotaExceeded: -125,
  ThrottledOp: -127
} as const

const codeNames: ReadonlyMap<number, string> = new Map(Object.entries(Code).map(([name, code]) => [code, name]))

/** The name of a refusal, for messages. */
export const codeName = (code: number): string => codeNames.get(code) ?? "an unknown code"

/** What ZooKeeper knows of a node. Times are milliseconds since 1970 on the leader's clock. */
export interface Stat {
  /** The transaction that created the node: grows with every creation and is never used again. */
  readonly czxid: bigint
  readonly mzxid: bigint
  readonly ctime: number
  readonly mtime: number
  readonly version: number
  readonly cversion: number
  readonly aversion: number
  /** The session that an ephemeral node belongs to, 0 for a persistent one. */
  readonly ephemeralOwner: bigint
  readonly dataLength: number
  readonly numChildren: number
  readonly pzxid: bigint
}

const readStat = (reader: Reader): Stat => ({
  czxid: reader.long(),
  mzxid: reader.long(),
  ctime: reader.millis(),
  mtime: reader.millis(),
  version: reader.int(),
  cversion: reader.int(),
  aversion: reader.int(),
  ephemeralOwner: reader.long(),
  dataLength: reader.int(),
  numChildren: reader.int(),
  pzxid: reader.long()
})

/** What a holder of an identity may do with a node (`ZooDefs.Perms`); add the ones that are meant. */
export const Permission = { read: 1, write: 2, create: 4, delete: 8, admin: 16, all: 31 } as const

/** One line of an access control list. */
export interface Acl {
  readonly permissions: number
  readonly scheme: string
  readonly id: string
}

/** Everybody may do everything. */
export const openAcl: ReadonlyArray<Acl> = [{ permissions: Permission.all, scheme: "world", id: "anyone" }]

/** The credentials that this client has given may do everything; the server fills them in. */
export const creatorAcl: ReadonlyArray<Acl> = [{ permissions: Permission.all, scheme: "auth", id: "" }]

const writeAcl = (writer: Writer, acl: Acl): void => {
  writer.int(acl.permissions).ustring(acl.scheme).ustring(acl.id)
}

/** How a node lives (`CreateMode`). A container goes away by itself some time after its last child. */
export const CreateMode = {
  persistent: 0,
  ephemeral: 1,
  persistentSequential: 2,
  ephemeralSequential: 3,
  container: 4
} as const

export type CreateMode = keyof typeof CreateMode

/** One request, and how its answer is read. `path` names it in errors. */
export interface Operation<out A> {
  readonly name: string
  readonly path: string
  readonly opCode: number
  readonly write: (writer: Writer) => void
  /** Reads what follows the header of an answer that is not a refusal. */
  readonly read: (reader: Reader, zxid: bigint) => A
}

/** What every answer carries: the server's last transaction when it answered. */
export interface Answer {
  readonly zxid: bigint
}

/** The node that was written. No stat after a deletion or a check, nor of what older servers create in a transaction. */
export interface Written extends Answer {
  readonly path: string
  readonly stat: Stat | undefined
}

/** A write that may also stand in a transaction, and how its result there is read: nothing for a kind that is not its own. */
export interface Write extends Operation<Written> {
  readonly readResult: (kind: number, reader: Reader, zxid: bigint) => Written | undefined
}

const write = (operation: Operation<Written>): Write => ({
  ...operation,
  readResult: (kind, reader, zxid) => (kind === operation.opCode ? operation.read(reader, zxid) : undefined)
})

export interface CreateOptions {
  readonly data?: Uint8Array | undefined
  readonly mode?: CreateMode | undefined
  readonly acl?: ReadonlyArray<Acl> | undefined
}

const empty = new Uint8Array(0)

export const create = (path: string, options: CreateOptions = {}): Write => {
  const mode = options.mode ?? "persistent"
  const read: Write["read"] = (reader, zxid) => ({ path: reader.path(), stat: readStat(reader), zxid })
  return {
    name: "create",
    path,
    opCode: mode === "container" ? OpCode.createContainer : OpCode.create2,
    write: (writer) =>
      writer
        .path(path)
        .buffer(options.data ?? empty)
        .vector(options.acl ?? openAcl, writeAcl)
        .int(CreateMode[mode]),
    read,
    readResult: (kind, reader, zxid) => {
      if (kind === OpCode.create2) return read(reader, zxid)
      // What older servers (3.8.0, for one) answer to any creation in a transaction.
      return kind === OpCode.create ? { path: reader.path(), stat: undefined, zxid } : undefined
    }
  }
}

/** Version -1 means any. */
export const remove = (path: string, version = -1): Write =>
  write({
    name: "delete",
    path,
    opCode: OpCode.delete,
    write: (writer) => writer.path(path).int(version),
    read: (_, zxid) => ({ path, stat: undefined, zxid })
  })

export const setData = (path: string, data: Uint8Array, version = -1): Write =>
  write({
    name: "setData",
    path,
    opCode: OpCode.setData,
    write: (writer) => writer.path(path).buffer(data).int(version),
    read: (reader, zxid) => ({ path, stat: readStat(reader), zxid })
  })

/** Stands in a transaction only: the transaction is refused unless the node exists and has this version. */
export const check = (path: string, version = -1): Write =>
  write({
    name: "check",
    path,
    opCode: OpCode.check,
    write: (writer) => writer.path(path).int(version),
    read: (_, zxid) => ({ path, stat: undefined, zxid })
  })

/** One operation's part in a refused transaction: 0 before the culprit, its refusal, `RuntimeInconsistency` after it. */
export interface Outcome {
  readonly code: number
  readonly written: Written | undefined
}

export interface Outcomes extends Answer {
  readonly outcomes: ReadonlyArray<Outcome>
}

/** MultiHeader: a code, whether it is the end, and a code again. */
const leastMultiHeader = 9

/** All of the writes or none. An answer of refusals is an answer: whoever asks looks through the outcomes. */
export const multi = (writes: ReadonlyArray<Write>): Operation<Outcomes> => ({
  name: "multi",
  path: writes[0]?.path ?? "/",
  opCode: OpCode.multi,
  write: (writer) => {
    for (const one of writes) {
      writer.int(one.opCode).bool(false).int(-1)
      one.write(writer)
    }
    writer.int(-1).bool(true).int(-1)
  },
  read: (reader, zxid) => {
    const outcomes: Array<Outcome> = []
    while (reader.remaining >= leastMultiHeader) {
      const code = reader.int()
      const done = reader.bool()
      reader.int()
      if (done) {
        if (outcomes.length !== writes.length) {
          reader.fail(`${outcomes.length} results of a transaction of ${writes.length}`)
        }
        return { outcomes, zxid }
      }
      if (code === OpCode.error) {
        outcomes.push({ code: reader.int(), written: undefined })
        continue
      }
      const one = writes[outcomes.length]
      const written = one?.readResult(code, reader, zxid)
      if (written === undefined) reader.fail(`a result of kind ${code} for ${one === undefined ? "nothing" : one.name}`)
      outcomes.push({ code: 0, written })
    }
    reader.fail("a transaction's answer without an end")
    return { outcomes, zxid }
  }
})

export interface Data extends Answer {
  readonly data: Uint8Array
  readonly stat: Stat
}

export const getData = (path: string, watch: boolean): Operation<Data> => ({
  name: "getData",
  path,
  opCode: OpCode.getData,
  write: (writer) => writer.path(path).bool(watch),
  read: (reader, zxid) => ({ data: reader.buffer(), stat: readStat(reader), zxid })
})

export interface Existing extends Answer {
  readonly stat: Stat
}

/** Where there is no node the answer is the refusal `NoNode`, and the watch is set all the same. */
export const exists = (path: string, watch: boolean): Operation<Existing> => ({
  name: "exists",
  path,
  opCode: OpCode.exists,
  write: (writer) => writer.path(path).bool(watch),
  read: (reader, zxid) => ({ stat: readStat(reader), zxid })
})

export interface Children extends Answer {
  readonly children: ReadonlyArray<string>
  readonly stat: Stat
}

/** A text takes its length at least. */
const leastText = 4

export const getChildren = (path: string, watch: boolean): Operation<Children> => ({
  name: "getChildren",
  path,
  opCode: OpCode.getChildren2,
  write: (writer) => writer.path(path).bool(watch),
  read: (reader, zxid) => ({ children: reader.vector(leastText, (r) => r.ustring()), stat: readStat(reader), zxid })
})

const bare = (name: string, path: string, opCode: number, write: (writer: Writer) => void): Operation<Answer> => ({
  name,
  path,
  opCode,
  write,
  read: (_, zxid) => ({ zxid })
})

/** Answered when this server has everything that the leader had committed: the answer went through the quorum. */
export const sync = (path: string): Operation<Answer> => bare("sync", path, OpCode.sync, (writer) => writer.path(path))

/** A persistent watch stays until it is removed; a recursive one tells of the whole tree, but not `childrenChanged`. */
export type WatchMode = "persistent" | "persistentRecursive"

/** `ZooDefs.AddWatchModes` */
const addWatchModes = { persistent: 0, persistentRecursive: 1 } as const

export const addWatch = (path: string, mode: WatchMode): Operation<Answer> =>
  bare("addWatch", path, OpCode.addWatch, (writer) => writer.path(path).int(addWatchModes[mode]))

/** `Watcher.WatcherType.Any`: kinds of their own for persistent watches came later than persistent watches. */
const anyWatcher = 3

/** Removes every watch of this session at the path. */
export const removeWatches = (path: string): Operation<Answer> =>
  bare("removeWatches", path, OpCode.removeWatches, (writer) => writer.path(path).int(anyWatcher))

export const closeSession: Operation<Answer> = bare("closeSession", "/", OpCode.closeSession, () => {})

export const ping: Operation<Answer> = bare("ping", "/", OpCode.ping, () => {})

export const auth = (scheme: string, credentials: Uint8Array): Operation<Answer> =>
  bare("auth", scheme, OpCode.auth, (writer) => writer.int(0).ustring(scheme).buffer(credentials))

/** The watches of a session, to be set again on another connection. */
export interface WatchLists {
  readonly data: ReadonlyArray<string>
  readonly exist: ReadonlyArray<string>
  readonly child: ReadonlyArray<string>
  readonly persistent: ReadonlyArray<string>
  readonly persistentRecursive: ReadonlyArray<string>
}

/**
 * Sets watches again. One-shot watches fire at once for what changed after `zxid`; persistent ones replay nothing
 * (`DataTree.setWatches`). Without persistent ones it is the request that servers before 3.6 know too.
 */
export const setWatches = (zxid: bigint, lists: WatchLists): Operation<Answer> => {
  const persistent = lists.persistent.length > 0 || lists.persistentRecursive.length > 0
  return bare("setWatches", "/", persistent ? OpCode.setWatches2 : OpCode.setWatches, (writer) => {
    writer.long(zxid)
    for (const paths of [lists.data, lists.exist, lists.child]) writer.vector(paths, (w, path) => w.path(path))
    if (!persistent) return
    for (const paths of [lists.persistent, lists.persistentRecursive]) writer.vector(paths, (w, path) => w.path(path))
  })
}

/** The handshake's first half. A session id of 0 asks for a new session. */
export interface ConnectRequest {
  readonly lastZxidSeen: bigint
  readonly timeoutMillis: number
  readonly sessionId: bigint
  readonly password: Uint8Array
}

export const writeConnectRequest = (writer: Writer, request: ConnectRequest): void => {
  writer
    .int(0)
    .long(request.lastZxidSeen)
    .int(request.timeoutMillis)
    .long(request.sessionId)
    .buffer(request.password)
    // Never read-only: a server without a quorum can neither hold a session nor tell what is true.
    .bool(false)
}

/** The handshake's second half. A timeout of 0 says that the session is over. */
export interface ConnectResponse {
  readonly timeoutMillis: number
  readonly sessionId: bigint
  readonly password: Uint8Array
  readonly readOnly: boolean
}

/** A longer password than this is no ZooKeeper's: they are 16 bytes (`ZooKeeperServer.generatePasswd`). */
const longestPassword = 64

export const readConnectResponse = (reader: Reader): ConnectResponse => {
  const version = reader.int()
  if (version !== 0) reader.fail(`protocol version ${version}`)
  const timeoutMillis = reader.int()
  const sessionId = reader.long()
  // Kept for the life of the session, where a view would keep the network's memory.
  const password = reader.buffer().slice()
  if (password.length > longestPassword) reader.fail(`a password of ${password.length} bytes`)
  // Servers before 3.4 end here.
  return { timeoutMillis, sessionId, password, readOnly: reader.remaining > 0 && reader.bool() }
}

/** Before every answer and every event. */
export interface ReplyHeader {
  readonly xid: number
  readonly zxid: bigint
  readonly err: number
}

export const readReplyHeader = (reader: Reader): ReplyHeader => ({
  xid: reader.int(),
  zxid: reader.long(),
  err: reader.int()
})

/** `Watcher.Event.EventType` */
export const EventType = {
  [-1]: "none",
  1: "created",
  2: "deleted",
  3: "dataChanged",
  4: "childrenChanged",
  5: "dataWatchRemoved",
  6: "childWatchRemoved",
  7: "persistentWatchRemoved"
} as const

export type EventType = (typeof EventType)[keyof typeof EventType]

/** Something happened at a path that is watched. Servers before 3.9 send -1 for `zxid`. */
export interface WatchEvent {
  readonly type: EventType
  readonly path: string
  readonly zxid: bigint
}

const eventTypes: Readonly<Record<number, EventType>> = EventType

export const readWatchEvent = (reader: Reader, zxid: bigint): WatchEvent => {
  const number = reader.int()
  // The state of the connection, which the client knows better.
  reader.int()
  const path = reader.path()
  const type = eventTypes[number]
  if (type === undefined) reader.fail(`an event of type ${number}`)
  return { type: type ?? "none", path, zxid }
}
