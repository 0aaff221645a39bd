import { assert, describe, it } from "@effect/vitest"
import { Data, Effect, Exit, Scope } from "effect"
import { spawn } from "node:child_process"
import { existsSync, readFileSync } from "node:fs"
import { connect } from "node:net"
import { join } from "node:path"
import process from "node:process"
import type { Readable, Writable } from "node:stream"
import type { NoAnswer } from "../servers/ask.ts"
import * as Memcached from "../servers/memcached.ts"
import * as Nats from "../servers/nats.ts"
import * as Postgres from "../servers/postgres.ts"
import type { Process, ServerError } from "../servers/process.ts"
import { temporaryFolder } from "../servers/process.ts"
import type { ProvisionError } from "../servers/provision.ts"
import { installationOf } from "../servers/provision.ts"
import * as Redis from "../servers/redis.ts"
import { until } from "../servers/until.ts"

class NotYet extends Data.TaggedError("NotYet")<{ readonly heard: string }> {
  override get message() {
    return `heard only "${this.heard}"`
  }
}

interface Client {
  /** Says something and answers with what it has heard since, once that is what it expects. */
  readonly say: (text: string, expected: RegExp) => Effect.Effect<string, NotYet>
}

const clientOf = (input: Writable, output: Readable): Client => {
  let heard = ""
  output.on("data", (chunk) => (heard += String(chunk)))
  return {
    say: (text, expected) =>
      Effect.suspend(() => {
        heard = ""
        input.write(text)
        const answer = Effect.suspend(() =>
          expected.test(heard) ? Effect.succeed(heard) : Effect.fail(new NotYet({ heard }))
        )
        return until(answer, { within: "10 seconds" })
      })
  }
}

/** A connection that speaks no protocol by itself. */
const raw = ({ host, port }: { readonly host: string; readonly port: number }) =>
  Effect.acquireRelease(
    Effect.sync(() => connect(port, host).on("error", () => {})),
    (socket) => Effect.sync(() => socket.destroy())
  ).pipe(Effect.map((socket) => clientOf(socket, socket)))

/** A program that passes on what it is told. What it says about its errors is heard, too. */
const psql = Effect.fnUntraced(function* ({ database, host, port, user }: Postgres.Postgres, password = "") {
  const { env, folder } = yield* installationOf(Postgres.distribution)
  const program = yield* Effect.acquireRelease(
    Effect.sync(() =>
      spawn(join(folder, "psql"), ["-XqAt", "-h", host, "-p", String(port), "-U", user, "-w", database], {
        env: { ...process.env, ...env, PGPASSWORD: password }
      })
    ),
    (child) => Effect.sync(() => child.kill("SIGKILL"))
  )
  program.stdin.on("error", () => {})
  program.stdout.on("error", () => {})
  const client = clientOf(program.stdin, program.stdout)
  const failing = clientOf(program.stdin, program.stderr)
  return { ...client, fails: failing.say }
})

interface Server extends Process {
  readonly connections: Effect.Effect<number, NoAnswer>
}

interface Kind {
  readonly name: string
  readonly start: Effect.Effect<
    readonly [Server, Effect.Effect<Client, ProvisionError, Scope.Scope>],
    ServerError | ProvisionError,
    Scope.Scope
  >
  readonly question: string
  readonly answer: RegExp
}

const kinds: ReadonlyArray<Kind> = [
  {
    name: "Redis",
    start: Effect.map(Redis.single(), (server) => [server, raw(server)] as const),
    question: "PING\r\n",
    answer: /^\+PONG/
  },
  {
    name: "memcached",
    start: Effect.map(Memcached.single(), (server) => [server, raw(server)] as const),
    question: "version\r\n",
    answer: /^VERSION 1\./
  },
  {
    name: "NATS",
    start: Effect.map(Nats.single(), (server) => [server, raw(server)] as const),
    question: "PING\r\n",
    answer: /^PONG/m
  },
  {
    name: "PostgreSQL",
    start: Effect.map(Postgres.single(), (server) => [server, psql(server)] as const),
    question: "SELECT 'he' || 're';\n",
    answer: /^here/
  }
]

/** All of them, while they run. */
const pidsOf = (server: Process): ReadonlyArray<number> => {
  const children = readFileSync(`/proc/${server.pid()}/task/${server.pid()}/children`, "utf8").match(/\d+/g) ?? []
  return [server.pid(), ...children.map(Number)]
}

/** A process that has ended but that nobody has asked about yet ("Z") is listed as before. */
const isAlive = (pid: number): boolean => {
  try {
    return !/\) Z /.test(readFileSync(`/proc/${pid}/stat`, "utf8"))
  } catch {
    return false
  }
}

const eventually = (condition: Effect.Effect<boolean, NoAnswer>) =>
  until(
    Effect.filterOrFail(condition, (holds) => holds),
    { within: "10 seconds" }
  )

const counts = (server: Server, expected: number) =>
  eventually(Effect.map(server.connections, (connections) => connections === expected))

describe.each(kinds)("a private $name", ({ answer, question, start }) => {
  it.live("serves, and counts the connections of its clients", () =>
    Effect.gen(function* () {
      const [server, open] = yield* start
      assert.strictEqual(yield* server.connections, 0)
      const scope = yield* Scope.make()
      const clients = yield* Scope.provide(Effect.replicateEffect(open, 3), scope)
      for (const client of clients) yield* client.say(question, answer)
      assert.strictEqual(yield* server.connections, 3)
      yield* Scope.close(scope, Exit.void)
      yield* counts(server, 0)
    })
  )

  it.live("serves at its address again after SIGKILL and after a stop", () =>
    Effect.gen(function* () {
      const [server, open] = yield* start
      const client = yield* open
      yield* client.say(question, answer)
      const pids = pidsOf(server)
      yield* server.kill
      assert.deepStrictEqual(pids.filter(isAlive), [])
      assert.strictEqual((yield* Effect.flip(server.connections))._tag, "NoAnswer")
      yield* server.start
      const second = yield* open
      yield* second.say(question, answer)
      yield* server.stop
      assert.isFalse(server.isRunning())
      yield* server.start
      yield* (yield* open).say(question, answer)
      const paused = pidsOf(server)
      yield* server.pause
      yield* server.restart
      assert.deepStrictEqual(paused.filter(isAlive), [])
      yield* (yield* open).say(question, answer)
      assert.strictEqual(yield* server.connections, 1)
    })
  )

  it.live("answers neither old nor new clients while it is paused, and both afterwards", () =>
    Effect.gen(function* () {
      const [server, open] = yield* start
      const old = yield* open
      yield* old.say(question, answer)
      yield* server.pause
      const late = yield* open
      // That nobody answers shows in nothing that can be waited for.
      const silence = (client: Client) => Effect.timeoutOption(client.say(question, answer), "300 millis")
      const answers = yield* Effect.all([silence(old), silence(late)], { concurrency: "unbounded" })
      assert.deepStrictEqual(
        answers.map(({ _tag }) => _tag),
        ["None", "None"]
      )
      assert.isTrue(server.isRunning())
      yield* server.resume
      for (const client of [old, late]) yield* client.say(question, answer)
      assert.strictEqual(yield* server.connections, 2)
    })
  )

  it.live("is gone with its scope, also when it is paused and has clients", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const [server, open] = yield* Scope.provide(start, scope)
      yield* (yield* open).say(question, answer)
      const pids = pidsOf(server)
      assert.deepStrictEqual(pids.filter(isAlive), pids)
      yield* server.pause
      yield* Scope.close(scope, Exit.void)
      assert.deepStrictEqual(pids.filter(isAlive), [])
      assert.isFalse(existsSync(server.folder))
    })
  )
})

describe("a private server that asks for a password", () => {
  it.live("Redis refuses a wrong one, and none", () =>
    Effect.gen(function* () {
      const server = yield* Redis.single({ password: 'se "cret', settings: { maxclients: 7 } })
      const client = yield* raw(server)
      yield* client.say("PING\r\n", /^-NOAUTH/)
      yield* client.say("AUTH wrong\r\n", /^-WRONGPASS/)
      yield* client.say('AUTH "se \\"cret"\r\n', /^\+OK/)
      yield* client.say("CONFIG GET maxclients\r\n", /\r\n7\r\n/)
      assert.strictEqual(yield* server.connections, 1)
    })
  )

  it.live("NATS refuses a wrong one, and none", () =>
    Effect.gen(function* () {
      const server = yield* Nats.single({ password: "secret", settings: { max_payload: 777 } })
      const log = (credentials: unknown, expected: RegExp) =>
        Effect.flatMap(raw(server), (client) =>
          client.say(`CONNECT ${JSON.stringify(credentials)}\r\nPING\r\n`, expected)
        )
      yield* log({}, /^-ERR 'Authorization Violation'/m)
      yield* log({ ...server.credentials, pass: "wrong" }, /^-ERR 'Authorization Violation'/m)
      const heard = yield* log(server.credentials, /^PONG/m)
      for (const setting of ['"jetstream":true', '"max_payload":777']) assert.include(heard, setting)
      yield* counts(server, 1)
    })
  )

  it.live.each(["scram-sha-256", "md5"] as const)("PostgreSQL refuses a wrong one, and none, by %s", (authentication) =>
    Effect.gen(function* () {
      const server = yield* Postgres.single({ password: "secret", authentication, settings: { max_connections: 17 } })
      const stored = yield* server.query("SELECT rolpassword FROM pg_authid WHERE rolname = 'postgres'")
      assert.isTrue(stored.toLowerCase().startsWith(authentication))
      yield* (yield* psql(server, "wrong")).fails("", /password authentication failed/)
      yield* (yield* psql(server)).fails("", /no password supplied/)
      yield* (yield* psql(server, "secret")).say("SHOW max_connections;\n", /^17/)
      assert.strictEqual(yield* server.connections, 1)
    })
  )
})

const serve = `
  import { Effect } from "effect"
  import * as Postgres from "./test/servers/postgres.ts"
  Effect.runFork(Effect.scoped(Effect.gen(function* () {
    const server = yield* Postgres.single()
    console.log(server.pid())
    yield* Effect.never
  })))`

describe("a private PostgreSQL", () => {
  it.live("keeps what it was given through SIGKILL, and does not wait for clients when it stops", () =>
    Effect.gen(function* () {
      const server = yield* Postgres.single()
      yield* server.query("CREATE TABLE kept AS SELECT 'a' AS one, 7 AS other")
      yield* server.restart
      assert.strictEqual(yield* server.query("SELECT * FROM kept"), "a|7")
      assert.match((yield* Effect.flip(server.query("SELECT * FROM lost"))).message, /relation "lost" does not exist/)
      yield* (yield* psql(server)).say("SELECT 'he' || 're';\n", /^here/)
      yield* server.stop
      const log = yield* server.log
      assert.include(log, "received fast shutdown request")
      assert.include(log.slice(log.indexOf("fast shutdown")), "database system is shut down")
    })
  )

  it.live("is paused at any time, also while a client leaves", () =>
    Effect.gen(function* () {
      const server = yield* Postgres.single()
      for (let round = 0; round < 20; round++) {
        yield* server.query("SELECT 1")
        yield* server.pause
        yield* server.resume
      }
    })
  )

  it.live("ends when the process is killed", () =>
    Effect.gen(function* () {
      const env = { ...process.env, TMPDIR: yield* temporaryFolder("killed") }
      const child = yield* Effect.acquireRelease(
        Effect.sync(() => spawn(process.execPath, ["--input-type=module", "-e", serve], { env })),
        (child) => Effect.sync(() => child.kill("SIGKILL"))
      )
      const [pid = ""] = /\d+/.exec(yield* clientOf(child.stdin, child.stdout).say("", /\d+\n/)) ?? []
      assert.isTrue(isAlive(Number(pid)))
      child.kill("SIGKILL")
      yield* eventually(Effect.sync(() => !isAlive(Number(pid))))
    })
  )
})
