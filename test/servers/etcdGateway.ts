import { Buffer } from "node:buffer"
import * as http from "node:http"
import * as https from "node:https"
import { Data, Effect, Option } from "effect"

export class GatewayError extends Data.TaggedError("GatewayError")<{
  readonly url: string
  /** HTTP status; 0 when no answer came. */
  readonly status: number
  readonly reason: string
}> {
  override get message() {
    return `${this.url}: ${this.status === 0 ? "no answer" : `status ${this.status}`}: ${this.reason}`
  }
}

export interface KeyValue {
  readonly key: string
  readonly value: string
  readonly createRevision: bigint
  readonly modRevision: bigint
  readonly version: bigint
  /** 0n when the key has no lease. */
  readonly lease: bigint
}

export interface Status {
  readonly clusterId: string
  readonly memberId: string
  /** "0" while there is none. */
  readonly leader: string
  readonly version: string
  readonly revision: bigint
  readonly raftTerm: bigint
}

/** The contents of PEM files, and a user. */
export interface Credentials {
  readonly ca?: string
  readonly cert?: string
  readonly key?: string
  readonly username?: string
  readonly password?: string
}

/**
 * etcd's JSON gateway: the store as it is, seen without the library under test and without its client. Every read is
 * linearizable, so a member that is cut from the quorum answers none.
 */
export interface Gateway {
  readonly range: (
    prefix: string
  ) => Effect.Effect<{ readonly revision: bigint; readonly entries: ReadonlyArray<KeyValue> }, GatewayError>
  readonly get: (key: string) => Effect.Effect<Option.Option<KeyValue>, GatewayError>
  /** Answers with the revision of the write. */
  readonly put: (key: string, value: string, lease?: bigint) => Effect.Effect<bigint, GatewayError>
  readonly remove: (key: string) => Effect.Effect<bigint, GatewayError>
  readonly removePrefix: (prefix: string) => Effect.Effect<bigint, GatewayError>
  readonly compact: (revision: bigint) => Effect.Effect<void, GatewayError>
  readonly revision: Effect.Effect<bigint, GatewayError>
  readonly grant: (seconds: number) => Effect.Effect<bigint, GatewayError>
  readonly leases: Effect.Effect<ReadonlyArray<bigint>, GatewayError>
  /** `seconds` is -1 when there is no such lease. */
  readonly timeToLive: (
    lease: bigint
  ) => Effect.Effect<
    { readonly seconds: number; readonly granted: number; readonly keys: ReadonlyArray<string> },
    GatewayError
  >
  readonly revoke: (lease: bigint) => Effect.Effect<void, GatewayError>
  readonly status: Effect.Effect<Status, GatewayError>
  /** Fails while there is no leader whom a quorum follows. */
  readonly health: Effect.Effect<void, GatewayError>
  /** Watches that are open on the member that answers. */
  readonly watchers: Effect.Effect<number, GatewayError>
  /** One sample of `/metrics` by its full name; 0 when there is none. */
  readonly metric: (name: string) => Effect.Effect<number, GatewayError>
  /** Any other call, as `call("/v3/kv/txn", body)`. Keys and values are base64, 64-bit numbers are strings. */
  readonly call: (path: string, body: Json) => Effect.Effect<Json, GatewayError>
}

/** Protobuf's JSON leaves out what is zero, empty or false, so anything may be absent. */
export interface Json {
  // oxlint-disable-next-line typescript/no-explicit-any -- what etcd answers, read by the name of its fields
  readonly [name: string]: any
}

/** etcd gives a proposal up after 5 s plus two election timeouts; a paused or cut member never answers. */
const answerWithin = 8000

interface Answer {
  readonly status: number
  readonly text: string
}

const request = (
  url: string,
  credentials: Credentials,
  sent: { readonly body?: Json; readonly token?: string }
): Effect.Effect<Answer, GatewayError> =>
  Effect.callback((resume) => {
    const fail = (error: Error) => resume(Effect.fail(new GatewayError({ url, status: 0, reason: error.message })))
    const { ca, cert, key } = credentials
    const outgoing = (url.startsWith("https:") ? https : http).request(url, {
      method: sent.body === undefined ? "GET" : "POST",
      // A connection for each request: none is left when a test ends, and none is half dead after a fault.
      agent: false,
      ...(ca === undefined ? {} : { ca }),
      ...(cert === undefined ? {} : { cert }),
      ...(key === undefined ? {} : { key }),
      headers: sent.token === undefined ? {} : { authorization: sent.token }
    })
    const late = setTimeout(() => outgoing.destroy(new Error(`within ${answerWithin} ms`)), answerWithin)
    outgoing.once("close", () => clearTimeout(late))
    outgoing.once("error", fail)
    outgoing.once("response", (incoming) => {
      let text = ""
      incoming.setEncoding("utf8")
      incoming.on("data", (chunk: string) => (text += chunk))
      incoming.once("error", fail)
      incoming.once("end", () => resume(Effect.succeed({ status: incoming.statusCode ?? 0, text })))
    })
    outgoing.end(sent.body === undefined ? undefined : JSON.stringify(sent.body))
    return Effect.sync(() => outgoing.destroy())
  })

const encode = (text: string): string => Buffer.from(text, "utf8").toString("base64")
const decode = (base64: string | undefined): string => Buffer.from(base64 ?? "", "base64").toString("utf8")

/** The end of the keys that begin with a prefix, as base64: the prefix with its last byte counted up. */
const endOf = (prefix: string): string => {
  const bytes = Buffer.from(prefix, "utf8")
  // UTF-8 has no byte 255, so the last byte can always be counted up.
  const last = bytes.length - 1
  return last < 0
    ? encode("\0")
    : Buffer.concat([bytes.subarray(0, last), Buffer.of(bytes.readUInt8(last) + 1)]).toString("base64")
}

const spanOf = (prefix: string) => ({ key: encode(prefix === "" ? "\0" : prefix), range_end: endOf(prefix) })

const entryOf = (kv: Json): KeyValue => ({
  key: decode(kv["key"]),
  value: decode(kv["value"]),
  createRevision: BigInt(kv["create_revision"] ?? 0),
  modRevision: BigInt(kv["mod_revision"] ?? 0),
  version: BigInt(kv["version"] ?? 0),
  lease: BigInt(kv["lease"] ?? 0)
})

const revisionOf = (answer: Json): bigint => BigInt(answer["header"]?.revision ?? 0)

const parse = (url: string, { status, text }: Answer): Effect.Effect<Json, GatewayError> => {
  if (status !== 200) return Effect.fail(new GatewayError({ url, status, reason: text.trim() }))
  return Effect.try({
    try: () => JSON.parse(text),
    catch: () => new GatewayError({ url, status, reason: `not JSON: ${text.slice(0, 200)}` })
  })
}

/** Asks one member after the other until one answers at all. */
export const make = (urls: ReadonlyArray<string>, credentials: Credentials = {}): Gateway => {
  const first = <A>(ask: (url: string) => Effect.Effect<A, GatewayError>): Effect.Effect<A, GatewayError> => {
    const [url = "", ...others] = urls
    return others.reduce(
      (answer, other) => Effect.catch(answer, (error) => (error.status === 0 ? ask(other) : Effect.fail(error))),
      ask(url)
    )
  }

  /** A token is as old as the server, so each call brings a new one. */
  const login = Effect.fnUntraced(function* (url: string) {
    const { password, username } = credentials
    if (username === undefined || password === undefined) return undefined
    const answer = yield* request(`${url}/v3/auth/authenticate`, credentials, { body: { name: username, password } })
    return (yield* parse(url, answer))["token"] as string
  })

  const call: Gateway["call"] = (path, body) =>
    first(
      Effect.fnUntraced(function* (url) {
        const token = yield* login(url)
        return yield* parse(
          `${url}${path}`,
          yield* request(`${url}${path}`, credentials, { body, ...(token === undefined ? {} : { token }) })
        )
      })
    )

  const metric: Gateway["metric"] = (name) =>
    first((url) => request(`${url}/metrics`, credentials, {})).pipe(
      Effect.map(({ text }) => {
        const line = text.split("\n").find((line) => line.startsWith(`${name} `))
        return line === undefined ? 0 : Number(line.slice(name.length + 1))
      })
    )

  const range = (span: Json) =>
    Effect.map(call("/v3/kv/range", span), (answer) => ({
      revision: revisionOf(answer),
      entries: ((answer["kvs"] ?? []) as ReadonlyArray<Json>).map(entryOf)
    }))

  return {
    range: (prefix) => range(spanOf(prefix)),
    get: (key) => Effect.map(range({ key: encode(key) }), ({ entries }) => Option.fromUndefinedOr(entries[0])),
    put: (key, value, lease = 0n) =>
      Effect.map(call("/v3/kv/put", { key: encode(key), value: encode(value), lease: String(lease) }), revisionOf),
    remove: (key) => Effect.map(call("/v3/kv/deleterange", { key: encode(key) }), revisionOf),
    removePrefix: (prefix) => Effect.map(call("/v3/kv/deleterange", spanOf(prefix)), revisionOf),
    // Physical: answers when the history is gone, not when its removal is planned.
    compact: (revision) => Effect.asVoid(call("/v3/kv/compaction", { revision: String(revision), physical: true })),
    revision: Effect.map(call("/v3/kv/range", { key: encode("\0"), limit: "1" }), revisionOf),
    grant: (seconds) => Effect.map(call("/v3/lease/grant", { TTL: String(seconds) }), (answer) => BigInt(answer["ID"])),
    leases: Effect.map(call("/v3/lease/leases", {}), (answer) =>
      ((answer["leases"] ?? []) as ReadonlyArray<Json>).map(({ ID }) => BigInt(ID))
    ),
    timeToLive: (lease) =>
      Effect.map(call("/v3/lease/timetolive", { ID: String(lease), keys: true }), (answer) => ({
        seconds: Number(answer["TTL"] ?? 0),
        granted: Number(answer["grantedTTL"] ?? 0),
        keys: ((answer["keys"] ?? []) as ReadonlyArray<string>).map(decode)
      })),
    revoke: (lease) => Effect.asVoid(call("/v3/lease/revoke", { ID: String(lease) })),
    status: Effect.map(call("/v3/maintenance/status", {}), (answer) => ({
      clusterId: String(answer["header"]?.cluster_id ?? ""),
      memberId: String(answer["header"]?.member_id ?? ""),
      leader: String(answer["leader"] ?? "0"),
      version: String(answer["version"] ?? ""),
      revision: revisionOf(answer),
      raftTerm: BigInt(answer["raftTerm"] ?? 0)
    })),
    health: first((url) =>
      Effect.flatMap(request(`${url}/health`, credentials, {}), (answer) =>
        answer.status === 200
          ? Effect.void
          : Effect.fail(new GatewayError({ url, status: answer.status, reason: answer.text.trim() }))
      )
    ),
    watchers: metric("etcd_debugging_mvcc_watcher_total"),
    metric,
    call
  }
}
